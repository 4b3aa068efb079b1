//! The header of a CSV file: which column means what.

use std::collections::BTreeSet;

use super::csv::{NextRecord, Records};

/// The columns of a file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns(Vec<String>);

impl Columns {
    /// Reads the header.
    ///
    /// # Errors
    /// What is wrong with it, to be read after the file's name and line.
    pub fn read(records: &mut Records, expected: &str) -> Result<Columns, String> {
        match records.next() {
            NextRecord::Record => {}
            NextRecord::Bad(reason) | NextRecord::Broken(reason) => return Err(reason),
            NextRecord::End => return Err(format!("the file is empty; its header is {expected}")),
        }
        let columns: Vec<String> = records.fields().map(|name| name.trim().to_owned()).collect();
        let mut seen = BTreeSet::new();
        match columns.iter().find(|name| !name.is_empty() && !seen.insert(name.as_str())) {
            Some(twice) => Err(format!("column {twice:?} stands twice; rename one")),
            None => Ok(Columns(columns)),
        }
    }

    /// The name of a column.
    pub fn name(&self, index: usize) -> &str {
        &self.0[index]
    }

    /// Where a column stands, if it is there.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name)
    }

    /// Where a column stands.
    ///
    /// # Errors
    /// Its name, those that are there, and the remedy.
    pub fn need(&self, name: &str, remedy: &str) -> Result<usize, String> {
        self.find(name).ok_or_else(|| {
            let found = self.0.join(", ");
            let found: String = found.chars().take(500).collect();
            format!("column {name:?} is missing; found: {found}; {remedy}")
        })
    }

    /// Those that none of `used` is, by place.
    pub fn others(&self, used: &[usize]) -> Vec<usize> {
        let is_other = |index: &usize| !used.contains(index) && !self.0[*index].is_empty();
        (0..self.0.len()).filter(is_other).collect()
    }

    /// Whether a record of so many fields fits the header.
    ///
    /// # Errors
    /// How many it should have.
    pub fn fit(&self, fields: usize) -> Result<(), String> {
        let columns = self.0.len();
        match fields == columns {
            true => Ok(()),
            false => Err(format!(
                "has {fields} fields, the header has {columns}; quote fields that hold commas"
            )),
        }
    }
}
