//! How the connections of a node are protected: the one place that knows which channels there are.

use core::fmt;

use kitfox_core::PeerId;
use kitfox_core::connection::{Channel, Plain};
use kitfox_core::secure::{self, Aead, Credentials, DEVICE_RECORD_BYTES, KeyError, RECORD_OVERHEAD, Start};
use kitfox_core::storage::{Buffer, FixedBuffer};

/// Bytes of a buffer that takes the records of a microcontroller: 1 KiB of text, and what a record adds to it.
pub const RECORD_BUFFER_BYTES: usize = DEVICE_RECORD_BYTES as usize + RECORD_OVERHEAD;

/// The secured channel, with two buffers of `BYTES` bytes for each connection: one for the record that arrives, one for
/// the record that is written. At least [`MIN_RECORD_BYTES`](secure::MIN_RECORD_BYTES) and [`RECORD_OVERHEAD`] long.
pub type Secured<const BYTES: usize = RECORD_BUFFER_BYTES> = secure::Secured<FixedBuffer<BYTES>>;

/// A channel that this crate can begin.
pub trait Protection: Channel {
    /// Who we are.
    type Identity: fmt::Debug;

    /// The last segment of our URLs.
    fn peer_id(ours: &Self::Identity) -> PeerId;

    /// A channel that we opened to `peer`.
    ///
    /// # Errors
    /// [`KeyError`] if nobody can prove that id.
    fn dial(ours: &Self::Identity, peer: &PeerId) -> Result<Self::Start, KeyError>;

    /// A channel that a peer opened.
    fn accept(ours: &Self::Identity) -> Self::Start;
}

/// Ids are what peers claim them to be.
impl Protection for Plain {
    type Identity = PeerId;

    fn peer_id(ours: &PeerId) -> PeerId {
        *ours
    }

    fn dial(_: &PeerId, _: &PeerId) -> Result<Self::Start, KeyError> {
        Ok(())
    }

    fn accept(_: &PeerId) -> Self::Start {}
}

/// Ids are keys, and both ends prove theirs.
impl<B: Buffer, A: Aead> Protection for secure::Secured<B, A> {
    type Identity = Credentials;

    fn peer_id(ours: &Credentials) -> PeerId {
        ours.key.peer_id()
    }

    fn dial(ours: &Credentials, peer: &PeerId) -> Result<Start, KeyError> {
        Start::dial(ours, peer)
    }

    fn accept(ours: &Credentials) -> Start {
        Start::accept(ours)
    }
}
