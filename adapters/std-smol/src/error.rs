//! Why something was not done.

use std::{error, fmt, io};

use bytes::Bytes;
use kitfox_core::CapacityError;
use kitfox_core::connection::NotDialable;
use kitfox_core::node::NotSentCause;
use kitfox_core::router::SendRefused;
use kitfox_core::wire::UrlError;

use crate::handler::Closing;

/// Why no connection with a peer was made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is not a peer URL: the caller's fault.
    InvalidUrl(UrlError),
    /// The URL cannot be dialled: the caller's fault.
    NotDialable(NotDialable),
    /// The host's name was not resolved, or no address of it took the connection: the last of several attempts.
    Dial(io::Error),
    /// The peer was not reached in time.
    DialTimeout,
    /// The connection ended before it was open: who refused or failed says the reason.
    Closed(Closing),
    /// This end disconnected the peer meanwhile, or every attempt gave way to another that came to nothing.
    GivenUp(NotSentCause),
    /// There is no place for another peer.
    Capacity(CapacityError),
    /// The node is shut down.
    ShutDown,
}

/// Why a message was not accepted. Nothing of it was sent, and it is still the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// The text is not the URL of a peer: the caller's fault.
    InvalidUrl(UrlError),
    /// The URL cannot be dialled, and no peer with its id is connected: the caller's fault.
    NotDialable(NotDialable),
    /// The rules say no: the space is not registered, or the peer is blocked in it.
    Refused(SendRefused),
    /// The peer's outbox has no room now (see [`high_water_bytes`](kitfox_core::Config::high_water_bytes)), or all
    /// outboxes together are full. [`Node::ready`](crate::Node::ready) waits for room.
    Backpressure,
    /// The message is longer than a frame may be, or than the whole outbox: there will never be room.
    TooLarge,
    /// The message is longer than the connected peer takes, as it said in its handshake.
    TooLargeForPeer,
    /// There is no place for another peer.
    Capacity(CapacityError),
    /// The node is shut down.
    ShutDown,
}

/// A message that was not sent, handed back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsent {
    /// Why.
    pub error: SendError,
    /// The payload.
    pub data: Bytes,
}

/// Nothing is connected to the peer and nothing waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)] // it says all there is to say
pub struct NotConnected;

/// Why the node does not listen.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The text is not `host:port`, or the name was not resolved.
    Address(io::Error),
    /// The URL to advertise for the address is not one.
    AdvertisedUrl(UrlError),
    /// The URL to advertise for the address does not end in our peer id.
    AdvertisedId,
    /// The URL to advertise for the address asks for the other kind of connection: see
    /// [`BuildError::AdvertisedScheme`](crate::BuildError::AdvertisedScheme).
    AdvertisedScheme,
    /// The system did not let us have the address.
    Bind(io::Error),
    /// The node is shut down.
    ShutDown,
}

/// Why a peer was not blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockError {
    /// The text is not a peer id: it is empty or longer than 64 bytes.
    NoPeerId,
    /// The list is full.
    Capacity(CapacityError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl(error) => error.fmt(f),
            Self::NotDialable(error) => error.fmt(f),
            Self::Dial(error) => write!(f, "the peer was not reached: {error}"),
            Self::DialTimeout => f.write_str("the peer was not reached in time"),
            Self::Closed(down) => write!(f, "the connection ended before it was open: {down}"),
            Self::GivenUp(cause) => cause.fmt(f),
            Self::Capacity(error) => error.fmt(f),
            Self::ShutDown => f.write_str("the node is shut down"),
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
            Self::ShutDown => f.write_str("the node is shut down"),
        }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer is not connected")
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => write!(f, "not an address to listen on: {error}"),
            Self::AdvertisedUrl(error) => write!(f, "advertised URL: {error}"),
            Self::AdvertisedId => f.write_str("the advertised URL does not end in the peer id"),
            Self::AdvertisedScheme => f.write_str("the advertised URL is for another kind of connection"),
            Self::Bind(error) => write!(f, "the address cannot be listened on: {error}"),
            Self::ShutDown => f.write_str("the node is shut down"),
        }
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

impl error::Error for ConnectError {}
impl error::Error for SendError {}
impl error::Error for Unsent {}
impl error::Error for NotConnected {}
impl error::Error for ListenError {}
impl error::Error for BlockError {}
