//! Virtual time. The core owns no clock: every call that depends on time is given `now`.

use core::fmt;
use core::num::NonZeroU64;
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the microseconds, so that a deadline that may be missing takes no more room than one.
    NonZeroU64,
);

impl Instant {
    /// The origin of the caller's clock.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// The time that has passed since `earlier`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time instead of wrapping.
    fn add(self, duration: Duration) -> Self {
        self + Span::from(duration)
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_micros()).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Instant({=u64})", self.as_micros());
    }
}

/// As its microseconds.
#[cfg(feature = "serde")]
impl serde::Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.as_micros())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Instant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from_micros)
    }
}

/// A duration as connections remember it: in microseconds, half as large as a [`Duration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(u64);

impl Span {
    pub(crate) fn from_secs(secs: u32) -> Self {
        Self(u64::from(secs) * 1_000_000)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into()))
    }
}

impl core::ops::Add<Span> for Instant {
    type Output = Self;

    /// Saturates at the end of time instead of wrapping.
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
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
