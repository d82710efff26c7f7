//! What kitfox's firmware stands on: two boards that QEMU plays, an executor that sleeps, time, Ethernet, and a way to
//! talk to the host that runs it.
//!
//! Drivers are the only place in the project with `unsafe`: registers are addresses.
#![no_std]

pub mod board;
pub mod channel;
pub mod executor;
pub mod host;
pub mod net;
pub mod nic;
pub mod register;
mod time;

/// Sockets, all of which listen that are not used otherwise.
pub const SOCKETS: usize = if cfg!(feature = "one") { 1 } else { 4 };

/// Bytes in each direction of a socket: what may be under way.
pub const SOCKET_BYTES: usize = 1024;

/// The port that the firmware listens on.
pub const PORT: u16 = 7777;

/// Says something in the log, if there is one. The arguments are defmt's.
#[macro_export]
macro_rules! log {
    ($($args:tt)*) => {{
        #[cfg(feature = "defmt")]
        $crate::defmt::info!($($args)*);
    }};
}

#[cfg(feature = "defmt")]
pub use defmt;
