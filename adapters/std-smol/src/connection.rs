//! Drives one connection: the loop that [`Rx`] asks for, and the writer beside it.

use std::future::poll_fn;
use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use async_channel::TrySendError;
use async_io::Async;
use bytes::Bytes;
use futures_lite::future::yield_now;
use kitfox_core::connection::{Action, Answer, CloseReason, Question, QuestionId, Refusal, Role, Wants};
use kitfox_core::router::DropReason;
use kitfox_core::wire::PeerUrl;
use kitfox_core::{CapacityError, PeerId};
use zeroize::Zeroizing;

use crate::book::SessionEnd;
use crate::builder::BoxFuture;
use crate::events::News;
use crate::handler::{Closing, Down, Peer, Refused};
use crate::link::{Link, Written};
use crate::node::{Shared, TaskGuard};
use crate::registry::{Listener, ModuleTarget, Snapshot, SpaceTarget, StreamSender};
use crate::space::Incoming;
use crate::stats::{Direction, Traffic, add};
use crate::taped::Rx;
use crate::time::Alarm;

/// Sizes of the buffer that the socket is read into. It exists only while bytes are there, and grows to what arrives
/// at a time.
const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 64 << 10;

/// Starts the tasks of a connection.
pub(crate) fn start(shared: &Arc<Shared>, link: Arc<Link>, rx: Rx) {
    let (buffer, alarm, guard) = (ReadBuffer::default(), Alarm::new(), shared.connection_task());
    let mut reader = Reader {
        shared: shared.clone(),
        link,
        rx,
        peer: None,
        buffer,
        alarm,
        memory: 0,
        over: false,
        _guard: guard,
    };
    let writer = write(shared.task(), reader.link.clone());
    // A block holds what it captures once; the future of an `async fn` holds what it was given a second time.
    shared.spawn(async move { reader.run().await });
    shared.spawn(writer);
}

/// Reads one connection, routes what comes and calls handlers, until the end.
struct Reader {
    shared: Arc<Shared>,
    link: Arc<Link>,
    rx: Rx,
    /// Who the peer is, once the application was told.
    peer: Option<Peer>,
    buffer: ReadBuffer,
    alarm: Alarm,
    /// What the frame buffer owned when it was last looked at.
    memory: usize,
    /// Everybody was told of the end.
    over: bool,
    /// The last field, so that it is dropped after all others.
    _guard: TaskGuard,
}

