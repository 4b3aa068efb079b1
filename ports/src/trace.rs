//! Traces: spans of what is done for a request, here and in the processes behind the log. A span
//! is one of `tracing`, under [`TARGET`]; what joins spans of different processes is W3C's
//! `traceparent`, in the headers of requests and of records.
//!
//! A process without a [`Tracer`] traces nothing, and pays for one look whether there is one.
//! Like the log's lines, traces are of the process, so the tracer is too.

use std::fmt;
use std::sync::OnceLock;

use tracing::Span;

/// The target of every span that is part of a trace; lines of the log have others.
pub const TARGET: &str = "agon::spans";
/// The header of requests and of records.
pub const TRACEPARENT: &str = "traceparent";
/// Bytes of a `traceparent` as far as its first version goes.
const BYTES: usize = 55;
/// Where its dashes stand.
const DASHES: [usize; 3] = [2, 35, 52];
static TRACER: OnceLock<Box<dyn Tracer>> = OnceLock::new();

/// Joins spans to those of other processes.
pub trait Tracer: Send + Sync {
    /// Puts a span that nothing was done in yet into the trace of its caller, unless the ids are
    /// none.
    fn continue_from(&self, span: &Span, caller: TraceParent);

    /// Says that a span goes on with the work of another; call it before anything is done in it.
    fn link(&self, span: &Span, to: TraceParent);

    /// The context of a span for whoever goes on with its work; `None` where the span is not kept,
    /// for then nobody needs to know of it.
    fn context(&self, span: &Span) -> Option<TraceParent>;
}

/// Lets this process trace; only the first tracer of a process counts.
pub fn start(tracer: Box<dyn Tracer>) {
    // A second one is dropped with the error.
    let _ = TRACER.set(tracer);
}

/// The tracer of this process, if it traces.
pub fn tracer() -> Option<&'static dyn Tracer> {
    TRACER.get().map(Box::as_ref)
}

/// A `traceparent` that is whole: version, trace, span and flags, in lower-case hexadecimal. That
/// neither id is zero is the tracer's to check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceParent([u8; BYTES]);

impl TraceParent {
    /// Reads a header; `None` for what is no `traceparent`, which the standard has ignored. Later
    /// versions may say more behind another dash; it is left out.
    pub fn read(header: &[u8]) -> Option<TraceParent> {
        let (whole, more) = header.split_first_chunk::<BYTES>()?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let mut bytes = whole.iter().enumerate();
        let is_shaped = bytes.all(|(place, byte)| match DASHES.contains(&place) {
            true => *byte == b'-',
            false => is_digit(byte),
        });
        let is_known = match &whole[..2] {
            b"00" => more.is_empty(),
            b"ff" => false,
            _ => more.is_empty() || more.starts_with(b"-"),
        };
        (is_shaped && is_known).then_some(TraceParent(*whole))
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_else(|_| unreachable!("only digits and dashes"))
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(text: &str) -> Option<String> {
        TraceParent::read(text.as_bytes()).map(|read| read.as_str().to_owned())
    }

    #[test]
    fn what_is_whole_is_read() {
        let later = TEXT.replacen("00", "cc", 1);
        for (text, expected) in [
            (TEXT.to_owned(), TEXT),
            (TEXT.replace("-01", "-00"), &TEXT.replace("-01", "-00")),
            (later.clone(), &later),
            (format!("{later}-more"), &later),
        ] {
            assert_eq!(read(&text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "00",
            &TEXT[..54],
            &TEXT.to_uppercase(),
            &TEXT.replace('-', "_"),
            &TEXT.replacen("00", "ff", 1),
            &TEXT.replacen("4b", "+b", 1),
            &TEXT.replacen("-01", "-é", 1),
            &format!("{TEXT}-more"),
            &format!("{TEXT} "),
            &format!(" {TEXT}"),
            &format!("{}more", TEXT.replacen("00", "cc", 1)),
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
