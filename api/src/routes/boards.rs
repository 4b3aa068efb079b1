//! GET /environments and /benchmarks, and one of each.

use agon_edge::query::invalid;
use agon_edge::{PathParameters, Problem, QueryString};
use agon_ports::{Order, Scan};
use agon_projections::row::{Head, RowKey, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use agon_schema::ids::SLUG_BYTES_MAX;
use agon_schema::{BenchmarkId, EnvironmentId};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::read;
use crate::api::Api;
use crate::body::definitions::Definition;
use crate::body::leaderboard::as_of;
use crate::body::{List, id_of};
use crate::config::AsOf;
use crate::cursor;

#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    definition: Definition<'a>,
    as_of: AsOf,
}

pub(crate) async fn get_environment(
    State(api): State<Api>,
    PathParameters(id): PathParameters<String>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    detail(&api, read::environment(&id)?, query, &headers).await
}

pub(crate) async fn get_benchmark(
    State(api): State<Api>,
    PathParameters(id): PathParameters<String>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    detail(&api, read::benchmark(&id)?, query, &headers).await
}

/// From memory, so that the entrants are counted and a store that is away does not matter.
async fn detail(
    api: &Api,
    cell: CellKey,
    query: QueryString,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let deadline = read::reach(api, &query.only(&[read::MIN_POSITION])?).await?;
    let slot = api.held(&cell, deadline).await;
    let slot = slot.map_err(|error| read::problem_of_held(api, &cell, error))?;
    let answer = slot.read(|view| {
        let head = view.head()?;
        let definition = Definition::of(head, Some(view.entrants()))?;
        let as_of = as_of(api.inner().log, &cell, head);
        Some(read::answer(headers, &Detail { definition, as_of }))
    });
    answer.flatten().ok_or_else(|| read::unknown_cell(&cell))
}

pub(crate) async fn list_environments(
    State(api): State<Api>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    list(&api, Kind::Environments, query, &headers).await
}

pub(crate) async fn list_benchmarks(
    State(api): State<Api>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    list(&api, Kind::Benchmarks, query, &headers).await
}

#[derive(Clone, Copy)]
enum Kind {
    Environments,
    Benchmarks,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Environments => "environments",
            Kind::Benchmarks => "benchmarks",
        }
    }

    fn holds(self, cell: &CellKey) -> bool {
        match self {
            Kind::Environments => matches!(cell, CellKey::Environment(_)),
            Kind::Benchmarks => matches!(cell, CellKey::Benchmark(_)),
        }
    }

    /// The key after which the page starts; heads stand in the order of kind, then id.
    fn after(self, id: Option<String>) -> Result<Option<RowKey>, Problem> {
        let bad = |_| invalid("cursor", &cursor::BadCursor::Foreign.to_string());
        let cell = match (self, id) {
            (Kind::Environments, None) => return Ok(None),
            (Kind::Environments, Some(id)) => {
                CellKey::Environment(EnvironmentId::new(id).map_err(bad)?)
            }
            (Kind::Benchmarks, Some(id)) => CellKey::Benchmark(BenchmarkId::new(id).map_err(bad)?),
            // No environment stands after the greatest id there can be.
            (Kind::Benchmarks, None) => {
                let greatest = EnvironmentId::new("z".repeat(SLUG_BYTES_MAX));
                CellKey::Environment(greatest.map_err(Problem::internal)?)
            }
        };
        Ok(Some(RowKey::Head(cell)))
    }
}

async fn list(
    api: &Api,
    kind: Kind,
    query: QueryString,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["limit", "cursor", read::MIN_POSITION])?;
    let limit = read::limit(&query)?;
    let after = kind.after(read::after_text(&query, kind.name())?)?;
    read::reach(api, &query).await?;
    let (prefix, order) = (Prefix::Table(Table::Heads), Order::Rising);
    let scan = Scan { prefix, after, order, limit: limit + 1 };
    let rows = api.inner().store.scan(scan).await.map_err(|e| read::problem_of_store(&e))?;
    let mut heads: Vec<(CellKey, Head)> = Vec::with_capacity(rows.len());
    for row in rows {
        if let (RowKey::Head(cell), Value::Head(head)) = (row.key, row.value)
            && kind.holds(&cell)
        {
            heads.push((cell, head));
        }
    }
    let has_more = heads.len() > limit;
    heads.truncate(limit);
    let last = heads.last().filter(|_| has_more);
    let next_cursor = last.map(|(cell, _)| cursor::encode(kind.name(), id_of(cell).as_bytes()));
    let items = heads.iter().filter_map(|(_, head)| Definition::of(head, None)).collect();
    Ok(read::answer(headers, &List { items, next_cursor }))
}
