//! This binary as a child process, the memory it takes, and a client that keeps its connections
//! busy.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::exit::Exit;

/// Name and password of the user that benches make.
pub const USER: (&str, &str) = ("bench", "twelve-loud-herons-40");

/// A child that listens.
pub struct Server {
    child: Child,
    /// `HOST:PORT`.
    pub address: String,
}

impl Server {
    /// Starts this binary with these arguments and waits until it says where it listens.
    ///
    /// # Errors
    /// When it ends before.
    pub fn start(args: &[&str]) -> Result<Server, Exit> {
        let binary = std::env::current_exe().map_err(Exit::missing)?;
        let mut child = Command::new(binary)
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Exit::missing)?;
        let said = child.stderr.take().ok_or_else(|| Exit::missing("the child says nothing"))?;
        let mut lines = BufReader::new(said).lines();
        let address = loop {
            let line = lines.next().and_then(Result::ok);
            let line = line.ok_or_else(|| Exit::missing("the child ended before it listened"))?;
            if let Some((_, address)) = line.split_once("listens on http://") {
                break address.trim().to_owned();
            }
        };
        // Whatever it says later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, address })
    }

    /// The memory that it takes now, and took at most.
    pub fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        Memory::of(&status.unwrap_or_default())
    }
}

/// Resident memory of a process, in MB; NaN where the system does not say.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub now_mb: f64,
    /// The most at any time.
    pub peak_mb: f64,
}

impl Memory {
    fn of(status: &str) -> Memory {
        let mb = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix(" kB"));
            kib.and_then(|kib| kib.trim().parse::<f64>().ok())
                .map_or(f64::NAN, |kib| kib * 1.024e-3)
        };
        Memory { now_mb: mb("VmRSS:"), peak_mb: mb("VmHWM:") }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MB resident, at most {:.1} MB", self.now_mb, self.peak_mb)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Adds the user of this module to a directory.
///
/// # Errors
/// When the directory is in use.
pub fn add_user(data: &Path) -> Result<(), Exit> {
    let binary = std::env::current_exe().map_err(Exit::missing)?;
    let mut child = Command::new(binary)
        .args(["user", "add", USER.0, "--role", "operator", "--password-stdin", "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Exit::missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "{}", USER.1).map_err(Exit::missing)?;
    }
    match child.wait().map_err(Exit::missing)?.success() {
        true => Ok(()),
        false => Err(Exit::missing("the bench's user was not added")),
    }
}

/// Sends the same request over `connections` kept-alive connections for `time`; answers a second.
///
/// # Errors
/// When a connection fails or an answer is not 200.
pub async fn hammer(
    address: &str,
    request: &str,
    connections: usize,
    time: Duration,
) -> Result<f64, Exit> {
    let answers = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (address, request) = (address.to_owned(), request.to_owned());
        let answers = Arc::clone(&answers);
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = vec![0; 256 << 10];
            while started.elapsed() < time {
                stream.write_all(request.as_bytes()).await?;
                read_answer(&mut stream, &mut buffer).await?;
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, std::io::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Exit::missing)?.map_err(Exit::missing)?;
    }
    Ok(answers.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// Reads one answer with a Content-Length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let wrong = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut have = 0;
    let mut need = None;
    loop {
        if need.is_some_and(|need| have >= need) {
            return Ok(());
        }
        let room = buffer.get_mut(have..).filter(|room| !room.is_empty());
        let read = stream.read(room.ok_or_else(|| wrong("the answer is too long"))?).await?;
        if read == 0 {
            return Err(wrong("the connection was closed"));
        }
        have += read;
        if need.is_none()
            && let Some(end) = buffer[..have].windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 200") {
                return Err(wrong("the answer is not 200"));
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse::<usize>().ok());
            need = Some(end + 4 + length.ok_or_else(|| wrong("the answer has no length"))?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_megabytes() {
        let memory = Memory::of("VmPeak:\t 9 kB\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n");
        assert_eq!(memory.to_string(), "1.0 MB resident, at most 2.0 MB");
        assert!(Memory::of("").now_mb.is_nan());
    }
}
