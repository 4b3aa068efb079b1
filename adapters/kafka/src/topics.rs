//! What a topic of ours must be, and what differs of one that is there. Pure: see `survey.rs` for
//! how it is found and `init.rs` for how it is made.

use std::collections::BTreeMap;

use agon_schema::Topic;
use agon_schema::record::RECORD_BYTES_MAX;

use crate::client::Cluster;
use crate::error::Difference;

/// What a record may need on the wire beyond the bytes that [`RECORD_BYTES_MAX`] counts: the
/// lengths of its parts and the frame of its batch.
pub(crate) const OVERHEAD_BYTES_MAX: usize = 64 << 10;
/// The largest batch that the brokers must take.
pub(crate) const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX + OVERHEAD_BYTES_MAX;

/// Which of our topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of events, kept for ever.
    Events(Topic),
    /// The change feed, kept by time: for exactly so long where `init` says it, in milliseconds.
    Changes { retention_ms: Option<i64> },
}

/// A topic as it must be.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) partitions: u32,
    /// Copies of each partition; any number when not stated.
    pub(crate) replication: Option<u16>,
}

/// A topic as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) partitions: u32,
    /// Copies of the partition that has the fewest.
    pub(crate) replication: u16,
    /// Every partition has a leader.
    pub(crate) is_led: bool,
    /// Settings as the broker tells them; one that it does not know is absent.
    pub(crate) settings: BTreeMap<String, String>,
}

/// Every topic with its name: the three of events, then the change feed.
pub(crate) fn all(cluster: &Cluster, retention_ms: Option<i64>) -> Vec<(String, Kind)> {
    let events = Topic::ALL.into_iter();
    let mut topics: Vec<(String, Kind)> =
        events.map(|topic| (cluster.topic_name(topic), Kind::Events(topic))).collect();
    topics.push((cluster.changes_name(), Kind::Changes { retention_ms }));
    topics
}

/// Copies that must have a record before it is acknowledged, of so many.
pub(crate) fn min_insync(replication: u16) -> u16 {
    replication.saturating_sub(1).max(1)
}

impl Rule {
    /// The settings that a new topic is made with.
    pub(crate) fn settings(&self, replication: u16) -> Vec<(&'static str, String)> {
        let retention_ms = match self.kind {
            Kind::Events(_) => -1,
            Kind::Changes { retention_ms } => retention_ms.unwrap_or(-1),
        };
        vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention_ms.to_string()),
            ("retention.bytes", "-1".to_owned()),
            ("min.insync.replicas", min_insync(replication).to_string()),
            ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
            ("message.timestamp.type", "CreateTime".to_owned()),
        ]
    }

    /// What differs of what is there.
    pub(crate) fn differences(&self, found: &Found) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut differs = |setting: &str, expected: String, found: String| {
            let (topic, setting) = (self.name.clone(), setting.to_owned());
            differences.push(Difference { topic, setting, expected, found });
        };
        if found.partitions != self.partitions {
            let (expected, found) = (self.partitions.to_string(), found.partitions.to_string());
            differs("partitions", expected, found);
        }
        if self.replication.is_some_and(|replication| replication != found.replication) {
            let expected = self.replication.unwrap_or_default().to_string();
            differs("replication", expected, found.replication.to_string());
        }
        for (setting, expected) in self.settings(found.replication) {
            let Some(value) = found.settings.get(setting) else { continue };
            let (is_right, expected) = self.judge(setting, expected, value);
            if !is_right {
                differs(setting, expected, value.clone());
            }
        }
        differences
    }

    /// Whether the value does, and what is expected in words.
    fn judge(&self, setting: &str, expected: String, value: &str) -> (bool, String) {
        match (setting, self.kind) {
            ("retention.ms", Kind::Changes { retention_ms: None }) => {
                let is_bounded = value.parse::<i64>().is_ok_and(|value| value > 0);
                (is_bounded, "a number of milliseconds".to_owned())
            }
            // What is kept of the feed may be bounded in bytes too.
            ("retention.bytes", Kind::Changes { .. }) => (true, expected),
            ("max.message.bytes", _) => {
                let is_enough = value.parse::<usize>().is_ok_and(|it| it >= MESSAGE_BYTES_MAX);
                (is_enough, format!("{expected} or more"))
            }
            _ => (value == expected, expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: Kind) -> Rule {
        Rule { name: "t".into(), kind, partitions: 4, replication: None }
    }

    fn found(rule: &Rule, replication: u16) -> Found {
        let settings = rule.settings(replication).into_iter();
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).collect();
        Found { partitions: 4, replication, is_led: true, settings }
    }

    fn named(rule: &Rule, found: &Found) -> Vec<String> {
        rule.differences(found).into_iter().map(|difference| difference.setting).collect()
    }

    #[test]
    fn a_topic_as_it_is_made_differs_in_nothing() {
        for kind in [Kind::Events(Topic::Matches), Kind::Changes { retention_ms: Some(1000) }] {
            for replication in 1..=3 {
                let rule = rule(kind);
                assert_eq!(named(&rule, &found(&rule, replication)), [""; 0]);
            }
        }
        assert_eq!([1, 2, 3, 5].map(min_insync), [1, 1, 2, 4]);
    }

    #[test]
    fn each_setting_that_differs_is_named() {
        let events = rule(Kind::Events(Topic::Matches));
        let cases = [
            ("cleanup.policy", "compact"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "1000"),
            ("min.insync.replicas", "1"),
            ("max.message.bytes", "1048576"),
            ("message.timestamp.type", "LogAppendTime"),
        ];
        for (setting, value) in cases {
            let mut found = found(&events, 3);
            found.settings.insert(setting.to_owned(), value.to_owned());
            assert_eq!(named(&events, &found), [setting]);
            found.settings.remove(setting);
            assert_eq!(named(&events, &found), [""; 0], "a broker may not know {setting}");
        }
        let fewer = Found { partitions: 3, ..found(&events, 1) };
        let stated = Rule { replication: Some(3), ..events };
        assert_eq!(named(&stated, &fewer), ["partitions", "replication"]);
    }

    #[test]
    fn the_feed_is_kept_by_some_time() {
        let any = rule(Kind::Changes { retention_ms: None });
        let hour = rule(Kind::Changes { retention_ms: Some(3_600_000) });
        let mut found = found(&hour, 1);
        found.settings.insert("retention.bytes".into(), "1000".into());
        found.settings.insert("max.message.bytes".into(), "2000000".into());
        assert_eq!(named(&any, &found), [""; 0]);
        assert_eq!(named(&hour, &found), [""; 0]);
        found.settings.insert("retention.ms".into(), "-1".into());
        assert_eq!(named(&any, &found), ["retention.ms"]);
        assert_eq!(named(&hour, &found), ["retention.ms"]);
    }
}
