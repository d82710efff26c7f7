//! One connection a peer: which connection is dialled, answered, held, opened and closed.
//!
//! The rules are numbered as in `docs/connections.md`. *S* is the node with the smaller id of the two, *L* the one
//! with the larger: L decides, S follows.

use core::cmp::Ordering;

use super::slots::{ConnectionSlot, PeerSlot};
use super::step::{
    ConnectionId, ConnectionState, DownCause, Ending, MAX_CONNECTIONS_PER_PEER, NotSentCause, PeerKey,
    PeerLimits, PendingPolicy, Step, is_carriers_fault, is_peers_fault,
};
use super::timers::Timers;
use crate::connection::{CloseReason, Refusal, Role, Timeout};
use crate::error::{CapacityError, ProtocolError};
use crate::hash::hash_pair;
use crate::peer::{Peer, PeerId};
use crate::storage::{Owned, Storage, Table};
use crate::time::Instant;

/// The most steps that one input leads to: one for each connection of a peer, and a few for the peer itself.
const STEPS_AN_INPUT: usize = MAX_CONNECTIONS_PER_PEER + 6;

/// Steps that can wait.
const STEPS: usize = 4 * STEPS_AN_INPUT;

type Steps = heapless::Deque<Step, STEPS>;

/// Decides which connections there are to each peer. It holds no bytes and no sockets: a driver tells it what happened,
/// takes the [`Step`]s that follow with [`next_step`](Self::next_step) until there are none, and carries them out.
#[derive(Debug, Clone)]
pub struct PeerTable<S: Storage> {
    own: PeerId,
    peers: S::Peers,
    connections: S::Connections,
    /// Deadlines of connections: dial, hold.
    connection_timers: Timers<S::ConnectionTimers, S::ConnectionPlaces>,
    /// Deadlines of peers: the next attempt.
    peer_timers: Timers<S::PeerTimers, S::PeerPlaces>,
    limits: PeerLimits,
    steps: Steps,
    next_order: u64,
    generation: u32,
    pending: usize,
    network_up: bool,
    hash_seed: u64,
    /// State of the generator of jitter.
    jitter: u64,
}

impl<S: Storage> PeerTable<S> {
    /// An empty table for a node with this id. `seed` is a number that strangers cannot guess.
    pub fn new(limits: &PeerLimits, own: PeerId, seed: u64) -> Self {
        Self {
            own,
            peers: S::Peers::with_limit(limits.max_peers),
            connections: S::Connections::with_limit(limits.max_connections),
            connection_timers: Timers::new(),
            peer_timers: Timers::new(),
            limits: *limits,
            steps: Steps::new(),
            next_order: 0,
            generation: 0,
            pending: 0,
            network_up: true,
            hash_seed: seed,
            jitter: seed | 1,
        }
    }

    /// This node's id.
    pub fn own_id(&self) -> &PeerId {
        &self.own
    }

    /// The next thing to do. After every call that changes the table, take steps until there are none.
    pub fn next_step(&mut self) -> Option<Step> {
        loop {
            match self.steps.pop_front()? {
                // Something has come up since, and is still to be told of the peer: until then its key means something.
                Step::Forget(key) if self.steps.iter().any(|step| step.peer() == Some(key)) => {
                    self.steps_push(Step::Forget(key));
                }
                Step::Forget(key) if !self.forget(key) => {}
                step => return Some(step),
            }
        }
    }

    /// Whether there is a step to take.
    #[inline]
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. A peek.
    pub fn poll_timeout(&self) -> Option<Instant> {
        crate::time::earliest(self.connection_timers.next_at(), self.peer_timers.next_at())
    }

