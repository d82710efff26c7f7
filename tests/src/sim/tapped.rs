//! The secured channel, with an ear at its text: what is sealed is heard before it is, so that links carry nothing but
//! records and the model still knows every frame.

use alloc::rc::Rc;
use core::cell::RefCell;
use core::marker::PhantomData;

use kitfox_core::connection::{Channel, Handshake, Opened, Opener, Sealer};
use kitfox_core::secure::{self, Aead, ChaChaPoly, Credentials, Secured, TAG_BYTES};
use kitfox_core::storage::{Buffer, Pull};
use kitfox_core::{PeerId, ProtocolError};

/// What was sealed and not heard yet.
pub(super) type Text = Rc<RefCell<Vec<u8>>>;

/// What a connection begins with, and the text that it seals, unless its bytes are the text.
pub(super) type Beginning<C> = (<C as Channel>::Start, Option<Text>);

/// Begins connections.
pub(super) trait Begin<C: Channel> {
    /// `None` if nobody can prove that id.
    fn dial(&self, peer: &PeerId) -> Option<Beginning<C>>;
    fn accept(&self) -> Beginning<C>;
}

/// For channels without keys.
pub(super) struct Keyless;

impl<C: Channel<Start: Default>> Begin<C> for Keyless {
    fn dial(&self, _: &PeerId) -> Option<Beginning<C>> {
        Some(Default::default())
    }

    fn accept(&self) -> Beginning<C> {
        Default::default()
    }
}

/// For the secured channel.
pub(super) struct Keyed {
    pub(super) credentials: Credentials,
    /// The mutant that takes every id for a proven one.
    pub(super) believes: bool,
}

impl<B: Buffer, A: Aead> Begin<Tapped<B, A>> for Keyed {
    fn dial(&self, peer: &PeerId) -> Option<Beginning<Tapped<B, A>>> {
        Some(self.tap(secure::Start::dial(&self.credentials, peer).ok()?))
    }

    fn accept(&self) -> Beginning<Tapped<B, A>> {
        self.tap(secure::Start::accept(&self.credentials))
    }
}

impl Keyed {
    fn tap(&self, start: secure::Start) -> (Start, Option<Text>) {
        let text = Text::default();
        (Start { start, text: text.clone(), believes: self.believes }, Some(text))
    }
}

/// What a tapped channel begins with.
#[derive(Debug)]
pub(super) struct Start {
    start: secure::Start,
    text: Text,
    believes: bool,
}

/// [`Secured`], heard.
pub(super) struct Tapped<B, A = ChaChaPoly>(PhantomData<fn() -> (B, A)>);

impl<B: Buffer, A: Aead> Channel for Tapped<B, A> {
    type Start = Start;
    type Opener = Watched<secure::Opener<B, A>>;
    type Sealer = TappedSealer<secure::Sealer<B, A>>;
    const SECURED: bool = true;

    fn opener(start: Start) -> Self::Opener {
        Watched { opener: Secured::<B, A>::opener(start.start), believes: start.believes }
    }

    fn sealer(start: &Start) -> Self::Sealer {
        TappedSealer { sealer: Secured::<B, A>::sealer(&start.start), text: start.text.clone() }
    }

    fn can_prove(id: &PeerId) -> bool {
        Secured::<B, A>::can_prove(id)
    }

    fn work(opener: &mut Self::Opener, sealer: &mut Self::Sealer) -> Result<(), ProtocolError> {
        Secured::<B, A>::work(&mut opener.opener, &mut sealer.sealer)
    }
}

impl<B, A> Clone for Tapped<B, A> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<B, A> core::fmt::Debug for Tapped<B, A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Tapped")
    }
}

/// The receive half, which may be too trustful.
#[derive(Debug, Clone)]
pub(super) struct Watched<O> {
    opener: O,
    believes: bool,
}

impl<O: Opener> Opener for Watched<O> {
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        self.opener.open(wire)
    }

    fn staged(&self) -> &[u8] {
        self.opener.staged()
    }

    fn end(&self) -> Result<(), ProtocolError> {
        self.opener.end()
    }

    fn handshake(&self) -> Handshake {
        self.opener.handshake()
    }

    fn admitted(&mut self) {
        self.opener.admitted();
    }

    fn give_randomness(&mut self, bytes: &[u8; 32]) {
        self.opener.give_randomness(bytes);
    }

    fn proven_id(&self) -> Option<&PeerId> {
        self.opener.proven_id().filter(|_| !self.believes)
    }

    fn proves_id(&self) -> bool {
        self.believes || self.opener.proves_id()
    }

    fn announce(&mut self, max_frame_bytes: usize) {
        self.opener.announce(max_frame_bytes);
    }

    fn memory(&self) -> usize {
        self.opener.memory()
    }

    fn relax(&mut self, staged_was_read: bool) -> bool {
        self.opener.relax(staged_was_read)
    }
}

/// The transmit half, which tells what it seals.
#[derive(Debug, Clone)]
pub(super) struct TappedSealer<S> {
    sealer: S,
    text: Text,
}

impl<S: Sealer> Sealer for TappedSealer<S> {
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize {
        // This seals a record if none is under way; the second call shows it.
        let mut heard = Heard { queue: &mut *queue, text: &self.text };
        let _ = self.sealer.peek(&mut heard, &mut [&[][..]; 1]);
        self.sealer.peek(queue, pieces)
    }

    fn stage<Q: Pull>(&mut self, queue: &mut Q) -> bool {
        self.sealer.stage(&mut Heard { queue, text: &self.text })
    }

    fn written<Q: Pull>(&mut self, queue: &mut Q, len: usize) {
        self.sealer.written(queue, len);
    }

    fn sealed_len(&self) -> usize {
        self.sealer.sealed_len()
    }

    fn is_ready(&self) -> bool {
        self.sealer.is_ready()
    }

    fn finish(&mut self) {
        self.sealer.finish();
    }

    fn max_frame_bytes(&self) -> usize {
        self.sealer.max_frame_bytes()
    }

    fn memory(&self) -> usize {
        self.sealer.memory()
    }

    fn relax(&mut self) -> bool {
        self.sealer.relax()
    }
}

/// A queue that notes what is taken from it.
struct Heard<'q, Q> {
    queue: &'q mut Q,
    text: &'q Text,
}

impl<Q: Pull> Pull for Heard<'_, Q> {
    fn peek<'a>(&'a self, pieces: &mut [&'a [u8]]) -> usize {
        self.queue.peek(pieces)
    }

    fn consume(&mut self, len: usize) {
        let mut pieces = [&[][..]; 16];
        let shown = self.queue.peek(&mut pieces);
        let mut text = self.text.borrow_mut();
        let mut left = len;
        for piece in &pieces[..shown] {
            let piece = &piece[..piece.len().min(left)];
            text.extend_from_slice(piece);
            left -= piece.len();
        }
        self.queue.consume(len);
    }
}

/// The mutant that looks at no tag.
#[derive(Clone)]
pub(super) struct Careless(ChaChaPoly);

impl Aead for Careless {
    fn new(key: &[u8; 32]) -> Self {
        Self(ChaChaPoly::new(key))
    }

    fn seal(&self, nonce: u64, ad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        self.0.seal(nonce, ad, text)
    }

    fn open(&self, nonce: u64, ad: &[u8], text: &mut [u8], _: &[u8; TAG_BYTES]) -> bool {
        // A stream cipher does the same in both directions.
        let _ = self.0.seal(nonce, ad, text);
        true
    }
}
