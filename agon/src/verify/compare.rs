//! Compares expected rows with stored bytes, counts both sides, and hashes what was folded.

use std::collections::{BTreeMap, HashSet};

use agon_ports::{PortError, StoreInspector};
use agon_projections::row_bytes::{Prefix, folded_bytes, key_bytes, prefix_bytes, value_bytes};
use agon_projections::{Row, RowKey, Table};
use sha2::{Digest, Sha256};

use super::report::{Difference, Report};

/// Rows that are asked for at once.
const BATCH_ROWS: usize = 512;
/// Rows a page when a table is counted.
const PAGE_ROWS: usize = 4_096;
/// Differences that are named; the others are counted.
const NAMED_MAX: usize = 100;

/// A row that was not stored as expected, and what is stored.
pub struct Unequal {
    /// What the fold gives.
    pub row: Row,
    /// What the store has.
    pub stored: Vec<u8>,
}

/// The comparison so far.
pub struct Comparison<'a> {
    store: &'a dyn StoreInspector,
    pub cells: u64,
    rows: u64,
    differences: u64,
    named: Vec<Difference>,
    expected: BTreeMap<Table, u64>,
    missing: BTreeMap<Table, u64>,
    waiting: Vec<Row>,
    // The sum of the rows' hashes modulo 2^256: it does not depend on their order.
    hash: [u64; 4],
}

impl<'a> Comparison<'a> {
    /// Nothing compared yet.
    pub fn new(store: &'a dyn StoreInspector) -> Comparison<'a> {
        Comparison {
            store,
            cells: 0,
            rows: 0,
            differences: 0,
            named: Vec::new(),
            expected: BTreeMap::new(),
            missing: BTreeMap::new(),
            waiting: Vec::new(),
            hash: [0; 4],
        }
    }

    /// Something is not as it should be.
    pub fn name(&mut self, difference: Difference) {
        self.differences += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(difference);
        }
    }

    /// This row, which no later record changes, must be stored with exactly this value.
    pub async fn expect(&mut self, row: Row) -> Result<(), PortError> {
        self.waiting.push(row);
        if self.waiting.len() >= BATCH_ROWS { self.settle().await } else { Ok(()) }
    }

    /// Compares the rows that wait.
    pub async fn settle(&mut self) -> Result<(), PortError> {
        let rows = std::mem::take(&mut self.waiting);
        for Unequal { row, stored } in self.compare(rows).await? {
            self.name(Difference::unequal(&row, &stored));
        }
        Ok(())
    }

    /// Compares these rows; a missing one is a difference, the unequal ones are answered.
    pub async fn expect_now(&mut self, rows: Vec<Row>) -> Result<Vec<Unequal>, PortError> {
        let mut unequal = Vec::new();
        let mut rows = rows.into_iter();
        loop {
            let batch: Vec<Row> = rows.by_ref().take(BATCH_ROWS).collect();
            if batch.is_empty() {
                return Ok(unequal);
            }
            unequal.extend(self.compare(batch).await?);
        }
    }

    async fn compare(&mut self, rows: Vec<Row>) -> Result<Vec<Unequal>, PortError> {
        let keys = rows.iter().map(|row| key_bytes(&row.key)).collect();
        let values = self.store.values(keys).await?;
        let mut unequal = Vec::new();
        for (row, stored) in rows.into_iter().zip(values) {
            self.rows += 1;
            self.add_to_hash(&row);
            let table = row.key.table();
            *self.expected.entry(table).or_default() += 1;
            match stored {
                Some(stored) if stored == value_bytes(&row.value) => {}
                Some(stored) => unequal.push(Unequal { row, stored }),
                None => {
                    *self.missing.entry(table).or_default() += 1;
                    self.name(Difference::missing(&row));
                }
            }
        }
        Ok(unequal)
    }

    fn add_to_hash(&mut self, row: &Row) {
        let key = key_bytes(&row.key);
        let mut hasher = Sha256::new();
        hasher.update((key.len() as u64).to_le_bytes());
        hasher.update(&key);
        hasher.update(folded_bytes(&row.value));
        let digest = hasher.finalize();
        let mut carry = false;
        for (sum, part) in self.hash.iter_mut().zip(digest.chunks_exact(8)) {
            let part = part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            let (added, over) = sum.overflowing_add(part);
            let (added, over_by_carry) = added.overflowing_add(u64::from(carry));
            *sum = added;
            carry = over || over_by_carry;
        }
    }

    /// The tables that hold more rows than were expected.
    pub async fn tables_with_more(&self) -> Result<Vec<Table>, PortError> {
        let mut tables = Vec::new();
        for table in Table::ALL {
            let expected = self.expected.get(&table).copied().unwrap_or(0);
            let missing = self.missing.get(&table).copied().unwrap_or(0);
            let mut stored = 0;
            each_row(self.store, table, |_, _| stored += 1).await?;
            if stored > expected - missing {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// The result.
    pub fn report(self, position: String) -> Report {
        let words = self.hash.iter().rev().map(|word| format!("{word:016x}"));
        Report {
            cells: self.cells,
            rows: self.rows,
            differences: self.differences,
            named: self.named,
            position,
            hash: words.collect(),
        }
    }
}

/// Every key and value that a table shows, rising.
pub async fn each_row(
    store: &dyn StoreInspector,
    table: Table,
    mut act: impl FnMut(&[u8], &[u8]),
) -> Result<(), PortError> {
    let prefix = prefix_bytes(&Prefix::Table(table));
    let mut after = None;
    loop {
        let page = store.entries(prefix.clone(), after.take(), PAGE_ROWS).await?;
        let is_last = page.len() < PAGE_ROWS;
        page.iter().for_each(|(key, value)| act(key, value));
        after = page.into_iter().last().map(|(key, _)| key);
        if is_last {
            return Ok(());
        }
    }
}

/// Keys, by their hashes: there may be as many as the store has rows.
#[derive(Default)]
pub struct Keys(HashSet<[u8; 16]>);

impl Keys {
    /// Adds a key.
    pub fn add(&mut self, key: &[u8]) {
        self.0.insert(short(key));
    }

    /// Takes out the key of a row.
    pub fn remove(&mut self, key: &RowKey) {
        self.0.remove(&short(&key_bytes(key)));
    }

    /// Whether a key is among them.
    pub fn has(&self, key: &[u8]) -> bool {
        self.0.contains(&short(key))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn short(key: &[u8]) -> [u8; 16] {
    agon_schema::ContentHash::of_bytes(key).0
}

/// Bytes as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
