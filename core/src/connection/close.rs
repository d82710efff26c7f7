//! Why a connection ends.

use core::fmt;

use crate::error::{CapacityError, ProtocolError};

/// Why a connection ends, as this end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// Somebody at this end said no, or gave no answer that could be used.
    Refused(Refusal),
    /// Something took too long.
    Timeout(Timeout),
    /// A limit of ours.
    Capacity(CapacityError),
    /// The peer said goodbye.
    Disconnected,
    /// The stream ended between two frames, without a goodbye.
    Ended,
    /// The socket failed.
    Failed,
    /// This end asked for it.
    Local,
    /// This end prefers another connection of the same peer.
    Superseded,
}

/// The word by which a peer is told of [`CloseReason::Superseded`]. Kitsune2 says it in more of them, and begins with
/// this one.
pub const SUPERSEDED: &[u8] = b"superseded";

/// Who said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Refusal {
    /// Whether the peer may connect: Kitsune2's `peer_connect`.
    Admission,
    /// Whether a peer with the id that it claims may go on with the handshake.
    Handshake,
    /// Spaces are registered and none has a local agent. Not the peer's fault.
    NoLocalAgents,
    /// No preflight of our own could be gathered. Not the peer's fault.
    Gather,
    /// The peer's preflight is not valid.
    Preflight,
    /// A handler refused a message.
    Handler,
    /// The policy could not tell whether the peer is blocked. Not the peer's fault.
    BlockCheck,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Timeout {
    /// The carrier was not established in time.
    Dial,
    /// The gate did not open in time.
    Preflight,
    /// A question on an open connection was not answered in time.
    Answer,
    /// A frame that had begun did not end in time.
    Frame,
    /// Bytes were waiting and the peer took none.
    Write,
}

impl CloseReason {
    /// What the peer is told when this end closes, as the reason of a DISCONNECT: one of a few fixed words, never the
    /// text of an error. `None` if there is nothing to tell, or nobody to hear it.
    pub const fn farewell(&self) -> Option<&'static [u8]> {
        match self {
            Self::Protocol(_) => Some(b"protocol error"),
            Self::Refused(Refusal::NoLocalAgents) => Some(b"no local agents"),
            Self::Refused(_) => Some(b"refused"),
            Self::Superseded => Some(SUPERSEDED),
            Self::Timeout(Timeout::Write | Timeout::Dial) => None,
            Self::Timeout(_) => Some(b"timeout"),
            Self::Capacity(_) => Some(b"capacity"),
            Self::Disconnected | Self::Ended | Self::Failed | Self::Local => None,
        }
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Timeout(timeout) => timeout.fmt(f),
            Self::Capacity(error) => error.fmt(f),
            Self::Disconnected => f.write_str("the peer disconnected"),
            Self::Ended => f.write_str("the stream ended"),
            Self::Failed => f.write_str("the socket failed"),
            Self::Local => f.write_str("closed by this end"),
            Self::Superseded => f.write_str("another connection of the same peer took its place"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admission => "the peer was not admitted",
            Self::Handshake => "the peer's handshake was not admitted",
            Self::NoLocalAgents => "no space has local agents",
            Self::Gather => "no preflight could be gathered",
            Self::Preflight => "the peer's preflight was refused",
            Self::Handler => "a handler refused a message",
            Self::BlockCheck => "the block check failed",
        })
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "the peer could not be reached in time",
            Self::Preflight => "the gate did not open in time",
            Self::Answer => "a question was not answered in time",
            Self::Frame => "a frame did not end in time",
            Self::Write => "the peer took no bytes for too long",
        })
    }
}
