//! What a peer table is told and what it tells: limits, states, steps and causes.

use core::fmt;
use core::time::Duration;

use crate::connection::{CloseReason, Timeout};

/// Connections that one peer may have at the same time, while it is decided which of them stays.
pub const MAX_CONNECTIONS_PER_PEER: usize = 6;

/// Names one connection. It is never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ConnectionId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ConnectionId {
    /// A small number, unique among the connections of one time: an index for tables of the caller.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// Names one stay of a peer in the table. It is never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerKey {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl PeerKey {
    /// A small number, unique among the peers of one time: an index for tables of the caller.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// Limits and deadlines of the peer table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(clippy::exhaustive_structs)] // written with `..PeerLimits::HOST`
pub struct PeerLimits {
    /// Peers at a time: connected, or with messages waiting for them.
    pub max_peers: usize,
    /// Connections at a time, of every kind.
    pub max_connections: usize,
    /// Accepted connections at a time whose peer has not sent a valid preflight.
    pub max_pending: usize,
    /// What happens to a connection beyond [`max_pending`](Self::max_pending).
    pub pending: PendingPolicy,
    /// From the order to dial to an established carrier. Kitsune2: 60 s.
    pub dial_timeout: Duration,
    /// How long L keeps S waiting for L's own dial. No guarantee needs it, only Kitsune2's preference for the
    /// connection that the larger id dialled; zero is fine.
    pub hold: Duration,
    /// Failed attempts to reach a peer before its messages are given up.
    pub attempts: u8,
    /// Wait after the first failed attempt; it doubles with each further one.
    pub backoff: Duration,
    /// Longest wait between two attempts.
    pub max_backoff: Duration,
}

/// What happens to an accepted connection when all places for pending ones are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PendingPolicy {
    /// The oldest pending connection makes room.
    #[default]
    EvictOldest,
    /// The new one is refused.
    Refuse,
}

impl PeerLimits {
    /// For a machine with plenty of memory: 65,536 peers and connections, 1,024 pending.
    pub const HOST: Self = Self {
        max_peers: 65_536,
        max_connections: 65_536,
        max_pending: 1024,
        pending: PendingPolicy::EvictOldest,
        dial_timeout: Duration::from_secs(10),
        hold: Duration::from_secs(1),
        attempts: 3,
        backoff: Duration::from_millis(250),
        max_backoff: Duration::from_secs(4),
    };

    /// For tables of fixed size: as many as fit; a connection beyond that is refused.
    pub const DEVICE: Self = Self {
        max_peers: usize::MAX,
        max_connections: usize::MAX,
        max_pending: usize::MAX,
        pending: PendingPolicy::Refuse,
        ..Self::HOST
    };
}

/// Where a connection stands at this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectionState {
    /// Dialled; our preflight is not written yet.
    Dialing,
    /// Dialled; our preflight is written, nothing has come back.
    Sent,
    /// Accepted; no valid preflight yet. It has no effect on any peer.
    Inbound,
    /// Accepted, with a valid preflight, and not answered yet.
    Held,
    /// Accepted and answered; the confirm has not come yet.
    Offered,
    /// Dialled by S and answered by L, while another connection is offered.
    Answered,
    /// The peer's connection: the only one that carries messages.
    Open,
    /// It has ended and holds its place until it is released.
    Closed,
}

/// What the driver of a peer table is to do. Steps are carried out in the order in which they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Step {
    /// Dial the peer's URL, and say how that ended.
    Dial(PeerKey, ConnectionId),
    /// Let the gate of this connection go on: an acceptor's answers, a dialler's confirms and opens.
    Proceed(ConnectionId),
    /// Close this connection, and release it when its carrier is closed.
    Close(ConnectionId, CloseReason),
    /// Write an empty frame: if the peer forgot this connection, its carrier will say so.
    Probe(ConnectionId),
    /// The peer is up: this connection carries its messages from now on.
    Up(PeerKey, ConnectionId),
    /// The connection that carried the peer's messages has ended: the fate of what was written on it is unknown.
    Down(PeerKey, ConnectionId, DownCause),
    /// No message may begin to be written while this is `true`.
    Pause(PeerKey, bool),
    /// The peer does not respond, by its own fault.
    Unresponsive(PeerKey),
    /// What waits for the peer is given up.
    GiveUp(PeerKey, NotSentCause),
    /// The peer has left the table: nothing is connected and nothing waits.
    Forget(PeerKey),
}

impl Step {
    /// The peer of which it tells.
    pub(super) fn peer(&self) -> Option<PeerKey> {
        match *self {
            Self::Dial(peer, _) | Self::Up(peer, _) | Self::Down(peer, _, _) | Self::Pause(peer, _) => {
                Some(peer)
            }
            Self::Unresponsive(peer) | Self::GiveUp(peer, _) => Some(peer),
            Self::Proceed(_) | Self::Close(_, _) | Self::Probe(_) | Self::Forget(_) => None,
        }
    }
}

/// Why a peer is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum DownCause {
    /// Its connection ended.
    Ended(CloseReason),
    /// Another connection of the same peer took its place; the peer is up again at once.
    Replaced,
}

/// Why messages were not sent. None of their bytes was ever written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum NotSentCause {
    /// No carrier to the peer could be established.
    DialFailed,
    /// The gate did not open: the peer refused, broke the protocol, or was silent.
    GateFailed(CloseReason),
    /// Every attempt was given up in favour of another connection that came to nothing.
    Superseded,
    /// This end disconnected.
    Disconnected,
    /// There was no place for another connection at this end, at any attempt.
    NoPlace,
    /// The message is longer than the peer takes, as it said when it was connected. The connection stays.
    TooLargeForPeer,
}

impl fmt::Display for NotSentCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DialFailed => f.write_str("the peer could not be dialled"),
            Self::GateFailed(reason) => write!(f, "the gate did not open: {reason}"),
            Self::Superseded => f.write_str("superseded"),
            Self::Disconnected => f.write_str("disconnected by this end"),
            Self::NoPlace => f.write_str("there was no place for a connection"),
            Self::TooLargeForPeer => f.write_str("the message is too large for the peer"),
        }
    }
}

/// How a connection ended, as far as the rules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(clippy::exhaustive_structs)] // written by every driver
pub struct Ending {
    /// Why.
    pub reason: CloseReason,
    /// The peer said that it closed this connection in favour of another one.
    pub superseded: bool,
    /// Messages for the peer are still waiting to be written.
    pub waiting: bool,
}

/// Whether a peer whose connection ended like this does not respond, by its own fault.
pub(super) fn is_peers_fault(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Protocol(_)
            | CloseReason::Timeout(Timeout::Frame | Timeout::Write)
            | CloseReason::Ended
            | CloseReason::Failed
    )
}

/// Whether a dial that ended like this never had a carrier.
pub(super) fn is_carriers_fault(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Failed | CloseReason::Timeout(Timeout::Dial))
}
