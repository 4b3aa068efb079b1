//! Files with everything that can be wrong in them: each bad line is named, the good ones count.

use agon_producer::import::ImportReport;
use serde_json::json;

use crate::files::{
    Files, bad_lines, dry_run, gzip, import_into, matches, open, submissions, sums,
};
use crate::world::{World, benchmark};

const HEADER: &str = "match_id,played_on,a,b,outcome_a";

/// The bad lines must be those expected, by their number and a part of what is said.
fn check_bad(report: &ImportReport, expected: &[(u64, &str)]) {
    let bad = bad_lines(report);
    assert_eq!(bad.len(), expected.len(), "{bad:#?}");
    for (line, (number, part)) in bad.iter().zip(expected) {
        assert!(line.starts_with(&format!("{number}: ")) && line.contains(part), "{line}\n{part}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_lines_of_a_matches_csv() {
    let files = Files::new();
    let lines = [
        "match_id,played_on,a,b,outcome_a,score_a,score_b,home,round,note",
        "m1,2026-01-01,ann,bob,1,3,1,a,final,",
        "m2,2026-01-02,ann,bob,0.50,,,,,",
        "m3,2026-01-03,ann,bob,2,,,,,",
        "m4,2026-01-04,ann,ann,1,,,,,",
        "m5,yesterday,ann,bob,1,,,,,",
        "m6,2026-01-06,ann,bob",
        "m7,2026-01-07,,bob,1,,,,,",
        "m8,2026-01-08,ann,bob,1,NaN,,,,",
        "m9,2026-01-09,ann,bob,1,,,c,,",
        ",2026-01-10,ann,bob,1,,,,,",
        "",
        "m12,2026-01-12,\"Korea, South\",bob,0,,,,,\"two\nlines\"",
        "m13,,ann,bob,0,,,,,",
        "m14,2026-01-14,ann,bob,1,,,,,trailing",
    ];
    let mut bytes = b"\xef\xbb\xbf".to_vec();
    bytes.extend(lines.join("\r\n").into_bytes());
    bytes.extend(b"\r\nm16,2026-01-01,\xff,bob,1,,,,,\r\n");
    let path = files.write("m.csv", &bytes);
    let mut world = World::new();
    let report = import_into(&world, &path, matches("e")).await;
    check_bad(
        &report,
        &[
            (4, "\"outcome_a\" is \"2\"; write 1, 0.5 or 0"),
            (5, "\"a\" and \"b\" both say \"ann\""),
            (6, "\"played_on\" is not a time"),
            (7, "has 4 fields, the header has 10"),
            (8, "\"a\" is empty"),
            (9, "\"score_a\" is \"NaN\""),
            (10, "\"home\" is \"c\""),
            (11, "\"match_id\" is empty"),
            (15, "\"played_on\" is not a time"),
            (17, "field 3 is not UTF-8"),
        ],
    );
    assert_eq!(sums(&report), [14, 4, 0, 10, 0]);
    assert_eq!(report.notes, ["environment e was not defined; defined it with Elo's defaults"]);
    assert_eq!(
        report.named[0].to_string(),
        format!("{}:4: {}", path.display(), report.named[0].what)
    );
    world.folder.fold().await;
    assert_eq!(world.folder.counts().counted, 5);
    let records = world.all_records().await;
    let context = |index: usize| match agon_schema::decode(&records[index].1).unwrap() {
        agon_schema::Event::MatchFinished(event) => {
            event.context.map(|context| context.as_json().to_owned())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(context(1).as_deref(), Some(r#"{"round":"final"}"#));
    assert_eq!(context(2), None);
    assert_eq!(context(3).as_deref(), Some(r#"{"note":"two\nlines"}"#));
    let again = import_into(&world, &path, matches("e")).await;
    assert_eq!(sums(&again), [14, 0, 4, 10, 0]);
    assert_eq!(again.notes, Vec::<String>::new());
    assert_eq!(world.records().await, 5);
}

#[test]
fn a_file_that_cannot_be_read_at_all_says_why() {
    let files = Files::new();
    let check = |name: &str, bytes: &[u8], part: &str| {
        let path = files.write(name, bytes);
        let error = open(&path, matches("e")).err().unwrap().to_string();
        assert!(error.contains(part) && error.contains(name), "{error}\n{part}");
    };
    check("a.csv", b"", ":1: the file is empty; its header is match_id,");
    check("b.csv.gz", &gzip(""), "the file is empty");
    check("c.csv", b"match_id,a,b,outcome_a\n", "column \"played_at|played_on\" is missing");
    check("d.csv", b"id;a;b\n1;x;y\n", "\"match_id\" is missing; found: id;a;b");
    check("e.csv", b"match_id,played_on,a,b,result\n", "found: match_id, played_on, a, b, result");
    check("f.csv", b"match_id,played_on,a,a,b,outcome_a\n", "column \"a\" stands twice");
    check("g.csv", b"match_id,\xff\n", "field 2 is not UTF-8");
    check("h.txt", b"x", "must end in .csv or .jsonl");
    check("i.csv.gz", &gzip(HEADER)[..15], "cut off");
    let missing = open(&files.write("j.csv", "").with_file_name("no.csv"), matches("e"));
    assert!(missing.err().unwrap().to_string().contains("no.csv"));
    let directory = files.write("k", "").parent().unwrap().join("dir.csv");
    std::fs::create_dir(&directory).unwrap();
    assert!(open(&directory, matches("e")).err().unwrap().to_string().contains("directory"));
}

#[tokio::test(start_paused = true)]
async fn a_gzip_cut_in_the_middle_keeps_what_is_whole() {
    let rows: String =
        (0..20_000).map(|n| format!("m{n},2026-01-01,a{},b{},1\n", n % 977, n % 389)).collect();
    let mut packed = gzip(format!("{HEADER}\n{rows}"));
    packed.truncate(packed.len() / 2);
    let files = Files::new();
    let path = files.write("cut.csv.gz", packed);
    let world = World::new();
    let report = import_into(&world, &path, matches("e")).await;
    let [read, appended, _, refused, _] = sums(&report);
    assert_eq!((read, refused), (appended + 1, 1));
    assert!(appended > 1000, "{appended}");
    let cut = &report.named[0];
    assert_eq!(cut.line, appended + 2);
    assert!(cut.what.contains(&format!("the last good line is {}", appended + 1)), "{cut}");
    assert_eq!(world.records().await, appended + 1);
}

#[tokio::test(start_paused = true)]
async fn matches_of_more_players_come_as_json() {
    let files = Files::new();
    let three = |id: &str, environment: &str| {
        let players: Vec<_> =
            (1..=3).map(|n| json!({"agent": format!("a{n}"), "placement": n})).collect();
        let mut body = json!({"environment": environment, "players": players});
        if !id.is_empty() {
            body["match_id"] = json!(id);
        }
        if environment.is_empty() {
            body.as_object_mut().unwrap().remove("environment");
        }
        body.to_string()
    };
    let lines = [
        three("m1", "e"),
        three("m2", ""),
        three("", "e"),
        three("", "e"),
        three("m5", "other"),
        "not json".to_owned(),
        three("m7", "e").replace("placement", "place"),
        three("m1", "e"),
        three("m1", "e").replace("a1", "a9"),
        "7".to_owned(),
    ];
    let path = files.write("m.jsonl.gz", gzip(lines.join("\n")));
    let mut world = World::new();
    let report = import_into(&world, &path, matches("e")).await;
    // What conflicts is found when the batch is in the log, so it is named last.
    check_bad(
        &report,
        &[
            (5, "/environment is \"other\", but --environment says \"e\""),
            (6, "line 1 column"),
            (7, "/players/0/place"),
            (10, "one JSON object"),
            (9, "conflicting_duplicate"),
        ],
    );
    assert_eq!(sums(&report), [10, 4, 1, 5, 0]);
    world.folder.fold().await;
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.rejected), (5, 1));
    let again = import_into(&world, &path, matches("e")).await;
    assert_eq!(sums(&again), [10, 0, 5, 5, 0]);
    assert_eq!(world.records().await, 6);
}

#[tokio::test(start_paused = true)]
async fn submissions_with_columns_of_numbers() {
    let files = Files::new();
    let text = "submission_id,benchmark,agent,submitted_at,accuracy,model,cost,later\n\
                s1,b1,ann,2026-01-01,0.5,gpt-4,,\n\
                s2,b1,bob,,0.25,o3,1e-3,\n\
                s3,b2,ann,2026-01-01T00:00:00Z,high,o3,,\n\
                s4,b 2,ann,2026-01-01,0.75,o3,,\n\
                s5,b2,cid,2026-01-01,inf,o3,,\n\
                s6,b2,cid,2026-01-01,,o3,7,\n\
                s7,b2,cid,2026-01-01,1,o3,7,\n";
    let path = files.write("s.csv", text);
    let dry = dry_run(&path, submissions(None, "")).await;
    check_bad(&dry, &[(4, "\"accuracy\" is \"high\""), (5, "\"benchmark\""), (6, "finite number")]);
    assert_eq!(sums(&dry), [7, 0, 0, 3, 0]);
    assert!(dry.notes[0].contains("unless it is defined already"), "{:?}", dry.notes);
    let mut world = World::new();
    world.define(vec![benchmark("b1", "cost")]).await;
    let report = import_into(&world, &path, submissions(None, "")).await;
    check_bad(
        &report,
        &[
            (4, "\"accuracy\" is \"high\""),
            (5, "\"benchmark\""),
            (6, "finite number"),
            (2, "missing_metric: metric \"cost\""),
        ],
    );
    assert_eq!(sums(&report), [7, 3, 0, 4, 0]);
    assert_eq!(
        report.notes,
        ["benchmark b2 was not defined; defined it by the best \"accuracy\", higher is better"]
    );
    world.folder.fold().await;
    // The definition of b2 was not in the view yet, so the row without accuracy went to the fold.
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.rejected), (4, 1));
}

#[test]
fn headers_of_submissions_name_the_map() {
    let files = Files::new();
    let check = |text: &str, benchmark: Option<&str>, map: &str, part: &str| {
        let path = files.write("s.csv", text);
        let error = open(&path, submissions(benchmark, map)).err().unwrap().to_string();
        assert!(error.contains(part), "{error}\n{part}");
    };
    check("id,agent,score\n", Some("b"), "", "name it by --map submission_id=COLUMN");
    check("submission_id,agent,m\n", None, "", "or the benchmark by --benchmark");
    check("submission_id,agent,m\n", Some("b"), "agent=who", "--map says it is the agent");
    check("submission_id,agent,benchmark,m\n", Some("b"), "", "leave one out");
    check("submission_id,agent,m\n", Some("b"), "benchmark=board", "leave one out");
    check("submission_id,agent,m\n", None, "benchmark=board", "\"board\" is missing");
}

#[tokio::test(start_paused = true)]
async fn submissions_as_json() {
    let files = Files::new();
    let lines = [
        r#"{"submission_id":"s1","agent":"ann","metrics":{"m":1}}"#,
        r#"{"submission_id":"s2","benchmark":"b","agent":"ann","metrics":{"m":0.1}}"#,
        r#"{"submission_id":"s3","benchmark":"c","agent":"ann"}"#,
        r#"{"agent":"ann","metrics":{"m":3}}"#,
    ];
    let path = files.write("s.jsonl", lines.join("\n"));
    let world = World::new();
    let report = import_into(&world, &path, submissions(Some("b"), "")).await;
    check_bad(&report, &[(3, "/benchmark is \"c\", but --benchmark says \"b\"")]);
    assert_eq!(sums(&report), [4, 3, 0, 1, 0]);
    let again = import_into(&world, &path, submissions(Some("b"), "")).await;
    assert_eq!(sums(&again), [4, 0, 3, 1, 0]);
    let path = files.write("none.jsonl", "\n\n");
    let report = dry_run(&path, submissions(Some("b"), "")).await;
    check_bad(&report, &[(1, "nothing to import")]);
}
