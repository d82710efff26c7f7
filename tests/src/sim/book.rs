//! The reference model of one node: what its application knows, and what must hold.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use kitfox_core::PeerId;
use kitfox_core::connection::{Numbers, RxCounts};
use kitfox_core::node::{ConnectionId, MessageId, PeerKey};
use kitfox_core::router::DropReason;
use kitfox_core::wire::{Kind, Message};

use super::link::Origin;

/// A message that was accepted for sending.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) origin: Origin,
    /// Encoded.
    pub(super) payload: Vec<u8>,
}

/// What is known of one stay of a peer in the table.
#[derive(Debug, Clone)]
pub(super) struct PeerBook {
    pub(super) id: PeerId,
    pub(super) up: Option<ConnectionId>,
    /// Messages that were accepted and not begun to be written, in order.
    pub(super) waiting: VecDeque<Accepted>,
    /// The number of the first of them.
    pub(super) first: u64,
    /// The number of the first message of the session that is up.
    session: u64,
}

/// What a node's application knows, and what follows from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub(super) peers: BTreeMap<PeerKey, PeerBook>,
    /// Spaces with their modules, and whether they are registered.
    pub(super) spaces: BTreeMap<Vec<u8>, (bool, BTreeSet<String>)>,
    pub(super) blocks: BTreeSet<(PeerId, Option<Vec<u8>>)>,
    pub(super) agents: bool,
    pub(super) failing: bool,
    /// Blocked messages, in and out, by peer and space.
    pub(super) blocked: BTreeMap<(PeerId, Vec<u8>), [u64; 2]>,
    /// The last message that was received from each process.
    pub(super) received: BTreeMap<(usize, u32), u64>,
}

/// What is to become of a frame that is received on an open connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    Notify,
    Module,
    Dropped(DropReason),
    Validate,
    Close,
}

impl Book {
    pub(super) fn is_registered(&self, space: &[u8]) -> bool {
        self.spaces.get(space).is_some_and(|space| space.0)
    }

    pub(super) fn is_blocked(&self, id: &PeerId, space: &[u8]) -> bool {
        self.blocks.contains(&(*id, None)) || self.blocks.contains(&(*id, Some(space.to_vec())))
    }

    /// The rules of receiving.
    pub(super) fn expected(&self, from: &PeerId, payload: &[u8]) -> Expected {
        let Ok(message) = Message::decode(payload) else { return Expected::Close };
        match (message.kind(), message.space) {
            (Kind::Preflight, _) => Expected::Validate,
            (Kind::Disconnect, _) | (Kind::Notify | Kind::Module, None) => Expected::Close,
            (kind @ (Kind::Notify | Kind::Module), Some(space)) => {
                if !self.is_registered(space) {
                    return Expected::Dropped(DropReason::UnknownSpace);
                }
                if self.failing {
                    return Expected::Close;
                }
                if self.is_blocked(from, space) {
                    return Expected::Dropped(DropReason::Blocked);
                }
                let known = message.module.is_some_and(|module| {
                    self.spaces.get(space).is_some_and(|space| space.1.contains(module.as_str()))
                });
                match kind {
                    Kind::Notify => Expected::Notify,
                    _ if known => Expected::Module,
                    _ => Expected::Dropped(DropReason::UnknownModule),
                }
            }
            _ => Expected::Dropped(DropReason::Unspecified),
        }
    }

    pub(super) fn count_blocked(&mut self, id: PeerId, space: &[u8], direction: usize) {
        self.blocked.entry((id, space.to_vec())).or_default()[direction] += 1;
    }

    /// A message was accepted.
    pub(super) fn accepted(
        &mut self,
        message: MessageId,
        id: PeerId,
        accepted: Accepted,
    ) -> Result<(), String> {
        let peer = self.peer(message.peer, id);
        let expected = peer.first + peer.waiting.len() as u64;
        if peer.id != id || message.number != expected {
            return Err(format!("accepted as {message:?}, expected number {expected} of {id}"));
        }
        peer.waiting.push_back(accepted);
        Ok(())
    }

    fn peer(&mut self, key: PeerKey, id: PeerId) -> &mut PeerBook {
        let new = PeerBook { id, up: None, waiting: VecDeque::new(), first: 0, session: 0 };
        self.peers.entry(key).or_insert(new)
    }

