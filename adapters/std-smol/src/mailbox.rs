//! The messages for one peer, and who writes them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use event_listener::Event;
use kitfox_core::node::{ConnectionId, NotSentCause, PeerKey};
use kitfox_core::{Config, Instant, PeerId};

use crate::error::ConnectError;
use crate::handler::{Closing, Peer};
use crate::link::Link;
use crate::taped::{Outbox, Tape};

/// What a message needs beside its payload, unless its space and module have very long names, in bytes.
const OVERHEAD: usize = 1024;

/// Bytes that wait in all outboxes of a node, and whoever waits for room.
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// The most that one outbox holds, in bytes.
    outbox_max: usize,
    /// One that holds no more has room again, in bytes.
    outbox_low: usize,
    wanted: AtomicBool,
    room: Event,
    /// Messages that found a full outbox, and those that found all of them full.
    pub(crate) outbox_full: AtomicU64,
    pub(crate) memory_full: AtomicU64,
    pub(crate) accepted: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: usize, config: &Config) -> Self {
        let outbox_max = config.outbox.max_bytes;
        Self {
            used: AtomicUsize::new(0),
            limit,
            outbox_max,
            outbox_low: config.high_water_bytes.min(outbox_max) / 2,
            wanted: AtomicBool::new(false),
            room: Event::new(),
            outbox_full: AtomicU64::new(0),
            memory_full: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `len` bytes, if there are so many.
    pub(crate) fn take(&self, len: usize) -> bool {
        let before = self.used.fetch_add(len, Ordering::Relaxed);
        if before.saturating_add(len) > self.limit {
            self.used.fetch_sub(len, Ordering::Relaxed);
            self.memory_full.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    pub(crate) fn give_back(&self, len: usize) {
        if len > 0 {
            self.used.fetch_sub(len, Ordering::AcqRel);
            if self.wanted.swap(false, Ordering::AcqRel) {
                self.room.notify(usize::MAX);
            }
        }
    }
}

/// One peer's place in the book. A peer that was forgotten and comes back gets another one.
pub(crate) struct Mailbox {
    pub(crate) key: PeerKey,
    pub(crate) id: PeerId,
    inner: Mutex<Inner>,
    /// The peer is up, or was given up, or its outbox has room, or is empty.
    pub(crate) changed: Event,
    /// Somebody waits for that. Else there is nobody to notify after every write.
    watched: AtomicBool,
}

pub(crate) struct Inner {
    pub(crate) outbox: Outbox,
    /// The connection that writes, while one is open. Only then may a message be pushed without the book.
    pub(crate) writer: Option<ConnectionId>,
    /// Its writing task, to be woken. While it is here, it has nothing to write.
    pub(crate) waker: Option<Waker>,
    /// Where a sender may write in its place.
    pub(crate) link: Weak<Link>,
    /// When a message last found that there was nothing to write.
    pub(crate) begun_at: Instant,
    /// Who is up.
    pub(crate) peer: Option<Peer>,
    /// How often the peer was up, and as whom the last time.
    pub(crate) ups: (u64, Option<Peer>),
    /// How often messages were given up, and why the last time.
    pub(crate) given_up: (u64, NotSentCause),
    /// How the last attempt to connect failed.
    pub(crate) failure: Option<Box<Failure>>,
    /// The peer was forgotten: what is pushed here is heard by nobody.
    pub(crate) gone: bool,
    /// Texts by which it is found without the book.
    pub(crate) urls: Vec<Arc<str>>,
}

/// How an attempt to connect failed.
pub(crate) enum Failure {
    Dial(std::io::Error),
    Closed(Closing),
}

impl Mailbox {
    pub(crate) fn new(key: PeerKey, id: PeerId, config: &Config, tape: &Tape) -> Arc<Self> {
        let inner = Inner {
            outbox: Outbox::new(key, config, tape),
            writer: None,
            waker: None,
            link: Weak::new(),
            begun_at: Instant::ZERO,
            peer: None,
            ups: (0, None),
            given_up: (0, NotSentCause::DialFailed),
            failure: None,
            gone: false,
            urls: Vec::new(),
        };
        let (inner, changed) = (Mutex::new(inner), Event::new());
        Arc::new(Self { key, id, inner, changed, watched: AtomicBool::new(false) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that something has changed.
    pub(crate) fn notify(&self) {
        if self.watched.swap(false, Ordering::AcqRel) {
            self.changed.notify(usize::MAX);
        }
    }

    /// Waits until `look` gives something. It is asked whenever something has changed.
    pub(crate) async fn when<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            let changed = self.changed.listen();
            self.watched.store(true, Ordering::Release);
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Tells those who wait for room that something was written and `queued` bytes are left.
    pub(crate) fn notify_written(&self, queued: usize, budget: &Budget) {
        if queued <= budget.outbox_low {
            self.notify();
        }
    }

    /// Waits until a message of `len` bytes has room and the outbox holds at most half of what stops it; `false` if the
    /// peer goes.
    pub(crate) async fn ready(&self, len: usize, budget: &Budget) -> bool {
        let needs = len.saturating_add(OVERHEAD);
        loop {
            let room = self.when(|inner| match inner.outbox.len() {
                _ if inner.gone => Some(false),
                0 => Some(true),
                queued
                    if queued <= budget.outbox_low && needs.saturating_add(queued) <= budget.outbox_max =>
                {
                    Some(true)
                }
                _ => None,
            });
            if !room.await {
                return false;
            }
            let freed = budget.room.listen();
            budget.wanted.store(true, Ordering::Release);
            if budget.used().saturating_add(needs) <= budget.limit || budget.used() == 0 {
                return true;
            }
            freed.await;
        }
    }
}

impl Inner {
    /// Lets go of the budget of what has left the outbox since it held `before` bytes.
    pub(crate) fn settle(&self, before: usize, budget: &Budget) {
        budget.give_back(before - self.outbox.len());
    }

    /// Why an attempt to connect was given up.
    pub(crate) fn connect_error(&mut self) -> ConnectError {
        match (self.given_up.1, self.failure.take().map(|failure| *failure)) {
            (NotSentCause::DialFailed, Some(Failure::Dial(error))) => ConnectError::Dial(error),
            (NotSentCause::DialFailed, _) => ConnectError::DialTimeout,
            (NotSentCause::GateFailed(_), Some(Failure::Closed(closing))) => ConnectError::Closed(closing),
            (NotSentCause::GateFailed(reason), _) => {
                ConnectError::Closed(Closing { reason, message: bytes::Bytes::new() })
            }
            (cause, _) => ConnectError::GivenUp(cause),
        }
    }
}
