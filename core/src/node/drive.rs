//! Carries out what the peer table decides, and reads what connections bring.

use super::action::{Action, Input, MessageId};
use super::ops::{Dialling, Ops};
use super::peers::PeerTable;
use super::step::{ConnectionId, ConnectionState, DownCause, Ending, NotSentCause, PeerKey, Step};
use super::{Carrier, GivingUp, Node, carrier_of, outbox_for, outbox_of};
use crate::connection::{
    Action as Lent, Answer, Channel, CloseReason, Cursor, Next, Outbox, Own, Plain, Role, SUPERSEDED, Stage,
    Timeout, Tx, Wants,
};
use crate::error::CapacityError;
use crate::peer::Peer;
use crate::router::{BlockedCounts, DropReason, Policy};
use crate::storage::{Seq, Storage};
use crate::time::Instant;

/// Gives the [`Action`]s of one input, one at a time. See [`Node`] for how to drive it.
///
/// Not asking for more is how to be slow: bytes of which nothing was made yet stay with the caller, and everything else
/// comes out of the next input.
#[must_use = "nothing happens unless `next` is called"]
#[derive(Debug)]
pub struct Actions<'n, 'i, S: Storage, P, C: Channel = Plain> {
    node: &'n mut Node<S, P, C>,
    now: Instant,
    /// The connection whose bytes are shown, and where its read has come to.
    current: Option<(ConnectionId, Cursor)>,
    bytes: &'i mut [u8],
    /// Deadlines are still to be looked at.
    timeout: bool,
}

/// What is to be returned, before anything is lent.
#[derive(Debug)]
enum Planned {
    /// It borrows nothing.
    Own(Action<'static>),
    /// A peer is down, and its last words may still lie in the frame that was lent last.
    Down { peer: PeerKey, connection: ConnectionId, cause: DownCause },
    /// Something of the connection whose bytes are shown.
    Current(Next),
    /// Something of another connection, without any of its bytes.
    Other(ConnectionId, Cursor, Next),
}

/// What there is to do about a connection.
enum Look {
    /// Somebody else's business.
    Out(Next),
    /// It was our own business and is done; there may be more.
    Done,
    /// Nothing.
    Nothing,
}

impl<'n, 'i, S: Storage, P: Policy, C: Channel> Actions<'n, 'i, S, P, C> {
    pub(super) fn new(node: &'n mut Node<S, P, C>, now: Instant, input: Input<'i>) -> Self {
        let mut this = Self { node, now, current: None, bytes: &mut [], timeout: false };
        match input {
            Input::Bytes { connection, bytes } => {
                if let Some(carrier) = carrier_of::<S, C>(&mut this.node.carriers, connection) {
                    if !bytes.is_empty() {
                        carrier.heard_at = now;
                    }
                    this.current = Some((connection, Cursor::new(&carrier.rx, now)));
                    this.bytes = bytes;
                }
            }
            Input::End(connection) => this.over(connection, None),
            Input::Failed(connection) => this.over(connection, Some(CloseReason::Failed)),
            Input::Timeout => this.timeout = true,
            Input::Wake => {}
        }
        this
    }

    /// The stream or the socket of a connection is no more.
    fn over(&mut self, connection: ConnectionId, reason: Option<CloseReason>) {
        match carrier_of::<S, C>(&mut self.node.carriers, connection) {
            Some(carrier) => {
                match reason {
                    Some(reason) => carrier.rx.close(reason),
                    None => carrier.rx.end(),
                }
                self.current = Some((connection, Cursor::new(&carrier.rx, self.now)));
                // If it is not taken now, it comes out of the next timeout.
                self.node.timers.set(connection.index() as u32, self.now);
            }
            // A dial has failed before there was a carrier. A driver that takes no steps will hear of its deadline.
            None if self.node.peers.is_crowded() => {}
            None => self.node.peers.refuse(self.now, connection, CloseReason::Failed, false),
        }
    }