    /// Handles one deadline that has come; to be called, and its steps taken, until it returns `false`.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if let Some(connection) = self.connection_timers.pop_due(now) {
            self.connection_timeout(now, connection);
            true
        } else if let Some(peer) = self.peer_timers.pop_due(now) {
            self.settle(now, peer);
            true
        } else {
            false
        }
    }

    /// Whether this machine's own network works. While it does not, no peer is called unresponsive.
    pub fn set_network_up(&mut self, up: bool) {
        self.network_up = up;
    }

    /// A message waits for the peer with this id, to be dialled at this URL if it is not connected. Call
    /// [`waiting`](Self::waiting) once the message is in the peer's outbox.
    ///
    /// # Errors
    /// [`CapacityError::Peers`] if there is no place for another peer, [`CapacityError::TooLong`] if the URL is too
    /// long for the storage.
    pub fn enter(&mut self, id: &PeerId, url: &str) -> Result<PeerKey, CapacityError> {
        let slot = match self.find(id) {
            Some(slot) => slot,
            None => self.insert_peer(id, url)?,
        };
        let Some(peer) = self.peers.get_mut(slot) else { return Err(CapacityError::Peers) };
        if peer.connections.is_empty() && peer.url.as_ref() != url {
            peer.url = S::Url::copy_from(url).ok_or(CapacityError::TooLong)?;
        }
        Ok(PeerKey { slot, generation: peer.generation })
    }

    /// The peer with this id.
    pub fn peer(&self, id: &PeerId) -> Option<PeerKey> {
        let slot = self.find(id)?;
        Some(PeerKey { slot, generation: self.peers.get(slot)?.generation })
    }

    /// Whether messages wait in the peer's outbox: then it is dialled if need be (rule 1). A peer that was entered for
    /// a message that found no room is forgotten if there is nothing else about it.
    pub fn waiting(&mut self, now: Instant, key: PeerKey, waiting: bool) {
        if let Some(peer) = self.peer_mut(key) {
            peer.waiting |= waiting;
            self.settle(now, key.slot);
        }
    }

    /// Whether so many steps wait to be taken that only the driver's own inputs may add to them.
    pub fn is_crowded(&self) -> bool {
        self.steps.len() > STEPS - 2 * STEPS_AN_INPUT
    }

    /// Whether there is no room for the steps of one more decision of the application.
    pub fn is_full(&self) -> bool {
        self.steps.len() > STEPS - STEPS_AN_INPUT
    }

    /// This end closes one connection by its own decision: a handler refused a message, say.
    pub fn refuse(&mut self, now: Instant, id: ConnectionId, reason: CloseReason, waiting: bool) {
        if self.connection(id).is_some() {
            self.steps_push(Step::Close(id, reason));
            self.ended(now, id, Ending { reason, superseded: false, waiting });
        }
    }

    /// A connection was accepted.
    ///
    /// # Errors
    /// [`CapacityError::Connections`] or [`CapacityError::Pending`]: close it at once.
    pub fn accept(&mut self) -> Result<ConnectionId, CapacityError> {
        if self.pending >= self.limits.max_pending {
            match (self.limits.pending, self.oldest_pending()) {
                (PendingPolicy::EvictOldest, Some(oldest)) => {
                    self.close(oldest, CloseReason::Capacity(CapacityError::Pending));
                }
                _ => return Err(CapacityError::Pending),
            }
        }
        let id = self.insert_connection(Role::Acceptor, ConnectionState::Inbound, None)?;
        self.pending += 1;
        Ok(id)
    }

    /// The carrier of a connection that we dialled is established; its gate has begun.
    pub fn dialled(&mut self, id: ConnectionId) {
        if self.state(id) == Some(ConnectionState::Dialing) {
            self.connection_timers.clear(id.slot);
        }
    }

    /// Our preflight on a connection that we dialled is written.
    pub fn sent(&mut self, id: ConnectionId) {
        if self.state(id) == Some(ConnectionState::Dialing) {
            self.set_state(id.slot, ConnectionState::Sent);
            self.connection_timers.clear(id.slot);
        }
    }

    /// A valid preflight has come (rules 3, 5 and 6). `proven` says whether the channel has proven the id; on a plain
    /// channel it is only claimed.
    pub fn introduced(&mut self, now: Instant, id: ConnectionId, peer: &PeerId, url: &str, proven: bool) {
        let Some(connection) = self.connection(id) else { return };
        let (role, state) = (connection.role, connection.state);
        if let Some(connection) = self.connections.get_mut(id.slot) {
            connection.proven = proven;
        }
        match (role, state) {
            (Role::Acceptor, ConnectionState::Inbound) => self.introduced_inbound(now, id, peer, url),
            (Role::Dialler, ConnectionState::Dialing | ConnectionState::Sent) => {
                let Some(slot) = self.connections.get(id.slot).and_then(|connection| connection.peer) else {
                    return;
                };
                self.set_url(slot, url);
                if !self.we_are_larger(slot) && self.find_state(slot, ConnectionState::Offered).is_some() {
                    self.set_state(id.slot, ConnectionState::Answered);
                } else {
                    self.open(slot, id.slot);
                    self.settle(now, slot);
                }
            }
            _ => self.misplaced(now, id),
        }
    }

    /// The dialler's confirm has come (rule 7). Returns whether the connection is open now.
    pub fn confirmed(&mut self, now: Instant, id: ConnectionId) -> bool {
        match self.connection(id) {
            Some(&ConnectionSlot { state: ConnectionState::Offered, peer: Some(slot), .. }) => {
                self.open(slot, id.slot);
                self.settle(now, slot);
                true
            }
            Some(_) => {
                self.misplaced(now, id);
                false
            }
            None => false,
        }
    }

    /// The address that an open connection's peer gave at the gate is where it is dialled from now on. For a claim that
    /// waited (rule 14) this is the first moment at which it may count.
    pub fn readdress(&mut self, id: ConnectionId, url: &str) {
        if let Some(&ConnectionSlot { state: ConnectionState::Open, peer: Some(slot), .. }) =
            self.connection(id)
        {
            self.set_url(slot, url);
        }
    }

    /// A connection has ended, or a dial has failed (rule 10).
    pub fn ended(&mut self, now: Instant, id: ConnectionId, ending: Ending) {
        if self.connection(id).is_none() {
            return;
        }
        let Some(connection) = self.detach(id.slot) else { return };
        let Some(slot) = connection.peer else { return };
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.waiting |= ending.waiting;
        }
        match connection.state {
            ConnectionState::Open => {
                self.step(|this| Some(Step::Down(this.key(slot)?, id, DownCause::Ended(ending.reason))));
                let nothing_coming = self.find_state(slot, ConnectionState::Offered).is_none()
                    && self.find_state(slot, ConnectionState::Held).is_none();
                if nothing_coming && self.network_up && is_peers_fault(ending.reason) {
                    self.step(|this| this.key(slot).map(Step::Unresponsive));
                }
            }
            ConnectionState::Offered => self.update_pause(slot),
            ConnectionState::Dialing | ConnectionState::Sent | ConnectionState::Answered => {
                let cause = match (connection.state, ending.superseded) {
                    (_, true) => NotSentCause::Superseded,
                    (ConnectionState::Dialing, _) if is_carriers_fault(ending.reason) => {
                        NotSentCause::DialFailed
                    }
                    _ => NotSentCause::GateFailed(ending.reason),
                };
                self.attempt_failed(now, slot, cause);
            }
            ConnectionState::Held | ConnectionState::Inbound | ConnectionState::Closed => {}
        }
        self.settle(now, slot);
    }

    /// The application wants no connection to this peer (rule 13). What waits for it is given up.
    pub fn disconnect(&mut self, now: Instant, key: PeerKey) {
        if self.peer_mut(key).is_none() {
            return;
        }
        let open = self.find_state(key.slot, ConnectionState::Open);
        while let Some(connection) = self.first_connection(key.slot) {
            self.close(connection, CloseReason::Local);
        }
        if let Some(open) = open {
            self.steps_push(Step::Down(key, open, DownCause::Ended(CloseReason::Local)));
        }
        self.give_up(key.slot, NotSentCause::Disconnected);
        self.settle(now, key.slot);
    }

    /// The carrier of a connection that has ended is closed: its place is free.
    pub fn release(&mut self, id: ConnectionId) {
        let found = self.connections.get(id.slot).filter(|connection| connection.generation == id.generation);
        if found.is_some_and(|connection| connection.state == ConnectionState::Closed) {
            self.connections.remove(id.slot);
        }
    }

    /// Where a connection stands; `None` if it has ended.
    pub fn state(&self, id: ConnectionId) -> Option<ConnectionState> {
        self.connection(id).map(|connection| connection.state)
    }

    /// Whose connection it is; `None` before a valid preflight.
    pub fn peer_of(&self, id: ConnectionId) -> Option<PeerKey> {
        self.key(self.connection(id)?.peer?)
    }

    /// The connection that carries a peer's messages.
    pub fn open_connection(&self, key: PeerKey) -> Option<ConnectionId> {
        self.to_send(key)?.1
    }

    /// The id of a peer.
    pub fn id(&self, key: PeerKey) -> Option<&PeerId> {
        Some(&self.peer_at(key)?.id)
    }

    /// The URL under which a peer is known and dialled.
    pub fn url(&self, key: PeerKey) -> Option<&str> {
        Some(self.peer_at(key)?.url.as_ref())
    }

    /// A peer, as policies see it: proven while it is connected, if its channel proves ids.
    pub fn as_peer(&self, key: PeerKey) -> Option<Peer<'_>> {
        self.to_send(key).map(|(peer, _)| peer)
    }

    /// A peer, as policies see it, and the connection that carries its messages.
    #[inline]
    pub(crate) fn to_send(&self, key: PeerKey) -> Option<(Peer<'_>, Option<ConnectionId>)> {
        let peer = self.peer_at(key)?;
        let open = peer.connections.iter().find_map(|&slot| {
            let connection = self.connections.get(slot)?;
            (connection.state == ConnectionState::Open).then_some((slot, connection))
        });
        let proven = open.is_some_and(|(_, connection)| connection.proven);
        let open = open.map(|(slot, connection)| ConnectionId { slot, generation: connection.generation });
        Some((Peer { proven, ..Peer::new(peer.url.as_ref(), Some(&peer.id)) }, open))
    }

    /// Whether the id of the connection's peer was proven by its channel.
    pub fn is_proven(&self, id: ConnectionId) -> bool {
        self.connection(id).is_some_and(|connection| connection.proven)
    }

    /// All peers, in a fixed order.
    pub fn peers(&self) -> impl Iterator<Item = PeerKey> {
        self.peers.iter().map(|(slot, peer)| PeerKey { slot, generation: peer.generation })
    }

    /// All connections with their states, in a fixed order.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionId, ConnectionState)> {
        self.connections.iter().map(|(slot, connection)| {
            (ConnectionId { slot, generation: connection.generation }, connection.state)
        })
    }

    /// How many accepted connections have no valid preflight yet.
    pub fn pending(&self) -> usize {
        self.pending
    }

    // The rules.

    /// Rule 3: a valid preflight on an accepted connection.
    fn introduced_inbound(&mut self, now: Instant, id: ConnectionId, peer: &PeerId, url: &str) {
        if *peer == self.own {
            return self.close(id, ProtocolError::OurOwnId.into());
        }
        let slot = match self.find(peer).map_or_else(|| self.insert_peer(peer, url), Ok) {
            Ok(slot) => slot,
            Err(error) => return self.close(id, CloseReason::Capacity(error)),
        };
        let Some(&ConnectionSlot { order, proven, .. }) = self.connections.get(id.slot) else { return };
        // 3a: of several connections that the peer dialled, the one that was accepted last counts.
        let mut later_is_known = false;
        for earlier in self.connections_of(slot) {
            let Some(other) = self.connections.get(earlier.slot) else { continue };
            if other.role != Role::Acceptor {
                continue;
            }
            if other.order > order {
                later_is_known = true;
            } else if other.state != ConnectionState::Open {
                self.close(earlier, CloseReason::Superseded);
            }
        }
        if later_is_known {
            return self.close(id, CloseReason::Superseded);
        }
        if !self.join(slot, id) {
            return self.close(id, CloseReason::Capacity(CapacityError::Connections));
        }
        let open = self.find_state(slot, ConnectionState::Open);
        match (open, proven) {
            (Some(open), false) => {
                // 14: a claim never displaces a live connection. If it is dead, the probe will show it.
                self.set_state(id.slot, ConnectionState::Held);
                self.steps_push(Step::Probe(open));
            }
            _ if self.we_are_larger(slot) => {
                self.set_url(slot, url);
                if self.own_dial(slot).is_some() {
                    self.set_state(id.slot, ConnectionState::Held);
                    self.connection_timers.set(id.slot, now + self.limits.hold);
                } else {
                    self.answer(slot, id.slot);
                }
            }
            _ => {
                self.set_url(slot, url);
                if let Some(dialing) = self.find_state(slot, ConnectionState::Dialing) {
                    self.close(dialing, CloseReason::Superseded);
                }
                self.answer(slot, id.slot);
            }
        }
        self.settle(now, slot);
    }

    /// Answers a connection that the peer dialled: it is offered from now on.
    fn answer(&mut self, slot: u32, connection: u32) {
        self.set_state(connection, ConnectionState::Offered);
        self.connection_timers.clear(connection);
        self.update_pause(slot);
        self.step(|this| this.connection_id(connection).map(Step::Proceed));
    }

    /// Rule 8: this connection is the peer's from now on, and every other one of it ends.
    fn open(&mut self, slot: u32, connection: u32) {
        let (Some(key), Some(id)) = (self.key(slot), self.connection_id(connection)) else { return };
        let before = self.find_state(slot, ConnectionState::Open);
        let dialled =
            self.connections.get(connection).is_some_and(|connection| connection.role == Role::Dialler);
        for other in self.connections_of(slot) {
            if other != id {
                self.close(other, CloseReason::Superseded);
            }
        }
        if let Some(before) = before {
            self.steps_push(Step::Down(key, before, DownCause::Replaced));
        }
        self.set_state(connection, ConnectionState::Open);
        self.connection_timers.clear(connection);
        self.peer_timers.clear(slot);
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.failed = 0;
            peer.waiting = false;
        }
        self.update_pause(slot);
        if dialled {
            self.steps_push(Step::Proceed(id));
        }
        self.steps_push(Step::Up(key, id));
    }

    /// Rules 11, 4 and 1, in this order: what follows when something about a peer has changed.
    fn settle(&mut self, now: Instant, slot: u32) {
        let offered = self.find_state(slot, ConnectionState::Offered);
        if let (None, Some(answered)) = (offered, self.find_state(slot, ConnectionState::Answered)) {
            return self.open(slot, answered.slot);
        }
        let open = self.find_state(slot, ConnectionState::Open);
        if let (Some(held), None, None) =
            (self.find_state(slot, ConnectionState::Held), self.own_dial(slot), open)
        {
            return self.answer(slot, held.slot);
        }
        let Some(peer) = self.peers.get(slot) else { return };
        if peer.waiting && peer.connections.is_empty() {
            if self.peer_timers.get(slot).is_none() {
                self.dial(now, slot);
            }
        } else if self.is_idle(slot) {
            self.leave(slot);
        }
    }

    /// Rule 1. Without a place for the connection it is an attempt that failed, and not the peer's fault.
    fn dial(&mut self, now: Instant, slot: u32) {
        let dialled = self.insert_connection(Role::Dialler, ConnectionState::Dialing, Some(slot));
        match dialled {
            Ok(id) if self.join(slot, id) => {
                self.connection_timers.set(id.slot, now + self.limits.dial_timeout);
                self.step(|this| Some(Step::Dial(this.key(slot)?, id)));
            }
            Ok(id) => self.close(id, CloseReason::Capacity(CapacityError::Connections)),
            Err(_) => {
                self.attempt_failed(now, slot, NotSentCause::NoPlace);
                if self.is_idle(slot) {
                    self.leave(slot);
                }
            }
        }
    }

    /// Rules 10 and 12: an attempt of ours came to nothing.
    fn attempt_failed(&mut self, now: Instant, slot: u32, cause: NotSentCause) {
        let under_way = !self.connections_of(slot).is_empty();
        // A preflight of the peer that is not valid is the peer's matter, like one of ours that it refuses.
        let our_own_no = match cause {
            NotSentCause::GateFailed(CloseReason::Refused(refusal)) => refusal != Refusal::Preflight,
            NotSentCause::GateFailed(reason) => matches!(reason, CloseReason::Capacity(_)),
            _ => false,
        };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if cause == NotSentCause::Superseded && under_way {
            return;
        }
        peer.failed = peer.failed.saturating_add(1);
        let failed = peer.failed;
        if our_own_no || failed >= self.limits.attempts {
            let peers_fault = !our_own_no && cause != NotSentCause::NoPlace && !under_way && self.network_up;
            self.give_up(slot, cause);
            if peers_fault {
                self.step(|this| this.key(slot).map(Step::Unresponsive));
            }
            return;
        }
        let doubled = self.limits.backoff.saturating_mul(1 << u32::from(failed - 1).min(16));
        let wait = doubled.min(self.limits.max_backoff);
        let jitter = wait / 1024 * (self.next_random() % 256) as u32;
        self.peer_timers.set(slot, now + wait + jitter);
    }

    /// T_dial and T_hold (rule 4).
    fn connection_timeout(&mut self, now: Instant, connection: u32) {
        let Some(id) = self.connection_id(connection) else { return };
        let Some(&ConnectionSlot { state, peer: Some(slot), .. }) = self.connections.get(connection) else {
            return;
        };
        match state {
            ConnectionState::Dialing => {
                self.close(id, CloseReason::Timeout(Timeout::Dial));
                self.attempt_failed(now, slot, NotSentCause::DialFailed);
            }
            ConnectionState::Held => {
                if let Some(own) = self.own_dial(slot) {
                    self.close(own, CloseReason::Superseded);
                }
            }
            _ => {}
        }
        self.settle(now, slot);
    }

    /// The driver says that something came on a connection on which the gate lets nothing of the kind through.
    fn misplaced(&mut self, now: Instant, id: ConnectionId) {
        self.refuse(now, id, ProtocolError::SecondPreflight.into(), false);
    }

    fn give_up(&mut self, slot: u32, cause: NotSentCause) {
        self.peer_timers.clear(slot);
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.waiting = false;
            peer.failed = 0;
        }
        self.step(|this| Some(Step::GiveUp(this.key(slot)?, cause)));
    }

    /// Rule 9: while a connection is offered, no message begins to be written.
    fn update_pause(&mut self, slot: u32) {
        let paused = self.find_state(slot, ConnectionState::Offered).is_some();
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if core::mem::replace(&mut peer.paused, paused) != paused {
            self.step(|this| Some(Step::Pause(this.key(slot)?, paused)));
        }
    }

    // The tables.

    fn we_are_larger(&self, slot: u32) -> bool {
        self.peers.get(slot).is_some_and(|peer| self.own.cmp(&peer.id) == Ordering::Greater)
    }

    fn find(&self, id: &PeerId) -> Option<u32> {
        let hash = || hash_pair(self.hash_seed, id.as_bytes(), &[]);
        self.peers.find(hash, |peer| peer.id == *id).map(|(slot, _)| slot)
    }

    fn key(&self, slot: u32) -> Option<PeerKey> {
        Some(PeerKey { slot, generation: self.peers.get(slot)?.generation })
    }

    #[inline]
    fn peer_at(&self, key: PeerKey) -> Option<&PeerSlot<S>> {
        self.peers.get(key.slot).filter(|peer| peer.generation == key.generation)
    }

    fn peer_mut(&mut self, key: PeerKey) -> Option<&mut PeerSlot<S>> {
        self.peers.get_mut(key.slot).filter(|peer| peer.generation == key.generation)
    }

    /// A connection that has not ended.
    fn connection(&self, id: ConnectionId) -> Option<&ConnectionSlot> {
        self.connections.get(id.slot).filter(|connection| {
            connection.generation == id.generation && connection.state != ConnectionState::Closed
        })
    }

    fn connection_id(&self, slot: u32) -> Option<ConnectionId> {
        Some(ConnectionId { slot, generation: self.connections.get(slot)?.generation })
    }

    fn connections_of(&self, slot: u32) -> heapless::Vec<ConnectionId, MAX_CONNECTIONS_PER_PEER> {
        let connections = self.peers.get(slot).map(|peer| peer.connections.as_slice()).unwrap_or_default();
        connections.iter().filter_map(|&connection| self.connection_id(connection)).collect()
    }

    fn first_connection(&self, slot: u32) -> Option<ConnectionId> {
        self.connection_id(*self.peers.get(slot)?.connections.first()?)
    }

    fn find_state(&self, slot: u32, state: ConnectionState) -> Option<ConnectionId> {
        let peer = self.peers.get(slot)?;
        let found = peer.connections.iter().find(|&&connection| {
            self.connections.get(connection).is_some_and(|connection| connection.state == state)
        })?;
        self.connection_id(*found)
    }

    /// A dial of ours that has not been answered. `Answered` is S's only, and no reason to hold anything.
    fn own_dial(&self, slot: u32) -> Option<ConnectionId> {
        self.find_state(slot, ConnectionState::Dialing)
            .or_else(|| self.find_state(slot, ConnectionState::Sent))
    }

    fn oldest_pending(&self) -> Option<ConnectionId> {
        let pending = self.connections.iter().filter(|(_, other)| other.state == ConnectionState::Inbound);
        let (slot, oldest) = pending.min_by_key(|(_, other)| other.order)?;
        Some(ConnectionId { slot, generation: oldest.generation })
    }

    fn insert_peer(&mut self, id: &PeerId, url: &str) -> Result<u32, CapacityError> {
        let url = S::Url::copy_from(url).ok_or(CapacityError::TooLong)?;
        let seed = self.hash_seed;
        self.generation = self.generation.wrapping_add(1);
        let peer = PeerSlot {
            id: *id,
            url,
            generation: self.generation,
            connections: heapless::Vec::new(),
            failed: 0,
            waiting: false,
            paused: false,
            leaving: false,
        };
        self.peers.insert(|| hash_pair(seed, id.as_bytes(), &[]), peer).map_err(|_| CapacityError::Peers)
    }

    fn insert_connection(
        &mut self,
        role: Role,
        state: ConnectionState,
        peer: Option<u32>,
    ) -> Result<ConnectionId, CapacityError> {
        self.generation = self.generation.wrapping_add(1);
        let (generation, order) = (self.generation, self.next_order);
        self.next_order += 1;
        let connection = ConnectionSlot { generation, role, state, peer, order, proven: false };
        let slot = self.connections.insert(|| order, connection).map_err(|_| CapacityError::Connections)?;
        Ok(ConnectionId { slot, generation })
    }

    fn set_url(&mut self, slot: u32, url: &str) {
        if let (Some(peer), Some(url)) = (self.peers.get_mut(slot), S::Url::copy_from(url)) {
            peer.url = url;
        }
    }

    fn join(&mut self, slot: u32, id: ConnectionId) -> bool {
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        if peer.connections.push(id.slot).is_err() {
            return false;
        }
        if let Some(connection) = self.connections.get_mut(id.slot) {
            connection.peer = Some(slot);
        }
        true
    }

    fn set_state(&mut self, connection: u32, state: ConnectionState) {
        if let Some(connection) = self.connections.get_mut(connection) {
            if connection.state == ConnectionState::Inbound {
                self.pending -= 1;
            }
            connection.state = state;
        }
    }

    /// Takes a connection away from its peer and returns what it was.
    fn detach(&mut self, connection: u32) -> Option<ConnectionSlot> {
        self.connection_timers.clear(connection);
        let slot = self.connections.get_mut(connection)?;
        let was = slot.clone();
        (slot.state, slot.peer) = (ConnectionState::Closed, None);
        if was.state == ConnectionState::Inbound {
            self.pending -= 1;
        }
        if let Some(peer) = was.peer.and_then(|peer| self.peers.get_mut(peer)) {
            peer.connections.retain(|&other| other != connection);
        }
        Some(was)
    }

    /// Closes a connection by our own decision.
    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if self.connection(id).is_some() {
            self.detach(id.slot);
            self.steps_push(Step::Close(id, reason));
        }
    }

    /// Whether nothing is connected to a peer, nothing waits for it, and nothing is to come.
    fn is_idle(&self, slot: u32) -> bool {
        let idle = |peer: &PeerSlot<S>| peer.connections.is_empty() && !peer.waiting;
        self.peers.get(slot).is_some_and(idle) && self.peer_timers.get(slot).is_none()
    }

    /// A peer about which there is nothing left is forgotten once everything was told of it.
    fn leave(&mut self, slot: u32) {
        let Some(key) = self.key(slot) else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !core::mem::replace(&mut peer.leaving, true) {
            self.steps_push(Step::Forget(key));
        }
    }

    /// Removes a peer, unless something has come up since it was to leave.
    fn forget(&mut self, key: PeerKey) -> bool {
        let Some(peer) = self.peer_mut(key) else { return false };
        peer.leaving = false;
        let idle = self.is_idle(key.slot);
        if idle {
            self.peers.remove(key.slot);
        }
        idle
    }

    fn step(&mut self, step: impl FnOnce(&Self) -> Option<Step>) {
        if let Some(step) = step(self) {
            self.steps_push(step);
        }
    }

    fn steps_push(&mut self, step: Step) {
        let pushed = self.steps.push_back(step);
        debug_assert!(pushed.is_ok(), "steps are taken after each input");
    }

    /// xorshift64: jitter needs no better.
    fn next_random(&mut self) -> u64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        self.jitter
    }
}
