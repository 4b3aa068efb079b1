//! Tokens that somebody tampered with, made up or kept too long: 401, always the same one.

use std::time::Duration;

use agon_edge::{Auth, AuthSettings, Limits, Role};
use agon_ports::ControlStore;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::site::Site;

/// 2026-11-21T10:00:00Z, where the site's clock stands.
const NOW_S: i64 = 1_795_255_200;

/// Signs whatever it is given with the site's own key, as no outsider could.
struct Forge {
    secret: Vec<u8>,
}

impl Forge {
    async fn of(site: &Site) -> Forge {
        let stored = site.store.get("signing-key/k1").await.unwrap().unwrap();
        let key: Value = serde_json::from_slice(&stored.value).unwrap();
        Forge { secret: STANDARD.decode(key["secret"].as_str().unwrap()).unwrap() }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(header), encode(claims));
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).unwrap();
        let tag = mac.chain_update(&message).finalize().into_bytes();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    }
}

fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "HS256", "kid": "k1"})
}

fn claims() -> Value {
    json!({
        "iss": "agon", "aud": "agon-api", "sub": "service:test", "exp": NOW_S + 900,
        "nbf": NOW_S, "iat": NOW_S, "jti": "j-1", "roles": ["producer"], "session_version": 0,
    })
}

fn with(mut object: Value, name: &str, value: Value) -> String {
    if value.is_null() {
        object.as_object_mut().unwrap().remove(name);
    } else {
        object[name] = value;
    }
    object.to_string()
}

/// Every token is refused with one and the same body.
async fn all_refused(site: &Site, tokens: &[(&str, String)]) {
    let same = |answer: crate::site::Answer| {
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"));
        let mut body = answer.json();
        body["request_id"] = "-".into();
        body
    };
    let without = same(site.get("/api/v1/mine").await);
    for (what, token) in tokens {
        let answer = site.get_with_token("/api/v1/mine", token).await;
        assert_eq!(answer.status, 401, "{what}");
        assert_eq!(same(answer), without, "{what}");
    }
}

#[tokio::test]
async fn the_forge_is_right_when_nothing_is_tampered_with() {
    let site = Site::new().await;
    let forge = Forge::of(&site).await;
    let token = forge.sign(&header().to_string(), &claims().to_string());
    let answer = site.get_with_token("/api/v1/mine", &token).await;
    assert_eq!((answer.status, answer.text()), (200, "service:test"));
}

#[tokio::test]
async fn tampered_headers_and_signatures() {
    let site = Site::new().await;
    let forge = Forge::of(&site).await;
    let fine = claims().to_string();
    let mut tokens = Vec::new();
    for alg in ["none", "None", "nOnE", "NONE", "", "HS384", "HS512", "RS256", "ES256", "hs256"] {
        tokens.push((alg, forge.sign(&with(header(), "alg", alg.into()), &fine)));
    }
    for typ in ["JWT", "jwt", "rt+jwt", "AT+JWT", ""] {
        tokens.push((typ, forge.sign(&with(header(), "typ", typ.into()), &fine)));
    }
    for kid in ["../../etc/passwd", "k1'--", "k2", "", "K1", "k1\u{0}", &"k".repeat(2048)] {
        tokens.push(("kid", forge.sign(&with(header(), "kid", kid.into()), &fine)));
    }
    for name in ["typ", "alg", "kid"] {
        tokens.push((name, forge.sign(&with(header(), name, Value::Null), &fine)));
    }
    for name in ["jku", "x5u", "jwk", "x5c", "crit", "b64", "zip"] {
        tokens.push((name, forge.sign(&with(header(), name, "http://127.0.0.1/".into()), &fine)));
    }
    let twice = r#"{"typ":"at+jwt","alg":"HS256","kid":"k1","kid":"k1"}"#;
    tokens.push(("kid twice", forge.sign(twice, &fine)));

    let good = forge.sign(&header().to_string(), &fine);
    let (message, _) = good.rsplit_once('.').unwrap();
    let stranger = Forge { secret: vec![7; 32] };
    let none = URL_SAFE_NO_PAD.encode(with(header(), "alg", "none".into()));
    let parts: Vec<&str> = good.split('.').collect();
    tokens.extend([
        ("another key", stranger.sign(&header().to_string(), &fine)),
        ("empty signature", format!("{message}.")),
        ("no signature", message.to_owned()),
        ("none without signature", format!("{none}.{}.", parts[1])),
        ("cut signature", good[..good.len() - 2].to_owned()),
        ("padded", format!("{good}=")),
        ("four parts", format!("{good}.{}", parts[2])),
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("no token", "not-a-token".to_owned()),
        ("oversized", format!("{good}{}", "A".repeat(8192))),
        ("trailing space", format!("{good} ")),
        ("leading space", format!(" {good}")),
    ]);
    all_refused(&site, &tokens).await;
    assert_eq!(site.get_with_token("/api/v1/mine", &good).await.status, 200);
}

