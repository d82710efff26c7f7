//! Drives one connection: the loop that [`Rx`] asks for, and the writer beside it.

use std::future::poll_fn;
use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::task::Poll;

use async_io::Async;
use bytes::Bytes;
use futures_lite::future::yield_now;
use kitfox_core::PeerId;
use kitfox_core::connection::{Action, Answer, CloseReason, Question, QuestionId, Refusal, Rx, Wants};
use kitfox_core::router::DropReason;
use kitfox_core::storage::Heap;
use kitfox_core::wire::PeerUrl;

use crate::builder::BoxFuture;
use crate::handler::{Down, Peer, Refused};
use crate::link::Link;
use crate::node::{Shared, TaskGuard};
use crate::registry::{Listener, Snapshot};
use crate::stats::Direction;
use crate::time::Alarm;

/// Sizes of the buffer that the socket is read into. It exists only while bytes are there, and grows to what arrives
/// at a time.
const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 64 << 10;

/// Reads one connection, routes what comes and calls handlers, until the end.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    link: Arc<Link>,
    rx: Rx<Heap>,
    /// Who the peer is, once the gate is open.
    peer: Option<Peer>,
    buffer: ReadBuffer,
    alarm: Alarm,
    /// The last field, so that it is dropped after all others.
    _guard: TaskGuard,
}

/// What a turn leaves to be done.
enum Turn {
    Read,
    Answer(QuestionId, BoxFuture<'static, Result<Reply, Refused>>),
    Closed(Down),
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
pub(crate) async fn write(_guard: TaskGuard, shared: Arc<Shared>, link: Arc<Link>) {
    let (mut alarm, mut full) = (Alarm::new(), false);
    if !poll_fn(|cx| link.poll_write(cx, &mut alarm, &mut full)).await {
        shared.count_unflushed();
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, link: Arc<Link>, rx: Rx<Heap>, guard: TaskGuard) -> Self {
        let (buffer, alarm) = (ReadBuffer::default(), Alarm::new());
        Self { shared, link, rx, peer: None, buffer, alarm, _guard: guard }
    }

    /// To be spawned.
    pub(crate) async fn run(mut self) {
        let down = loop {
            match self.turn() {
                Turn::Closed(down) => break down,
                Turn::Answer(id, answer) => self.answer(id, answer).await,
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
        let over = matches!(down.reason, CloseReason::Ended | CloseReason::Failed);
        self.closed(down);
        let (link, mut alarm, mut heard_end) = (&self.link, Alarm::new(), over);
        poll_fn(|cx| link.poll_linger(cx, &mut alarm, &mut heard_end)).await;
    }

    /// Shows the core what has arrived, and does what it says. Handlers run here.
    fn turn(&mut self) -> Turn {
        let Self { shared, link, rx, peer, buffer, .. } = self;
        let mut snapshot = shared.registry.snapshot();
        let mut turn = Turn::Read;
        let mut frames = rx.read(shared.clock.now(), buffer.filled());
        while let Some(action) = frames.next(&snapshot.rules) {
            let mut verdict = Ok(());
            match (action, &*peer) {
                (Action::Notify { to, data, .. }, Some(from)) => {
                    if let Some(handler) = snapshot.space(to) {
                        verdict = handler.notify(from, data);
                    }
                }
                (Action::Module { to, data, .. }, Some(from)) => {
                    if let Some(handler) = snapshot.module(to) {
                        verdict = handler.message(from, data);
                    }
                }
                (Action::Dropped { reason: DropReason::Blocked, space, .. }, Some(from)) => {
                    shared.counts().incoming(from.url(), space);
                }
                (Action::Opened { peer: opened }, _) => {
                    if let Some(id) = opened.id {
                        let opened = named(opened.url, id, link);
                        shared.opened(link, &opened);
                        *peer = Some(opened);
                    }
                }
                (Action::Ask { id, question }, _) => {
                    turn = Turn::Answer(id, ask(shared, link, &snapshot, &question));
                }
                (Action::Closed { reason, message }, _) => {
                    turn = Turn::Closed(Down { reason, message: Bytes::copy_from_slice(message) });
                }
                _ => {}
            }
            if verdict.is_err() {
                frames.close(CloseReason::Refused(Refusal::Handler));
            } else if let Some(reason) = link.asked() {
                frames.close(reason);
            }
            // What a handler has registered or blocked holds for the very next message.
            if !shared.registry.is_current(&snapshot) {
                snapshot = shared.registry.snapshot();
            }
        }
        let (taken, wants) = frames.finish();
        buffer.take(taken);
        link.received.publish(&rx.counts());
        match turn {
            // Closed from inside, after the question was asked.
            Turn::Answer(..) if wants != Wants::Answer => Turn::Read,
            turn => turn,
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
            loop {
                if drained {
                    match link.stream.poll_readable(cx) {
                        Poll::Pending => {
                            return alarm.poll(cx, &shared.clock, deadline).map(|()| Woken::Alarm);
                        }
                        Poll::Ready(Ok(())) => drained = false,
                        Poll::Ready(Err(_)) => return Poll::Ready(Woken::Failed),
                    }
                }
                match buffer.read(&link.stream) {
                    Ok(0) => return Poll::Ready(Woken::End),
                    Ok(_) => return Poll::Ready(Woken::Bytes),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Poll::Ready(Woken::Failed),
                }
            }
        })
        .await
    }

    /// The connection has ended: everybody is told.
    fn closed(&mut self, down: Down) {
        self.buffer = ReadBuffer::default();
        self.link.received.publish(&self.rx.counts());
        self.shared.detach(&self.link);
        if let Some(peer) = self.peer.take() {
            let snapshot = self.shared.registry.snapshot();
            let listeners = snapshot.listeners(snapshot.rules.peer_disconnect_targets());
            drop(snapshot);
            for listener in listeners {
                match listener {
                    Listener::Module(handler) => handler.peer_disconnect(&peer, &down),
                    Listener::Space(handler) => handler.peer_disconnect(&peer, &down),
                    Listener::Handler => self.shared.handler.peer_down(&peer, &down),
                }
            }
        }
        self.link.finish(down);
    }
}

impl Drop for Reader {
    /// Also where a handler has panicked, or the executor has dropped the task.
    fn drop(&mut self) {
        self.shared.detach(&self.link);
        self.link.cut();
        self.link.finish(Down { reason: CloseReason::Failed, message: Bytes::new() });
    }
}

fn named(url: &str, id: &PeerId, link: &Link) -> Peer {
    Peer::new(url, *id, link.id, Direction::from(link.role))
}

/// Passes a question on to the handlers. The future owns all it needs: it may take as long as it is let.
fn ask(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    snapshot: &Snapshot,
    question: &Question<'_>,
) -> BoxFuture<'static, Result<Reply, Refused>> {
    let handler = shared.handler.clone();
    let name = |peer: &kitfox_core::Peer<'_>| peer.id.map(|id| named(peer.url, id, link)).ok_or(Refused);
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
