//! What every failed request is answered with: `application/problem+json` of RFC 9457.
//!
//! A handler says code and detail. The request's id and path are filled in on the way out, by the
//! gate that every answer passes, so no handler needs to know them.

use std::fmt;

use agon_ports::{PortError, Retry};
use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::code::Code;

/// The media type of every problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Bytes of a detail or a pointer at most; what is longer is cut, since callers' text is in it.
const TEXT_BYTES_MAX: usize = 512;
/// Errors that one problem names at most.
const ERRORS_MAX: usize = 100;
/// Seconds after which to try again, where nothing better is known.
const RETRY_AFTER_S: u32 = 1;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// One thing that is wrong in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer into the body (`/players/1/agent`), or `?name` for a query parameter.
    pub pointer: String,
    /// A code of [`Code`], or a finer one of the field's own.
    pub code: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl FieldError {
    /// An error of one field. Pointer and detail are cut to 512 bytes.
    pub fn new(pointer: impl Into<String>, code: &str, detail: impl Into<String>) -> FieldError {
        FieldError {
            pointer: cut(pointer.into()),
            code: code.to_owned(),
            detail: cut(detail.into()),
        }
    }
}

/// The state of a limit, as the `RateLimit` headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The policy's name.
    pub policy: &'static str,
    /// Requests that a window holds.
    pub quota: u32,
    /// Length of a window in seconds.
    pub window_s: u32,
    /// Seconds until the next request will be let in.
    pub retry_after_s: u32,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    cause: Option<Box<str>>,
    headers: Option<Box<HeaderMap>>,
}

impl Problem {
    /// A problem; the detail says what is wrong here and what to do, without a final dot.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        let problem = Problem {
            code,
            detail: cut(detail.into()),
            errors: Vec::new(),
            members: Map::new(),
            cause: None,
            headers: None,
        };
        match code {
            Code::Unauthenticated => {
                problem.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            Code::BodyTooSlow => problem.header(CONNECTION, HeaderValue::from_static("close")),
            _ if code.status().as_u16() == 503 => problem.retry_after(RETRY_AFTER_S),
            _ => problem,
        }
    }

    /// 500, with nothing told but the request's id. The cause goes to the log alone.
    pub fn internal(cause: impl fmt::Display) -> Problem {
        let detail = "the failure was logged under this request_id; report it with that id";
        Problem::new(Code::Internal, detail).cause(cause)
    }

    /// A port's failure: `away` (one of the `*_unavailable` codes) if it may pass, else 500.
    /// The port's own words go to the log alone.
    pub fn of_port(error: &PortError, away: Code) -> Problem {
        match error.retry {
            Retry::Later => Problem::new(away, "nothing was changed; try again").cause(error),
            Retry::Never => Problem::internal(error),
        }
    }

    /// 429 with `RateLimit`, `RateLimit-Policy` and `Retry-After`.
    pub fn too_many(limit: RateLimit) -> Problem {
        let RateLimit { policy, quota, window_s, retry_after_s } = limit;
        let detail = format!("try again in {retry_after_s} s");
        Problem::new(Code::TooManyRequests, detail)
            .header_text(RATE_LIMIT_POLICY, &format!("\"{policy}\";q={quota};w={window_s}"))
            .header_text(RATE_LIMIT, &format!("\"{policy}\";r=0;t={retry_after_s}"))
            .retry_after(retry_after_s)
    }

    /// 405 with the methods that are served.
    pub(crate) fn method_not_allowed(allow: &str) -> Problem {
        Problem::new(Code::MethodNotAllowed, format!("allowed here: {allow}"))
            .header_text(ALLOW, allow)
    }

    /// Names one more thing that is wrong; beyond 100 they are left out.
    pub fn error(mut self, error: FieldError) -> Problem {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
        self
    }

    /// Adds a member of this route's own, as RFC 9457 allows; the standard ones stay.
    pub fn member(mut self, name: &'static str, value: Value) -> Problem {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// What stands behind it, for the log alone; it is never sent.
    pub fn cause(mut self, cause: impl fmt::Display) -> Problem {
        self.cause = Some(cause.to_string().into_boxed_str());
        self
    }

    /// Tells the caller to wait so many seconds.
    pub fn retry_after(self, seconds: u32) -> Problem {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong here.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The things that are wrong, one by one.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// What [`Problem::cause`] was given.
    pub(crate) fn logged_cause(&self) -> &str {
        self.cause.as_deref().unwrap_or("")
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.get_or_insert_default().insert(name, value);
        self
    }

    fn header_text(self, name: HeaderName, value: &str) -> Problem {
        match HeaderValue::from_str(value) {
            Ok(value) => self.header(name, value),
            Err(_) => self,
        }
    }

    /// The body for a request of this path and id.
    pub(crate) fn body(&self, instance: &str, request_id: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            instance: &'a str,
            code: &'a str,
            request_id: &'a str,
            errors: &'a [FieldError],
            #[serde(flatten)]
            members: &'a Map<String, Value>,
        }
        let shown = instance.floor_char_boundary(TEXT_BYTES_MAX);
        let wire = Wire {
            r#type: format!("/problems/{}", self.code.text()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            instance: &instance[..shown],
            code: self.code.text(),
            request_id,
            errors: &self.errors,
            members: &self.members,
        };
        serde_json::to_vec(&wire).unwrap_or_else(|_| unreachable!("strings and numbers are JSON"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.text(), self.detail)
    }
}

impl IntoResponse for Problem {
    /// The answer without path and id; the gate finds the problem in the extensions and writes
    /// the body again with them.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body("", "")));
        *response.status_mut() = self.code.status();
        if let Some(headers) = &self.headers {
            response.headers_mut().extend((**headers).clone());
        }
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        response.extensions_mut().insert(self);
        response
    }
}