/// What a turn leaves to be done.
enum Turn {
    Read,
    /// There is more to do without any wait.
    Again,
    Answer(QuestionId, BoxFuture<'static, Result<Reply, Refused>>),
    /// A handshake wants random bytes.
    Randomness(QuestionId),
    /// The next step of a handshake is to be taken.
    Work,
    /// The peer table decides whether the gate goes on.
    Settle(QuestionId),
    /// The gate is open.
    Up,
    /// A stream has no room for a message.
    Deliver(BoxFuture<'static, ()>),
    Closed(Closing),
}

enum Reply {
    Accept,
    Preflight(Bytes),
}

/// What a wait ended with.
enum Woken {
    Bytes,
    End,
    Failed,
    Alarm,
    Asked(CloseReason),
}

/// Writes what is queued on one connection, until the end.
async fn write(guard: TaskGuard, link: Arc<Link>) {
    let (mut alarm, mut full) = (Alarm::new(), false);
    let budget = &guard.shared.budget;
    loop {
        match poll_fn(|cx| link.poll_write(cx, budget, &mut alarm, &mut full)).await {
            Written::All => break,
            Written::NotAll => {
                guard.shared.count_unflushed();
                break;
            }
            Written::TooLarge => {
                let Some(mailbox) = link.mailbox() else { continue };
                let shared = &guard.shared;
                shared.with_book(|book, _, after| book.give_up_too_large(shared, &mailbox, after));
            }
        }
    }
    if let Some(reason @ CloseReason::Timeout(_)) = link.asked() {
        // At once, whatever the reader is doing: the next message dials.
        end(&guard.shared, &link, &Closing { reason, message: Bytes::new() });
    }
}

/// The peer table is told of the end of a connection.
fn end(shared: &Arc<Shared>, link: &Arc<Link>, closing: &Closing) {
    shared.with_book(|book, now, after| book.end(shared, now, link, closing, after));
}

impl Reader {
    async fn run(&mut self) {
        let closing = loop {
            match self.turn() {
                Turn::Closed(closing) => break closing,
                Turn::Again => {}
                // What is rare lies in a box: the task is as large as the largest of what it may wait for in place.
                Turn::Answer(id, answer) => Box::pin(self.answer(id, answer)).await,
                Turn::Randomness(id) => self.randomness(id),
                Turn::Work => {
                    let Self { shared, link, rx, .. } = &mut *self;
                    link.with_tx(|tx| rx.work(shared.clock.now(), tx));
                    // A handshake takes its time from itself, and not from others on this thread.
                    yield_now().await;
                }
                Turn::Settle(id) => Box::pin(self.settle(id)).await,
                Turn::Up => self.up().await,
                Turn::Deliver(sending) => self.deliver(sending).await,
                Turn::Read => {
                    // Others on this thread come first, and what has arrived by then is read at once.
                    yield_now().await;
                    let woken = match (self.wait().await, self.link.asked()) {
                        // Where this end wants the end, the socket's is a consequence.
                        (Woken::End | Woken::Failed, Some(reason)) => Woken::Asked(reason),
                        (woken, _) => woken,
                    };
                    match woken {
                        Woken::Bytes => {}
                        Woken::End => self.rx.end(),
                        Woken::Failed => self.rx.close(CloseReason::Failed),
                        Woken::Alarm => self.rx.handle_timeout(self.shared.clock.now()),
                        Woken::Asked(reason) => self.rx.close(reason),
                    }
                }
            }
        };
        let mut heard_end = matches!(closing.reason, CloseReason::Ended | CloseReason::Failed);
        Box::pin(self.closed(closing)).await;
        let (link, mut alarm) = (&self.link, Alarm::new());
        poll_fn(|cx| link.poll_linger(cx, &mut alarm, &mut heard_end)).await;
    }

    /// Shows the core what has arrived, and does what it says. Handlers run here.
    fn turn(&mut self) -> Turn {
        let Self { shared, link, rx, peer, buffer, .. } = self;
        let mut snapshot = shared.registry.snapshot_for(|epoch| rx.sees(epoch));
        let mut turn = Turn::Read;
        let acceptor = rx.role() == Role::Acceptor;
        let mut frames = rx.read(shared.clock.now(), buffer.filled());
        while let Some(action) = frames.next(&snapshot.rules) {
            let mut verdict = Ok(());
            match (action, &*peer) {
                (Action::Notify { to, data, wire_bytes, .. }, Some(from)) => {
                    count(&link.traffic, wire_bytes);
                    match snapshot.space(to) {
                        Some(SpaceTarget::Handler(handler)) => verdict = handler.notify(from, data),
                        Some(SpaceTarget::Stream(stream)) => {
                            let data = frames.payload_to_bytes().unwrap_or_default();
                            turn = pass_on(stream, Incoming { from: from.clone(), data });
                        }
                        None => {}
                    }
                }
                (Action::Module { to, data, wire_bytes, .. }, Some(from)) => {
                    count(&link.traffic, wire_bytes);
                    match snapshot.module(to) {
                        Some(ModuleTarget::Handler(handler)) => verdict = handler.message(from, data),
                        Some(ModuleTarget::Stream(stream)) => {
                            let data = frames.payload_to_bytes().unwrap_or_default();
                            turn = pass_on(stream, Incoming { from: from.clone(), data });
                        }
                        None => {}
                    }
                }
                (Action::Dropped { reason, space, .. }, from) => {
                    add(&link.traffic.dropped_messages, 1);
                    if let Some(from) = from {
                        if reason == DropReason::Blocked {
                            shared.counts().incoming(from.url(), space);
                        }
                        shared.handler.dropped(from, space, reason);
                    }
                }
                (Action::Opened { .. }, _) => {
                    if acceptor && !shared.with_book(|book, now, _| book.table.confirmed(now, link.id)) {
                        frames.close(CloseReason::Superseded);
                    } else {
                        turn = Turn::Up;
                    }
                }
                (Action::Ask { id, question: Question::Settle { peer } }, _) => {
                    if let Some(peer_id) = peer.id {
                        let _ = link.claimed.set(peer.url.into());
                        shared.with_book(|book, now, _| {
                            book.table.introduced(now, link.id, peer_id, peer.url, peer.proven);
                        });
                    }
                    turn = Turn::Settle(id);
                }
                (Action::Ask { id, question: Question::Randomness }, _) => turn = Turn::Randomness(id),
                (Action::Ask { id, question }, _) => {
                    turn = Turn::Answer(id, ask(shared, link, &snapshot, &question));
                }
                (Action::Closed { reason, message }, _) => {
                    turn = Turn::Closed(Closing { reason, message: Bytes::copy_from_slice(message) });
                }
                _ => {}
            }
            if verdict.is_err() {
                frames.close(CloseReason::Refused(Refusal::Handler));
            } else if let Some(reason) = link.asked() {
                frames.close(reason);
            }
            if matches!(turn, Turn::Up | Turn::Deliver(_)) {
                break;
            }
            // What a handler has registered or blocked holds for the very next message.
            if !shared.registry.is_current(&snapshot) {
                snapshot = shared.registry.snapshot_for(|epoch| frames.sees(epoch));
            }
        }
        let (taken, wants) = frames.finish();
        buffer.take(taken);
        if !self.weigh() && matches!(turn, Turn::Read) {
            return Turn::Again;
        }
        match turn {
            // Closed from inside, after the question was asked.
            Turn::Answer(..) | Turn::Settle(_) | Turn::Randomness(_) if wants != Wants::Answer => Turn::Read,
            Turn::Read if wants == Wants::Work => Turn::Work,
            turn => turn,
        }
    }

    /// Adds up what the frame buffers of all connections own, and closes the one that goes too far: `false` if it is
    /// this one.
    fn weigh(&mut self) -> bool {
        let memory = self.rx.memory();
        let before = std::mem::replace(&mut self.memory, memory);
        if memory < before {
            self.shared.receive_bytes.fetch_sub(before - memory, Ordering::Relaxed);
        } else if memory > before {
            let more = memory - before;
            let sum = self.shared.receive_bytes.fetch_add(more, Ordering::Relaxed) + more;
            if sum > self.shared.limits.max_receive_bytes {
                self.rx.close(CloseReason::Capacity(CapacityError::ReceiveMemory));
                return false;
            }
        }
        true
    }

    /// Waits until the peer table lets the gate go on, but not for ever. A dialler that has changed its mind says so and
    /// ends: that is noticed. It has nothing else to say before it hears from us, and more than that is not read.
    async fn settle(&mut self, id: QuestionId) {
        let Self { shared, link, rx, alarm, buffer, .. } = self;
        let deadline = rx.poll_timeout();
        let (listens, mut drained) = (rx.role() == Role::Acceptor, false);
        let woken = poll_fn(|cx| match link.poll_asked(cx) {
            Poll::Ready(reason) => Poll::Ready(Some(Woken::Asked(reason))),
            Poll::Pending if link.may_proceed() => Poll::Ready(None),
            Poll::Pending => {
                while listens && buffer.filled < READ_MIN {
                    match buffer.poll_read(cx, link, &mut drained) {
                        Poll::Ready(Woken::Bytes) => {}
                        Poll::Ready(woken) => return Poll::Ready(Some(woken)),
                        Poll::Pending => break,
                    }
                }
                alarm.poll(cx, &shared.clock, deadline).map(|()| Some(Woken::Alarm))
            }
        });
        match woken.await {
            None => {
                let now = shared.clock.now();
                let answered = link.with_tx(|tx| rx.answer(now, tx, id, Answer::Accept));
                debug_assert!(answered.is_ok(), "the question is open until it is answered here");
            }
            Some(Woken::Asked(reason)) => rx.close(reason),
            Some(Woken::End) => rx.close(CloseReason::Ended),
            Some(Woken::Failed) => rx.close(CloseReason::Failed),
            Some(_) => rx.handle_timeout(shared.clock.now()),
        }
    }

    /// Gives a handshake the random bytes of the system. Without any there is no handshake.
    fn randomness(&mut self, id: QuestionId) {
        let Self { shared, link, rx, .. } = self;
        let mut bytes = Zeroizing::new([0; 32]);
        let answer = match getrandom::fill(&mut *bytes) {
            Ok(()) => Answer::Randomness(&bytes),
            Err(_) => Answer::Refuse,
        };
        let answered = link.with_tx(|tx| rx.answer(shared.clock.now(), tx, id, answer));
        debug_assert!(answered.is_ok() || rx.close_reason().is_some(), "the question is open");
    }

    /// Tells the application that the peer is up, after everything about its last session was told.
    async fn up(&mut self) {
        let Some(session) = self.link.session.get() else { return };
        if let Some(before) = &session.before {
            before.wait().await;
        }
        self.peer = Some(session.peer.clone());
        // The deadline of the gate, which nobody waits for any more: the system need not remember it.
        self.alarm = Alarm::new();
        self.shared.tell(News::Up(session.peer.clone()));
    }

    /// Waits until a stream takes a message. Nothing is read meanwhile, which stops the peer.
    async fn deliver(&mut self, mut sending: BoxFuture<'static, ()>) {
        let link = &self.link;
        let woken = poll_fn(|cx| {
            if let Poll::Ready(reason) = link.poll_asked(cx) {
                return Poll::Ready(Some(reason));
            }
            if link.is_broken() {
                return Poll::Ready(Some(CloseReason::Failed));
            }
            sending.as_mut().poll(cx).map(|()| None)
        });
        if let Some(reason) = woken.await {
            self.rx.close(reason);
        }
    }

    /// Waits for the answer to a question, but not for ever. Nothing is read meanwhile.
    async fn answer(&mut self, id: QuestionId, answer: BoxFuture<'static, Result<Reply, Refused>>) {
        let Self { shared, link, rx, alarm, .. } = self;
        let (clock, deadline) = (&shared.clock, rx.poll_timeout());
        let mut answer = answer;
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(reason) = link.poll_asked(cx) {
                return Poll::Ready(Err(Woken::Asked(reason)));
            }
            if let Poll::Ready(reply) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(reply));
            }
            alarm.poll(cx, clock, deadline).map(|()| Err(Woken::Alarm))
        })
        .await;
        let now = clock.now();
        let own_url = match &outcome {
            Ok(Ok(Reply::Preflight(_))) => shared.own_url(link.local),
            _ => String::new(),
        };
        let reply = match &outcome {
            Ok(Ok(Reply::Accept)) => Answer::Accept,
            Ok(Ok(Reply::Preflight(data))) => match PeerUrl::parse(&own_url, &shared.config.url) {
                Ok(own_url) => Answer::Preflight { own_url, data },
                Err(_) => Answer::Refuse,
            },
            Err(Woken::Alarm) => return rx.handle_timeout(now),
            Err(Woken::Asked(reason)) => return rx.close(*reason),
            Ok(Err(Refused)) | Err(_) => Answer::Refuse,
        };
        let answered = link.with_tx(|tx| rx.answer(now, tx, id, reply));
        debug_assert!(answered.is_ok(), "the question is open and this is its kind of answer");
        if matches!(reply, Answer::Preflight { .. }) && rx.close_reason().is_none() {
            shared.with_book(|book, _, _| book.table.sent(link.id));
        }
    }

    /// Waits for bytes, and whatever else may happen.
    async fn wait(&mut self) -> Woken {
        let Self { shared, link, rx, buffer, alarm, .. } = self;
        let deadline = rx.poll_timeout();
        let mut drained = false;
        poll_fn(|cx| {
            if let Poll::Ready(reason) = link.poll_asked(cx) {
                return Poll::Ready(Woken::Asked(reason));
            }
            match buffer.poll_read(cx, link, &mut drained) {
                Poll::Pending => alarm.poll(cx, &shared.clock, deadline).map(|()| Woken::Alarm),
                ready => ready,
            }
        })
        .await
    }

    /// The connection has ended: everybody is told.
    async fn closed(&mut self, closing: Closing) {
        // The memory is free at once, not only when the socket is closed.
        self.buffer = ReadBuffer::default();
        self.rx = Rx::over(&self.shared.config);
        self.weigh();
        end(&self.shared, &self.link, &closing);
        self.link.finish(closing.reason);
        if self.peer.is_none() {
            self.up().await;
        }
        let Some(session) = self.link.session.get() else {
            self.over = true;
            return self.shared.tell(News::Rejected(self.link.remote, closing));
        };
        for news in self.last_news(closing.message) {
            self.shared.tell(news);
        }
        self.over = true;
        session.told.set();
        self.shared.with_book(|book, _, _| book.told(session.peer.id(), &session.told));
    }

    /// What is to be told about the end of the session.
    fn last_news(&self, message: Bytes) -> Vec<News> {
        let end = self.shared.with_book(|book, _, _| book.take_end(self.link.id));
        let (Some(end), Some(session)) = (end, self.link.session.get()) else { return Vec::new() };
        let SessionEnd { cause, unknown, after } = end;
        let mut news = vec![News::Down(session.peer.clone(), Down { cause, message, unknown })];
        news.extend(after);
        news
    }
}

