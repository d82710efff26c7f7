//! Errors that say whose fault they are: the peer's, the caller's, or that of a limit of ours.

use core::fmt;

use crate::wire::{DecodeError, FrameError, PreflightError};

/// The peer broke the protocol. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame header that we do not take: unknown type or oversize.
    Frame(FrameError),
    /// The payload of a preflight frame is malformed, or its URL is not one that we take.
    Preflight(PreflightError),
    /// A message that does not decode.
    Message(DecodeError),
    /// A data frame came before the preflight. Only a DISCONNECT may.
    DataBeforePreflight,
    /// What follows the URL in a preflight frame is not a PREFLIGHT message.
    NotPreflight,
    /// A second preflight frame.
    SecondPreflight,
    /// The URL in the preflight has no peer id, or one longer than 64 bytes.
    UrlWithoutId,
    /// The peer that we dialled says that it is another one.
    WrongPeer,
    /// The peer says that it is us.
    OurOwnId,
    /// A NOTIFY or MODULE message without a space id.
    MissingSpace,
    /// A record of the channel does not open: it was forged, damaged or cut.
    BadRecord,
    /// The stream ended inside a frame.
    EndInsideFrame,
    /// The stream ended, and the channel was not told that it would: somebody may have cut it.
    EndWithoutClose,
    /// The peer proved one id and says in its preflight that it has another.
    IdNotProven,
    /// The handshake of a secured channel failed.
    #[cfg(feature = "secure")]
    Handshake(crate::secure::HandshakeError),
}

/// The caller used the API in a way that it does not allow. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ApiMisuse {
    /// No question with this id is open: it was answered already, its connection is closed, or it never was asked.
    NoSuchQuestion,
    /// The question that is open asks for another kind of answer.
    WrongAnswer,
    /// The connection is not there, or not in a state in which this can happen to it.
    NoSuchConnection,
    /// Our own URL has no peer id, or one longer than 64 bytes: every peer would refuse it.
    OwnUrlWithoutId,
    /// Our own preflight is longer than a preflight may be here, and probably there.
    PreflightTooLong,
}

/// A limit of ours has been reached. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum CapacityError {
    /// A frame is longer than the buffer in which it would be put together.
    FrameBuffer,
    /// All places for spaces are taken.
    Spaces,
    /// All places for modules are taken.
    Modules,
    /// All places for block rules are taken.
    BlockRules,
    /// All places for peers are taken.
    Peers,
    /// All places for connections are taken.
    Connections,
    /// All places for connections without a valid preflight are taken.
    Pending,
    /// The receive buffers of all connections together have reached their limit.
    ReceiveMemory,
    /// A space id, a module's name or a URL is longer than the storage tier can hold.
    TooLong,
    /// The transmit queue cannot hold the frame, even if it were empty.
    TxQueue,
}

#[cfg(feature = "secure")]
impl From<crate::secure::HandshakeError> for ProtocolError {
    fn from(error: crate::secure::HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Preflight(error) => error.fmt(f),
            Self::Message(error) => write!(f, "message does not decode: {error}"),
            Self::DataBeforePreflight => f.write_str("data before the preflight"),
            Self::NotPreflight => f.write_str("preflight frame without a PREFLIGHT message"),
            Self::SecondPreflight => f.write_str("second preflight frame"),
            Self::UrlWithoutId => f.write_str("preflight URL without a peer id"),
            Self::WrongPeer => f.write_str("the dialled peer has another id"),
            Self::OurOwnId => f.write_str("the peer has our own id"),
            Self::MissingSpace => f.write_str("message without a space id"),
            Self::BadRecord => f.write_str("a record does not open"),
            Self::EndInsideFrame => f.write_str("the stream ended inside a frame"),
            Self::EndWithoutClose => f.write_str("the stream was cut"),
            Self::IdNotProven => f.write_str("the peer claims an id that it did not prove"),
            #[cfg(feature = "secure")]
            Self::Handshake(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for ApiMisuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchQuestion => "no such question is open",
            Self::WrongAnswer => "the open question asks for another kind of answer",
            Self::NoSuchConnection => "there is no such connection",
            Self::OwnUrlWithoutId => "our own URL has no peer id",
            Self::PreflightTooLong => "our own preflight is too long",
        })
    }
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FrameBuffer => "the frame is longer than the receive buffer",
            Self::Spaces => "no place for another space",
            Self::Modules => "no place for another module",
            Self::BlockRules => "no place for another block rule",
            Self::Peers => "no place for another peer",
            Self::Connections => "no place for another connection",
            Self::Pending => "no place for another pending connection",
            Self::ReceiveMemory => "the receive buffers of all connections have reached their limit",
            Self::TooLong => "an id, name or URL is longer than the storage can hold",
            Self::TxQueue => "the frame is longer than the transmit queue",
        })
    }
}

impl core::error::Error for ProtocolError {}
impl core::error::Error for ApiMisuse {}
impl core::error::Error for CapacityError {}
