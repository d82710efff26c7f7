//! The tier with an allocator: tables and buffers that exist while they are used, within configured limits.

use alloc::boxed::Box;
use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use bytes::Bytes;
use hashbrown::HashTable;

use super::{Buffer, BufferLimits, Owned, Pull, Seq, Storage, Table, TxQueue, relaxed_capacity};
use crate::connection::{Channel, Outbox};
use crate::error::CapacityError;
use crate::node::{Carrier, ConnectionSlot, PeerSlot, Timer};
use crate::router::{BlockRule, BlockedCount, Module, Space};

/// The tier with an allocator. Limits come from the configuration.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Heap;

impl Storage for Heap {
    type SpaceId = Box<[u8]>;
    type ModuleName = Box<str>;
    type Url = Box<str>;
    type Spaces = HeapTable<Space<Self>>;
    type Modules = HeapTable<Module<Self>>;
    type BlockedCounts = HeapTable<BlockedCount<Self>>;
    type BlockRules = HeapTable<BlockRule<Self>>;
    type RxBuffer = HeapBuffer;
    type TxQueue = HeapQueue;
    type Outbox = HeapQueue;
    type Peers = HeapTable<PeerSlot<Self>>;
    type Connections = HeapTable<ConnectionSlot>;
    type ConnectionTimers = Vec<Timer>;
    type ConnectionPlaces = Vec<u32>;
    type PeerTimers = Vec<Timer>;
    type PeerPlaces = Vec<u32>;
    type Outboxes = Vec<Option<Outbox<Self>>>;
    type Carriers<C: Channel> = Vec<Option<Carrier<Self, C>>>;
}

/// Bounded by those who push: no sequence is longer than the table that it belongs to.
impl<T: fmt::Debug + Clone> Seq<T> for Vec<T> {
    fn as_slice(&self) -> &[T] {
        self
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }

    fn push(&mut self, value: T) -> bool {
        Self::push(self, value);
        true
    }

    fn pop(&mut self) -> Option<T> {
        Self::pop(self)
    }
}

impl Owned<[u8]> for Box<[u8]> {
    fn copy_from(value: &[u8]) -> Option<Self> {
        Some(value.into())
    }
}

impl Owned<str> for Box<str> {
    fn copy_from(value: &str) -> Option<Self> {
        Some(value.into())
    }
}

/// A table that is found by hash and grows to its limit.
#[derive(Debug, Clone)]
pub struct HeapTable<T> {
    /// The hash of an entry's key beside it, so that the index can grow without asking for it again.
    slots: Vec<Option<(u64, T)>>,
    /// Slots that hold nothing. The lowest is used first, as in the Fixed tier: what happens to two entries at the same
    /// moment happens in the order of their slots.
    free: BinaryHeap<Reverse<u32>>,
    /// Slots by hash. It is never iterated, so its order cannot be seen.
    index: HashTable<u32>,
    /// Invariant: `slots.len() <= limit`.
    limit: usize,
}

/// So many slots are searched in line, which is cheaper than a hash.
const SCANNED: usize = 4;

impl<T: fmt::Debug + Clone> HeapTable<T> {
    #[inline(never)]
    fn find_by_hash(
        &self,
        hash: impl FnOnce() -> u64,
        mut is_it: impl FnMut(&T) -> bool,
    ) -> Option<(u32, &T)> {
        let mut candidates = self.index.iter_hash(hash()).copied();
        candidates.find_map(|slot| self.get(slot).filter(|value| is_it(value)).map(|value| (slot, value)))
    }
}

impl<T: fmt::Debug + Clone> Table<T> for HeapTable<T> {
    fn with_limit(limit: usize) -> Self {
        let limit = limit.min(u32::MAX as usize);
        Self { slots: Vec::new(), free: BinaryHeap::new(), index: HashTable::new(), limit }
    }

