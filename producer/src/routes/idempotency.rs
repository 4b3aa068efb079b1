//! Natural ids for bodies that have none: from the `Idempotency-Key`, else new.

use agon_edge::{Code, Problem};
use agon_schema::NaturalId;
use axum::http::HeaderMap;
use uuid::Uuid;

/// The header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Bytes of a key, at most.
const KEY_BYTES_MAX: usize = 255;

/// The ids that one request hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// UUIDv5 under this one, which stands for caller, route and key, and the item's index.
    Keyed(Uuid),
    /// UUIDv7.
    New,
}

impl Ids {
    /// What the header says, for this caller and route.
    pub fn of(headers: &HeaderMap, caller: &str, route: &str) -> Result<Ids, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let (value, more) = (values.next(), values.next());
        let Some(value) = value else { return Ok(Ids::New) };
        let key = match more {
            None => read(value.as_bytes()),
            Some(_) => None,
        };
        let Some(key) = key else {
            let detail = format!(
                "send one Idempotency-Key of 1 to {KEY_BYTES_MAX} printable ASCII characters, \
                 bare or in double quotes"
            );
            return Err(Problem::new(Code::MalformedRequest, detail));
        };
        // Callers' names and keys hold no control characters, so zero bytes separate them.
        let name = format!("{caller}\0{route}\0{key}");
        Ok(Ids::Keyed(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())))
    }

    /// The natural id of the item at this place, should it have none.
    pub fn natural_id(&self, index: usize) -> NaturalId {
        let uuid = match self {
            Ids::Keyed(key) => Uuid::new_v5(key, index.to_string().as_bytes()),
            Ids::New => Uuid::now_v7(),
        };
        match NaturalId::new(uuid.to_string()) {
            Ok(id) => id,
            Err(_) => unreachable!("a UUID's text is an id"),
        }
    }
}

/// The key: bare, or a string of RFC 8941, in which a backslash stands before `"` and itself.
fn read(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let key = match text.strip_prefix('"') {
        None => text.to_owned(),
        Some(quoted) => unquote(quoted.strip_suffix('"')?)?,
    };
    let is_printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    ((1..=KEY_BYTES_MAX).contains(&key.len()) && is_printable).then_some(key)
}

fn unquote(text: &str) -> Option<String> {
    let mut key = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => key.push(chars.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            other => key.push(other),
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bare_or_quoted() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for (value, key) in [
            ("abc", Some("abc")),
            ("\"abc\"", Some("abc")),
            (r#""a\"b\\c""#, Some(r#"a"b\c"#)),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", Some("8e03978e-40d5-43dd-bc93-6894a57f9324")),
            ("", None),
            ("\"\"", None),
            ("\"abc", None),
            ("\"", None),
            (r#""a\x""#, None),
            ("\"a\"b\"", None),
            ("ключ", None),
            (&long, None),
        ] {
            assert_eq!(read(value.as_bytes()).as_deref(), key, "{value}");
        }
        assert_eq!(read(b"\xff"), None);
    }

    #[test]
    fn ids_depend_on_caller_route_key_and_index() {
        let ids = |caller: &str, route: &str, key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, key.parse().unwrap());
            Ids::of(&headers, caller, route).unwrap()
        };
        let one = ids("ann", "/matches", "k");
        assert_eq!(one, ids("ann", "/matches", "\"k\""));
        assert_eq!(one.natural_id(3), one.natural_id(3));
        assert_ne!(one.natural_id(3), one.natural_id(4));
        for other in
            [ids("bob", "/matches", "k"), ids("ann", "/scores", "k"), ids("ann", "/matches", "l")]
        {
            assert_ne!(one.natural_id(0), other.natural_id(0));
        }
        let new = Ids::of(&HeaderMap::new(), "ann", "/matches").unwrap();
        assert_ne!(new.natural_id(0), new.natural_id(0));
    }

    #[test]
    fn two_keys_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.append(IDEMPOTENCY_KEY, "a".parse().unwrap());
        headers.append(IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert_eq!(Ids::of(&headers, "a", "/m").unwrap_err().code(), Code::MalformedRequest);
    }
}
