//! How strict a start is about settings that are unsafe where others reach them.

use clap::Args;

use crate::production::{Profile, Unsafe};

/// What to do with unsafe settings.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Production")]
pub struct Guard {
    /// In production, settings that are unsafe where others reach them refuse to start, all at
    /// once and each with its remedy; else each is a warning.
    #[arg(long, env = "AGON_PROFILE", value_enum, default_value = "development")]
    pub profile: Profile,
    /// Unsafe settings that are meant: neither refused nor warned of.
    #[arg(
        long,
        env = "AGON_ALLOW",
        value_enum,
        value_delimiter = ',',
        value_name = "NAME[,NAME…]"
    )]
    pub allow: Vec<Unsafe>,
}