    /// The next action; `None` when there is nothing more to do without another input or an answer.
    ///
    /// What most messages are is made into an action at once: nothing follows from it, and it is large to move.
    #[inline]
    #[allow(clippy::should_implement_trait)] // what is lent ends with the next call
    pub fn next(&mut self) -> Option<Action<'_>> {
        match self.find_usual() {
            Some(wire_bytes) => {
                let (connection, cursor) = self.current.as_mut()?;
                let Node { directory, counts, peers, outboxes, carriers, .. } = &mut *self.node;
                let carrier = carrier_of::<S, C>(carriers, *connection)?;
                let lent = cursor.lend_usual(wire_bytes, &mut carrier.rx, self.bytes, directory);
                if let Lent::Module { to, space, module, data, wire_bytes } = lent {
                    let connection = *connection;
                    return Some(Action::Module { connection, to, space, module, data, wire_bytes });
                }
                let outbox = carrier.up.and_then(|up| outbox_of::<S>(outboxes, up));
                take_note(self.now, *connection, lent, &mut carrier.tx, outbox, peers, counts);
                Some(of_connection(*connection, lent))
            }
            None => self.unusual().map(|(action, _)| action),
        }
    }

    /// The next action, together with what can be done to the node while it is looked at.
    #[inline]
    pub fn next_with(&mut self) -> Option<(Action<'_>, Ops<'_, S, P>)> {
        match self.find_usual() {
            Some(wire_bytes) => {
                let (connection, cursor) = self.current.as_mut()?;
                let Node { directory, counts, peers, outboxes, timers, carriers, config, parting, .. } =
                    &mut *self.node;
                let carrier = carrier_of::<S, C>(carriers, *connection)?;
                let lent = cursor.lend_usual(wire_bytes, &mut carrier.rx, self.bytes, directory);
                let ops = Ops {
                    directory,
                    counts,
                    peers,
                    outboxes,
                    timers,
                    parting,
                    given_up: None,
                    config,
                    dialling: Dialling::of::<C>(),
                    now: self.now,
                };
                if let Lent::Module { to, space, module, data, wire_bytes } = lent {
                    let connection = *connection;
                    return Some((Action::Module { connection, to, space, module, data, wire_bytes }, ops));
                }
                let outbox = carrier.up.and_then(|up| outbox_of::<S>(ops.outboxes, up));
                take_note(self.now, *connection, lent, &mut carrier.tx, outbox, ops.peers, ops.counts);
                Some((of_connection(*connection, lent), ops))
            }
            None => self.unusual(),
        }
    }

    /// The length of the next frame of the connection whose bytes are shown, if it is like most and there is nothing
    /// else to do first.
    ///
    /// Without an allocator size comes before speed: there all frames go the long way, and what makes them into actions
    /// is not there twice.
    #[inline(always)]
    fn find_usual(&mut self) -> Option<usize> {
        if cfg!(not(feature = "alloc")) {
            return None;
        }
        let node = &mut *self.node;
        let (connection, cursor) = self.current.as_mut()?;
        if node.giving_up.is_some() || node.pump.is_some() || node.peers.has_steps() {
            return None;
        }
        let carrier = carrier_of::<S, C>(&mut node.carriers, *connection)?;
        cursor.find_usual(&mut carrier.rx, self.bytes)
    }

