//! `agon healthcheck` against the real server, and against whatever else may listen there.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use support::{Server, agon, expect, run, stderr, stdout};

#[test]
fn a_server_is_alive_and_ready_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let address = server.base.trim_start_matches("http://").to_owned();
    let alive = expect(0, &["healthcheck", "--listen", &address]);
    assert_eq!(stdout(&alive), format!("{}/livez: ok\n", server.base));
    // The role's own variable, and a machine that listens everywhere.
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // Not ready while it still marks what it found in the log as folded.
        let ready = agon(&["healthcheck", "--ready"]).env("AGON_LISTEN", &everywhere).output();
        let ready = ready.unwrap();
        if ready.status.code() == Some(0) {
            assert_eq!(stdout(&ready), format!("{}/readyz: ok\n", server.base));
            break;
        }
        assert!(stderr(&ready).contains("/readyz: 503: folded: "), "{}", stderr(&ready));
        assert!(Instant::now() < deadline, "{}", stderr(&ready));
    }
    assert_eq!(server.terminate(), Some(0));
    let gone = stderr(&expect(1, &["healthcheck", "--listen", &address]));
    for words in [&address, "refused", "is the role running", "AGON_LISTEN"] {
        assert!(gone.contains(words), "{words}: {gone}");
    }
}

/// What is said of one who answers so; without an answer it keeps the caller waiting.
fn asked(answer: Option<String>, more: &[&str]) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let stranger = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        if let Some(answer) = answer {
            let mut request = [0; 4096];
            assert!(socket.read(&mut request).unwrap() > 0);
            // It may stop reading before the end.
            socket.write_all(answer.as_bytes()).ok();
        }
        // The socket stays open until the caller has given up or gone.
        is_done.recv().ok();
    });
    let output = run(&[&["healthcheck", "--listen", &address], more].concat());
    drop(done);
    stranger.join().unwrap();
    output
}

#[test]
fn no_is_said_with_its_reason() {
    let problem = r#"{"title":"not ready","detail":"log: is away"}"#;
    let answer = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let endless = format!("HTTP/1.1 500 Oh\r\n\r\n{}", "x".repeat(1 << 20));
    for (answer, more, said) in [
        (Some(answer("503 Service Unavailable", problem)), &["--ready"][..], "503: log: is away"),
        (Some(answer("404 Not Found", "<html>")), &[], "404; is it agon that listens there?"),
        (Some(answer("302 Found", "")), &[], "302; is it agon that listens there?"),
        (Some(endless), &[], "500; is it agon that listens there?"),
        (Some("SSH-2.0-stranger\r\n".into()), &[], "not answered: "),
        (None, &["--timeout", "200ms"], "no answer within 200 ms; --timeout"),
    ] {
        let output = asked(answer, more);
        assert_eq!(output.status.code(), Some(1), "{said}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{said}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let said = stderr(&expect(2, &["healthcheck", "--listen", "127.0.0.1:0"]));
    assert!(said.contains("port 0"), "{said}");
    let help = stdout(&expect(0, &["healthcheck", "--help"]));
    assert!(help.contains("/readyz") && help.contains("Exit codes: 0 yes"), "{help}");
}
