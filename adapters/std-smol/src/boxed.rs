//! A channel whose halves lie in boxes.

use std::fmt;
use std::marker::PhantomData;

use kitfox_core::PeerId;
use kitfox_core::ProtocolError;
use kitfox_core::connection::{Channel, Handshake, Opened, Opener, Sealer};
use kitfox_core::storage::Pull;

/// The channel `C`, with its halves on the heap: a connection that is plain has no room for them.
pub(crate) struct Boxed<C>(PhantomData<fn() -> C>);

/// A half in its box.
#[derive(Clone)]
pub(crate) struct InBox<H>(Box<H>);

impl<C: Channel> Channel for Boxed<C> {
    type Start = C::Start;
    type Opener = InBox<C::Opener>;
    type Sealer = InBox<C::Sealer>;
    const SECURED: bool = C::SECURED;

    fn opener(start: C::Start) -> Self::Opener {
        InBox(Box::new(C::opener(start)))
    }

    fn sealer(start: &C::Start) -> Self::Sealer {
        InBox(Box::new(C::sealer(start)))
    }

    fn can_prove(id: &PeerId) -> bool {
        C::can_prove(id)
    }

    fn work(opener: &mut Self::Opener, sealer: &mut Self::Sealer) -> Result<(), ProtocolError> {
        C::work(&mut opener.0, &mut sealer.0)
    }
}

impl<H: Opener> Opener for InBox<H> {
    #[inline]
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        self.0.open(wire)
    }

    #[inline]
    fn staged(&self) -> &[u8] {
        self.0.staged()
    }

    fn end(&self) -> Result<(), ProtocolError> {
        self.0.end()
    }

    fn handshake(&self) -> Handshake {
        self.0.handshake()
    }

    fn admitted(&mut self) {
        self.0.admitted();
    }

    fn give_randomness(&mut self, bytes: &[u8; 32]) {
        self.0.give_randomness(bytes);
    }

    fn proven_id(&self) -> Option<&PeerId> {
        self.0.proven_id()
    }

    fn proves_id(&self) -> bool {
        self.0.proves_id()
    }

    fn announce(&mut self, max_frame_bytes: usize) {
        self.0.announce(max_frame_bytes);
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }

    fn relax(&mut self, staged_was_read: bool) -> bool {
        self.0.relax(staged_was_read)
    }
}

impl<H: Sealer> Sealer for InBox<H> {
    #[inline]
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize {
        self.0.peek(queue, pieces)
    }

    #[inline]
    fn stage<Q: Pull>(&mut self, queue: &mut Q) -> bool {
        self.0.stage(queue)
    }

    #[inline]
    fn written<Q: Pull>(&mut self, queue: &mut Q, len: usize) {
        self.0.written(queue, len);
    }

    #[inline]
    fn sealed_len(&self) -> usize {
        self.0.sealed_len()
    }

    #[inline]
    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn finish(&mut self) {
        self.0.finish();
    }

    #[inline]
    fn max_frame_bytes(&self) -> usize {
        self.0.max_frame_bytes()
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }

    fn relax(&mut self) -> bool {
        self.0.relax()
    }
}

impl<C> Clone for Boxed<C> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<C> fmt::Debug for Boxed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Boxed")
    }
}

impl<H: fmt::Debug> fmt::Debug for InBox<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
