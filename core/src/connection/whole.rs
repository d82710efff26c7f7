//! Both halves of a connection as one value.

use core::fmt;

use super::channel::{Channel, Plain};
use super::gate::{Answer, QuestionId};
use super::rx::Rx;
use super::tx::{PushError, Tx};
use super::{Action, CloseReason, Frames, NotDialable, Timeout, Wants};
use crate::config::Config;
use crate::error::ApiMisuse;
use crate::router::{Directory, Policy, SendRefused};
use crate::storage::Storage;
use crate::time::{Instant, earliest};
use crate::wire::{Message, PeerUrl};

/// One connection with a peer: bytes in, actions out, bytes out.
///
/// It is both halves, [`Rx`] and [`Tx`], with what goes from one to the other: for tests, simulations and firmware
/// that drives its connections in one loop. An adapter with threads keeps the halves apart.
///
/// ```
/// use kitfox_core::connection::{Action, Answer, Connection, Input, Question, Wants};
/// use kitfox_core::router::{BlockList, Directory};
/// use kitfox_core::storage::Heap;
/// use kitfox_core::wire::{PeerUrl, UrlRules};
/// use kitfox_core::{Config, Instant, RouterLimits};
///
/// type Spaces = Directory<Heap, BlockList<Heap>>;
///
/// /// Everything that one connection has to do now. Returns the data of the messages that came.
/// fn drive(connection: &mut Connection<Heap>, spaces: &Spaces, own_url: &str, bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
///     let own_url = PeerUrl::parse(own_url, &UrlRules::default()).unwrap();
///     let mut messages = Vec::new();
///     loop {
///         let mut question = None;
///         let mut actions = connection.handle(Instant::ZERO, Input::Bytes(bytes));
///         while let Some(action) = actions.next(spaces) {
///             match action {
///                 Action::Ask { id, question: Question::GatherPreflight { .. } } => {
///                     question = Some((id, Answer::Preflight { own_url, data: b"hello" }));
///                 }
///                 Action::Ask { id, .. } => question = Some((id, Answer::Accept)),
///                 Action::Notify { data, .. } => messages.push(data.to_vec()),
///                 _ => {}
///             }
///         }
///         let (taken, wants) = actions.finish();
///         bytes.drain(..taken);
///         match (wants, question) {
///             (Wants::Answer, Some((id, answer))) => connection.answer(Instant::ZERO, id, answer).unwrap(),
///             _ => return messages,
///         }
///     }
/// }
///
/// let mut spaces = Spaces::new(&RouterLimits::HOST, BlockList::new(&RouterLimits::HOST));
/// spaces.register_space(b"garden")?;
/// let (alice, bob) = ("ws://127.0.0.1:9000/alice", "ws://127.0.0.1:9001/bob");
/// let mut dialler = Connection::dial(Instant::ZERO, &Config::HOST, PeerUrl::parse(bob, &UrlRules::default())?)?;
/// let mut acceptor = Connection::accept(Instant::ZERO, &Config::HOST);
///
/// let mut wire = [0; 4096];
/// for _ in 0..2 {
///     drive(&mut dialler, &spaces, alice, &mut Vec::new());
///     let len = dialler.transmit(Instant::ZERO, &mut wire);
///     drive(&mut acceptor, &spaces, bob, &mut wire[..len].to_vec());
///     let len = acceptor.transmit(Instant::ZERO, &mut wire);
///     drive(&mut dialler, &spaces, alice, &mut wire[..len].to_vec());
/// }
/// assert!(dialler.is_open() && acceptor.is_open());
///
/// dialler.notify(Instant::ZERO, &spaces, b"garden", b"it rains")?;
/// let len = dialler.transmit(Instant::ZERO, &mut wire);
/// assert_eq!(drive(&mut acceptor, &spaces, bob, &mut wire[..len].to_vec()), [b"it rains"]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Connection<S: Storage, C: Channel = Plain> {
    rx: Rx<S, C>,
    tx: Tx<S, C>,
}

