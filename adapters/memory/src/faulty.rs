//! Faults by a seed, around any port: what a network, a broker or a database does on a bad day.
//!
//! ```text
//! caller ──> Faulty<P> ──> P
//!              │ call 17: Faults decides from (seed, 17) and the kind of call, nothing else
//!              └ delays, refuses, loses the answer, does half, does twice, crashes; counts each
//! ```
//! One [`Faults`] may stand behind several ports, which then crash together. A failing run is
//! repeated by its seed, as far as its calls come in the same order.

mod control;
mod log;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agon_ports::PortError;

/// What can go wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call is done after a delay.
    Delay,
    /// An error is answered and nothing done.
    Refuse,
    /// The call is done and an error answered: the caller cannot know.
    LoseAnswer,
    /// The first part of the records is appended and an error answered.
    Part,
    /// The records are appended twice, as a client that tries again by itself does, and the first
    /// positions answered.
    Twice,
    /// Nothing is done, and this call and all later ones fail until [`Faults::heal`].
    CrashBefore,
    /// The call is done, and it and all later ones fail until [`Faults::heal`].
    CrashAfter,
}

impl Fault {
    /// Every kind, in the order in which rates are laid side by side.
    pub const ALL: [Fault; 7] = [
        Fault::Delay,
        Fault::Refuse,
        Fault::LoseAnswer,
        Fault::Part,
        Fault::Twice,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ];

    /// What this kind comes to in a call that cannot suffer it: without a change there is nothing
    /// to do in part, and what was done unseen is the same as not done.
    fn fitting(self, call: Call) -> Option<Fault> {
        match (self, call) {
            (Fault::Part | Fault::Twice, Call::Read | Call::Put) => None,
            (Fault::LoseAnswer, Call::Read) => Some(Fault::Refuse),
            (Fault::CrashAfter, Call::Read) => Some(Fault::CrashBefore),
            _ => Some(self),
        }
    }
}

/// What a call does, as far as faults care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Changes nothing.
    Read,
    /// Changes all or nothing, and would notice a copy of itself.
    Put,
    /// Adds records, which may land in part or twice.
    Append,
}

/// How often each fault comes, in calls of a thousand; what their sum leaves goes well.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    /// See [`Fault::Delay`].
    pub delay_per_mille: u16,
    /// Longest delay, milliseconds.
    pub delay_ms_max: u64,
    /// See [`Fault::Refuse`].
    pub refuse_per_mille: u16,
    /// See [`Fault::LoseAnswer`].
    pub lose_answer_per_mille: u16,
    /// See [`Fault::Part`].
    pub part_per_mille: u16,
    /// See [`Fault::Twice`].
    pub twice_per_mille: u16,
    /// See [`Fault::CrashBefore`] and [`Fault::CrashAfter`], each in half of the crashes.
    pub crash_per_mille: u16,
}

impl FaultRates {
    /// The same rate for each fault but crashes, which have their own, and delays of up to 3 ms.
    pub fn all(per_mille: u16, crash_per_mille: u16) -> FaultRates {
        FaultRates {
            delay_per_mille: per_mille,
            delay_ms_max: 3,
            refuse_per_mille: per_mille,
            lose_answer_per_mille: per_mille,
            part_per_mille: per_mille,
            twice_per_mille: per_mille,
            crash_per_mille,
        }
    }

    /// The fault of a word of chance.
    fn fault(&self, chance: u64) -> Option<Fault> {
        let mut place = chance % 1000;
        let crash = [Fault::CrashBefore, Fault::CrashAfter][(chance / 1000 % 2) as usize];
        for (fault, per_mille) in [
            (Fault::Delay, self.delay_per_mille),
            (Fault::Refuse, self.refuse_per_mille),
            (Fault::LoseAnswer, self.lose_answer_per_mille),
            (Fault::Part, self.part_per_mille),
            (Fault::Twice, self.twice_per_mille),
            (crash, self.crash_per_mille),
        ] {
            match place.checked_sub(u64::from(per_mille)) {
                None => return Some(fault),
                Some(rest) => place = rest,
            }
        }
        None
    }
}

/// The plan of the faults, their counts, and whether the other side is down.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    rates: FaultRates,
    calls: AtomicU64,
    crashed: AtomicBool,
    counts: [AtomicU64; Fault::ALL.len()],
}

impl Faults {
    /// The faults of a seed.
    pub fn new(seed: u64, rates: FaultRates) -> Arc<Faults> {
        Arc::new(Faults {
            seed,
            rates,
            calls: AtomicU64::new(0),
            crashed: AtomicBool::new(false),
            counts: Default::default(),
        })
    }

