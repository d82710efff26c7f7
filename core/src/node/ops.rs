//! What can be done to a node, also from inside a delivery.

use super::action::{MessageId, SendError};
use super::peers::PeerTable;
use super::step::{ConnectionId, PeerKey};
use super::timers::Timers;
use super::{PartingWords, outbox_for, outbox_of};
use crate::config::Config;
use crate::connection::{Channel, CloseReason, NotDialable, PushError, Refusal, check_dialable};
use crate::peer::{Peer, PeerId};
use crate::router::{BlockedCounts, Directory, Policy, SendRefused};
use crate::storage::{Seq, Storage};
use crate::time::Instant;
use crate::wire::{Message, PeerUrl};

/// Which URLs a node dials. That of [`Channel`] in two words, so that only a secured node knows what a key is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialling {
    /// Secured URLs, and no others.
    secured: bool,
    can_prove: fn(&PeerId) -> bool,
}

impl Dialling {
    pub(super) fn of<C: Channel>() -> Self {
        Self { secured: C::SECURED, can_prove: C::can_prove }
    }
}

/// What can be done to a [`Node`](super::Node): send, register, block, disconnect, refuse; also while an action is
/// looked at.
#[derive(Debug)]
pub struct Ops<'n, S: Storage, P> {
    pub(super) directory: &'n mut Directory<S, P>,
    pub(super) counts: &'n mut BlockedCounts<S>,
    pub(super) peers: &'n mut PeerTable<S>,
    pub(super) outboxes: &'n mut S::Outboxes,
    pub(super) timers: &'n mut Timers<S::ConnectionTimers, S::ConnectionPlaces>,
    pub(super) parting: &'n mut Option<(ConnectionId, PartingWords)>,
    /// The peer whose message is given up in the action that is looked at.
    pub(super) given_up: Option<PeerKey>,
    pub(super) config: &'n Config,
    pub(super) dialling: Dialling,
    pub(super) now: Instant,
}

