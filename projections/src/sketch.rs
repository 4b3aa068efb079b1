//! Counting distinct users in bounded memory: HyperLogLog over the hash of the name.
//!
//! ```text
//! hash (64 bits)   iiii… rrrrrr…    index: which register · rank: zeros before the first one, + 1
//! register         the highest rank seen
//! ```
//! The whole stream and a bucket of time count in two ways:
//! - [`Registers`] go on from an exact count. A user who raises a register counts 1/p, where p is
//!   the share of new users that would raise one at that moment (the martingale, or HIP,
//!   estimator): it never lowers a count, needs no look at all registers, and is kept in integers,
//!   so that it is the same everywhere. Its standard error is sqrt(ln 2 / registers).
//! - [`Users`] of buckets are joined when they are read. Few of them are kept as hashes and counted
//!   exactly; many become registers, of which the joined ones are estimated as Ertl has it (New
//!   cardinality estimation algorithms for HyperLogLog sketches, 2017): without a correction by
//!   tables, and with nothing but sums, products and roots, which are exact everywhere.

use serde::{Deserialize, Serialize};

use crate::row::UserHash;

/// Bits of the index of [`Registers`].
const INDEX_BITS: u32 = 14;
/// Registers of a partition of the stream.
const REGISTERS: usize = 1 << INDEX_BITS;
/// Registers in a row; 64 rows hold all.
pub const CHUNK_REGISTERS: usize = 256;
/// Rows that hold the registers.
pub const CHUNKS: u16 = (REGISTERS / CHUNK_REGISTERS) as u16;
/// The highest rank: a zero at each bit that is no index, and one more.
const RANK_MAX: u32 = 64 - INDEX_BITS + 1;
/// The standard error of a count by [`Registers`], as a share of it: sqrt(ln 2 / 16,384), rounded
/// up.
pub const COUNT_ERROR: f64 = 0.0066;

/// Bits of the index of a bucket's registers.
const BUCKET_INDEX_BITS: u32 = 11;
/// Registers of a bucket.
pub const BUCKET_REGISTERS: usize = 1 << BUCKET_INDEX_BITS;
const BUCKET_RANK_MAX: usize = 64 - BUCKET_INDEX_BITS as usize + 1;
/// Hashes of users that a bucket keeps; one more and it has registers.
pub const BUCKET_HASHES_MAX: usize = 256;
/// The standard error of a count by the registers of buckets, as a share of it:
/// 1.04 / sqrt(2,048), rounded up.
pub const BUCKET_ERROR: f64 = 0.023;

/// The hash of a user as sketches keep it.
pub type Hash = [u8; 8];

/// The part of a user's hash that sketches use.
pub fn hash_of(user: UserHash) -> Hash {
    let [a, b, c, d, e, f, g, h, ..] = user.0;
    [a, b, c, d, e, f, g, h]
}

/// The index and the rank of a hash.
fn place(hash: Hash, index_bits: u32) -> (usize, u8) {
    let word = u64::from_be_bytes(hash);
    // The bit set below the rest ends a run of zeros that would be longer.
    let rest = word << index_bits | 1_u64 << (index_bits - 1);
    ((word >> (64 - index_bits)) as usize, rest.leading_zeros() as u8 + 1)
}

/// The registers of one partition of the stream.
#[derive(Clone, Debug)]
pub struct Registers {
    ranks: Box<[u8]>,
    /// The sum of 2^(51 - rank): the share of new users that would raise a register, in units of
    /// 2^-65.
    open: u128,
}

impl Default for Registers {
    fn default() -> Registers {
        let ranks = vec![0; REGISTERS].into_boxed_slice();
        Registers { ranks, open: (REGISTERS as u128) << RANK_MAX }
    }
}

impl Registers {
    /// Takes in a user. When a register rises: the row that holds it, and how many users that
    /// stands for, in millionths.
    pub fn insert(&mut self, user: UserHash) -> Option<(u16, u64)> {
        let (index, rank) = place(hash_of(user), INDEX_BITS);
        let before = self.ranks[index];
        if rank <= before {
            return None;
        }
        let gain = (1_000_000_u128 << (INDEX_BITS + RANK_MAX)) / self.open;
        self.set(index, rank);
        Some(((index / CHUNK_REGISTERS) as u16, u64::try_from(gain).unwrap_or(u64::MAX)))
    }

