//! Topics, keys and the partition of a key.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Partitions of a topic unless the operator says otherwise. Recorded with the log; a change is
/// refused, since a key would move and its order break.
pub const PARTITIONS_DEFAULT: u32 = 16;

/// A topic of events. The change feed is not one: it is kept by time and never folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    /// Definitions of environments and the matches in them, keyed by environment.
    Matches,
    /// Definitions of benchmarks, submissions and runs, keyed by benchmark.
    Submissions,
    /// Stream events, keyed by user, else by their own id.
    RecentChange,
}

impl Topic {
    /// Every topic of events, in the order of their codes.
    pub const ALL: [Topic; 3] = [Topic::Matches, Topic::Submissions, Topic::RecentChange];

    /// The name on the broker.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::Matches => "agon.matches.v1",
            Topic::Submissions => "agon.submissions.v1",
            Topic::RecentChange => "agon.recentchange.v1",
        }
    }

    /// One byte for frames and keys; never reused.
    pub const fn code(self) -> u8 {
        match self {
            Topic::Matches => 1,
            Topic::Submissions => 2,
            Topic::RecentChange => 3,
        }
    }

    /// One letter for position tokens.
    pub const fn letter(self) -> char {
        match self {
            Topic::Matches => 'm',
            Topic::Submissions => 's',
            Topic::RecentChange => 'r',
        }
    }

    /// The topic of a code, if there is one.
    pub fn from_code(code: u8) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| topic.code() == code)
    }

    /// The topic of a token's letter, if there is one.
    pub fn from_letter(letter: char) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| topic.letter() == letter)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One partition of one topic: the unit of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// From 0 to the topic's partition count, exclusive.
    pub partition: u32,
}

impl TopicPartition {
    /// Every partition of every topic, in order.
    pub fn all(partitions: u32) -> impl Iterator<Item = TopicPartition> + Clone + Send {
        Topic::ALL.into_iter().flat_map(move |topic| {
            (0..partitions).map(move |partition| TopicPartition { topic, partition })
        })
    }

    /// The partition that a key belongs to among `partitions`.
    pub fn of_key(topic: Topic, key: &[u8], partitions: u32) -> TopicPartition {
        TopicPartition { topic, partition: partition_of(key, partitions) }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The partition of a key as Java clients compute it: murmur2, made positive, modulo the count.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// Murmur2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let tail = words.remainder();
    for (index, byte) in tail.iter().enumerate().rev() {
        h ^= u32::from(*byte) << (8 * index);
    }
    if !tail.is_empty() {
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_the_vectors_of_apache_kafka() {
        // clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in vectors {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn codes_and_letters_name_their_topic() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_code(topic.code()), Some(topic));
            assert_eq!(Topic::from_letter(topic.letter()), Some(topic));
        }
    }
}
