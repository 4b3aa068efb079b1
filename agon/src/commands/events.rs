//! `agon events`: records and dead letters as they are, from where they lie or a running server.

use agon_api::{
    RECORDS_MAX, ReplayError, dead_letter_body, dead_letter_cursor, dead_letters_body, events_body,
    parse_record_id, record_id,
};
use agon_schema::{Position, Timestamp};
use serde_json::Value;

use crate::cli::{DeadLetters, Events, Source};
use crate::exit::Exit;
use crate::output;
use crate::place::Opened;
use crate::remote::Remote;

/// Runs the command.
///
/// # Errors
/// When the directory is in use or cannot be read, the server does not answer, or there is no such
/// dead letter.
pub async fn run(command: Events) -> Result<(), Exit> {
    match command {
        Events::Tail { source, limit } => tail(&Asked::open(&source).await?, limit.into()).await,
        Events::DeadLetters(DeadLetters::List { source, limit }) => {
            list(&Asked::open(&source).await?, limit).await
        }
        Events::DeadLetters(DeadLetters::Show { id, source }) => {
            // Before the directory is opened: wrong use leaves nothing behind.
            let position = parse_record_id(&id).ok_or_else(|| no_id(&id))?;
            show(&Asked::open(&source).await?, position).await
        }
        Events::DeadLetters(DeadLetters::Replay { id, source }) => {
            let position = parse_record_id(&id).ok_or_else(|| no_id(&id))?;
            replay(&Asked::open(&source).await?, position).await
        }
    }
}

fn no_id(id: &str) -> Exit {
    Exit::Usage(format!("{id:?} is no id; write TOPIC/PARTITION/OFFSET as `list` prints it"))
}

/// Who gives the bodies: both give the same.
enum Asked {
    Opened(Box<Opened>),
    Server(Remote),
}

impl Asked {
    async fn open(source: &Source) -> Result<Asked, Exit> {
        if let Some(remote) = Remote::of(source)? {
            return Ok(Asked::Server(remote));
        }
        Ok(Asked::Opened(Box::new(Opened::open(&source.place).await?)))
    }

    async fn events(&self, limit: usize) -> Result<Value, Exit> {
        match self {
            Asked::Opened(opened) => {
                read(&events_body(opened.log()?, limit).await.map_err(Exit::missing)?)
            }
            Asked::Server(remote) => {
                let limit = limit.to_string();
                read(remote.get("/api/v1/events", &[("limit", &limit)]).await?.as_bytes())
            }
        }
    }

    async fn dead_letters(&self, cursor: Option<&str>, limit: usize) -> Result<Value, Exit> {
        match self {
            Asked::Opened(opened) => {
                let after = cursor.map(dead_letter_cursor).transpose().map_err(Exit::missing)?;
                let body = dead_letters_body(opened.store()?, after, limit).await;
                read(&body.map_err(Exit::missing)?)
            }
            Asked::Server(remote) => {
                let limit = limit.to_string();
                let mut query = vec![("limit", limit.as_str())];
                query.extend(cursor.map(|cursor| ("cursor", cursor)));
                read(remote.get("/api/v1/dead-letters", &query).await?.as_bytes())
            }
        }
    }

    async fn dead_letter(&self, position: Position) -> Result<Value, Exit> {
        match self {
            Asked::Opened(opened) => {
                let (log, store) = (opened.log()?, opened.store()?);
                let body = dead_letter_body(log, store, position).await.map_err(Exit::missing)?;
                let unknown = || {
                    let id = record_id(position);
                    Exit::No(format!("{id} is no dead letter; `list` prints those there are"))
                };
                read(&body.ok_or_else(unknown)?)
            }
            Asked::Server(remote) => {
                // Topics have letters, digits and dots; only the slashes need another form.
                let id = record_id(position).replace('/', "%2F");
                read(remote.get(&format!("/api/v1/dead-letters/{id}"), &[]).await?.as_bytes())
            }
        }
    }
}

/// Appends the record of a dead letter again.
async fn replay(asked: &Asked, position: Position) -> Result<(), Exit> {
    let id = record_id(position);
    let copy = match asked {
        Asked::Opened(opened) => {
            let now_ms = Timestamp::now().micros() / 1_000;
            let replayed = agon_api::replay(opened.log()?, opened.store()?, position, now_ms).await;
            let replayed = replayed.map_err(|error| match error {
                ReplayError::Unknown { .. } | ReplayError::Hopeless { .. } => {
                    Exit::No(error.to_string())
                }
                ReplayError::Store(_) | ReplayError::Log(_) => Exit::missing(error),
            })?;
            record_id(replayed.position)
        }
        Asked::Server(remote) => {
            let path = format!("/api/v1/dead-letters/{}/replay", id.replace('/', "%2F"));
            plain(&read(remote.post(&path).await?.as_bytes())?["position"])
        }
    };
    output::say(format_args!("{id} is appended again, at {copy}"));
    Ok(())
}

fn read(body: &[u8]) -> Result<Value, Exit> {
    let what = |error| Exit::missing(format!("read the answer: {error}"));
    serde_json::from_slice(body).map_err(what)
}

fn items(body: &Value) -> Result<&[Value], Exit> {
    let items = body["items"].as_array().map(Vec::as_slice);
    items.ok_or_else(|| Exit::missing("the answer is no list of records"))
}

/// A text on one line: it was written by others, and a terminal obeys control characters.
fn plain(text: &Value) -> String {
    let mut plain = String::new();
    for char in text.as_str().unwrap_or("-").chars() {
        match char.is_control() {
            true => plain.extend(char.escape_default()),
            false => plain.push(char),
        }
    }
    plain
}

async fn tail(asked: &Asked, limit: usize) -> Result<(), Exit> {
    let body = asked.events(limit).await?;
    for item in items(&body)? {
        let what = match &item["event"] {
            Value::Null => format!("no event: {}", plain(&item["error"])),
            event => plain(event),
        };
        let (id, at) = (plain(&item["id"]), plain(&item["appended_at"]));
        output::line(format_args!("{id}\t{at}\t{what}"))?;
    }
    Ok(())
}

async fn list(asked: &Asked, limit: usize) -> Result<(), Exit> {
    let mut cursor: Option<String> = None;
    let mut left = limit;
    while left > 0 {
        let body = asked.dead_letters(cursor.as_deref(), left.min(RECORDS_MAX)).await?;
        let items = items(&body)?;
        for item in items {
            let [id, reason, event_type, detail] =
                ["id", "reason", "type", "detail"].map(|name| plain(&item[name]));
            output::line(format_args!("{id}\t{reason}\t{event_type}\t{}\t{detail}", item["key"]))?;
        }
        left = left.saturating_sub(items.len());
        cursor = body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

async fn show(asked: &Asked, position: Position) -> Result<(), Exit> {
    let letter = asked.dead_letter(position).await?;
    output::line(format_args!("reason  {}", plain(&letter["reason"])))?;
    output::line(format_args!("detail  {}", plain(&letter["detail"])))?;
    output::line(format_args!("key     {}", letter["key"]))?;
    let headers = letter["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    for header in headers {
        output::line(format_args!("header  {}: {}", plain(&header["name"]), header["value"]))?;
    }
    output::line(format_args!("value   {}", letter["value"]))?;
    let bytes = letter["value_bytes"].as_u64().unwrap_or(0);
    if bytes > agon_api::VALUE_BYTES_MAX as u64 {
        output::say(format_args!("the value has {bytes} bytes; its beginning is shown"));
    }
    Ok(())
}
