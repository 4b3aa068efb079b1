//! One flipped bit anywhere in a store's files: it opens as a state that it once was in, or says
//! that it is damaged, at opening or where the row is read. It never answers other rows.

use std::fs;
use std::path::{Path, PathBuf};

use agon_embedded::store::{EmbeddedStore, StoreConfig};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::support::{LOG, assert_damage, flush, flush_until, flushes_of, open, small};
use agon_ports::ProjectionStore;

/// Bits that are flipped in each file, spread by chance; a small file has every byte hit.
const FLIPS_A_FILE: usize = 120;
/// What ends every batch in a journal; the next one starts after it.
const BATCH_END: &[u8] = b"FJL\x03";
/// How a batch starts: tag, count of items: u32, sequence number: u64. The database's checksum
/// leaves it out.
const BATCH_START_BYTES: usize = 13;

/// All files of a store, by their paths in it.
pub fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(under) = dirs.pop() {
        for entry in fs::read_dir(dir.join(&under)).unwrap() {
            let entry = entry.unwrap();
            let path = under.join(entry.file_name());
            let is_dir = entry.file_type().unwrap().is_dir();
            if is_dir { dirs.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

pub fn copy(from: &Path, to: &Path) {
    for file in files_of(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(file), target).unwrap();
    }
    fs::create_dir_all(to.join("keyspaces/1/tables")).unwrap();
}

/// What came of the flips, counted.
#[derive(Debug, Default)]
struct Outcomes {
    refused_at_opening: usize,
    refused_when_read: usize,
    whole: usize,
    cut_short: usize,
}

/// A good store, and what is done to copies of it.
struct Trial<'a> {
    good: &'a Path,
    flushes: u64,
    outcomes: Outcomes,
}

impl Trial<'_> {
    /// Flips one bit of a file and looks.
    async fn flip(&mut self, file: &Path, at: usize, bit: u8) {
        let place = format!("{} byte {at} bit {bit}", file.display());
        let dir = tempfile::tempdir().unwrap();
        copy(self.good, dir.path());
        let mut bytes = fs::read(dir.path().join(file)).unwrap();
        bytes[at] ^= 1 << bit;
        fs::write(dir.path().join(file), bytes).unwrap();
        self.look(dir.path(), &place).await;
    }

    async fn look(&mut self, dir: &Path, place: &str) {
        let store = match open(dir) {
            Ok(store) => store,
            Err(error) => {
                assert!(error.is_mended_by_folding_anew(), "{place}: {error}");
                self.outcomes.refused_at_opening += 1;
                return;
            }
        };
        match flushes_or_panic(&store, place).await {
            Err(error) => {
                assert_damage(&error);
                self.outcomes.refused_when_read += 1;
            }
            Ok(flushes) if flushes == self.flushes => self.outcomes.whole += 1,
            Ok(flushes) => {
                assert!(flushes < self.flushes, "{place}: {flushes}");
                self.outcomes.cut_short += 1;
                // The log brings it forward from there.
                store.flush(flush(flushes)).await.unwrap();
                assert_eq!(flushes_of(&store).await.unwrap(), flushes + 1, "{place}");
            }
        }
    }

    /// Flips bits in every file: all bytes of small ones, some of large ones.
    async fn flip_everywhere(&mut self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        for file in files_of(self.good) {
            let size = fs::metadata(self.good.join(&file)).unwrap().len() as usize;
            let places: Vec<usize> = match size {
                0 => vec![],
                1..=FLIPS_A_FILE => (0..size).collect(),
                _ => (0..FLIPS_A_FILE).map(|_| rng.random_range(0..size)).collect(),
            };
            for at in places {
                self.flip(&file, at, rng.random_range(0..8)).await;
            }
        }
    }
}

async fn flushes_or_panic(
    store: &EmbeddedStore,
    place: &str,
) -> Result<u64, agon_ports::PortError> {
    let store = store.clone();
    // A wrong state panics in the task; here it gets the place by its side.
    let looked = tokio::spawn(async move { flushes_of(&store).await }).await;
    looked.unwrap_or_else(|panic| panic!("{place}: silently wrong: {panic}"))
}

/// A store of so many flushes, closed, opened and closed, so that its journal is no longer than
/// what is in it.
async fn good_store(dir: &Path, flushes: u64, config: StoreConfig) {
    let store = EmbeddedStore::open(dir, LOG, config).unwrap();
    flush_until(&store, flushes).await;
    drop(store);
    drop(open(dir).unwrap());
}

