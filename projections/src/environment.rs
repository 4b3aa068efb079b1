//! One environment: its definition and the ratings of its agents.

use agon_schema::event::{EnvironmentDefined, MatchFinished, Player};
use agon_schema::rating::RatingSystem;
use agon_schema::{AgentId, EnvironmentId};

use crate::cell::CellKey;
use crate::elo::{self, Standing};
use crate::fold::{Effects, agent_cell};
use crate::rejection::{Reason, Rejection};
use crate::row::{
    GameResult, Head, HeadDetail, HistoryRow, MatchPlayer, MatchRow, Rating, Row, RowKey, Value,
};
use crate::slots::Slots;

/// What a match did to one player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The player's slot.
    pub slot: u32,
    /// In millionths of a point.
    pub before_micros: i64,
    /// In millionths of a point.
    pub after_micros: i64,
    /// How it ended.
    pub result: GameResult,
    /// Whether it was the agent's first match here.
    pub is_new: bool,
}

/// The state of an environment.
#[derive(Clone, Debug)]
pub struct EnvironmentCell {
    id: EnvironmentId,
    head: Option<Head>,
    ratings: Slots<Rating>,
    // Kept between matches so that rating one allocates nothing.
    standings: Vec<Standing>,
    after: Vec<i64>,
    changes: Vec<Change>,
}

