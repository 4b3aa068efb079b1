//! Progress bars: on standard error, hidden when it is no terminal, and only for work that takes
//! longer than two seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(2);

/// The bar of one piece of work.
pub struct Bar {
    bar: ProgressBar,
    started: Instant,
    is_shown: Mutex<bool>,
}

impl Bar {
    /// A bar for so many steps; 0 when that is not known.
    pub fn new(what: &'static str, steps: u64) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        let template = match steps {
            0 => "{msg} {human_pos} ({per_sec})",
            _ => "{msg} {wide_bar} {human_pos}/{human_len} ({per_sec}, {eta})",
        };
        // The templates are constants and parse.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Bar { bar, started: Instant::now(), is_shown: Mutex::new(false) }
    }

    /// So many steps are done.
    pub fn set(&self, done: u64) {
        let mut is_shown = self.is_shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*is_shown && self.started.elapsed() >= PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            *is_shown = true;
        }
        self.bar.set_position(done);
    }

    /// Writes a line for people above the bar.
    pub fn say(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| output::say(text));
    }

    /// So many steps are done of so many.
    pub fn set_of(&self, done: u64, steps: u64) {
        self.bar.set_length(steps);
        self.set(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
