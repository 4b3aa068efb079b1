//! Ids: compared by bytes, refused when they are not in their one form, never changed.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use unicode_normalization::is_nfc;

/// Bytes of an agent, match, submission or run id, at most.
pub const ID_BYTES_MAX: usize = 128;
/// Bytes of an environment or benchmark id, at most.
pub const SLUG_BYTES_MAX: usize = 64;

/// Why a text is no id of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadId {
    /// Nothing at all.
    #[error("is empty")]
    Empty,
    /// Too many bytes.
    #[error("has {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("may hold only A-Z a-z 0-9 . _ - and must start with a letter or digit")]
    NotASlug,
    /// A control character.
    #[error("holds a control character")]
    Control,
    /// White space at an end.
    #[error("starts or ends with white space")]
    Untrimmed,
    /// Another Unicode form.
    #[error("is not in Unicode normalization form C; send the NFC form")]
    NotNfc,
}

fn check_slug(text: &str) -> Result<(), BadId> {
    if text.is_empty() {
        return Err(BadId::Empty);
    }
    if text.len() > SLUG_BYTES_MAX {
        return Err(BadId::TooLong { bytes: text.len(), max: SLUG_BYTES_MAX });
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !text.bytes().all(allowed) || !text.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(BadId::NotASlug);
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), BadId> {
    if text.is_empty() {
        return Err(BadId::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(BadId::TooLong { bytes: text.len(), max: ID_BYTES_MAX });
    }
    if text.chars().any(char::is_control) {
        return Err(BadId::Control);
    }
    if text.trim().len() != text.len() {
        return Err(BadId::Untrimmed);
    }
    if !text.is_ascii() && !is_nfc(text) {
        return Err(BadId::NotNfc);
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is, or says what is wrong with it.
            ///
            /// # Errors
            /// See [`BadId`].
            pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<$name, BadId> {
                $check(text.as_ref())?;
                Ok($name(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(text: String) -> Result<$name, BadId> {
                $name::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A game or arena: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    EnvironmentId, check_slug
);
id!(
    /// A set of tasks: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    BenchmarkId, check_slug
);
id!(
    /// A competitor: 1 to 128 bytes of UTF-8 in NFC, no control characters, no space at an end.
    AgentId, check_text
);
id!(
    /// A match, submission, run or stream event within its scope; the same form as an agent's id.
    NaturalId, check_text
);
id!(
    /// The name of a metric; the same form as an agent's id.
    MetricName, check_text
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for good in ["a", "connect-four", "A.b_c-9", &"x".repeat(64)] {
            assert!(EnvironmentId::new(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", BadId::Empty),
            ("-a", BadId::NotASlug),
            ("a b", BadId::NotASlug),
            ("é", BadId::NotASlug),
            (&"x".repeat(65), BadId::TooLong { bytes: 65, max: 64 }),
        ] {
            assert_eq!(EnvironmentId::new(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn texts() {
        for good in ["Côte d'Ivoire", "a b", "🦀", &"x".repeat(128)] {
            assert!(AgentId::new(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", BadId::Empty),
            (" a", BadId::Untrimmed),
            ("a\u{a0}", BadId::Untrimmed),
            ("a\u{0}b", BadId::Control),
            ("a\nb", BadId::Control),
            ("e\u{301}", BadId::NotNfc),
            (&"x".repeat(129), BadId::TooLong { bytes: 129, max: 128 }),
        ] {
            assert_eq!(AgentId::new(bad), Err(error), "{bad:?}");
        }
    }
}
