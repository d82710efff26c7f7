//! One connection: receive half, transmit half, the outbox that it writes from, and both halves as one value.

mod channel;
mod close;
mod cursor;
mod deframer;
mod frames;
mod gate;
mod or_plain;
mod outbox;
mod queue;
mod rx;
mod tx;
mod whole;

pub use channel::{Channel, Handshake, Opened, Opener, Plain, Sealer};
pub use close::{CloseReason, Refusal, SUPERSEDED, Timeout};
pub(crate) use cursor::{Cursor, Next, Own};
pub use frames::Frames;
pub(crate) use gate::Stage;
pub use gate::{Answer, Question, QuestionId, Role};
pub use or_plain::{Half, OrPlain};
pub use outbox::{Numbers, Outbox};
pub(crate) use rx::Identity;
pub use rx::{Rx, RxCounts};
pub use tx::{PushError, Tx, TxCounts};
pub use whole::{Actions, Connection, Input, SendError};

use core::fmt;

use crate::peer::Peer;
use crate::router::{DropReason, ModuleKey, SpaceKey};
use crate::wire::{ModuleName, PeerUrl};

/// What the driver of a connection is to do, or to know.
///
/// What is borrowed here lies in the frame that it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Action<'a> {
    /// Ask the application. The connection reads nothing until it has an answer.
    Ask {
        /// Names the question in the answer.
        id: QuestionId,
        /// What to ask.
        question: Question<'a>,
    },
    /// The gate is open: both preflights are accepted, and messages flow in both directions.
    Opened {
        /// Who the peer says it is.
        peer: Peer<'a>,
    },
    /// Give a message to a space's handler. If it refuses, close with [`Refusal::Handler`].
    Notify {
        /// The registered space.
        to: SpaceKey,
        /// Its id.
        space: &'a [u8],
        /// The payload.
        data: &'a [u8],
        /// Bytes of the frame, header included.
        wire_bytes: usize,
    },
    /// Give a message to a module's handler. If it refuses, close with [`Refusal::Handler`].
    Module {
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
    /// A frame goes nowhere; the connection stays. Where messages of one peer are to be limited in rate, this is
    /// where to count. [`DropReason::Blocked`] is to be added to the
    /// [`BlockedCounts`](crate::router::BlockedCounts).
    Dropped {
        /// Why.
        reason: DropReason,
        /// The space that it names, if it names one.
        space: &'a [u8],
        /// Bytes of the frame, header included.
        wire_bytes: u64,
    },
    /// The connection is closed: write what is left to write, and close the socket. The last action.
    Closed {
        /// Why.
        reason: CloseReason,
        /// The peer's own words, if it said any. Not to be trusted as text.
        message: &'a [u8],
    },
}

/// What a connection wants from the one who drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Wants {
    /// More bytes of the peer, or the next timeout.
    Bytes,
    /// The answer to the open question, or the next timeout.
    Answer,
    /// A call of [`Rx::work`] (or [`Connection::work`], or [`Node::work`](crate::node::Node::work)), and then to be
    /// read again: the handshake of its channel takes time, one Diffie-Hellman a call. Let others have their turn in
    /// between.
    Work,
    /// To be read again at once, with or without bytes: it was closed from inside, and has not said so yet.
    Again,
    /// Nothing: it is closed.
    Nothing,
}

/// Why a URL cannot be dialled. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NotDialable {
    /// It has no peer id, or one that is longer than 64 bytes.
    NoPeerId,
    /// Its port is 0, which stands for "cannot be dialled".
    PortZero,
    /// It is longer than the storage can hold.
    TooLong,
    /// It is this node's own.
    OurOwnId,
    /// It asks for a plain connection (`ws`, `http`), and those of this node are secured.
    PlainUrl,
    /// It asks for a secured connection (`wss`, `https`), and those of this node are plain.
    SecuredUrl,
    /// Its id is not a public key that anybody could prove on a secured channel.
    NoKey,
}

/// Whether a node dials this URL: one whose connections are `secured`, or one whose connections are plain. Its id is
/// another matter.
///
/// # Errors
/// [`NotDialable`] says why it does not.
pub fn check_dialable(url: PeerUrl<'_>, secured: bool) -> Result<(), NotDialable> {
    match (url.port(), url.uses_tls()) {
        (0, _) => Err(NotDialable::PortZero),
        (_, false) if secured => Err(NotDialable::PlainUrl),
        (_, true) if !secured => Err(NotDialable::SecuredUrl),
        _ => Ok(()),
    }
}

impl fmt::Display for NotDialable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPeerId => "the URL has no peer id",
            Self::PortZero => "port 0 cannot be dialled",
            Self::TooLong => "the URL is too long",
            Self::OurOwnId => "the URL is our own",
            Self::PlainUrl => "the URL is one for plain connections, and those of this node are secured",
            Self::SecuredUrl => "the URL is one for secured connections, and those of this node are plain",
            Self::NoKey => "the peer id in the URL is not a public key",
        })
    }
}

impl core::error::Error for NotDialable {}