    /// The next action, whatever it is.
    #[inline(never)]
    fn unusual(&mut self) -> Option<(Action<'_>, Ops<'_, S, P>)> {
        let planned = self.plan()?;
        let Node { directory, counts, peers, outboxes, timers, carriers, config, parting, giving_up, .. } =
            &mut *self.node;
        let now = self.now;
        let action = match planned {
            Planned::Own(action) => action,
            Planned::Down { peer, connection, cause } => {
                let unknown = outbox_of::<S>(outboxes, peer).and_then(|outbox| outbox.end());
                if let Some(carrier) = carrier_of::<S, C>(carriers, connection) {
                    carrier.up = None;
                }
                let said_here = self.current.as_ref().filter(|(current, _)| *current == connection);
                let message = match (said_here, carrier_of::<S, C>(carriers, connection)) {
                    (Some((_, cursor)), Some(carrier)) => cursor.last_words(&carrier.rx, self.bytes),
                    _ => &[],
                };
                Action::PeerDown { peer, connection, cause, message, unknown }
            }
            Planned::Current(next) => {
                let (connection, cursor) = self.current.as_mut()?;
                let Carrier { rx, tx, up, .. } = carrier_of::<S, C>(carriers, *connection)?;
                let lent = cursor.lend(next, rx, self.bytes, directory);
                let outbox = up.and_then(|up| outbox_of::<S>(outboxes, up));
                take_note(now, *connection, lent, tx, outbox, peers, counts);
                of_connection(*connection, lent)
            }
            Planned::Other(connection, mut cursor, next) => {
                let Carrier { rx, tx, up, .. } = carrier_of::<S, C>(carriers, connection)?;
                let lent = cursor.lend(next, rx, &[], directory);
                let outbox = up.and_then(|up| outbox_of::<S>(outboxes, up));
                take_note(now, connection, lent, tx, outbox, peers, counts);
                of_connection(connection, lent)
            }
        };
        let given_up = giving_up.as_ref().filter(|giving_up| giving_up.told).map(|giving_up| giving_up.peer);
        Some((
            action,
            Ops {
                directory,
                counts,
                peers,
                outboxes,
                timers,
                parting,
                given_up,
                config,
                dialling: Dialling::of::<C>(),
                now,
            },
        ))
    }

    /// Ends the input: how many of the bytes were taken, and what their connection wants next.
    pub fn finish(self) -> (usize, Wants) {
        let Some((connection, cursor)) = self.current else { return (0, Wants::Nothing) };
        let Some(carrier) = carrier_of::<S, C>(&mut self.node.carriers, connection) else {
            return (0, Wants::Nothing);
        };
        let finished = cursor.finish(&mut carrier.rx, self.bytes.len());
        self.node.arm(connection);
        finished
    }

    /// Does everything that is nobody else's business, up to the next thing that is.
    #[inline]
    fn plan(&mut self) -> Option<Planned> {
        loop {
            // Messages are given up before the next step: it may begin a connection, or forget their peer.
            if let Some(giving_up) = self.node.giving_up {
                if let Some(action) = self.give_up(giving_up) {
                    return Some(Planned::Own(action));
                }
            } else if let Some(step) = self.node.peers.next_step() {
                if let Some(planned) = self.carry_out(step) {
                    return Some(planned);
                }
            } else if let Some(connection) = self.node.pump {
                match self.look_at_other(connection) {
                    (cursor, Look::Out(next)) => return Some(Planned::Other(connection, cursor?, next)),
                    (_, Look::Done) => {}
                    (_, Look::Nothing) => self.node.pump = None,
                }
            } else {
                match self.look_at_current() {
                    Look::Out(next) => return Some(Planned::Current(next)),
                    Look::Done => {}
                    Look::Nothing if self.timeout && self.look_at_time() => {}
                    Look::Nothing => return None,
                }
            }
        }
    }

    /// What the connection has to say whose bytes are shown.
    #[inline]
    fn look_at_current(&mut self) -> Look {
        let Some((connection, cursor)) = &mut self.current else { return Look::Nothing };
        let Some(carrier) = carrier_of::<S, C>(&mut self.node.carriers, *connection) else {
            return Look::Nothing;
        };
        match cursor.find(&mut carrier.rx, self.bytes, &self.node.directory) {
            Some(next @ Next::Message(_)) => Look::Out(next),
            Some(next) => look_at_gate(self.now, *connection, next, carrier, &mut self.node.peers),
            None => self.check_receive_memory(),
        }
    }

