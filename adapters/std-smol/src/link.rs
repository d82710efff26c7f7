//! What the tasks of one connection and those who send on it share: the socket, the transmit half, and how far its
//! end has come.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_io::Async;
use kitfox_core::Instant;
use kitfox_core::connection::{CloseReason, Role, Timeout};
use kitfox_core::node::ConnectionId;
use socket2::{SockRef, TcpKeepalive};

use crate::book::After;
use crate::events::Told;
use crate::handler::Peer;
use crate::mailbox::{Budget, Inner, Mailbox};
use crate::node::Shared;
use crate::stats::{ConnectionStats, Direction, Totals, Traffic, add, read};
use crate::taped::Tx;
use crate::time::{Alarm, Clock};

/// After so much silence the system asks whether the peer is still there, and after as much again it is not.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a closed connection may take to write what is queued, and to hear the peer's end of it.
const FLUSH: Duration = Duration::from_secs(1);

/// Writes before the writer lets others have the thread.
const WRITES_A_TURN: usize = 8;

/// Reads before a connection that is closing lets others have the thread.
const READS_A_TURN: usize = 64;

/// Most pieces of one vectored write: as many as the core shows.
const MAX_PIECES: usize = 16;

pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    /// Never used again in the life of the node, and goes up with each connection.
    pub(crate) number: u64,
    pub(crate) role: Role,
    pub(crate) stream: Async<TcpStream>,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    clock: Clock,
    relax_interval: Duration,
    side: Mutex<Side>,
    /// To be woken when the end comes nearer. Not behind the other lock, which is held while the system writes.
    reader: Mutex<Option<Waker>>,
    /// Whether this end has asked for the end. Looked at between deliveries, without the lock.
    asked: AtomicBool,
    /// The socket takes no more bytes; what it still has to give is the reader's business.
    broken: AtomicBool,
    /// The gate may go on.
    proceeds: AtomicBool,
    pub(crate) traffic: Traffic,
    /// The URL in the peer's preflight.
    pub(crate) claimed: OnceLock<Arc<str>>,
    /// Set when the peer table has opened this connection.
    pub(crate) session: OnceLock<Session>,
}

/// What the writer has come to.
pub(crate) enum Written {
    /// Nothing will be written any more, and nothing was left.
    All,
    /// Nothing will be written any more, and something was left.
    NotAll,
    /// The next message is too large for the peer.
    TooLarge,
}

/// From the moment when a connection carries the messages of its peer.
pub(crate) struct Session {
    pub(crate) peer: Peer,
    pub(crate) claimed: bool,
    pub(crate) opened_at: SystemTime,
    /// To be set when everything about this session was told.
    pub(crate) told: Arc<Told>,
    /// The session before, of the same peer.
    pub(crate) before: Option<Arc<Told>>,
}

/// The transmit half and how far the connection's end has come. Locked for a write or a look; before a mailbox, after
/// the book.
struct Side {
    tx: Tx,
    /// Whose messages go out here, once the connection is open.
    mailbox: Option<Arc<Mailbox>>,
    /// This end wants the end. The first reason counts.
    asked: Option<CloseReason>,
    /// The peer was told why, or never will be.
    parted: bool,
    /// How long the rest may take to be written.
    flush: Duration,
    /// The reader has closed; until then what is queued may be written.
    ended: Option<Instant>,
    /// Everything is written, or never will be.
    writer_done: bool,
    /// To be woken when something is queued here, and when the end comes nearer.
    writer: Option<Waker>,
    /// When the outbox may give memory back.
    relax_at: Option<Instant>,
}

impl Link {
    pub(crate) fn new(
        id: ConnectionId,
        number: u64,
        role: Role,
        stream: Async<TcpStream>,
        tx: Tx,
        remote: SocketAddr,
        shared: &Shared,
    ) -> io::Result<Self> {
        stream.get_ref().set_nodelay(true)?;
        keep_alive(stream.get_ref());
        let side = Side {
            tx,
            mailbox: None,
            asked: None,
            parted: false,
            flush: FLUSH,
            ended: None,
            writer_done: false,
            writer: None,
            relax_at: None,
        };
        Ok(Self {
            id,
            number,
            role,
            local: stream.get_ref().local_addr()?,
            remote,
            stream,
            clock: shared.clock,
            relax_interval: shared.config.relax_interval,
            side: Mutex::new(side),
            reader: Mutex::new(None),
            asked: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            proceeds: AtomicBool::new(false),
            traffic: Traffic::default(),
            claimed: OnceLock::new(),
            session: OnceLock::new(),
        })
    }

