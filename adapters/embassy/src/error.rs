//! Why something was not done.

use core::fmt;

use kitfox_core::CapacityError;
use kitfox_core::connection::{NotDialable, PushError};
use kitfox_core::router::SendRefused;
use kitfox_core::wire::UrlError;

use crate::entropy::NoEntropy;

/// Why a node was not made: the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BuildError {
    /// The peer id cannot be the last segment of a URL, or has not 1 to 64 bytes.
    PeerId,
    /// The advertised URL is not one.
    AdvertisedUrl(UrlError),
    /// The advertised URL does not end in the peer id.
    AdvertisedId,
    /// The advertised URL is one for the other kind of channel: `ws` of a secured node, or `wss` of a plain one.
    AdvertisedScheme,
    /// There is nothing random to begin with.
    Entropy(NoEntropy),
    /// There are no sockets, or port 0 was given.
    NothingToListenOn,
}

/// Why a message was not accepted. Nothing of it was sent, and it is still the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The text is not the URL of a peer: the caller's fault.
    InvalidUrl(UrlError),
    /// The URL cannot be dialled, and no peer with its id is connected: the caller's fault.
    NotDialable(NotDialable),
    /// The rules say no: the space is not registered, or the peer is blocked in it.
    Refused(SendRefused),
    /// The peer's outbox has no room now. The methods that wait give this only if already
    /// [`MAX_WAITING_TASKS`](crate::MAX_WAITING_TASKS) tasks wait for room.
    Backpressure,
    /// The message is longer than a frame may be, or than the whole outbox: there will never be room.
    TooLarge,
    /// The message is longer than the connected peer takes, as it said in its handshake.
    TooLargeForPeer,
    /// There is no place for another peer: a limit of ours.
    Capacity(CapacityError),
}

/// Nothing is connected to the peer and nothing waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // it says all there is to say
pub struct NotConnected;

/// Why a peer was not blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BlockError {
    /// The text is not a peer id: it is empty or longer than 64 bytes. The caller's fault.
    NoPeerId,
    /// The list is full: a limit of ours.
    Capacity(CapacityError),
}

impl From<kitfox_core::node::SendError> for SendError {
    fn from(error: kitfox_core::node::SendError) -> Self {
        use kitfox_core::node::SendError as Core;
        match error {
            Core::NotDialable(error) => Self::NotDialable(error),
            Core::Refused(error) => Self::Refused(error),
            Core::NotQueued(PushError::TooLarge) => Self::TooLarge,
            Core::NotQueued(PushError::TooLargeForPeer) => Self::TooLargeForPeer,
            Core::Capacity(error) => Self::Capacity(error),
            _ => Self::Backpressure,
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerId => f.write_str("the peer id cannot be the last segment of a URL"),
            Self::AdvertisedUrl(error) => write!(f, "advertised URL: {error}"),
            Self::AdvertisedId => f.write_str("the advertised URL does not end in the peer id"),
            Self::AdvertisedScheme => {
                f.write_str("the advertised URL has the scheme of the other kind of channel")
            }
            Self::Entropy(error) => error.fmt(f),
            Self::NothingToListenOn => f.write_str("no socket or no port to listen on"),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl(error) => error.fmt(f),
            Self::NotDialable(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
            Self::Backpressure => f.write_str("the outbox is full"),
            Self::TooLarge => f.write_str("the message is too large"),
            Self::TooLargeForPeer => f.write_str("the message is too large for the peer"),
            Self::Capacity(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer is not connected")
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPeerId => f.write_str("not a peer id"),
            Self::Capacity(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BuildError {}
impl core::error::Error for SendError {}
impl core::error::Error for NotConnected {}
impl core::error::Error for BlockError {}