    pub(super) fn up(&mut self, key: PeerKey, id: PeerId, connection: ConnectionId) -> Result<(), String> {
        let other =
            self.peers.iter().find(|(other, peer)| **other != key && peer.id == id && peer.up.is_some());
        if let Some((other, _)) = other {
            return Err(format!("{key:?} is up while {other:?} of the same id {id} is"));
        }
        let peer = self.peer(key, id);
        if let Some(up) = peer.up {
            return Err(format!("peer {id} is up on {connection:?} while it is up on {up:?}"));
        }
        if peer.id != id {
            return Err(format!("{key:?} was {} and is {id}", peer.id));
        }
        (peer.up, peer.session) = (Some(connection), peer.first);
        Ok(())
    }

    /// A peer is down. `unclear` says that the connection may have begun another message.
    /// Returns that message, if it has.
    pub(super) fn down(
        &mut self,
        key: PeerKey,
        connection: ConnectionId,
        unknown: Option<Numbers>,
        unclear: bool,
    ) -> Result<Option<Accepted>, String> {
        let peer = self.peers.get_mut(&key).filter(|peer| peer.up == Some(connection));
        let peer = peer.ok_or_else(|| format!("{key:?} is down on {connection:?}, where it is not up"))?;
        peer.up = None;
        let range = |end| (peer.session < end).then(|| Numbers { first: peer.session, last: end - 1 });
        if unknown == range(peer.first) {
            return Ok(None);
        }
        if unclear && !peer.waiting.is_empty() && unknown == range(peer.first + 1) {
            peer.first += 1;
            return Ok(peer.waiting.pop_front());
        }
        Err(format!("unknown are {unknown:?} of {key:?}, but {:?} were written", range(peer.first)))
    }

    /// The connection of a peer that is up begins to write a message.
    pub(super) fn begun(&mut self, connection: ConnectionId) -> Result<Accepted, String> {
        let peer = self.peers.values_mut().find(|peer| peer.up == Some(connection));
        let peer = peer.ok_or_else(|| format!("{connection:?} writes a message and is not up"))?;
        let accepted = peer.waiting.pop_front();
        let accepted =
            accepted.ok_or_else(|| format!("{connection:?} writes a message that is not to be written"))?;
        peer.first += 1;
        Ok(accepted)
    }

    /// A message is given up; `while_up` says that this may happen while its peer is.
    pub(super) fn not_sent(
        &mut self,
        message: MessageId,
        payload: Option<&[u8]>,
        while_up: bool,
    ) -> Result<Origin, String> {
        let peer = self.peers.get_mut(&message.peer);
        let peer = peer.filter(|peer| peer.first == message.number && !peer.waiting.is_empty());
        let accepted = peer.and_then(|peer| {
            // In between others that were written it counts as one of them.
            if peer.up.is_none() || peer.session == peer.first {
                peer.session = peer.first + 1;
            }
            peer.first += 1;
            if peer.up.is_some() && !while_up { None } else { peer.waiting.pop_front() }
        });
        let accepted = accepted
            .ok_or_else(|| format!("{message:?} is not sent, but was written, or is not the first"))?;
        if payload != Some(&accepted.payload[..]) {
            return Err(format!("{message:?} is not sent, and another message is handed back"));
        }
        Ok(accepted.origin)
    }

    /// A message of another process is delivered.
    pub(super) fn received(&mut self, origin: Origin) -> Result<(), String> {
        let last = self.received.entry((origin.host, origin.incarnation)).or_default();
        if *last >= origin.serial {
            return Err(format!("message {} of node {} after {last}", origin.serial, origin.host));
        }
        *last = origin.serial;
        Ok(())
    }
}

/// The model of a connection's counters.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) dropped: [u64; DropReason::ALL.len()],
}

impl Counts {
    pub(super) fn agree(&self, counts: &RxCounts) -> Result<(), String> {
        let dropped: Vec<_> = DropReason::ALL.iter().map(|&reason| counts.dropped(reason)).collect();
        if (self.messages, self.bytes, &self.dropped[..]) == (counts.messages, counts.bytes, &dropped[..]) {
            Ok(())
        } else {
            Err(format!("counted {counts:?}, expected {self:?}"))
        }
    }
}