    /// What the gate of another connection has to say, without any of its bytes.
    #[cold]
    fn look_at_other(&mut self, connection: ConnectionId) -> (Option<Cursor>, Look) {
        if self.current.as_ref().is_some_and(|(current, _)| *current == connection) {
            return (None, Look::Nothing);
        }
        let Node { carriers, directory, peers, .. } = &mut *self.node;
        let Some(carrier) = carrier_of::<S, C>(carriers, connection) else { return (None, Look::Nothing) };
        let mut cursor = Cursor::new(&carrier.rx, self.now);
        // Frames that it holds are for who shows its bytes, or none: this cursor is not finished.
        let look = match cursor.find_own(&mut carrier.rx, &mut [], directory) {
            Own::Next(next) => look_at_gate(self.now, connection, next, carrier, peers),
            Own::Wait | Own::Frames => Look::Nothing,
        };
        self.node.arm(connection);
        (Some(cursor), look)
    }

    /// Adds up what the frame buffers own, and closes the connection that goes too far.
    fn check_receive_memory(&mut self) -> Look {
        let node = &mut *self.node;
        let Some((connection, _)) = &self.current else { return Look::Nothing };
        let Some(carrier) = carrier_of::<S, C>(&mut node.carriers, *connection) else { return Look::Nothing };
        let memory = carrier.rx.memory();
        let before = core::mem::replace(&mut carrier.memory, memory);
        node.receive_bytes = node.receive_bytes - before + memory;
        if memory > before && node.receive_bytes > node.max_receive_bytes {
            carrier.rx.close(CloseReason::Capacity(CapacityError::ReceiveMemory));
            return Look::Done;
        }
        Look::Nothing
    }

    /// Handles one deadline that has come; `false` if there is none.
    #[cold]
    fn look_at_time(&mut self) -> bool {
        let node = &mut *self.node;
        let Some(index) = node.timers.pop_due(self.now) else { return node.peers.handle_timeout(self.now) };
        let probe = node.idle_probe;
        let carrier = node.carriers.as_mut_slice().get_mut(index as usize).and_then(Option::as_mut);
        let Some(carrier) = carrier else { return true };
        carrier.rx.handle_timeout(self.now);
        let open = node.peers.state(carrier.id) == Some(ConnectionState::Open);
        let peer = carrier.up.filter(|_| open);
        let up = peer.and_then(|up| Some((up, outbox_of::<S>(&mut node.outboxes, up)?)));
        if let Some((peer, outbox)) = up {
            node.giving_up = too_large(peer, outbox);
            if outbox.is_writable() {
                carrier.tx.waiting(self.now);
            }
        }
        if !carrier.tx.handle_timeout(self.now) {
            carrier.rx.close(CloseReason::Timeout(Timeout::Write));
        }
        if let Some(outbox) = carrier.up.and_then(|up| outbox_of::<S>(&mut node.outboxes, up)) {
            outbox.relax();
        }
        let silent = probe.is_some_and(|probe| carrier.heard_at + probe <= self.now);
        if silent && carrier.rx.is_open() {
            // Without room for five bytes there is enough under way to find out whether the peer is there.
            let _ = carrier.tx.push_empty(self.now);
            carrier.heard_at = self.now;
        }
        let memory = carrier.rx.memory();
        node.receive_bytes = node.receive_bytes - core::mem::replace(&mut carrier.memory, memory) + memory;
        let connection = carrier.id;
        node.pump = Some(connection);
        node.arm(connection);
        true
    }