    fn set(&mut self, index: usize, rank: u8) {
        let rank = u32::from(rank).min(RANK_MAX);
        self.open -= 1_u128 << (RANK_MAX - u32::from(self.ranks[index]));
        self.open += 1_u128 << (RANK_MAX - rank);
        self.ranks[index] = rank as u8;
    }

    /// The registers of one row.
    pub fn chunk(&self, chunk: u16) -> Vec<u8> {
        let start = usize::from(chunk) * CHUNK_REGISTERS;
        self.ranks[start..start + CHUNK_REGISTERS].to_vec()
    }

    /// Takes in a row. Whether it is one.
    pub fn load(&mut self, chunk: u16, ranks: &[u8]) -> bool {
        let fits = chunk < CHUNKS && ranks.len() == CHUNK_REGISTERS;
        if fits {
            let start = usize::from(chunk) * CHUNK_REGISTERS;
            ranks.iter().enumerate().for_each(|(at, rank)| self.set(start + at, *rank));
        }
        fits
    }
}

/// The users of one bucket of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Users {
    /// All of them, in order.
    Few(Vec<Hash>),
    /// The registers.
    Many(Vec<u8>),
}

impl Default for Users {
    fn default() -> Users {
        Users::Few(Vec::new())
    }
}

impl Users {
    /// Takes in a user.
    pub fn insert(&mut self, user: UserHash) {
        let hash = hash_of(user);
        match self {
            Users::Few(few) => {
                let Err(at) = few.binary_search(&hash) else { return };
                few.insert(at, hash);
                if few.len() > BUCKET_HASHES_MAX {
                    let mut ranks = vec![0; BUCKET_REGISTERS];
                    few.iter().for_each(|hash| raise(&mut ranks, *hash));
                    *self = Users::Many(ranks);
                }
            }
            Users::Many(ranks) => raise(ranks, hash),
        }
    }
}

fn raise(ranks: &mut [u8], hash: Hash) {
    let (index, rank) = place(hash, BUCKET_INDEX_BITS);
    if let Some(register) = ranks.get_mut(index) {
        *register = rank.max(*register);
    }
}

/// Users of several buckets together.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    few: Vec<Hash>,
    ranks: Option<Vec<u8>>,
}

impl Joined {
    /// Takes in those of one more bucket.
    pub fn add(&mut self, users: &Users) {
        match users {
            Users::Few(few) => self.few.extend(few),
            Users::Many(more) => {
                let ranks = self.ranks.get_or_insert_with(|| vec![0; BUCKET_REGISTERS]);
                for (rank, more) in ranks.iter_mut().zip(more) {
                    *rank = (*rank).max(*more);
                }
            }
        }
    }

    /// How many they are, and whether that is exact; else [`BUCKET_ERROR`] is its error.
    pub fn count(mut self) -> (u64, bool) {
        self.few.sort_unstable();
        self.few.dedup();
        let few = self.few.len() as u64;
        let Some(mut ranks) = self.ranks else { return (few, true) };
        self.few.iter().for_each(|hash| raise(&mut ranks, *hash));
        (((estimate(&ranks) + 0.5) as u64).max(few), false)
    }
}

/// How many users these registers of a bucket have seen.
fn estimate(ranks: &[u8]) -> f64 {
    let mut with_rank = [0_u32; BUCKET_RANK_MAX + 1];
    ranks.iter().for_each(|rank| with_rank[usize::from(*rank).min(BUCKET_RANK_MAX)] += 1);
    let registers = BUCKET_REGISTERS as f64;
    let share = |rank: usize| f64::from(with_rank[rank]) / registers;
    let mut sum = tau(1.0 - share(BUCKET_RANK_MAX));
    for rank in (1..BUCKET_RANK_MAX).rev() {
        sum = 0.5 * (sum + share(rank));
    }
    sum += sigma(share(0));
    // 1 / (2 ln 2)
    0.721_347_520_444_481_7 * registers / sum
}

/// The sum of x^(2^k) * 2^(k - 1) and x, until it changes no more.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum <= before {
            return sum;
        }
    }
}

/// A third of 1 - x less the sum of (1 - x^(2^-k))^2 * 2^-k, until it changes no more.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
        if sum >= before {
            return sum / 3.0;
        }
    }
}
