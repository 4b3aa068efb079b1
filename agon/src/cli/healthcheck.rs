//! `agon healthcheck`: asks the role beside it how it is, for whoever keeps containers running.

use std::time::Duration;

use clap::Args;

use super::place::duration;

/// `agon healthcheck`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    agon healthcheck                        does the process answer? (/livez)\n  \
    agon healthcheck --ready                should requests come here? (/readyz)\n  \
    AGON_LISTEN=0.0.0.0:9000 agon healthcheck   asks 127.0.0.1:9000\n\n\
    Alive is what a restart mends. Ready says no while log or store are away, which no restart \
    mends: wait on it, do not restart by it.\n\
    Exit codes: 0 yes, 1 no, with the reason on standard error; 2 wrong use.")]
pub struct Healthcheck {
    /// Ask whether requests should come here, and not only whether the process answers.
    #[arg(long)]
    pub ready: bool,
    /// Where the role listens: the same setting that the role reads. For 0.0.0.0 this machine is
    /// asked, and likewise in IPv6.
    #[arg(long, env = "AGON_LISTEN", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub listen: String,
    /// How long to wait for the answer: 500ms, 4s. A role asks its log and store for 2 s.
    #[arg(long, default_value = "4s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}
