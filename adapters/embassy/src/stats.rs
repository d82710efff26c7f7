//! What a node did, in numbers.

/// What a node did, from [`Node::stats`](crate::Node::stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Peers that are up.
    pub connected_peers: usize,
    /// Peers in the table: connected, or with messages waiting for them.
    pub known_peers: usize,
    /// Connections of every kind, those that are being opened and closed included.
    pub connections: usize,
    /// Accepted connections whose peer has not sent a valid preflight.
    pub pending: usize,
    /// Blocked messages that found no place in the table of [`BlockedCounts`](kitfox_core::router::BlockedCounts).
    pub blocked_unattributed: u64,
    /// Bytes that wait in all outboxes together.
    pub queued_bytes: usize,
    /// Sums over the life of the node.
    pub totals: Totals,
}

/// Sums over the life of a node, closed connections included. Numbers stay at their maximum once they are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Totals {
    /// Connections that peers opened.
    pub accepted: u32,
    /// Connections that this node opened.
    pub dialled: u32,
    /// Connections whose gate opened.
    pub opened: u32,
    /// Connections that ended, opened or not, of those that were accepted or dialled.
    pub closed: u32,
    /// Accepted connections that were turned away because there was no place.
    pub turned_away: u32,
    /// Messages that were refused because the peer's outbox was full.
    pub outbox_full: u32,
    /// Messages that were accepted for sending, those that a handler sent not included.
    pub accepted_messages: u32,
    /// Messages that were given up before they were written.
    pub not_sent_messages: u32,
    /// Messages that were written on a connection that has ended.
    pub unknown_messages: u32,
    /// NOTIFY and MODULE messages that reached the handler.
    pub received_messages: u32,
    /// Bytes of their frames, headers included.
    pub received_bytes: u64,
    /// Frames that went to no handler: blocked, or without one.
    pub dropped_messages: u32,
}

impl Totals {
    /// Counts one.
    pub(crate) fn count(counter: &mut u32) {
        *counter = counter.saturating_add(1);
    }
}
