//! The site under test: real folds, a store and a feed in memory, the real router.

use std::sync::{Arc, Mutex};

use agon_api::{Api, ApiConfig, LogIdentity, routes};
use agon_edge::{Auth, AuthSettings, Edge, HttpMetrics, Limits, Role};
use agon_memory::{ManualClock, MemoryControl};
use agon_ports::{Heard, ProjectionStore};
use agon_projections::row::{Counts, DeadLetter, Progress, Value as RowValue};
use agon_projections::{Flush, Reason, Rejection, Row, RowKey};
use agon_schema::record::RecordHash;
use agon_schema::{Event, LogId, Position, PositionToken};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use prometheus::Registry;
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceExt;
use uuid::Uuid;

use crate::feed::{Script, Store};
use crate::fold::{Folder, PARTITIONS, news};

pub const LOG: LogIdentity =
    LogIdentity { id: LogId(Uuid::from_u128(0x1f2e_3d4c << 96 | 1)), partitions: PARTITIONS };

/// The folding side: what it folds it stores and tells.
pub struct Source {
    pub folder: Mutex<Folder>,
    pub store: Arc<Store>,
    pub feed: mpsc::UnboundedSender<Heard>,
}

impl Source {
    /// Folds these events as one flush a partition, without telling anyone; answers the news.
    pub async fn store(&self, events: &[Event]) -> (Vec<Heard>, String) {
        let (flushes, positions) = {
            let mut folder = self.folder.lock().unwrap();
            let positions: Vec<Position> = events.iter().map(|e| folder.append(e)).collect();
            (folder.flushes(), positions)
        };
        let mut told = Vec::new();
        for flush in flushes {
            self.store.inner.flush(Arc::clone(&flush)).await.unwrap();
            told.extend(news(&flush, 1_800_000_000_000).into_iter().map(Heard::Change));
        }
        (told, PositionToken::of(LOG.id, positions).to_string())
    }

    /// Folds these and stores what stands beside their cells, but not the cells.
    pub async fn store_side_rows(&self, events: &[Event]) {
        let flushes = {
            let mut folder = self.folder.lock().unwrap();
            for event in events {
                folder.append(event);
            }
            folder.flushes()
        };
        for flush in flushes {
            let mut torn = Flush::clone(&flush);
            torn.cells.iter_mut().for_each(|cell| cell.own.clear());
            self.store.inner.flush(Arc::new(torn)).await.unwrap();
        }
    }

    /// Folds these and stores their cells without the heads, as a read sees it that comes from a
    /// copy which took a flush before the others did. Answers the news.
    pub async fn store_without_heads(&self, events: &[Event]) -> Vec<Heard> {
        let flushes = {
            let mut folder = self.folder.lock().unwrap();
            for event in events {
                folder.append(event);
            }
            folder.flushes()
        };
        let mut told = Vec::new();
        for flush in flushes {
            let mut torn = Flush::clone(&flush);
            let is_head = |row: &Row| matches!(row.key, RowKey::Head(_));
            torn.cells.iter_mut().for_each(|cell| cell.own.retain(|row| !is_head(row)));
            self.store.inner.flush(Arc::new(torn)).await.unwrap();
            told.extend(news(&flush, 1_800_000_000_000).into_iter().map(Heard::Change));
        }
        told
    }

    /// Stores that the record there does not count, for a reason that may pass.
    pub async fn store_letter(&self, Position { source, offset }: Position) {
        let rejection = Rejection::new(Reason::UnknownEnvironment, "made by a test");
        let (event_type, event_id, key) = Default::default();
        let letter = DeadLetter { rejection, event_type, event_id, key };
        let key = RowKey::DeadLetter(source, offset);
        let rows = vec![Row { key, value: RowValue::DeadLetter(letter) }];
        let (record_hash, counts) = (RecordHash([0; 16]), Counts::default());
        let progress = Progress { applied: offset, record_hash, counts };
        let from = offset.checked_sub(1);
        let flush = Flush { source, from, progress, cells: Vec::new(), rows };
        self.store.inner.flush(Arc::new(flush)).await.unwrap();
    }

    /// Folds, stores and tells. Answers the position of all of them.
    pub async fn tell(&self, events: &[Event]) -> String {
        let (news, position) = self.store(events).await;
        self.say(news);
        position
    }

    pub fn say(&self, news: impl IntoIterator<Item = Heard>) {
        for heard in news {
            // Nobody listens any more where a test ends the follower.
            let _ = self.feed.send(heard);
        }
    }
}

pub struct Site {
    pub source: Arc<Source>,
    pub api: Api,
    pub router: Router,
    pub registry: Registry,
    pub token: String,
    pub follower: tokio::task::JoinHandle<()>,
}

impl Site {
    pub async fn new() -> Site {
        Site::with(ApiConfig::default()).await
    }

    pub async fn with(config: ApiConfig) -> Site {
        Site::over(Arc::new(Store::default()), config).await
    }

    /// Another process on a store that others fill; nothing is told to it but what a test says.
    pub async fn over(store: Arc<Store>, config: ApiConfig) -> Site {
        let (feed, heard) = mpsc::unbounded_channel();
        let registry = Registry::new();
        let clock = Arc::new(ManualClock::at("2027-01-15T08:00:01.5Z".parse().unwrap()));
        let shown: Arc<dyn ProjectionStore> = store.clone();
        let script = Box::new(Script(heard));
        let (api, follower) =
            Api::start(config, shown, LOG, script, clock.clone(), &registry).unwrap();
        let control = Arc::new(MemoryControl::default());
        let auth = Auth::open(control, clock.clone(), AuthSettings::default()).await.unwrap();
        let token = auth.service_token("test", &[Role::Viewer]).unwrap().token;
        let metrics = HttpMetrics::register(&registry).unwrap();
        let edge = Edge::new(clock, auth, metrics, Limits::default());
        let (router, _) = routes(api.clone()).into_router(edge).unwrap();
        let folder = Mutex::new(Folder::default());
        let source = Arc::new(Source { folder, store, feed });
        Site { source, api, router, registry, token, follower }
    }

    /// A site that has folded these.
    pub async fn of(events: &[Event]) -> (Site, String) {
        let site = Site::new().await;
        let position = site.tell(events).await;
        (site, position)
    }

    pub async fn tell(&self, events: &[Event]) -> String {
        self.source.tell(events).await
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        self.call_on(&self.router, request).await
    }

    /// The same of a router beside the site's own.
    pub async fn call_on(&self, router: &Router, request: Request<Body>) -> Answer {
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// The status of a read, asked for from a task of its own.
    pub fn get_owned(&self, path: String) -> tokio::task::JoinHandle<u16> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let call = self.router.clone().oneshot(request);
        tokio::spawn(async move { call.await.unwrap().status().as_u16() })
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.call(request.body(Body::empty()).unwrap()).await
    }

    /// The JSON of a read that includes this position.
    pub async fn read(&self, path: &str, position: &str) -> Value {
        let join = if path.contains('?') { '&' } else { '?' };
        let answer = self.get(&format!("{path}{join}min_position={position}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert!(answer.header("etag").starts_with('"'), "{path}");
        answer.json()
    }

    pub async fn stats(&self, query: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.get_with(&format!("/stats{query}"), &[("authorization", &bearer)]).await
    }

    /// The value of a sample, by the start of its line.
    pub fn sample(&self, line_start: &str) -> f64 {
        let text =
            prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with(line_start));
        let line = line.unwrap_or_else(|| panic!("no {line_start} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}
