//! What goes into a node and what comes out.

use core::fmt;

use super::{ConnectionId, DownCause, NotSentCause, PeerKey};
use crate::connection::{CloseReason, NotDialable, Numbers, PushError, Question, QuestionId};
use crate::error::CapacityError;
use crate::router::{DropReason, ModuleKey, SendRefused, SpaceKey};
use crate::wire::ModuleName;

/// What can happen to a node.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Input<'i> {
    /// Bytes came on a connection: those that were not taken the last time, unchanged, then new ones. None at all is
    /// fine: after [`Node::connected`](super::Node::connected) a dialler has something to ask before any come.
    Bytes {
        /// The connection.
        connection: ConnectionId,
        /// Its bytes.
        bytes: &'i mut [u8],
    },
    /// The peer's stream on this connection has ended.
    End(ConnectionId),
    /// The socket of this connection failed, or could not be established.
    Failed(ConnectionId),
    /// The time that [`poll_timeout`](super::Node::poll_timeout) told of has come.
    Timeout,
    /// Nothing, but something was done to the node that may lead to actions.
    Wake,
}

/// What the driver of a node is to do, or to know.
///
/// What is borrowed here lies in the frame that it came in. What is to be known of a peer tells
/// [`Node::peer`](super::Node::peer), or [`Ops::peer`](super::Ops::peer) while the action is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Action<'a> {
    /// Dial the peer's URL, then call [`Node::connected`](super::Node::connected) or handle [`Input::Failed`].
    Dial {
        /// The connection that is to be.
        connection: ConnectionId,
        /// The peer.
        peer: PeerKey,
    },
    /// Ask the application. The connection reads nothing until it has an answer.
    Ask {
        /// The connection.
        connection: ConnectionId,
        /// Names the question in the answer.
        id: QuestionId,
        /// What to ask.
        question: Question<'a>,
    },
    /// A peer is up: its gate is open, and messages flow in both directions.
    PeerUp {
        /// The peer.
        peer: PeerKey,
        /// The connection that carries its messages.
        connection: ConnectionId,
    },
    /// A peer is down. Each `PeerUp` has one.
    PeerDown {
        /// The peer.
        peer: PeerKey,
        /// The connection that carried its messages.
        connection: ConnectionId,
        /// Why.
        cause: DownCause,
        /// The peer's own words, if it said any. Not to be trusted as text.
        message: &'a [u8],
        /// Messages that were written on the connection: they may have arrived, or not.
        unknown: Option<Numbers>,
    },
    /// A peer does not respond, by its own fault: tell [`set_unresponsive_targets`].
    ///
    /// [`set_unresponsive_targets`]: crate::router::Directory::set_unresponsive_targets
    Unresponsive {
        /// The peer.
        peer: PeerKey,
    },
    /// A message was given up. None of its bytes was ever written, so it is safe to send it again:
    /// [`Ops::given_up`](super::Ops::given_up) hands it back.
    NotSent {
        /// The message.
        message: MessageId,
        /// Why.
        cause: NotSentCause,
    },
    /// Give a message to a space's handler. If it refuses, [`Ops::refuse`](super::Ops::refuse).
    Notify {
        /// The connection.
        connection: ConnectionId,
        /// The registered space.
        to: SpaceKey,
        /// Its id.
        space: &'a [u8],
        /// The payload.
        data: &'a [u8],
        /// Bytes of the frame, header included.
        wire_bytes: usize,
    },
    /// Give a message to a module's handler. If it refuses, [`Ops::refuse`](super::Ops::refuse).
    Module {
        /// The connection.
        connection: ConnectionId,
        /// The registered module.
        to: ModuleKey,
        /// The id of its space.
        space: &'a [u8],
        /// Its name.
        module: ModuleName<'a>,
        /// The payload.
        data: &'a [u8],
        /// Bytes of the frame, header included.
        wire_bytes: usize,
    },
    /// A frame goes nowhere; the connection stays.
    Dropped {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: DropReason,
        /// The space that it names, if it names one.
        space: &'a [u8],
        /// Bytes of the frame, header included.
        wire_bytes: u64,
    },
    /// A connection has ended, or a dial is not wanted any more: write what is left to write, close the socket, and
    /// call [`Node::release`](super::Node::release). Each connection has one. If its peer was never up on it, this is
    /// all that is heard of it.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
        /// The peer's own words, if it said any. Not to be trusted as text.
        message: &'a [u8],
    },
}

/// Names one message to one peer. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MessageId {
    /// The peer.
    pub peer: PeerKey,
    /// Messages to a peer are numbered from 0 for as long as it is in the table.
    pub number: u64,
}

/// Why a message is not accepted for sending. It is still the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The URL cannot be dialled, and no peer with its id is connected.
    NotDialable(NotDialable),
    /// The rules say that it is not to be sent.
    Refused(SendRefused),
    /// The peer's outbox did not take it.
    NotQueued(PushError),
    /// There is no place for another peer.
    Capacity(CapacityError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDialable(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
            Self::NotQueued(error) => error.fmt(f),
            Self::Capacity(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SendError {}
