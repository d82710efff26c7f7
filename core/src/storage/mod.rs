//! Where the core keeps what it must remember: four small traits and two tiers of them.
//!
//! All logic is written once, against these traits and slices. The Fixed tier ([`fixed!`](crate::fixed!)) holds everything inside one value of
//! a size known at compile time and never allocates; `Heap` allocates on demand, within the limits that the
//! configuration sets. Nothing is ever sized by a number that a stranger sent.

mod fixed;
#[cfg(feature = "alloc")]
mod heap;

pub use fixed::{FixedBuffer, FixedBytes, FixedQueue, FixedSeq, FixedSizes, FixedTable, FixedText, InPlace};
#[cfg(feature = "alloc")]
pub use heap::{Heap, HeapBuffer, HeapQueue, HeapTable};

use core::ops::DerefMut;

use crate::connection::{Channel, Outbox};
use crate::error::CapacityError;
use crate::node::{Carrier, ConnectionSlot, PeerSlot, Timer};
use crate::router::{BlockRule, BlockedCount, Module, Space};

/// The types in which one node keeps its state.
///
/// Use `Heap` where there is an allocator, or a tier made with [`fixed!`](crate::fixed!) where there is none.
pub trait Storage: Sized + Clone + core::fmt::Debug + 'static {
    /// A space id.
    type SpaceId: Owned<[u8]>;
    /// A module's name.
    type ModuleName: Owned<str>;
    /// The text of a peer URL.
    type Url: Owned<str>;
    /// Registered spaces.
    type Spaces: Table<Space<Self>>;
    /// Registered modules.
    type Modules: Table<Module<Self>>;
    /// Counters of blocked messages.
    type BlockedCounts: Table<BlockedCount<Self>>;
    /// Rules of a [`BlockList`](crate::router::BlockList).
    type BlockRules: Table<BlockRule<Self>>;
    /// Where a connection puts a frame together that arrives in pieces.
    type RxBuffer: Buffer;
    /// What a connection has to write.
    type TxQueue: TxQueue;
    /// Messages that wait for one peer.
    type Outbox: TxQueue;
    /// Peers that are connected, or for whom messages wait.
    type Peers: Table<PeerSlot<Self>>;
    /// Connections.
    type Connections: Table<ConnectionSlot>;
    /// A deadline for each connection.
    type ConnectionTimers: Seq<Timer>;
    /// Where each connection's deadline is.
    type ConnectionPlaces: Seq<u32>;
    /// A deadline for each peer.
    type PeerTimers: Seq<Timer>;
    /// Where each peer's deadline is.
    type PeerPlaces: Seq<u32>;
    /// An outbox for each peer.
    type Outboxes: Seq<Option<Outbox<Self>>>;
    /// Both halves of each connection.
    type Carriers<C: Channel>: Seq<Option<Carrier<Self, C>>>;
}

/// A bounded sequence.
pub trait Seq<T>: Default + core::fmt::Debug + Clone {
    /// Its elements.
    fn as_slice(&self) -> &[T];

    /// Its elements.
    fn as_mut_slice(&mut self) -> &mut [T];

    /// Adds an element at the end; `false` if there is no place for it.
    #[must_use]
    fn push(&mut self, value: T) -> bool;

    /// Removes the last element.
    fn pop(&mut self) -> Option<T>;
}

/// A small value of its own, copied from a borrowed one.
pub trait Owned<T: ?Sized>: AsRef<T> + core::fmt::Debug + Clone + 'static {
    /// Copies `value`, or returns `None` if it is longer than this type can hold.
    fn copy_from(value: &T) -> Option<Self>;
}

/// A bounded table whose entries keep their place until they are removed.
///
/// Entries are found by their key through [`find`](Self::find) and by their slot. The order of slots depends only on
/// the order of insertions and removals.
pub trait Table<T>: core::fmt::Debug + Clone {
    /// An empty table that never holds more than `limit` entries (fewer where its size is fixed).
    fn with_limit(limit: usize) -> Self;

    /// The most entries that it can hold.
    fn limit(&self) -> usize;

    /// How many entries it holds.
    fn len(&self) -> usize;

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry for which `is_it` holds, and its slot. `hash` is the hash of its key; tables that search in line never
    /// call it.
    fn find(&self, hash: impl FnOnce() -> u64, is_it: impl FnMut(&T) -> bool) -> Option<(u32, &T)>;

