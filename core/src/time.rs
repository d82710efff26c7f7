//! Virtual time. The core owns no clock: every call that depends on time is given `now`.

use core::time::Duration;

/// A moment on the caller's monotonic clock, in microseconds since an origin of the caller's choice.
///
/// A `u64` of microseconds lasts for 584,000 years, so an `Instant` never wraps. Time handed to the core may
/// stand still; a `now` that lies before one given earlier does no harm: it only makes a deadline fire later.
///
/// ```
/// use core::time::Duration;
/// use kitfox_core::Instant;
///
/// let start = Instant::from_micros(1_500);
/// assert_eq!((start + Duration::from_millis(2)).as_micros(), 3_500);
/// assert_eq!(Instant::from_micros(10).since(start), Duration::ZERO);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The origin of the caller's clock.
    pub const ZERO: Self = Self(0);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time that has passed since `earlier`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time instead of wrapping.
    fn add(self, duration: Duration) -> Self {
        let micros =
            duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into());
        Self(self.0.saturating_add(micros))
    }
}

/// The earlier of two deadlines, where `None` means "never".
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}
