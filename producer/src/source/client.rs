//! One request for a stream: HTTP/1.1, with TLS for `https`. The body is read from the socket only
//! as it is asked for, so what is not asked for waits at the server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, pki_types::ServerName};

/// Redirections that one request follows.
const REDIRECTIONS_MAX: usize = 5;
/// How long a server may take from the name look-up to the head of its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer that wait in this process for their reader.
const BUFFER_BYTES_MAX: usize = 256 << 10;
const EVENT_STREAM: &str = "text/event-stream";

/// Why there is no stream, and what the server asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// In words, with the remedy where there is one.
    pub reason: String,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The server has nothing to read and says not to ask again.
    pub is_empty: bool,
    /// The request itself is wrong in its eyes, which may be for its id.
    pub is_bad_request: bool,
}

impl Refused {
    fn because(reason: impl Into<String>) -> Refused {
        let reason = reason.into();
        Refused { reason, retry_after: None, is_empty: false, is_bad_request: false }
    }
}

/// A stream that is open.
pub(crate) struct Stream {
    body: Incoming,
    /// Carries the connection; ends with this.
    _connection: JoinSet<()>,
}

impl Stream {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Asks one address for its stream.
pub(crate) struct Client {
    url: Url,
    user_agent: HeaderValue,
    tls: TlsConnector,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

impl Client {
    /// A client that trusts the usual authorities, which are part of the program.
    pub fn new(url: Url, user_agent: HeaderValue) -> Result<Client, String> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("prepare TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Client { url, user_agent, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Opens the stream behind the event of this id, or where the server begins.
    pub async fn open(&self, last_id: Option<&str>) -> Result<Stream, Refused> {
        let opened = tokio::time::timeout(ANSWER_TIME_MAX, self.follow(last_id)).await;
        opened.unwrap_or_else(|_| {
            let seconds = ANSWER_TIME_MAX.as_secs();
            Err(Refused::because(format!("{} gave no answer within {seconds} s", self.url)))
        })
    }

    async fn follow(&self, last_id: Option<&str>) -> Result<Stream, Refused> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTIONS_MAX {
            let (response, connection) = self
                .ask(&url, last_id)
                .await
                .map_err(|reason| Refused::because(format!("read {url}: {reason}")))?;
            match redirection(&url, &response) {
                None => return accept(&url, response, connection),
                Some(to) => url = to.map_err(Refused::because)?,
            }
        }
        Err(Refused::because(format!("{} redirects more than {REDIRECTIONS_MAX} times", self.url)))
    }

    async fn ask(
        &self,
        url: &Url,
        last_id: Option<&str>,
    ) -> Result<(Response<Incoming>, JoinSet<()>), String> {
        let socket = self.connect(url).await.map_err(|error| format!("connect: {error}"))?;
        let handshake = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(socket))
            .await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Whoever reads the body is told of the error.
            let _ = connection.await;
        });
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", url.host_str().unwrap_or_default());
        let mut request = Request::get(format!("{}{query}", url.path()))
            .header(HOST, host)
            .header(ACCEPT, EVENT_STREAM)
            .header(CACHE_CONTROL, "no-store")
            .header(USER_AGENT, self.user_agent.clone());
        if let Some(id) = last_id {
            request = request.header("last-event-id", id.as_bytes());
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok((response, task))
    }

    async fn connect(&self, url: &Url) -> io::Result<Box<dyn Socket>> {
        let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned());
        let host = url.host_str().ok_or_else(|| invalid("the address has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().ok_or_else(|| invalid("it has no port"))?;
        let socket = TcpStream::connect((host, port)).await?;
        if url.scheme() != "https" {
            return Ok(Box::new(socket));
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| invalid("its host has no name that a certificate could bear"))?;
        Ok(Box::new(self.tls.connect(name, socket).await?))
    }
}

fn redirection<B>(url: &Url, response: &Response<B>) -> Option<Result<Url, String>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let target = response.headers().get(LOCATION)?.to_str().ok()?;
    Some(match url.join(target) {
        Ok(to) if to.scheme() == "https" || url.scheme() == to.scheme() => Ok(to),
        _ => Err(format!("{url} redirects to {target:?}, which is not followed")),
    })
}

fn accept(
    url: &Url,
    response: Response<Incoming>,
    connection: JoinSet<()>,
) -> Result<Stream, Refused> {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("no content type");
    let is_stream = kind.trim_start().to_ascii_lowercase().starts_with(EVENT_STREAM);
    if status == StatusCode::OK && is_stream {
        return Ok(Stream { body: response.into_body(), _connection: connection });
    }
    let reason = match status {
        StatusCode::OK => format!(
            "{url} answers {kind:?} and not {EVENT_STREAM}: it is no stream of events; set \
             --source-url to one"
        ),
        StatusCode::NO_CONTENT => format!("{url} answers 204: it has nothing to read"),
        StatusCode::FORBIDDEN => format!(
            "{url} answers {status}; it may ask for a way to reach you: set --source-user-agent"
        ),
        _ => format!("{url} answers {status}"),
    };
    Err(Refused {
        reason,
        retry_after: retry_after(response.headers()),
        is_empty: status == StatusCode::NO_CONTENT,
        is_bad_request: matches!(status.as_u16(), 400 | 404 | 410 | 412 | 416 | 422 | 431),
    })
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}
