//! Names that a test gives and takes away, for processes of its own alone; and ways to servers
//! that it opens under an address and closes.
#![allow(clippy::unwrap_used, clippy::print_stderr, dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::NamedTempFile;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::{AGON, agon};

/// The files by which names are resolved, over those of the machine, then the command.
const UNDER_OUR_NAMES: &str = "mount --bind \"$0\" /etc/hosts && \
     mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
/// A resolver that is not there: what the hosts do not hold fails at once, and may come later.
const NO_RESOLVER: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// What processes resolve that are started by [`Names::around`].
pub struct Names {
    hosts: NamedTempFile,
    resolver: NamedTempFile,
}

impl Names {
    /// None but `localhost`; `None`, said aloud, where nobody may mount.
    pub fn new() -> Option<Names> {
        let names =
            Names { hosts: NamedTempFile::new().unwrap(), resolver: NamedTempFile::new().unwrap() };
        std::fs::write(names.resolver.path(), NO_RESOLVER).unwrap();
        names.are(&[]);
        let tried = names.unshared().arg("true").output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            eprintln!("skipped: no file can be mounted here (unshare -rm, mount --bind)");
            return None;
        }
        Some(names)
    }

    /// From now on these are all names, and where they lead.
    pub fn are(&self, names: &[(&str, &str)]) {
        let lines = names.iter().map(|(name, address)| format!("{address} {name}\n"));
        let all = format!("127.0.0.1 localhost\n{}", lines.collect::<String>());
        // In its place: it is this file that is mounted.
        std::fs::write(self.hosts.path(), all).unwrap();
    }

    /// `agon` with these arguments, and with these names alone.
    pub fn around(&self, args: &[&str]) -> Command {
        let mut command = self.unshared();
        for (name, value) in agon(&[]).get_envs() {
            assert!(value.is_none(), "only removed");
            command.env_remove(name);
        }
        command.arg(AGON).args(args).stdin(std::process::Stdio::null());
        command
    }

    fn unshared(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", UNDER_OUR_NAMES]);
        command.args([self.hosts.path(), self.resolver.path()].map(Path::as_os_str));
        command
    }
}

/// Carries connections from an address of its own to a server. Dropped, all of them break, and
/// nobody listens there any more.
pub struct Way(AbortHandle);

impl Way {
    pub async fn open(host: &str, to: SocketAddr) -> Way {
        let listener = TcpListener::bind((host, to.port())).await.unwrap();
        let task = tokio::spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                carried.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    copy_bidirectional(&mut client, &mut server).await.ok();
                });
                while carried.try_join_next().is_some() {}
            }
        });
        Way(task.abort_handle())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.0.abort();
    }
}
