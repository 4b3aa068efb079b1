//! Files for imports, and what an import of them gives.

use std::io::Write;
use std::path::{Path, PathBuf};

use agon_producer::import::{
    ColumnMap, Content, DryRun, ImportReport, IntakeSink, News, OpenError, Reader, Sink, import,
};
use agon_schema::{BenchmarkId, EnvironmentId};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::world::World;

/// A directory of files that goes away with the test.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Files {
        Files(TempDir::new().unwrap())
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

pub fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub fn matches(environment: &str) -> Content {
    Content::Matches { environment: EnvironmentId::new(environment).unwrap() }
}

pub fn submissions(benchmark: Option<&str>, map: &str) -> Content {
    Content::Submissions {
        benchmark: benchmark.map(|id| BenchmarkId::new(id).unwrap()),
        map: map.parse::<ColumnMap>().unwrap(),
    }
}

pub fn open(path: &Path, content: Content) -> Result<Reader, OpenError> {
    Reader::open(path, content, "2026-11-21T10:00:00Z".parse().unwrap())
}

/// Imports a file and checks that what was told on the way is what the report says.
pub async fn into_sink(path: &Path, content: Content, sink: &mut dyn Sink) -> ImportReport {
    let reader = open(path, content).unwrap();
    let (bytes, total) = (reader.bytes_read(), reader.bytes_total());
    let mut told = Vec::new();
    let mut notes = Vec::new();
    let report = import(reader, sink, &mut |news| match news {
        News::Bad(bad) => told.push(bad.clone()),
        News::Note(note) => notes.push(note.to_owned()),
        News::Progress(_) => {}
    })
    .await
    .unwrap();
    assert_eq!(told.len() as u64, report.refused);
    assert_eq!(&told[..report.named.len()], report.named);
    assert_eq!(notes, report.notes);
    assert!(bytes.get() <= total);
    report
}

pub async fn import_into(world: &World, path: &Path, content: Content) -> ImportReport {
    into_sink(path, content, &mut IntakeSink::new(world.intake.clone())).await
}

pub async fn dry_run(path: &Path, content: Content) -> ImportReport {
    into_sink(path, content, &mut DryRun).await
}

/// Read, appended, duplicates, refused, skipped.
pub fn sums(report: &ImportReport) -> [u64; 5] {
    let ImportReport { read, appended, duplicates, refused, skipped, .. } = report;
    [*read, *appended, *duplicates, *refused, *skipped]
}

/// The bad lines as `LINE: what`.
pub fn bad_lines(report: &ImportReport) -> Vec<String> {
    report.named.iter().map(|bad| format!("{}: {}", bad.line, bad.what)).collect()
}

/// A file of the project's shared data, if it is there.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}
