//! The tier without an allocator: every size is a constant.

use core::fmt;
use core::ops::{Deref, DerefMut};

use super::{Buffer, BufferLimits, Owned, Pull, Seq, Table, TxQueue};
use crate::error::CapacityError;

/// The sizes of a Fixed tier. Implement it through [`fixed!`](crate::fixed!).
pub trait FixedSizes: fmt::Debug + Sized + 'static {
    /// Spaces that can be registered.
    const SPACES: usize = 1;
    /// Modules that can be registered, over all spaces.
    const MODULES: usize = 1;
    /// Longest space id, in bytes.
    const SPACE_ID: usize = 32;
    /// Longest name of a module, in bytes.
    const MODULE_NAME: usize = 16;
    /// Longest peer URL, in bytes.
    const URL: usize = 128;
    /// Counters of blocked messages: one for each peer and space.
    const BLOCKED_COUNTS: usize = 4;
    /// Rules of a block list.
    const BLOCK_RULES: usize = 4;
    /// Bytes in which a connection puts a frame together, header included: the longest frame that it takes.
    const FRAME: usize = 1024;
    /// Bytes that a connection can queue to write. In a [`Node`](crate::node::Node) these are only its own frames,
    /// the longest of which is the preflight.
    const TX: usize = 1024;
    /// Bytes of messages that can wait for one peer.
    const OUTBOX: usize = 1024;
    /// Peers that are connected, or for whom messages wait.
    const PEERS: usize = 4;
    /// Connections, also those that are being opened and closed.
    const CONNECTIONS: usize = 4;
}

/// Defines a storage tier that never allocates, with sizes given by name.
///
/// The names are the constants of [`FixedSizes`](crate::storage::FixedSizes) in lower case; what is not named has the
/// default that stands there.
///
/// ```
/// use kitfox_core::{Config, Connection, Instant, fixed};
///
/// fixed!(pub Board { spaces: 2, modules: 4, frame: 2048, tx: 1024 });
///
/// let connection = Connection::<Board>::accept(Instant::ZERO, &Config::DEVICE);
/// assert!(size_of_val(&connection) < 4096);
/// ```
#[macro_export]
macro_rules! fixed {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($size:ident: $value:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        $vis struct $name;

        const _: () = {
            #[derive(Debug)]
            pub struct Sizes;
            impl $crate::storage::FixedSizes for Sizes { $($crate::fixed!(@size $size $value);)* }
            use $crate::storage::FixedSizes as Z;
            use $crate::storage as s;
            impl $crate::storage::Storage for $name {
                type SpaceId = s::FixedBytes<{ <Sizes as Z>::SPACE_ID }>;
                type ModuleName = s::FixedText<{ <Sizes as Z>::MODULE_NAME }>;
                type Url = s::FixedText<{ <Sizes as Z>::URL }>;
                type Spaces = s::FixedTable<$crate::router::Space<Self>, { <Sizes as Z>::SPACES }>;
                type Modules = s::FixedTable<$crate::router::Module<Self>, { <Sizes as Z>::MODULES }>;
                type BlockedCounts =
                    s::FixedTable<$crate::router::BlockedCount<Self>, { <Sizes as Z>::BLOCKED_COUNTS }>;
                type BlockRules = s::FixedTable<$crate::router::BlockRule<Self>, { <Sizes as Z>::BLOCK_RULES }>;
                type RxBuffer = s::FixedBuffer<{ <Sizes as Z>::FRAME }>;
                type TxQueue = s::FixedQueue<{ <Sizes as Z>::TX }>;
                type Outbox = s::FixedQueue<{ <Sizes as Z>::OUTBOX }>;
                type Peers = s::FixedTable<$crate::node::PeerSlot<Self>, { <Sizes as Z>::PEERS }>;
                type Connections = s::FixedTable<$crate::node::ConnectionSlot, { <Sizes as Z>::CONNECTIONS }>;
                type ConnectionTimers = s::FixedSeq<$crate::node::Timer, { <Sizes as Z>::CONNECTIONS }>;
                type ConnectionPlaces = s::FixedSeq<u32, { <Sizes as Z>::CONNECTIONS }>;
                type PeerTimers = s::FixedSeq<$crate::node::Timer, { <Sizes as Z>::PEERS }>;
                type PeerPlaces = s::FixedSeq<u32, { <Sizes as Z>::PEERS }>;
                type Outboxes = s::FixedSeq<Option<$crate::connection::Outbox<Self>>, { <Sizes as Z>::PEERS }>;
                type Carriers<C: $crate::connection::Channel> =
                    s::FixedSeq<Option<$crate::node::Carrier<Self, C>>, { <Sizes as Z>::CONNECTIONS }>;
            }
        };
    };
    (@size spaces $value:expr) => { const SPACES: usize = $value; };
    (@size modules $value:expr) => { const MODULES: usize = $value; };
    (@size space_id $value:expr) => { const SPACE_ID: usize = $value; };
    (@size module_name $value:expr) => { const MODULE_NAME: usize = $value; };
    (@size url $value:expr) => { const URL: usize = $value; };
    (@size blocked_counts $value:expr) => { const BLOCKED_COUNTS: usize = $value; };
    (@size block_rules $value:expr) => { const BLOCK_RULES: usize = $value; };
    (@size frame $value:expr) => { const FRAME: usize = $value; };
    (@size outbox $value:expr) => { const OUTBOX: usize = $value; };
    (@size peers $value:expr) => { const PEERS: usize = $value; };
    (@size connections $value:expr) => { const CONNECTIONS: usize = $value; };
    (@size tx $value:expr) => { const TX: usize = $value; };
}