    fn side(&self) -> MutexGuard<'_, Side> {
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the transmit half, and wakes the writer.
    pub(crate) fn with_tx<T>(&self, use_it: impl FnOnce(&mut Tx) -> T) -> T {
        let mut side = self.side();
        let result = use_it(&mut side.tx);
        let writer = side.writer.take();
        drop(side);
        wake(writer);
        result
    }

    // Steps of the peer table. The book is locked.

    /// The gate may go on.
    pub(crate) fn proceed(&self, after: &mut After) {
        self.proceeds.store(true, Ordering::Release);
        after.wakers.extend(self.take_reader());
    }

    /// Writes an empty frame.
    pub(crate) fn probe(&self, now: Instant, after: &mut After) {
        let mut side = self.side();
        // Without room for five bytes there is enough under way to find out whether the peer is there.
        let _ = side.tx.push_empty(now);
        after.wakers.extend(side.writer.take());
    }

    /// From now on messages of the mailbox are written here.
    pub(crate) fn begin(&self, session: Session, mailbox: &Arc<Mailbox>, after: &mut After) {
        let set = self.session.set(session);
        debug_assert!(set.is_ok(), "a connection opens once");
        let mut side = self.side();
        side.mailbox = Some(mailbox.clone());
        after.wakers.extend(side.writer.take());
    }

    /// Takes no more messages, finishes the one that has begun, and tells the peer why, in these words if there are
    /// some. Returns whether messages still wait for the peer.
    pub(crate) fn part(
        &self,
        shared: &Shared,
        reason: CloseReason,
        words: Option<&[u8]>,
        after: &mut After,
    ) -> bool {
        let mut side = self.side();
        let Side { tx, mailbox, parted, .. } = &mut *side;
        // Where nothing can be written there is nothing to finish.
        let mute = matches!(reason, CloseReason::Failed | CloseReason::Timeout(Timeout::Write));
        let (mut whole, mut waiting) = (true, false);
        if let Some(mailbox) = mailbox {
            let mut inner = mailbox.lock();
            if inner.writer == Some(self.id) {
                let (before, written) = (inner.outbox.len(), inner.outbox.next_written());
                whole = !mute && tx.finish_frame(&mut inner.outbox);
                self.count_sent(&inner, before, written);
                inner.settle(before, &shared.budget);
                inner.writer = None;
                waiting = inner.outbox.has_unwritten();
            }
        }
        if !std::mem::replace(parted, true) && whole && !mute {
            match words {
                // Without room the peer sees the end of the stream without a reason.
                Some(words) => {
                    let _ = tx.push_disconnect(self.clock.now(), words);
                }
                None => tx.push_farewell(self.clock.now(), reason),
            }
        }
        after.wakers.extend(side.writer.take());
        waiting
    }

    /// Asks the reader for the end.
    pub(crate) fn ask(&self, reason: CloseReason, after: &mut After) {
        self.side().asked.get_or_insert(reason);
        self.asked.store(true, Ordering::Release);
        after.wakers.extend(self.take_reader());
    }

    // Until here.

    /// Ends the connection without regard for what is queued.
    pub(crate) fn cut(&self) {
        let mut side = self.side();
        side.asked.get_or_insert(CloseReason::Local);
        side.flush = Duration::ZERO;
        if let Some(until) = &mut side.ended {
            *until = Instant::ZERO;
        }
        let writer = side.writer.take();
        drop(side);
        self.asked.store(true, Ordering::Release);
        wake(writer);
        // What the socket does about it does not matter: it is dropped by whoever wakes up.
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
        self.wake_reader();
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

    /// Whether the gate may go on. The task was registered by [`poll_asked`](Self::poll_asked).
    pub(crate) fn may_proceed(&self) -> bool {
        self.proceeds.load(Ordering::Acquire)
    }

    /// Whether a write has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    fn register_reader(&self, cx: &Context<'_>) {
        register(&mut self.reader.lock().unwrap_or_else(PoisonError::into_inner), cx);
    }

