//! `agon healthcheck`: one question over HTTP to the role on this machine; in an image without a
//! shell there is nothing else to ask with.

use std::error::Error;
use std::net::SocketAddr;

use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::banner;
use crate::cli::Healthcheck;
use crate::exit::Exit;
use crate::output;

/// Bytes of an answer that are read: what a problem says fits in, what a stranger sends need not.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Asks, and says what came.
///
/// # Errors
/// Exit code 1 when the answer is no, or none comes in time; 2 when the address is none.
pub async fn run(options: Healthcheck) -> Result<(), Exit> {
    let path = if options.ready { "/readyz" } else { "/livez" };
    let url = format!("http://{}{path}", target(&options.listen)?);
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(Exit::missing)?;
    match tokio::time::timeout(options.timeout, ask(&client, &url)).await {
        Ok(Ok(())) => output::line(format_args!("{url}: ok")),
        Ok(Err(reason)) => Err(Exit::No(format!("{url}: {reason}"))),
        Err(_) => Err(Exit::No(format!(
            "{url}: no answer within {} ms; --timeout gives it longer",
            options.timeout.as_millis()
        ))),
    }
}

/// Where a client on this machine finds who listens there.
fn target(listen: &str) -> Result<String, Exit> {
    let refused = |reason: &str| Exit::Usage(format!("--listen {listen:?}: {reason}"));
    let Some((host, port)) = listen.rsplit_once(':') else {
        return Err(refused("write HOST:PORT, as the role has it"));
    };
    match port.parse::<u16>() {
        Ok(0) => return Err(refused("port 0 is another one with each start; name the real one")),
        Ok(_) if !host.is_empty() => {}
        _ => return Err(refused("write HOST:PORT, as the role has it")),
    }
    Ok(match listen.parse::<SocketAddr>() {
        Ok(address) => banner::reachable(address).to_string(),
        Err(_) => listen.to_owned(),
    })
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<(), String> {
    let mut answer = client.get(url).send().await.map_err(|error| unanswered(&error))?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&beginning(&mut answer).await).unwrap_or_default();
    match body["detail"].as_str() {
        Some(detail) => Err(format!("{}: {detail}", status.as_u16())),
        None => Err(format!("{}; is it agon that listens there?", status.as_u16())),
    }
}

/// As much of the body as comes, up to the limit.
async fn beginning(answer: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    body
}

/// The last cause says most: `Connection refused (os error 111)`.
fn unanswered(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!("not answered: {cause}; is the role running, and is this its --listen (AGON_LISTEN)?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("0.0.0.0:9000", Some("127.0.0.1:9000")),
            ("[::]:9000", Some("[::1]:9000")),
            ("10.1.2.3:80", Some("10.1.2.3:80")),
            ("localhost:8080", Some("localhost:8080")),
            ("localhost", None),
            (":8080", None),
            ("localhost:http", None),
            ("127.0.0.1:0", None),
        ] {
            assert_eq!(target(listen).ok().as_deref(), asked, "{listen}");
        }
    }
}
