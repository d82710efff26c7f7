//! Between the socket's bytes and the stream of frames: nothing on a plain connection, records on a secured one.

use core::fmt;

use crate::error::ProtocolError;
use crate::storage::Pull;

/// The two halves of a channel.
///
/// A channel may cut the stream of frames into records wherever it likes. It opens them in place, in the bytes that
/// the caller read, so that a whole record costs no copy; a record that arrives in pieces it keeps itself.
pub trait Channel: fmt::Debug + Clone + 'static {
    /// Turns the peer's bytes into plaintext.
    type Opener: Opener;
    /// Turns queued plaintext into bytes for the peer.
    type Sealer: Sealer;
    /// Whether it proves that the peer has the key that its id names. Without that an id is only claimed, and never
    /// displaces a live connection.
    const PROVES_ID: bool;
}

/// Where [`Opener::open`] left the plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_enums)] // every opener and the frame cursor must know both
pub enum Opened {
    /// In place: behind `skip` bytes, `len` bytes long, with `trailer` bytes behind it that belong to the record.
    InPlace {
        /// Bytes in front of the plaintext.
        skip: usize,
        /// Bytes of plaintext.
        len: usize,
        /// Bytes behind the plaintext.
        trailer: usize,
    },
    /// `consumed` bytes were copied; `len` bytes of plaintext (zero while the record is incomplete) lie in
    /// [`Opener::staged`].
    Staged {
        /// Bytes taken from the caller.
        consumed: usize,
        /// Bytes of plaintext.
        len: usize,
    },
}

/// The receive half of a channel.
pub trait Opener: fmt::Debug + Clone {
    /// Opens the first record of `wire`, which is not empty. Each byte is shown once: what was opened in place is
    /// plaintext from then on, and whoever drives the opener remembers how much of it there is.
    ///
    /// # Errors
    /// The peer's fault; the channel is of no use afterwards.
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError>;

    /// The plaintext of the last record that was [`Opened::Staged`].
    fn staged(&self) -> &[u8] {
        &[]
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// The peer's fault: the stream was cut.
    fn end(&self) -> Result<(), ProtocolError> {
        Ok(())
    }
}

/// The transmit half of a channel. Plaintext stays in the queue until it is sealed; what is sealed never moves to
/// another connection.
pub trait Sealer: fmt::Debug + Clone {
    /// The next bytes for the peer, as pieces; returns how many. It seals a record if none is under way and the
    /// queue is not empty.
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize;

    /// The first `len` bytes of what [`peek`](Self::peek) showed have been written.
    fn written<Q: Pull>(&mut self, queue: &mut Q, len: usize);

    /// Bytes that are sealed and not yet written.
    fn sealed_len(&self) -> usize {
        0
    }
}

/// No channel at all: the bytes of the socket are the frames.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Plain;

impl Channel for Plain {
    type Opener = Self;
    type Sealer = Self;
    const PROVES_ID: bool = false;
}

impl Opener for Plain {
    #[inline]
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        Ok(Opened::InPlace { skip: 0, len: wire.len(), trailer: 0 })
    }
}

impl Sealer for Plain {
    #[inline]
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize {
        queue.peek(pieces)
    }

    #[inline]
    fn written<Q: Pull>(&mut self, queue: &mut Q, len: usize) {
        queue.consume(len);
    }
}
