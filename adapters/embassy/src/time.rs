//! embassy's clock as the core's.

use embassy_time::Duration;
use kitfox_core::Instant;

/// What the core calls now.
pub(crate) fn now() -> Instant {
    Instant::from_micros(embassy_time::Instant::now().as_micros())
}

/// A moment of embassy's clock that is not before `at`: one that was rounded down to a tick would find nothing due, and
/// be waited for again and again until the tick is over.
pub(crate) fn timer_at(at: Instant) -> embassy_time::Instant {
    let at = at.as_micros();
    // Beyond this the conversion overflows: some thousand years.
    let moment = embassy_time::Instant::from_micros(at.min(u64::MAX / embassy_time::TICK_HZ.max(1)));
    if moment.as_micros() < at { moment + Duration::from_ticks(1) } else { moment }
}

/// A duration of embassy's.
pub(crate) fn duration(duration: core::time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(1 << 50))
}