/// What can happen to a connection.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Input<'i> {
    /// The peer's bytes: those that were not taken the last time, unchanged, then new ones. None at all is fine: a
    /// dialler has something to ask before any arrive.
    Bytes(&'i mut [u8]),
    /// The time that [`Connection::poll_timeout`] told of has come.
    Timeout,
    /// The peer's stream has ended, and everything that came on it was taken.
    End,
    /// The socket failed.
    Failed,
    /// The application wants the connection to end and tells the peer why.
    Disconnect {
        /// What the peer is told.
        reason: &'i [u8],
    },
}

impl<S: Storage> Connection<S, Plain> {
    /// A plain connection that this end opened to `peer`.
    ///
    /// # Errors
    /// [`NotDialable`] if the URL has no peer id or its port is 0, or if the storage cannot hold it.
    pub fn dial(now: Instant, config: &Config, peer: PeerUrl<'_>) -> Result<Self, NotDialable> {
        Ok(Self { rx: Rx::dial(now, config, Plain, peer)?, tx: Tx::new(config, Plain) })
    }

    /// A plain connection that the peer opened.
    pub fn accept(now: Instant, config: &Config) -> Self {
        Self { rx: Rx::accept(now, config, Plain), tx: Tx::new(config, Plain) }
    }
}

impl<S: Storage, C: Channel> Connection<S, C> {
    /// Joins two halves that belong together.
    pub fn from_halves(rx: Rx<S, C>, tx: Tx<S, C>) -> Self {
        Self { rx, tx }
    }

    /// The halves, to be driven apart.
    pub fn into_halves(self) -> (Rx<S, C>, Tx<S, C>) {
        (self.rx, self.tx)
    }

    /// Tells the connection what happened; the cursor gives what is to be done about it. After an input other than
    /// bytes, the bytes that were not taken are shown again later.
    pub fn handle<'c, 'i>(&'c mut self, now: Instant, input: Input<'i>) -> Actions<'c, 'i, S, C> {
        let bytes = match input {
            Input::Bytes(bytes) => bytes,
            Input::Timeout => {
                self.rx.handle_timeout(now);
                if !self.tx.handle_timeout(now) {
                    self.rx.close(CloseReason::Timeout(Timeout::Write));
                }
                &mut []
            }
            Input::End => {
                self.rx.end();
                &mut []
            }
            Input::Failed => {
                self.rx.close(CloseReason::Failed);
                &mut []
            }
            Input::Disconnect { reason } => {
                if self.rx.close_reason().is_none() {
                    // Without room for the reason the peer sees the end of the stream, which says enough.
                    let _ = self.tx.push_disconnect(now, reason);
                    self.rx.close(CloseReason::Local);
                }
                &mut []
            }
        };
        Actions { frames: self.rx.read(now, bytes), tx: &mut self.tx, now }
    }

    /// Takes one step of the channel's handshake, for [`Wants::Work`]; see [`Rx::work`].
    pub fn work(&mut self, now: Instant) {
        self.rx.work(now, &mut self.tx);
    }

    /// Answers the question that is open. What follows from it comes out of the next [`handle`](Self::handle).
    ///
    /// # Errors
    /// [`ApiMisuse`]; see [`Rx::answer`]. Nothing has changed then.
    pub fn answer(&mut self, now: Instant, id: QuestionId, answer: Answer<'_>) -> Result<(), ApiMisuse> {
        self.rx.answer(now, &mut self.tx, id, answer)
    }

    /// Sends a message to the peer's space.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing has changed then, and the message is still the caller's.
    pub fn notify<P: Policy>(
        &mut self,
        now: Instant,
        directory: &Directory<S, P>,
        space: &[u8],
        data: &[u8],
    ) -> Result<(), SendError> {
        self.send(now, directory, space, &Message::notify(space, data))
    }

