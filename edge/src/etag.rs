//! Strong entity tags, and the 304 that they save.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A strong tag: equal tags, equal bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(HeaderValue);

impl ETag {
    /// The tag of a body, by its hash.
    pub fn of_bytes(body: &[u8]) -> ETag {
        let digest = Sha256::digest(body);
        ETag::quoted(&URL_SAFE_NO_PAD.encode(&digest[..16]))
    }

    /// The tag of a version that names the bytes: whatever they depend on must be in it. Text
    /// that may not stand in a tag is hashed.
    pub fn of_version(version: &str) -> ETag {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        if version.len() <= 128 && version.bytes().all(fits) {
            ETag::quoted(version)
        } else {
            ETag::of_bytes(version.as_bytes())
        }
    }

    fn quoted(text: &str) -> ETag {
        let value = HeaderValue::from_str(&format!("\"{text}\""));
        ETag(value.unwrap_or_else(|_| unreachable!("visible ASCII is a header value")))
    }

    /// Whether `If-None-Match` names this tag. A weak tag compares like a strong one here.
    pub fn is_named_by(&self, headers: &HeaderMap) -> bool {
        let mut names = headers.get_all(IF_NONE_MATCH).iter();
        names.any(|value| names_tag(value.as_bytes(), self.0.as_bytes()))
    }

    /// 304 if the client holds these bytes, else 200 with them; both with the tag, and with
    /// `Cache-Control: no-cache`, since what is read here changes with every event.
    pub fn answer(&self, headers: &HeaderMap, content_type: &'static str, body: Bytes) -> Response {
        let held = self.is_named_by(headers);
        let mut response = Response::new(if held { Body::empty() } else { Body::from(body) });
        let head = response.headers_mut();
        head.insert(ETAG, self.0.clone());
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if held {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            head.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        response
    }
}

/// Whether a list of tags (`"a", W/"b"` or `*`) holds this one. A tag may hold commas, so it is
/// read to its closing quote.
fn names_tag(mut list: &[u8], tag: &[u8]) -> bool {
    loop {
        list = list.trim_ascii_start();
        match list {
            [] => return false,
            [b'*', ..] => return true,
            [b',', rest @ ..] | [b'W', b'/', rest @ ..] => list = rest,
            [b'"', rest @ ..] => {
                let Some(end) = rest.iter().position(|byte| *byte == b'"') else { return false };
                let (this, after) = list.split_at(end + 2);
                if this == tag {
                    return true;
                }
                list = after;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match() {
        let check = |list: &str, named: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(list).unwrap());
            assert_eq!(ETag::of_version("g1.m5.7").is_named_by(&headers), named, "{list}");
        };
        check("\"g1.m5.7\"", true);
        check("W/\"g1.m5.7\"", true);
        check("\"a,b\" , \"g1.m5.7\"", true);
        check("*", true);
        check("\"g1.m5.70\"", false);
        check("g1.m5.7", false);
        check("\"g1.m5.7", false);
        check("", false);
        assert!(!ETag::of_version("a").is_named_by(&HeaderMap::new()));
    }

    #[test]
    fn a_held_body_is_not_sent_again() {
        let tag = ETag::of_bytes(b"{}");
        let fresh = tag.answer(&HeaderMap::new(), "application/json", Bytes::from_static(b"{}"));
        assert_eq!(fresh.status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, fresh.headers()[ETAG].clone());
        let held = tag.answer(&headers, "application/json", Bytes::from_static(b"{}"));
        assert_eq!(held.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(held.headers()[ETAG], fresh.headers()[ETAG]);
    }

    #[test]
    fn text_that_may_not_stand_in_a_tag_is_hashed() {
        assert_ne!(ETag::of_version("a b"), ETag::of_version("a\nb"));
        assert_eq!(ETag::of_version("v1").0, "\"v1\"");
    }
}
