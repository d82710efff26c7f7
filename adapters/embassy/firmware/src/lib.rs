//! What kitfox's firmware stands on: two boards that QEMU plays, an executor that sleeps, time, Ethernet, and a way to
//! talk to the host that runs it.
//!
//! Drivers are the only place in the project with `unsafe`: registers are addresses.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

pub mod board;
pub mod executor;
pub mod host;
pub mod net;
pub mod nic;
pub mod register;
pub mod stack;
mod time;

/// Connections that are up at once. One more socket listens, so that a peer that comes back while its last connection
/// is still being closed finds somebody: TCP without a backlog refuses it otherwise.
pub const CONNECTIONS: usize = if cfg!(feature = "four") { 4 } else { 1 };

/// Bytes in each direction of a socket.
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
