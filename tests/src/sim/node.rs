//! Nodes of every storage tier and channel behind one type.

use alloc::collections::BTreeMap;

use kitfox_core::connection::{Answer, Channel, QuestionId, RxCounts, Wants};
use kitfox_core::node::{
    Action, ConnectionId, ConnectionState, Input, MessageId, Node, Ops, PeerKey, SendError,
};
use kitfox_core::router::{BlockList, Policy, PolicyFailed, RegisterError};
use kitfox_core::storage::Storage;
use kitfox_core::wire::PeerUrl;
use kitfox_core::{ApiMisuse, CapacityError, Instant, Peer, PeerId};

use super::tapped::{Begin, Text};

/// A policy that can be told to fail.
#[derive(Debug, Clone)]
pub(super) struct Rules<S: Storage> {
    pub(super) blocks: BlockList<S>,
    pub(super) agents: bool,
    pub(super) failing: bool,
}

impl<S: Storage> Policy for Rules<S> {
    fn is_blocked(&self, peer: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed> {
        if self.failing { Err(PolicyFailed) } else { self.blocks.is_blocked(peer, space) }
    }

    fn has_local_agents(&self, _: &[u8]) -> Result<bool, PolicyFailed> {
        if self.failing { Err(PolicyFailed) } else { Ok(self.agents) }
    }
}

/// What is sent: to a space, or to one of its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) space: &'static [u8],
    pub(super) module: Option<&'static str>,
    pub(super) data: Vec<u8>,
}

impl Outgoing {
    pub(super) fn message(&self) -> kitfox_core::wire::Message<'_> {
        match self.module {
            Some(module) => kitfox_core::wire::Message::module(self.space, module, &self.data),
            None => kitfox_core::wire::Message::notify(self.space, &self.data),
        }
    }
}

/// To whom it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum To<'a> {
    Url(PeerUrl<'a>),
    Peer(PeerKey),
}

/// What can be done to a node from inside a delivery and from outside.
pub(super) trait AnyOps {
    fn send(&mut self, to: To<'_>, what: &Outgoing) -> Result<MessageId, SendError>;
    fn disconnect(&mut self, peer: PeerKey, reason: &[u8]) -> bool;
    fn refuse(&mut self, connection: ConnectionId);
    /// The message that is given up, encoded.
    fn given_up(&self) -> Option<Vec<u8>>;
    fn peer_id(&self, peer: PeerKey) -> Option<PeerId>;
    fn url(&self, peer: PeerKey) -> Option<String>;
    fn key(&self, id: &PeerId) -> Option<PeerKey>;
    fn register_space(&mut self, space: &[u8]) -> Result<(), RegisterError>;
    fn unregister_space(&mut self, space: &[u8]) -> bool;
    fn register_module(&mut self, space: &[u8], module: &str) -> Result<(), RegisterError>;
    fn unregister_module(&mut self, space: &[u8], module: &str) -> bool;
    fn block(&mut self, id: PeerId, space: Option<&[u8]>) -> Result<(), CapacityError>;
    fn unblock(&mut self, id: PeerId, space: Option<&[u8]>) -> bool;
    fn set_policy(&mut self, agents: bool, failing: bool);
}

impl<S: Storage> AnyOps for Ops<'_, S, Rules<S>> {
    fn send(&mut self, to: To<'_>, what: &Outgoing) -> Result<MessageId, SendError> {
        match (to, what.module) {
            (To::Url(url), None) => self.notify(url, what.space, &what.data),
            (To::Url(url), Some(module)) => self.module(url, what.space, module, &what.data),
            (To::Peer(peer), None) => self.notify_peer(peer, what.space, &what.data),
            (To::Peer(peer), Some(module)) => self.module_peer(peer, what.space, module, &what.data),
        }
    }

    fn disconnect(&mut self, peer: PeerKey, reason: &[u8]) -> bool {
        Ops::disconnect(self, peer, reason)
    }

    fn refuse(&mut self, connection: ConnectionId) {
        Ops::refuse(self, connection);
    }

    fn given_up(&self) -> Option<Vec<u8>> {
        let message = Ops::given_up(self)?;
        let mut bytes = vec![0; message.encoded_len()];
        message.encode(&mut bytes).ok()?;
        Some(bytes)
    }

