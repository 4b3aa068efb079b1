//! A few words of CQL (its native protocol, version 4), for what only an operator does to a store:
//! make users, grant, make a keyspace by hand, and compare what stands there byte by byte.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const STARTUP: u8 = 1;
const AUTHENTICATE: u8 = 3;
const QUERY: u8 = 7;
const RESULT: u8 = 8;
const AUTH_RESPONSE: u8 = 15;
/// The kind of an answer that has rows.
const ROWS: usize = 2;

/// A connection to one node.
pub struct Cql(TcpStream);

impl Cql {
    /// Connects; waits until a new node knows its first user.
    pub fn connect(address: &str, user: &str, password: &str) -> Cql {
        let deadline = Instant::now() + super::servers::PATIENCE;
        loop {
            match Cql::try_connect(address, user, password) {
                Ok(cql) => return cql,
                Err(said) => assert!(Instant::now() < deadline, "{address}: {said}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn try_connect(address: &str, user: &str, password: &str) -> Result<Cql, String> {
        let mut cql = Cql(TcpStream::connect(address).map_err(|error| error.to_string())?);
        let version = [&[0, 1][..], &string("CQL_VERSION"), &string("3.0.0")].concat();
        let (kind, body) = cql.ask(STARTUP, &version);
        let (kind, body) = match kind {
            AUTHENTICATE => {
                let token = format!("\0{user}\0{password}");
                cql.ask(AUTH_RESPONSE, &[&size(token.len()), token.as_bytes()].concat())
            }
            _ => (kind, body),
        };
        // An error is kind 0.
        if kind == 0 { Err(String::from_utf8_lossy(&body).into_owned()) } else { Ok(cql) }
    }

    fn ask(&mut self, kind: u8, body: &[u8]) -> (u8, Vec<u8>) {
        let frame = [&[4, 0, 0, 0, kind][..], &size(body.len()), body].concat();
        self.0.write_all(&frame).unwrap();
        let mut head = [0; 9];
        self.0.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head[5..].try_into().unwrap()) as usize];
        self.0.read_exact(&mut body).unwrap();
        (head[4], body)
    }

    /// The answer to a statement, as it came.
    pub fn run(&mut self, statement: &str) -> Vec<u8> {
        let body = [&size(statement.len())[..], statement.as_bytes(), &[0, 1, 0]].concat();
        let (kind, body) = self.ask(QUERY, &body);
        assert_eq!(kind, RESULT, "{statement}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// Everything that the tables of a keyspace hold, in the order of their names.
    pub fn contents(&mut self, keyspace: &str) -> Vec<(String, Vec<u8>)> {
        let names = format!(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"
        );
        let names = texts(&self.run(&names));
        assert!(!names.is_empty(), "{keyspace} has no tables");
        let table = |name: String| {
            let rows = self.run(&format!("SELECT * FROM {keyspace}.{name}"));
            (name, rows)
        };
        names.into_iter().map(table).collect()
    }
}

/// The values of an answer with one column of text.
fn texts(body: &[u8]) -> Vec<String> {
    let mut rest = Rest(body);
    let shape = [rest.number(4), rest.number(4), rest.number(4)];
    assert_eq!(shape, [ROWS, 1, 1], "one column of one table");
    // Keyspace, table and column by name, then the type.
    for _ in 0..3 {
        let bytes = rest.number(2);
        rest.take(bytes);
    }
    rest.take(2);
    let count = rest.number(4);
    let text = |_| {
        let bytes = rest.number(4);
        String::from_utf8(rest.take(bytes).to_vec()).unwrap()
    };
    (0..count).map(text).collect()
}

/// What is left to read of an answer.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(bytes);
        self.0 = tail;
        head
    }

    fn number(&mut self, bytes: usize) -> usize {
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }
}

fn size(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap().to_be_bytes()
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}
