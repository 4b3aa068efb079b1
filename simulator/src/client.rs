//! HTTP as anyone speaks it: a token, writes with what their answers say, reads.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::Error;
use crate::ledger::Answer;

/// The longest wait for an answer; after it, it is unknown what became of a write.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A caller of one address with one user's name.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    username: String,
    password: String,
    token: RwLock<String>,
}

impl Client {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When the system's sockets cannot be set up.
    pub fn new(base: String, username: &str, password: &str) -> Result<Client, Error> {
        let builder = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX);
        let http = builder.build().map_err(|error| Error::Answer {
            what: "make an HTTP client".to_owned(),
            said: error.to_string(),
        })?;
        let (username, password) = (username.to_owned(), password.to_owned());
        Ok(Client { http, base, username, password, token: RwLock::default() })
    }

    /// Gets a token.
    ///
    /// # Errors
    /// When there is no answer, or one without a token.
    pub async fn login(&self) -> Result<(), Error> {
        let body = json!({"username": self.username, "password": self.password});
        let (status, answer) = self.send(self.http.post(self.url("/login")).json(&body)).await?;
        let token = answer["access_token"].as_str().ok_or_else(|| Error::Answer {
            what: format!("POST {}/login", self.base),
            said: format!("{status} {answer}"),
        })?;
        *self.token.write().await = token.to_owned();
        Ok(())
    }

    /// Posts, with a new token when the old one has expired.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), Error> {
        let token = self.token.read().await.clone();
        let request = |token: &str| self.http.post(self.url(path)).bearer_auth(token).json(body);
        let answer = self.send(request(&token)).await?;
        if answer.0 != 401 {
            return Ok(answer);
        }
        self.login().await?;
        let token = self.token.read().await.clone();
        self.send(request(&token)).await
    }

    /// Reads.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<(u16, Value), Error> {
        self.send(self.http.get(self.url(path))).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Value), Error> {
        let failed = |error: reqwest::Error| Error::Answer {
            what: format!("ask {}", self.base),
            said: error.to_string(),
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}

/// What an answer to `count` events posted together says of each.
pub fn answers(count: usize, answer: &Result<(u16, Value), Error>) -> Vec<Answer> {
    let all = match answer {
        Ok((200..=299, body)) => return with_rejected(count, body),
        Ok((408 | 425 | 429 | 500..=599, _)) | Err(_) => Answer::Unknown,
        Ok(_) => Answer::Refused,
    };
    vec![all; count]
}

fn with_rejected(count: usize, body: &Value) -> Vec<Answer> {
    let mut each = vec![Answer::Taken; count];
    for rejected in body["rejected"].as_array().into_iter().flatten() {
        let index = rejected["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        if let Some(place) = index.and_then(|index| each.get_mut(index)) {
            *place = Answer::Refused;
        }
    }
    each
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_what_the_log_has() {
        use Answer::{Refused, Taken, Unknown};
        let lost = Err(Error::Answer { what: "ask".into(), said: "cut".into() });
        let some = json!({"accepted": 1, "rejected": [{"index": 1, "code": "x"}, {"index": 9}]});
        for (count, answer, expected) in [
            (1, Ok((202, json!({"duplicate": false}))), vec![Taken]),
            (3, Ok((202, some)), vec![Taken, Refused, Taken]),
            (2, Ok((503, Value::Null)), vec![Unknown, Unknown]),
            (2, Ok((429, Value::Null)), vec![Unknown, Unknown]),
            (2, Ok((400, Value::Null)), vec![Refused, Refused]),
            (1, Ok((409, Value::Null)), vec![Refused]),
            (1, lost, vec![Unknown]),
        ] {
            assert_eq!(answers(count, &answer), expected, "{answer:?}");
        }
    }
}
