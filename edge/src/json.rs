//! JSON in: strict, with the place of what is wrong.
//!
//! A body is parsed once at full speed. Only when that fails is it parsed again, slowly, to find
//! the path of the field that was refused.

use std::fmt::Write;

use axum::extract::{FromRequest, Request};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::body::{Media, Payload};
use crate::code::Code;
use crate::problem::{FieldError, Problem, cut};

/// What is wrong with a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// `malformed_json`, `unknown_field` or `invalid_field`.
    pub code: Code,
    /// JSON pointer of the field; empty for the whole text.
    pub pointer: String,
    /// What is wrong, with line and column.
    pub detail: String,
}

impl JsonError {
    /// Both texts hold what the caller sent, so they are cut.
    fn new(code: Code, pointer: String, detail: String) -> JsonError {
        JsonError { code, pointer: cut(pointer), detail: cut(detail) }
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Problem {
        let problem = Problem::new(error.code, error.detail.as_str());
        if error.pointer.is_empty() {
            return problem;
        }
        problem.error(FieldError::new(error.pointer, error.code.text(), error.detail))
    }
}

/// Reads one JSON value. Unknown fields are refused where `T` denies them, which every type that
/// callers send should.
///
/// # Errors
/// `malformed_json` for what is not UTF-8, not JSON, or nested deeper than 128; `unknown_field`
/// and `invalid_field` for JSON of another shape than `T`.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        malformed(format!("the body is not UTF-8: byte {} is wrong", error.valid_up_to()))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(malformed("the body is empty".to_owned()));
    }
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    match error.classify() {
        Category::Data => Err(locate::<T>(text, error)),
        Category::Syntax | Category::Eof | Category::Io => Err(malformed(error.to_string())),
    }
}

/// Reads one JSON object. Use it for a body that is a struct: a struct alone would be read from
/// an array too, by the order of its fields.
///
/// # Errors
/// Those of [`parse`], and `invalid_field` for any other value than an object.
pub fn parse_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, JsonError> {
    match bytes.trim_ascii_start().first() {
        Some(b'{') | None => parse(bytes),
        Some(_) => {
            parse::<IgnoredAny>(bytes)?;
            let detail = "the body must be one JSON object".to_owned();
            Err(JsonError::new(Code::InvalidField, String::new(), detail))
        }
    }
}

fn malformed(detail: String) -> JsonError {
    JsonError::new(Code::MalformedJson, String::new(), detail)
}

/// Parses again to learn where the error is.
fn locate<'a, T: Deserialize<'a>>(text: &'a str, error: serde_json::Error) -> JsonError {
    let mut reader = serde_json::Deserializer::from_str(text);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(error) => pointer(error.path()),
        Ok(_) => String::new(),
    };
    let detail = error.to_string();
    if let Some(name) = quoted_after(&detail, "unknown field `") {
        return JsonError::new(Code::UnknownField, beneath(path, name), detail);
    }
    let name = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| quoted_after(&detail, start));
    let pointer = match name {
        Some(name) => beneath(path, name),
        None => path,
    };
    JsonError::new(Code::InvalidField, pointer, detail)
}

/// The name that a message puts between backticks.
fn quoted_after<'a>(detail: &'a str, start: &str) -> Option<&'a str> {
    let rest = detail.strip_prefix(start)?;
    rest.split_once('`').map(|(name, _)| name)
}