/// Where batches start in a journal.
fn batch_starts(journal: &[u8]) -> Vec<usize> {
    let ends = journal.windows(BATCH_END.len()).enumerate();
    let ends = ends.filter(|(_, bytes)| *bytes == BATCH_END).map(|(at, _)| at + BATCH_END.len());
    let starts: Vec<usize> = [0].into_iter().chain(ends).collect();
    starts.into_iter().filter(|at| at + BATCH_START_BYTES <= journal.len()).collect()
}

#[tokio::test]
async fn a_bit_flipped_in_a_journal_alone_is_no_silent_change() {
    let dir = tempfile::tempdir().unwrap();
    good_store(dir.path(), 60, StoreConfig::default()).await;
    let mut trial = Trial { good: dir.path(), flushes: 60, outcomes: Outcomes::default() };
    trial.flip_everywhere(1).await;
    let Outcomes { refused_at_opening, cut_short, .. } = trial.outcomes;
    assert!(refused_at_opening > 20 && cut_short > 3, "{:?}", trial.outcomes);
}

#[tokio::test]
async fn a_bit_flipped_in_tables_and_their_lists_is_no_silent_change() {
    let dir = tempfile::tempdir().unwrap();
    let has_tables =
        || files_of(dir.path()).iter().any(|file| file.starts_with("keyspaces/1/tables"));
    let mut flushes = 700;
    good_store(dir.path(), flushes, small()).await;
    // Tables are written beside the flushes; the end of a store does not wait for them.
    while !has_tables() {
        flushes += 100;
        good_store(dir.path(), flushes, small()).await;
    }
    let mut trial = Trial { good: dir.path(), flushes, outcomes: Outcomes::default() };
    trial.flip_everywhere(2).await;
    let Outcomes { refused_at_opening, refused_when_read, .. } = trial.outcomes;
    assert!(refused_at_opening > 20 && refused_when_read > 0, "{:?}", trial.outcomes);
}

/// The one part of a batch without a checksum decides which row is the newest.
#[tokio::test]
async fn a_flipped_sequence_number_is_no_silent_change() {
    let dir = tempfile::tempdir().unwrap();
    good_store(dir.path(), 60, StoreConfig::default()).await;
    let mut trial = Trial { good: dir.path(), flushes: 60, outcomes: Outcomes::default() };
    let journal = Path::new("0.jnl");
    let starts = batch_starts(&fs::read(dir.path().join(journal)).unwrap());
    assert_eq!(starts.len(), 61, "the store's making and 60 flushes");
    for start in starts.iter().step_by(9) {
        for at in *start..start + BATCH_START_BYTES {
            trial.flip(journal, at, (at % 3) as u8).await;
            trial.flip(journal, at, 4 + (at % 4) as u8).await;
        }
    }
    assert!(trial.outcomes.refused_at_opening > 50, "{:?}", trial.outcomes);
}

/// The database cuts a journal at the first byte that it cannot read. In an older journal that
/// leaves a hole.
#[tokio::test]
async fn a_hole_between_two_journals_is_no_silent_loss() {
    let dir = tempfile::tempdir().unwrap();
    good_store(dir.path(), 60, StoreConfig::default()).await;
    let journal = fs::read(dir.path().join("0.jnl")).unwrap();
    let starts = batch_starts(&journal);
    fs::write(dir.path().join("0.jnl"), &journal[..starts[40]]).unwrap();
    fs::write(dir.path().join("1.jnl"), &journal[starts[40]..]).unwrap();
    let mut trial = Trial { good: dir.path(), flushes: 60, outcomes: Outcomes::default() };
    for start in starts[..40].iter().step_by(5) {
        trial.flip(Path::new("0.jnl"), *start, 4).await;
    }
    assert_eq!(trial.outcomes.refused_at_opening, 8, "{:?}", trial.outcomes);
    let start = starts[50] - starts[40];
    trial.flip(Path::new("1.jnl"), start, 4).await;
    assert_eq!(trial.outcomes.cut_short, 1, "{:?}", trial.outcomes);
}

/// What the checks find they find because of the damage.
#[tokio::test]
async fn an_undamaged_copy_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    for flushes in [0, 1, 60, 700] {
        let good = dir.path().join(flushes.to_string());
        good_store(&good, flushes, small()).await;
        let mut trial = Trial { good: &good, flushes, outcomes: Outcomes::default() };
        let copied = dir.path().join("copy");
        copy(&good, &copied);
        trial.look(&copied, "no damage").await;
        assert_eq!(trial.outcomes.whole, 1, "{:?}", trial.outcomes);
        EmbeddedStore::wipe(&copied).unwrap();
    }
}