    fn peer_id(&self, peer: PeerKey) -> Option<PeerId> {
        self.peers().id(peer).copied()
    }

    fn url(&self, peer: PeerKey) -> Option<String> {
        self.peers().url(peer).map(str::to_owned)
    }

    fn key(&self, id: &PeerId) -> Option<PeerKey> {
        self.peers().peer(id)
    }

    fn register_space(&mut self, space: &[u8]) -> Result<(), RegisterError> {
        self.directory_mut().register_space(space).map(drop)
    }

    fn unregister_space(&mut self, space: &[u8]) -> bool {
        self.directory_mut().unregister_space(space)
    }

    fn register_module(&mut self, space: &[u8], module: &str) -> Result<(), RegisterError> {
        self.directory_mut().register_module(space, module).map(drop)
    }

    fn unregister_module(&mut self, space: &[u8], module: &str) -> bool {
        self.directory_mut().unregister_module(space, module)
    }

    fn block(&mut self, id: PeerId, space: Option<&[u8]>) -> Result<(), CapacityError> {
        self.directory_mut().policy_mut().blocks.block(id, space)
    }

    fn unblock(&mut self, id: PeerId, space: Option<&[u8]>) -> bool {
        self.directory_mut().policy_mut().blocks.unblock(id, space)
    }

    fn set_policy(&mut self, agents: bool, failing: bool) {
        let policy = self.directory_mut().policy_mut();
        (policy.agents, policy.failing) = (agents, failing);
    }
}

/// How the taking of actions ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handled {
    pub(super) taken: usize,
    pub(super) wants: Wants,
    /// All actions were taken.
    pub(super) drained: bool,
}

/// Takes one action.
pub(super) type Take<'t> = dyn FnMut(Action<'_>, &mut dyn AnyOps) + 't;

/// A counter of blocked messages: URL, space, incoming, outgoing.
pub(super) type Blocked = (String, Vec<u8>, u32, u32);

/// A node of any tier with any channel.
pub(super) trait AnyNode {
    fn accept(&mut self, now: Instant) -> Result<ConnectionId, CapacityError>;
    fn connected(&mut self, now: Instant, id: ConnectionId) -> Result<(), ApiMisuse>;
    /// Handles an input and takes at most so many actions.
    fn handle(&mut self, now: Instant, input: Input<'_>, most: usize, take: &mut Take<'_>) -> Handled;
    fn answer(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        id: QuestionId,
        answer: Answer<'_>,
    ) -> Result<(), ApiMisuse>;
    fn with_ops(&mut self, now: Instant, with: &mut dyn FnMut(&mut dyn AnyOps));
    /// At most so many bytes for the socket, pulled as a copy or as pieces.
    fn transmit(&mut self, now: Instant, connection: ConnectionId, most: usize, pieces: bool) -> Vec<u8>;
    /// The text that was sealed since this was asked last; `None` if its bytes are the text.
    fn sealed(&mut self, connection: ConnectionId) -> Option<Vec<u8>>;
    /// One step of the handshake.
    fn work(&mut self, now: Instant, connection: ConnectionId);
    fn has_output(&mut self, connection: ConnectionId) -> bool;
    fn release(&mut self, connection: ConnectionId);
    fn poll_timeout(&self) -> Option<Instant>;
    fn set_network_up(&mut self, up: bool);
    fn connections(&self) -> Vec<(ConnectionId, ConnectionState)>;
    fn pending(&self) -> usize;
    fn peer_count(&self) -> usize;
    fn peer_id(&self, peer: PeerKey) -> Option<PeerId>;
    fn outbox(&self, peer: PeerKey) -> Option<(usize, bool)>;
    fn counts(&self, connection: ConnectionId) -> Option<RxCounts>;
    fn receive_memory(&self) -> (usize, usize);
    fn blocked(&self) -> (Vec<Blocked>, u64);
}

/// A node, and what its connections are made of.
pub(super) struct Keeper<S: Storage, C: Channel, M> {
    node: Node<S, Rules<S>, C>,
    starts: M,
    texts: BTreeMap<ConnectionId, Text>,
}

impl<S: Storage, C: Channel, M> Keeper<S, C, M> {
    pub(super) fn new(node: Node<S, Rules<S>, C>, starts: M) -> Self {
        Self { node, starts, texts: BTreeMap::new() }
    }
}

