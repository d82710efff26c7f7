//! What the tasks of one connection and those who send on it share: the socket, the transmit half, and how far its
//! end has come.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use async_io::Async;
use bytes::Bytes;
use event_listener::Event;
use kitfox_core::connection::{CloseReason, Plain, PushError, Role, Timeout, Tx};
use kitfox_core::storage::Heap;
use kitfox_core::wire::Message;
use kitfox_core::{Config, Instant};

use crate::handler::{Down, Peer};
use crate::stats::{ConnectionStats, Direction, Received};
use crate::time::{Alarm, Clock};

/// How long a closed connection may take to write what is queued, and to hear the peer's end of it.
const FLUSH: Duration = Duration::from_secs(1);

/// Writes before the writer lets others have the thread.
const WRITES_A_TURN: usize = 8;

/// Reads before a connection that is closing lets others have the thread.
const READS_A_TURN: usize = 64;

/// What a message needs beside its payload, unless its space and module have very long names, in bytes.
const OVERHEAD: usize = 1024;

/// Most pieces of one vectored write: as many as the core shows.
const MAX_PIECES: usize = 16;

pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) stream: Async<TcpStream>,
    pub(crate) local: SocketAddr,
    clock: Clock,
    side: Mutex<Side>,
    /// To be woken when the end comes nearer. Not behind the other lock, which is held while the system writes.
    reader: Mutex<Option<Waker>>,
    /// Whether this end has asked for the end. Looked at between deliveries, without the lock.
    asked: AtomicBool,
    pub(crate) received: Received,
    opened: OnceLock<(Peer, SystemTime)>,
    /// The gate has opened, or room has been made in the queue, or the connection has ended.
    changed: Event,
}

/// The transmit half and how far the connection's end has come. Locked for a push, a write or a look.
struct Side {
    tx: Tx<Heap>,
    /// This end wants the end. The first reason counts.
    asked: Option<CloseReason>,
    /// How long the rest may take to be written.
    flush: Duration,
    /// The reader has closed; until then what is queued may be written.
    ended: Option<(Down, Instant)>,
    /// Everything is written, or never will be.
    writer_done: bool,
    /// To be woken when something is pushed, and when the end comes nearer.
    writer: Option<Waker>,
    /// Somebody waits until the queue has room.
    room_wanted: bool,
}

impl Side {
    fn is_running(&self) -> bool {
        self.asked.is_none() && self.ended.is_none()
    }
}

impl Link {
    pub(crate) fn new(
        id: u64,
        role: Role,
        stream: Async<TcpStream>,
        clock: Clock,
        config: &Config,
    ) -> io::Result<Self> {
        stream.get_ref().set_nodelay(true)?;
        let side = Side {
            tx: Tx::new(config, Plain::default()),
            asked: None,
            flush: FLUSH,
            ended: None,
            writer_done: false,
            writer: None,
            room_wanted: false,
        };
        Ok(Self {
            id,
            role,
            local: stream.get_ref().local_addr()?,
            stream,
            clock,
            side: Mutex::new(side),
            reader: Mutex::new(None),
            asked: AtomicBool::new(false),
            received: Received::default(),
            opened: OnceLock::new(),
            changed: Event::new(),
        })
    }

    fn side(&self) -> MutexGuard<'_, Side> {
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the transmit half, and wakes the writer.
    pub(crate) fn with_tx<T>(&self, use_it: impl FnOnce(&mut Tx<Heap>) -> T) -> T {
        let mut side = self.side();
        let result = use_it(&mut side.tx);
        let writer = side.writer.take();
        drop(side);
        wake(writer);
        result
    }

    /// Queues a message. `None` if the connection is not open any more.
    pub(crate) fn push(&self, message: &Message<'_>) -> Option<Result<(), PushError>> {
        let mut side = self.side();
        if !side.is_running() {
            return None;
        }
        let pushed = side.tx.push(self.clock.now(), message);
        let writer = side.writer.take();
        drop(side);
        wake(writer);
        Some(pushed)
    }

