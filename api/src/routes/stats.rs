//! GET /stats.

use std::sync::Arc;

use agon_edge::{ETag, Problem, QueryString};
use agon_projections::{CellKey, FOLD_VERSION, GENERATION};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;

use super::leaderboard::FORM;
use super::read;
use crate::api::Api;
use crate::body::stats::StatsSum;
use crate::held::view::View;
use crate::rendered::Rendered;

/// The key of the one cached body; no query as sent holds a line break.
const CACHED: &str = "\nstats";

pub(crate) async fn get(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let inner = api.inner();
    let epoch = inner.boards.epoch();
    if request.uri().query().is_none()
        && let Some(body) = inner.rendered.get(CACHED, epoch)
    {
        inner.metrics.rendered_hits.inc();
        return Ok(body.answer(request.headers()));
    }
    let (mut parts, _) = request.into_parts();
    let query = QueryString::from_request_parts(&mut parts, &()).await?;
    let query = query.only(&[read::MIN_POSITION])?;
    let deadline = read::reach(&api, &query).await?;
    let mut slots = Vec::new();
    for partition in 0..inner.log.partitions {
        let key = CellKey::Stream(partition);
        let slot = api.held(&key, deadline).await;
        slots.push(slot.map_err(|error| read::problem_of_held(&api, &key, error))?);
    }
    if let Some(body) = inner.rendered.get(CACHED, epoch) {
        inner.metrics.rendered_hits.inc();
        return Ok(body.answer(&parts.headers));
    }
    inner.metrics.rendered_misses.inc();
    let pulse = inner.boards.stream_pulse();
    let version = pulse.version();
    let mut sum = StatsSum::new(inner.log);
    for (partition, slot) in (0..).zip(&slots) {
        slot.read(|view| {
            if let View::Stream(counts) = view {
                sum.add(partition, counts);
            }
        });
    }
    let of = format!("{FORM}.{GENERATION}.{FOLD_VERSION}.{}.{}", sum.position(), inner.log.id);
    let tag = ETag::of_bytes(of.as_bytes());
    let body = Arc::new(Rendered::new(sum.into_body(), tag, Arc::clone(pulse), version));
    inner.rendered.put(CACHED, &body);
    Ok(body.answer(&parts.headers))
}
