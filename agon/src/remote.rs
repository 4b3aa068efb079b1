//! A running server, asked over HTTP instead of opening its directory.

use std::time::Duration;

use serde_json::Value;

use crate::cli::Source;
use crate::exit::Exit;

/// A server and the token to show it.
pub struct Remote {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// The token of an option or of the file that holds it.
///
/// # Errors
/// When the file cannot be read.
pub fn token(source: &Source) -> Result<Option<String>, Exit> {
    let Some(path) = &source.token_file else { return Ok(source.token.clone()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Exit::Usage(format!("read token file {}: {error}", path.display())))?;
    Ok(Some(text.trim_end().to_owned()))
}

impl Remote {
    /// The server of `--server`, if there is one.
    ///
    /// # Errors
    /// An address of the wrong form, a token file that cannot be read.
    pub fn of(source: &Source) -> Result<Option<Remote>, Exit> {
        let Some(server) = &source.server else { return Ok(None) };
        if !server.starts_with("http://") {
            return Err(Exit::Usage(format!("--server {server:?}: write http://HOST:PORT")));
        }
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .map_err(Exit::missing)?;
        let base = server.trim_end_matches('/').to_owned();
        Ok(Some(Remote { base, token: token(source)?, http }))
    }

    /// The body of a GET, as the server sent it.
    ///
    /// # Errors
    /// When the server is not there or answers with a problem.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Exit> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), query)
            .map_err(|error| Exit::Usage(format!("--server {}: {error}", self.base)))?;
        self.send(self.http.get(url)).await
    }

    /// The body of a POST without one, as the server sent it.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn post(&self, path: &str) -> Result<String, Exit> {
        self.send(self.http.post(format!("{}{path}", self.base))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<String, Exit> {
        let mut request = request;
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let failed = |error: reqwest::Error| {
            Exit::Missing(format!("ask {}: {}; is it running?", self.base, error.without_url()))
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.text().await.map_err(failed)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(refusal(status.as_u16(), &body))
    }
}

/// What a problem says, with the remedy for those that a token mends.
fn refusal(status: u16, body: &str) -> Exit {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("no reason");
    let message = format!("the server answers {status}: {detail}");
    match status {
        401 | 403 => Exit::Missing(format!("{message}; give a token with --token or --token-file")),
        404 => Exit::No(message),
        400..500 => Exit::Usage(message),
        _ => Exit::Missing(message),
    }
}
