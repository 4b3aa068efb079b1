//! How far something is folded, and which step may follow: half-open spans of offsets.

use thiserror::Error;

/// Everything up to and with this offset is folded; `None`: nothing yet.
pub type Applied = Option<u64>;

/// A span that cannot follow what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SpanError {
    /// Records between the stored position and the span would be left out.
    #[error(
        "gap: stored through {}, but the span starts after {} (exclusive)",
        show(.stored), show(.from)
    )]
    Gap {
        /// Where the store stands (inclusive).
        stored: Applied,
        /// Where the span starts (exclusive).
        from: Applied,
    },
    /// The span starts before the stored position and ends after it.
    #[error("overlap: stored through {}, but the span is ({}, {to}]", show(.stored), show(.from))]
    Overlap {
        /// Where the store stands (inclusive).
        stored: Applied,
        /// Where the span starts (exclusive).
        from: Applied,
        /// Where it ends (inclusive).
        to: u64,
    },
}

fn show(applied: &Applied) -> String {
    applied.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string())
}

/// Whether the span `(from, to]` is to be applied to what is stored.
///
/// | case | answer |
/// |---|---|
/// | `to <= stored` | `Ok(false)`: applied before, a no-op |
/// | `from == stored`, `to > stored` | `Ok(true)` |
/// | `from > stored` | a gap, refused |
/// | `from < stored < to` | an overlap, refused |
///
/// # Errors
/// A gap or an overlap.
pub fn span_fits(stored: Applied, from: Applied, to: u64) -> Result<bool, SpanError> {
    if stored.is_some_and(|stored| to <= stored) {
        return Ok(false);
    }
    match from.cmp(&stored) {
        std::cmp::Ordering::Equal => Ok(true),
        std::cmp::Ordering::Greater => Err(SpanError::Gap { stored, from }),
        std::cmp::Ordering::Less => Err(SpanError::Overlap { stored, from, to }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_cases() {
        for (stored, from, to, answer) in [
            (None, None, 0, Ok(true)),
            (None, None, 9, Ok(true)),
            (Some(9), Some(9), 10, Ok(true)),
            (Some(9), None, 9, Ok(false)),
            (Some(9), Some(3), 7, Ok(false)),
            (Some(9), Some(12), 9, Ok(false)),
            (None, Some(0), 3, Err(SpanError::Gap { stored: None, from: Some(0) })),
            (Some(9), Some(10), 12, Err(SpanError::Gap { stored: Some(9), from: Some(10) })),
            (
                Some(9),
                Some(8),
                12,
                Err(SpanError::Overlap { stored: Some(9), from: Some(8), to: 12 }),
            ),
            (Some(9), None, 12, Err(SpanError::Overlap { stored: Some(9), from: None, to: 12 })),
        ] {
            assert_eq!(span_fits(stored, from, to), answer, "{stored:?} ({from:?}, {to}]");
        }
    }
}
