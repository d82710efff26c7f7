//! How many messages were blocked, by peer and space.

use crate::config::RouterLimits;
use crate::hash::{hash_pair, same};
use crate::storage::{Owned, Storage, Table};

/// Blocked messages of one peer in one space.
#[derive(Debug, Clone)]
pub struct BlockedCount<S: Storage> {
    peer: S::Url,
    space: S::SpaceId,
    incoming: u32,
    outgoing: u32,
}

impl<S: Storage> BlockedCount<S> {
    /// The peer's URL.
    pub fn peer(&self) -> &str {
        self.peer.as_ref()
    }

    /// The space id.
    pub fn space(&self) -> &[u8] {
        self.space.as_ref()
    }

    /// Messages from the peer that were dropped. Stays at its maximum once it is there.
    pub fn incoming(&self) -> u32 {
        self.incoming
    }

    /// Messages to the peer that were not sent. Stays at its maximum once it is there.
    pub fn outgoing(&self) -> u32 {
        self.outgoing
    }
}

/// Counters of blocked messages, for as many pairs of peer and space as the limit allows.
///
/// An entry appears with the first blocked message and stays, also when the space is unregistered. What finds no
/// place any more is counted as [`unattributed`](Self::unattributed), so that strangers who invent URLs cost nothing
/// but one number. Kitsune2 keeps an entry for each of them.
#[derive(Debug, Clone)]
pub struct BlockedCounts<S: Storage> {
    entries: S::BlockedCounts,
    seed: u64,
    /// The entry that was counted last. A blocked peer seldom sends one message only.
    last: u32,
    unattributed: u64,
}

impl<S: Storage> BlockedCounts<S> {
    /// No entries. `hash_seed` is a number that strangers cannot guess.
    pub fn new(limits: &RouterLimits, hash_seed: u64) -> Self {
        let entries = S::BlockedCounts::with_limit(limits.max_blocked_counts);
        Self { entries, seed: hash_seed, last: 0, unattributed: 0 }
    }

    /// All entries, in the order in which they appeared.
    pub fn iter(&self) -> impl Iterator<Item = &BlockedCount<S>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Blocked messages that found no place in the table.
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }

    /// Counts a message from `peer` that was dropped.
    pub fn incoming(&mut self, peer: &str, space: &[u8]) {
        self.count(peer, space, true);
    }

    /// Counts a message to `peer` that was not sent.
    pub fn outgoing(&mut self, peer: &str, space: &[u8]) {
        self.count(peer, space, false);
    }

    #[cfg_attr(feature = "alloc", inline(always))]
    #[cfg_attr(not(feature = "alloc"), inline(never))] // without an allocator size comes before speed
    fn count(&mut self, peer: &str, space: &[u8], incoming: bool) {
        let is_it =
            |entry: &BlockedCount<S>| same(entry.space.as_ref(), space) && entry.peer.as_ref() == peer;
        if !self.entries.get(self.last).is_some_and(is_it) {
            let hash = || hash_pair(self.seed, peer.as_bytes(), space);
            let found = self.entries.find(hash, is_it).map(|(slot, _)| slot);
            let slot = found.or_else(|| {
                let (peer, space) = (S::Url::copy_from(peer)?, S::SpaceId::copy_from(space)?);
                self.entries.insert(hash, BlockedCount { peer, space, incoming: 0, outgoing: 0 }).ok()
            });
            let Some(slot) = slot else {
                self.unattributed += 1;
                return;
            };
            self.last = slot;
        }
        if let Some(entry) = self.entries.get_mut(self.last) {
            let counter = if incoming { &mut entry.incoming } else { &mut entry.outgoing };
            *counter = counter.saturating_add(1);
        }
    }
}
