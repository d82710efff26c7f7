//! Between the socket's bytes and the stream of frames: nothing on a plain connection, records on a secured one.

use core::fmt;

use crate::error::ProtocolError;
use crate::peer::PeerId;
use crate::storage::Pull;

/// The two halves of a channel.
///
/// A channel may cut the stream of frames into records wherever it likes. It opens them in place, in the bytes that
/// the caller read, so that a whole record costs no copy; a record that arrives in pieces it keeps itself.
pub trait Channel: fmt::Debug + Clone + 'static {
    /// What a channel begins with. The halves are made of it in the place where they stay: they may hold buffers, and
    /// this holds none.
    type Start: fmt::Debug;
    /// Turns the peer's bytes into plaintext.
    type Opener: Opener;
    /// Turns queued plaintext into bytes for the peer.
    type Sealer: Sealer;
    /// Whether the URLs of its nodes are those of secured connections (`wss`, `https`), and no others are dialled.
    const SECURED: bool = false;

    /// The half that reads.
    fn opener(start: Self::Start) -> Self::Opener;

    /// The half that writes.
    fn sealer(start: &Self::Start) -> Self::Sealer;

    /// Both halves.
    fn halves(start: Self::Start) -> (Self::Opener, Self::Sealer) {
        let sealer = Self::sealer(&start);
        (Self::opener(start), sealer)
    }

    /// Whether there can be a peer that proves this id.
    fn can_prove(id: &PeerId) -> bool {
        let _ = id;
        true
    }

    /// Takes one step of the handshake: at most one Diffie-Hellman. What is to be written for it is in the sealer
    /// then.
    ///
    /// # Errors
    /// The peer's fault; the channel is of no use afterwards.
    fn work(opener: &mut Self::Opener, sealer: &mut Self::Sealer) -> Result<(), ProtocolError> {
        let _ = (opener, sealer);
        Ok(())
    }
}

/// What a channel needs before frames can flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_enums)] // the gate must know them all
pub enum Handshake {
    /// Nothing: records flow.
    Done,
    /// Bytes of the peer, for [`Opener::open`].
    Bytes,
    /// A call of [`Channel::work`].
    Work,
    /// [`Opener::give_randomness`].
    Randomness,
    /// [`Opener::admitted`], if somebody says yes to a peer that claims this id and has proven nothing yet.
    Admission(PeerId),
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
    /// `consumed` bytes were taken, and with them the peer says that nothing more comes.
    End {
        /// Bytes taken from the caller.
        consumed: usize,
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

    /// How far the handshake is. While it is not done, `open` is called for [`Handshake::Bytes`] only.
    fn handshake(&self) -> Handshake {
        Handshake::Done
    }

    /// The peer that the handshake named may go on.
    fn admitted(&mut self) {}

    /// 32 bytes that nobody can guess, and that are used for nothing else.
    fn give_randomness(&mut self, bytes: &[u8; 32]) {
        let _ = bytes;
    }

    /// The id that the peer has proven. Without one an id is only claimed, and never displaces a live connection.
    fn proven_id(&self) -> Option<&PeerId> {
        None
    }

    /// Whether the id in the peer's preflight is proven.
    fn proves_id(&self) -> bool {
        self.proven_id().is_some()
    }

    /// The longest frame that this end takes, in bytes, to be told to the peer.
    fn announce(&mut self, max_frame_bytes: usize) {
        let _ = max_frame_bytes;
    }

    /// Bytes of memory that it owns.
    fn memory(&self) -> usize {
        0
    }

    /// Gives back memory that has not been needed since the last call. Returns whether there is more to give back.
    /// `staged_was_read` says that nobody wants [`staged`](Self::staged) any more.
    fn relax(&mut self, staged_was_read: bool) -> bool {
        let _ = staged_was_read;
        false
    }
}

/// The transmit half of a channel. Plaintext stays in the queue until it is sealed; what is sealed never moves to
/// another connection.
pub trait Sealer: fmt::Debug + Clone {
    /// The next bytes for the peer, as pieces; returns how many. It seals a record if none is under way and the
    /// queue is not empty.
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize;

    /// Takes what comes next out of the queue into memory of its own, if it has any for that. Returns whether something
    /// lies there: [`peek`](Self::peek) shows it then, whatever the queue.
    #[inline]
    fn stage<Q: Pull>(&mut self, _: &mut Q) -> bool {
        false
    }

    /// The first `len` bytes of what [`peek`](Self::peek) showed have been written.
    fn written<Q: Pull>(&mut self, queue: &mut Q, len: usize);

    /// Bytes that are sealed and not yet written.
    fn sealed_len(&self) -> usize {
        0
    }

    /// Whether it seals what is queued: the handshake is done.
    #[inline]
    fn is_ready(&self) -> bool {
        true
    }

    /// Tells the peer, after everything that is queued, that nothing more comes.
    fn finish(&mut self) {}

    /// The longest frame that the peer takes, in bytes, as far as it said so.
    #[inline]
    fn max_frame_bytes(&self) -> usize {
        usize::MAX
    }

    /// Bytes of memory that it owns.
    fn memory(&self) -> usize {
        0
    }

    /// Gives back memory that has not been needed since the last call. Returns whether there is more to give back.
    fn relax(&mut self) -> bool {
        false
    }
}

/// No channel at all: the bytes of the socket are the frames.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Plain;

impl Channel for Plain {
    type Start = ();
    type Opener = Self;
    type Sealer = Self;

    #[inline]
    fn opener((): ()) -> Self {
        Self
    }

    #[inline]
    fn sealer((): &()) -> Self {
        Self
    }
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