impl Drop for Reader {
    /// Also where a handler has panicked, or the executor has dropped the task.
    fn drop(&mut self) {
        let closing = Closing { reason: CloseReason::Failed, message: Bytes::new() };
        end(&self.shared, &self.link, &closing);
        self.link.cut();
        self.link.finish(CloseReason::Failed);
        self.shared.receive_bytes.fetch_sub(self.memory, Ordering::Relaxed);
        if !self.over {
            let mut news = Vec::new();
            match self.link.session.get() {
                Some(session) => {
                    news.extend(self.peer.is_none().then(|| News::Up(session.peer.clone())));
                    news.extend(self.last_news(Bytes::new()));
                    news.push(News::Over(*session.peer.id(), session.told.clone()));
                }
                None => news.push(News::Rejected(self.link.remote, closing)),
            }
            let mut start = false;
            for news in news {
                start |= self.shared.enqueue(news);
            }
            if start {
                self.shared.start_telling();
            }
        }
        self.shared.with_book(|book, _, _| book.release(self.link.id));
    }
}

fn count(traffic: &Traffic, wire_bytes: usize) {
    add(&traffic.received_messages, 1);
    add(&traffic.received_bytes, wire_bytes as u64);
}

/// Gives a message to a stream, or leaves it to be given.
fn pass_on(stream: &StreamSender, message: Incoming) -> Turn {
    match stream.try_send(message) {
        Err(TrySendError::Full(message)) => {
            let stream = stream.clone();
            Turn::Deliver(Box::pin(async move {
                // A stream that is gone takes nothing: its space is not registered any more.
                let _ = stream.send(message).await;
            }))
        }
        // A stream that is gone takes nothing.
        Ok(()) | Err(TrySendError::Closed(_)) => Turn::Read,
    }
}

