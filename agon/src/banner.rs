//! What `serve` says when it listens: where, what to try, where the data lie.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::commands::credentials::{ADMIN, FILE};
use crate::output;

/// What the banner shows.
pub struct Banner<'a> {
    /// Where the server listens.
    pub address: SocketAddr,
    /// Where /metrics is served.
    pub metrics_address: SocketAddr,
    /// The data directory.
    pub data: &'a Path,
    /// Whether built-in agents play.
    pub is_demo: bool,
    /// The password of an administrator that was just made.
    pub password: Option<&'a str>,
}

/// The address under which a client on this machine reaches the server.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Prints it on standard error.
pub fn print(banner: &Banner<'_>) {
    let base = format!("http://{}", reachable(banner.address));
    let credentials = banner.data.join(FILE);
    let board = if banner.is_demo { "tic-tac-toe" } else { "chess" };
    output::say(format_args!("agon {} listens on {base}", env!("CARGO_PKG_VERSION")));
    output::say(format_args!("  data        {}", banner.data.display()));
    output::say(format_args!("  status      {base}/status"));
    output::say(format_args!("  metrics     http://{}/metrics", reachable(banner.metrics_address)));
    if credentials.is_file() {
        output::say(format_args!(
            "  login       user {ADMIN}, password in {}",
            credentials.display()
        ));
    }
    if let Some(password) = banner.password
        && banner.is_demo
        && std::io::stderr().is_terminal()
    {
        output::say(format_args!("  password    {password}"));
    }
    output::say("read a board:");
    output::say(format_args!("  curl '{base}/leaderboard?environment={board}'"));
    output::say("post a result:");
    output::say(format_args!(
        "  TOKEN=$(curl -s {base}/login -H 'content-type: application/json' -d \
         '{{\"username\":\"{ADMIN}\",\"password\":\"…\"}}' \
         | sed 's/.*access_token\":\"\\([^\"]*\\).*/\\1/')"
    ));
    if !banner.is_demo {
        output::say(format_args!(
            "  curl {base}/api/v1/environments -H \"authorization: Bearer $TOKEN\" \
             -H 'content-type: application/json' -d '{{\"id\":\"{board}\"}}'"
        ));
    }
    output::say(format_args!(
        "  curl {base}/matches -H \"authorization: Bearer $TOKEN\" -H 'content-type: \
         application/json' -d '{{\"environment\":\"{board}\",\"players\":[{{\"agent\":\"you\",\
         \"placement\":1}},{{\"agent\":\"me\",\"placement\":2}}]}}'"
    ));
}
