//! All deadlines in one place: the earliest is a peek, changing one costs the logarithm of their number.

use crate::storage::Seq;
use crate::time::Instant;

/// An indexed binary heap of deadlines, at most one for each key. Keys are small numbers.
#[derive(Debug, Clone)]
pub(crate) struct Timers<E, P> {
    /// The heap. Invariant: no entry is earlier than its parent, at half its place.
    entries: E,
    /// Where each key's entry is, plus one; zero stands for none.
    /// Invariant: `places[entries[i].key] == i + 1` for every entry, and zero for every other key.
    places: P,
}

/// One deadline. Of two at the same moment the one with the smaller key comes first, whatever else was set before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timer {
    at: Instant,
    key: u32,
}

impl<E: Seq<Timer>, P: Seq<u32>> Timers<E, P> {
    pub(crate) fn new() -> Self {
        Self { entries: E::default(), places: P::default() }
    }

    /// The earliest deadline.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.entries.as_slice().first().map(|timer| timer.at)
    }

    /// Takes the key whose deadline has come, if there is one.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let first = self.entries.as_slice().first().copied().filter(|timer| timer.at <= now)?;
        self.clear(first.key);
        Some(first.key)
    }

    /// The deadline of a key.
    pub(crate) fn get(&self, key: u32) -> Option<Instant> {
        let place = *self.places.as_slice().get(key as usize)?;
        self.entries.as_slice().get((place as usize).checked_sub(1)?).map(|timer| timer.at)
    }

    /// Sets the deadline of a key, in the place of the one that it had. Keys must be below the capacity.
    pub(crate) fn set(&mut self, key: u32, at: Instant) {
        while self.places.as_slice().len() <= key as usize {
            if !self.places.push(0) {
                debug_assert!(false, "keys are below the capacity");
                return;
            }
        }
        let place = match self.places.as_slice()[key as usize] {
            0 => {
                if !self.entries.push(Timer { at, key }) {
                    debug_assert!(false, "one entry for each key");
                    return;
                }
                self.entries.as_slice().len() - 1
            }
            place => {
                self.entries.as_mut_slice()[place as usize - 1].at = at;
                place as usize - 1
            }
        };
        let place = self.sift_up(place);
        self.sift_down(place);
    }

    /// Removes the deadline of a key, if it has one.
    pub(crate) fn clear(&mut self, key: u32) {
        let Some(place) = self.places.as_mut_slice().get_mut(key as usize) else { return };
        let Some(place) = (core::mem::take(place) as usize).checked_sub(1) else { return };
        let Some(last) = self.entries.pop() else { return };
        if place < self.entries.as_slice().len() {
            self.put(place, last);
            let place = self.sift_up(place);
            self.sift_down(place);
        }
    }

    fn put(&mut self, place: usize, timer: Timer) {
        self.entries.as_mut_slice()[place] = timer;
        self.places.as_mut_slice()[timer.key as usize] = place as u32 + 1;
    }

    /// Moves an entry towards the top, to where it belongs, and returns where that is.
    fn sift_up(&mut self, mut place: usize) -> usize {
        let timer = self.entries.as_slice()[place];
        while place > 0 {
            let above = (place - 1) / 2;
            let parent = self.entries.as_slice()[above];
            if parent <= timer {
                break;
            }
            self.put(place, parent);
            place = above;
        }
        self.put(place, timer);
        place
    }

    fn sift_down(&mut self, mut place: usize) {
        let timer = self.entries.as_slice()[place];
        loop {
            let entries = self.entries.as_slice();
            let children = (2 * place + 1)..entries.len().min(2 * place + 3);
            let Some(below) = children.min_by_key(|&child| entries[child]) else { break };
            let child = entries[below];
            if timer <= child {
                break;
            }
            self.put(place, child);
            place = below;
        }
        self.put(place, timer);
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::storage::{Heap, Storage};

    /// Deadlines that are set, put off, put forward and taken away in every order, beside a set that is sorted.
    #[test]
    fn deadlines_come_in_order_whatever_was_set_and_cleared_before() {
        const KEYS: u32 = 40;
        let mut timers = Timers::<<Heap as Storage>::PeerTimers, <Heap as Storage>::PeerPlaces>::new();
        let mut sorted = BTreeSet::new();
        let (mut random, mut now) = (1_u64, 0);
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (key, delay) = ((random >> 33) as u32 % KEYS, (random >> 40) % 100);
            match (random >> 60) % 4 {
                0 => {
                    timers.clear(key);
                    sorted.retain(|&(_, other)| other != key);
                }
                1 => {
                    now += delay;
                    let due = sorted.first().copied().filter(|&(at, _)| at <= Instant::from_micros(now));
                    assert_eq!(
                        timers.pop_due(Instant::from_micros(now)),
                        due.map(|(_, key)| key),
                        "step {step}"
                    );
                    sorted.retain(|&timer| Some(timer) != due);
                }
                _ => {
                    let at = Instant::from_micros(now + delay);
                    timers.set(key, at);
                    sorted.retain(|&(_, other)| other != key);
                    sorted.insert((at, key));
                }
            }
            assert_eq!(timers.next_at(), sorted.first().map(|&(at, _)| at), "step {step}");
            let at = sorted.iter().find(|&&(_, other)| other == key).map(|&(at, _)| at);
            assert_eq!(timers.get(key), at, "step {step}");
        }
    }
}