/// Cuts at a character's border and shows that it did.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_every_member_of_the_contract() {
        let problem = Problem::new(Code::UnknownField, "no field `rating`").error(FieldError::new(
            "/rating",
            "unknown_field",
            "remove it",
        ));
        let json: Value = serde_json::from_slice(&problem.body("/x", "r-1")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "/problems/unknown_field", "title": "A field is unknown", "status": 400,
                "detail": "no field `rating`", "instance": "/x", "code": "unknown_field",
                "request_id": "r-1",
                "errors": [{"pointer": "/rating", "code": "unknown_field", "detail": "remove it"}],
            })
        );
    }

    #[test]
    fn headers_follow_the_code() {
        let header = |problem: Problem, name: &str| {
            let response = problem.into_response();
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let none = Problem::new(Code::Unauthenticated, "");
        assert_eq!(header(none, "www-authenticate").as_deref(), Some("Bearer"));
        for code in Code::ALL.iter().filter(|code| code.status().as_u16() == 503) {
            assert_eq!(header(Problem::new(*code, ""), "retry-after").as_deref(), Some("1"));
        }
        let limit = RateLimit { policy: "login", quota: 10, window_s: 100, retry_after_s: 7 };
        let many = Problem::too_many(limit);
        assert_eq!(header(many.clone(), "retry-after").as_deref(), Some("7"));
        assert_eq!(header(many.clone(), "ratelimit").as_deref(), Some("\"login\";r=0;t=7"));
        assert_eq!(header(many, "ratelimit-policy").as_deref(), Some("\"login\";q=10;w=100"));
    }

    #[test]
    fn a_ports_words_are_not_sent() {
        for error in [PortError::later("append", "host-7 is down"), PortError::never("a", "host-7")]
        {
            let problem = Problem::of_port(&error, Code::LogUnavailable);
            let body = String::from_utf8(problem.body("/", "")).unwrap();
            assert!(!body.contains("host-7"), "{body}");
            assert!(problem.logged_cause().contains("host-7"));
        }
    }

    #[test]
    fn callers_text_is_cut() {
        let problem = Problem::new(Code::UnknownField, "é".repeat(1 << 20));
        assert!(problem.detail().len() <= TEXT_BYTES_MAX + '…'.len_utf8());
        let many = (0..1000).fold(problem, |all, _| all.error(FieldError::new("", "", "")));
        assert_eq!(many.errors().len(), ERRORS_MAX);
    }
}
