//! A live stream that is read into the log.

use agon_producer::source::{SourceConfig, WIKIMEDIA_URL, address};
use clap::{Args, ValueEnum};

use crate::exit::Exit;

/// What is sent as `User-Agent` unless it is set.
const USER_AGENT: &str =
    concat!("agon/", env!("CARGO_PKG_VERSION"), " (no contact given; --source-user-agent sets it)");

/// Streams that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stream {
    /// Recent changes of Wikimedia's wikis, as server-sent events; shown by /stats.
    Wikimedia,
}

/// A stream, and how it is read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Live source")]
pub struct Streams {
    /// Read this live stream into the log until stopped, and resume where it was.
    ///
    /// What comes twice counts once. While the stream is away it is waited for, and /readyz says
    /// so; everything else goes on. While the log is away the stream is not read.
    #[arg(long, env = "AGON_SOURCE", value_enum, value_name = "STREAM")]
    pub source: Option<Stream>,
    /// Where the stream is, when not at its public address: http or https.
    #[arg(
        long,
        env = "AGON_SOURCE_URL",
        default_value = WIKIMEDIA_URL,
        value_parser = url,
        value_name = "URL"
    )]
    pub source_url: String,
    /// How to reach you, as Wikimedia asks of every reader: NAME/VERSION (MAIL OR URL)
    #[arg(
        long,
        env = "AGON_SOURCE_USER_AGENT",
        default_value = USER_AGENT,
        hide_default_value = true,
        value_parser = user_agent,
        value_name = "TEXT"
    )]
    pub source_user_agent: String,
    /// Longest line of the stream; a longer one is passed over with its event, and counted.
    #[arg(
        long,
        env = "AGON_SOURCE_LINE_BYTES_MAX",
        default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u32).range(1024..=64 << 20),
        value_name = "BYTES"
    )]
    pub source_line_bytes_max: u32,
}

impl Streams {
    /// What is to be read, if anything is.
    ///
    /// # Errors
    /// An address or a user agent that is none.
    pub fn config(&self) -> Result<Option<SourceConfig>, Exit> {
        let Some(Stream::Wikimedia) = self.source else { return Ok(None) };
        let config = SourceConfig::new(&self.source_url, &self.source_user_agent);
        let mut config = config.map_err(Exit::usage)?;
        config.line_bytes_max = usize::try_from(self.source_line_bytes_max).map_err(Exit::usage)?;
        Ok(Some(config))
    }

    /// Whether Wikimedia is read without the contact that it asks of every reader.
    pub fn is_anonymous(&self) -> bool {
        self.source.is_some()
            && self.source_user_agent == USER_AGENT
            && self.source_url == WIKIMEDIA_URL
    }
}

fn url(text: &str) -> Result<String, String> {
    address(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn user_agent(text: &str) -> Result<String, String> {
    let config = SourceConfig::new(WIKIMEDIA_URL, text);
    config.map(|_| text.to_owned()).map_err(|error| error.to_string())
}
