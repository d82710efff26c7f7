//! Tasks that wait for room.

use core::task::Waker;

use heapless::Vec;

/// A bounded set of tasks to wake at once. A task that gave up waiting is woken for nothing, which does no harm.
#[derive(Debug, Default)]
pub(crate) struct Wakers<const N: usize>(Vec<Waker, N>);

impl<const N: usize> Wakers<N> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Remembers a task; `false` if there is no place for it.
    #[must_use]
    pub(crate) fn register(&mut self, waker: &Waker) -> bool {
        self.0.iter().any(|known| known.will_wake(waker)) || self.0.push(waker.clone()).is_ok()
    }

    pub(crate) fn wake_all(&mut self) {
        while let Some(waker) = self.0.pop() {
            waker.wake();
        }
    }
}
