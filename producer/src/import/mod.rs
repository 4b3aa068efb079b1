//! Files in: readers that stream with bounded memory, and a driver that hands what they read to a
//! sink.
//!
//! ```text
//! lines ─> csv ─> matches ┐
//!              ─> submissions ├─> reader ─> driver ─> sink: the intake, a server, or nothing
//!       ─> json lines, sse ┘
//! ```
//! Whatever is wrong is named by file and line and does not stop the rest. Ids that a file does
//! not say are made from its lines, so importing a file again changes nothing.

mod body;
mod changes;
mod columns;
mod csv;
mod definitions;
mod driver;
mod item;
mod lines;
mod matches;
mod reader;
mod report;
mod server;
mod sink;
mod submissions;

pub use definitions::{Definitions, OnSearched, Searched, find_definition};
pub use driver::{OnNews, import};
pub use item::{Item, Parsed};
pub use lines::{BytesRead, LINE_BYTES_MAX};
pub use reader::{Content, OpenError, Reader};
pub use report::{BadLine, ImportError, ImportReport, NAMED_MAX, News};
pub use server::ServerSink;
pub use sink::{DryRun, Fate, IntakeSink, Sink};
pub use submissions::{BadMap, ColumnMap};
