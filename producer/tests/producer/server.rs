//! Imports over HTTP, on a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agon_producer::import::{Content, ImportError, IntakeSink, ServerSink, import};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;

use crate::files::{Files, into_sink, matches, open, shared, submissions, sums};
use crate::site::Site;
use crate::world::World;

/// Serves the site on a port of its own. Each of the first requests after `refusals` is set is
/// refused.
async fn served(site: &Site, refusals: Arc<AtomicU32>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let refuse = move |request: Request, next: Next| {
        let refusals = Arc::clone(&refusals);
        async move {
            let is_refused = refusals
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            match is_refused {
                true => (http_status(503), [("retry-after", "0")], "").into_response(),
                false => next.run(request).await,
            }
        }
    };
    let router = site.router.clone().layer(from_fn(refuse));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn http_status(status: u16) -> axum::http::StatusCode {
    axum::http::StatusCode::from_u16(status).unwrap()
}

/// What the log holds, without times of appending.
async fn contents(world: &World) -> Vec<Vec<u8>> {
    world.all_records().await.into_iter().map(|(_, record)| record.value).collect()
}

/// Over HTTP and in process the same file gives the same records.
#[tokio::test]
async fn the_way_makes_no_difference() {
    let files = Files::new();
    let numbers: String = (0..500)
        .map(|n| format!("s{n},b{},a{},{}\n", n % 3, n % 7, f64::from(n) * 0.1 + 1e-9))
        .collect();
    let submitted = files.write(
        "s.csv",
        format!("submission_id,benchmark,agent,score\n{numbers}s1,b1,other,3\nx,b1,a,high\n"),
    );
    let changes = [
        r#"{"meta":{"dt":"2026-01-01T00:00:00.25Z"},"user":"u","bot":true,"length":{"old":1}}"#,
        "not json",
        r#"{"meta":{"dt":"2026-01-01","domain":"canary"}}"#,
        r#"{"meta":{"dt":"2026-01-01","id":"x"},"namespace":-1,"minor":false,"title":"é"}"#,
    ];
    let changes = files.write("c.jsonl", changes.join("\n"));
    let mut inputs = vec![(submitted, submissions(None, "")), (changes, Content::RecentChange)];
    inputs.extend(shared("nfl-elo-538/matches.csv.gz").map(|path| (path, matches("football"))));
    for (path, content) in inputs {
        let site = Site::new().await;
        let refusals = Arc::new(AtomicU32::new(2));
        let url = served(&site, Arc::clone(&refusals)).await;
        let mut sink = ServerSink::new(&url, Some(site.token.clone())).unwrap();
        let over_http = into_sink(&path, content.clone(), &mut sink).await;
        assert_eq!(refusals.load(Ordering::SeqCst), 0);

        let world = World::new();
        let mut sink = IntakeSink::new(world.intake.clone());
        let in_process = into_sink(&path, content.clone(), &mut sink).await;
        assert_eq!(sums(&over_http), sums(&in_process), "{content:?}");
        assert_eq!(over_http.notes, in_process.notes);
        let lines = |report: &agon_producer::import::ImportReport| -> Vec<u64> {
            report.named.iter().map(|bad| bad.line).collect()
        };
        assert_eq!(lines(&over_http), lines(&in_process));
        let mut expected = contents(&world).await;
        // Here a conflict is kept as a dead letter, over HTTP it is refused.
        expected.retain(|value| !value.windows(5).any(|window| window == b"other"));
        assert_eq!(contents(&site.world).await, expected, "{content:?}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_says_why() {
    let files = Files::new();
    let path = files.write("m.csv", "match_id,played_on,a,b,outcome_a\nm,2026-01-01,a,b,1\n");
    let site = Site::new().await;
    let url = served(&site, Arc::default()).await;
    let run = async |url: &str, token: &str| -> ImportError {
        let mut sink = ServerSink::new(url, Some(token.to_owned())).unwrap();
        let reader = open(&path, matches("e")).unwrap();
        import(reader, &mut sink, &mut |_| {}).await.unwrap_err()
    };
    let error = run(&url, "nonsense").await;
    assert!(matches!(&error, ImportError::Server { is_away: false, .. }), "{error}");
    assert!(error.to_string().contains("401 unauthenticated"), "{error}");
    let elsewhere = format!("{url}elsewhere");
    let error = run(&elsewhere, &site.token).await;
    assert!(error.to_string().contains("404 not_found"), "{error}");
    assert_eq!(site.world.records().await, 0);
}

#[tokio::test]
async fn a_chunk_of_bad_lines_names_them() {
    let files = Files::new();
    let lines: String = (0..3).map(|n| format!("s{n},b,a,{n}\n")).collect();
    let path = files.write("s.csv", format!("submission_id,benchmark,agent,score\n{lines}"));
    let mut site = Site::new().await;
    site.world.define(vec![crate::world::benchmark("b", "other")]).await;
    let url = served(&site, Arc::default()).await;
    let mut sink = ServerSink::new(&url, Some(site.token.clone())).unwrap();
    let report = into_sink(&path, submissions(None, ""), &mut sink).await;
    assert_eq!(sums(&report), [3, 0, 0, 3, 0]);
    assert!(report.named.iter().all(|bad| bad.what.starts_with("missing_metric")), "{report:?}");
}
