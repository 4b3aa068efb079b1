//! What the tests of the folds share: a fold with its memory, makers of events, the shared data.
#![allow(dead_code, unused_imports, reason = "each test file is a crate and uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod chance;
mod data;
mod fold;
mod make;

pub use chance::{Chance, benchmark_event, environment_event, stream_event};
pub use data::{MatchLine, data, match_lines, text};
pub use fold::{Fold, Memory, World, differences, own_rows};
pub use make::*;
