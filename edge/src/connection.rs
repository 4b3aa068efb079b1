//! One connection's patience: how long it may take to ask, to stay idle, and to read an answer.
//!
//! The library's own header timer runs on an idle connection too, so it cannot be short for slow
//! heads and long for keep-alive. Here socket and requests note what the connection is doing and
//! since when, and a watch beside it looks at that now and then: a request arms no timer.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Reading a head: the client owes the rest of it.
const HEAD: u64 = 0;
/// A request is with its handler, or its answer on the way: the request's own limits hold.
const BUSY: u64 = 1;
/// Between two requests.
const IDLE: u64 = 2;

/// What a connection is doing, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Phase(Arc<Noted>);

#[derive(Debug)]
struct Noted {
    began: Instant,
    /// Milliseconds since `began`, times four, plus the phase.
    state: AtomicU64,
    /// Whether the client may still be sending a body that nobody reads any more.
    unread: AtomicBool,
}

impl Phase {
    /// A new connection, which owes a head.
    pub fn new() -> Phase {
        let (state, unread) = (AtomicU64::new(HEAD), AtomicBool::new(false));
        Phase(Arc::new(Noted { began: Instant::now(), state, unread }))
    }

    /// A request's head is there. Until the guard is dropped, the connection is busy.
    pub fn busy(&self) -> BusyGuard {
        self.enter(BUSY);
        BusyGuard(self.clone())
    }

    /// Bytes came: an idle connection begins a head.
    fn note_read(&self) {
        if self.0.state.load(Ordering::Acquire) % 4 == IDLE {
            self.enter(HEAD);
        }
    }

    fn enter(&self, phase: u64) {
        let millis = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX / 4);
        self.0.state.store(millis * 4 + phase, Ordering::Release);
    }

    /// Ends when the client has taken too long to ask.
    ///
    /// A head may begin right after a look, so the next look is never later than a head may take;
    /// then the end is met exactly.
    pub async fn watch(&self, patience: Patience) {
        loop {
            let (state, now) = (self.0.state.load(Ordering::Acquire), Instant::now());
            let since = self.0.began + Duration::from_millis(state / 4);
            let look = match state % 4 {
                HEAD => since + patience.head,
                IDLE => since + patience.idle,
                _ => now + patience.head,
            };
            if look <= now {
                return;
            }
            sleep_until(look.min(now + patience.head)).await;
        }
    }
}

/// A request's body that notes whether it was read to its end.
pub(crate) struct NotedBody<B> {
    body: B,
    phase: Phase,
}

impl<B: HttpBody + Unpin> NotedBody<B> {
    pub fn new(body: B, phase: Phase) -> NotedBody<B> {
        let noted = NotedBody { body, phase };
        noted.note(noted.body.is_end_stream());
        noted
    }

    fn note(&self, is_read: bool) {
        self.phase.0.unread.store(!is_read, Ordering::Release);
    }
}

impl<B: HttpBody + Unpin> HttpBody for NotedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.note(frame.is_none() || self.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lives as long as a request and its answer.
#[derive(Debug)]
pub(crate) struct BusyGuard(Phase);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.enter(IDLE);
    }
}

/// How long a client may go on sending what nobody reads, after it was answered.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// A socket that notes what comes, and gives up when nobody reads.
pub(crate) struct TimedSocket {
    socket: TcpStream,
    phase: Phase,
    write_max: Duration,
    write_alarm: Option<Pin<Box<Sleep>>>,
    /// Set once our side is closed and the rest of a refused body is let pass.
    linger_alarm: Option<Pin<Box<Sleep>>>,
}

impl TimedSocket {
    pub fn new(socket: TcpStream, phase: Phase, patience: Patience) -> TimedSocket {
        TimedSocket {
            socket,
            phase,
            write_max: patience.write,
            write_alarm: None,
            linger_alarm: None,
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
        let write_max = self.write_max;
        let alarm = self
            .write_alarm
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + write_max)));
        ready!(alarm.as_mut().poll(cx));
        let reason = "the answer was not read in time";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }

    /// Reads and drops what still comes, until the client closes or its time is up: closing on
    /// unread bytes resets the connection, and takes back the answer that says what was wrong.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self
            .linger_alarm
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER_MAX)));
        let mut dropped = [MaybeUninit::uninit(); 4096];
        // The alarm is looked at in each round, so that a fast client has no more time.
        while alarm.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::uninit(&mut dropped);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for TimedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(&mut this.socket).poll_read(cx, buffer));
        this.phase.note_read();
        Poll::Ready(read)
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
        let this = self.get_mut();
        if this.linger_alarm.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        }
        if this.phase.0.unread.load(Ordering::Acquire) {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
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
