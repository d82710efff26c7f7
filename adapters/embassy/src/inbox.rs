//! Messages as a bounded stream, for tasks that await.

use core::fmt;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use kitfox_core::PeerId;
use kitfox_core::node::PeerKey;
use kitfox_core::storage::Storage;

use crate::handler::{Handler, Incoming, Ops, Refused};

/// A bounded queue of copied messages: `LETTERS` of at most `BYTES` bytes each.
///
/// It is a [`Handler`] by reference, for those who want no more than messages; other handlers put messages into it with
/// [`put`](Self::put) and answer [`Handler::poll_ready`] with [`poll_room`](Self::poll_room). While it is full nothing is
/// read of any connection, so that peers are stopped and nothing is lost.
///
/// ```
/// use kitfox_embassy::Inbox;
///
/// // 4 messages of up to 128 bytes, for the tasks of one executor.
/// let inbox = Inbox::<4, 128>::new();
/// ```
pub struct Inbox<const LETTERS: usize, const BYTES: usize> {
    letters: Channel<NoopRawMutex, Letter<BYTES>, LETTERS>,
}

/// A message out of an [`Inbox`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Letter<const BYTES: usize> {
    /// Who sent it.
    pub from: PeerKey,
    /// The id of who sent it.
    pub from_id: Option<PeerId>,
    /// Whether it was for a module.
    pub to_module: bool,
    bytes: heapless::Vec<u8, BYTES>,
    /// Invariant: `space + module <= bytes.len()`; they lie in front of the payload.
    space: usize,
    module: usize,
}

impl<const BYTES: usize> Letter<BYTES> {
    /// The id of its space.
    pub fn space(&self) -> &[u8] {
        self.bytes.get(..self.space).unwrap_or_default()
    }

    /// The name of its module; empty for a message to the space itself.
    pub fn module(&self) -> &str {
        let name = self.bytes.get(self.space..self.space + self.module).unwrap_or_default();
        core::str::from_utf8(name).unwrap_or_default()
    }

    /// The payload.
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.space + self.module..).unwrap_or_default()
    }
}

#[cfg(feature = "defmt")]
impl<const BYTES: usize> defmt::Format for Letter<BYTES> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Letter({=[u8]} {=str} {=[u8]})", self.space(), self.module(), self.data());
    }
}

impl<const LETTERS: usize, const BYTES: usize> Inbox<LETTERS, BYTES> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { letters: Channel::new() }
    }

    /// Waits for the next message.
    pub async fn recv(&self) -> Letter<BYTES> {
        self.letters.receive().await
    }

    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<Letter<BYTES>> {
        self.letters.try_receive().ok()
    }

    /// Messages that are there.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether no message is there.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Copies a message. `BYTES` must hold space, module and payload together.
    ///
    /// # Errors
    /// [`Refused`] if it is longer than that, or if there is no room, which [`poll_room`](Self::poll_room) prevents.
    pub fn put<S: Storage>(&self, node: &Ops<'_, S>, message: &Incoming<'_>) -> Result<(), Refused> {
        let mut bytes = heapless::Vec::new();
        for part in [message.space, message.module.as_bytes(), message.data] {
            bytes.extend_from_slice(part).map_err(|_| Refused)?;
        }
        let letter = Letter {
            from: message.from,
            from_id: node.peers().id(message.from).copied(),
            to_module: !message.module.is_empty(),
            bytes,
            space: message.space.len(),
            module: message.module.len(),
        };
        self.letters.try_send(letter).map_err(|_| Refused)
    }

    /// Whether there is room for a message; wakes the task of `cx` when there is.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.letters.poll_ready_to_send(cx)
    }
}

impl<const LETTERS: usize, const BYTES: usize> Default for Inbox<LETTERS, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const LETTERS: usize, const BYTES: usize> fmt::Debug for Inbox<LETTERS, BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} of {LETTERS} messages)", self.len())
    }
}

#[cfg(feature = "defmt")]
impl<const LETTERS: usize, const BYTES: usize> defmt::Format for Inbox<LETTERS, BYTES> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Inbox({=usize} of {=usize} messages)", self.len(), LETTERS);
    }
}

impl<S: Storage, const LETTERS: usize, const BYTES: usize> Handler<S> for &Inbox<LETTERS, BYTES> {
    fn notify(&mut self, node: &mut Ops<'_, S>, message: &Incoming<'_>) -> Result<(), Refused> {
        self.put(node, message)
    }

    fn module(&mut self, node: &mut Ops<'_, S>, message: &Incoming<'_>) -> Result<(), Refused> {
        self.put(node, message)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_room(cx)
    }
}