    /// Puts `value`, whose key hashes to `hash`, into a free slot.
    ///
    /// # Errors
    /// Hands the value back if the table is full.
    fn insert(&mut self, hash: impl FnOnce() -> u64, value: T) -> Result<u32, T>;

    /// Empties a slot.
    fn remove(&mut self, slot: u32) -> Option<T>;

    /// The entry in a slot.
    fn get(&self, slot: u32) -> Option<&T>;

    /// The entry in a slot.
    fn get_mut(&mut self, slot: u32) -> Option<&mut T>;

    /// All entries with their slots, in the order of the slots.
    fn iter<'a>(&'a self) -> impl Iterator<Item = (u32, &'a T)>
    where
        T: 'a;
}

/// How many bytes a buffer keeps when it is idle, and how many it may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(clippy::exhaustive_structs)] // two bounds
pub struct BufferLimits {
    /// Bytes that are kept when nothing is buffered. A buffer of fixed size ignores it.
    pub min_bytes: usize,
    /// Bytes that are never exceeded. A buffer of fixed size is further limited by that size.
    pub max_bytes: usize,
}

/// Bytes in one piece, appended at the end and cleared at once.
pub trait Buffer: core::fmt::Debug + Clone + 'static {
    /// Where something large lies that is needed for a while only, a handshake say: aside where there is an allocator,
    /// so that it takes no memory afterwards, and in place where there is none.
    type Aside<T: Clone>: Clone + DerefMut<Target = T> + From<T>;

    /// Whether [`relax`](Self::relax) can ever do anything.
    const GIVES_BACK: bool;

    /// An empty buffer.
    fn with_limits(limits: BufferLimits) -> Self;

    /// What is in it.
    fn as_slice(&self) -> &[u8];

    /// What is in it.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// Appends `bytes`; `expected` is the length that the buffer will reach in the end, if all goes well. Capacity
    /// grows with what was appended, to at most twice of it, never with `expected`.
    ///
    /// # Errors
    /// [`CapacityError::FrameBuffer`] if the content or `expected` is beyond the limit; nothing is appended then.
    fn append(&mut self, bytes: &[u8], expected: usize) -> Result<(), CapacityError>;

    /// Forgets the content and keeps the memory.
    fn clear(&mut self);

    /// The most bytes that it can hold.
    fn limit(&self) -> usize;

    /// Bytes of memory that it owns.
    fn capacity(&self) -> usize;

    /// Gives back memory that has not been needed since the last call: a quarter of it, or all but the minimum if it
    /// was not used at all. Returns whether it still owns more than the minimum, so that it has to be called again.
    fn relax(&mut self) -> bool;
}

/// Bytes that are looked at and taken from the front.
pub trait Pull {
    /// The first bytes as pieces. Returns how many pieces were put into `pieces`; fewer than its length means that
    /// all bytes are shown.
    fn peek<'a>(&'a self, pieces: &mut [&'a [u8]]) -> usize;

    /// Takes the first `len` bytes, which were shown before.
    fn consume(&mut self, len: usize);
}

/// Bytes to write, first in, first out.
pub trait TxQueue: Pull + core::fmt::Debug + Clone {
    /// Whether [`relax`](Self::relax) can ever do anything.
    const GIVES_BACK: bool;

    /// An empty queue.
    fn with_limits(limits: BufferLimits) -> Self;

    /// Bytes that are queued.
    fn len(&self) -> usize;

    /// Whether nothing is queued.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most bytes that may be queued.
    fn limit(&self) -> usize;

    /// Room for `len` more bytes in one piece at the end of the queue, or `None` if that would pass the limit. They
    /// count as queued at once; the caller overwrites all of them, whatever they hold.
    fn reserve(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Bytes of memory that it owns.
    fn capacity(&self) -> usize;

    /// Gives back memory that has not been needed since the last call, as [`Buffer::relax`] does.
    fn relax(&mut self) -> bool;
}

/// The next smaller capacity of a buffer that needed at most `peak` bytes of its `capacity` since the last look.
#[cfg(feature = "alloc")]
fn relaxed_capacity(capacity: usize, peak: usize, len: usize, min: usize) -> usize {
    let target = if peak == 0 { 0 } else { peak.max(capacity - capacity.div_ceil(4)) };
    target.max(len).max(min).min(capacity)
}
