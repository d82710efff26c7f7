//! A channel that is plain on some connections and not on others.

use core::fmt;
use core::marker::PhantomData;

use super::channel::{Channel, Handshake, Opened, Opener, Plain, Sealer};
use crate::error::ProtocolError;
use crate::peer::PeerId;
use crate::storage::Pull;

/// The channel `C`, or none at all: for a driver that learns only at run time which it is.
pub struct OrPlain<C>(PhantomData<fn() -> C>);

/// A half of a channel, or of none.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_enums)] // every driver chooses one
#[allow(clippy::large_enum_variant)] // it must fit where there is no allocator
pub enum Half<H> {
    /// No channel.
    Plain(Plain),
    /// The channel.
    Channel(H),
}

/// What both variants do in the same words.
macro_rules! either {
    ($half:expr, $inner:ident => $does:expr) => {
        match $half {
            Half::Plain($inner) => $does,
            Half::Channel($inner) => $does,
        }
    };
}

impl<C: Channel> Channel for OrPlain<C> {
    /// `None` of a plain connection.
    type Start = Option<C::Start>;
    type Opener = Half<C::Opener>;
    type Sealer = Half<C::Sealer>;

    fn opener(start: Option<C::Start>) -> Self::Opener {
        start.map_or(Half::Plain(Plain), |start| Half::Channel(C::opener(start)))
    }

    fn sealer(start: &Option<C::Start>) -> Self::Sealer {
        start.as_ref().map_or(Half::Plain(Plain), |start| Half::Channel(C::sealer(start)))
    }

    fn work(opener: &mut Self::Opener, sealer: &mut Self::Sealer) -> Result<(), ProtocolError> {
        match (opener, sealer) {
            (Half::Channel(opener), Half::Channel(sealer)) => C::work(opener, sealer),
            _ => Ok(()),
        }
    }
}

impl<H: Opener> Opener for Half<H> {
    #[inline]
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        either!(self, half => half.open(wire))
    }

    #[inline]
    fn staged(&self) -> &[u8] {
        either!(self, half => half.staged())
    }

    fn end(&self) -> Result<(), ProtocolError> {
        either!(self, half => half.end())
    }

    fn handshake(&self) -> Handshake {
        either!(self, half => half.handshake())
    }

    fn admitted(&mut self) {
        either!(self, half => half.admitted());
    }

    fn give_randomness(&mut self, bytes: &[u8; 32]) {
        either!(self, half => half.give_randomness(bytes));
    }

    fn proven_id(&self) -> Option<&PeerId> {
        either!(self, half => half.proven_id())
    }

    fn proves_id(&self) -> bool {
        either!(self, half => half.proves_id())
    }

    fn announce(&mut self, max_frame_bytes: usize) {
        either!(self, half => half.announce(max_frame_bytes));
    }

    fn memory(&self) -> usize {
        either!(self, half => Opener::memory(half))
    }

    fn relax(&mut self, staged_was_read: bool) -> bool {
        either!(self, half => Opener::relax(half, staged_was_read))
    }
}

impl<H: Sealer> Sealer for Half<H> {
    #[inline]
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize {
        either!(self, half => half.peek(queue, pieces))
    }

    #[inline]
    fn stage<Q: Pull>(&mut self, queue: &mut Q) -> bool {
        either!(self, half => half.stage(queue))
    }

    #[inline]
    fn written<Q: Pull>(&mut self, queue: &mut Q, len: usize) {
        either!(self, half => half.written(queue, len));
    }

    #[inline]
    fn sealed_len(&self) -> usize {
        either!(self, half => half.sealed_len())
    }

    #[inline]
    fn is_ready(&self) -> bool {
        either!(self, half => half.is_ready())
    }

    fn finish(&mut self) {
        either!(self, half => half.finish());
    }

    #[inline]
    fn max_frame_bytes(&self) -> usize {
        either!(self, half => half.max_frame_bytes())
    }

    fn memory(&self) -> usize {
        either!(self, half => Sealer::memory(half))
    }

    fn relax(&mut self) -> bool {
        either!(self, half => Sealer::relax(half))
    }
}

impl<C> Clone for OrPlain<C> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<C> fmt::Debug for OrPlain<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrPlain")
    }
}
