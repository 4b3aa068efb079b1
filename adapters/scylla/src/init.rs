//! What `agon init` does to a store, and nothing else does: keyspace, tables, whose log it is.

use std::collections::BTreeMap;
use std::time::Duration;

use agon_schema::LogId;
use scylla::client::session::Session;

use crate::error::OpenError;
use crate::session::{connect, prepare, rows};
use crate::{CqlAddress, meta, migrations, tables};

/// Copies of each row, unless said otherwise or there are fewer nodes.
const REPLICATION_DEFAULT: u16 = 3;
/// Making a table takes longer than a read, all the more on several nodes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The log that a store is folded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Which log.
    pub id: LogId,
    /// Partitions a topic.
    pub partitions: u32,
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct InitSettings {
    /// Copies of each row in each data centre; `None`: the smaller of 3 and the nodes there.
    pub replication: Option<u16>,
    /// The log that is folded into the store.
    pub log: LogFacts,
    /// Gives up what was folded, raises the epoch of the stamps and takes `log` as it is now. No
    /// consumer may run meanwhile.
    pub new_epoch: bool,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitReport {
    /// Whether the keyspace was made now.
    pub keyspace_made: bool,
    /// Copies of each row by data centre.
    pub replication: BTreeMap<String, u16>,
    /// Migrations that were carried out now.
    pub migrations: usize,
    /// The epoch of the stamps, from 0.
    pub log_epoch: u32,
}

/// Makes keyspace and tables where they are absent and records the log; the same call again
/// changes nothing. One caller at a time.
///
/// # Errors
/// What is there and differs; a store that does not answer or refuses.
pub async fn init(address: &CqlAddress, settings: InitSettings) -> Result<InitReport, OpenError> {
    let session = connect(address, REQUEST_TIMEOUT).await?;
    let (keyspace_made, replication) =
        make_keyspace(&session, address, settings.replication).await?;
    migrations::check_existing(&session, address).await?;
    let migrations = migrations::run(&session, address).await?;
    migrations::check(&session, address).await?;
    let agreed = session.await_schema_agreement().await;
    agreed.map_err(|error| OpenError::Away {
        address: address.clone(),
        attempted: "wait until all nodes have the tables".to_owned(),
        reason: error.to_string(),
    })?;
    if settings.new_epoch {
        give_up(&session, address).await?;
    }
    let facts = meta::record(&session, address, settings.log, settings.new_epoch).await?;
    Ok(InitReport { keyspace_made, replication, migrations, log_epoch: facts.log_epoch })
}

/// Empties every table of rows: they are of a log that is no more, and would stand beside those of
/// the new one. Before the new epoch is recorded, so that what is cut short is begun again.
pub(crate) async fn give_up(session: &Session, address: &CqlAddress) -> Result<(), OpenError> {
    for table in tables::PROJECTIONS {
        let attempted = format!("empty table {}", table.name);
        let cql = format!("TRUNCATE {}.{}", address.keyspace(), table.name);
        let emptied = session.query_unpaged(cql, ()).await;
        emptied.map_err(|error| OpenError::request(address, attempted, error))?;
    }
    Ok(())
}

/// Makes the keyspace, or compares the one that is there with what was asked for.
async fn make_keyspace(
    session: &Session,
    address: &CqlAddress,
    asked: Option<u16>,
) -> Result<(bool, BTreeMap<String, u16>), OpenError> {
    if let Some(found) = replication(session, address).await? {
        if let Some(asked) = asked
            && found.values().any(|copies| *copies != asked)
        {
            return Err(OpenError::Differs {
                address: address.clone(),
                what: format!("the replication of keyspace {}", address.keyspace()),
                found: shown(&found),
                expected: format!("{asked} in each data centre"),
            });
        }
        return Ok((false, found));
    }
    let mut wanted = BTreeMap::new();
    for (data_centre, nodes) in nodes_by_data_centre(session) {
        let copies = asked.unwrap_or(nodes.min(REPLICATION_DEFAULT));
        if copies == 0 || copies > nodes {
            return Err(OpenError::Differs {
                address: address.clone(),
                what: format!("the number of nodes in data centre {data_centre}"),
                found: nodes.to_string(),
                expected: format!("1 or more, for a replication of {copies}"),
            });
        }
        wanted.insert(data_centre, copies);
    }
    let keyspace = address.keyspace();
    let copies: String =
        wanted.iter().map(|(centre, copies)| format!(", '{centre}': {copies}")).collect();
    let cql = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy'{copies}}} AND durable_writes = true"
    );
    let made = session.query_unpaged(cql, ()).await;
    made.map_err(|e| OpenError::request(address, format!("make keyspace {keyspace}"), e))?;
    Ok((true, wanted))
}

fn shown(replication: &BTreeMap<String, u16>) -> String {
    let copies = replication.iter().map(|(centre, copies)| format!("{copies} in {centre}"));
    copies.collect::<Vec<_>>().join(", ")
}

fn nodes_by_data_centre(session: &Session) -> BTreeMap<String, u16> {
    let mut nodes = BTreeMap::new();
    for node in session.get_cluster_state().get_nodes_info() {
        if let Some(data_centre) = &node.datacenter {
            *nodes.entry(data_centre.clone()).or_default() += 1;
        }
    }
    nodes
}

/// The copies by data centre, if the keyspace is there. A strategy without data centres counts as
/// one that is called by its class.
pub(crate) async fn replication(
    session: &Session,
    address: &CqlAddress,
) -> Result<Option<BTreeMap<String, u16>>, OpenError> {
    let cql = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let read = async {
        let prepared = prepare(session, cql.to_owned()).await?;
        rows::<(BTreeMap<String, String>,)>(session, &prepared, (address.keyspace(),)).await
    };
    let found = read.await.map_err(|e| OpenError::request(address, "read the keyspace", e))?;
    let Some((options,)) = found.into_iter().next() else { return Ok(None) };
    let class = options.get("class").cloned().unwrap_or_default();
    let copies = options.iter().filter(|(name, _)| *name != "class").map(|(name, copies)| {
        let name = if name == "replication_factor" { &class } else { name };
        (name.clone(), copies.parse().unwrap_or(0))
    });
    Ok(Some(copies.collect()))
}