fn named(peer: &kitfox_core::Peer<'_>, id: &PeerId, link: &Link) -> Peer {
    Peer::new(peer.url, *id, link.number, Direction::from(link.role)).proven(peer.proven)
}

/// Passes a question on to the handlers. The future owns all it needs: it may take as long as it is let.
fn ask(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    snapshot: &Snapshot,
    question: &Question<'_>,
) -> BoxFuture<'static, Result<Reply, Refused>> {
    let handler = shared.handler.clone();
    let name = |peer: &kitfox_core::Peer<'_>| peer.id.map(|id| named(peer, id, link)).ok_or(Refused);
    match *question {
        Question::AdmitPeer { peer } => {
            let peer = name(&peer);
            let listeners = snapshot.listeners(snapshot.rules.peer_connect_targets());
            Box::pin(async move {
                let peer = peer?;
                for listener in listeners {
                    match listener {
                        Listener::Module(module) => module.peer_connect(&peer)?,
                        Listener::Space(space) => space.peer_connect(&peer)?,
                        Listener::Handler => handler.peer_connect(&peer).await?,
                    }
                }
                Ok(Reply::Accept)
            })
        }
        Question::HasLocalAgents => {
            let spaces = snapshot.space_ids();
            Box::pin(async move {
                for space in spaces {
                    if handler.has_local_agents(&space).await {
                        return Ok(Reply::Accept);
                    }
                }
                Err(Refused)
            })
        }
        Question::GatherPreflight { peer } => {
            let peer = name(&peer);
            Box::pin(async move { Ok(Reply::Preflight(handler.preflight_gather(&peer?).await?)) })
        }
        Question::ValidatePreflight { peer, data, .. } => {
            let (peer, data) = (name(&peer), Bytes::copy_from_slice(data));
            Box::pin(async move { handler.preflight_validate(&peer?, &data).await.map(|()| Reply::Accept) })
        }
        Question::AdmitHandshake { claimed } => Box::pin(async move {
            if handler.admit_handshake(&claimed) { Ok(Reply::Accept) } else { Err(Refused) }
        }),
        // A question that this version does not know: no decision means no.
        _ => Box::pin(std::future::ready(Err(Refused))),
    }
}

