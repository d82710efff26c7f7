//! What a node did, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use kitfox_core::connection::Role;

/// Which end opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Direction {
    /// This end.
    Outgoing,
    /// The peer.
    Incoming,
}

impl From<Role> for Direction {
    fn from(role: Role) -> Self {
        match role {
            Role::Dialler => Self::Outgoing,
            _ => Self::Incoming,
        }
    }
}

/// What a node did, from [`Node::stats`](crate::Node::stats).
#[derive(Debug, Clone)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Stats {
    /// The URLs under which the node listens; or only the advertised one, if there is one.
    pub own_urls: Vec<String>,
    /// Peers that are up.
    pub connected_peers: usize,
    /// Peers in the table: connected, or with messages waiting for them.
    pub known_peers: usize,
    /// The connection of each peer that is up, oldest first.
    pub connections: Vec<ConnectionStats>,
    /// Accepted connections whose peer has not sent a valid preflight.
    pub pending: usize,
    /// Blocked messages by peer and space, in the order in which the pairs appeared.
    pub blocked: Vec<BlockedStats>,
    /// Blocked messages that found no place in that table.
    pub blocked_unattributed: u64,
    /// Bytes that wait in all outboxes together.
    pub queued_bytes: usize,
    /// Bytes that the frame buffers of all connections own together.
    pub receive_bytes: usize,
    /// Sums over the life of the node.
    pub totals: Totals,
}

/// One open connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ConnectionStats {
    /// Names the connection. Never used again in the life of the node.
    pub id: u64,
    /// The peer's URL.
    pub peer: String,
    /// The peer's id.
    pub peer_id: String,
    /// The id is only claimed: the channel does not prove it.
    pub claimed: bool,
    /// Which end opened it.
    pub direction: Direction,
    /// When the gate opened: seconds since the UNIX epoch.
    pub opened_at_s: u64,
    /// NOTIFY and MODULE messages that reached a handler.
    pub received_messages: u64,
    /// Bytes of their frames, headers included.
    pub received_bytes: u64,
    /// Frames that went to no handler: blocked, or without one.
    pub dropped_messages: u64,
    /// Messages that were handed to the socket, wholly or in part.
    pub sent_messages: u64,
    /// Bytes of their frames that the socket took.
    pub sent_bytes: u64,
    /// Bytes of messages that wait to be written now.
    pub queued_bytes: usize,
}

/// Blocked messages of one peer in one space.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockedStats {
    /// The peer's URL.
    pub peer: String,
    /// The space.
    pub space: Vec<u8>,
    /// Messages from the peer that were dropped.
    pub incoming: u32,
    /// Messages to the peer that were not sent.
    pub outgoing: u32,
}

/// Sums over the life of a node, closed connections included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Totals {
    /// Connections that peers opened.
    pub accepted: u64,
    /// Connections that this node opened.
    pub dialled: u64,
    /// Connections whose gate opened.
    pub opened: u64,
    /// Connections that ended, opened or not.
    pub closed: u64,
    /// Accepted connections that were turned away because there was no place.
    pub turned_away: u64,
    /// Messages that were refused because there was no place for another peer.
    pub no_place_for_peer: u64,
    /// Messages that were refused because the peer's outbox was full.
    pub outbox_full: u64,
    /// Messages that were refused because all outboxes together were full.
    pub send_memory_full: u64,
    /// Connections that were closed because all receive buffers together were full.
    pub receive_memory_full: u64,
    /// Messages that were accepted for sending.
    pub accepted_messages: u64,
    /// Messages that were given up before they were written.
    pub not_sent_messages: u64,
    /// Messages that were written on a connection that has ended.
    pub unknown_messages: u64,
    /// Connections that were cut before their gate opened, because too many others wanted their place.
    pub evicted: u64,
    /// Times that the system could not accept a connection.
    pub accept_errors: u64,
    /// As [`ConnectionStats::received_messages`].
    pub received_messages: u64,
    /// As [`ConnectionStats::received_bytes`].
    pub received_bytes: u64,
    /// As [`ConnectionStats::dropped_messages`].
    pub dropped_messages: u64,
    /// As [`ConnectionStats::sent_messages`].
    pub sent_messages: u64,
    /// As [`ConnectionStats::sent_bytes`].
    pub sent_bytes: u64,
}

/// Counts of one connection, which its tasks keep up to date.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received_messages: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) dropped_messages: AtomicU64,
    pub(crate) sent_messages: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
}

/// Adds to a counter that only one task writes.
#[inline]
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

#[inline]
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
