//! Time as a parameter.

use agon_schema::Timestamp;

/// What time it is. Nothing that is folded may ask.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}
