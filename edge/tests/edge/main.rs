//! The edge from outside: through the real router, and over real sockets.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod bodies;
mod login;
mod routes;
mod site;
mod sockets;
mod tokens;
