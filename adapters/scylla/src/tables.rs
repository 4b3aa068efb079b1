//! The tables, and all CQL that makes and fills them. What is read stands with its readers.
//!
//! ```text
//! cells        a cell's own rows and submissions, its head and `applied`: one partition a cell
//! cell_index   which cells there are
//! users, first_seen, refusals   rows by a hash, in 16 buckets by the hash's first four bits
//! matches, history              chunks: the rows of one flush side by side, by their first offset
//! agent_cells, dead_letters, progress   a row a row
//! ```
//! What belongs to an agent stands in buckets of agents, not in a partition an agent: a flush moves
//! many agents, and a request costs more than a row.
//! A value is a blob of `row_bytes::value_bytes`, so its bits are exact. Key columns are readable.
//! Every statement of a projection table carries its own stamp (see [`crate::stamp`]): no write
//! goes by a clock, none is conditional, nothing expires and nothing is deleted. `control`, `meta`
//! and `migrations` are written with conditions instead and never with stamps.

/// Name and CQL type.
pub(crate) type Column = (&'static str, &'static str);

/// A table as it must stand in the keyspace.
#[derive(Debug)]
pub(crate) struct TableDef {
    pub(crate) name: &'static str,
    pub(crate) partition: &'static [Column],
    pub(crate) clustering: &'static [Column],
    pub(crate) statics: &'static [Column],
    pub(crate) regular: &'static [Column],
}

pub(crate) const KIND: Column = ("cell_kind", "tinyint");
pub(crate) const ID: Column = ("cell_id", "text");
const GENERATION: Column = ("generation", "int");
const FOLD_VERSION: Column = ("fold_version", "int");
const TOPIC: Column = ("topic", "tinyint");
const PARTITION: Column = ("partition", "int");
const AGENT: Column = ("agent", "text");
const VALUE: Column = ("value", "blob");
const SINCE: Column = ("since", "bigint");

/// A cell's own rows and its submissions (`tbl` is the code of their table, `id` what tells them
/// apart); `ver` is the offset of the event that touched the row last. `applied` and `head` are
/// the cell's.
pub(crate) const CELLS: TableDef = TableDef {
    name: "cells",
    partition: &[KIND, ID, GENERATION, FOLD_VERSION],
    clustering: &[("tbl", "tinyint"), ("id", "blob")],
    statics: &[("applied", "bigint"), ("head", "blob")],
    regular: &[VALUE, ("ver", "bigint")],
};

/// The cells that ever had a flush.
pub(crate) const CELL_INDEX: TableDef = TableDef {
    name: "cell_index",
    partition: &[GENERATION, FOLD_VERSION],
    clustering: &[KIND, ID],
    statics: &[],
    regular: &[],
};

/// Distinct users of a cell.
pub(crate) const USERS: TableDef = TableDef {
    name: "users",
    partition: &[KIND, ID, GENERATION, FOLD_VERSION, ("bucket", "tinyint")],
    clustering: &[("user", "blob")],
    statics: &[],
    regular: &[SINCE],
};

/// Identities that took effect in a cell.
pub(crate) const FIRST_SEEN: TableDef = TableDef {
    name: "first_seen",
    partition: &[KIND, ID, GENERATION, FOLD_VERSION, ("bucket", "tinyint")],
    clustering: &[("identity", "blob")],
    statics: &[],
    regular: &[("offset", "bigint"), ("content", "blob")],
};

/// Matches of a cell, in chunks; the bucket is the offset's part above its low 18 bits.
pub(crate) const MATCHES: TableDef = TableDef {
    name: "matches",
    partition: &[KIND, ID, GENERATION, FOLD_VERSION, ("bucket", "bigint")],
    clustering: &[("first", "bigint")],
    statics: &[],
    regular: &[("last", "bigint"), ("chunk", "blob")],
};

/// What happened to an agent in a cell, in chunks, in buckets of agents.
pub(crate) const HISTORY: TableDef = TableDef {
    name: "history",
    partition: &[KIND, ID, GENERATION, FOLD_VERSION, ("bucket", "tinyint")],
    clustering: &[AGENT, ("first", "bigint")],
    statics: &[],
    regular: &[("last", "bigint"), ("chunk", "blob")],
};

/// The cells that an agent is in, in buckets of agents.
pub(crate) const AGENT_CELLS: TableDef = TableDef {
    name: "agent_cells",
    partition: &[("bucket", "tinyint"), GENERATION, FOLD_VERSION],
    clustering: &[AGENT, KIND, ID],
    statics: &[],
    regular: &[SINCE],
};

/// Rejected records; the bucket is the offset's part above its low 18 bits.
pub(crate) const DEAD_LETTERS: TableDef = TableDef {
    name: "dead_letters",
    partition: &[TOPIC, PARTITION, GENERATION, FOLD_VERSION, ("bucket", "bigint")],
    clustering: &[("offset", "bigint")],
    statics: &[],
    regular: &[VALUE],
};

/// Contents that were rejected for good.
pub(crate) const REFUSALS: TableDef = TableDef {
    name: "refusals",
    partition: &[TOPIC, PARTITION, GENERATION, FOLD_VERSION, ("bucket", "tinyint")],
    clustering: &[("mark", "blob")],
    statics: &[],
    regular: &[SINCE],
};

