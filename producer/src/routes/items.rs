//! The items of a body: one object, the elements of an array, or the lines of NDJSON. Only split
//! here; each item is read on its own, so that one bad item does not spoil the others.

use agon_edge::{Code, Media, Payload, Problem, json};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// Items of one request.
pub(crate) const ITEMS_MAX: usize = 10_000;

/// What a body holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Items<'a> {
    /// One value, answered as such.
    One(&'a [u8]),
    /// A batch, answered item by item.
    Many(Vec<&'a [u8]>),
    /// More than [`ITEMS_MAX`].
    TooMany,
}

impl<'a> Items<'a> {
    pub fn of(payload: &'a Payload) -> Result<Items<'a>, Problem> {
        let bytes = payload.bytes.as_ref();
        let items = match payload.media {
            Media::Ndjson => Items::lines(bytes),
            Media::Json if bytes.trim_ascii_start().first() == Some(&b'[') => {
                match json::parse::<Elements<'a>>(bytes)?.0 {
                    Some(elements) => {
                        Items::Many(elements.into_iter().map(|raw| raw.get().as_bytes()).collect())
                    }
                    None => Items::TooMany,
                }
            }
            Media::Json => Items::One(bytes),
        };
        if items == Items::Many(Vec::new()) {
            let detail = "the batch is empty; send at least one item";
            return Err(Problem::new(Code::NoneAccepted, detail));
        }
        Ok(items)
    }

    /// Lines that are not blank.
    fn lines(bytes: &'a [u8]) -> Items<'a> {
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let items: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).take(ITEMS_MAX + 1).collect();
        if items.len() > ITEMS_MAX { Items::TooMany } else { Items::Many(items) }
    }
}

/// The texts of an array's elements; none when there are too many.
struct Elements<'a>(Option<Vec<&'a RawValue>>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Elements<'de>, D::Error> {
        struct Elementwise;
        impl<'de> Visitor<'de> for Elementwise {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
                let mut elements = Vec::new();
                while elements.len() < ITEMS_MAX {
                    match seq.next_element()? {
                        Some(element) => elements.push(element),
                        None => return Ok(Elements(Some(elements))),
                    }
                }
                let mut has_more = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    has_more = true;
                }
                Ok(Elements((!has_more).then_some(elements)))
            }
        }
        deserializer.deserialize_seq(Elementwise)
    }
}
