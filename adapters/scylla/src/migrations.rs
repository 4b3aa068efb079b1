//! Makes the tables step by step. Each step has a number, may be carried out twice, and is noted
//! in the table `migrations` when it is done, so that a later version goes on from there.

use scylla::client::session::Session;

use crate::CqlAddress;
use crate::error::OpenError;
use crate::session::{prepare, rows};
use crate::tables::{self, TableDef};

/// One step. A later one never drops a column without a stamp of our own line, since that would
/// hide every row of it for ever.
struct Migration {
    number: i32,
    name: &'static str,
    statements: fn(&str) -> Vec<String>,
}

/// The steps, by their numbers from 1.
const MIGRATIONS: [Migration; 1] =
    [Migration { number: 1, name: "the first tables", statements: first_tables }];

fn first_tables(keyspace: &str) -> Vec<String> {
    tables::ALL.iter().map(|table| table.create_cql(keyspace)).collect()
}

/// Carries out what was not yet. Answers how many steps that were. One caller at a time.
pub(crate) async fn run(session: &Session, address: &CqlAddress) -> Result<usize, OpenError> {
    let keyspace = address.keyspace();
    statement(session, address, "make table migrations", tables::MIGRATIONS.create_cql(keyspace))
        .await?;
    let done = done(session, address).await?;
    let mut carried_out = 0;
    for migration in MIGRATIONS.iter().filter(|migration| !done.contains(&migration.number)) {
        let Migration { number, name, statements } = migration;
        let attempted = format!("migration {number}, {name}");
        for cql in statements(keyspace) {
            statement(session, address, &attempted, cql).await?;
        }
        let cql = format!(
            "INSERT INTO {keyspace}.migrations (number, name) VALUES ({number}, '{name}') \
             IF NOT EXISTS"
        );
        statement(session, address, &attempted, cql).await?;
        carried_out += 1;
    }
    Ok(carried_out)
}

/// The numbers of the steps that were carried out.
async fn done(session: &Session, address: &CqlAddress) -> Result<Vec<i32>, OpenError> {
    let cql = format!("SELECT number FROM {}.migrations", address.keyspace());
    let read = async { rows::<(i32,)>(session, &prepare(session, cql).await?, ()).await };
    let numbers = read.await.map_err(|e| OpenError::request(address, "read migrations", e))?;
    Ok(numbers.into_iter().map(|(number,)| number).collect())
}

/// Sends one statement that changes the schema or notes a step. The driver waits until all nodes
/// agree on the schema.
async fn statement(
    session: &Session,
    address: &CqlAddress,
    attempted: &str,
    cql: String,
) -> Result<(), OpenError> {
    let sent = session.query_unpaged(cql, ()).await;
    sent.map(drop).map_err(|error| OpenError::request(address, attempted, error))
}

/// Refuses a keyspace without tables, or with others than the last migration leaves.
pub(crate) async fn check(session: &Session, address: &CqlAddress) -> Result<(), OpenError> {
    let not_made = |what: String| OpenError::NotMade {
        address: address.clone(),
        keyspace: address.keyspace().to_owned(),
        what,
    };
    let columns = columns(session, address).await?;
    if columns.is_empty() {
        let is_there = crate::init::replication(session, address).await?.is_some();
        let what = if is_there { "has no tables" } else { "does not exist" };
        return Err(not_made(what.to_owned()));
    }
    let missing = compare(address, &columns)?;
    if missing.contains(&tables::MIGRATIONS.name) {
        return Err(not_made(format!("has no table {}", tables::MIGRATIONS.name)));
    }
    let done = done(session, address).await?;
    let open = MIGRATIONS.iter().find(|migration| !done.contains(&migration.number));
    match (missing.first(), open) {
        (None, None) => Ok(()),
        (_, Some(open)) => Err(not_made(format!("lacks migration {}, {}", open.number, open.name))),
        // An empty one in its place would lack what the progress vouches for.
        (Some(table), None) => Err(OpenError::Damaged {
            address: address.clone(),
            what: format!(
                "table {table} was made and is gone; drop the keyspace, run `agon init`, and the \
                 log is folded anew"
            ),
        }),
    }
}

/// Refuses tables of ours that differ; such as are missing are no matter.
pub(crate) async fn check_existing(
    session: &Session,
    address: &CqlAddress,
) -> Result<(), OpenError> {
    compare(address, &columns(session, address).await?).map(drop)
}

/// Compares the tables that are there; answers those that are not.
fn compare(address: &CqlAddress, columns: &[Described]) -> Result<Vec<&'static str>, OpenError> {
    let mut missing = Vec::new();
    for table in tables::ALL {
        let found = described(columns.iter().filter(|column| column.table == table.name));
        let expected = described(expected(table).iter());
        if found.is_empty() {
            missing.push(table.name);
        } else if found != expected {
            let what = format!("table {}.{}", address.keyspace(), table.name);
            let address = address.clone();
            return Err(OpenError::Differs { address, what, found, expected });
        }
    }
    Ok(missing)
}

/// A column as the system tables describe it.
struct Described {
    table: String,
    name: String,
    /// `partition_key`, `clustering`, `static` or `regular`.
    kind: String,
    /// Among the columns of the key; -1 for the others.
    position: i32,
    cql_type: String,
    /// `asc` or `desc` in the key, else `none`.
    order: String,
}

async fn columns(session: &Session, address: &CqlAddress) -> Result<Vec<Described>, OpenError> {
    type Columns = (String, String, String, i32, String, String);
    let cql = "SELECT table_name, column_name, kind, position, type, clustering_order \
               FROM system_schema.columns WHERE keyspace_name = ?";
    let read = async {
        let prepared = prepare(session, cql.to_owned()).await?;
        rows::<Columns>(session, &prepared, (address.keyspace(),)).await
    };
    let columns = read.await.map_err(|e| OpenError::request(address, "read the tables", e))?;
    let described = |(table, name, kind, position, cql_type, order): Columns| Described {
        table,
        name,
        kind,
        position,
        cql_type,
        order,
    };
    Ok(columns.into_iter().map(described).collect())
}

fn expected(table: &TableDef) -> Vec<Described> {
    let groups = [
        ("partition_key", table.partition),
        ("clustering", table.clustering),
        ("static", table.statics),
        ("regular", table.regular),
    ];
    let described = |kind: &'static str, position: usize, column: &tables::Column| Described {
        table: table.name.to_owned(),
        name: column.0.to_owned(),
        kind: kind.to_owned(),
        position: if ["static", "regular"].contains(&kind) { -1 } else { position as i32 },
        cql_type: column.1.to_owned(),
        order: if kind == "clustering" { "asc" } else { "none" }.to_owned(),
    };
    let columns = groups.iter().flat_map(|(kind, columns)| {
        columns.iter().enumerate().map(move |(position, column)| described(kind, position, column))
    });
    columns.collect()
}

/// Columns as one text, the same for the same table.
fn described<'a>(columns: impl Iterator<Item = &'a Described>) -> String {
    let mut texts: Vec<String> = columns
        .map(|Described { name, kind, position, cql_type, order, .. }| match kind.as_str() {
            "partition_key" => format!("{kind} {position} {name} {cql_type}"),
            "clustering" => format!("{kind} {position} {name} {cql_type} {order}"),
            _ => format!("{kind} {name} {cql_type}"),
        })
        .collect();
    texts.sort();
    texts.join(", ")
}
