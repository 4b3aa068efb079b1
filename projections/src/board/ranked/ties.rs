//! Ranks as people count them: three ways to number entrants with equal keys.

use super::{Ids, Ranked};

/// How equal entrants are numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ties {
    /// 1, 2, 2, 4: one more than the number of better entrants.
    #[default]
    Competition,
    /// 1, 2, 2, 3: one more than the number of better keys.
    Dense,
    /// 1, 2, 3, 4: equal entrants are numbered by the bytes of their ids.
    Ordinal,
}

/// One line of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Counts from 1, in the way asked for.
    pub rank: usize,
    /// The entrant.
    pub slot: u32,
    /// The entrant's key.
    pub key: u64,
}

impl Ranked {
    /// The rank, from 1, of any entrant with this key; for `Ordinal` of the given one. None when
    /// the entrant does not stand there.
    pub fn rank_by(&self, ids: &Ids, slot: u32, key: u64, ties: Ties) -> Option<usize> {
        let ordinal = self.rank_of(ids, slot, key)?;
        Some(self.rank_at(ordinal, key, ties))
    }

    /// Lines of the board from an ordinal (from 0) on. The first costs a look-up, each further
    /// one a step.
    pub fn standings(&self, from: usize, ties: Ties) -> impl Iterator<Item = Standing> + '_ {
        let mut last: Option<Standing> = None;
        self.iter_from(from).enumerate().map(move |(n, (slot, key))| {
            let rank = match last {
                None => self.rank_at(from + n, key, ties),
                Some(last) => match ties {
                    Ties::Ordinal => last.rank + 1,
                    _ if last.key == key => last.rank,
                    Ties::Dense => last.rank + 1,
                    Ties::Competition => from + n + 1,
                },
            };
            let standing = Standing { rank, slot, key };
            last = Some(standing);
            standing
        })
    }

    fn rank_at(&self, ordinal: usize, key: u64, ties: Ties) -> usize {
        1 + match ties {
            Ties::Competition => self.count_better(key),
            Ties::Dense => self.distinct_better(key),
            Ties::Ordinal => ordinal,
        }
    }
}
