//! One benchmark: its definition and the scores of its agents.
//!
//! Scores are f64 as the producers sent them, combined in log order by additions and one division:
//! IEEE 754 gives these the same bits on every machine.

use std::collections::HashMap;

use agon_schema::event::{
    Aggregation, BenchmarkDefined, Direction, Metrics, RunScored, RunStatus, SubmissionReceived,
};
use agon_schema::{AgentId, BenchmarkId, EventTime, NaturalId};

use crate::cell::CellKey;
use crate::fold::{Effects, Known, agent_cell};
use crate::rejection::{Reason, Rejection};
use crate::row::{Head, HeadDetail, HistoryRow, Row, RowKey, Score, SubmissionRow, Value};

/// The state of a benchmark.
#[derive(Clone, Debug)]
pub struct BenchmarkCell {
    id: BenchmarkId,
    head: Option<Head>,
    // Only looked up, never walked: its order is chance.
    slots: HashMap<AgentId, u32, foldhash::fast::RandomState>,
    entrants: Vec<(AgentId, Score)>,
}

/// One completed run, wherever it came from.
struct Run<'a> {
    submission_id: &'a NaturalId,
    metrics: &'a Metrics,
    value: f64,
    occurred: EventTime,
}

impl BenchmarkCell {
    /// A benchmark that nobody defined yet.
    pub fn new(id: BenchmarkId) -> BenchmarkCell {
        BenchmarkCell { id, head: None, slots: HashMap::default(), entrants: Vec::new() }
    }

    /// Which cell it is.
    pub fn key(&self) -> CellKey {
        CellKey::Benchmark(self.id.clone())
    }

    /// Definition and totals, once defined.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Agents with at least one submission.
    pub fn slots(&self) -> u32 {
        self.entrants.len() as u32
    }

    /// The row of a slot.
    pub(crate) fn row(&self, slot: u32) -> Row {
        let (agent, score) = &self.entrants[slot as usize];
        let key = RowKey::Entrant(self.key(), agent.clone());
        Row { key, value: Value::Score(score.clone()) }
    }

    /// Takes in one of its own rows.
    pub(crate) fn load(&mut self, row: Row) {
        match (row.key, row.value) {
            (RowKey::Head(_), Value::Head(head)) => self.head = Some(head),
            (RowKey::Entrant(_, agent), Value::Score(score)) => {
                let slot = self.entrants.len() as u32;
                self.slots.insert(agent.clone(), slot);
                self.entrants.push((agent, score));
            }
            _ => {}
        }
    }

    pub(crate) fn define(
        &mut self,
        offset: u64,
        event: &BenchmarkDefined,
    ) -> Result<Effects, Rejection> {
        if self.head.is_some() || event.version != 1 {
            let detail = format!("version {} does not follow the one that stands", event.version);
            return Err(Rejection::new(Reason::VersionOutOfOrder, detail));
        }
        let detail = HeadDetail::Benchmark(event.clone());
        self.head = Some(Head { applied: offset, counted: 1, last: None, detail });
        Ok(Effects::default())
    }

    fn definition(&self) -> Result<BenchmarkDefined, Rejection> {
        match &self.head {
            Some(Head { detail: HeadDetail::Benchmark(definition), .. }) => Ok(definition.clone()),
            _ => {
                let detail = format!("no definition of benchmark {:?} stands before it", self.id);
                Err(Rejection::new(Reason::UnknownBenchmark, detail))
            }
        }
    }

    pub(crate) fn receive(
        &mut self,
        offset: u64,
        event: &SubmissionReceived,
    ) -> Result<Effects, Rejection> {
        let definition = self.definition()?;
        let value = match event.metrics.is_empty() {
            true => None,
            false => Some(metric(&definition, &event.metrics)?),
        };
        let mut effects = Effects::default();
        let slot = self.slot(&event.agent, offset, event, &mut effects);
        let entrant = &mut self.entrants[slot as usize].1;
        entrant.submissions = entrant.submissions.saturating_add(1);
        entrant.last = event.occurred;
        entrant.ver = offset;
        if entrant.runs == 0 {
            entrant.submission_id = event.submission_id.clone();
        }
        let submission = SubmissionRow {
            agent: event.agent.clone(),
            artifact: event.artifact.clone(),
            occurred: event.occurred,
            runs_completed: u32::from(value.is_some()),
            runs_failed: 0,
            metrics: event.metrics.clone(),
            ver: offset,
        };
        if let Some(value) = value {
            let run = Run {
                submission_id: &event.submission_id,
                metrics: &event.metrics,
                value,
                occurred: event.occurred,
            };
            self.count(slot, offset, &definition, &run, &mut effects);
        }
        let key = RowKey::Submission(self.key(), event.submission_id.clone());
        effects.rows.push(Row { key, value: Value::Submission(submission) });
        effects.touched.push(slot);
        self.advance(offset, event.occurred);
        Ok(effects)
    }