impl<S: Storage, P: Policy> Ops<'_, S, P> {
    /// The spaces, the modules and the policy.
    pub fn directory(&self) -> &Directory<S, P> {
        self.directory
    }

    /// The spaces, the modules and the policy, to change them: register, unregister, block.
    pub fn directory_mut(&mut self) -> &mut Directory<S, P> {
        self.directory
    }

    /// The peers and their connections.
    pub fn peers(&self) -> &PeerTable<S> {
        self.peers
    }

    /// A peer, as policies see it.
    pub fn peer(&self, key: PeerKey) -> Option<Peer<'_>> {
        self.peers.as_peer(key)
    }

    /// The peer at the other end of a connection; `None` before its gate has let it in, and after its end.
    pub fn peer_of(&self, connection: ConnectionId) -> Option<PeerKey> {
        self.peers.peer_of(connection)
    }

    /// The message that [`NotSent`](super::Action::NotSent) tells of, handed back.
    pub fn given_up(&self) -> Option<Message<'_>> {
        let outbox = self.outboxes.as_slice().get(self.given_up?.index())?.as_ref()?;
        Message::decode(outbox.first()?.1).ok()
    }

    /// Sends a message to a peer's space, and dials the peer if it is not connected.
    ///
    /// # Errors
    /// See [`SendError`]: nothing has changed, and the message is still the caller's. A message that was accepted ends
    /// as written on a connection that stays open, as unknown ([`PeerDown`](super::Action::PeerDown)) or as
    /// [`NotSent`](super::Action::NotSent).
    pub fn notify(&mut self, to: PeerUrl<'_>, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.send_to_url(to, space, &Message::notify(space, data))
    }

    /// Sends a message to a module of a peer's space, and dials the peer if it is not connected.
    ///
    /// # Errors
    /// As for [`notify`](Self::notify).
    pub fn module(
        &mut self,
        to: PeerUrl<'_>,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError> {
        self.send_to_url(to, space, &Message::module(space, module, data))
    }

    /// Sends a message to the space of a peer that is in the table: one that is up, say.
    ///
    /// # Errors
    /// As for [`notify`](Self::notify); [`NotDialable::NoPeerId`] if the peer is not in the table any more.
    pub fn notify_peer(&mut self, to: PeerKey, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.send_to_peer(to, space, &Message::notify(space, data))
    }

    /// Sends a message to a module of a peer that is in the table: one that is up, say.
    ///
    /// # Errors
    /// As for [`notify_peer`](Self::notify_peer).
    pub fn module_peer(
        &mut self,
        to: PeerKey,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError> {
        self.send_to_peer(to, space, &Message::module(space, module, data))
    }

    fn send_to_url(
        &mut self,
        to: PeerUrl<'_>,
        space: &[u8],
        message: &Message<'_>,
    ) -> Result<MessageId, SendError> {
        let not_dialable = |error| Err(SendError::NotDialable(error));
        let Some(id) = to.peer_id().and_then(PeerId::new) else { return not_dialable(NotDialable::NoPeerId) };
        if id == *self.peers.own_id() {
            return not_dialable(NotDialable::OurOwnId);
        }
        permit(self.directory, self.counts, &Peer::new(to.as_str(), Some(&id)), space)?;
        let known = self.peers.peer(&id);
        let open = known.and_then(|peer| self.peers.open_connection(peer));
        if open.is_none() {
            check_dialable(to, self.dialling.secured).map_err(SendError::NotDialable)?;
        }
        // Who is in the table was looked at before.
        if known.is_none() && !(self.dialling.can_prove)(&id) {
            return not_dialable(NotDialable::NoKey);
        }
        if open.is_none() && self.peers.is_crowded() {
            // Before the peer enters the table, where it would have to leave again.
            return Err(SendError::NotQueued(PushError::Backpressure));
        }
        let key = self.peers.enter(&id, to.as_str()).map_err(SendError::Capacity)?;
        self.queue(key, open, message)
    }

    #[inline]
    fn send_to_peer(
        &mut self,
        to: PeerKey,
        space: &[u8],
        message: &Message<'_>,
    ) -> Result<MessageId, SendError> {
        let gone = SendError::NotDialable(NotDialable::NoPeerId);
        let (peer, open) = self.peers.to_send(to).ok_or(gone)?;
        permit(self.directory, self.counts, &peer, space)?;
        self.queue(to, open, message)
    }

    /// Puts a message into the outbox of a peer, which is dialled unless a connection is open to it.
    #[inline]
    fn queue(
        &mut self,
        peer: PeerKey,
        open: Option<ConnectionId>,
        message: &Message<'_>,
    ) -> Result<MessageId, SendError> {
        if open.is_none() && self.peers.is_crowded() {
            return Err(SendError::NotQueued(PushError::Backpressure));
        }
        let outbox = outbox_for::<S>(self.outboxes, peer, self.config);
        let pushed = outbox.map_or(Err(PushError::Backpressure), |outbox| outbox.push(message));
        match open {
            // A driver whose socket is full does not ask for bytes: the deadline of writing must not wait for it.
            Some(open) => {
                let (key, look_at) = (open.index() as u32, self.now + self.config.tx_timeout);
                if self.timers.get(key).is_none_or(|armed| look_at < armed) {
                    self.timers.set(key, look_at);
                }
            }
            None => self.peers.waiting(self.now, peer, pushed.is_ok()),
        }
        pushed.map(|number| MessageId { peer, number }).map_err(SendError::NotQueued)
    }

    /// Ends the connection to a peer and tells it why, in at most [`MAX_PARTING_BYTES`](super::MAX_PARTING_BYTES).
    /// What waits for it is given up. Returns `false`, and does nothing, if so many things wait to be taken out as
    /// actions that no more can be done at once, or if the peer is not in the table.
    pub fn disconnect(&mut self, peer: PeerKey, reason: &[u8]) -> bool {
        if self.peers.is_crowded() || self.parting.is_some() || self.peers.id(peer).is_none() {
            return false;
        }
        if let Some(open) = self.peers.open_connection(peer) {
            let cut = reason.len().min(super::MAX_PARTING_BYTES);
            *self.parting = PartingWords::from_slice(&reason[..cut]).ok().map(|words| (open, words));
        }
        self.peers.disconnect(self.now, peer);
        true
    }

    /// Closes a connection because a handler refuses what came on it. Nothing more of it is delivered. Returns `false`,
    /// and does nothing, if so many connections were refused in one delivery that no more can be done at once.
    pub fn refuse(&mut self, connection: ConnectionId) -> bool {
        if self.peers.is_full() {
            return false;
        }
        let up = self.peers.peer_of(connection);
        let outbox = up.and_then(|peer| outbox_of::<S>(self.outboxes, peer));
        let waiting = outbox.is_some_and(|outbox| outbox.has_unwritten());
        self.peers.refuse(self.now, connection, CloseReason::Refused(Refusal::Handler), waiting);
        true
    }
}

/// Whether a message may go to a peer. It is counted if the peer is blocked.
#[inline]
fn permit<S: Storage, P: Policy>(
    directory: &Directory<S, P>,
    counts: &mut BlockedCounts<S>,
    peer: &Peer<'_>,
    space: &[u8],
) -> Result<(), SendError> {
    directory.permit_send(peer, space).map_err(|refused| {
        if refused == SendRefused::Blocked {
            counts.outgoing(peer.url, space);
        }
        SendError::Refused(refused)
    })
}
