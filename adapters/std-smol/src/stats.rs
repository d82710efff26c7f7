//! What a node did, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use kitfox_core::connection::{Role, RxCounts};

/// Which end opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
pub struct Stats {
    /// The URLs under which the node listens; or only the advertised one, if there is one.
    pub own_urls: Vec<String>,
    /// The open connections, oldest first.
    pub connections: Vec<ConnectionStats>,
    /// Connections whose gate is not open yet.
    pub pending: usize,
    /// Blocked messages by peer and space, in the order in which the pairs appeared.
    pub blocked: Vec<BlockedStats>,
    /// Blocked messages that found no place in that table.
    pub blocked_unattributed: u64,
    /// Sums over the life of the node.
    pub totals: Totals,
}

/// One open connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Names the connection. Never used again in the life of the node.
    pub id: u64,
    /// The peer's URL.
    pub peer: String,
    /// Which end opened it.
    pub direction: Direction,
    /// When the gate opened.
    pub opened_at: SystemTime,
    /// NOTIFY and MODULE messages that reached a handler.
    pub received_messages: u64,
    /// Bytes of their frames, headers included.
    pub received_bytes: u64,
    /// Frames that went to no handler: blocked, or without one.
    pub dropped_messages: u64,
    /// NOTIFY and MODULE messages that were queued to be written.
    pub sent_messages: u64,
    /// Bytes of their frames, headers included.
    pub sent_bytes: u64,
    /// Bytes that wait to be written now.
    pub queued_bytes: usize,
}

/// Blocked messages of one peer in one space.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
pub struct Totals {
    /// Connections that peers opened.
    pub accepted: u64,
    /// Connections that this node opened.
    pub dialled: u64,
    /// Connections whose gate opened.
    pub opened: u64,
    /// Connections that ended, opened or not.
    pub closed: u64,
    /// Connections that were turned away because there were too many.
    pub turned_away: u64,
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

impl Totals {
    pub(crate) fn add(&mut self, connection: &ConnectionStats) {
        self.received_messages += connection.received_messages;
        self.received_bytes += connection.received_bytes;
        self.dropped_messages += connection.dropped_messages;
        self.sent_messages += connection.sent_messages;
        self.sent_bytes += connection.sent_bytes;
    }
}

/// What a reader publishes of its counts, once a turn.
#[derive(Debug, Default)]
pub(crate) struct Received {
    messages: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Received {
    pub(crate) fn publish(&self, counts: &RxCounts) {
        let dropped = kitfox_core::router::DropReason::ALL.iter().map(|reason| counts.dropped(*reason)).sum();
        self.messages.store(counts.messages, Ordering::Relaxed);
        self.bytes.store(counts.bytes, Ordering::Relaxed);
        self.dropped.store(dropped, Ordering::Relaxed);
    }

    /// Messages, bytes, dropped.
    pub(crate) fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.messages), read(&self.bytes), read(&self.dropped))
    }
}