/// The bytes that were read and not taken. Owns memory only while there are some, or while it waits for a socket that
/// has just had some.
#[derive(Debug, Default)]
struct ReadBuffer {
    bytes: Vec<u8>,
    filled: usize,
    /// How large the buffer is made next time.
    size: usize,
}

impl ReadBuffer {
    fn filled(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.filled]
    }

    /// Removes bytes from the front.
    fn take(&mut self, len: usize) {
        self.bytes.copy_within(len..self.filled, 0);
        self.filled -= len;
    }

    /// Ready with bytes, the end of the stream, or its failure. `drained`: the last read found nothing.
    fn poll_read(&mut self, cx: &mut Context<'_>, link: &Link, drained: &mut bool) -> Poll<Woken> {
        loop {
            if *drained {
                match link.stream.poll_readable(cx) {
                    Poll::Pending if link.is_broken() => return Poll::Ready(Woken::Failed),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => *drained = false,
                    Poll::Ready(Err(_)) => return Poll::Ready(Woken::Failed),
                }
            }
            match self.read(&link.stream) {
                Ok(0) => return Poll::Ready(Woken::End),
                Ok(_) => return Poll::Ready(Woken::Bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Poll::Ready(Woken::Failed),
            }
        }
    }

    /// One read of the socket. Without bytes the memory is given back.
    fn read(&mut self, stream: &Async<TcpStream>) -> io::Result<usize> {
        self.size = self.size.clamp(READ_MIN, READ_MAX);
        let wanted = self.size.max(self.filled + READ_MIN);
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        let result = stream.get_ref().read(&mut self.bytes[self.filled..]);
        match result {
            Ok(len) => {
                self.filled += len;
                if self.filled == self.bytes.len() {
                    self.size *= 2;
                } else if len < self.size / 4 {
                    self.size /= 2;
                }
            }
            Err(_) if self.filled == 0 => self.bytes = Vec::new(),
            Err(_) => {}
        }
        result
    }
}
