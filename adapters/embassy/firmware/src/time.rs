//! embassy-time's driver: tickless, over a counter and an alarm of the board's.
//!
//! Ticks of an interrupt are not counted: an emulator that falls behind merges them, and time would be lost.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::{Driver, time_driver_impl};
use embassy_time_queue_utils::Queue;

use crate::board::clock;

struct Time {
    state: Mutex<RefCell<State>>,
}

struct State {
    queue: Queue,
    /// Ticks of the board's counter since the start, as of the last look. It is looked at twice a turn at least,
    /// because no alarm is further away than half a turn.
    ticks: u64,
}

impl State {
    fn now(&mut self) -> u64 {
        let turned = clock::counter().wrapping_sub(self.ticks as u32) & clock::COUNTER_MASK;
        self.ticks += u64::from(turned);
        self.ticks * clock::MICROS.0 / clock::MICROS.1
    }

    /// Wakes what is due and sets the alarm for what is next.
    fn advance(&mut self) {
        let now = self.now();
        let next = self.queue.next_expiration(now);
        let wait = next.saturating_sub(now).saturating_mul(clock::MICROS.1) / clock::MICROS.0;
        // One tick at least: an alarm of none never comes.
        let ticks = wait.clamp(1, u64::from(clock::COUNTER_MASK / 2));
        clock::alarm(ticks as u32);
    }
}

impl Driver for Time {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.state.borrow(cs).borrow_mut().now())
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut state = self.state.borrow(cs).borrow_mut();
            if state.queue.schedule_wake(at, waker) {
                state.advance();
            }
        });
    }
}

time_driver_impl!(static TIME: Time = Time {
    state: Mutex::new(RefCell::new(State { queue: Queue::new(), ticks: 0 }))
});

/// The alarm has come, or the clock has just been started.
pub(crate) fn on_alarm(cs: CriticalSection<'_>) {
    TIME.state.borrow(cs).borrow_mut().advance();
}
