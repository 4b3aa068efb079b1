//! GET /leaderboard and GET /stats beside a bare handler that returns the same bytes.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::{Value, json};

use super::child::{Server, USER, add_user, hammer};
use super::workload::{ENVIRONMENT, Workload};
use super::{Scratch, report};
use crate::cli::BenchRun;
use crate::exit::Exit;
use crate::{banner, output};

/// Connections that are kept busy.
const CONNECTIONS: usize = 32;
/// Recent changes behind /stats.
const CHANGES: u32 = 20_000;
/// Time for each side in each round.
const TIME: Duration = Duration::from_secs(2);

/// Measures both routes, each beside its baseline.
///
/// # Errors
/// When a server does not start.
pub async fn run(options: &BenchRun) -> Result<(), Exit> {
    let scratch = Scratch::new("http")?;
    let data = scratch.path().join("data");
    fill(&data, options.events.min(50_000)).await?;
    let data_text = data.to_string_lossy().into_owned();
    let server = Server::start(&["serve", "--data", &data_text, "--listen", "127.0.0.1:0"])?;
    let token = login(&server.address).await?;
    let idle = server.memory();
    for path in [&format!("/leaderboard?environment={ENVIRONMENT}"), "/stats"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\r\n",
            server.address
        );
        let body = body(&server.address, path, &token).await?;
        let file = scratch.path().join("body");
        std::fs::write(&file, &body).map_err(Exit::missing)?;
        let bare = Server::start(&["bench", "bare", &file.to_string_lossy()])?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            ours.push(hammer(&server.address, &request, CONNECTIONS, TIME).await?);
            theirs.push(hammer(&bare.address, &request, CONNECTIONS, TIME).await?);
        }
        output::line(format_args!("{} bytes a body, {CONNECTIONS} connections", body.len()))?;
        report(&format!("GET {path}"), &ours, "bare axum handler, same bytes", &theirs, "answers")?;
    }
    output::line(format_args!("agon serve: idle {idle}; under load {}", server.memory()))
}

/// The baseline: answers every GET with the bytes of a file.
///
/// # Errors
/// When it cannot listen.
pub async fn bare(file: &Path) -> Result<(), Exit> {
    let body = Bytes::from(std::fs::read(file).map_err(Exit::missing)?);
    let answer = move || {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    let router =
        Router::new().route("/leaderboard", get(answer.clone())).route("/stats", get(answer));
    let listener = agon_edge::bind("127.0.0.1:0").await.map_err(Exit::missing)?;
    let address = listener.local_addr().map_err(Exit::missing)?;
    output::say(format_args!("listens on http://{}", banner::reachable(address)));
    axum::serve(listener, router).await.map_err(Exit::missing)
}

async fn fill(data: &Path, events: u64) -> Result<(), Exit> {
    std::fs::create_dir_all(data).map_err(Exit::missing)?;
    add_user(data)?;
    let file = data.with_extension("jsonl");
    let mut lines = String::new();
    for event in Workload::new(0).take(events)? {
        if let agon_schema::Event::MatchFinished(event) = event {
            let players = event.players.as_slice().iter();
            let players: Vec<Value> = players
                .map(|p| json!({"agent": p.agent.as_str(), "placement": p.placement}))
                .collect();
            let line = json!({"match_id": event.match_id.as_str(),
                "environment": ENVIRONMENT, "occurred_at": event.occurred.at.to_string(),
                "players": players});
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
    }
    std::fs::write(&file, lines).map_err(Exit::missing)?;
    import(&["matches", "--environment", ENVIRONMENT], &file, data)?;
    std::fs::write(&file, changes()).map_err(Exit::missing)?;
    import(&["recentchange"], &file, data)
}

/// Changes of fifty servers by a few thousand users, as lines of a stream.
fn changes() -> String {
    let line = |number: u32| {
        let change = json!({"meta": {"dt": "2026-11-21T10:00:00Z", "id": format!("c-{number}")},
            "user": format!("user-{}", number % 4_099), "bot": number.is_multiple_of(3),
            "server_name": format!("w{:02}.example.org", number % 50)});
        format!("{change}\n")
    };
    (0..CHANGES).map(line).collect()
}

fn import(what: &[&str], file: &Path, data: &Path) -> Result<(), Exit> {
    let binary = std::env::current_exe().map_err(Exit::missing)?;
    let imported = std::process::Command::new(binary)
        .arg("import")
        .args(what)
        .arg(file)
        .arg("--data")
        .arg(data)
        .stderr(std::process::Stdio::null())
        .status()
        .map_err(Exit::missing)?;
    if imported.success() { Ok(()) } else { Err(Exit::missing("the import of the bench failed")) }
}

/// A token of the bench's user.
///
/// # Errors
/// When the server refuses.
pub async fn login(address: &str) -> Result<String, Exit> {
    let body = json!({"username": USER.0, "password": USER.1});
    let answer = client()?.post(format!("http://{address}/login")).json(&body).send().await;
    let answer: Value = answer.map_err(Exit::missing)?.json().await.map_err(Exit::missing)?;
    let token = answer["access_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| Exit::missing("the server gives no token"))
}

/// A client that goes nowhere but to this machine.
///
/// # Errors
/// When the system gives no sockets.
pub fn client() -> Result<reqwest::Client, Exit> {
    reqwest::Client::builder().no_proxy().build().map_err(Exit::missing)
}

async fn body(address: &str, path: &str, token: &str) -> Result<Vec<u8>, Exit> {
    let answer = client()?.get(format!("http://{address}{path}")).bearer_auth(token).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(Exit::missing)?;
    Ok(answer.bytes().await.map_err(Exit::missing)?.to_vec())
}
