//! Compares expected rows with stored bytes, counts both sides, and hashes what was folded.

use std::collections::{BTreeMap, HashSet};

use agon_ports::{PortError, StoreInspector};
use agon_projections::row::Value;
use agon_projections::row_bytes::{
    Prefix, folded_bytes, key_bytes, key_of_bytes, prefix_bytes, value_bytes,
};
use agon_projections::{Row, RowKey, Table};
use agon_schema::TopicPartition;
use sha2::{Digest, Sha256};

use super::report::{Difference, Report};

/// Rows that are asked for at once.
const BATCH_ROWS: usize = 512;
/// Rows a page when a table is counted.
const PAGE_ROWS: usize = 4_096;
/// Differences that are named; the others are counted.
const NAMED_MAX: usize = 100;

/// The comparison so far.
pub struct Comparison<'a> {
    store: &'a dyn StoreInspector,
    pub cells: u64,
    rows: u64,
    differences: u64,
    named: Vec<Difference>,
    expected: BTreeMap<Table, u64>,
    missing: BTreeMap<Table, u64>,
    with_more: Vec<Table>,
    waiting: Vec<Row>,
    folded_through: Vec<(TopicPartition, u64)>,
    keys: HashSet<[u8; 16]>,
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
            with_more: Vec::new(),
            waiting: Vec::new(),
            folded_through: Vec::new(),
            keys: HashSet::new(),
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

    /// This row must be stored with exactly this value.
    pub async fn expect(&mut self, row: Row) -> Result<(), PortError> {
        self.rows += 1;
        *self.expected.entry(row.key.table()).or_default() += 1;
        if let (RowKey::Progress(source), Value::Progress(progress)) = (&row.key, &row.value) {
            self.folded_through.push((*source, progress.applied));
        }
        self.add_to_hash(&row);
        self.waiting.push(row);
        if self.waiting.len() >= BATCH_ROWS { self.settle().await } else { Ok(()) }
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

    /// Compares the rows that wait.
    pub async fn settle(&mut self) -> Result<(), PortError> {
        let rows = std::mem::take(&mut self.waiting);
        let keys = rows.iter().map(|row| key_bytes(&row.key)).collect();
        let values = self.store.values(keys).await?;
        for (row, stored) in rows.iter().zip(values) {
            let Some(stored) = stored else {
                *self.missing.entry(row.key.table()).or_default() += 1;
                self.name(Difference::missing(row));
                continue;
            };
            if stored != value_bytes(&row.value) {
                self.name(Difference::unequal(row, &stored));
            }
        }
        Ok(())
    }

    /// The tables that hold more rows than were expected.
    pub async fn tables_with_more(&mut self) -> Result<Vec<Table>, PortError> {
        let mut tables = Vec::new();
        for table in Table::ALL {
            let expected = self.expected.get(&table).copied().unwrap_or(0);
            let missing = self.missing.get(&table).copied().unwrap_or(0);
            let mut stored = 0;
            self.each_key(table, |_| stored += 1).await?;
            if stored > expected - missing {
                tables.push(table);
            }
        }
        self.with_more.clone_from(&tables);
        Ok(tables)
    }

    async fn each_key(&self, table: Table, mut act: impl FnMut(&[u8])) -> Result<(), PortError> {
        let prefix = prefix_bytes(&Prefix::Table(table));
        let mut after = None;
        loop {
            let page = self.store.entries(prefix.clone(), after.take(), PAGE_ROWS).await?;
            let is_last = page.len() < PAGE_ROWS;
            page.iter().for_each(|(key, _)| act(key));
            after = page.into_iter().last().map(|(key, _)| key);
            if is_last {
                return Ok(());
            }
        }
    }

    /// The partitions that were folded, and how far.
    pub fn folded_through(&self) -> Vec<(TopicPartition, u64)> {
        self.folded_through.clone()
    }

    /// Remembers the key of an expected row, if its table holds more than was expected.
    pub fn remember_key(&mut self, key: &RowKey) {
        if self.with_more.contains(&key.table()) {
            self.keys.insert(short(&key_bytes(key)));
        }
    }

    /// Names the rows whose keys were not expected.
    pub async fn name_the_rest(&mut self) -> Result<(), PortError> {
        let mut unexpected = Vec::new();
        for table in self.with_more.clone() {
            self.each_key(table, |key| {
                if !self.keys.contains(&short(key)) {
                    let named = key_of_bytes(key).map_or_else(|| hex(key), |key| key.to_string());
                    unexpected.push(Difference::unexpected(table, named));
                }
            })
            .await?;
        }
        unexpected.into_iter().for_each(|difference| self.name(difference));
        Ok(())
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

fn short(key: &[u8]) -> [u8; 16] {
    agon_schema::ContentHash::of_bytes(key).0
}

/// Bytes as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
