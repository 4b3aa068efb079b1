//! `--profile production`: what is unsafe refuses to start, all of it at once; else it is a
//! warning. And a start as production wants it.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{Server, add_user, agon, expect, http, run, stderr, text};

const PRODUCTION: [&str; 2] = ["--profile", "production"];

/// What a refused start says.
fn refused(args: &[&str]) -> String {
    let output = expect(2, &[args, &PRODUCTION].concat());
    stderr(&output)
}

#[test]
fn serve_names_all_that_is_unsafe_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let serve = ["serve", "--demo", "--data", text(&data), "--listen", "0.0.0.0:0"];
    let said = refused(&[&serve[..], &["--source", "wikimedia"]].concat());
    for words in [
        "found 4:",
        "demo: --demo",
        "leave --demo out",
        "generated-password: ",
        "agon user add NAME --role admin",
        "public-metrics: ",
        "--metrics-listen 127.0.0.1:9100",
        "anonymous-source: ",
        "--source-user-agent",
        "--allow NAME",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!data.exists(), "a refused start made the directory");
    let said = stderr(&expect(2, &[&serve[..], &["--allow", "everything"]].concat()));
    assert!(said.contains("log-plaintext"), "the names are not told: {said}");
}

#[test]
fn a_role_names_what_is_unsafe_before_it_asks_any_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "short\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    // Of a network that is for documents alone.
    let servers = ["--log", "kafka://192.0.2.1:9092", "--store", "cql://192.0.2.1:9042/agon"];
    for role in [&["consumer"][..], &["producer"], &["api", "--intake"]] {
        let start = |more: &[&str]| {
            let mut role =
                agon(&[role, &servers, &["--listen", "127.0.0.1:0", "--wait", "0s"]].concat());
            role.args(more).env("AGON_LOG_USER", "ann").env("AGON_LOG_PASSWORD_FILE", &file);
            role.output().unwrap()
        };
        let output = start(&PRODUCTION);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{role:?}: {said}");
        for name in [
            "log-plaintext: ",
            "log-password-in-clear: ",
            "store-plaintext: ",
            "weak-password: ",
            "open-secret-file: ",
        ] {
            assert!(said.contains(name), "{role:?}: {name}: {said}");
        }
        assert!(said.contains("found 5:") && !said.contains("short"), "{role:?}: {said}");
        // Said to be meant, it goes on to the servers, which are not there.
        let names = "log-plaintext,log-password-in-clear,store-plaintext,weak-password,\
            open-secret-file";
        let output = start(&[&PRODUCTION[..], &["--allow", names]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{role:?}: {said}");
        assert!(!said.contains("unsafe"), "{role:?}: {said}");
    }
}

/// The warnings of a start on a port that is taken, by name.
fn warnings(data: &Path, port_holder: &Server, more: &[&str]) -> Vec<String> {
    let taken = port_holder.base.trim_start_matches("http://");
    let output = run(&[&["serve", "--data", text(data), "--listen", taken], more].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let said = stderr(&output);
    let lines = said.lines().filter_map(|line| line.split_once("unsafe where others reach it: "));
    lines.map(|(_, rest)| rest.split(':').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn elsewhere_each_is_one_warning_and_production_starts_once_all_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    let (data, new) = (dir.path().join("data"), dir.path().join("new"));
    add_user(&data, "ana", "admin");
    let server = Server::start(&data, &PRODUCTION);
    assert_eq!(warnings(&new, &server, &["--demo"]), ["demo", "generated-password"]);
    assert_eq!(warnings(&new, &server, &["--allow", "generated-password"]), [""; 0]);

    // No page of another site may read what it answers: no origin is let in, there is no wildcard.
    let request = http().get(format!("{}/leaderboard", server.base));
    let answer = request.header("origin", "http://elsewhere.example").send().await.unwrap();
    let is_cors = |name: &&str| name.starts_with("access-control-");
    let names: Vec<&str> = answer.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names.iter().find(|name| is_cors(name)), None, "{names:?}");
    server.login("ana").await;
    assert_eq!(server.terminate(), Some(0));
    assert!(!data.join("credentials").exists());
}
