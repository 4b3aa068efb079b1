//! One connection's patience: how long it may take to ask, to stay idle, and to read an answer.
//!
//! The library's own header timer runs on an idle connection too, so it cannot be short for slow
//! headers and long for keep-alive. Here the phase of the connection decides which limit holds.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the first byte of a request (or from the connection's begin) to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without a byte of the answer being taken.
    pub write: Duration,
}

const HEAD: u8 = 0;
const BUSY: u8 = 1;
const IDLE: u8 = 2;

/// What a connection is doing; its socket and its requests both know.
#[derive(Clone, Debug)]
pub(crate) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// A new connection, which owes a head.
    pub fn new() -> Phase {
        Phase(Arc::new(AtomicU8::new(HEAD)))
    }

    /// A request's head is there. Until the guard is dropped, the request's own limits hold.
    pub fn busy(&self) -> BusyGuard {
        self.0.store(BUSY, Ordering::Release);
        BusyGuard(self.clone())
    }
}

/// Lives as long as a request and its answer.
#[derive(Debug)]
pub(crate) struct BusyGuard(Phase);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.0.store(IDLE, Ordering::Release);
    }
}

/// A socket that gives up when it has waited too long.
pub(crate) struct TimedSocket {
    socket: TcpStream,
    phase: Phase,
    patience: Patience,
    head_until: Instant,
    idle_until: Option<Instant>,
    /// Armed at some deadline, which may have moved since: then it is armed again.
    read_alarm: Pin<Box<Sleep>>,
    write_alarm: Option<Pin<Box<Sleep>>>,
}

impl TimedSocket {
    pub fn new(socket: TcpStream, phase: Phase, patience: Patience) -> TimedSocket {
        let head_until = Instant::now() + patience.head;
        let read_alarm = Box::pin(sleep_until(head_until));
        TimedSocket {
            socket,
            phase,
            patience,
            head_until,
            idle_until: None,
            read_alarm,
            write_alarm: None,
        }
    }

    /// Bytes came: an idle connection begins a head.
    fn note_read(&mut self) {
        self.idle_until = None;
        let begins = self.phase.0.compare_exchange(IDLE, HEAD, Ordering::AcqRel, Ordering::Acquire);
        if begins.is_ok() {
            self.head_until = Instant::now() + self.patience.head;
        }
    }

    /// Nothing came: waits on, or gives up.
    fn wait_to_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = match self.phase.0.load(Ordering::Acquire) {
            HEAD => self.head_until,
            IDLE => {
                let idle = self.patience.idle;
                *self.idle_until.get_or_insert_with(|| Instant::now() + idle)
            }
            _ => return Poll::Pending,
        };
        loop {
            if self.read_alarm.deadline() > until || self.read_alarm.is_elapsed() {
                self.read_alarm.as_mut().reset(until);
            }
            ready!(self.read_alarm.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(Err(timed_out("no request came in time")));
            }
        }
    }

    /// Bytes went out, or did not.
    fn note_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_alarm = None;
            return written;
        }
        let write = self.patience.write;
        let alarm =
            self.write_alarm.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + write)));
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the answer was not read in time")))
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl AsyncRead for TimedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.socket).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                this.note_read();
                Poll::Ready(result)
            }
            Poll::Pending => this.wait_to_read(cx),
        }
    }
}

impl AsyncWrite for TimedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.note_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.note_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// An answer's body that keeps its connection busy until the last byte.
pub(crate) struct BusyBody {
    body: Body,
    _busy: BusyGuard,
}

impl BusyBody {
    pub fn new(body: Body, busy: BusyGuard) -> BusyBody {
        BusyBody { body, _busy: busy }
    }
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
