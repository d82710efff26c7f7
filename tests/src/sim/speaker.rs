//! A stranger's end of the secured channel: it keeps to the handshake, whatever it says afterwards.

use kitfox_core::PeerId;
use kitfox_core::connection::{Channel, Handshake, Opened, Opener, Sealer};
use kitfox_core::secure::{self, Credentials, Secured, Start};
use kitfox_core::storage::{BufferLimits, Heap, HeapBuffer, Storage, TxQueue};

use super::random::Random;

type Queue = <Heap as Storage>::TxQueue;

/// One end of one connection.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    opener: secure::Opener<HeapBuffer>,
    sealer: secure::Sealer<HeapBuffer>,
    queue: Queue,
    heard: Vec<u8>,
    failed: bool,
    /// Its records are not always what they were.
    pub(super) mangles: bool,
}

impl Speaker {
    /// `None` if nobody can prove that id.
    pub(super) fn dial(ours: &Credentials, peer: &PeerId) -> Option<Self> {
        Some(Self::new(Start::dial(ours, peer).ok()?))
    }

    pub(super) fn accept(ours: &Credentials) -> Self {
        Self::new(Start::accept(ours))
    }

    fn new(start: Start) -> Self {
        let (opener, sealer) = Secured::halves(start);
        let queue = Queue::with_limits(BufferLimits { min_bytes: 0, max_bytes: 1 << 20 });
        Self { opener, sealer, queue, heard: Vec::new(), failed: false, mangles: false }
    }

    /// Whether it can say something.
    pub(super) fn is_ready(&self) -> bool {
        !self.failed && self.sealer.is_ready()
    }

    /// Something has come.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
    }

    /// Goes on with the handshake, and reads what has come; returns what is to be written.
    pub(super) fn go_on(&mut self, random: &mut Random) -> Vec<u8> {
        while !self.failed {
            match self.opener.handshake() {
                Handshake::Randomness => {
                    let bytes = random.bytes(32);
                    self.opener.give_randomness(&core::array::from_fn(|place| bytes[place]));
                }
                Handshake::Admission(_) => self.opener.admitted(),
                Handshake::Work => {
                    let worked = Secured::<HeapBuffer>::work(&mut self.opener, &mut self.sealer);
                    self.failed = worked.is_err();
                }
                Handshake::Bytes | Handshake::Done if self.heard.is_empty() => break,
                Handshake::Bytes | Handshake::Done => {
                    let taken = match self.opener.open(&mut self.heard) {
                        Ok(Opened::InPlace { skip, len, trailer }) => skip + len + trailer,
                        Ok(Opened::Staged { consumed, .. } | Opened::End { consumed }) => consumed,
                        Err(_) => {
                            self.failed = true;
                            self.heard.len()
                        }
                    };
                    self.heard.drain(..taken);
                }
            }
        }
        self.written()
    }

    /// The records that hold this text.
    pub(super) fn say(&mut self, text: &[u8]) -> Vec<u8> {
        if let Some(room) = self.queue.reserve(text.len()) {
            room.copy_from_slice(text);
        }
        self.written()
    }

    fn written(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let mut pieces = [&[][..]; 1];
            let shown = self.sealer.peek(&mut self.queue, &mut pieces);
            let len = pieces[0].len();
            if shown == 0 || len == 0 {
                return out;
            }
            out.extend_from_slice(pieces[0]);
            self.sealer.written(&mut self.queue, len);
        }
    }
}
