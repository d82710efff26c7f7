//! What the table of peers remembers of each peer and of each connection.

use super::step::{ConnectionState, MAX_CONNECTIONS_PER_PEER};
use crate::connection::Role;
use crate::peer::PeerId;
use crate::storage::Storage;

/// A peer in the table.
#[derive(Debug, Clone)]
pub struct PeerSlot<S: Storage> {
    pub(super) id: PeerId,
    /// Where it is dialled.
    pub(super) url: S::Url,
    pub(super) generation: u32,
    /// All its connections, in the order in which they joined. Invariant: at most one is `Open`.
    pub(super) connections: heapless::Vec<u32, MAX_CONNECTIONS_PER_PEER>,
    /// Failed attempts since it was last up.
    pub(super) failed: u8,
    /// Messages wait to be written.
    pub(super) waiting: bool,
    /// What the driver was told last: no message may begin to be written.
    pub(super) paused: bool,
    /// A step waits that forgets the peer, unless something comes up before it is taken.
    pub(super) leaving: bool,
}

/// A connection in the table.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionSlot {
    pub(super) generation: u32,
    pub(super) role: Role,
    pub(super) state: ConnectionState,
    /// The peer. `None` while the state is `Inbound` or `Closed`.
    pub(super) peer: Option<u32>,
    /// Goes up with each connection.
    pub(super) order: u64,
    /// The id was proven by the channel, not only claimed.
    pub(super) proven: bool,
}