    /// Queues a message without copying its payload.
    pub(crate) fn push_shared(
        &self,
        routing: &Message<'_>,
        data: Bytes,
    ) -> Result<(), (Option<PushError>, Bytes)> {
        let mut side = self.side();
        if !side.is_running() {
            return Err((None, data));
        }
        let pushed = side.tx.push_shared(self.clock.now(), routing, data);
        let writer = side.writer.take();
        drop(side);
        wake(writer);
        pushed.map_err(|(error, data)| (Some(error), data))
    }

    /// Asks for the end. The peer is told `farewell` after all that is queued, if there is one and room for it.
    pub(crate) fn close(&self, reason: CloseReason, farewell: Option<&[u8]>, flush: Duration) {
        let mut side = self.side();
        if side.is_running() {
            if let Some(farewell) = farewell {
                // Without room the peer sees the end of the stream without a reason.
                let _ = side.tx.push_disconnect(self.clock.now(), farewell);
            }
            side.asked = Some(reason);
            side.flush = flush;
            self.asked.store(true, Ordering::Release);
        }
        let writer = side.writer.take();
        drop(side);
        wake(writer);
        self.wake_reader();
    }

    /// Asks for the end with a reason for the peer. What is queued may be written within `flush`, or a second.
    pub(crate) fn disconnect(&self, farewell: &[u8], flush: Option<Duration>) {
        self.close(CloseReason::Local, Some(farewell), flush.unwrap_or(FLUSH));
    }

    /// Ends the connection without regard for what is queued.
    pub(crate) fn cut(&self) {
        self.close(CloseReason::Local, None, Duration::ZERO);
        let mut side = self.side();
        side.flush = Duration::ZERO;
        if let Some((_, until)) = &mut side.ended {
            *until = Instant::ZERO;
        }
        drop(side);
        // What the socket does about it does not matter: it is dropped by whoever wakes up.
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }

    /// The reason for which this end wants the end, if it does.
    #[inline]
    pub(crate) fn asked(&self) -> Option<CloseReason> {
        self.asked.load(Ordering::Acquire).then(|| self.side().asked).flatten()
    }

    /// As [`asked`](Self::asked), and the task is woken when it changes.
    pub(crate) fn poll_asked(&self, cx: &Context<'_>) -> Poll<CloseReason> {
        self.register_reader(cx);
        self.asked().map_or(Poll::Pending, Poll::Ready)
    }

    fn register_reader(&self, cx: &Context<'_>) {
        register(&mut self.reader.lock().unwrap_or_else(PoisonError::into_inner), cx);
    }

    fn wake_reader(&self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        wake(reader);
    }

    /// The gate is open.
    pub(crate) fn open(&self, peer: Peer) {
        let set = self.opened.set((peer, SystemTime::now()));
        debug_assert!(set.is_ok(), "a gate opens once");
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.opened.get().map(|(peer, _)| peer)
    }

    /// Waits until the gate is open, or the connection ends.
    pub(crate) async fn opened(&self) -> Result<Peer, Down> {
        loop {
            let changed = self.changed.listen();
            if let Some(peer) = self.peer() {
                return Ok(peer.clone());
            }
            if let Some(down) = self.down() {
                return Err(down);
            }
            changed.await;
        }
    }

    /// Waits until the queue has room for a message of `len` bytes and is half empty; `false` if the connection ends.
    pub(crate) async fn ready(&self, len: usize, limit: usize) -> bool {
        loop {
            let changed = self.changed.listen();
            {
                let mut side = self.side();
                if !side.is_running() {
                    return false;
                }
                let pending = side.tx.pending();
                let needs = len.saturating_add(pending).saturating_add(OVERHEAD);
                if pending == 0 || (pending <= limit / 2 && needs <= limit) {
                    return true;
                }
                side.room_wanted = true;
            }
            changed.await;
        }
    }

    fn down(&self) -> Option<Down> {
        self.side().ended.as_ref().map(|(down, _)| down.clone())
    }

    /// The reader has closed: what is queued, and a farewell, may be written for a while.
    pub(crate) fn finish(&self, down: Down) {
        let mut side = self.side();
        if side.ended.is_none() {
            let now = self.clock.now();
            side.tx.push_farewell(now, down.reason);
            let pointless = matches!(down.reason, CloseReason::Failed | CloseReason::Timeout(Timeout::Write));
            let until = if pointless { now } else { now + side.flush };
            side.ended = Some((down, until));
        }
        let writer = side.writer.take();
        drop(side);
        wake(writer);
        self.changed.notify(usize::MAX);
    }

