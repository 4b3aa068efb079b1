//! A server that replays made-up recent changes as server-sent events, as fast as they are taken.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::exit::Exit;
use crate::{banner, output};

/// Where the stream never ends, as a live one.
pub const LIVE: &str = "/stream";
/// Where it ends behind the last event.
pub const ENDING: &str = "/stream?end";
/// Users, each with about as many changes.
const USERS: u64 = 50_021;
/// Wikis, likewise.
const WIKIS: u64 = 307;
/// Text that is made before it is sent.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Replays so many events to everyone who asks, until it is killed.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(events: u64) -> Result<(), Exit> {
    let listener = agon_edge::bind("127.0.0.1:0").await.map_err(Exit::missing)?;
    let address = listener.local_addr().map_err(Exit::missing)?;
    output::say(format_args!("listens on http://{}", banner::reachable(address)));
    loop {
        let (socket, _) = listener.accept().await.map_err(Exit::missing)?;
        // A caller that has gone is no failure of this server.
        tokio::spawn(async move { replay(socket, events).await.ok() });
    }
}

async fn replay(mut socket: TcpStream, events: u64) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(socket.read_u8().await?);
    }
    let is_ending = head.starts_with(format!("GET {ENDING} ").as_bytes());
    let mut text = String::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 3));
    text.push_str(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n:ok\n\n",
    );
    for number in 0..events {
        push_event(&mut text, number);
        if text.len() >= CHUNK_BYTES {
            socket.write_all(text.as_bytes()).await?;
            text.clear();
        }
    }
    socket.write_all(text.as_bytes()).await?;
    if !is_ending {
        // Silence, until the caller goes.
        socket.read_u8().await?;
    }
    Ok(())
}

/// Adds an event of the stream: the fields, lengths and order of a real one, under an id of its
/// own.
fn push_event(text: &mut String, number: u64) {
    // Neighbours are strangers: both are prime to what they are taken of.
    let (user, wiki) = (number * 7_919 % USERS, number * 101 % WIKIS);
    let (page, time_s) = (number % 900_007, 1_763_700_000 + number / 50);
    let (old_bytes, revision) = (number * 31 % 90_001, 1_300_000_000 + number);
    let (is_bot, is_minor) = (user.is_multiple_of(3), number.is_multiple_of(4));
    let written = write!(
        text,
        "event: message\n\
         id: [{{\"topic\":\"eqiad.mediawiki.recentchange\",\"partition\":0,\
         \"timestamp\":{time_s}000}},{{\"topic\":\"codfw.mediawiki.recentchange\",\
         \"partition\":0,\"offset\":-1}}]\n\
         data: {{\"$schema\":\"/mediawiki/recentchange/1.0.0\",\"meta\":{{\
         \"uri\":\"https://w{wiki:03}.example.org/wiki/A_page_of_some_length_{page:06}\",\
         \"request_id\":\"4625d6f5-f402-48c5-aeff-{number:012x}\",\
         \"id\":\"b03928dd-fdda-411c-94a1-{number:012x}\",\"domain\":\"w{wiki:03}.example.org\",\
         \"stream\":\"mediawiki.recentchange\",\"dt\":\"2026-11-21T10:{:02}:{:02}.{:03}Z\",\
         \"topic\":\"eqiad.mediawiki.recentchange\",\"partition\":0,\
         \"offset\":{revision}}},\"id\":{revision},\"type\":\"edit\",\"namespace\":{},\
         \"title\":\"A page of some length {page:06}\",\
         \"title_url\":\"https://w{wiki:03}.example.org/wiki/A_page_of_some_length_{page:06}\",\
         \"comment\":\"/* wbsetclaim-update:2||1 */ a comment \\u2192 of the usual length\",\
         \"timestamp\":{time_s},\"user\":\"User of number {user}\",\"bot\":{is_bot},\
         \"notify_url\":\"https://w{wiki:03}.example.org/w/index.php?diff={revision}&oldid=7\",\
         \"minor\":{is_minor},\"patrolled\":true,\"length\":{{\"old\":{old_bytes},\
         \"new\":{}}},\"revision\":{{\"old\":7,\"new\":{revision}}},\
         \"server_url\":\"https://w{wiki:03}.example.org\",\
         \"server_name\":\"w{wiki:03}.example.org\",\"server_script_path\":\"/w\",\
         \"wiki\":\"w{wiki:03}\",\"parsedcomment\":\"<span dir=\\\"auto\\\"><span \
         class=\\\"autocomment\\\">Changed a claim: </span></span> a comment of the usual \
         length\"}}\n\n",
        number / 3_000 % 60,
        number / 50 % 60,
        number % 1_000,
        number % 16,
        old_bytes + number % 600,
    );
    if written.is_err() {
        unreachable!("a String takes everything that is written to it");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use agon_schema::wikimedia::{self, Line};

    #[test]
    fn events_are_changes_of_a_realistic_size_with_ids_of_their_own() {
        let (mut ids, mut users) = (BTreeSet::new(), BTreeSet::new());
        for number in 0..1_000 {
            let mut text = String::new();
            push_event(&mut text, number);
            assert!((1_100..1_500).contains(&text.len()), "{} bytes", text.len());
            let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let Line::Change(change) = wikimedia::parse(data.as_bytes()).unwrap() else {
                panic!("{data}");
            };
            ids.insert(change.id);
            users.insert(change.user.unwrap());
        }
        assert_eq!((ids.len(), users.len()), (1_000, 1_000));
    }
}
