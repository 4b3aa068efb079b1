//! Live sources: a stream of another's becomes events in the log.
//!
//! ```text
//! client ─> sse ─> reader ─(2 batches)─> hand_in ─> Intake ─> log
//!    ^                                      └─ acknowledged ─> resume ─> ControlStore
//!    └──────────── Last-Event-ID ──────────────────────────────────┘
//! ```
//! The socket is read only while there is room for a batch, so a log that is slow or away stops
//! the reading, not the process. An upstream that is away is waited for.

mod client;
mod hand_in;
mod metrics;
mod pause;
mod reader;
mod resume;
pub(crate) mod sse;

use std::sync::{Arc, Mutex, PoisonError};

use agon_ports::ControlStore;
use hyper::header::HeaderValue;
use prometheus::Registry;
use reqwest::Url;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::intake::Intake;
use client::Client;
use metrics::SourceMetrics;
pub use pause::PausePolicy;
use reader::Reader;
use resume::Resume;

/// Wikimedia's stream of recent changes.
pub const WIKIMEDIA_URL: &str = "https://stream.wikimedia.org/v2/stream/recentchange";

/// Batches that were read and wait for the log.
const BATCHES_MAX: usize = 2;

/// What is read, and the limits of reading it.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// The address of the stream: http or https.
    pub url: Url,
    /// `User-Agent`; it should say how to reach whoever runs this.
    pub user_agent: HeaderValue,
    /// Bytes of one line, and of the data of one event. Default: 1 MiB, as of a record.
    pub line_bytes_max: usize,
    /// Events that are handed in at once. Default: 1,024.
    pub batch_events_max: usize,
    /// Bytes of their data, but for the last event's. Default: 1 MiB.
    pub batch_bytes_max: usize,
    /// A stream that says nothing for so long is left and opened again. Default: 60 s.
    pub silence_ms_max: u64,
    /// Pauses between attempts.
    pub pause: PausePolicy,
}

impl SourceConfig {
    /// The defaults for an address.
    ///
    /// # Errors
    /// A text that is no http or https address, or a user agent that is no header.
    pub fn new(url: &str, user_agent: &str) -> Result<SourceConfig, BadSource> {
        let user_agent = HeaderValue::from_str(user_agent).ok().filter(|value| !value.is_empty());
        Ok(SourceConfig {
            url: address(url)?,
            user_agent: user_agent.ok_or(BadSource::UserAgent)?,
            line_bytes_max: 1 << 20,
            batch_events_max: 1024,
            batch_bytes_max: 1 << 20,
            silence_ms_max: 60_000,
            pause: PausePolicy::default(),
        })
    }
}

/// Why something is no source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadSource {
    /// The address.
    #[error("{text:?} is no address of a stream ({reason}); write https://HOST/PATH")]
    Url {
        /// What was given.
        text: String,
        /// Why.
        reason: String,
    },
    /// The user agent.
    #[error("the user agent must be visible ASCII; write NAME/VERSION (CONTACT)")]
    UserAgent,
}

/// Reads the address of a stream.
///
/// # Errors
/// A text that is no http or https address.
pub fn address(text: &str) -> Result<Url, BadSource> {
    let bad = |reason: String| BadSource::Url { text: text.to_owned(), reason };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(format!("{} is neither http nor https", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("names and passwords in an address are not sent".to_owned()));
    }
    Ok(url)
}

/// Why a source does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The registry has metrics of these names.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// TLS cannot be had.
    #[error("{0}")]
    Tls(String),
}

/// What a source does: reads, or waits and for what.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Mutex<Result<String, String>>>);

impl Standing {
    fn new(reason: &str) -> Standing {
        Standing(Arc::new(Mutex::new(Err(reason.to_owned()))))
    }

    fn set(&self, standing: Result<String, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// What is read, or what is waited for. Either way the process goes on.
    ///
    /// # Errors
    /// What is waited for, in words.
    pub fn get(&self) -> Result<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A source that is being read.
pub struct Source {
    standing: Standing,
    tasks: [JoinHandle<()>; 3],
}

impl Source {
    /// Reads Wikimedia's stream into the intake until stopped or the intake is closed.
    ///
    /// # Errors
    /// See [`StartError`]; a stream that is away is none, it is waited for.
    pub fn wikimedia(
        config: SourceConfig,
        intake: Intake,
        control: Arc<dyn ControlStore>,
        registry: &Registry,
        stop: CancellationToken,
    ) -> Result<Source, StartError> {
        let metrics = SourceMetrics::register(registry)?;
        let client = Client::new(config.url.clone(), config.user_agent.clone());
        let client = client.map_err(StartError::Tls)?;
        let standing = Standing::new("not connected yet");
        let resume = Resume::new(control, "wikimedia", intake.log_id());
        let (batches, to_hand_in) = mpsc::channel(BATCHES_MAX);
        let (acknowledged, to_keep) = watch::channel(None);
        let (loaded, to_run) = tokio::sync::oneshot::channel();
        let keeping = tokio::spawn({
            let stop = stop.clone();
            async move {
                if let Ok(resume) = to_run.await {
                    Resume::run(resume, to_keep, stop).await;
                }
            }
        });
        let handing_in = hand_in::Sender { intake: intake.clone(), metrics: metrics.clone() }.run(
            to_hand_in,
            acknowledged,
            stop.clone(),
        );
        let standing_too = standing.clone();
        let reading = async move {
            let mut resume = resume;
            let last_id = reader::loaded(&mut resume, &standing_too).await;
            // Nobody waits for it when the task that keeps ids is gone.
            let _ = loaded.send(resume);
            let clock_of = intake;
            let reader = Reader::new(config, client, metrics, standing_too, clock_of, batches);
            reader.run(last_id).await;
        };
        let reading = tokio::spawn(async move {
            // What was read so far is handed in all the same.
            let _ = stop.run_until_cancelled(Box::pin(reading)).await;
        });
        Ok(Source { standing, tasks: [reading, tokio::spawn(handing_in), keeping] })
    }

    /// What it does, to be looked at from elsewhere.
    pub fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Waits until what was read is handed in and its place is kept; the stop was given before.
    ///
    /// # Errors
    /// When a task of it died.
    pub async fn ended(self) -> Result<(), tokio::task::JoinError> {
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}
