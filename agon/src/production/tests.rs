//! Each row finds its own thing and nothing near it, and nothing is found where all is as it
//! should be.

use super::*;

/// A role on servers as production wants it.
fn safe() -> Start {
    let link = |address: &str, of| Link {
        address: address.into(),
        has_tls: true,
        password: Some(Password { of, is_sent: true, is_weak: false, file: None }),
        secret_files: Vec::new(),
    };
    Start {
        listen: Listening::look("0.0.0.0:8080"),
        metrics_listen: Some(Listening::look("127.0.0.1:9100")),
        log: Some(link("kafka://k-1:9093,k-2:9093", "--log-user")),
        store: Some(link("cql://c-1:9042,c-2:9042/agon", "--store-user")),
        ..Start::default()
    }
}

/// The names of what is found after a change of what is safe.
fn found(change: impl FnOnce(&mut Start)) -> Vec<String> {
    let mut start = safe();
    change(&mut start);
    let findings = start.findings(&[]);
    findings.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

fn log(start: &mut Start) -> &mut Link {
    start.log.as_mut().unwrap()
}

fn store(start: &mut Start) -> &mut Link {
    start.store.as_mut().unwrap()
}

fn password(link: &mut Link) -> &mut Password {
    link.password.as_mut().unwrap()
}

/// A change of what is safe.
type Change = Box<dyn FnOnce(&mut Start)>;

#[test]
fn each_row_finds_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), mode).unwrap();
    let (of_password, of_key) = (SecretFile::look(file.path()), SecretFile::look(file.path()));
    let rows: Vec<(&str, Change)> = vec![
        ("demo", Box::new(|s| s.demo = true)),
        ("generated-password", Box::new(|s| s.first_admin = Some(FirstAdmin::ToBeMade))),
        (
            "generated-password",
            Box::new(|s| s.first_admin = Some(FirstAdmin::InFile("data/credentials".into()))),
        ),
        ("public-metrics", Box::new(|s| s.metrics_listen = None)),
        ("public-metrics", Box::new(|s| s.metrics_listen = Some(Listening::look("0.0.0.0:9100")))),
        ("public-metrics", Box::new(|s| s.metrics_listen = Some(Listening::look("[::]:9100")))),
        (
            "public-metrics",
            Box::new(|s| s.metrics_listen = Some(Listening::look("192.0.2.7:9100"))),
        ),
        (
            "log-plaintext",
            Box::new(|s| {
                log(s).has_tls = false;
                password(log(s)).is_sent = false;
            }),
        ),
        (
            "log-plaintext",
            Box::new(|s| {
                *log(s) = Link { address: "kafka://localhost:1,k:2".into(), ..Link::default() }
            }),
        ),
        ("store-plaintext", Box::new(|s| store(s).has_tls = false)),
        ("weak-password", Box::new(|s| password(log(s)).is_weak = true)),
        ("weak-password", Box::new(|s| password(store(s)).is_weak = true)),
        ("open-secret-file", Box::new(|s| password(store(s)).file = Some(of_password))),
        ("open-secret-file", Box::new(|s| log(s).secret_files.push(of_key))),
        ("anonymous-source", Box::new(|s| s.is_source_anonymous = true)),
        ("test-build", Box::new(|s| s.has_faults = true)),
    ];
    for (index, (name, change)) in rows.into_iter().enumerate() {
        assert_eq!(found(change), [name], "row {index}");
    }
    // A password that is sent goes with a line that all can read.
    let sent = found(|s| log(s).has_tls = false);
    assert_eq!(sent, ["log-plaintext", "log-password-in-clear"]);
}

#[test]
fn what_is_near_is_not_found() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mode = std::fs::Permissions::from_mode(0o440);
    std::fs::set_permissions(file.path(), mode).unwrap();
    let of_password = SecretFile::look(file.path());
    let here = |address: &str| Link { address: address.into(), ..Link::default() };
    let (one, three) =
        (here("kafka://127.0.0.1:1"), here("kafka://[::1]:1,localhost:2,127.9.9.9:3"));
    let cassandra = here("cql://127.0.0.1:9042/agon");
    let rows: Vec<Change> = vec![
        Box::new(|_| ()),
        Box::new(|s| (s.log, s.store) = (None, None)),
        Box::new(|s| *log(s) = one),
        Box::new(|s| *log(s) = three),
        Box::new(|s| *store(s) = cassandra),
        Box::new(|s| (s.listen, s.metrics_listen) = (Listening::look("127.0.0.1:8080"), None)),
        Box::new(|s| (s.listen, s.metrics_listen) = (Listening::look("10.1.2.3:8080"), None)),
        Box::new(|s| s.metrics_listen = Some(Listening::look("192.168.7.7:9100"))),
        Box::new(|s| s.metrics_listen = Some(Listening::look("[fd00::7]:9100"))),
        Box::new(|s| s.metrics_listen = Some(Listening::look("no address"))),
        Box::new(|s| password(store(s)).file = Some(of_password)),
        Box::new(|s| log(s).secret_files.push(SecretFile::look("/nowhere".as_ref()))),
    ];
    for (index, change) in rows.into_iter().enumerate() {
        assert_eq!(found(change), Vec::<String>::new(), "row {index}");
    }
}

#[test]
fn every_name_is_looked_for_once_and_can_be_allowed() {
    let mut start = safe();
    start.demo = true;
    start.has_faults = true;
    for name in Unsafe::value_variants() {
        assert_eq!(CHECKS.iter().filter(|check| check.name == *name).count(), 1, "{name}");
    }
    assert_eq!(start.findings(&[Unsafe::Demo]).len(), 1);
    assert_eq!(start.findings(Unsafe::value_variants()), Vec::<String>::new());
}

#[test]
fn production_refuses_all_at_once_and_development_goes_on() {
    let mut start = safe();
    start.demo = true;
    log(&mut start).has_tls = false;
    let guard = |profile| cli::Guard { profile, allow: vec![Unsafe::LogPasswordInClear] };
    start.check(&guard(Profile::Development)).unwrap();
    let Err(Exit::Usage(said)) = start.check(&guard(Profile::Production)) else {
        unreachable!("what is unsafe was let through");
    };
    for words in ["found 2:", "\n  demo: ", "leave --demo out", "\n  log-plaintext: ", "--log-tls"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("log-password-in-clear:"), "{said}");
    safe().check(&guard(Profile::Production)).unwrap();
}
