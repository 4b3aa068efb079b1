//! The bytes of the control store's file: JSON that a person can read, with a checksum.
//!
//! ```text
//! {"format": 1, "crc32c": "9e83486d", "entries": {
//!     "users/anna": {"version": 3, "text": "{\"roles\":[\"admin\"]}"},
//!     "keys/2026":  {"version": 1, "hex": "00ff1c"}}}
//! ```
//! The checksum is over what is meant (keys, versions, values), not over how it is written.

use std::collections::BTreeMap;

use agon_ports::Versioned;
use serde::{Deserialize, Serialize};

/// The format this code writes and the only one it reads.
pub(super) const FORMAT: u64 = 1;

/// What the store holds.
pub(super) type Entries = BTreeMap<String, Versioned>;

/// Why bytes are no document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// They name another format.
    OtherVersion(u64),
    /// They are not what was written.
    Damaged(String),
}

#[derive(Deserialize)]
struct Head {
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u64,
    crc32c: String,
    entries: BTreeMap<String, Entry>,
}

/// One value: as `text` when it is UTF-8, else as `hex`.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// The document that holds these entries.
pub(super) fn encode(entries: &Entries) -> Vec<u8> {
    let document = Document {
        format: FORMAT,
        crc32c: checksum(entries),
        entries: entries.iter().map(|(key, value)| (key.clone(), to_entry(value))).collect(),
    };
    let mut bytes =
        serde_json::to_vec_pretty(&document).expect("strings and numbers always become JSON");
    bytes.push(b'\n');
    bytes
}

/// The entries of a document.
pub(super) fn decode(bytes: &[u8]) -> Result<Entries, Unreadable> {
    let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
    let head: Head = serde_json::from_slice(bytes).map_err(damaged)?;
    if head.format != FORMAT {
        return Err(Unreadable::OtherVersion(head.format));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(damaged)?;
    let mut entries = Entries::new();
    for (key, entry) in document.entries {
        let Some(value) = from_entry(entry) else {
            return Err(Unreadable::Damaged(format!("the value of {key:?} cannot be read")));
        };
        entries.insert(key, value);
    }
    let (found, stated) = (checksum(&entries), document.crc32c);
    if found != stated {
        let reason = format!("it states the checksum {stated}, its entries have {found}");
        return Err(Unreadable::Damaged(reason));
    }
    Ok(entries)
}

/// CRC-32C of every key, version and value, each with its length.
fn checksum(entries: &Entries) -> String {
    let mut crc = 0;
    for (key, entry) in entries {
        for part in [key.as_bytes(), &entry.version.to_le_bytes(), &entry.value] {
            crc = crc32c::crc32c_append(crc, &(part.len() as u64).to_le_bytes());
            crc = crc32c::crc32c_append(crc, part);
        }
    }
    format!("{crc:08x}")
}

fn to_entry(Versioned { version, value }: &Versioned) -> Entry {
    match std::str::from_utf8(value) {
        Ok(text) => Entry { version: *version, text: Some(text.to_owned()), hex: None },
        Err(_) => {
            let hex = value.iter().map(|byte| format!("{byte:02x}")).collect();
            Entry { version: *version, text: None, hex: Some(hex) }
        }
    }
}

fn from_entry(entry: Entry) -> Option<Versioned> {
    let value = match (entry.text, entry.hex) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(hex)) => from_hex(&hex)?,
        _ => return None,
    };
    Some(Versioned { version: entry.version, value })
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Entries {
        let entry = |key: &str, version, value: &[u8]| {
            (key.to_owned(), Versioned { version, value: value.to_vec() })
        };
        Entries::from([
            entry("users/anna", 3, br#"{"roles":["admin"]}"#),
            entry("keys/1", 1, b"\x00\xff\x1c"),
            entry("", 2, b""),
        ])
    }

    #[test]
    fn a_document_is_readable_and_comes_back() {
        let bytes = encode(&sample());
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(r#""text": "{\"roles\":[\"admin\"]}""#), "{text}");
        assert!(text.contains(r#""hex": "00ff1c""#), "{text}");
        assert_eq!(decode(&bytes), Ok(sample()));
        assert_eq!(decode(&encode(&Entries::new())), Ok(Entries::new()));
    }

    #[test]
    fn what_is_no_document_is_told_apart() {
        let whole = String::from_utf8(encode(&sample())).unwrap();
        for (from, to, reason) in [
            ("00ff1c", "00ff1", "the value of \"keys/1\" cannot be read"),
            ("00ff1c", "+0ff1c", "the value of \"keys/1\" cannot be read"),
            ("00ff1c", "00ff1d", "it states the checksum"),
            ("\"version\": 3", "\"version\": 4", "it states the checksum"),
            ("users/anna", "users/anne", "it states the checksum"),
            ("\"hex\"", "\"hax\"", "unknown field `hax`"),
            ("\"version\": 3,", "", "missing field `version`"),
            ("\"format\": 1,", "", "missing field `format`"),
        ] {
            assert!(whole.contains(from), "{from}");
            match decode(whole.replace(from, to).as_bytes()) {
                Err(Unreadable::Damaged(found)) => assert!(found.starts_with(reason), "{found}"),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        }
        let other = whole.replace("\"format\": 1", "\"format\": 2");
        assert_eq!(decode(other.as_bytes()), Err(Unreadable::OtherVersion(2)));
    }
}
