//! Tells a client its brokers once more.
//!
//! A client forgets every broker that an answer does not list. While all of them are fenced, as the
//! only one is for an instant after a pause, answers list none; a client that waits for several at
//! that moment may then know nobody, and ask nobody, for good (librdkafka, issue 5301).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::bindings as native;
use rdkafka::client::Client;

use crate::client::Cluster;

/// How often at most: the library keeps each reminder, some 50 bytes, for as long as the client.
const PAUSE: Duration = Duration::from_secs(10);

/// When a client was last told.
#[derive(Debug, Default)]
pub(crate) struct Reminder(Mutex<Option<Instant>>);

impl Reminder {
    /// To be called when brokers seem to be away. A client that knows them connects once more to
    /// the address, and forgets it again with the next answer.
    pub(crate) fn remind<C: ClientContext>(&self, client: &Client<C>, cluster: &Cluster) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        // An address holds no zero byte: the configuration has taken it.
        let Ok(brokers) = CString::new(cluster.address.bootstrap()) else { return };
        // SAFETY: the client is alive while it is borrowed; the call copies the string.
        let known = unsafe { native::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
        tracing::debug!(target: "rdkafka", known, "told the brokers' addresses again");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::thread;

    use rdkafka::consumer::{BaseConsumer, Consumer};

    use super::*;
    use crate::client::Words;
    use crate::settings::KafkaSettings;

    const PATIENCE: Duration = Duration::from_secs(120);
    /// Longer than the session of a broker of `scripts/servers`, 3 s: it comes back fenced.
    const PAUSED: Duration = Duration::from_millis(3_600);

    /// A broker of its own, for nobody else would like its pauses.
    struct Broker(tempfile::TempDir);

    impl Broker {
        fn servers(&self, what: &str, arguments: &[&str]) -> String {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/servers");
            let mut command = Command::new(script);
            command.arg(what).arg("--dir").arg(self.0.path().join("s")).args(arguments);
            let said = command.output().unwrap();
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            String::from_utf8(said.stdout).unwrap()
        }
    }

    impl Drop for Broker {
        fn drop(&mut self) {
            self.servers("stop", &["--now"]);
        }
    }

    /// Many questions wait at the pause, so that more than one answer lists no broker.
    #[test]
    #[allow(clippy::print_stderr)] // says that it ran without a server
    fn a_client_that_lost_every_broker_finds_them_again() {
        if std::env::var_os("TEST_KAFKA").is_none() {
            eprintln!("skipped: TEST_KAFKA is not set; run scripts/servers");
            return;
        }
        let broker = Broker(tempfile::tempdir().unwrap());
        let said = broker.servers("start", &["--only", "kafka"]);
        let address = said.split("TEST_KAFKA=").nth(1).unwrap().lines().next().unwrap();
        let address = address.trim_matches(['\'', '"']);
        broker.servers("tool", &["--", "TopicCommand", "--create", "--topic", "any"]);
        let cluster = Cluster {
            address: format!("kafka://{address}").parse().unwrap(),
            settings: KafkaSettings::default(),
        };
        let client: BaseConsumer<Words> =
            cluster.client_config().create_with_context(Words::default()).unwrap();
        let reminder = Reminder::default();
        let brokers = |wait_ms| {
            let told = client.fetch_metadata(Some("any"), Duration::from_millis(wait_ms));
            told.map_or(0, |told| told.brokers().len())
        };
        assert_eq!(brokers(30_000), 1);
        for _ in 0..3 {
            broker.servers("pause", &["kafka"]);
            let paused = Instant::now();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while paused.elapsed() < 2 * PAUSED {
                            brokers(100);
                        }
                    });
                }
                thread::sleep(PAUSED);
                broker.servers("resume", &["kafka"]);
            });
            while brokers(500) == 0 {
                assert!(paused.elapsed() < PATIENCE, "nobody is known any more");
                reminder.remind(client.client(), &cluster);
            }
        }
    }
}
