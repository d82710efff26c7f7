//! What an application implements: one handler for the whole node.

use core::fmt;
use core::task::{Context, Poll};

use kitfox_core::connection::Numbers;
use kitfox_core::node::{ConnectionId, DownCause, MessageId, NotSentCause, PeerKey};
use kitfox_core::router::BlockList;
use kitfox_core::storage::Storage;
use kitfox_core::{Peer, PeerId};

/// The node, as a handler may use it while it is called: send, reply, register, block, disconnect, refuse.
///
/// `node.notify_peer(message.from, message.space, b"ack")` replies,
/// `node.directory_mut().policy_mut().block(id, None)` blocks.
pub type Ops<'n, S> = kitfox_core::node::Ops<'n, S, BlockList<S>>;

/// A handler says no. The connection is closed; the peer is told "refused" and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // it says all there is to say
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused by a handler")
    }
}

impl core::error::Error for Refused {}

/// A message that came, lent for the call. Where it arrived whole it lies in the socket's own ring buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Incoming<'a> {
    /// Who sent it: [`Ops::peer`](kitfox_core::node::Ops::peer) has its URL and id.
    pub from: PeerKey,
    /// The connection on which it came.
    pub connection: ConnectionId,
    /// The id of its space.
    pub space: &'a [u8],
    /// The name of its module; empty for a message to the space itself.
    pub module: &'a str,
    /// The payload.
    pub data: &'a [u8],
    /// Bytes of its frame, header included.
    pub wire_bytes: usize,
}

/// Why a peer is down, and what that means for messages to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Down<'a> {
    /// Its connection ended, or another one of the same peer took its place.
    pub cause: DownCause,
    /// The peer's own words, if it said any. Any bytes, and not to be trusted.
    pub message: &'a [u8],
    /// Messages that were written on the connection, wholly or in part: they may have arrived, or not. They are never
    /// sent again by kitfox. What was accepted and not written stays in the outbox and goes out later.
    pub unknown: Option<Numbers>,
}

/// What the node asks and tells. Every method but [`notify`](Self::notify) has a default: everybody is accepted,
/// preflights are empty, events go nowhere.
///
/// The methods are called from inside [`Runner::run`](crate::Runner::run) and must return soon. They may use the `node`
/// that they are given, but neither await nor touch sockets or the network stack, which is borrowed meanwhile. What is
/// to be awaited goes into an [`Inbox`](crate::Inbox), or another channel, to a task of its own.
pub trait Handler<S: Storage> {
    /// A message for a space.
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn notify(&mut self, node: &mut Ops<'_, S>, message: &Incoming<'_>) -> Result<(), Refused>;

    /// A message for a module of a space.
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn module(&mut self, node: &mut Ops<'_, S>, message: &Incoming<'_>) -> Result<(), Refused> {
        let (_, _) = (node, message);
        Ok(())
    }

    /// Whether a message could be taken now. While not, nothing is read of any connection, and peers are stopped when
    /// the sockets' buffers are full. Whoever says [`Poll::Pending`] sees that the task of `cx` is woken when that
    /// changes.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// May the handshake of a secured connection go on with a peer that claims this id? It has proven nothing yet, and
    /// what follows costs us the time of three steps: here is where to turn away ids that are known to be unwanted.
    fn admit_handshake(&mut self, claimed: &PeerId) -> bool {
        let _ = claimed;
        true
    }

    /// May this peer connect?
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn peer_connect(&mut self, peer: &Peer<'_>) -> Result<(), Refused> {
        let _ = peer;
        Ok(())
    }

    /// Has this space a local agent? If spaces are registered and none has one, no connection is made.
    fn has_local_agents(&mut self, space: &[u8]) -> bool {
        let _ = space;
        true
    }

    /// What shall our preflight tell this peer?
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn preflight_gather(&mut self, peer: &Peer<'_>) -> Result<&[u8], Refused> {
        let _ = peer;
        Ok(&[])
    }

    /// Is what the peer's preflight says acceptable? It may also send one later, on the open connection.
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn preflight_validate(&mut self, peer: &Peer<'_>, data: &[u8]) -> Result<(), Refused> {
        let (_, _) = (peer, data);
        Ok(())
    }

    /// A peer is up: its gate is open. Called before its first message.
    fn peer_up(&mut self, node: &mut Ops<'_, S>, peer: PeerKey) {
        let (_, _) = (node, peer);
    }

    /// A peer is down. Called after its last message, and before the same peer is up again.
    fn peer_down(&mut self, node: &mut Ops<'_, S>, peer: PeerKey, down: &Down<'_>) {
        let (_, _, _) = (node, peer, down);
    }

    /// A message that was accepted was given up: it certainly never arrives.
    /// [`Ops::given_up`](kitfox_core::node::Ops::given_up) hands it back.
    fn not_sent(&mut self, node: &mut Ops<'_, S>, message: MessageId, cause: NotSentCause) {
        let (_, _, _) = (node, message, cause);
    }

    /// A peer does not respond, by its own fault.
    fn unresponsive(&mut self, peer: &Peer<'_>) {
        let _ = peer;
    }

    /// The node listens under this URL: the network is up, or has another address.
    fn new_listening_address(&mut self, url: &str) {
        let _ = url;
    }

    /// The node does not listen under this URL any more.
    fn lost_listening_address(&mut self, url: &str) {
        let _ = url;
    }
}

/// The handler that accepts everybody and listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)]
pub struct NoHandler;

impl<S: Storage> Handler<S> for NoHandler {
    fn notify(&mut self, _: &mut Ops<'_, S>, _: &Incoming<'_>) -> Result<(), Refused> {
        Ok(())
    }
}

/// A closure is a handler of messages to spaces.
impl<S: Storage, F> Handler<S> for F
where
    F: FnMut(&mut Ops<'_, S>, &Incoming<'_>) -> Result<(), Refused>,
{
    fn notify(&mut self, node: &mut Ops<'_, S>, message: &Incoming<'_>) -> Result<(), Refused> {
        self(node, message)
    }
}
