//! Servers that ask who comes, as processes: what the right user may do, and what everyone else is
//! told. Runs on `scripts/servers start --auth yes`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use support::cql::Cql;
use support::servers::Deployment;
use support::{matches_csv, stderr, stdout, text};

/// Password of the users of the store that these tests make.
const STORE_PASSWORD: &str = "very hidden 1";
/// Users of the log have this behind their name as password.
const LOG_PASSWORD: &str = "-secret";
/// Only a refusal ends before that.
const FOREVER: &str = "1h";
/// What does not answer is waited for so long.
const SHORT: &str = "2s";

/// A deployment of its own on servers with users, and the store's first user, who may all. None,
/// said aloud, without servers.
fn secure(kafka: &str) -> Option<(Deployment, Cql)> {
    let address = |name: &str| {
        let found = std::env::var(name).ok();
        if found.is_none() {
            eprintln!("skipped: {name} is not set; run scripts/servers --auth yes");
        }
        found
    };
    let (kafka, cql) = (address(kafka)?, address("TEST_SECURE_CQL")?);
    let operator = Cql::connect(&cql, "cassandra", "cassandra");
    Some((Deployment::at(&kafka, &cql), operator))
}

/// The keyspace of a deployment.
fn keyspace(deployment: &Deployment) -> String {
    deployment.prefix.trim_end_matches('.').to_owned()
}

/// Acts as this user of the log from now on, and as a user of the store with these rights.
fn act_as(deployment: &mut Deployment, log_user: &str, operator: &mut Cql, rights: &[&str]) {
    let user = format!("u{:08x}", rand::random::<u32>());
    operator
        .run(&format!("CREATE ROLE {user} WITH PASSWORD = '{STORE_PASSWORD}' AND LOGIN = true"));
    for right in rights {
        operator.run(&format!("GRANT {right} TO {user}"));
    }
    let file = deployment.file("password", &format!("{STORE_PASSWORD}\n"));
    // Else each start warns of it.
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    deployment.variables = vec![
        ("AGON_LOG_USER", log_user.to_owned()),
        ("AGON_LOG_PASSWORD", format!("{log_user}{LOG_PASSWORD}")),
        ("AGON_STORE_USER", user),
        ("AGON_STORE_PASSWORD_FILE", file),
    ];
}

fn set(deployment: &mut Deployment, name: &'static str, value: &str) {
    deployment.variables.retain(|(known, _)| *known != name);
    deployment.variables.push((name, value.to_owned()));
}

fn unset(deployment: &mut Deployment, names: &[&str]) {
    deployment.variables.retain(|(known, _)| !names.contains(known));
}

/// A file of matches in the log.
fn import(deployment: &Deployment) {
    let file = deployment.file("matches.csv", "");
    matches_csv(file.as_ref(), 50, 3);
    deployment.import("matches", &file, &["--environment", "chess"]);
}

/// Fails unless a command ends with code 3 and one message that names all this and no password.
fn refused(deployment: &Deployment, args: &[&str], named: &[&str]) {
    let output = deployment.expect(3, args);
    let said = stderr(&output);
    // What a command did before, and what it waited for, is no reason for its end.
    let news = ["waiting, for ", " topics made, ", " listens on http"];
    let is_news = |line: &&str| news.iter().any(|words| line.contains(words));
    let lines: Vec<&str> = said.lines().filter(|line| !is_news(line)).collect();
    let [message] = lines[..] else { panic!("{args:?}: not one message: {said}") };
    assert!(message.starts_with("agon: "), "{args:?}: {said}");
    for name in named {
        assert!(message.contains(name), "{args:?}: {name} is not named: {said}");
    }
    hides_passwords(&said);
    assert_eq!(stdout(&output), "");
}

/// The same of a command that was at work, and may have said so before.
fn ended(deployment: &Deployment, args: &[&str], named: &[&str]) {
    let said = stderr(&deployment.expect(3, args));
    let message = said.lines().last().unwrap_or_default();
    assert!(message.starts_with("agon: "), "{args:?}: {said}");
    for name in named {
        assert!(message.contains(name), "{args:?}: {name} is not named: {said}");
    }
    hides_passwords(&said);
}

