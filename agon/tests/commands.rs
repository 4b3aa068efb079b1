//! The command line as a new user meets it: exit codes, clear errors, settings and their sources.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::path::Path;

use support::{Server, agon, expect, matches_csv, stderr, stdout, text, verify};

fn imported(dir: &Path, lines: u32) -> std::path::PathBuf {
    let (file, data) = (dir.join("matches.csv"), dir.join("data"));
    matches_csv(&file, lines, 7);
    expect(0, &["import", "matches", text(&file), "--environment", "e", "--data", text(&data)]);
    data
}

#[test]
fn help_teaches_and_wrong_use_is_2() {
    assert!(stdout(&expect(0, &["--help"])).contains("agon serve --demo"));
    assert!(stdout(&expect(0, &["--version"])).starts_with("agon "));
    let dir = tempfile::tempdir().unwrap();
    for wrong in [
        vec!["fly"],
        vec!["board"],
        vec!["board", "--environment", "a b"],
        vec!["board", "--environment", "e", "--limit", "0"],
        vec!["serve", "--listen"],
        vec!["verify", "--log-level", "=="],
        vec!["board", "--environment", "e", "--server", "ftp://x"],
        vec!["events", "dead-letters", "show", "nonsense", "--data", text(dir.path())],
    ] {
        let output = support::run(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "wrong use left something");
}

#[test]
fn what_is_not_there_is_3_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    for command in ["verify", "rebuild", "stats"] {
        let output = expect(3, &[command, "--data", text(&nowhere)]);
        assert!(stderr(&output).contains("--data"), "{}", stderr(&output));
        assert!(!nowhere.exists());
    }
    let output = expect(3, &["stats", "--server", "http://127.0.0.1:9"]);
    assert!(stderr(&output).contains("is it running?"), "{}", stderr(&output));
}

#[test]
fn an_empty_or_half_made_directory_verifies_as_empty() {
    let dir = tempfile::tempdir().unwrap();
    let report = verify(dir.path());
    assert_eq!((&report["rows"], &report["differences"]), (&0.into(), &0.into()));
    let half = dir.path().join("half");
    std::fs::create_dir_all(half.join("log")).unwrap();
    std::fs::write(half.join("log/00000000000000000001.seg"), b"").unwrap();
    let report = verify(&half);
    assert_eq!((&report["rows"], &report["differences"]), (&0.into(), &0.into()));
}

#[test]
fn unknown_variables_and_keys_are_refused_by_name() {
    let output = agon(&["config", "print"]).env("AGON_FLUSH_INTERVALL_MS", "5").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("AGON_FLUSH_INTERVALL_MS"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agon.toml");
    std::fs::write(&file, "flush_interval_ms = 7\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let output = agon(&["--config", text(&file), "config", "print"])
        .env("AGON_LISTEN", "127.0.0.1:2")
        .output()
        .unwrap();
    let shown = stdout(&output);
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(
        line("flush_interval_ms").contains("= 7") && line("flush_interval_ms").contains("file")
    );
    assert!(line("listen").contains("127.0.0.1:2") && line("listen").contains("environment"));
    assert!(line("flush_rows_max").contains("default"));
    std::fs::write(&file, "flush_intervall_ms = 7\n").unwrap();
    let output = expect(2, &["--config", text(&file), "config", "print"]);
    assert!(stderr(&output).contains("flush_intervall_ms"), "{}", stderr(&output));
    std::fs::write(&file, "not toml").unwrap();
    expect(2, &["--config", text(&file), "config", "print"]);
}

#[test]
fn a_directory_in_use_is_refused_and_served_boards_are_those_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = imported(dir.path(), 300);
    let board = ["board", "--environment", "e", "--format", "json"];
    let from_directory = expect(0, &[board.as_slice(), &["--data", text(&data)]].concat());
    let server = Server::start(&data, &[]);
    let output = expect(3, &["verify", "--data", text(&data)]);
    assert!(stderr(&output).contains("in use"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--server"));
    let from_server = expect(0, &[board.as_slice(), &["--server", &server.base]].concat());
    assert_eq!(stdout(&from_directory), stdout(&from_server));
    let address = server.base.trim_start_matches("http://");
    let other = dir.path().join("other");
    let output = expect(3, &["serve", "--data", text(&other), "--listen", address]);
    assert!(stderr(&output).contains("--listen"), "{}", stderr(&output));
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(verify(&data)["differences"], 0);
}

#[test]
fn bad_lines_are_named_by_file_and_line_and_good_ones_count() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("bad.csv"), dir.path().join("data"));
    let lines = "match_id,played_on,a,b,outcome_a\nm1,2026-01-01,x,y,1\nm2,2026-01-01,x,y,2\n\
        m3,yesterday,x,y,1\nm4,2026-01-01,x,x,1\nm5,2026-01-01,x,y,0.5\n";
    std::fs::write(&file, lines).unwrap();
    let import = ["import", "matches", text(&file), "--environment", "e", "--data", text(&data)];
    let dry = expect(1, &[import.as_slice(), &["--dry-run"]].concat());
    assert!(!data.exists(), "a dry run writes nothing");
    let wet = expect(1, &import);
    for output in [dry, wet] {
        for line in ["bad.csv:3", "bad.csv:4", "bad.csv:5"] {
            assert!(stderr(&output).contains(line), "{line}: {}", stderr(&output));
        }
    }
    let board = expect(0, &["board", "--environment", "e", "--data", text(&data)]);
    assert!(stdout(&board).lines().count() >= 3);
    std::fs::write(&file, "match_id,played_on,a,outcome_a\nm1,2026-01-01,x,1\n").unwrap();
    let output = support::run(&import);
    assert!(matches!(output.status.code(), Some(1 | 2)));
    assert!(stderr(&output).contains("\"b\"") || stderr(&output).contains("b"));
}

#[test]
fn rebuild_gives_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let data = imported(dir.path(), 2_000);
    let before = verify(&data);
    expect(0, &["rebuild", "--data", text(&data)]);
    let after = verify(&data);
    assert_eq!(before["differences"], 0);
    assert_eq!(before, after);
    std::fs::remove_dir_all(data.join("store")).unwrap();
    let missing = support::run(&["verify", "--data", text(&data), "--format", "json"]);
    assert!(missing.status.code() == Some(0), "a store that was removed is folded through nothing");
}