/// Up to `N` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedBytes<const N: usize>(heapless::Vec<u8, N>);

impl<const N: usize> AsRef<[u8]> for FixedBytes<N> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> Owned<[u8]> for FixedBytes<N> {
    fn copy_from(value: &[u8]) -> Option<Self> {
        heapless::Vec::from_slice(value).ok().map(Self)
    }
}

/// Up to `N` bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedText<const N: usize>(heapless::String<N>);

impl<const N: usize> AsRef<str> for FixedText<N> {
    #[inline]
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> Owned<str> for FixedText<N> {
    fn copy_from(value: &str) -> Option<Self> {
        heapless::String::try_from(value).ok().map(Self)
    }
}

/// Up to `N` elements.
#[derive(Debug, Clone)]
pub struct FixedSeq<T, const N: usize>(heapless::Vec<T, N>);

impl<T, const N: usize> Default for FixedSeq<T, N> {
    fn default() -> Self {
        Self(heapless::Vec::new())
    }
}

impl<T: fmt::Debug + Clone, const N: usize> Seq<T> for FixedSeq<T, N> {
    #[inline]
    fn as_slice(&self) -> &[T] {
        &self.0
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }

    fn push(&mut self, value: T) -> bool {
        self.0.push(value).is_ok()
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

/// A table of `N` slots, searched in line.
#[derive(Debug, Clone)]
pub struct FixedTable<T, const N: usize> {
    /// Invariant: no more than `limit` slots.
    slots: heapless::Vec<Option<T>, N>,
    limit: usize,
}

impl<T: fmt::Debug + Clone, const N: usize> Table<T> for FixedTable<T, N> {
    fn with_limit(limit: usize) -> Self {
        Self { slots: heapless::Vec::new(), limit: limit.min(N) }
    }

    fn limit(&self) -> usize {
        self.limit
    }

    fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    #[inline]
    fn find(&self, _: impl FnOnce() -> u64, mut is_it: impl FnMut(&T) -> bool) -> Option<(u32, &T)> {
        self.iter().find(|(_, value)| is_it(value))
    }

    fn insert(&mut self, _: impl FnOnce() -> u64, value: T) -> Result<u32, T> {
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = Some(value);
            return Ok(free as u32);
        }
        let slot = self.slots.len();
        if slot >= self.limit {
            return Err(value);
        }
        let pushed = self.slots.push(Some(value));
        debug_assert!(pushed.is_ok(), "limit <= N");
        Ok(slot as u32)
    }

    fn remove(&mut self, slot: u32) -> Option<T> {
        self.slots.get_mut(slot as usize)?.take()
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = (u32, &'a T)>
    where
        T: 'a,
    {
        (0..).zip(&self.slots).filter_map(|(slot, value)| Some((slot, value.as_ref()?)))
    }
}

/// `N` bytes in which a frame is put together.
#[derive(Clone)]
pub struct FixedBuffer<const N: usize> {
    bytes: heapless::Vec<u8, N>,
    max_bytes: usize,
}

impl<const N: usize> fmt::Debug for FixedBuffer<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedBuffer({} of {N} bytes)", self.bytes.len())
    }
}

impl<const N: usize> Buffer for FixedBuffer<N> {
    type Aside<T: Clone> = InPlace<T>;

