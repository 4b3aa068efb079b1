//! What is known of a request before anyone reads it: its id, its peer, its caller.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agon_schema::Timestamp;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::Role;
use crate::problem::Problem;

/// The header that carries a request's id, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of an id that a client may bring.
const ID_BYTES_MAX: usize = 64;

/// The id of one request: the client's own if it is sane, else a new UUIDv7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text: ASCII, at most 64 bytes.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header's value.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Makes ids. They need to be unique and hard to confuse, not secret, so the random part is a
/// keyed hash of a counter and costs no system call.
#[derive(Debug, Default)]
pub(crate) struct RequestIds {
    key: RandomState,
    made: AtomicU64,
}

impl RequestIds {
    /// The client's id if there is just one and it is sane, else a new one.
    pub fn of(&self, headers: &HeaderMap, now: Timestamp) -> RequestId {
        let mut brought = headers.get_all(X_REQUEST_ID).iter();
        match (brought.next(), brought.next()) {
            (Some(id), None) if is_sane(id.as_bytes()) => RequestId(id.clone()),
            _ => self.make(now),
        }
    }

    fn make(&self, now: Timestamp) -> RequestId {
        let count = self.made.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (self.key.hash_one((count, 0_u8)), self.key.hash_one((count, 1_u8)));
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high.to_le_bytes());
        random[8..].copy_from_slice(&low.to_le_bytes()[..2]);
        let millis = u64::try_from(now.micros() / 1000).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.as_hyphenated().encode_lower(&mut text);
        RequestId(HeaderValue::from_str(text).unwrap_or_else(|_| unreachable!("hex and dashes")))
    }
}

/// Letters, digits and `-_.:`, 1 to 64 of them: nothing that could forge a line in a log.
fn is_sane(id: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(sane)
}

/// The other end of the connection. There is none when a router is called without a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Who makes the request, as its token says. Every handler of a route that needs a token gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Arc<Named>);

#[derive(Debug, PartialEq, Eq)]
struct Named {
    name: String,
    roles: Vec<Role>,
}

impl Caller {
    /// A caller by name and roles.
    pub(crate) fn new(name: String, roles: Vec<Role>) -> Caller {
        Caller(Arc::new(Named { name, roles }))
    }

    /// The user's name, or `service:NAME` for a part of this program.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The roles.
    pub fn roles(&self) -> &[Role] {
        &self.0.roles
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Caller, Problem> {
        let missing = || Problem::internal("the route reads the caller, but anyone may use it");
        parts.extensions.get::<Caller>().cloned().ok_or_else(missing)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<RequestId, Problem> {
        let missing = || Problem::internal("the request did not pass the gate");
        parts.extensions.get::<RequestId>().cloned().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sane_id_is_taken_over() {
        let ids = RequestIds::default();
        let now = Timestamp::from_micros(1_764_000_000_000_000).unwrap();
        let check = |brought: &[&[u8]], kept: bool| {
            let mut headers = HeaderMap::new();
            for id in brought {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            }
            let id = ids.of(&headers, now);
            let same = brought.first().is_some_and(|first| id.as_str().as_bytes() == *first);
            assert_eq!(same, kept, "{brought:?}");
            if !kept {
                assert_eq!(id.as_str().parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
            }
        };
        check(&[b"ci-run:7.a_b"], true);
        check(&[&[b'a'; 64]], true);
        check(&[], false);
        check(&[b""], false);
        check(&[&[b'a'; 65]], false);
        check(&[b"a b"], false);
        check(&[b"x\t{\"level\":\"error\"}"], false);
        check(&[b"caf\xc3\xa9"], false);
        check(&[b"one", b"two"], false);
    }

    #[test]
    fn new_ids_differ() {
        let ids = RequestIds::default();
        let now = Timestamp::now();
        let made: std::collections::BTreeSet<String> =
            (0..1000).map(|_| ids.make(now).as_str().to_owned()).collect();
        assert_eq!(made.len(), 1000);
    }
}