    /// Sends a message to a module of the peer's space.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing has changed then, and the message is still the caller's.
    pub fn module<P: Policy>(
        &mut self,
        now: Instant,
        directory: &Directory<S, P>,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<(), SendError> {
        self.send(now, directory, space, &Message::module(space, module, data))
    }

    #[inline]
    fn send<P: Policy>(
        &mut self,
        now: Instant,
        directory: &Directory<S, P>,
        space: &[u8],
        message: &Message<'_>,
    ) -> Result<(), SendError> {
        let peer = self.rx.peer().filter(|_| self.rx.is_open()).ok_or(SendError::NotOpen)?;
        directory.permit_send(&peer, space).map_err(SendError::Refused)?;
        self.tx.push(now, message).map_err(SendError::NotQueued)
    }

    /// Copies bytes for the peer into `out` and returns how many; see [`Tx::transmit`].
    pub fn transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        self.tx.transmit(now, out)
    }

    /// When [`Input::Timeout`] is due; never on a closed connection.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.rx.close_reason().is_some() {
            return None;
        }
        earliest(self.rx.poll_timeout(), self.tx.poll_timeout())
    }

    /// Whether the gate is open.
    pub fn is_open(&self) -> bool {
        self.rx.is_open()
    }

    /// The receive half.
    pub fn rx(&self) -> &Rx<S, C> {
        &self.rx
    }

    /// The transmit half.
    pub fn tx(&self) -> &Tx<S, C> {
        &self.tx
    }

    /// The transmit half, to queue and to write.
    pub fn tx_mut(&mut self) -> &mut Tx<S, C> {
        &mut self.tx
    }
}

/// Gives the [`Action`]s of one input, one at a time.
///
/// What [`Rx`] says of driving holds here: what was not asked for is not taken.
#[must_use = "nothing happens unless `next` is called"]
#[derive(Debug)]
pub struct Actions<'c, 'i, S: Storage, C: Channel = Plain> {
    frames: Frames<'c, 'i, S, C>,
    tx: &'c mut Tx<S, C>,
    now: Instant,
}

impl<S: Storage, C: Channel> Actions<'_, '_, S, C> {
    /// The next action; `None` when there is nothing more to do without another input or an answer.
    #[inline]
    pub fn next<P: Policy>(&mut self, directory: &Directory<S, P>) -> Option<Action<'_>> {
        let action = self.frames.next(directory);
        if let Some(Action::Closed { reason, .. }) = action {
            self.tx.push_farewell(self.now, reason);
        }
        action
    }

    /// The next action together with the transmit half, to answer a message while it is looked at.
    #[inline]
    pub fn next_with<P: Policy>(
        &mut self,
        directory: &Directory<S, P>,
    ) -> Option<(Action<'_>, &mut Tx<S, C>)> {
        let action = self.frames.next(directory);
        if let Some(Action::Closed { reason, .. }) = action {
            self.tx.push_farewell(self.now, reason);
        }
        Some((action?, self.tx))
    }

    /// Closes the connection from inside; see [`Frames::close`].
    pub fn close(&mut self, reason: CloseReason) {
        self.frames.close(reason);
    }

    /// Ends the input: how many bytes were taken, and what the connection wants next.
    pub fn finish(self) -> (usize, Wants) {
        self.frames.finish()
    }
}

#[cfg(feature = "alloc")]
impl<C: Channel> Actions<'_, '_, crate::storage::Heap, C> {
    /// The data of the message that the last action told of, to keep; see [`Frames::payload_to_bytes`].
    pub fn payload_to_bytes(&mut self) -> Option<bytes::Bytes> {
        self.frames.payload_to_bytes()
    }
}

/// Why a message is not sent. It is still the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The gate is not open, or not any more.
    NotOpen,
    /// The rules say that it is not to be sent.
    Refused(SendRefused),
    /// The transmit queue did not take it.
    NotQueued(PushError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the connection is not open"),
            Self::Refused(error) => error.fmt(f),
            Self::NotQueued(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SendError {}