    fn limit(&self) -> usize {
        self.limit
    }

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline(always)]
    fn find(&self, hash: impl FnOnce() -> u64, mut is_it: impl FnMut(&T) -> bool) -> Option<(u32, &T)> {
        if self.slots.len() <= SCANNED {
            return self.iter().find(|(_, value)| is_it(value));
        }
        self.find_by_hash(hash, is_it)
    }

    fn insert(&mut self, hash: impl FnOnce() -> u64, value: T) -> Result<u32, T> {
        let slot = match self.free.pop() {
            Some(Reverse(slot)) => slot,
            None if self.slots.len() >= self.limit => return Err(value),
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        let hash = hash();
        self.slots[slot as usize] = Some((hash, value));
        let slots = &self.slots;
        let hash_of = |&slot: &u32| slots[slot as usize].as_ref().map_or(0, |(hash, _)| *hash);
        self.index.insert_unique(hash, slot, hash_of);
        Ok(slot)
    }

    fn remove(&mut self, slot: u32) -> Option<T> {
        let (hash, value) = self.slots.get_mut(slot as usize)?.take()?;
        if let Ok(entry) = self.index.find_entry(hash, |&indexed| indexed == slot) {
            entry.remove();
        }
        self.free.push(Reverse(slot));
        Some(value)
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref().map(|(_, value)| value)
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.as_mut().map(|(_, value)| value)
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = (u32, &'a T)>
    where
        T: 'a,
    {
        (0..).zip(&self.slots).filter_map(|(slot, entry)| Some((slot, &entry.as_ref()?.1)))
    }
}

/// A buffer that owns memory only while it is used, or a configured minimum.
#[derive(Clone)]
pub struct HeapBuffer {
    bytes: Vec<u8>,
    limits: BufferLimits,
    /// The longest content since the last [`relax`](Buffer::relax).
    peak: usize,
}

impl HeapBuffer {
    /// Takes the content out, with its memory.
    pub(crate) fn take(&mut self) -> Bytes {
        Bytes::from(core::mem::take(&mut self.bytes))
    }
}

impl fmt::Debug for HeapBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeapBuffer({} of {} bytes)", self.bytes.len(), self.limits.max_bytes)
    }
}

impl Buffer for HeapBuffer {
    type Aside<T: Clone> = Box<T>;

    const GIVES_BACK: bool = true;

