//! `agon events`: a directory and the server that holds it show the same.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use support::{Server, add_user, expect, matches_csv, stderr, stdout, text};

/// Matches, changes, and lines that are no change.
fn fill(dir: &Path) -> std::path::PathBuf {
    let data = dir.join("data");
    let matches = dir.join("matches.csv");
    matches_csv(&matches, 30, 7);
    let import = ["import", "matches", text(&matches), "--environment", "e", "--data", text(&data)];
    expect(0, &import);
    let changes = dir.join("changes.jsonl");
    let good = r#"{"id":1,"timestamp":1700000000,"user":"ann","bot":false,"server_name":"w.org",
        "meta":{"id":"c1","dt":"2023-11-14T22:13:20Z"}}"#;
    let bad = "no json \u{1b}[2J\n{\"meta\":{\"id\":\"c2\"},\"user\":7}\n[]\n";
    std::fs::write(&changes, format!("{}\n{bad}", good.replace('\n', ""))).unwrap();
    support::run(&["import", "recentchange", text(&changes), "--data", text(&data)]);
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_and_its_server_show_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let data = fill(dir.path());
    add_user(&data, "op", "operator");
    add_user(&data, "viewer", "viewer");
    let at_data =
        |command: &[&str]| stdout(&expect(0, &[command, &["--data", text(&data)]].concat()));
    let list = at_data(&["events", "dead-letters", "list"]);
    let ids: Vec<&str> = list.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert!(ids.len() >= 2, "{list}");
    let mut commands = vec![
        vec!["events", "tail"],
        vec!["events", "tail", "--limit", "3"],
        vec!["events", "tail", "--limit", "1000"],
        vec!["events", "dead-letters", "list"],
        vec!["events", "dead-letters", "list", "--limit", "1"],
    ];
    commands.extend(ids.iter().map(|id| vec!["events", "dead-letters", "show", id]));
    let shown: Vec<String> = commands.iter().map(|command| at_data(command)).collect();
    assert_eq!(shown[0].lines().count(), 20);
    assert_eq!(shown[1].lines().count(), 3);
    assert!(shown[2].ends_with(&shown[1]), "{}", shown[2]);
    assert!(shown[2].contains("no event: "), "{}", shown[2]);
    assert_eq!(shown[4].lines().count(), 1);
    assert!(shown.iter().all(|text| !text.contains('\u{1b}')), "a terminal would obey");

    let server = Server::start(&data, &[]);
    let operator = server.login("op").await;
    let asked =
        |token: &str| ["--server".into(), server.base.clone(), "--token".into(), token.into()];
    let run = |code: i32, command: &[&str], token: &str| {
        let asked: [String; 4] = asked(token);
        expect(code, &[command, &asked.each_ref().map(String::as_str)].concat())
    };
    for (command, shown) in commands.iter().zip(&shown) {
        assert_eq!(&stdout(&run(0, command, &operator)), shown, "{command:?}");
    }
    let viewer = server.login("viewer").await;
    for command in &commands {
        assert!(stderr(&run(3, command, &viewer)).contains("--token"), "{command:?}");
    }
    let counted = ["events", "dead-letters", "show", "agon.matches.v1/0/0"];
    run(1, &counted, &operator);
    run(2, &["events", "dead-letters", "show", "nonsense"], &operator);
    run(2, &["events", "tail", "--limit", "1001"], &operator);
    assert_eq!(server.terminate(), Some(0));
    expect(1, &[counted.as_slice(), &["--data", text(&data)]].concat());
}