    /// Reads and discards until the peer has ended too, or the time for writing is over: a socket that is closed with
    /// bytes unread destroys what the peer has yet to read.
    pub(crate) fn poll_linger(
        &self,
        cx: &mut Context<'_>,
        alarm: &mut Alarm,
        heard_end: &mut bool,
    ) -> Poll<()> {
        self.register_reader(cx);
        let until = self.side().ended.as_ref().map(|(_, until)| *until);
        if alarm.poll(cx, &self.clock, until).is_ready() {
            return Poll::Ready(());
        }
        let mut scrap = [0; 1024];
        for _ in 0..READS_A_TURN {
            if *heard_end {
                return if self.side().writer_done { Poll::Ready(()) } else { Poll::Pending };
            }
            match self.stream.get_ref().read(&mut scrap) {
                Ok(0) => *heard_end = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.stream.poll_readable(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(result) => *heard_end = result.is_err(),
                    }
                }
                Err(_) => *heard_end = true,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn of the writer. Ready when nothing will be written any more: `true` if nothing was left.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, alarm: &mut Alarm, full: &mut bool) -> Poll<bool> {
        for _ in 0..WRITES_A_TURN {
            let writable = !*full || self.stream.poll_writable(cx).is_ready();
            let mut side = self.side();
            *full = !writable;
            if *full {
                return self.wait(side, cx, alarm);
            }
            match side.tx.transmit_slices(self.clock.now(), |pieces| self.write(pieces)) {
                Ok(0) if side.ended.is_some() => {
                    // The peer sees the end of the stream after the last byte.
                    let _ = self.stream.get_ref().shutdown(Shutdown::Write);
                    return Poll::Ready(self.done(side));
                }
                Ok(0) => return self.wait(side, cx, alarm),
                Ok(_) => self.made_room(&mut side),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *full = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Poll::Ready(self.give_up(side, CloseReason::Failed)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn write(&self, pieces: &[&[u8]]) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_PIECES];
        let count = pieces.len().min(MAX_PIECES);
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        match self.stream.get_ref().write_vectored(&slices[..count]) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        }
    }

    /// The writer waits; but is it time to do something else?
    fn wait(&self, mut side: MutexGuard<'_, Side>, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<bool> {
        register(&mut side.writer, cx);
        loop {
            let until = side.ended.as_ref().map(|(_, until)| *until);
            let deadline = until.or_else(|| side.tx.poll_timeout());
            let now = self.clock.now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                if until.is_some() || !side.tx.handle_timeout(now) {
                    return Poll::Ready(self.give_up(side, CloseReason::Timeout(Timeout::Write)));
                }
            } else if alarm.poll(cx, &self.clock, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Nothing can be written any more. If the reader does not know yet, it is told.
    fn give_up(&self, mut side: MutexGuard<'_, Side>, reason: CloseReason) -> bool {
        if side.is_running() {
            side.asked = Some(reason);
            self.asked.store(true, Ordering::Release);
        }
        // After the reason is set, so that the reader does not take this for the peer's end.
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
        self.done(side)
    }

    fn done(&self, mut side: MutexGuard<'_, Side>) -> bool {
        side.writer_done = true;
        let clean = side.tx.pending() == 0;
        drop(side);
        self.wake_reader();
        clean
    }

    fn made_room(&self, side: &mut Side) {
        if side.room_wanted {
            side.room_wanted = false;
            self.changed.notify(usize::MAX);
        }
    }

    /// `None` while the gate is not open.
    pub(crate) fn stats(&self) -> Option<ConnectionStats> {
        let (peer, opened_at) = self.opened.get()?;
        let (received_messages, received_bytes, dropped_messages) = self.received.read();
        let side = self.side();
        let sent = side.tx.counts();
        Some(ConnectionStats {
            id: self.id,
            peer: peer.url().to_owned(),
            direction: Direction::from(self.role),
            opened_at: *opened_at,
            received_messages,
            received_bytes,
            dropped_messages,
            sent_messages: sent.messages,
            sent_bytes: sent.bytes,
            queued_bytes: side.tx.pending(),
        })
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
