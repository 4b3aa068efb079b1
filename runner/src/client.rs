//! Delivers bodies to Agon over HTTP: one body, one id, as many attempts as it takes within the
//! policy, and a plain account of how it ended.

use crate::dice::Dice;
use crate::error::Error;
use crate::retry::{RetryPolicy, is_worth_repeating, read_retry_after};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Answers are read up to this size; a batch's answer is far below.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long an attempt that is under way may still take once the league is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Where the bearer token of each request comes from.
#[derive(Clone)]
pub struct Bearer(Arc<dyn Fn() -> String + Send + Sync>);

impl Bearer {
    /// One token for the whole run; it has to outlive it.
    pub fn fixed(token: impl Into<String>) -> Self {
        let token = token.into();
        Self(Arc::new(move || token.clone()))
    }

    /// A token for each request, for tokens that expire. Must be quick and must not block.
    pub fn from_fn(token: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(token))
    }
}

impl fmt::Debug for Bearer {
    /// Tokens are secrets and are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

/// What the intake took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Items that are new.
    pub accepted: u64,
    /// Items that were known already.
    pub duplicates: u64,
    /// Items of a batch that were refused.
    pub rejected: Vec<Rejected>,
}

/// An item of a batch that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The stable code of the reason.
    pub code: String,
    /// The reason for people.
    #[serde(default)]
    pub detail: String,
}

/// Why a whole request was refused (problem+json, as far as the league cares).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code of the reason.
    pub code: String,
    /// The reason for people.
    pub detail: String,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The intake answered for every item.
    Answered(Receipt),
    /// The intake refused it all; trying again would change nothing.
    Refused(Problem),
    /// No attempt was answered for good. Items may or may not have been taken.
    Undelivered {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt met with.
        reason: String,
    },
    /// The league was told to stop first. Items may or may not have been taken.
    Stopped,
}

/// A connection to one Agon, with a token.
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    bearer: Bearer,
    retry: RetryPolicy,
    dice: Dice,
    retries: u64,
}

/// What one attempt gave.
enum Attempt {
    Final(Delivery),
    Again { reason: String, retry_after: Option<Duration> },
}

impl Client {
    /// A client for the Agon at `base_url`, without the `/api/v1`.
    ///
    /// # Errors
    /// [`Error::Client`] when the HTTP client cannot be set up.
    pub fn new(
        base_url: &str,
        bearer: Bearer,
        retry: RetryPolicy,
        request_timeout: Duration,
        dice: Dice,
    ) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            // A proxy from the environment would take requests meant for the loopback address.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(request_timeout)
            .user_agent(concat!("agon-league/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| Error::Client { source })?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Self { http, base_url, bearer, retry, dice, retries: 0 })
    }

    /// How many attempts were repetitions.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Delivers one body to `/api/v1{path}`. Every attempt sends the same bytes, so the same ids:
    /// an attempt whose answer was lost is found to be a duplicate and does no harm.
    ///
    /// # Errors
    /// [`Error::Encode`] when the body is no JSON, [`Error::Forbidden`] when the token is not
    /// accepted. Everything else is a [`Delivery`].
    pub async fn post(
        &mut self,
        path: &'static str,
        body: &impl Serialize,
        stop: &CancellationToken,
    ) -> Result<Delivery, Error> {
        let body = serde_json::to_vec(body).map_err(|source| Error::Encode { path, source })?;
        let mut attempts = 0;
        loop {
            let sent = tokio::select! {
                sent = self.attempt(path, body.clone()) => sent,
                () = grace_after(stop) => return Ok(Delivery::Stopped),
            };
            attempts += 1;
            let (reason, retry_after) = match sent {
                Attempt::Final(Delivery::Refused(problem)) if is_about_token(&problem) => {
                    return Err(Error::Forbidden { path, problem });
                }
                Attempt::Final(delivery) => return Ok(delivery),
                Attempt::Again { reason, retry_after } => (reason, retry_after),
            };
            let Some(pause) = self.retry.pause(attempts, retry_after, &mut self.dice) else {
                return Ok(Delivery::Undelivered { attempts, reason });
            };
            debug!(path, attempts, reason, pause_ms = pause.as_millis() as u64, "will try again");
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(Delivery::Stopped);
            }
            self.retries += 1;
        }
    }

    async fn attempt(&self, path: &str, body: Vec<u8>) -> Attempt {
        let request = self
            .http
            .post(format!("{}/api/v1{path}", self.base_url))
            .bearer_auth((self.bearer.0)())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Attempt::Again { reason: chain(&error), retry_after: None },
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|v| v.to_str().ok()).and_then(read_retry_after);
        let mut answer = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                    answer.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => break,
                Ok(None) => break,
                // Without its end the answer says nothing; the same ids make it safe to ask again.
                Err(error) => return Attempt::Again { reason: chain(&error), retry_after },
            }
        }
        if is_worth_repeating(status) {
            let Problem { code, detail, .. } = read_problem(status, &answer);
            return Attempt::Again { reason: format!("{status} {code}: {detail}"), retry_after };
        }
        Attempt::Final(read_answer(status, &answer))
    }
}

/// Resolves some time after the stop, so that an attempt under way can still end well.
async fn grace_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOP_GRACE).await;
}

fn is_about_token(problem: &Problem) -> bool {
    matches!(problem.status, 401 | 403)
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

/// The two shapes in which a write is answered.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Batch { accepted: u64, duplicates: u64, rejected: Vec<Rejected> },
    Single { event_id: String, duplicate: bool },
}

/// Reads an answer that is final. A batch of which nothing was good comes with status 400, and is
/// still an answer for every item.
fn read_answer(status: u16, body: &[u8]) -> Delivery {
    match serde_json::from_slice(body) {
        Ok(Answer::Batch { accepted, duplicates, rejected }) if status < 300 || status == 400 => {
            Delivery::Answered(Receipt { accepted, duplicates, rejected })
        }
        Ok(Answer::Single { event_id, duplicate }) if status < 300 => {
            debug!(event_id, duplicate, "taken");
            let (accepted, duplicates) = if duplicate { (0, 1) } else { (1, 0) };
            Delivery::Answered(Receipt { accepted, duplicates, rejected: Vec::new() })
        }
        _ => Delivery::Refused(read_problem(status, body)),
    }
}

fn read_problem(status: u16, body: &[u8]) -> Problem {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Wire {
        code: Option<String>,
        title: Option<String>,
        detail: Option<String>,
    }
    let wire: Wire = serde_json::from_slice(body).unwrap_or_default();
    Problem {
        status,
        code: wire.code.unwrap_or_else(|| "unreadable_answer".to_owned()),
        detail: wire.detail.or(wire.title).unwrap_or_else(|| {
            format!("the answer is not what Agon would say ({} bytes)", body.len())
        }),
    }
}
