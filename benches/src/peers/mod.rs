//! What is measured over loopback: a connection of each transport, with both ends in this process.

pub mod gate;
pub mod kitfox;
pub mod noise;
pub mod raw;

use std::error::Error;
use std::time::Duration;

/// Why something was not measured.
pub type Fault = Box<dyn Error + Send + Sync>;

/// Payload of a message that is sent back.
pub const ECHO_BYTES: usize = 16;

/// How long a measurement waits for a message that should have come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An open connection with both of its ends in this process.
pub trait Link {
    /// The time in which so many messages with so many bytes of payload go one way: from the first one that is sent to
    /// the last one that has come.
    ///
    /// # Errors
    /// If one of them does not come.
    fn send(&mut self, bytes: usize, messages: usize) -> Result<Duration, Fault>;

    /// The times in which messages with [`ECHO_BYTES`] come back, one after the other.
    ///
    /// # Errors
    /// If one of them does not.
    fn round_trips(&mut self, count: usize) -> Result<Vec<Duration>, Fault>;
}
