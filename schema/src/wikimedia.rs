//! The shape of Wikimedia's recent-change stream, read leniently: only `meta` and `meta.dt` are
//! required, as its schema has it; a wrong type is an error, never a guess.

use serde::Deserialize;
use uuid::Uuid;

use crate::event::RecentChange;
use crate::ids::NaturalId;
use crate::object::Object;
use crate::time::Timestamp;

/// What a line of the stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A change.
    Change(RecentChange),
    /// A test event of the platform (`meta.domain` is `canary`), which consumers drop.
    Canary,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(deserialize_with = "crate::object::required")]
    meta: Meta,
    user: Option<String>,
    bot: Option<bool>,
    server_name: Option<String>,
    #[serde(rename = "type")]
    change_type: Option<String>,
    title: Option<String>,
    namespace: Option<i64>,
    minor: Option<bool>,
    #[serde(default, deserialize_with = "crate::object::optional")]
    length: Option<Length>,
    wiki: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    dt: String,
    id: Option<String>,
    domain: Option<String>,
}

#[derive(Deserialize)]
struct Length {
    old: Option<i64>,
    new: Option<i64>,
}

/// Reads one event's JSON. The error says what is wrong with it, in words.
///
/// # Errors
/// No JSON object, a required field missing, a field of the wrong type, a text over its limit.
pub fn parse(json: &[u8]) -> Result<Line, String> {
    let Object(raw) =
        serde_json::from_slice::<Object<Raw>>(json).map_err(|error| reason(&error))?;
    if raw.meta.domain.as_deref() == Some("canary") {
        return Ok(Line::Canary);
    }
    let occurred_at = raw.meta.dt.parse::<Timestamp>().map_err(|e| format!("meta.dt is {e}"))?;
    let id = match raw.meta.id {
        Some(id) => NaturalId::new(id).map_err(|error| format!("meta.id {error}"))?,
        None => id_of_bytes(json),
    };
    let (length_old_bytes, length_new_bytes) =
        raw.length.map_or((None, None), |length| (length.old, length.new));
    let change = RecentChange {
        id,
        occurred_at,
        user: raw.user,
        bot: raw.bot,
        server_name: raw.server_name,
        change_type: raw.change_type,
        title: raw.title,
        namespace: raw.namespace,
        minor: raw.minor,
        length_old_bytes,
        length_new_bytes,
        wiki: raw.wiki,
    };
    change.checked().map(Line::Change).map_err(|error| error.to_string())
}

/// What serde says, without the parts of the line that it quotes: a reason is kept for ever.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Eof => format!("the JSON ends too early: {text}"),
        serde_json::error::Category::Syntax => format!("not JSON: {text}"),
        _ => text.chars().take(200).collect(),
    }
}

/// The id of an event that has none: made from its bytes, so that the same line is the same event.
pub fn id_of_bytes(line: &[u8]) -> NaturalId {
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, line);
    match NaturalId::new(uuid.to_string()) {
        Ok(id) => id,
        Err(_) => unreachable!("a UUID's text is an id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_not_read_as_objects() {
        let good = br#"{"meta":{"dt":"2020-02-02T13:05:06Z"},"length":{"old":1,"new":2}}"#;
        assert!(matches!(parse(good), Ok(Line::Change(_))));
        for bad in [
            r#"{"meta":["2020-02-02T13:05:06Z","x",null]}"#,
            r#"{"meta":{"dt":"2020-02-02T13:05:06Z"},"length":[1,2]}"#,
            r#"[{"dt":"2020-02-02T13:05:06Z"},null,null,null,null,null,null,null,null,null]"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
