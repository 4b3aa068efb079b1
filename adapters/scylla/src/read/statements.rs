//! The prepared statements that read.

use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;

use super::bind::Paged;
use super::names::Names;
use crate::error::RequestError;
use crate::session::prepare;
use crate::tables::{
    AGENT_CELLS, CELL_INDEX, CELLS, DEAD_LETTERS, FIRST_SEEN, HISTORY, MATCHES, PROGRESS, REFUSALS,
    TableDef, USERS,
};

/// What is read, of which table.
pub(super) struct Reads {
    pub(super) applied: PreparedStatement,
    pub(super) head: PreparedStatement,
    pub(super) own: Paged,
    pub(super) own_in: PreparedStatement,
    pub(super) own_ids: Paged,
    pub(super) cells: Names,
    pub(super) users: Paged,
    pub(super) users_in: PreparedStatement,
    pub(super) first_seen: Paged,
    pub(super) first_seen_in: PreparedStatement,
    pub(super) refusals: Paged,
    pub(super) refusals_in: PreparedStatement,
    pub(super) matches: Paged,
    pub(super) matches_window: PreparedStatement,
    pub(super) history: Paged,
    pub(super) history_window: PreparedStatement,
    pub(super) agent_cells: Names,
    pub(super) agent_cell: PreparedStatement,
    pub(super) dead_letters: Paged,
    pub(super) dead_letters_in: PreparedStatement,
    pub(super) progress: PreparedStatement,
    pub(super) all_progress: PreparedStatement,
}

impl Reads {
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Reads, RequestError> {
        let select = |table: &TableDef, columns: &str, more: &str| {
            let (name, of) = (table.name, table.in_partition());
            let cql = format!("SELECT {columns} FROM {keyspace}.{name} WHERE {of}{more}");
            prepare(session, cql)
        };
        let paged = |table, columns| Paged::prepare(session, keyspace, table, columns);
        let names = |table, columns| Names::prepare(session, keyspace, table, columns);
        let all_progress = format!(
            "SELECT topic, partition, generation, fold_version, value FROM {keyspace}.{}",
            PROGRESS.name
        );
        let window = " AND first >= ? AND first < ?";
        let cell = " AND cell_kind = ? AND cell_id = ?";
        let of_agent = |more: &str| format!(" AND agent = ?{more}");
        Ok(Reads {
            applied: select(&CELLS, "DISTINCT applied", "").await?,
            head: select(&CELLS, "DISTINCT head", "").await?,
            own: paged(&CELLS, "applied, id, value").await?,
            own_in: select(&CELLS, "id, value", " AND tbl = ? AND id IN ?").await?,
            own_ids: paged(&CELLS, "id").await?,
            cells: names(&CELL_INDEX, "cell_kind, cell_id").await?,
            users: paged(&USERS, "user, since").await?,
            users_in: select(&USERS, "user, since", " AND user IN ?").await?,
            first_seen: paged(&FIRST_SEEN, "identity, offset, content").await?,
            first_seen_in: select(&FIRST_SEEN, "identity, offset, content", " AND identity IN ?")
                .await?,
            refusals: paged(&REFUSALS, "mark, since").await?,
            refusals_in: select(&REFUSALS, "mark, since", " AND mark IN ?").await?,
            matches: paged(&MATCHES, "first, chunk").await?,
            matches_window: select(&MATCHES, "first, chunk", window).await?,
            history: paged(&HISTORY, "first, chunk").await?,
            history_window: select(&HISTORY, "first, chunk", &of_agent(window)).await?,
            agent_cells: names(&AGENT_CELLS, "cell_kind, cell_id, since").await?,
            agent_cell: select(&AGENT_CELLS, "since", &of_agent(cell)).await?,
            dead_letters: paged(&DEAD_LETTERS, "offset, value").await?,
            dead_letters_in: select(&DEAD_LETTERS, "offset, value", " AND offset IN ?").await?,
            progress: select(&PROGRESS, "value", "").await?,
            all_progress: prepare(session, all_progress).await?,
        })
    }
}
