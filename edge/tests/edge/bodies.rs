//! What a body, a query or a path can do wrong, through the real router.

use std::convert::Infallible;

use crate::site::{Answer, Site};
use agon_edge::{AuthSettings, Limits};
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;

/// A body that comes in pieces and announces no length.
fn chunked(pieces: usize, piece_bytes: usize) -> Body {
    let piece = Bytes::from(vec![b' '; piece_bytes]);
    let frames = (0..pieces).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
    Body::new(StreamBody::new(futures::stream::iter(frames)))
}

#[tokio::test]
async fn what_is_not_the_json_of_the_route_names_the_place() {
    let site = Site::new().await;
    let check = async |body: &[u8], status: u16, code: &str, pointer: &str| {
        let answer = site.post("/echo", body.to_vec()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{shown}");
        let errors = &answer.json()["errors"];
        assert_eq!(errors[0]["pointer"].as_str().unwrap_or_default(), pointer, "{shown}");
    };
    check(b"", 400, "malformed_json", "").await;
    check(b"{\"name\":", 400, "malformed_json", "").await;
    check(b"{\"name\":\"\xff\"}", 400, "malformed_json", "").await;
    check(b"{\"name\":NaN}", 400, "malformed_json", "").await;
    check(br#"{"name":"\udc00"}"#, 400, "malformed_json", "").await;
    check(br#"{"name":"a","points":1e999}"#, 400, "malformed_json", "").await;
    check(&b"[".repeat(100_000), 400, "malformed_json", "").await;
    check(br#"{"name":"a","role":"admin"}"#, 400, "unknown_field", "/role").await;
    check(br#"{"name":"a","name":"b"}"#, 422, "invalid_field", "/name").await;
    check(br#"{"name":7}"#, 422, "invalid_field", "/name").await;
    check(br#"{"points":7}"#, 422, "invalid_field", "/name").await;
    check(br#"{"name":"a","points":18446744073709551616}"#, 422, "invalid_field", "/points").await;
    check(br#"["a",1]"#, 422, "invalid_field", "").await;
    let fine = site.post("/echo", r#"{"name":"a","points":-3}"#).await;
    assert_eq!((fine.status, fine.text()), (200, "a -3"));
}

#[tokio::test]
async fn a_body_over_its_limit_is_413_however_it_comes() {
    let site = Site::new().await;
    let send = async |path: &str, body: Body| -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        site.call(request.body(body).unwrap()).await
    };
    for (path, limit) in [("/echo", 1 << 20), ("/api/v1/big", 4 << 20)] {
        let announced = send(path, Body::from(vec![b' '; limit + 1])).await;
        assert_eq!((announced.status, announced.problem().as_str()), (413, "body_too_large"));
        let streamed = send(path, chunked(limit / 1024 + 1, 1024)).await;
        assert_eq!((streamed.status, streamed.problem().as_str()), (413, "body_too_large"));
        assert!(streamed.text().contains(&limit.to_string()), "{}", streamed.text());
    }
    assert_eq!(send("/api/v1/big", Body::from(vec![b' '; 4 << 20])).await.text(), "4194304");
    assert_eq!(send("/api/v1/big", chunked(4096, 1024)).await.text(), "4194304");
    let login = send("/login", Body::from(vec![b' '; 1 << 20])).await;
    assert_eq!(login.problem(), "body_too_large");

    let lie = Request::post("/echo")
        .header("content-type", "application/json")
        .header("content-length", "99999999999999")
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(site.call(lie).await.problem(), "body_too_large");
}

#[tokio::test]
async fn many_allowed_bodies_at_once_have_a_limit_too() {
    let limits = Limits { bodies_bytes_max: 1 << 20, ..Limits::default() };
    let site = Site::with(AuthSettings::default(), limits).await;
    for _ in 0..3 {
        let answer = site.post("/api/v1/big", vec![b' '; 1 << 20]).await;
        assert_eq!(answer.status, 200, "what one used is given back");
    }
    let answer = site.post("/api/v1/big", chunked(1025, 1024)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
}

#[tokio::test]
async fn types_and_encodings_that_are_not_read_are_415() {
    let site = Site::new().await;
    let check = async |headers: &[(&str, &str)]| {
        let mut request = Request::post("/echo");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = site.call(request.body(Body::from(r#"{"name":"a"}"#)).unwrap()).await;
        (answer.status != 200).then(|| answer.problem())
    };
    let json = ("content-type", "application/json");
    assert_eq!(check(&[json]).await, None);
    assert_eq!(check(&[json, ("content-encoding", "identity")]).await, None);
    let refused = Some("unsupported_media_type".to_owned());
    for encoding in ["gzip", "br", "zstd", "deflate", "gzip, gzip", "identity, gzip"] {
        assert_eq!(check(&[json, ("content-encoding", encoding)]).await, refused, "{encoding}");
    }
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson", ""] {
        assert_eq!(check(&[("content-type", media)]).await, refused, "{media}");
    }
    assert_eq!(check(&[]).await, refused);
}

#[tokio::test]
async fn paths_and_queries_are_bounded_and_strict() {
    let site = Site::new().await;
    let check = async |path: String, status: u16, code: &str| {
        let answer = site.get(&path).await;
        let shown = &path[..path.len().min(60)];
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{shown}");
    };
    check(format!("/api/v1/things/{}", "a".repeat(16_384)), 414, "uri_too_long").await;
    check(format!("/open?limit={}", "1".repeat(16_384)), 414, "uri_too_long").await;
    check(format!("/open?{}", "limit=1&".repeat(1000)), 400, "invalid_parameter").await;
    check("/open?offset=-1".to_owned(), 400, "unknown_parameter").await;
    check("/open?limit=1000000000".to_owned(), 400, "invalid_parameter").await;
    check("/open?limit=-1".to_owned(), 400, "invalid_parameter").await;
    check("/open?limit=%ff".to_owned(), 400, "malformed_request").await;
    let long = format!("/open?{}=1", "x".repeat(8000));
    assert!(site.get(&long).await.body.len() < 4096);
    assert_eq!(site.get("/open?limit=7").await.status, 200);
}
