//! Where the store is: `cql://HOST:PORT[,HOST:PORT…]/KEYSPACE`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Longest name of a keyspace, in bytes: what Cassandra allows.
const KEYSPACE_BYTES_MAX: usize = 48;

/// Nodes to begin with, the keyspace, and as whom; the driver finds the other nodes. A password is
/// never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CqlAddress {
    nodes: Box<[String]>,
    keyspace: String,
    /// User name and password.
    login: Option<Arc<(String, String)>>,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no address of a store: {reason}; write cql://HOST:PORT[,HOST:PORT]/KEYSPACE")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl CqlAddress {
    /// The nodes to begin with, each `HOST:PORT`.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// The keyspace: `[a-z][a-z0-9_]{0,47}`, so it needs no quotes in CQL.
    pub fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// The same store as a user whom it knows.
    #[must_use]
    pub fn with_login(self, user: &str, password: &str) -> CqlAddress {
        CqlAddress { login: Some(Arc::new((user.to_owned(), password.to_owned()))), ..self }
    }

    /// User name and password.
    pub(crate) fn login(&self) -> Option<(&str, &str)> {
        self.login.as_ref().map(|login| (login.0.as_str(), login.1.as_str()))
    }
}

impl fmt::Debug for CqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for CqlAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<CqlAddress, AddressError> {
        let refused = |reason| AddressError { text: text.to_owned(), reason };
        let rest = text.strip_prefix("cql://").ok_or(refused("it does not start with cql://"))?;
        let (nodes, keyspace) = rest.split_once('/').ok_or(refused("it names no keyspace"))?;
        let nodes: Box<[String]> = nodes.split(',').map(str::to_owned).collect();
        if !nodes.iter().all(|node| is_node(node)) {
            return Err(refused("each node is a host and a port from 1 to 65535"));
        }
        if !is_keyspace(keyspace) {
            return Err(refused(
                "a keyspace is a small letter and up to 47 small letters, digits and underscores",
            ));
        }
        Ok(CqlAddress { nodes, keyspace: keyspace.to_owned(), login: None })
    }
}

fn is_node(node: &str) -> bool {
    let Some((host, port)) = node.rsplit_once(':') else { return false };
    let is_host_char = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    !host.is_empty()
        && host.chars().all(is_host_char)
        && port.chars().all(|c| c.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_keyspace(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= KEYSPACE_BYTES_MAX
        && name.chars().all(is_inner)
}

impl fmt::Display for CqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cql://{}/{}", self.nodes.join(","), self.keyspace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let longest = format!("cql://h:1/{}", "a".repeat(48));
        for text in ["cql://db:9042/agon", "cql://10.0.0.1:1,[::1]:65535/a_1", &longest] {
            let address: CqlAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: CqlAddress = "cql://a:1,b:2/agon".parse().unwrap();
        assert_eq!(address.nodes(), ["a:1", "b:2"]);
        assert_eq!(address.keyspace(), "agon");
        let known = address.with_login("ann", "hidden");
        assert_eq!(format!("{known} {known:?}"), "cql://a:1,b:2/agon cql://a:1,b:2/agon");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_form() {
        let too_long = format!("cql://h:1/{}", "a".repeat(49));
        for text in [
            "",
            "kafka://h:1/agon",
            "cql://h:1",
            "cql://h:1/",
            "cql:///agon",
            "cql://h/agon",
            "cql://h:0/agon",
            "cql://h:65536/agon",
            "cql://h:+1/agon",
            "cql://h:1,/agon",
            "cql://h 1:1/agon",
            "cql://h:1/Agon",
            "cql://h:1/1agon",
            "cql://h:1/agon;drop",
            "cql://h:1/a/b",
            "cql://h:1/ä",
            &too_long,
        ] {
            let error = text.parse::<CqlAddress>().unwrap_err();
            assert!(error.to_string().contains("write cql://HOST:PORT"), "{error}");
        }
    }
}
