//! Log and store for commands that only look: of a directory, or of servers.

use std::path::Path;
use std::sync::Arc;

use agon_api::LogIdentity;
use agon_ports::{ControlStore, EventLog, ProjectionStore, StoreInspector};

use crate::cli;
use crate::exit::Exit;
use crate::node::{self, BadStore, Node};
use crate::servers;

/// What can be looked at.
pub struct Opened {
    /// Which log it is.
    pub identity: LogIdentity,
    log: Option<Arc<dyn EventLog>>,
    store: Option<Arc<dyn ProjectionStore>>,
    inspector: Option<Arc<dyn StoreInspector>>,
    /// Holds the directory.
    _node: Option<Node>,
}

impl Opened {
    /// Opens what the options name.
    ///
    /// # Errors
    /// A directory that is not there or in use, servers that are away or hold something else.
    pub async fn open(place: &cli::Place) -> Result<Opened, Exit> {
        let store = place.store()?;
        if place.log.is_none() && store.is_none() {
            return Opened::directory(&place.data.data);
        }
        let wait = place.wait.wait;
        let log = match &place.log {
            Some(address) => Some(servers::log(address, &place.settings()?, wait).await?),
            None => None,
        };
        let (opened, facts) = match (&store, &log) {
            (Some(address), Some(log)) => {
                let facts = servers::facts(log);
                (Some(servers::store(address, facts, wait).await?), facts)
            }
            (Some(address), None) => {
                let (store, facts) = servers::store_alone(address, wait).await?;
                (Some(store), facts)
            }
            (None, Some(log)) => (None, servers::facts(log)),
            (None, None) => unreachable!("one of them is named, else it is a directory"),
        };
        let inspector = match &store {
            Some(address) => Some(servers::inspector(address, facts, wait).await?),
            None => None,
        };
        Ok(Opened {
            identity: LogIdentity { id: facts.id, partitions: facts.partitions },
            log: log.map(|log| log as Arc<dyn EventLog>),
            inspector,
            store: opened.map(|store| store as Arc<dyn ProjectionStore>),
            _node: None,
        })
    }

    fn directory(path: &Path) -> Result<Opened, Exit> {
        node::must_exist(path)?;
        let node = Node::open(node::lock(path)?, None, BadStore::Refuse)?;
        Ok(Opened {
            identity: LogIdentity { id: node.log.id(), partitions: node.log.partitions() },
            log: Some(node.log.clone()),
            store: Some(node.store.clone()),
            inspector: Some(node.store.clone()),
            _node: Some(node),
        })
    }

    /// The log.
    ///
    /// # Errors
    /// Only a store was named.
    pub fn log(&self) -> Result<&dyn EventLog, Exit> {
        let missing = || Exit::Usage("this needs the log; name it with --log".into());
        self.log.as_deref().ok_or_else(missing)
    }

    /// The store.
    ///
    /// # Errors
    /// Only a log was named.
    pub fn store(&self) -> Result<&dyn ProjectionStore, Exit> {
        self.store.as_deref().ok_or_else(no_store)
    }

    /// The bytes of the store.
    ///
    /// # Errors
    /// Only a log was named.
    pub fn inspector(&self) -> Result<&dyn StoreInspector, Exit> {
        self.inspector.as_deref().ok_or_else(no_store)
    }
}

fn no_store() -> Exit {
    Exit::Usage("this needs the store; name it with --store".into())
}

/// Users and keys of a directory or a store.
///
/// # Errors
/// As [`Opened::open`].
pub async fn control(place: &cli::Place) -> Result<Arc<dyn ControlStore>, Exit> {
    match (place.store()?, &place.log) {
        (Some(address), _) => Ok(servers::control(&address, place.wait.wait).await?),
        (None, Some(_)) => Err(no_store()),
        (None, None) => Ok(node::open_control(&node::lock(&place.data.data)?)?),
    }
}