impl EnvironmentCell {
    /// An environment that nobody defined yet.
    pub fn new(id: EnvironmentId) -> EnvironmentCell {
        EnvironmentCell {
            id,
            head: None,
            ratings: Slots::default(),
            standings: Vec::new(),
            after: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Which cell it is.
    pub fn key(&self) -> CellKey {
        CellKey::Environment(self.id.clone())
    }

    /// Definition and totals, once defined.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Agents with at least one match.
    pub fn slots(&self) -> u32 {
        self.ratings.len()
    }

    /// An agent's standing, if it has one.
    pub fn rating(&self, agent: &AgentId) -> Option<&Rating> {
        self.ratings.find(agent).map(|slot| self.ratings.value(slot))
    }

    /// The row of a slot.
    pub(crate) fn row(&self, slot: u32) -> Row {
        let key = RowKey::Entrant(self.key(), self.ratings.id(slot).clone());
        Row { key, value: Value::Rating(*self.ratings.value(slot)) }
    }

    /// Takes in one of its own rows.
    pub(crate) fn load(&mut self, row: Row) {
        match (row.key, row.value) {
            (RowKey::Head(_), Value::Head(head)) => self.head = Some(head),
            (RowKey::Entrant(_, agent), Value::Rating(rating)) => match self.ratings.find(&agent) {
                Some(slot) => *self.ratings.value_mut(slot) = rating,
                None => {
                    self.ratings.add(agent, rating);
                }
            },
            _ => {}
        }
    }

    pub(crate) fn define(
        &mut self,
        offset: u64,
        event: &EnvironmentDefined,
    ) -> Result<Effects, Rejection> {
        if self.head.is_some() || event.version != 1 {
            let detail = format!("version {} does not follow the one that stands", event.version);
            return Err(Rejection::new(Reason::VersionOutOfOrder, detail));
        }
        let detail = HeadDetail::Environment(event.clone());
        self.head = Some(Head { applied: offset, counted: 1, last: None, detail });
        Ok(Effects::default())
    }

    pub(crate) fn finish(
        &mut self,
        offset: u64,
        event: &MatchFinished,
    ) -> Result<Effects, Rejection> {
        if self.head.is_none() {
            let detail = format!("no definition of environment {:?} stands before it", self.id);
            return Err(Rejection::new(Reason::UnknownEnvironment, detail));
        }
        self.play(offset, event);
        Ok(self.effects(offset, event))
    }

    /// Rates one match of a defined environment and says what it changed; nothing happens in one
    /// that is not. The hot path: it allocates only for an agent's first match.
    pub fn play(&mut self, offset: u64, event: &MatchFinished) -> &[Change] {
        self.changes.clear();
        self.standings.clear();
        self.after.clear();
        let Some(head) = &mut self.head else { return &self.changes };
        let HeadDetail::Environment(definition) = &head.detail else { return &self.changes };
        let RatingSystem::Elo(elo) = &definition.rating;
        let players = event.players.as_slice();
        for player in players {
            let (slot, is_new) = match self.ratings.find(&player.agent) {
                Some(slot) => (slot, false),
                None => (self.ratings.add(player.agent.clone(), start(elo, offset, event)), true),
            };
            let rating = self.ratings.value(slot);
            self.standings.push(Standing {
                rating_micros: rating.rating_micros,
                games: rating.games,
                placement: player.placement,
                home: player.home,
            });
            self.changes.push(Change {
                slot,
                before_micros: rating.rating_micros,
                after_micros: 0,
                result: result(players, player),
                is_new,
            });
        }
        elo::rate(elo, &self.standings, &mut self.after);
        for (change, after_micros) in self.changes.iter_mut().zip(&self.after) {
            change.after_micros = *after_micros;
            apply(self.ratings.value_mut(change.slot), change, offset, event);
        }
        head.applied = offset;
        head.counted += 1;
        head.last = Some(event.occurred);
        &self.changes
    }

    /// The rows that the match just played leaves beside the ratings.
    fn effects(&self, offset: u64, event: &MatchFinished) -> Effects {
        let cell = self.key();
        let players = event.players.as_slice();
        let mut rows = Vec::with_capacity(2 * players.len() + 2);
        let mut match_players = Vec::with_capacity(players.len());
        for (player, change) in players.iter().zip(&self.changes) {
            if change.is_new {
                rows.push(agent_cell(&player.agent, cell.clone(), offset));
            }
            let history = HistoryRow::Match {
                match_id: event.match_id.clone(),
                result: change.result,
                rating_before_micros: change.before_micros,
                rating_after_micros: change.after_micros,
                occurred: event.occurred,
            };
            let key = RowKey::History(cell.clone(), player.agent.clone(), offset);
            rows.push(Row { key, value: Value::History(history) });
            match_players.push(MatchPlayer {
                agent: player.agent.clone(),
                placement: player.placement,
                score: player.score,
                home: player.home,
                rating_before_micros: change.before_micros,
                rating_after_micros: change.after_micros,
            });
        }
        let value = Value::Match(MatchRow {
            match_id: event.match_id.clone(),
            players: match_players,
            occurred: event.occurred,
            context: event.context.as_ref().map(|context| context.as_json().to_owned()),
        });
        rows.push(Row { key: RowKey::Match(cell, offset), value });
        Effects { touched: self.changes.iter().map(|change| change.slot).collect(), rows }
    }
}

fn start(elo: &agon_schema::rating::Elo, offset: u64, event: &MatchFinished) -> Rating {
    Rating {
        rating_micros: elo::to_micros(elo.start()),
        games: 0,
        wins: 0,
        draws: 0,
        losses: 0,
        last: event.occurred,
        ver: offset,
    }
}

/// Players stand in the order of placement, so the first ones are the best.
fn result(players: &[Player], player: &Player) -> GameResult {
    let best = players[0].placement;
    if player.placement > best {
        return GameResult::Loss;
    }
    let is_shared = players.get(1).is_some_and(|second| second.placement == best);
    if is_shared { GameResult::Draw } else { GameResult::Win }
}

fn apply(rating: &mut Rating, change: &Change, offset: u64, event: &MatchFinished) {
    rating.rating_micros = change.after_micros;
    rating.games = rating.games.saturating_add(1);
    let counter = match change.result {
        GameResult::Win => &mut rating.wins,
        GameResult::Draw => &mut rating.draws,
        GameResult::Loss => &mut rating.losses,
    };
    *counter = counter.saturating_add(1);
    rating.last = event.occurred;
    rating.ver = offset;
}
