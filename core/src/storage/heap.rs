//! The tier with an allocator: tables and buffers that exist while they are used, within configured limits.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::{Buffer, BufferLimits, Owned, Pull, Seq, Storage, Table, TxQueue, relaxed_capacity};
use crate::connection::Channel;
use crate::error::CapacityError;
use crate::node::{Carrier, ConnectionSlot, Outbox, PeerSlot, Timer};
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
    /// Half of the hash of an entry's key beside it, so that the index can grow without asking for it again.
    slots: Vec<Option<(u32, T)>>,
    /// Slots that hold nothing, the last one freed at the end.
    free: Vec<u32>,
    index: Index,
    /// Invariant: `slots.len() <= limit`, so that no slot has the number of [`FREE`].
    limit: usize,
}

/// So many slots are searched in line, which is cheaper than a hash.
const SCANNED: usize = 4;

/// Slots by hash, each at the first place that was free from the one on that its hash names. It is never iterated, so
/// that its order cannot be seen.
#[derive(Debug, Clone, Default)]
struct Index {
    /// Invariants: as many as a power of two or none, and at least one in eight is [`FREE`]; between the place that a
    /// hash names and the place of its slot none is.
    places: Vec<Place>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    slot: u32,
}

const FREE: Place = Place { hash: 0, slot: u32::MAX };

impl Index {
    /// Places of the smallest index.
    const FLOOR: usize = 4;

    /// The slots at the places from the one on that the hash names, as far as the first free one, whose hash is this.
    #[inline]
    fn with_hash(&self, hash: u32) -> impl Iterator<Item = u32> {
        let mask = self.places.len().wrapping_sub(1);
        let mut next = hash as usize;
        core::iter::from_fn(move || {
            loop {
                let place = self.places.get(next & mask)?;
                next = next.wrapping_add(1);
                match place.slot {
                    u32::MAX => return None,
                    slot if place.hash == hash => return Some(slot),
                    _ => {}
                }
            }
        })
    }

    fn insert(&mut self, hash: u32, slot: u32) {
        if 8 * (self.len + 1) > 7 * self.places.len() {
            let larger = alloc::vec![FREE; Self::FLOOR.max(2 * self.places.len())];
            let places = core::mem::replace(&mut self.places, larger);
            for place in places.into_iter().filter(|place| place.slot != FREE.slot) {
                self.put(place);
            }
        }
        self.put(Place { hash, slot });
        self.len += 1;
    }

    fn put(&mut self, place: Place) {
        let mask = self.places.len() - 1;
        let mut at = place.hash as usize & mask;
        while self.places[at].slot != FREE.slot {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }

    fn remove(&mut self, hash: u32, slot: u32) {
        let mask = self.places.len().wrapping_sub(1);
        let mut hole = hash as usize & mask;
        while self.places.get(hole).is_some_and(|place| place.slot != slot) {
            hole = (hole + 1) & mask;
        }
        // What stands behind it moves up, unless it would come to stand in front of the place that its hash names.
        let mut at = hole;
        while let Some(&place) = self.places.get((at + 1) & mask).filter(|place| place.slot != FREE.slot) {
            at = (at + 1) & mask;
            let distance = |from: usize| at.wrapping_sub(from) & mask;
            if distance(place.hash as usize & mask) >= distance(hole) {
                self.places[hole] = place;
                hole = at;
            }
        }
        if let Some(place) = self.places.get_mut(hole) {
            *place = FREE;
            self.len -= 1;
        }
    }
}

impl<T: fmt::Debug + Clone> HeapTable<T> {
    #[inline(never)]
    fn find_by_hash(
        &self,
        hash: impl FnOnce() -> u64,
        mut is_it: impl FnMut(&T) -> bool,
    ) -> Option<(u32, &T)> {
        let mut candidates = self.index.with_hash(hash() as u32);
        candidates.find_map(|slot| self.get(slot).filter(|value| is_it(value)).map(|value| (slot, value)))
    }
}

impl<T: fmt::Debug + Clone> Table<T> for HeapTable<T> {
    fn with_limit(limit: usize) -> Self {
        let limit = limit.min(FREE.slot as usize);
        Self { slots: Vec::new(), free: Vec::new(), index: Index::default(), limit }
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
            Some(slot) => slot,
            None if self.slots.len() >= self.limit => return Err(value),
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        let hash = hash() as u32;
        self.slots[slot as usize] = Some((hash, value));
        self.index.insert(hash, slot);
        Ok(slot)
    }

    fn remove(&mut self, slot: u32) -> Option<T> {
        let (hash, value) = self.slots.get_mut(slot as usize)?.take()?;
        self.index.remove(hash, slot);
        self.free.push(slot);
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

    /// Puts `payload` at the end of the queue without copying it, or hands it back if that would pass the limit.
    pub(crate) fn push_shared(&mut self, payload: Bytes) -> Result<(), Bytes> {
        if payload.len() > self.limits.max_bytes - self.len() {
            return Err(payload);
        }
        if !payload.is_empty() {
            self.shared_bytes += payload.len();
            self.shared.push_back((self.tail, payload));
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every hash is one of a few, so that all of them meet, also around the end of the index.
    #[test]
    fn a_table_finds_what_is_in_it_and_nothing_else_whatever_meets_in_its_index() {
        for hashes in [1, 3, 16, u64::MAX] {
            let hash = |key: u64| (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).wrapping_neg() % hashes;
            let mut table = HeapTable::<u64>::with_limit(100);
            let mut slots = alloc::vec![None; 150];
            let mut random = 1u64;
            for _ in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (random >> 33) % 150;
                let slot = &mut slots[key as usize];
                *slot = match *slot {
                    Some(slot) => {
                        assert_eq!(table.remove(slot), Some(key));
                        None
                    }
                    None => table.insert(|| hash(key), key).ok(),
                };
                let key = (random >> 45) % 150;
                let found = table.find(|| hash(key), |&value| value == key);
                assert_eq!(found.map(|(slot, _)| slot), slots[key as usize]);
                assert_eq!(table.len(), slots.iter().flatten().count());
                assert_eq!(table.index.len, table.len());
            }
        }
    }
}
