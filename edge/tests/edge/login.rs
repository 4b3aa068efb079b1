//! Users and `POST /login`: who gets a token, and how often one may try.

use std::net::SocketAddr;
use std::time::Duration;

use agon_edge::throttle::Rate;
use agon_edge::{AuthSettings, Ensured, Limits, Peer, Role, UserError};
use agon_ports::ControlStore;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::site::{Answer, Site};

const PASSWORD: &str = "seven-quiet-otters-92";

async fn with_user(settings: AuthSettings) -> Site {
    let site = Site::with(settings, Limits::default()).await;
    site.auth.users().add("watcher", PASSWORD, &[Role::Viewer]).await.unwrap();
    site
}

#[tokio::test]
async fn a_name_and_its_password_give_a_token_that_works() {
    let site = with_user(AuthSettings::default()).await;
    let answer = site.login("watcher", PASSWORD).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(site.get_with_token("/api/v1/mine", token).await.text(), "watcher");
    assert_eq!(site.post_with_token("/api/v1/write", token, "{}").await.status, 403);
    let based = json!({"username": "watcher", "password": PASSWORD}).to_string();
    assert_eq!(site.post("/api/v1/login", based).await.status, 200);
}

#[tokio::test]
async fn a_user_is_given_a_password_once_and_the_sessions_of_the_old_one_end() {
    let settings = AuthSettings { session_check_ms: 0, ..AuthSettings::default() };
    let site = Site::with(settings, Limits::default()).await;
    let ensure =
        async |password: &str, role| site.auth.users().ensure("machine", password, &[role]).await;
    assert_eq!(ensure(PASSWORD, Role::Producer).await.unwrap(), Ensured::Added);
    let answer = site.login("machine", PASSWORD).await.json();
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(ensure(PASSWORD, Role::Producer).await.unwrap(), Ensured::AsItWas);
    assert_eq!(site.post_with_token("/api/v1/write", token, r#"{"name":"x"}"#).await.status, 200);
    let other = "eight-loud-herons-17";
    // Nobody is made what the other one was not.
    let taken = ensure(other, Role::Viewer).await.unwrap_err();
    assert!(matches!(taken, UserError::Exists(_)), "{taken}");
    assert!(matches!(ensure("short", Role::Producer).await, Err(UserError::BadPassword)));
    assert_eq!(ensure(other, Role::Producer).await.unwrap(), Ensured::GivenPassword);
    assert_eq!(site.login("machine", PASSWORD).await.status, 401);
    assert_eq!(site.login("machine", other).await.status, 200);
    assert_eq!(site.post_with_token("/api/v1/write", token, r#"{"name":"x"}"#).await.status, 401);
    assert_eq!(site.auth.users().list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let site = with_user(AuthSettings::default()).await;
    let seen = |mut answer: Answer| {
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"));
        let mut body = answer.json();
        body["request_id"] = "-".into();
        answer.headers.remove("x-request-id");
        (body, answer.headers)
    };
    let wrong = seen(site.login("watcher", "wrong-password").await);
    for name in ["nobody", "Watcher", "", "user/watcher", "../watcher", &"w".repeat(3000)] {
        assert_eq!(seen(site.login(name, "wrong-password").await), wrong, "{name}");
    }
}

#[tokio::test]
async fn credentials_of_another_shape_are_refused_before_any_work() {
    let site = with_user(AuthSettings::default()).await;
    let check = async |body: serde_json::Value, status: u16, code: &str| {
        let answer = site.post("/login", body.to_string()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{body}");
    };
    let long = "x".repeat(129);
    check(json!({"username": "watcher", "password": long}), 422, "invalid_field").await;
    check(json!({"username": "watcher", "password": ""}), 422, "invalid_field").await;
    check(json!({"username": "watcher"}), 422, "invalid_field").await;
    check(json!({"username": ["watcher"], "password": PASSWORD}), 422, "invalid_field").await;
    let more = json!({"username": "watcher", "password": PASSWORD, "roles": ["admin"]});
    check(more, 400, "unknown_field").await;
    let huge = "x".repeat(1 << 20);
    check(json!({"username": "watcher", "password": huge}), 413, "body_too_large").await;
}

#[tokio::test]
async fn guessing_is_throttled_by_address_and_nobody_is_locked_out() {
    let settings = AuthSettings {
        login_from_address: Rate { burst: 2, refill_ms: 10_000 },
        ..AuthSettings::default()
    };
    let site = with_user(settings).await;
    let login = async |address: [u8; 4], password: &str| {
        let body = json!({"username": "watcher", "password": password}).to_string();
        let peer = Peer(SocketAddr::from((address, 4000)));
        let request = Request::post("/login").header("content-type", "application/json");
        let request =
            request.header("host", "x").header("x-forwarded-for", "192.0.2.77").extension(peer);
        site.call(request.body(Body::from(body)).unwrap()).await
    };
    let attacker = [192, 0, 2, 1];
    for _ in 0..2 {
        assert_eq!(login(attacker, "wrong-password").await.status, 401);
    }
    for password in ["wrong-password", PASSWORD] {
        let refused = login(attacker, password).await;
        assert_eq!((refused.status, refused.problem().as_str()), (429, "too_many_requests"));
        assert_eq!(refused.header("retry-after"), "10");
        assert_eq!(refused.header("ratelimit"), "\"login\";r=0;t=10");
        assert_eq!(refused.header("ratelimit-policy"), "\"login\";q=2;w=20");
    }
    assert_eq!(login([192, 0, 2, 2], PASSWORD).await.status, 200, "the owner is elsewhere");
    site.clock.advance(Duration::from_secs(10)).unwrap();
    assert_eq!(login(attacker, "wrong-password").await.status, 401, "it fills again");
}

#[tokio::test]
async fn guessing_from_everywhere_and_at_everyone_is_throttled() {
    let settings = AuthSettings {
        login_of_account: Rate { burst: 3, refill_ms: 1000 },
        login_global: Rate { burst: 5, refill_ms: 1000 },
        ..AuthSettings::default()
    };
    let site = with_user(settings).await;
    let mut codes = Vec::new();
    for name in ["watcher", "watcher", "watcher", "watcher", "a", "b", "c"] {
        codes.push(site.login(name, "wrong-password").await.status);
    }
    assert_eq!(codes, [401, 401, 401, 429, 401, 401, 429]);
    site.clock.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(site.login("watcher", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn right_passwords_do_not_use_up_an_account() {
    let one = Rate { burst: 1, refill_ms: 60_000 };
    let settings =
        AuthSettings { login_from_address: one, login_of_account: one, ..AuthSettings::default() };
    let site = with_user(settings).await;
    for _ in 0..3 {
        assert_eq!(site.login("watcher", PASSWORD).await.status, 200);
    }
    assert_eq!(site.login("watcher", "wrong-password").await.status, 401);
    assert_eq!(site.login("watcher", PASSWORD).await.status, 429);
}

#[tokio::test]
async fn users_are_added_once_and_listed_without_their_hashes() {
    let site = with_user(AuthSettings::default()).await;
    let users = site.auth.users();
    let again = users.add("watcher", "another-password", &[Role::Admin]).await;
    assert!(matches!(again, Err(UserError::Exists(name)) if name == "watcher"));
    for name in ["", ".a", "a b", "a/b", "é", "service:x", &"a".repeat(65)] {
        let bad = users.add(name, PASSWORD, &[]).await;
        assert!(matches!(bad, Err(UserError::BadName(_))), "{name}");
    }
    for password in ["", "seven-7", &"x".repeat(129)] {
        let bad = users.add("other", password, &[]).await;
        assert!(matches!(bad, Err(UserError::BadPassword)), "{password}");
    }
    users.add("admin", PASSWORD, &[Role::Admin]).await.unwrap();
    let listed = serde_json::to_value(users.list().await.unwrap()).unwrap();
    let at = "2026-11-21T10:00:00Z";
    assert_eq!(
        listed,
        json!([
            {"name": "admin", "roles": ["admin"], "created_at": at},
            {"name": "watcher", "roles": ["viewer"], "created_at": at},
        ])
    );
    let stored = site.store.get("user/watcher").await.unwrap().unwrap().value;
    assert!(!String::from_utf8(stored).unwrap().contains(PASSWORD));
}

/// A hash that was made with less work is made again at the next right login.
#[tokio::test]
async fn an_older_hash_still_verifies_and_is_renewed() {
    let site = with_user(AuthSettings::default()).await;
    let stored = site.store.get("user/watcher").await.unwrap().unwrap();
    let mut user: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
    let weak = argon2::Params::new(1024, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, weak);
    let hash = argon2::PasswordHasher::hash_password(&argon2, PASSWORD.as_bytes()).unwrap();
    user["password_hash"] = hash.to_string().into();
    let value = serde_json::to_vec(&user).unwrap();
    site.store.put("user/watcher", &value, stored.version).await.unwrap();

    assert_eq!(site.login("watcher", "wrong-password").await.status, 401);
    let hash = async || {
        let stored = site.store.get("user/watcher").await.unwrap().unwrap();
        let user: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
        user["password_hash"].as_str().unwrap().to_owned()
    };
    assert!(hash().await.contains("m=1024"));
    assert_eq!(site.login("watcher", PASSWORD).await.status, 200);
    assert!(hash().await.contains("m=19456,t=2,p=1"));
    assert_eq!(site.login("watcher", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn without_its_store_a_login_is_503_and_reads_and_writes_go_on() {
    let site = with_user(AuthSettings::default()).await;
    let token = site.login("watcher", PASSWORD).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let write_before = site.post_with_token("/api/v1/write", token, "{}").await;
    site.faults.crash();
    let login = site.login("watcher", PASSWORD).await;
    assert_eq!((login.status, login.problem().as_str()), (503, "store_unavailable"));
    let write = site.post_with_token("/api/v1/write", token, "{}").await;
    assert_eq!(write.status, write_before.status, "{write:?}");
    assert_eq!(site.get_with_token("/api/v1/mine", token).await.status, 200);
    site.faults.heal();
    assert_eq!(site.login("watcher", PASSWORD).await.status, 200);
}
