//! Runs a path and counts what it costs: allocations here, instructions from outside, by callgrind.
//!
//! A program that measures has `INSTRUMENTED_SYSTEM` of crate `stats_alloc` as its allocator. It is not set here: where
//! time is measured, counting would slow down whoever allocates.

use core::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region};

/// Rounds before the first one that counts: tables, buffers and queues reach their size in them.
const WARM_UP: usize = 3;
/// Rounds that count.
const ROUNDS: usize = 8;

/// What one path did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that went through.
    pub messages: u64,
    /// Calls of the allocator that gave memory, growth included.
    pub allocations: u64,
}

/// Handed to a path, which marks with it the part that counts.
#[derive(Debug, Default)]
pub struct Meter {
    counting: bool,
    tally: Tally,
}

impl Meter {
    /// Repeats `round`, the first times without counting. What a round does outside of [`measure`](Self::measure) is
    /// never counted.
    ///
    /// # Panics
    /// If the program has another allocator than the counting one: then every path seems to allocate nothing.
    pub fn rounds(&mut self, mut round: impl FnMut(&mut Self)) {
        let region = Region::new(&INSTRUMENTED_SYSTEM);
        drop(black_box(vec![0_u8]));
        assert_ne!(region.change().allocations, 0, "the allocator counts");
        for number in 0..WARM_UP + ROUNDS {
            self.counting = number >= WARM_UP;
            round(self);
        }
    }

    /// Runs `body` and counts what it costs. It returns how many messages went through, as it saw them.
    ///
    /// # Panics
    /// If that is not `expected`: figures of something else than the path mean nothing.
    pub fn measure(&mut self, expected: u64, mut body: impl FnMut() -> u64) {
        if !self.counting {
            assert_eq!(body(), expected, "messages");
            return;
        }
        let region = Region::new(&INSTRUMENTED_SYSTEM);
        let messages = kitfox_measured_region(black_box(&mut body));
        let change = region.change();
        assert_eq!(messages, expected, "messages");
        self.tally.messages += messages;
        self.tally.allocations += (change.allocations + change.reallocations) as u64;
    }

    /// What was counted.
    pub fn finish(self) -> Tally {
        kitfox_end_of_path(self.tally.messages);
        self.tally
    }
}

/// Callgrind collects while this runs. It finds the function by its name.
#[inline(never)]
fn kitfox_measured_region(body: &mut dyn FnMut() -> u64) -> u64 {
    black_box(body())
}

/// Callgrind writes down what it has collected when this returns. It finds the function by its name.
#[inline(never)]
fn kitfox_end_of_path(messages: u64) {
    black_box(messages);
}
