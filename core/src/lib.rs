//! Sans-IO core of kitfox: the Kitsune2 wire, gate, router and connection as pure state machines.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
pub mod connection;
mod error;
#[cfg(feature = "defmt")]
mod format;
mod hash;
pub mod node;
mod peer;
pub mod router;
#[cfg(feature = "secure")]
pub mod secure;
pub mod storage;
mod time;
pub mod wire;

pub use config::{Config, Oversize, RouterLimits};
pub use connection::Connection;
pub use error::{ApiMisuse, CapacityError, ProtocolError};
pub use peer::{MAX_PEER_ID_BYTES, Peer, PeerId};
pub use time::Instant;
