//! GET /stats.

use std::sync::Arc;

use agon_edge::{ETag, Parameters, Problem, QueryString};
use agon_projections::window::Span;
use agon_projections::{CellKey, FOLD_VERSION, GENERATION};
use agon_schema::Timestamp;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;

use super::leaderboard::FORM;
use super::read;
use crate::api::Api;
use crate::body::stats::{StatsNewest, StatsQuery, StatsSum, TOP_LIMIT_DEFAULT, TOP_LIMIT_MAX};
use crate::held::slot::Slot;
use crate::held::view::{StreamCounts, View};
use crate::rendered::Rendered;

/// The key of the body without parameters; no query as sent holds a line break.
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
    let query = query.only(&["window", "limit", read::MIN_POSITION])?;
    let asked = asked(&query)?;
    let deadline = read::reach(&api, &query).await?;
    let mut slots = Vec::new();
    for partition in 0..inner.log.partitions {
        let key = CellKey::Stream(partition);
        let slot = api.held(&key, deadline).await;
        slots.push(slot.map_err(|error| read::problem_of_held(&api, &key, error))?);
    }
    let cached = cached(asked);
    if let Some(body) = inner.rendered.get(&cached, epoch) {
        inner.metrics.rendered_hits.inc();
        return Ok(body.answer(&parts.headers));
    }
    inner.metrics.rendered_misses.inc();
    let pulse = inner.boards.stream_pulse();
    let version = pulse.version();
    let mut newest = StatsNewest::new(Timestamp::now());
    if asked.window.is_some() {
        each(&slots, |_, counts| newest.add(counts));
    }
    let mut sum = StatsSum::new(inner.log, asked, newest);
    each(&slots, |partition, counts| sum.add(partition, counts));
    let (log, position, back_from) = (inner.log.id, sum.position(), newest.micros());
    let of = format!(
        "{FORM}.{GENERATION}.{FOLD_VERSION}.{position}.{log}{cached}{}",
        back_from.unwrap_or_default()
    );
    let tag = ETag::of_bytes(of.as_bytes());
    let body = Arc::new(Rendered::new(sum.into_body(), tag, Arc::clone(pulse), version));
    // Time alone would make another body of the same counts.
    if !newest.is_ahead() {
        inner.rendered.put(&cached, &body);
    }
    Ok(body.answer(&parts.headers))
}

fn asked(query: &Parameters) -> Result<StatsQuery, Problem> {
    let window = query.read("window", str::parse::<Span>)?;
    let limit = query.number("limit", 1..=TOP_LIMIT_MAX as u64)?;
    // At most 100, so it fits.
    Ok(StatsQuery { window, limit: limit.map_or(TOP_LIMIT_DEFAULT, |limit| limit as usize) })
}

/// Under which key the body is kept: one for what is asked, however it is said. A window has no
/// lists.
fn cached(asked: StatsQuery) -> String {
    match (asked.window, asked.limit) {
        (Some(span), _) => format!("{CACHED}\n{}", span.text()),
        (None, TOP_LIMIT_DEFAULT) => CACHED.to_owned(),
        (None, limit) => format!("{CACHED}\n{limit}"),
    }
}

fn each(slots: &[Arc<Slot>], mut act: impl FnMut(u32, &StreamCounts)) {
    for (partition, slot) in (0..).zip(slots) {
        slot.read(|view| {
            if let View::Stream(counts) = view {
                act(partition, counts);
            }
        });
    }
}
