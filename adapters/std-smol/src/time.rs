//! The core's time from the clock of the machine, and alarms.

use std::task::{Context, Poll};
use std::time::Instant as StdInstant;

use async_io::Timer;
use futures_lite::Stream;
use kitfox_core::Instant;

/// The core's clock: microseconds since the node was built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: StdInstant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: StdInstant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn to_std(self, at: Instant) -> Option<StdInstant> {
        self.origin.checked_add(at.since(Instant::ZERO))
    }
}

/// A timer whose deadline may move. One that moves later is let fire early, which does no harm; so a deadline that
/// moves with every message costs nothing.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// There while it is armed: most connections that are idle wait for no deadline.
    timer: Option<Box<Timer>>,
    armed: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { timer: None, armed: None }
    }

    /// Ready once `deadline` has come, or perhaps earlier.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        clock: &Clock,
        deadline: Option<Instant>,
    ) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        if self.armed.is_none_or(|armed| deadline < armed) {
            let Some(at) = clock.to_std(deadline) else { return Poll::Pending };
            self.timer.get_or_insert_with(|| Box::new(Timer::never())).set_at(at);
            self.armed = Some(deadline);
        }
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        match std::pin::Pin::new(&mut **timer).poll_next(cx) {
            Poll::Ready(_) => {
                (self.timer, self.armed) = (None, None);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
