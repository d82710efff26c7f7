//! Limits and deadlines. Everything that grows or waits has one here.

use core::time::Duration;

use crate::storage::BufferLimits;
use crate::time::Span;
use crate::wire::{HEADER_BYTES, UrlRules};

/// Limits of a router's tables. Tables of fixed size are further limited by that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(clippy::exhaustive_structs)] // written as a literal by every user
pub struct RouterLimits {
    /// Spaces that can be registered.
    pub max_spaces: usize,
    /// Modules that can be registered, over all spaces.
    pub max_modules: usize,
    /// Counters of blocked messages: one for each peer and space.
    pub max_blocked_counts: usize,
    /// Rules of a [`BlockList`](crate::router::BlockList).
    pub max_block_rules: usize,
}

impl RouterLimits {
    /// For a machine with plenty of memory: 4,096 spaces, 65,536 modules, 16,384 counters, 65,536 block rules.
    pub const HOST: Self =
        Self { max_spaces: 4096, max_modules: 65_536, max_blocked_counts: 16_384, max_block_rules: 65_536 };

    /// For tables of fixed size: as many as fit.
    pub const DEVICE: Self = Self {
        max_spaces: usize::MAX,
        max_modules: usize::MAX,
        max_blocked_counts: usize::MAX,
        max_block_rules: usize::MAX,
    };
}

/// What happens to a data frame that is longer than [`Config::max_frame_bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Oversize {
    /// The connection is closed.
    #[default]
    Close,
    /// The frame is discarded to its end and counted; the connection stays.
    Skip,
}

/// Limits and deadlines of one connection. Start from [`HOST`](Self::HOST) or [`DEVICE`](Self::DEVICE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(clippy::exhaustive_structs)] // written with `..Config::HOST`
pub struct Config {
    /// Longest frame in either direction, in bytes, header included. Kitsune2: 100 MiB. What is received is further
    /// limited by [`rx_buffer`](Self::rx_buffer).
    pub max_frame_bytes: usize,
    /// Longest frame before the gate is open, in bytes, header included.
    pub max_preflight_bytes: usize,
    /// Which URLs are taken in a preflight, and how long they may be.
    pub url: UrlRules,
    /// What happens to a data frame that is too long.
    pub oversize: Oversize,
    /// From the creation of a connection to its opening; and the time that an answer may take afterwards. Kitsune2:
    /// 10 s.
    pub preflight_timeout: Duration,
    /// A frame that has begun must end within this time...
    pub frame_timeout: Duration,
    /// ...and one second more for each of this many bytes that its header announces. Zero allows no more time.
    pub frame_bytes_per_second: u32,
    /// A connection is stale when bytes have been waiting to be written, and none was, for this long.
    pub tx_timeout: Duration,
    /// Where a frame that arrives in pieces is put together. The maximum limits every frame that is received.
    pub rx_buffer: BufferLimits,
    /// What has to be written. The maximum limits every frame that is sent.
    pub tx_queue: BufferLimits,
    /// Messages that wait for one peer of a [`Node`](crate::node::Node), whether it is connected or not.
    pub outbox: BufferLimits,
    /// A transmit queue or outbox in which so many bytes wait accepts no further message until it holds less. The one
    /// that passes it may be as long as any: for the sake of large messages small ones need not queue without end. Zero
    /// is taken for one.
    pub high_water_bytes: usize,
    /// Buffers give memory back that was not needed for this long.
    pub relax_interval: Duration,
}

impl Config {
    /// For a machine with plenty of memory: frames of 100 MiB, preflights of 64 KiB, URLs of 2 KiB.
    pub const HOST: Self = Self {
        max_frame_bytes: 100 << 20,
        max_preflight_bytes: 64 << 10,
        url: UrlRules::MULTI_SEGMENT,
        oversize: Oversize::Close,
        preflight_timeout: Duration::from_secs(10),
        frame_timeout: Duration::from_secs(30),
        frame_bytes_per_second: 16 << 10,
        tx_timeout: Duration::from_secs(30),
        rx_buffer: BufferLimits { min_bytes: 0, max_bytes: 100 << 20 },
        tx_queue: BufferLimits { min_bytes: 0, max_bytes: 200 << 20 },
        outbox: BufferLimits { min_bytes: 0, max_bytes: 200 << 20 },
        high_water_bytes: 1 << 20,
        relax_interval: Duration::from_secs(1),
    };

    /// For a microcontroller: frames of 4 KiB, preflights of 1 KiB, URLs of 256 bytes; the storage's own sizes limit
    /// them further.
    pub const DEVICE: Self = Self {
        max_frame_bytes: 4 << 10,
        max_preflight_bytes: 1 << 10,
        url: UrlRules { max_bytes: 256, ..UrlRules::MULTI_SEGMENT },
        rx_buffer: BufferLimits { min_bytes: 0, max_bytes: 4 << 10 },
        tx_queue: BufferLimits { min_bytes: 0, max_bytes: 8 << 10 },
        outbox: BufferLimits { min_bytes: 0, max_bytes: 8 << 10 },
        high_water_bytes: 8 << 10,
        ..Self::HOST
    };
}

/// What the receive half of a connection remembers of its configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RxLimits {
    pub(crate) max_frame_bytes: usize,
    /// The bound on a frame before the gate is open.
    pub(crate) preflight_bound: usize,
    pub(crate) url: UrlRules,
    pub(crate) oversize: Oversize,
    frame_bytes_per_second: u32,
    pub(crate) frame_timeout: Span,
    pub(crate) relax_interval: Span,
}

impl RxLimits {
    /// Those of a connection that takes no longer frames.
    pub(crate) fn new(config: &Config, max_frame_bytes: usize) -> Self {
        Self {
            max_frame_bytes,
            preflight_bound: config.max_preflight_bytes.min(max_frame_bytes).max(HEADER_BYTES),
            url: config.url,
            oversize: config.oversize,
            frame_bytes_per_second: config.frame_bytes_per_second,
            frame_timeout: config.frame_timeout.into(),
            relax_interval: config.relax_interval.into(),
        }
    }

    /// How much longer than [`Config::frame_timeout`] a frame may take that announces so many bytes.
    pub(crate) fn frame_allowance(&self, payload_bytes: u32) -> Span {
        Span::from_secs(payload_bytes.checked_div(self.frame_bytes_per_second).unwrap_or(0))
    }
}

impl Default for Config {
    /// [`Config::HOST`].
    fn default() -> Self {
        Self::HOST
    }
}
