//! What an application implements: handlers of the node, of spaces and of modules.

use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kitfox_core::PeerId;
use kitfox_core::connection::{CloseReason, Numbers};
use kitfox_core::node::{DownCause, MessageId, NotSentCause, PeerKey};
use kitfox_core::router::DropReason;

use crate::builder::BoxFuture;
use crate::stats::Direction;

/// The peer at the other end of a connection. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    identity: Arc<(Arc<str>, PeerId)>,
    connection: u64,
    direction: Direction,
    proven: bool,
    key: Option<PeerKey>,
}

impl Peer {
    /// A peer that claims its id.
    pub(crate) fn new(url: impl Into<Arc<str>>, id: PeerId, connection: u64, direction: Direction) -> Self {
        Self { identity: Arc::new((url.into(), id)), connection, direction, proven: false, key: None }
    }

    pub(crate) fn proven(self, proven: bool) -> Self {
        Self { proven, ..self }
    }

    pub(crate) fn keyed(self, key: PeerKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The URL under which the peer is known: the one in its preflight. On a plain connection it is only a claim.
    pub fn url(&self) -> &str {
        &self.identity.0
    }

    /// The id that the URL ends in.
    pub fn id(&self) -> &PeerId {
        &self.identity.1
    }

    /// Whether the peer has proven its id, as it has on every secured connection once it has sent its preflight. On a
    /// plain one, and before that, the id is a claim that anybody could make.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Names this connection. Never used again in the life of the node.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Which end opened the connection.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// What the numbers of messages to this peer belong to: [`MessageId::peer`]. `None` while the gate is not open.
    pub fn key(&self) -> Option<PeerKey> {
        self.key
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claimed = if self.proven { "" } else { ", claimed" };
        write!(f, "Peer({} #{}{claimed})", self.url(), self.connection)
    }
}

/// A handler says no. The connection is closed; the peer is told "refused" and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)] // it says all there is to say
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused by a handler")
    }
}

impl std::error::Error for Refused {}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closing {
    /// What ended it, as this end sees it.
    pub reason: CloseReason,
    /// The peer's own words, if it said any. Any bytes, and not to be trusted.
    pub message: Bytes,
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if !self.message.is_empty() {
            write!(f, ": \"{}\"", self.message.escape_ascii())?;
        }
        Ok(())
    }
}

/// Why a peer is down, and what that means for messages to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Down {
    /// Its connection ended, or another one of the same peer took its place.
    pub cause: DownCause,
    /// The peer's own words, if it said any. Any bytes, and not to be trusted.
    pub message: Bytes,
    /// Messages that were written on the connection, wholly or in part: they may have arrived, or not. They are never
    /// sent again by kitfox. What was accepted and not written stays in the outbox and goes out later.
    pub unknown: Option<Numbers>,
}

impl Down {
    /// Why the connection ended; [`CloseReason::Superseded`] if another one took its place.
    pub fn reason(&self) -> CloseReason {
        match self.cause {
            DownCause::Ended(reason) => reason,
            _ => CloseReason::Superseded,
        }
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Closing { reason: self.reason(), message: self.message.clone() }.fmt(f)
    }
}

/// A message that was accepted and is handed back: none of its bytes was ever written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Returned {
    /// The URL under which its peer is known.
    pub url: Arc<str>,
    /// The space that it was sent from.
    pub space: Bytes,
    /// The module, if it was for one.
    pub module: Option<String>,
    /// The payload.
    pub data: Bytes,
}

