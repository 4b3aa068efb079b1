//! What every client of ours shares: the brokers, the names of topics, the common settings, and
//! where the client library's own words go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agon_schema::{Topic, TopicPartition};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::address::KafkaAddress;
use crate::settings::KafkaSettings;

/// The topic of the change feed, without prefix.
const CHANGES: &str = "agon.changes.v1";
/// Names this software to the brokers, for their logs and quotas.
const CLIENT_ID: &str = "agon";
/// How long a request may stay unanswered before its connection is given up.
const SOCKET_TIMEOUT_MS: u32 = 10_000;
/// What the library calls requests without an answer in its log.
const TIMED_OUT: &str = "REQTMOUT";
/// What it calls connections that failed or were closed. It tells of most of them as errors too.
const FAILED: &str = "FAIL";
/// How long a client waits at most before it tries again to connect.
const RECONNECT_BACKOFF_MAX_MS: u32 = 1_000;

/// Which cluster, and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) address: KafkaAddress,
    pub(crate) settings: KafkaSettings,
}

impl Cluster {
    /// The name of a topic of events on the broker.
    pub(crate) fn topic_name(&self, topic: Topic) -> String {
        format!("{}{}", self.settings.topic_prefix, topic.name())
    }

    /// The name of the change feed's topic on the broker.
    pub(crate) fn changes_name(&self) -> String {
        format!("{}{CHANGES}", self.settings.topic_prefix)
    }

    /// The topic of events that has this name on the broker.
    pub(crate) fn topic_of(&self, name: &str) -> Option<Topic> {
        let bare = name.strip_prefix(&self.settings.topic_prefix)?;
        Topic::ALL.into_iter().find(|topic| topic.name() == bare)
    }

    /// Topic name and number of a partition, as the client library takes them.
    pub(crate) fn native(&self, source: TopicPartition) -> (String, i32) {
        (self.topic_name(source.topic), i32::try_from(source.partition).unwrap_or(i32::MAX))
    }

    /// Settings that every client has: brokers, name, sockets. No client ever makes a topic by
    /// asking for it.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.address.bootstrap())
            .set("client.id", CLIENT_ID)
            .set("allow.auto.create.topics", "false")
            .set("socket.timeout.ms", SOCKET_TIMEOUT_MS.to_string())
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", RECONNECT_BACKOFF_MAX_MS.to_string())
            // An idle connection that the broker closes is no news.
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        self.set_access(&mut config);
        config
    }
}

/// Hears what a client says beside its answers. Clones hear together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// The last thing that went wrong, in the library's words, and its code.
    trouble: Option<(RDKafkaErrorCode, String)>,
    /// No broker was reachable when the library last looked.
    is_away: bool,
}

impl Words {
    /// Nothing panics while it holds this lock, so what a poisoned one guards is whole.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last thing that went wrong since a broker answered, which names host and cause.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.heard().trouble.as_ref().map(|(_, reason)| reason.clone())
    }

    /// The code of that.
    pub(crate) fn trouble_code(&self) -> Option<RDKafkaErrorCode> {
        self.heard().trouble.as_ref().map(|(code, _)| *code)
    }

    /// What went wrong: the last word of the client, else the error.
    pub(crate) fn why(&self, error: &KafkaError) -> String {
        self.trouble().unwrap_or_else(|| plain(error))
    }

    /// The client said that no broker is reachable, and nothing was heard from one since.
    pub(crate) fn away(&self) -> Option<String> {
        let heard = self.heard();
        let reason = || heard.trouble.as_ref().map(|(_, reason)| reason.clone());
        heard.is_away.then(|| reason().unwrap_or_else(|| "no answer".to_owned()))
    }

    /// A broker answered: what went wrong before is over.
    pub(crate) fn answered(&self) {
        *self.heard() = Heard::default();
    }
}

impl ClientContext for Words {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == FAILED {
            // The name of a thread stands before the words.
            let words = message.split_once("]: ").map_or(message, |(_, words)| words);
            let failure = || (RDKafkaErrorCode::BrokerTransportFailure, words.to_owned());
            self.heard().trouble.get_or_insert_with(failure);
        }
        match level {
            // Whoever asked hears of it, and asks again.
            _ if facility == TIMED_OUT => {
                tracing::debug!(target: "rdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(target: "rdkafka", facility, "{message}"),
            RDKafkaLogLevel::Warning => tracing::warn!(target: "rdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "rdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "rdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Most of these are logged as well, with more words.
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        tracing::debug!(target: "rdkafka", ?code, "{reason}");
        let mut heard = self.heard();
        if code == RDKafkaErrorCode::AllBrokersDown {
            // Its words only count brokers; the error before it named host and cause.
            heard.is_away = true;
            heard.trouble.get_or_insert_with(|| (code, reason.to_owned()));
        } else {
            heard.trouble = Some((code, reason.to_owned()));
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Words {}

/// Lets the client say what it has to say beside its answers; it keeps that until it is heard.
pub(crate) fn hear(consumer: &BaseConsumer<Words>) {
    /// One poll hears one piece of news, and does not say whether there was any.
    const NEWS_MAX: usize = 16;
    for _ in 0..NEWS_MAX {
        // What is answered here was told to the client's words as well.
        let _told = consumer.poll(Duration::ZERO);
    }
}

/// An error of the library without its wrapping.
pub(crate) fn plain(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_prefix_and_lead_back() {
        let settings = KafkaSettings { topic_prefix: "t1.".into(), ..KafkaSettings::default() };
        let cluster = Cluster { address: "kafka://a:1".parse().unwrap(), settings };
        assert_eq!(cluster.topic_name(Topic::Matches), "t1.agon.matches.v1");
        assert_eq!(cluster.changes_name(), "t1.agon.changes.v1");
        for topic in Topic::ALL {
            assert_eq!(cluster.topic_of(&cluster.topic_name(topic)), Some(topic));
        }
        assert_eq!(cluster.topic_of("agon.matches.v1"), None);
        assert_eq!(cluster.topic_of("t1.agon.changes.v1"), None);
    }

    #[test]
    fn the_cause_outlives_the_count_of_brokers() {
        let words = Words::default();
        let global = KafkaError::Global;
        words.error(global(RDKafkaErrorCode::BrokerTransportFailure), "a:1: refused");
        words.error(global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(words.away().as_deref(), Some("a:1: refused"));
        words.answered();
        assert_eq!(words.away(), None);
    }
}