    fn with_limits(limits: BufferLimits) -> Self {
        Self { bytes: Vec::with_capacity(limits.min_bytes), limits, peak: 0 }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn append(&mut self, bytes: &[u8], expected: usize) -> Result<(), CapacityError> {
        let len = self.bytes.len() + bytes.len();
        if len > self.limits.max_bytes || expected > self.limits.max_bytes {
            return Err(CapacityError::FrameBuffer);
        }
        if len > self.bytes.capacity() {
            let target = len.max(expected.min(2 * len)).min(self.limits.max_bytes);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        self.peak = self.peak.max(len);
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }

    fn limit(&self) -> usize {
        self.limits.max_bytes
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn relax(&mut self) -> bool {
        let (len, min) = (self.bytes.len(), self.limits.min_bytes);
        self.bytes.shrink_to(relaxed_capacity(self.bytes.capacity(), self.peak, len, min));
        self.peak = len;
        self.bytes.capacity() > min
    }
}

/// A queue of bytes that grows to its limit, with shared payloads in between that were not copied.
#[derive(Clone)]
pub struct HeapQueue {
    /// Written once when it grows, so that reserving room never has to clear it.
    /// Invariant: `head <= tail <= bytes.len()`; `bytes[head..tail]` are queued.
    bytes: Vec<u8>,
    head: usize,
    tail: usize,
    /// Payloads in order, each with the place in `bytes` in front of which it is written.
    /// Invariant: places ascend and lie in `head..=tail`.
    shared: VecDeque<(usize, Bytes)>,
    shared_bytes: usize,
    limits: BufferLimits,
    peak: usize,
}

impl HeapQueue {
    /// Smallest allocation, in bytes.
    const FLOOR: usize = 256;

    /// Puts `payload`, for which there is room, at the end of the queue without copying it.
    pub(crate) fn push_shared(&mut self, payload: Bytes) {
        debug_assert!(
            payload.len() <= self.limits.max_bytes - self.len(),
            "the caller has looked at the limit"
        );
        if !payload.is_empty() {
            self.shared_bytes += payload.len();
            self.shared.push_back((self.tail, payload));
        }
    }

    /// Makes room for `len` bytes behind `tail`.
    #[cold]
    fn make_room(&mut self, len: usize) {
        let queued = self.tail - self.head;
        if self.head >= queued && queued + len <= self.bytes.len() {
            self.bytes.copy_within(self.head..self.tail, 0);
            for (place, _) in &mut self.shared {
                *place -= self.head;
            }
            (self.head, self.tail) = (0, queued);
        } else {
            let needed = self.tail + len;
            let target = needed.max(Self::FLOOR).max((2 * self.bytes.len()).min(self.limits.max_bytes));
            self.bytes.reserve_exact(target - self.bytes.len());
            self.bytes.resize(target, 0);
        }
    }
}

impl fmt::Debug for HeapQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeapQueue({} of {} bytes)", self.len(), self.limits.max_bytes)
    }
}

impl Pull for HeapQueue {
    fn peek<'a>(&'a self, pieces: &mut [&'a [u8]]) -> usize {
        let (mut count, places) = (0, pieces.len());
        let mut add = |piece: &'a [u8]| {
            if let (false, Some(slot)) = (piece.is_empty(), pieces.get_mut(count)) {
                *slot = piece;
                count += 1;
            }
        };
        let mut from = self.head;
        // Each payload fills a place at least, so that no more of them need be looked at.
        for (place, payload) in self.shared.iter().take(places) {
            add(&self.bytes[from..*place]);
            add(payload);
            from = *place;
        }
        add(&self.bytes[from..self.tail]);
        count
    }

    fn consume(&mut self, len: usize) {
        let mut left = len.min(self.len());
        while left > 0 {
            let inline_end = self.shared.front().map_or(self.tail, |(place, _)| *place);
            let inline = left.min(inline_end - self.head);
            self.head += inline;
            left -= inline;
            if let (true, Some((_, payload))) = (left > 0, self.shared.front_mut()) {
                let taken = left.min(payload.len());
                bytes::Buf::advance(payload, taken);
                self.shared_bytes -= taken;
                left -= taken;
                if payload.is_empty() {
                    self.shared.pop_front();
                }
            }
        }
        if self.head == self.tail && self.shared.is_empty() {
            (self.head, self.tail) = (0, 0);
        }
    }
}

impl TxQueue for HeapQueue {
    const GIVES_BACK: bool = true;

    fn with_limits(limits: BufferLimits) -> Self {
        let bytes = alloc::vec![0; limits.min_bytes];
        Self { bytes, head: 0, tail: 0, shared: VecDeque::new(), shared_bytes: 0, limits, peak: 0 }
    }

    #[inline]
    fn len(&self) -> usize {
        self.tail - self.head + self.shared_bytes
    }

    fn limit(&self) -> usize {
        self.limits.max_bytes
    }

    #[inline]
    fn reserve(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.limits.max_bytes - self.len() {
            return None;
        }
        if len > self.bytes.len() - self.tail {
            self.make_room(len);
        }
        let start = self.tail;
        self.tail += len;
        self.peak = self.peak.max(self.tail);
        self.bytes.get_mut(start..self.tail)
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity() + self.shared.capacity() * size_of::<(usize, Bytes)>()
    }

    fn relax(&mut self) -> bool {
        let target = relaxed_capacity(self.bytes.len(), self.peak, self.tail, self.limits.min_bytes);
        self.bytes.truncate(target);
        self.bytes.shrink_to_fit();
        if self.shared.is_empty() {
            self.shared = VecDeque::new();
        }
        self.peak = self.tail;
        self.capacity() > self.limits.min_bytes
    }
}