#[tokio::test]
async fn tampered_claims() {
    let site = Site::new().await;
    let forge = Forge::of(&site).await;
    let head = header().to_string();
    let mut tokens = Vec::new();
    for name in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "roles", "session_version"] {
        tokens.push((name, forge.sign(&head, &with(claims(), name, Value::Null))));
    }
    for (name, value) in [
        ("exp", json!((NOW_S + 900).to_string())),
        ("exp", json!(-1)),
        ("exp", json!(1e20)),
        ("exp", json!(NOW_S as f64 + 900.5)),
        ("exp", json!(NOW_S - 5)),
        ("exp", json!(u64::MAX)),
        ("nbf", json!(NOW_S.to_string())),
        ("nbf", json!(NOW_S + 6)),
        ("iat", json!(NOW_S + 6)),
        ("aud", json!("another-api")),
        ("aud", json!(["agon-api"])),
        ("iss", json!("another")),
        ("iss", json!(["agon"])),
        ("sub", json!("")),
        ("jti", json!("")),
        ("roles", json!(["root"])),
        ("roles", json!("admin")),
        ("session_version", json!("0")),
        ("scope", json!("all")),
    ] {
        tokens.push((name, forge.sign(&head, &with(claims(), name, value))));
    }
    let fine = claims().to_string();
    let twice = fine.replacen("{", "{\"sub\":\"service:test\",", 1);
    tokens.push(("sub twice", forge.sign(&head, &twice)));
    tokens.push(("not json", forge.sign(&head, "claims")));

    let good = forge.sign(&head, &fine);
    let edited = URL_SAFE_NO_PAD.encode(with(claims(), "roles", json!(["admin"])));
    let parts: Vec<&str> = good.split('.').collect();
    tokens.push(("edited", format!("{}.{edited}.{}", parts[0], parts[2])));
    all_refused(&site, &tokens).await;
}

#[tokio::test]
async fn a_token_ends_by_the_clock_even_when_it_is_remembered() {
    let site = Site::new().await;
    let token = site.auth.service_token("test", &[Role::Viewer]).unwrap();
    assert_eq!(token.expires_in_s, 900);
    let status = async || site.get_with_token("/api/v1/mine", &token.token).await.status;
    assert_eq!(status().await, 200);
    site.clock.advance(Duration::from_secs(904)).unwrap();
    assert_eq!(status().await, 200, "within the leeway");
    site.clock.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(status().await, 401);
    site.clock.set("2026-11-21T09:59:54Z".parse().unwrap());
    assert_eq!(status().await, 401, "before it was made");
}

#[tokio::test]
async fn other_schemes_and_two_headers_are_no_token() {
    let site = Site::new().await;
    let token = site.auth.service_token("test", &[Role::Viewer]).unwrap().token;
    let bearer = format!("Bearer {token}");
    for values in [
        vec![format!("Basic {token}")],
        vec![token.clone()],
        vec![format!("Bearer{token}")],
        vec![bearer.clone(), bearer.clone()],
        vec![String::new()],
    ] {
        let mut request = axum::http::Request::get("/api/v1/mine");
        for value in &values {
            request = request.header("authorization", value);
        }
        let answer = site.call(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(), "unauthenticated");
    }
    let query = format!("/api/v1/mine?access_token={token}");
    assert_eq!(site.get(&query).await.status, 401);
}

#[tokio::test]
async fn every_process_on_one_store_signs_with_one_key() {
    let site = Site::new().await;
    let clock = std::sync::Arc::new(site.clock.clone());
    let store = std::sync::Arc::new(site.store.clone());
    let other = Auth::open(store, clock, AuthSettings::default()).await.unwrap();
    let token = other.service_token("other", &[Role::Viewer]).unwrap().token;
    assert_eq!(site.get_with_token("/api/v1/mine", &token).await.text(), "service:other");

    let stranger = Site::new().await;
    let token = stranger.auth.service_token("other", &[Role::Viewer]).unwrap().token;
    assert_eq!(site.get_with_token("/api/v1/mine", &token).await.status, 401);
}

/// A write asks whether the session still stands; a read believes the token.
#[tokio::test]
async fn a_write_notices_a_session_that_ended() {
    let settings = AuthSettings { session_check_ms: 1000, ..AuthSettings::default() };
    let site = Site::with(settings, Limits::default()).await;
    let password = "seven-quiet-otters-92";
    site.auth.users().add("machine", password, &[Role::Producer]).await.unwrap();
    let token = site.login("machine", password).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let write = async || site.post_with_token("/api/v1/write", token, r#"{"name":"x"}"#).await;
    assert_eq!(write().await.text(), "machine wrote x");

    let stored = site.store.get("user/machine").await.unwrap().unwrap();
    let mut user: Value = serde_json::from_slice(&stored.value).unwrap();
    user["session_version"] = 2.into();
    let value = serde_json::to_vec(&user).unwrap();
    site.store.put("user/machine", &value, stored.version).await.unwrap();
    site.clock.advance(Duration::from_millis(1000)).unwrap();
    assert_eq!(write().await.problem(), "unauthenticated");
    assert_eq!(site.get_with_token("/api/v1/mine", token).await.status, 200);
}