    /// What goes wrong with the call of this number: a pure function of the seed, the number and
    /// the kind of call.
    pub fn plan(&self, number: u64, call: Call) -> Option<Fault> {
        self.rates.fault(chance(self.seed, number)).and_then(|fault| fault.fitting(call))
    }

    /// How often a fault was injected so far.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts[fault as usize].load(Ordering::Relaxed)
    }

    /// Calls so far, those during a crash left out.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Takes the other side down by hand; this is not counted.
    pub fn crash(&self) {
        self.crashed.store(true, Ordering::Release);
    }

    /// Whether every call fails at present.
    pub fn is_crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }

    /// Brings the other side back after a crash.
    pub fn heal(&self) {
        self.crashed.store(false, Ordering::Release);
    }

    /// Decides about a call: refuses it, or says what is left to do about it. Waits when the plan
    /// has a delay.
    async fn enter(&self, call: Call, attempted: &str) -> Result<Outcome, PortError> {
        if self.is_crashed() {
            return Err(injected(attempted, "is down"));
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let Some(fault) = self.plan(number, call) else { return Ok(Outcome::Answer) };
        self.counts[fault as usize].fetch_add(1, Ordering::Relaxed);
        match fault {
            Fault::Delay => {
                let delay_ms =
                    chance(!self.seed, number) % self.rates.delay_ms_max.saturating_add(1);
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                Ok(Outcome::Answer)
            }
            Fault::Refuse => Err(injected(attempted, &format!("refused call {number}"))),
            Fault::CrashBefore => {
                self.crash();
                Err(injected(attempted, &format!("crashed before call {number}")))
            }
            Fault::LoseAnswer => Ok(Outcome::Lose),
            Fault::Part => Ok(Outcome::Part),
            Fault::Twice => Ok(Outcome::Twice),
            Fault::CrashAfter => Ok(Outcome::Crash),
        }
    }

    /// Ends a call that was done: hands its answer on or loses it.
    fn leave<T>(
        &self,
        outcome: Outcome,
        attempted: &str,
        answer: Result<T, PortError>,
    ) -> Result<T, PortError> {
        match outcome {
            Outcome::Answer | Outcome::Twice => answer,
            Outcome::Lose | Outcome::Part => Err(injected(attempted, "lost the answer")),
            Outcome::Crash => {
                self.crash();
                Err(injected(attempted, "crashed before it answered"))
            }
        }
    }
}

/// What is left to do about a call that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Do it and answer.
    Answer,
    /// Do it and answer an error.
    Lose,
    /// Do the first part of it and answer an error.
    Part,
    /// Do it twice and answer.
    Twice,
    /// Do it, then crash.
    Crash,
}

/// An error of the decorator's own making.
fn injected(attempted: &str, what: &str) -> PortError {
    PortError::later(attempted, format!("the other side {what} (injected)"))
}

/// A word of chance for a seed and a number (SplitMix64's mixing).
fn chance(seed: u64, number: u64) -> u64 {
    let mut word = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
    }
    word
}

/// A port behind which faults stand.
#[derive(Clone, Debug)]
pub struct Faulty<P> {
    inner: P,
    faults: Arc<Faults>,
}

impl<P> Faulty<P> {
    /// Puts faults before a port.
    pub fn new(inner: P, faults: Arc<Faults>) -> Faulty<P> {
        Faulty { inner, faults }
    }

    /// The port as it is without faults: where a test looks at what was really done.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// The faults before it.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_a_pure_function_of_seed_and_number() {
        let rates = FaultRates::all(50, 20);
        let plan = |seed| -> Vec<_> {
            let faults = Faults::new(seed, rates);
            (0..500).map(|number| faults.plan(number, Call::Append)).collect()
        };
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn rates_hold_in_the_long_run() {
        let rates = FaultRates::all(100, 100);
        let faults = Faults::new(1, rates);
        let plan: Vec<_> = (0..100_000).map(|number| faults.plan(number, Call::Append)).collect();
        for fault in Fault::ALL {
            let crash = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
            let expected = if crash { 5_000 } else { 10_000_usize };
            let count = plan.iter().filter(|planned| **planned == Some(fault)).count();
            assert!(count.abs_diff(expected) < expected / 10, "{fault:?} came {count} times");
        }
    }

    #[test]
    fn a_call_suffers_only_what_it_can() {
        let faults = Faults::new(3, FaultRates::all(140, 140));
        for number in 0..2_000 {
            let read = faults.plan(number, Call::Read);
            let fits = [Fault::Delay, Fault::Refuse, Fault::CrashBefore];
            assert!(read.is_none_or(|fault| fits.contains(&fault)), "{read:?}");
            let put = faults.plan(number, Call::Put);
            assert!(!matches!(put, Some(Fault::Part | Fault::Twice)), "{put:?}");
        }
    }
}
