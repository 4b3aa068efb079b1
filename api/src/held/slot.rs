//! One cell in memory, between the follower that brings news and the load that brings rows.
//!
//! ```text
//!             load ends, no news is missing
//!   Loading ────────────────────────────────> Following ──> news are applied at once
//!      │  <────────────────────────────────────  │
//!      │      news that do not fit, or missed    │
//!      └── news wait here until the load ends
//! ```
//! The intake's lock is held whenever one state gives way to the other, so no news fall between.
//! A view that was there stays readable while it is loaded anew.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use agon_ports::PortError;
use agon_projections::{Applied, CellKey, Row, span_fits};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::view::View;
use crate::rendered::Pulse;

/// News that wait for a load at most. One more and the load begins again.
const WAITING_MAX: usize = 64;
/// How long a load waits for news of what it already saw in the store.
pub(super) const SETTLE: Duration = Duration::from_millis(250);

/// Why a cell is not there.
#[derive(Clone, Debug, Error)]
pub(crate) enum LoadError {
    /// Nothing was ever folded into it.
    #[error("there is no such cell")]
    Unknown,
    /// It has more entrants than memory is given.
    #[error("the board has more than {entrants_max} entrants; raise entrants_max")]
    TooLarge { entrants_max: usize },
    /// It moved all the time while it was read.
    #[error("the cell moved {attempts} times while it was loaded")]
    Unsettled { attempts: usize },
    /// The store failed.
    #[error(transparent)]
    Store(Arc<PortError>),
}

/// Whether what is shown follows what is folded.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Loading,
    Fresh,
    Failed(LoadError),
}

/// One piece of news: rows of the cell for the span `(from, to]`.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub from: Applied,
    pub to: u64,
    pub rows: Arc<Vec<Row>>,
}

enum Intake {
    Following,
    Loading { waiting: Vec<News>, is_broken: bool },
}

/// What became of a piece of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Known already, or kept for the load that is under way.
    Quiet,
    /// The view moved; whether other entrants stand on it than before.
    Moved { is_resized: bool },
    /// It does not fit: the cell must be loaded.
    Lost,
}

/// The load began to miss something and must start again.
#[derive(Debug)]
pub(crate) struct Unsettled;

pub(crate) struct Slot {
    key: CellKey,
    pulse: Arc<Pulse>,
    view: RwLock<Option<View>>,
    entrants: AtomicUsize,
    intake: Mutex<Intake>,
    stage: watch::Sender<Stage>,
    heard: Notify,
}

impl Slot {
    /// A cell whose load is about to begin.
    pub fn new(key: CellKey, pulse: Arc<Pulse>) -> Slot {
        Slot {
            key,
            pulse,
            view: RwLock::new(None),
            entrants: AtomicUsize::new(0),
            intake: Mutex::new(Intake::Loading { waiting: Vec::new(), is_broken: false }),
            stage: watch::Sender::new(Stage::Loading),
            heard: Notify::new(),
        }
    }

    pub fn key(&self) -> &CellKey {
        &self.key
    }

    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Entrants that it holds now.
    pub fn entrants(&self) -> usize {
        self.entrants.load(Ordering::Relaxed)
    }

    /// Looks at the view, if there is one. The follower waits meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&View) -> T) -> Option<T> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    pub fn is_readable(&self) -> bool {
        self.read(|_| ()).is_some()
    }

    /// Waits until the cell is there and follows what is folded.
    pub async fn fresh(&self) -> Result<(), LoadError> {
        let mut stage = self.stage.subscribe();
        let settled = stage.wait_for(|stage| !matches!(stage, Stage::Loading)).await;
        // The sender lives in this slot, so it cannot be gone.
        match settled.as_deref() {
            Ok(Stage::Failed(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Whether the load under way is the first one, or one after news were lost.
    pub fn is_stale(&self) -> bool {
        !matches!(*self.stage.borrow(), Stage::Fresh)
    }

    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in news of the cell. After `Lost` the caller starts a load.
    pub fn hear(&self, news: News) -> Heard {
        let mut intake = self.intake();
        if let Intake::Loading { waiting, is_broken } = &mut *intake {
            if waiting.len() < WAITING_MAX {
                waiting.push(news);
            } else {
                waiting.clear();
                *is_broken = true;
            }
            self.heard.notify_one();
            return Heard::Quiet;
        }
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let Some(shown) = view.as_mut() else { return Heard::Quiet };
        match span_fits(shown.applied(), news.from, news.to) {
            Ok(false) => Heard::Quiet,
            Ok(true) => {
                shown.apply(&news.rows);
                self.pulse.beat();
                let entrants = shown.entrants();
                let before = self.entrants.swap(entrants, Ordering::Relaxed);
                Heard::Moved { is_resized: before != entrants }
            }
            Err(gap) => {
                tracing::debug!(cell = %self.key, %gap, "the cell is loaded again");
                self.begin(&mut intake);
                Heard::Lost
            }
        }
    }

    /// News were missed. True when the caller is to start a load; one under way starts again by
    /// itself.
    pub fn lose(&self) -> bool {
        let mut intake = self.intake();
        match &mut *intake {
            Intake::Loading { waiting, is_broken } => {
                waiting.clear();
                *is_broken = true;
                self.heard.notify_one();
                false
            }
            Intake::Following => {
                self.begin(&mut intake);
                true
            }
        }
    }

    fn begin(&self, intake: &mut Intake) {
        *intake = Intake::Loading { waiting: Vec::new(), is_broken: false };
        self.stage.send_replace(Stage::Loading);
    }

    /// Keeps all news from now on. What came before is in the store by now.
    pub fn listen(&self) {
        *self.intake() = Intake::Loading { waiting: Vec::new(), is_broken: false };
    }

    /// Brings a loaded view up to all news, and shows it once it stands at `seen` or later, the
    /// newest thing that was read of it: then every row is covered.
    pub async fn settle(&self, mut view: View, seen: Applied) -> Result<(), Unsettled> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let news = {
                let mut intake = self.intake();
                let Intake::Loading { waiting, is_broken: false } = &mut *intake else {
                    return Err(Unsettled);
                };
                let news = std::mem::take(waiting);
                if news.is_empty() && view.applied() >= seen {
                    self.show(view, &mut intake);
                    return Ok(());
                }
                news
            };
            for piece in &news {
                match span_fits(view.applied(), piece.from, piece.to) {
                    Ok(false) => {}
                    Ok(true) => view.apply(&piece.rows),
                    Err(_) => return Err(Unsettled),
                }
            }
            if news.is_empty() {
                let heard = tokio::time::timeout_at(deadline, self.heard.notified());
                heard.await.map_err(|_| Unsettled)?;
            }
        }
    }

    fn show(&self, view: View, intake: &mut Intake) {
        self.entrants.store(view.entrants(), Ordering::Relaxed);
        let mut shown = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let before = shown.replace(view);
        self.pulse.beat();
        drop(shown);
        *intake = Intake::Following;
        self.stage.send_replace(Stage::Fresh);
        drop(before);
    }

    /// Nobody will load it any more. What was shown goes.
    pub fn fail(&self, error: LoadError) {
        self.entrants.store(0, Ordering::Relaxed);
        let before = self.view.write().unwrap_or_else(PoisonError::into_inner).take();
        self.pulse.beat();
        self.stage.send_replace(Stage::Failed(error));
        drop(before);
    }
}