    fn take_reader(&self) -> Option<Waker> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn wake_reader(&self) {
        wake(self.take_reader());
    }

    /// The reader has closed: what is queued may be written for a while.
    pub(crate) fn finish(&self, reason: CloseReason) {
        let mut side = self.side();
        let now = self.clock.now();
        let pointless = matches!(reason, CloseReason::Failed | CloseReason::Timeout(Timeout::Write));
        let until = if pointless { now } else { now + side.flush };
        side.ended.get_or_insert(until);
        let writer = side.writer.take();
        drop(side);
        wake(writer);
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
        let until = self.side().ended;
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

    /// The longest frame that the peer takes, in bytes, as far as it said so.
    pub(crate) fn peer_max_frame_bytes(&self) -> usize {
        self.side().tx.peer_max_frame_bytes()
    }

    /// Whose messages go out here, once the connection is open.
    pub(crate) fn mailbox(&self) -> Option<Arc<Mailbox>> {
        self.side().mailbox.clone()
    }

    /// One turn of the writer. Ready when nothing will be written any more, or when the next message is too large for
    /// the peer and must be given up.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        budget: &Budget,
        alarm: &mut Alarm,
        full: &mut bool,
    ) -> Poll<Written> {
        for _ in 0..WRITES_A_TURN {
            let writable = !*full || self.stream.poll_writable(cx).is_ready();
            let mut side = self.side();
            *full = !writable;
            if *full {
                return self.wait(side, cx, alarm);
            }
            let now = self.clock.now();
            let Side { tx, mailbox, .. } = &mut *side;
            let mut too_large = false;
            let result = match mailbox {
                Some(mailbox) => {
                    let mut inner = mailbox.lock();
                    let (before, written) = (inner.outbox.len(), inner.outbox.next_written());
                    let mine = inner.writer == Some(self.id);
                    let result = if mine && tx.stage(now, &mut inner.outbox) {
                        None
                    } else {
                        let outbox = mine.then_some(&mut inner.outbox);
                        Some(tx.transmit_slices_with(now, outbox, |pieces| self.write(pieces)))
                    };
                    if mine {
                        self.count_sent(&inner, before, written);
                        inner.settle(before, budget);
                        too_large = inner.outbox.is_too_large_for_peer();
                        if matches!(result, Some(Ok(0))) {
                            register(&mut inner.waker, cx);
                        }
                    }
                    let queued = inner.outbox.len();
                    drop(inner);
                    mailbox.notify_written(queued, budget);
                    // What was staged is sealed and written while senders use the mailbox.
                    result.unwrap_or_else(|| tx.transmit_slices_with(now, None, |pieces| self.write(pieces)))
                }
                None => tx.transmit_slices_with(now, None, |pieces| self.write(pieces)),
            };
            match result {
                Ok(0) if side.ended.is_some() => {
                    // The peer sees the end of the stream after the last byte.
                    let _ = self.stream.get_ref().shutdown(Shutdown::Write);
                    return Poll::Ready(self.done(side));
                }
                Ok(0) if too_large => return Poll::Ready(Written::TooLarge),
                Ok(0) => return self.wait(side, cx, alarm),
                Ok(_) => {
                    let relax = self.relax_interval;
                    side.relax_at.get_or_insert(now + relax);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *full = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The peer may have said why, and the reader has not heard it yet.
                    self.broken.store(true, Ordering::Release);
                    return Poll::Ready(self.done(side));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what waits, in the place of the writer, whose waker this is: it has just been taken out of the mailbox
    /// and is put back. `false` if the writer is to be woken: something is left, or something is not as usual.
    pub(crate) fn write_at_once(&self, budget: &Budget, waker: &Waker) -> bool {
        // Whoever has the lock writes, or will want the writer to have a look.
        let Ok(mut side) = self.side.try_lock() else { return false };
        let Side { tx, mailbox: Some(mailbox), relax_at: Some(_), ended: None, .. } = &mut *side else {
            // Without a deadline for giving memory back the writer has to set one.
            return false;
        };
        let mut inner = mailbox.lock();
        if inner.writer != Some(self.id) {
            return false;
        }
        let (before, written) = (inner.outbox.len(), inner.outbox.next_written());
        let now = self.clock.now();
        let result = tx.transmit_slices_with(now, Some(&mut inner.outbox), |pieces| self.write(pieces));
        self.count_sent(&inner, before, written);
        inner.settle(before, budget);
        let done = result.is_ok() && inner.outbox.is_empty() && tx.pending() == 0;
        if done {
            inner.waker.get_or_insert_with(|| waker.clone());
        }
        let queued = inner.outbox.len();
        drop(inner);
        mailbox.notify_written(queued, budget);
        done
    }

    /// Counts what has gone out of the outbox.
    fn count_sent(&self, inner: &Inner, before: usize, written: u64) {
        add(&self.traffic.sent_bytes, (before - inner.outbox.len()) as u64);
        add(&self.traffic.sent_messages, inner.outbox.next_written() - written);
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
    fn wait(&self, mut side: MutexGuard<'_, Side>, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<Written> {
        register(&mut side.writer, cx);
        loop {
            let until = side.ended;
            let deadline = until.or_else(|| side.tx.poll_timeout().into_iter().chain(side.relax_at).min());
            let now = self.clock.now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                if until.is_some() {
                    return Poll::Ready(self.give_up(side, CloseReason::Local));
                }
                if side.relax_at.is_some_and(|at| at <= now) {
                    let mailbox = side.mailbox.clone();
                    let more = mailbox.is_some_and(|mailbox| mailbox.lock().outbox.relax());
                    side.relax_at = more.then(|| now + self.relax_interval);
                }
                if !side.tx.handle_timeout(now) {
                    return Poll::Ready(self.give_up(side, CloseReason::Timeout(Timeout::Write)));
                }
            } else if alarm.poll(cx, &self.clock, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Nothing can be written any more. If the reader does not know yet, it is told.
    fn give_up(&self, mut side: MutexGuard<'_, Side>, reason: CloseReason) -> Written {
        side.asked.get_or_insert(reason);
        self.asked.store(true, Ordering::Release);
        // After the reason is set, so that the reader does not take this for the peer's end.
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
        self.done(side)
    }

    fn done(&self, mut side: MutexGuard<'_, Side>) -> Written {
        side.writer_done = true;
        let clean = side.tx.pending() == 0;
        drop(side);
        self.wake_reader();
        if clean { Written::All } else { Written::NotAll }
    }

    /// `None` while the connection is not the one that carries its peer's messages.
    pub(crate) fn stats(&self) -> Option<ConnectionStats> {
        let Session { peer, claimed, opened_at, .. } = self.session.get()?;
        let side = self.side();
        let inner = side.mailbox.as_ref()?.lock();
        if inner.writer != Some(self.id) {
            return None;
        }
        Some(ConnectionStats {
            id: self.number,
            peer: peer.url().to_owned(),
            peer_id: peer.id().to_string(),
            claimed: *claimed,
            direction: Direction::from(self.role),
            opened_at_s: opened_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            received_messages: read(&self.traffic.received_messages),
            received_bytes: read(&self.traffic.received_bytes),
            dropped_messages: read(&self.traffic.dropped_messages),
            sent_messages: read(&self.traffic.sent_messages),
            sent_bytes: read(&self.traffic.sent_bytes),
            queued_bytes: inner.outbox.len(),
        })
    }

    /// Adds what went through this connection.
    pub(crate) fn add_to(&self, totals: &mut Totals) {
        // While the writer counts it holds this.
        let _side = self.side();
        totals.received_messages += read(&self.traffic.received_messages);
        totals.received_bytes += read(&self.traffic.received_bytes);
        totals.dropped_messages += read(&self.traffic.dropped_messages);
        totals.sent_messages += read(&self.traffic.sent_messages);
        totals.sent_bytes += read(&self.traffic.sent_bytes);
    }
}

/// Has the system find out about a peer that is silently dead. A system that does not know how to does without.
fn keep_alive(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows))]
    let keep_alive = keep_alive.with_interval(KEEP_ALIVE / 3).with_retries(3);
    let _ = socket.set_tcp_keepalive(&keep_alive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(KEEP_ALIVE));
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