fn hides_passwords(said: &str) {
    for password in [STORE_PASSWORD, LOG_PASSWORD, "not the password"] {
        assert!(!said.contains(password), "a password is shown: {said}");
    }
}

fn role<'a>(name: &'a str, wait: &'a str) -> [&'a str; 5] {
    [name, "--wait", wait, "--listen", "127.0.0.1:0"]
}

/// Init, an import, a consumer and an API as users with the rights that each needs.
async fn works(deployment: &Deployment) {
    deployment.init(2);
    let consumer = deployment.role("consumer", &[]).await;
    let api = deployment.role("api", &["--intake"]).await;
    let producer = deployment.role("producer", &[]).await;
    import(deployment);
    consumer.drained().await;
    let board = api.get("/leaderboard?environment=chess").await;
    assert!(board["total"].as_u64().unwrap_or(0) > 10, "{board}");
    assert_eq!(deployment.verified()["cells"], 1);
    for role in [consumer, api, producer] {
        hides_passwords(&role.said());
        assert_eq!(role.terminate().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_users_do_everything() {
    let Some((mut deployment, mut operator)) = secure("TEST_SECURE_KAFKA") else { return };
    act_as(&mut deployment, "admin", &mut operator, &["CREATE ON ALL KEYSPACES"]);
    works(&deployment).await;
    let shown = stdout(&deployment.expect(0, &["doctor", "--listen", "127.0.0.1:0"]));
    hides_passwords(&shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_refuses_names_address_setting_and_remedy() {
    let Some((mut deployment, mut operator)) = secure("TEST_SECURE_KAFKA") else { return };
    act_as(&mut deployment, "admin", &mut operator, &["CREATE ON ALL KEYSPACES"]);
    let log = deployment.log.clone();
    deployment.init(2);
    set(&mut deployment, "AGON_LOG_PASSWORD", "not the password");
    for name in ["consumer", "producer", "api"] {
        refused(&deployment, &role(name, FOREVER), &[&log, "--log-user", "AGON_LOG_PASSWORD"]);
    }
    refused(&deployment, &["init", "--wait", FOREVER], &[&log, "AGON_LOG_PASSWORD"]);

    for name in ["guest", "reader"] {
        set(&mut deployment, "AGON_LOG_USER", name);
        set(&mut deployment, "AGON_LOG_PASSWORD", &format!("{name}{LOG_PASSWORD}"));
        let (args, right) = match name {
            "guest" => (role("api", FOREVER), "Describe"),
            _ => (role("consumer", FOREVER), "Read on this group"),
        };
        refused(&deployment, &args, &[&log, name, right, "--log-user"]);
    }
    let file = deployment.file("matches.csv", "");
    matches_csv(file.as_ref(), 5, 3);
    let import = ["import", "matches", text(file.as_ref()), "--environment", "chess"];
    ended(&deployment, &import, &[&log, "reader", "Write", "--log-user"]);
    deployment.prefix = "elsewhere.".to_owned();
    refused(&deployment, &["init", "--wait", FOREVER], &[&log, "elsewhere.", "Create"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_kind_of_connection_names_address_setting_and_remedy() {
    let Some((mut deployment, mut operator)) = secure("TEST_SECURE_KAFKA") else { return };
    act_as(&mut deployment, "admin", &mut operator, &[]);
    let log = deployment.log.clone();
    let tls = format!("kafka://{}", std::env::var("TEST_SECURE_KAFKA_SASL_TLS").unwrap());
    deployment.log = tls.clone();
    refused(&deployment, &role("consumer", SHORT), &[&tls, "--log-tls"]);
    unset(&mut deployment, &["AGON_LOG_USER", "AGON_LOG_PASSWORD"]);
    refused(&deployment, &role("consumer", SHORT), &[&tls, "--log-tls"]);
    deployment.log = log.clone();
    refused(&deployment, &role("producer", SHORT), &[&log, "--log-user", "AGON_LOG_PASSWORD"]);
    deployment.log = "kafka://127.0.0.1:9".to_owned();
    refused(&deployment, &role("api", SHORT), &["kafka://127.0.0.1:9", "--log"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_names_address_setting_and_remedy() {
    let Some((mut deployment, mut operator)) = secure("TEST_SECURE_KAFKA") else { return };
    act_as(&mut deployment, "admin", &mut operator, &["CREATE ON ALL KEYSPACES"]);
    let (store, keyspace) = (deployment.store.clone(), keyspace(&deployment));
    deployment.init(2);
    let consumer = deployment.role("consumer", &[]).await;
    assert_eq!(consumer.terminate().await, Some(0));
    import(&deployment);

    // Who only reads is refused with the first flush, and nobody who may read nothing gets so far.
    act_as(&mut deployment, "admin", &mut operator, &[&format!("SELECT ON KEYSPACE {keyspace}")]);
    ended(&deployment, &role("consumer", FOREVER), &[&store, "MODIFY", "--store-user"]);
    act_as(&mut deployment, "admin", &mut operator, &[]);
    for name in ["consumer", "producer", "api"] {
        refused(&deployment, &role(name, FOREVER), &[&store, "SELECT", "--store-user"]);
    }
    let made = deployment.with(&deployment.prefix, &format!("{store}_new"));
    let init = ["init", "--partitions", "2", "--wait", FOREVER];
    refused(&made, &init, &["_new", "CREATE", "--store-user"]);

    operator.run(&format!(
        "CREATE KEYSPACE {keyspace}_own WITH replication = \
         {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    ));
    let own = deployment.with(&deployment.prefix, &format!("{store}_own"));
    for name in ["consumer", "producer", "api"] {
        refused(&own, &role(name, SHORT), &["_own", "has no tables", "agon init", "--store"]);
    }
    unset(&mut deployment, &["AGON_STORE_USER", "AGON_STORE_PASSWORD_FILE"]);
    refused(&deployment, &role("api", SHORT), &[&store, "--store-user", "AGON_STORE_PASSWORD"]);
    set(&mut deployment, "AGON_STORE_USER", "cassandra");
    set(&mut deployment, "AGON_STORE_PASSWORD", "not the password");
    let wrong = [&*store, "--store-user cassandra", "AGON_STORE_PASSWORD"];
    refused(&deployment, &role("consumer", FOREVER), &wrong);
    let nobody = deployment.with(&deployment.prefix, "cql://127.0.0.1:9/agon");
    refused(&nobody, &role("api", SHORT), &["cql://127.0.0.1:9/agon", "--store"]);
}

/// The same over TLS, with a password that is proved and not sent; and what does not go together.
#[cfg(feature = "kafka-tls")]
#[tokio::test(flavor = "multi_thread")]
async fn tls_works_and_its_absence_is_named() {
    let Some((mut deployment, mut operator)) = secure("TEST_SECURE_KAFKA_SASL_TLS") else { return };
    act_as(&mut deployment, "admin", &mut operator, &["CREATE ON ALL KEYSPACES"]);
    let log = deployment.log.clone();
    set(&mut deployment, "AGON_LOG_SASL", "scram-sha-256");
    set(&mut deployment, "AGON_LOG_TLS", "true");
    refused(&deployment, &role("consumer", FOREVER), &[&log, "certificate", "--log-ca"]);
    set(&mut deployment, "AGON_LOG_CA", &std::env::var("TEST_SECURE_CA").unwrap());
    works(&deployment).await;
    set(&mut deployment, "AGON_LOG_PASSWORD", "not the password");
    refused(&deployment, &role("consumer", FOREVER), &[&log, "AGON_LOG_PASSWORD"]);
    let plain = format!("kafka://{}", std::env::var("TEST_SECURE_KAFKA").unwrap());
    deployment.log = plain.clone();
    refused(&deployment, &role("consumer", SHORT), &[&plain, "leave out --log-tls"]);
}