    const GIVES_BACK: bool = false;

    fn with_limits(limits: BufferLimits) -> Self {
        Self { bytes: heapless::Vec::new(), max_bytes: limits.max_bytes }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn append(&mut self, bytes: &[u8], expected: usize) -> Result<(), CapacityError> {
        let limit = N.min(self.max_bytes);
        if self.bytes.len() + bytes.len() > limit || expected > limit {
            return Err(CapacityError::FrameBuffer);
        }
        self.bytes.extend_from_slice(bytes).map_err(|_| CapacityError::FrameBuffer)
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }

    fn limit(&self) -> usize {
        N.min(self.max_bytes)
    }

    fn capacity(&self) -> usize {
        N
    }

    fn relax(&mut self) -> bool {
        false
    }
}

/// What a [`Buffer`] of this tier keeps [aside](Buffer::Aside): it has nowhere else to put it.
#[derive(Debug, Clone)]
pub struct InPlace<T>(T);

impl<T> From<T> for InPlace<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for InPlace<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for InPlace<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// `N` bytes to write, kept in one piece.
#[derive(Clone)]
pub struct FixedQueue<const N: usize> {
    /// Invariant: `head <= tail <= N`; `bytes[head..tail]` are queued.
    bytes: [u8; N],
    head: usize,
    tail: usize,
    max_bytes: usize,
}

impl<const N: usize> fmt::Debug for FixedQueue<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedQueue({} of {} bytes)", self.tail - self.head, self.max_bytes)
    }
}

impl<const N: usize> Pull for FixedQueue<N> {
    fn peek<'a>(&'a self, pieces: &mut [&'a [u8]]) -> usize {
        match (pieces.first_mut(), self.bytes.get(self.head..self.tail)) {
            (Some(piece), Some(queued)) if !queued.is_empty() => {
                *piece = queued;
                1
            }
            _ => 0,
        }
    }

    fn consume(&mut self, len: usize) {
        self.head += len.min(self.len());
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
    }
}

impl<const N: usize> TxQueue for FixedQueue<N> {
    const GIVES_BACK: bool = false;

    fn with_limits(limits: BufferLimits) -> Self {
        Self { bytes: [0; N], head: 0, tail: 0, max_bytes: limits.max_bytes.min(N) }
    }

    #[inline]
    fn len(&self) -> usize {
        self.tail - self.head
    }

    fn limit(&self) -> usize {
        self.max_bytes
    }

    #[inline]
    fn reserve(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.max_bytes - self.len() {
            return None;
        }
        if len > N - self.tail {
            self.bytes.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
        }
        let start = self.tail;
        self.tail += len;
        self.bytes.get_mut(start..self.tail)
    }

    fn capacity(&self) -> usize {
        N
    }

    fn relax(&mut self) -> bool {
        false
    }
}