    /// Tells of the next message that is given up.
    fn give_up(&mut self, giving_up: GivingUp) -> Option<Action<'static>> {
        let GivingUp { peer, cause, end, told } = giving_up;
        let outbox = outbox_of::<S>(&mut self.node.outboxes, peer);
        let next = outbox.and_then(|outbox| {
            if told {
                outbox.drop_first();
            }
            outbox.has_unwritten().then(|| outbox.next_written()).filter(|&number| number < end)
        });
        match next {
            Some(number) => {
                self.node.giving_up = Some(GivingUp { told: true, ..giving_up });
                Some(Action::NotSent { message: MessageId { peer, number }, cause })
            }
            None => {
                let outbox = outbox_of::<S>(&mut self.node.outboxes, peer);
                self.node.giving_up = outbox.and_then(|outbox| too_large(peer, outbox));
                let open = self.node.peers.open_connection(peer);
                if let Some(connection) = open {
                    // What is behind it can be written now.
                    self.node.arm(connection);
                } else if outbox_of::<S>(&mut self.node.outboxes, peer)
                    .is_some_and(|outbox| outbox.has_unwritten())
                {
                    self.node.peers.waiting(self.now, peer, true);
                }
                None
            }
        }
    }

    /// Carries out one step of the peer table, and tells if somebody else is concerned.
    #[cold]
    fn carry_out(&mut self, step: Step) -> Option<Planned> {
        let now = self.now;
        let node = &mut *self.node;
        let action = match step {
            Step::Dial(peer, connection) => Action::Dial { connection, peer },
            Step::Proceed(connection) => {
                let carrier = carrier_of::<S, C>(&mut node.carriers, connection)?;
                let settle = carrier.settle.take()?;
                // Where the gate's deadline has come first, that is what the connection tells next.
                let answered = carrier.rx.answer(now, &mut carrier.tx, settle, Answer::Accept);
                debug_assert!(answered.is_ok() || carrier.rx.close_reason().is_some());
                node.look_at(now, connection);
                return None;
            }
            Step::Close(connection, reason) => {
                self.close(connection, reason);
                Action::Closed { connection, reason, message: &[] }
            }
            Step::Probe(connection) => {
                let carrier = carrier_of::<S, C>(&mut node.carriers, connection)?;
                // Without room for five bytes there is enough under way to find out whether the peer is there.
                let _ = carrier.tx.push_empty(now);
                return None;
            }
            Step::Up(peer, connection) => {
                let outbox = outbox_for::<S>(&mut node.outboxes, peer, &node.config)?;
                let carrier = carrier_of::<S, C>(&mut node.carriers, connection)?;
                outbox.begin(carrier.tx.peer_max_frame_bytes());
                carrier.up = Some(peer);
                carrier.heard_at = now;
                if outbox.is_writable() {
                    carrier.tx.waiting(now);
                }
                node.giving_up = too_large(peer, outbox);
                node.arm(connection);
                Action::PeerUp { peer, connection }
            }
            Step::Down(peer, connection, cause) => return Some(Planned::Down { peer, connection, cause }),
            Step::Pause(peer, paused) => {
                let outbox = outbox_for::<S>(&mut node.outboxes, peer, &node.config)?;
                outbox.set_paused(paused);
                return None;
            }
            Step::Unresponsive(peer) => Action::Unresponsive { peer },
            Step::GiveUp(peer, cause) => {
                let end = outbox_of::<S>(&mut node.outboxes, peer)?.next_number();
                node.giving_up = Some(GivingUp { peer, cause, end, told: false });
                return None;
            }
            Step::Forget(peer) => {
                if let Some(outbox) = node.outboxes.as_mut_slice().get_mut(peer.index()) {
                    *outbox = None;
                }
                return None;
            }
        };
        Some(Planned::Own(action))
    }

    /// Says goodbye on a connection that the peer table has closed.
    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        let node = &mut *self.node;
        let Some(carrier) = carrier_of::<S, C>(&mut node.carriers, connection) else { return };
        carrier.rx.close_told(reason);
        let words = node.parting.take_if(|(of, _)| *of == connection);
        let outbox = carrier.up.and_then(|up| outbox_of::<S>(&mut node.outboxes, up));
        if !outbox.is_none_or(|outbox| carrier.tx.finish_frame(outbox)) {
            return;
        }
        match words {
            // Without room for the words the peer sees the end of the stream, which says enough.
            Some((_, words)) => {
                let _ = carrier.tx.push_disconnect(self.now, &words);
            }
            None => carrier.tx.push_farewell(self.now, reason),
        }
        node.arm(connection);
    }
}