#[test]
fn completions_users_doctor_and_another_partition_count() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&expect(0, &["completions", shell])).contains("agon"));
    }
    let dir = tempfile::tempdir().unwrap();
    let data = imported(dir.path(), 10);
    support::add_user(&data, "ana", "viewer");
    assert!(stdout(&expect(0, &["user", "list", "--data", text(&data)])).contains("ana\tviewer"));
    let doctor = expect(0, &["doctor", "--data", text(&data), "--listen", "127.0.0.1:0"]);
    assert!(stdout(&doctor).lines().all(|line| line.starts_with("ok")), "{}", stdout(&doctor));
    let output = expect(3, &["rebuild", "--data", text(&data), "--partitions", "4"]);
    assert!(stderr(&output).contains("16") && stderr(&output).contains('4'));
    let tail = expect(0, &["events", "tail", "--data", text(&data), "--limit", "3"]);
    assert_eq!(stdout(&tail).lines().count(), 3);
}

#[test]
fn passwords_are_no_flags_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agon.toml");
    let settings = "log = \"kafka://127.0.0.1:9\"\nlog_user = \"ann\"\nlog_password = \"hush\"\n\
        store = \"cql://127.0.0.1:9/a\"\n";
    std::fs::write(&file, settings).unwrap();
    let agon = |args: &[&str]| {
        let args = [&["--config", text(&file)], args].concat();
        agon(&args).env("AGON_STORE_PASSWORD", "hush").output().unwrap()
    };
    let shown = stdout(&agon(&["config", "print"]));
    for (key, source) in [("log_password ", "file"), ("store_password ", "environment")] {
        let line = shown.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line.contains("(secret)") && line.contains(source), "{line}");
    }
    assert!(shown.contains("kafka://127.0.0.1:9") && !shown.contains("hush"), "{shown}");

    let role = ["consumer", "--wait", "0s", "--listen", "127.0.0.1:0"];
    let flag = agon(&[&role[..], &["--log-password", "hush"]].concat());
    let alone = agon(&["doctor", "--listen", "127.0.0.1:0"]);
    let lacking = agon(&[&role[..], &["--log-tls", "--log-certificate", "x"]].concat());
    let named = match cfg!(feature = "kafka-tls") {
        true => "--log-key",
        false => "--features kafka-tls",
    };
    for (output, named) in
        [(flag, "AGON_LOG_PASSWORD_FILE"), (alone, "--store-user"), (lacking, named)]
    {
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(named) && !said.contains("hush"), "{said}");
    }
    // What the file says is enough for a role.
    let away = agon(&[&role[..], &["--store-user", "ann"]].concat());
    assert_eq!(away.status.code(), Some(3), "{}", stderr(&away));
    assert!(stderr(&away).contains("kafka://127.0.0.1:9"), "{}", stderr(&away));
}

#[test]
fn a_password_comes_from_a_file_that_not_everyone_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("password"), dir.path().join("data"));
    let (path, place) = (text(&file).to_owned(), text(&data).to_owned());
    let add = ["user", "add", "ana", "--role", "admin", "--data", &place];
    let from_file = [&add[..], &["--password-file", &path]].concat();
    let missing = stderr(&expect(2, &from_file));
    assert!(missing.contains(&path), "{missing}");
    std::fs::write(&file, "seven-quiet-otters-92\nmore\n").unwrap();
    let may_read = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    may_read(0o644);
    let refused = stderr(&expect(2, &from_file));
    assert!(refused.contains("chmod o-r") && refused.contains(&path), "{refused}");
    assert!(!data.exists(), "a refused password makes nothing");
    let both = [&from_file[..], &["--password-stdin"]].concat();
    assert!(stderr(&expect(2, &both)).contains("--password-stdin"));
    assert!(stderr(&expect(2, &add)).contains("--password-stdin"));
    may_read(0o440);
    let added = expect(0, &from_file);
    for said in [refused, stderr(&added), stdout(&added)] {
        assert!(!said.contains("otters"), "{said}");
    }
    assert!(stdout(&expect(0, &["user", "list", "--data", &place])).contains("ana\tadmin"));
    // As often as one likes, as the Job in Kubernetes does it.
    expect(2, &from_file);
    let again = [&from_file[..], &["--or-set-password"]].concat();
    assert!(stderr(&expect(0, &again)).contains("ana is there with this password"));
    std::fs::write(&file, "eight-loud-herons-17").unwrap();
    let set = stderr(&expect(0, &again));
    assert!(set.contains("logged out") && !set.contains("herons"), "{set}");
    let other = ["--role", "viewer", "--or-set-password"];
    expect(2, &[&from_file[..], &other].concat());
}