impl<S, C, M> AnyNode for Keeper<S, C, M>
where
    S: Storage,
    C: Channel,
    M: Begin<C>,
{
    fn accept(&mut self, now: Instant) -> Result<ConnectionId, CapacityError> {
        let (start, text) = self.starts.accept();
        let id = self.node.accept(now, start)?;
        self.texts.extend(text.map(|text| (id, text)));
        Ok(id)
    }

    fn connected(&mut self, now: Instant, id: ConnectionId) -> Result<(), ApiMisuse> {
        let peers = self.node.peers();
        let peer = peers.peer_of(id).and_then(|peer| peers.id(peer).copied());
        let start = peer.and_then(|peer| self.starts.dial(&peer)).ok_or(ApiMisuse::NoSuchConnection);
        let (start, text) = start?;
        self.node.connected(now, id, start)?;
        self.texts.extend(text.map(|text| (id, text)));
        Ok(())
    }

    fn handle(&mut self, now: Instant, input: Input<'_>, most: usize, take: &mut Take<'_>) -> Handled {
        let mut actions = self.node.handle(now, input);
        let mut left = most;
        let drained = loop {
            if left == 0 {
                break false;
            }
            left -= 1;
            match actions.next_with() {
                Some((action, mut ops)) => take(action, &mut ops),
                None => break true,
            }
        };
        let (taken, wants) = actions.finish();
        Handled { taken, wants, drained }
    }

    fn answer(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        id: QuestionId,
        answer: Answer<'_>,
    ) -> Result<(), ApiMisuse> {
        self.node.answer(now, connection, id, answer)
    }

    fn with_ops(&mut self, now: Instant, with: &mut dyn FnMut(&mut dyn AnyOps)) {
        with(&mut self.node.ops(now));
    }

    fn transmit(&mut self, now: Instant, connection: ConnectionId, most: usize, pieces: bool) -> Vec<u8> {
        if pieces {
            let mut out = Vec::new();
            let written = self.node.transmit_slices(now, connection, |pieces| {
                for piece in pieces {
                    let len = piece.len().min(most - out.len());
                    out.extend_from_slice(&piece[..len]);
                }
                Ok::<_, ()>(out.len())
            });
            debug_assert_eq!(written, Ok(out.len()));
            out
        } else {
            let mut out = vec![0; most];
            let len = self.node.transmit(now, connection, &mut out);
            out.truncate(len);
            out
        }
    }

    fn sealed(&mut self, connection: ConnectionId) -> Option<Vec<u8>> {
        self.texts.get(&connection).map(|text| text.take())
    }

    fn work(&mut self, now: Instant, connection: ConnectionId) {
        self.node.work(now, connection);
    }

    fn has_output(&mut self, connection: ConnectionId) -> bool {
        self.node.has_output(connection)
    }

    fn release(&mut self, connection: ConnectionId) {
        self.texts.remove(&connection);
        self.node.release(connection);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }

    fn set_network_up(&mut self, up: bool) {
        self.node.set_network_up(up);
    }

    fn connections(&self) -> Vec<(ConnectionId, ConnectionState)> {
        self.node.peers().connections().collect()
    }

    fn pending(&self) -> usize {
        self.node.peers().pending()
    }

    fn peer_count(&self) -> usize {
        self.node.peers().peers().count()
    }

    fn peer_id(&self, peer: PeerKey) -> Option<PeerId> {
        self.node.peers().id(peer).copied()
    }

    fn outbox(&self, peer: PeerKey) -> Option<(usize, bool)> {
        self.node.outbox(peer).map(|outbox| (outbox.len(), outbox.has_unwritten()))
    }

    fn counts(&self, connection: ConnectionId) -> Option<RxCounts> {
        Some(self.node.rx(connection)?.counts())
    }

    fn receive_memory(&self) -> (usize, usize) {
        let rx = self.node.peers().connections().filter_map(|(id, _)| self.node.rx(id));
        (self.node.receive_bytes(), rx.map(|rx| rx.memory()).sum())
    }

    fn blocked(&self) -> (Vec<Blocked>, u64) {
        let counts = self.node.blocked_counts();
        let entries = counts.iter().map(|entry| {
            (entry.peer().to_owned(), entry.space().to_owned(), entry.incoming(), entry.outgoing())
        });
        (entries.collect(), counts.unattributed())
    }
}
