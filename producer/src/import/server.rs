//! Hands an import in over HTTP, one request at a time, since only that keeps the order.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use agon_schema::Event;
use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;
use tokio::time::Instant;

use super::body;
use super::report::ImportError;
use super::sink::{Fate, RETRY_TIME_MAX, Sink};
use crate::batch::{self, BatchLimits};
use crate::intake::Entry;

/// Limits of one request, below those of the intake's routes.
const LIMITS: BatchLimits =
    BatchLimits { records_max: 4096, bytes_max: 4 << 20, age_max: Duration::ZERO };
/// Pause after the first failed attempt, when the server names none; doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause that is not asked for.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The longest pause that is granted.
const ASKED_MAX: Duration = Duration::from_secs(60);
/// How long one attempt may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Hands in to a server.
pub struct ServerSink {
    http: reqwest::Client,
    base_url: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    accepted: usize,
    duplicates: usize,
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Rejected {
    index: usize,
    code: String,
    detail: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    errors: Vec<ProblemError>,
}

#[derive(Deserialize)]
struct ProblemError {
    pointer: String,
    code: String,
    detail: String,
}

/// What one attempt gave.
enum Attempt {
    Answered(Vec<Fate>),
    Refused(String),
    Again { reason: String, pause: Option<Duration> },
}

impl ServerSink {
    /// Hands in to the server at `base_url` (without `/api/v1`) with this bearer token.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(base_url: &str, token: Option<String>) -> Result<ServerSink, ImportError> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_TIME_MAX)
            .user_agent(concat!("agon-import/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ImportError::Client)?;
        Ok(ServerSink { http, base_url: base_url.trim_end_matches('/').to_owned(), token })
    }

    /// Entries of one kind, in as many requests as it takes.
    async fn post_all(&self, entries: &[Entry]) -> Result<Vec<Fate>, ImportError> {
        let Some(route) = entries.first().map(body::route) else { return Ok(Vec::new()) };
        let url = format!("{}/api/v1{route}", self.base_url);
        let lines: Result<Vec<Vec<u8>>, _> = entries.iter().map(body::line).collect();
        let lines = lines.map_err(|error| refused(&url, error.to_string()))?;
        let sizes: Vec<usize> = lines.iter().map(|line| line.len() + 1).collect();
        let mut fates = Vec::with_capacity(entries.len());
        for Range { start, end } in batch::pieces(&sizes, &LIMITS) {
            let mut text = lines[start..end].join(&b'\n');
            text.push(b'\n');
            fates.extend(self.post(&url, text, end - start).await?);
        }
        Ok(fates)
    }

    /// Every attempt sends the same ids, so one whose answer was lost does no harm.
    async fn post(&self, url: &str, text: Vec<u8>, count: usize) -> Result<Vec<Fate>, ImportError> {
        let started = Instant::now();
        let mut pause = PAUSE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(url, text.clone(), count).await {
                Attempt::Answered(fates) => return Ok(fates),
                Attempt::Refused(reason) => return Err(refused(url, reason)),
                Attempt::Again { reason, .. } if started.elapsed() >= RETRY_TIME_MAX => {
                    let tried_s = started.elapsed().as_secs();
                    let reason = format!("{reason}; tried {attempts} times in {tried_s} s");
                    return Err(ImportError::Server { url: url.to_owned(), reason, is_away: true });
                }
                Attempt::Again { reason, pause: asked } => {
                    let pause_now = asked.map_or(pause, |asked| asked.clamp(PAUSE, ASKED_MAX));
                    let pause_ms = pause_now.as_millis() as u64;
                    tracing::debug!(url, attempts, reason, pause_ms, "will try again");
                    tokio::time::sleep(pause_now).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn attempt(&self, url: &str, text: Vec<u8>, count: usize) -> Attempt {
        let mut request =
            self.http.post(url).header(CONTENT_TYPE, "application/x-ndjson").body(text);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Attempt::Again { reason: chain(&error), pause: None },
        };
        let status = response.status().as_u16();
        let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let pause = pause.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Some(_) | None) => break,
                Err(error) => return Attempt::Again { reason: chain(&error), pause },
            }
        }
        read(status, pause, &bytes, count)
    }
}

/// What an answer says of so many lines.
fn read(status: u16, pause: Option<Duration>, bytes: &[u8], count: usize) -> Attempt {
    if (200..300).contains(&status) {
        return match serde_json::from_slice::<Answer>(bytes) {
            Ok(answer) => Attempt::Answered(fates(answer, count)),
            Err(error) => Attempt::Refused(format!("the answer is none of Agon's: {error}")),
        };
    }
    let problem: Problem = serde_json::from_slice(bytes).unwrap_or_default();
    let reason = format!("{status} {}: {}", problem.code, problem.detail);
    match status {
        408 | 429 | 500 | 502 | 503 | 504 => Attempt::Again { reason, pause },
        400 if problem.code == "none_accepted" => {
            let unnamed = Fate::Refused("refused; the server names only some".to_owned());
            let mut fates = vec![unnamed; count];
            for ProblemError { pointer, code, detail } in problem.errors {
                let index = pointer.split('/').nth(1).and_then(|index| index.parse().ok());
                if let Some(fate) = index.and_then(|index: usize| fates.get_mut(index)) {
                    *fate = Fate::Refused(format!("{code}: {detail}"));
                }
            }
            Attempt::Answered(fates)
        }
        401 | 403 => Attempt::Refused(format!("{reason}; give a token of a producer")),
        _ => Attempt::Refused(reason),
    }
}

/// Which lines were duplicates is not said, only how many; for the sums that is enough.
fn fates(answer: Answer, count: usize) -> Vec<Fate> {
    let mut fates = vec![None; count];
    for Rejected { index, code, detail } in answer.rejected {
        if let Some(fate) = fates.get_mut(index) {
            *fate = Some(Fate::Refused(format!("{code}: {detail}")));
        }
    }
    let mut accepted = answer.accepted;
    let mut fill = || match accepted.checked_sub(1) {
        Some(left) => {
            accepted = left;
            Fate::Appended
        }
        None => Fate::Duplicate,
    };
    debug_assert!(answer.accepted + answer.duplicates <= count);
    fates.into_iter().map(|fate| fate.unwrap_or_else(&mut fill)).collect()
}

fn refused(url: &str, reason: String) -> ImportError {
    ImportError::Server { url: url.to_owned(), reason, is_away: false }
}

/// An error with all its causes: the outermost alone seldom says what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[async_trait]
impl Sink for ServerSink {
    async fn define(&mut self, events: Vec<Event>) -> Result<Vec<Fate>, ImportError> {
        let entries: Vec<Entry> = events.into_iter().map(Entry::Event).collect();
        self.post_all(&entries).await
    }

    async fn send(&mut self, entries: Arc<Vec<Entry>>) -> Result<Vec<Vec<Fate>>, ImportError> {
        Ok(vec![self.post_all(&entries).await?])
    }

    async fn finish(&mut self) -> Result<Vec<Vec<Fate>>, ImportError> {
        Ok(Vec::new())
    }
}