/// What the whole node is asked and told. Every method has a default: everybody is accepted, preflights are empty.
///
/// The questions are asynchronous. While one is open its connection reads nothing, and all others go on; the time of
/// [`Config::preflight_timeout`](crate::Config::preflight_timeout) runs. The other methods are called in the task
/// that reads the connection and should return soon.
pub trait Handler: Send + Sync + 'static {
    /// May the handshake of a secured connection go on with a peer that claims this id? It has proven nothing yet, and
    /// every answer costs this end more work: here is where to turn away ids that are known to be unwanted. Should
    /// return at once.
    fn admit_handshake(&self, claimed: &PeerId) -> bool {
        let _ = claimed;
        true
    }

    /// May this peer connect? Asked last, after modules and spaces.
    fn peer_connect<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<(), Refused>> {
        let _ = peer;
        Box::pin(ready(Ok(())))
    }

    /// Has this space a local agent? If spaces are registered and none has one, no connection is made.
    fn has_local_agents<'a>(&'a self, space: &'a [u8]) -> BoxFuture<'a, bool> {
        let _ = space;
        Box::pin(ready(true))
    }

    /// What shall our preflight tell this peer?
    fn preflight_gather<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Bytes, Refused>> {
        let _ = peer;
        Box::pin(ready(Ok(Bytes::new())))
    }

    /// Is what the peer's preflight says acceptable? It may also send one later, on the open connection.
    fn preflight_validate<'a>(
        &'a self,
        peer: &'a Peer,
        data: &'a [u8],
    ) -> BoxFuture<'a, Result<(), Refused>> {
        let (_, _) = (peer, data);
        Box::pin(ready(Ok(())))
    }

    /// A peer is up: its gate is open. Called before its first message is delivered.
    fn peer_up(&self, peer: &Peer) {
        let _ = peer;
    }

    /// A peer is down. Called after its last message, and before the same peer is up again.
    fn peer_down(&self, peer: &Peer, down: &Down) {
        let (_, _) = (peer, down);
    }

    /// A connection that either end opened is closed, or was turned away, before it was up. `addr` is the other end of
    /// its socket. Nobody is told that a peer was down.
    fn rejected(&self, addr: SocketAddr, closing: &Closing) {
        let (_, _) = (addr, closing);
    }

    /// A frame of a peer that is up went to nobody; the connection stays. `space` is empty if the frame names none.
    fn dropped(&self, from: &Peer, space: &[u8], reason: DropReason) {
        let (_, _, _) = (from, space, reason);
    }

    /// A message that was accepted was given up, and is handed back: it certainly never arrives. Each one is told once.
    fn not_sent(&self, id: MessageId, cause: NotSentCause, message: Returned) {
        let (_, _, _) = (id, cause, message);
    }

    /// A peer does not respond, by its own fault. Spaces are told too, and first.
    fn unresponsive(&self, url: &str, when: SystemTime) {
        let (_, _) = (url, when);
    }

    /// The node listens under this URL.
    fn new_listening_address(&self, url: &str) {
        let _ = url;
    }

    /// The node does not listen under this URL any more.
    fn lost_listening_address(&self, url: &str) {
        let _ = url;
    }
}

/// The handler that accepts everybody and listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct NoHandler;

impl Handler for NoHandler {}

/// Takes the messages of one space. Closures `Fn(&Peer, &[u8]) -> Result<(), Refused>` are handlers.
pub trait SpaceHandler: Send + Sync + 'static {
    /// A message. `data` lies in the frame that came in and is lent for the call. No lock is held: the handler may
    /// use the node as it likes.
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn notify(&self, from: &Peer, data: &[u8]) -> Result<(), Refused>;

    /// May this peer connect?
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn peer_connect(&self, peer: &Peer) -> Result<(), Refused> {
        let _ = peer;
        Ok(())
    }

    /// A peer is down.
    fn peer_disconnect(&self, peer: &Peer, down: &Down) {
        let (_, _) = (peer, down);
    }

    /// A peer does not respond, by its own fault, as of `when`.
    fn set_unresponsive(&self, url: &str, when: SystemTime) {
        let (_, _) = (url, when);
    }

    /// The node listens under this URL.
    fn new_listening_address(&self, url: &str) {
        let _ = url;
    }

    /// The node does not listen under this URL any more.
    fn lost_listening_address(&self, url: &str) {
        let _ = url;
    }
}

/// Takes the messages of one module of a space. Closures `Fn(&Peer, &[u8]) -> Result<(), Refused>` are handlers.
pub trait ModuleHandler: Send + Sync + 'static {
    /// A message, as for [`SpaceHandler::notify`].
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn message(&self, from: &Peer, data: &[u8]) -> Result<(), Refused>;

    /// May this peer connect?
    ///
    /// # Errors
    /// [`Refused`] closes the connection.
    fn peer_connect(&self, peer: &Peer) -> Result<(), Refused> {
        let _ = peer;
        Ok(())
    }

    /// A peer is down.
    fn peer_disconnect(&self, peer: &Peer, down: &Down) {
        let (_, _) = (peer, down);
    }
}

impl<F: Fn(&Peer, &[u8]) -> Result<(), Refused> + Send + Sync + 'static> SpaceHandler for F {
    fn notify(&self, from: &Peer, data: &[u8]) -> Result<(), Refused> {
        self(from, data)
    }
}

impl<F: Fn(&Peer, &[u8]) -> Result<(), Refused> + Send + Sync + 'static> ModuleHandler for F {
    fn message(&self, from: &Peer, data: &[u8]) -> Result<(), Refused> {
        self(from, data)
    }
}