/// The message that is to be given up because its peer does not take it, if that is the next one.
fn too_large<S: Storage>(peer: PeerKey, outbox: &Outbox<S>) -> Option<GivingUp> {
    let end = outbox.next_written() + 1;
    let cause = NotSentCause::TooLargeForPeer;
    outbox.is_too_large_for_peer().then_some(GivingUp { peer, cause, end, told: false })
}

/// What the gate of a connection has to say: the peer table's business is done here.
#[cold]
fn look_at_gate<S: Storage, C: Channel>(
    now: Instant,
    connection: ConnectionId,
    next: Next,
    carrier: &mut Carrier<S, C>,
    peers: &mut PeerTable<S>,
) -> Look {
    match next {
        Next::Ask(Stage::Settle) => {
            carrier.settle = Some(carrier.rx.ask_settle(now));
            if let Some(Peer { url, id: Some(id), proven, .. }) = carrier.rx.peer() {
                peers.introduced(now, connection, id, url, proven);
            }
            Look::Done
        }
        Next::Opened => {
            if carrier.rx.role() == Role::Acceptor && !peers.confirmed(now, connection) {
                carrier.rx.close(CloseReason::Superseded);
            }
            if let Some(peer) = carrier.rx.peer() {
                peers.readdress(connection, peer.url);
            }
            Look::Done
        }
        next => Look::Out(next),
    }
}

/// What follows for the node from something that is told of a connection.
#[inline(never)]
fn take_note<S: Storage, C: Channel>(
    now: Instant,
    connection: ConnectionId,
    lent: Lent<'_>,
    tx: &mut Tx<S, C>,
    mut outbox: Option<&mut Outbox<S>>,
    peers: &mut PeerTable<S>,
    counts: &mut BlockedCounts<S>,
) {
    match lent {
        Lent::Dropped { reason: DropReason::Blocked, space, .. } => {
            let peer = peers.peer_of(connection).and_then(|peer| peers.url(peer));
            counts.incoming(peer.unwrap_or_default(), space);
        }
        Lent::Closed { reason, message } => {
            if outbox.as_deref_mut().is_none_or(|outbox| tx.finish_frame(outbox)) {
                tx.push_farewell(now, reason);
            }
            let superseded = reason == CloseReason::Disconnected && message.starts_with(SUPERSEDED);
            let waiting = outbox.is_some_and(|outbox| outbox.has_unwritten());
            peers.ended(now, connection, Ending { reason, superseded, waiting });
        }
        _ => {}
    }
}

/// An action of a connection as one of its node.
#[cfg_attr(feature = "alloc", inline(always))]
#[cfg_attr(not(feature = "alloc"), inline(never))]
fn of_connection(connection: ConnectionId, lent: Lent<'_>) -> Action<'_> {
    match lent {
        Lent::Module { to, space, module, data, wire_bytes } => {
            Action::Module { connection, to, space, module, data, wire_bytes }
        }
        Lent::Notify { to, space, data, wire_bytes } => {
            Action::Notify { connection, to, space, data, wire_bytes }
        }
        Lent::Dropped { reason, space, wire_bytes } => {
            Action::Dropped { connection, reason, space, wire_bytes }
        }
        Lent::Ask { id, question } => Action::Ask { connection, id, question },
        Lent::Closed { reason, message } => Action::Closed { connection, reason, message },
        Lent::Opened { .. } => {
            debug_assert!(false, "the peer table tells who is up");
            Action::Closed { connection, reason: CloseReason::Local, message: &[] }
        }
    }
}