/// The pointer with the field's own name at its end.
fn beneath(mut path: String, name: &str) -> String {
    let mut last = String::new();
    push_segment(&mut last, name);
    if !path.ends_with(&last) {
        path.push_str(&last);
    }
    path
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push_segment(&mut pointer, &index.to_string()),
            Segment::Map { key } => push_segment(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Appends a segment as RFC 6901 writes it.
fn push_segment(pointer: &mut String, name: &str) {
    // Writing to a String cannot fail.
    let _ = write!(pointer, "/{}", name.replace('~', "~0").replace('/', "~1"));
}

/// Extracts a body of one JSON object; answers a problem for anything else.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<JsonBody<T>, Problem> {
        let payload = Payload::from_request(request, state).await?;
        match payload.media {
            Media::Json => Ok(JsonBody(parse_object(&payload.bytes)?)),
            Media::Ndjson => {
                let detail = "this route reads one value; send application/json";
                Err(Problem::new(Code::UnsupportedMediaType, detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Match {
        #[serde(rename = "environment")]
        _environment: String,
        #[serde(rename = "players")]
        _players: Vec<Player>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Player {
        #[serde(rename = "agent")]
        _agent: String,
        #[serde(rename = "a/b~c", default)]
        _odd: u8,
    }

    fn check(body: impl AsRef<[u8]>, code: Code, pointer: &str, detail: &str) {
        let body = body.as_ref();
        let error = parse_object::<Match>(body).unwrap_err();
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!((error.code, error.pointer.as_str()), (code, pointer), "{shown}");
        assert!(error.detail.contains(detail), "{shown}: {}", error.detail);
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        check("", Code::MalformedJson, "", "empty");
        check(" \n", Code::MalformedJson, "", "empty");
        check("{\"environment\":", Code::MalformedJson, "", "line 1 column 15");
        check("{\"environment\": NaN}", Code::MalformedJson, "", "line 1 column");
        check("{\"environment\": Infinity}", Code::MalformedJson, "", "line 1 column");
        check("{}x", Code::InvalidField, "/environment", "missing");
        check(r#"{"environment":"e","players":[]}{}"#, Code::MalformedJson, "", "trailing");
        check(r#"{"environment":"\ud800","players":[]}"#, Code::MalformedJson, "", "column");
        check(b"{\"environment\":\"\xff\"}", Code::MalformedJson, "", "byte 16");
        check("\u{feff}{}", Code::MalformedJson, "", "column 1");
    }

    #[test]
    fn json_of_another_shape_names_the_field() {
        check("[]", Code::InvalidField, "", "object");
        check(r#"["e",[]]"#, Code::InvalidField, "", "object");
        check("7", Code::InvalidField, "", "object");
        check("{}", Code::InvalidField, "/environment", "missing");
        check(r#"{"environment":1}"#, Code::InvalidField, "/environment", "integer `1`");
        check(r#"{"environment":"e","rating":1}"#, Code::UnknownField, "/rating", "`rating`");
        check(
            r#"{"environment":"e","environment":"f"}"#,
            Code::InvalidField,
            "/environment",
            "duplicate",
        );
        let player = |player: &str| format!("{{\"environment\":\"e\",\"players\":[{player}]}}");
        let second = player(r#"{"agent":"a"},{"agent":null}"#);
        check(second, Code::InvalidField, "/players/1/agent", "null");
        check(player(r#"{"agnt":"a"}"#), Code::UnknownField, "/players/0/agnt", "agnt");
        check(
            player(r#"{"agent":"a","a/b~c":-1}"#),
            Code::InvalidField,
            "/players/0/a~1b~0c",
            "-1",
        );
        check(player("{}"), Code::InvalidField, "/players/0/agent", "missing");
    }

    #[test]
    fn deep_nesting_and_long_names_are_errors_like_others() {
        check("[".repeat(1 << 20), Code::MalformedJson, "", "EOF");
        let deep = format!("{{\"environment\":{}", "[".repeat(1 << 20));
        check(deep, Code::InvalidField, "/environment", "sequence");
        let value = parse::<serde_json::Value>("[".repeat(1 << 20).as_bytes()).unwrap_err();
        assert_eq!(value.code, Code::MalformedJson);
        assert!(value.detail.contains("recursion limit"), "{}", value.detail);
        let long = format!("{{\"{}\":1}}", "é".repeat(100_000));
        let problem = Problem::from(parse_object::<Match>(long.as_bytes()).unwrap_err());
        assert!(problem.body("/", "").len() < 4096);
    }
}