/// How far each partition is folded: a small table, a row a partition of the log.
pub(crate) const PROGRESS: TableDef = TableDef {
    name: "progress",
    partition: &[TOPIC, PARTITION, GENERATION, FOLD_VERSION],
    clustering: &[],
    statics: &[],
    regular: &[("applied", "bigint"), VALUE],
};

/// Control data: one partition, so that keys can be listed by their bytes.
pub(crate) const CONTROL: TableDef = TableDef {
    name: "control",
    partition: &[("shelf", "tinyint")],
    clustering: &[("key", "text")],
    statics: &[],
    regular: &[("version", "bigint"), VALUE],
};

/// What the keyspace belongs to: the log's id, its partitions, its epoch.
pub(crate) const META: TableDef = TableDef {
    name: "meta",
    partition: &[("key", "text")],
    clustering: &[],
    statics: &[],
    regular: &[("value", "text")],
};

/// The migrations that were carried out.
pub(crate) const MIGRATIONS: TableDef = TableDef {
    name: "migrations",
    partition: &[("number", "int")],
    clustering: &[],
    statics: &[],
    regular: &[("name", "text")],
};

/// The tables that hold rows, all of them stamped.
pub(crate) const PROJECTIONS: [&TableDef; 10] = [
    &CELLS,
    &CELL_INDEX,
    &USERS,
    &FIRST_SEEN,
    &MATCHES,
    &HISTORY,
    &AGENT_CELLS,
    &DEAD_LETTERS,
    &REFUSALS,
    &PROGRESS,
];

/// Every table, as they stand after the last migration.
pub(crate) const ALL: [&TableDef; 13] = [
    &MIGRATIONS,
    &META,
    &CONTROL,
    &CELLS,
    &CELL_INDEX,
    &USERS,
    &FIRST_SEEN,
    &MATCHES,
    &HISTORY,
    &AGENT_CELLS,
    &DEAD_LETTERS,
    &REFUSALS,
    &PROGRESS,
];

impl TableDef {
    /// The statement that makes it.
    pub(crate) fn create_cql(&self, keyspace: &str) -> String {
        let declared = |columns: &[Column], more: &str| -> String {
            columns.iter().map(|(name, kind)| format!("{name} {kind}{more}, ")).collect()
        };
        let mut columns = declared(self.partition, "");
        columns += &declared(self.clustering, "");
        columns += &declared(self.statics, " static");
        columns += &declared(self.regular, "");
        let mut key = format!("({})", names(self.partition).join(", "));
        for name in names(self.clustering) {
            key = format!("{key}, {name}");
        }
        let name = self.name;
        format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}PRIMARY KEY ({key}))")
    }

    /// Writes a whole row under a stamp; its values are the columns in the order of the definition
    /// without the static ones, then the stamp.
    pub(crate) fn insert_cql(&self, keyspace: &str) -> String {
        self.insert(keyspace, &[self.partition, self.clustering, self.regular])
    }

    /// Writes one static column under a stamp; its values are the partition's columns, the column,
    /// the stamp.
    pub(crate) fn insert_static_cql(&self, keyspace: &str, column: Column) -> String {
        self.insert(keyspace, &[self.partition, &[column]])
    }

    fn insert(&self, keyspace: &str, columns: &[&[Column]]) -> String {
        let names: Vec<&str> = columns.iter().flat_map(|columns| names(columns)).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let (table, names) = (self.name, names.join(", "));
        format!("INSERT INTO {keyspace}.{table} ({names}) VALUES ({marks}) USING TIMESTAMP ?")
    }

    /// `a = ? AND b = ?` over the columns of the partition.
    pub(crate) fn in_partition(&self) -> String {
        let equals: Vec<_> = names(self.partition).iter().map(|n| format!("{n} = ?")).collect();
        equals.join(" AND ")
    }
}

fn names(columns: &[Column]) -> Vec<&'static str> {
    columns.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_every_column_once() {
        assert_eq!(
            CELLS.create_cql("k"),
            "CREATE TABLE IF NOT EXISTS k.cells (cell_kind tinyint, cell_id text, generation int, \
             fold_version int, tbl tinyint, id blob, applied bigint static, head blob static, \
             value blob, ver bigint, PRIMARY KEY ((cell_kind, cell_id, generation, \
             fold_version), tbl, id))"
        );
        assert_eq!(
            CELL_INDEX.insert_cql("k"),
            "INSERT INTO k.cell_index (generation, fold_version, cell_kind, cell_id) \
             VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
        );
        assert_eq!(
            CELLS.insert_static_cql("k", CELLS.statics[0]),
            "INSERT INTO k.cells (cell_kind, cell_id, generation, fold_version, applied) \
             VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
    }

    #[test]
    fn a_projection_is_written_with_stamps_alone() {
        for table in PROJECTIONS {
            let text = table.insert_cql("k") + &table.create_cql("k");
            assert!(text.contains("USING TIMESTAMP ?"), "{text}");
            for word in [" TTL ", "counter", "default_time_to_live", "list<", "map<"] {
                assert!(!text.contains(word), "{} has {word}", table.name);
            }
            let key: Vec<Column> = [table.partition, table.clustering].concat();
            assert!(key.contains(&GENERATION) && key.contains(&FOLD_VERSION), "{}", table.name);
            assert!(ALL.iter().any(|all| all.name == table.name));
        }
    }
}
