//! Where the brokers are: `kafka://HOST:PORT[,HOST:PORT…]`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const SCHEME: &str = "kafka://";

/// The brokers that a client asks first; they name the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaAddress {
    /// `HOST:PORT` each, at least one.
    brokers: Vec<String>,
}

/// A text that is no address of brokers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no address of Kafka: {reason}; write kafka://HOST:PORT[,HOST:PORT…]")]
pub struct BadAddress {
    text: String,
    reason: String,
}

impl KafkaAddress {
    /// `HOST:PORT,HOST:PORT`, as `bootstrap.servers` takes it.
    pub(crate) fn bootstrap(&self) -> String {
        self.brokers.join(",")
    }
}

impl fmt::Display for KafkaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bootstrap())
    }
}

impl FromStr for KafkaAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<KafkaAddress, BadAddress> {
        let bad = |reason: String| BadAddress { text: text.to_owned(), reason };
        let Some(brokers) = text.strip_prefix(SCHEME) else {
            return Err(bad(format!("it does not begin with {SCHEME}")));
        };
        let brokers = brokers.strip_suffix('/').unwrap_or(brokers);
        let brokers: Result<Vec<String>, String> = brokers.split(',').map(broker).collect();
        Ok(KafkaAddress { brokers: brokers.map_err(bad)? })
    }
}

/// One `HOST:PORT`, checked; an IPv6 host stands in brackets.
fn broker(text: &str) -> Result<String, String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("`{text}` has no port"));
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match inner {
        Some(inner) => inner.contains(':') && inner.bytes().all(is_of_ipv6),
        None => host.bytes().all(is_of_name),
    };
    if host.is_empty() || !is_host {
        return Err(format!("`{host}` is no host"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => Err(format!("`{port}` is no port from 1 to 65535")),
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn is_of_ipv6(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_text() {
        for text in ["kafka://localhost:9092", "kafka://a.b-c:1,10.0.0.1:65535", "kafka://[::1]:9"]
        {
            assert_eq!(text.parse::<KafkaAddress>().unwrap().to_string(), text);
        }
        let slash: KafkaAddress = "kafka://a:1/".parse().unwrap();
        assert_eq!(slash.bootstrap(), "a:1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let cases = [
            ("localhost:9092", "does not begin with kafka://"),
            ("cql://localhost:9092", "does not begin with kafka://"),
            ("kafka://", "`` has no port"),
            ("kafka://localhost", "`localhost` has no port"),
            ("kafka://localhost:0", "`0` is no port from 1 to 65535"),
            ("kafka://localhost:65536", "`65536` is no port"),
            ("kafka://:9092", "`` is no host"),
            ("kafka://a:1,", "`` has no port"),
            ("kafka://a b:1", "`a b` is no host"),
            ("kafka://::1:9092", "`::1` is no host"),
            ("kafka://user@a:1", "`user@a` is no host"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<KafkaAddress>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{text}: {error}");
        }
    }
}
