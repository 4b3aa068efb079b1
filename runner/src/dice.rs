//! Seeded chance: every draw of the crate comes from a seed and a named stream of it, so that a
//! run, a match or a benchmark can be repeated.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The generator that agents and the league draw from.
pub type Dice = StdRng;

/// The generator of one stream of a seed; streams do not disturb each other.
pub fn dice(seed: u64, stream: u64) -> Dice {
    Dice::seed_from_u64(mix(seed, stream))
}

/// A seed for one stream of a seed (the finaliser of SplitMix64, a bijection for a fixed seed).
pub fn mix(seed: u64, stream: u64) -> u64 {
    let mut z = seed.wrapping_add(stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