    pub(crate) fn score(
        &mut self,
        offset: u64,
        event: &RunScored,
        known: &dyn Known,
    ) -> Result<Effects, Rejection> {
        let definition = self.definition()?;
        let Some(mut submission) = known.submission(&event.submission_id) else {
            let detail = format!("no submission {:?} stands before it", event.submission_id);
            return Err(Rejection::new(Reason::UnknownSubmission, detail));
        };
        let mut effects = Effects::default();
        submission.ver = offset;
        match event.status {
            RunStatus::Failed => submission.runs_failed = submission.runs_failed.saturating_add(1),
            RunStatus::Completed => {
                let value = metric(&definition, &event.metrics)?;
                submission.runs_completed = submission.runs_completed.saturating_add(1);
                submission.metrics = event.metrics.clone();
                // A submission was received, so its agent has a slot.
                let Some(slot) = self.slots.get(&submission.agent).copied() else {
                    let detail = format!("agent {:?} has no submission here", submission.agent);
                    return Err(Rejection::new(Reason::UnknownSubmission, detail));
                };
                let run = Run {
                    submission_id: &event.submission_id,
                    metrics: &event.metrics,
                    value,
                    occurred: event.occurred,
                };
                self.count(slot, offset, &definition, &run, &mut effects);
                effects.touched.push(slot);
            }
        }
        let key = RowKey::Submission(self.key(), event.submission_id.clone());
        effects.rows.push(Row { key, value: Value::Submission(submission) });
        self.advance(offset, event.occurred);
        Ok(effects)
    }

    fn advance(&mut self, offset: u64, occurred: EventTime) {
        if let Some(head) = &mut self.head {
            head.applied = offset;
            head.counted += 1;
            head.last = Some(occurred);
        }
    }

    fn slot(
        &mut self,
        agent: &AgentId,
        offset: u64,
        event: &SubmissionReceived,
        effects: &mut Effects,
    ) -> u32 {
        if let Some(slot) = self.slots.get(agent) {
            return *slot;
        }
        let slot = self.entrants.len() as u32;
        self.slots.insert(agent.clone(), slot);
        let fresh = Score {
            score: None,
            metrics: Metrics::default(),
            submission_id: event.submission_id.clone(),
            submissions: 0,
            runs: 0,
            sum: 0.0,
            last: event.occurred,
            ver: offset,
        };
        self.entrants.push((agent.clone(), fresh));
        effects.rows.push(agent_cell(agent, self.key(), offset));
        slot
    }

    /// Counts one completed run for the agent of `slot`.
    fn count(
        &mut self,
        slot: u32,
        offset: u64,
        definition: &BenchmarkDefined,
        run: &Run<'_>,
        effects: &mut Effects,
    ) {
        let cell = self.key();
        let (agent, entrant) = &mut self.entrants[slot as usize];
        entrant.runs = entrant.runs.saturating_add(1);
        // Sums of finite numbers may overflow; they stop at the ends, so a score stays finite.
        entrant.sum = (entrant.sum + run.value).clamp(f64::MIN, f64::MAX);
        let (score_after, shows_run) = match (definition.aggregation, entrant.score) {
            (Aggregation::Best, Some(best)) if !better(definition.direction, run.value, best) => {
                (best, false)
            }
            (Aggregation::Best | Aggregation::Last, _) => (run.value, true),
            (Aggregation::Mean, _) => (entrant.sum / f64::from(entrant.runs), true),
            (Aggregation::Sum, _) => (entrant.sum, true),
        };
        entrant.score = Some(score_after);
        if shows_run {
            entrant.metrics = run.metrics.clone();
            entrant.submission_id = run.submission_id.clone();
        }
        entrant.last = run.occurred;
        entrant.ver = offset;
        let value = Value::History(HistoryRow::Run {
            submission_id: run.submission_id.clone(),
            value: run.value,
            score_after,
            occurred: run.occurred,
        });
        effects.rows.push(Row { key: RowKey::History(cell, agent.clone(), offset), value });
    }
}

fn better(direction: Direction, one: f64, other: f64) -> bool {
    match direction {
        Direction::Higher => one > other,
        Direction::Lower => one < other,
    }
}

fn metric(definition: &BenchmarkDefined, metrics: &Metrics) -> Result<f64, Rejection> {
    metrics.get(&definition.metric).ok_or_else(|| {
        let detail = format!("metric {:?} is what the benchmark scores by", definition.metric);
        Rejection::new(Reason::MissingMetric, detail)
    })
}
