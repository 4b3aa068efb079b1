//! Reading a request's body within its limits.
//!
//! Every body is wrapped before a handler sees it, so the limit holds whatever extractor the
//! handler uses: a byte too many is an error of the body itself. All bodies together have a
//! budget too, since many allowed ones at once would not be.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use thiserror::Error;

use crate::code::Code;
use crate::problem::Problem;

/// What all bodies that are being read or worked on may hold together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    used_bytes: AtomicU64,
    bytes_max: u64,
}

impl BodyBudget {
    pub fn new(bytes_max: u64) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { used_bytes: AtomicU64::new(0), bytes_max })
    }
}

/// What one request's body has taken of the budget; given back when the request is done.
#[derive(Debug)]
pub(crate) struct BodyShare {
    budget: Arc<BodyBudget>,
    taken_bytes: AtomicU64,
    complete: AtomicBool,
}

impl BodyShare {
    /// Whether the client has sent all it announced, so that a delay is not its fault.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    fn take(&self, bytes: u64) -> bool {
        self.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
        let used = self.budget.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        used <= self.budget.bytes_max
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        let taken = self.taken_bytes.load(Ordering::Relaxed);
        self.budget.used_bytes.fetch_sub(taken, Ordering::Relaxed);
    }
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, Error)]
enum Stop {
    #[error("the body is over the limit of {0} bytes")]
    OverLimit(u64),
    #[error("too many bodies are being read at once")]
    OverBudget,
}

/// A body that ends in an error at the first byte over its limit.
struct Limited {
    inner: Body,
    left_bytes: u64,
    limit_bytes: u64,
    share: Arc<BodyShare>,
}

/// Puts the limit on a body. What is returned beside it must live as long as the request.
pub(crate) fn limit(
    body: Body,
    bytes_max: u64,
    budget: &Arc<BodyBudget>,
) -> (Body, Arc<BodyShare>) {
    let share = Arc::new(BodyShare {
        budget: Arc::clone(budget),
        taken_bytes: AtomicU64::new(0),
        complete: AtomicBool::new(false),
    });
    let limited = Limited {
        inner: body,
        left_bytes: bytes_max,
        limit_bytes: bytes_max,
        share: share.clone(),
    };
    (Body::new(limited), share)
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            None => {
                self.share.complete.store(true, Ordering::Release);
                return Poll::Ready(None);
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > self.left_bytes {
            return Poll::Ready(Some(Err(Stop::OverLimit(self.limit_bytes).into())));
        }
        self.left_bytes -= bytes;
        if !self.share.take(bytes) {
            return Poll::Ready(Some(Err(Stop::OverBudget.into())));
        }
        if self.inner.is_end_stream() {
            self.share.complete.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The problem of a body that is over its limit.
pub(crate) fn too_large(limit_bytes: u64) -> Problem {
    let detail = format!("the limit here is {limit_bytes} bytes; send less at once");
    Problem::new(Code::BodyTooLarge, detail)
}

/// Reads a whole body.
///
/// # Errors
/// `body_too_large`, `overloaded`, or `malformed_request` when the client broke off.
pub async fn read(body: Body) -> Result<Bytes, Problem> {
    let error = match body.collect().await {
        Ok(collected) => return Ok(collected.to_bytes()),
        Err(error) => error,
    };
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(this) = source {
        match this.downcast_ref::<Stop>() {
            Some(Stop::OverLimit(limit_bytes)) => return Err(too_large(*limit_bytes)),
            Some(stop @ Stop::OverBudget) => {
                return Err(Problem::new(Code::Overloaded, stop.to_string()));
            }
            None => source = this.source(),
        }
    }
    let detail = "the body broke off before its announced end";
    Err(Problem::new(Code::MalformedRequest, detail).cause(error))
}

/// How a body that can be read here is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`: one value.
    Json,
    /// `application/x-ndjson`: one value a line.
    Ndjson,
}

impl Media {
    /// What the content type says.
    ///
    /// # Errors
    /// `unsupported_media_type` for any other, for none, and for a charset other than UTF-8.
    pub fn of(headers: &HeaderMap) -> Result<Media, Problem> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unsupported("send one content-type: application/json"));
        };
        let text = value.to_str().unwrap_or_default();
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        if parts.any(|parameter| !is_utf8_charset(parameter)) {
            return Err(unsupported("JSON is sent as UTF-8, without other parameters"));
        }
        match essence.as_str() {
            "application/json" => Ok(Media::Json),
            "application/x-ndjson" => Ok(Media::Ndjson),
            _ => Err(unsupported("send application/json, or application/x-ndjson where allowed")),
        }
    }
}

fn is_utf8_charset(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return parameter.is_empty() };
    let value = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8")
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(Code::UnsupportedMediaType, detail)
}

/// The whole body of a write, with how it is written.
#[derive(Clone, Debug)]
pub struct Payload {
    /// JSON, or a value a line.
    pub media: Media,
    /// The bytes, within the route's limit.
    pub bytes: Bytes,
}

impl<S: Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Payload, Problem> {
        let media = Media::of(request.headers())?;
        Ok(Payload { media, bytes: read(request.into_body()).await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let check = |values: &[&str], media: Option<Media>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, value.parse().unwrap());
            }
            assert_eq!(Media::of(&headers).ok(), media, "{values:?}");
        };
        check(&["application/json"], Some(Media::Json));
        check(&["Application/JSON; charset=UTF-8"], Some(Media::Json));
        check(&["application/json;charset=\"utf-8\";"], Some(Media::Json));
        check(&["application/x-ndjson"], Some(Media::Ndjson));
        check(&["application/json; charset=latin1"], None);
        check(&["application/jsonx"], None);
        check(&["text/plain"], None);
        check(&[""], None);
        check(&[], None);
        check(&["application/json", "text/plain"], None);
    }

    #[tokio::test]
    async fn a_byte_too_many_is_refused_and_the_budget_comes_back() {
        let budget = BodyBudget::new(10);
        for (bytes, limit_bytes, code) in [
            (8, 8, None),
            (9, 8, Some(Code::BodyTooLarge)),
            (10, 100, None),
            (11, 100, Some(Code::Overloaded)),
        ] {
            let (body, share) = limit(Body::from(vec![b'x'; bytes]), limit_bytes, &budget);
            let read = read(body).await;
            assert_eq!(read.as_ref().err().map(Problem::code), code, "{bytes} of {limit_bytes}");
            assert_eq!(share.is_complete(), code.is_none());
            drop(share);
            assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 0);
        }
    }
}
