//! What a node's application answers, and what it was told.

use alloc::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender, unbounded};
use kitfox_core::PeerId;
use kitfox_core::connection::Numbers;
use kitfox_core::node::{DownCause, MessageId, NotSentCause};

/// Something that a node's handler is told.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, clippy::exhaustive_enums)] // as the adapters' handlers have them
pub enum Event {
    Up(String),
    Down { url: String, cause: DownCause, words: Vec<u8>, unknown: Option<Numbers> },
    NotSent { id: MessageId, cause: NotSentCause, data: Vec<u8> },
    Unresponsive(String),
    Listening(String),
    Lost(String),
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_structs)]
pub struct Heard {
    /// The URL of who sent it.
    pub from: String,
    pub proven: bool,
    pub space: Vec<u8>,
    /// Empty for a message to the space itself.
    pub module: String,
    pub data: Vec<u8>,
}

/// What a handler may do while it is called.
pub trait Inside {
    /// Sends a message to who sent this one. Returns whether it was accepted.
    fn reply(&mut self, data: &[u8]) -> bool;
    /// Blocks who sent this message.
    fn block(&mut self);
    /// Disconnects who sent this message.
    fn disconnect(&mut self, reason: &[u8]);
}

/// What is done with a message. `false` refuses it.
type OnMessage = Box<dyn FnMut(&mut dyn Inside, &Heard) -> bool + Send>;

/// What the handler says to questions.
#[derive(Debug, Clone)]
#[allow(missing_docs, clippy::exhaustive_structs)] // the names are those of the questions
pub struct Answers {
    /// Whose handshake is not admitted.
    pub unwanted: Option<PeerId>,
    pub peer_connect: bool,
    pub has_local_agents: bool,
    /// `None` refuses.
    pub preflight_gather: Option<Vec<u8>>,
    pub preflight_validate: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            unwanted: None,
            peer_connect: true,
            has_local_agents: true,
            preflight_gather: Some(Vec::new()),
            preflight_validate: true,
        }
    }
}

/// The application of a node: the adapters' handlers ask and tell it.
pub struct Told {
    answers: Mutex<Answers>,
    on_message: Mutex<Option<OnMessage>>,
    events: Sender<Event>,
    heard: Sender<Heard>,
    preflights: Mutex<Vec<Vec<u8>>>,
    /// Who was up or down, and what was heard, in one order.
    log: Mutex<Vec<String>>,
}

impl core::fmt::Debug for Told {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Told").field("log", &self.log()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    pub(super) fn new() -> (Arc<Self>, Receiver<Event>, Receiver<Heard>) {
        let ((events, told), (heard, hears)) = (unbounded(), unbounded());
        let new = Self {
            answers: Mutex::default(),
            on_message: Mutex::default(),
            events,
            heard,
            preflights: Mutex::default(),
            log: Mutex::default(),
        };
        (Arc::new(new), told, hears)
    }

    /// What to say to a question.
    pub fn answers(&self) -> Answers {
        lock(&self.answers).clone()
    }

    /// From now on questions are answered like this.
    pub fn answer(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut lock(&self.answers));
    }

    /// From now on this is done with messages.
    pub fn on_message(&self, act: impl FnMut(&mut dyn Inside, &Heard) -> bool + Send + 'static) {
        *lock(&self.on_message) = Some(Box::new(act));
    }

    /// The handler is told something.
    pub fn tell(&self, event: Event) {
        match &event {
            Event::Up(url) => lock(&self.log).push(format!("up {url}")),
            Event::Down { url, .. } => lock(&self.log).push(format!("down {url}")),
            _ => {}
        }
        let _ = self.events.try_send(event);
    }

    /// The handler is given a message. `false` refuses it.
    pub fn hear(&self, inside: &mut dyn Inside, message: Heard) -> bool {
        lock(&self.log).push(format!("heard {}", message.from));
        let accepted = lock(&self.on_message).as_mut().is_none_or(|act| act(inside, &message));
        let _ = self.heard.try_send(message);
        accepted
    }

    /// The handler is shown the data of a peer's preflight. `false` refuses it.
    pub fn validate(&self, data: &[u8]) -> bool {
        lock(&self.preflights).push(data.to_vec());
        self.answers().preflight_validate
    }

    /// The data of all preflights that were shown.
    pub fn preflights(&self) -> Vec<Vec<u8>> {
        lock(&self.preflights).clone()
    }

    /// Who was up or down, and what was heard, in one order.
    pub fn log(&self) -> Vec<String> {
        lock(&self.log).clone()
    }
}
