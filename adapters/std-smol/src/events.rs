//! What applications are told that no reader tells them: in order, without any lock, on a task of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use event_listener::Event;
use kitfox_core::PeerId;
use kitfox_core::node::{MessageId, NotSentCause};
use kitfox_core::wire::Message;

use crate::addr;
use crate::handler::{Closing, Down, Peer, Returned};
use crate::node::{Shared, TaskGuard};
use crate::registry::Listener;

/// Opens when everything about a session was told: the next session of the same peer waits for it.
#[derive(Default)]
pub(crate) struct Told {
    told: AtomicBool,
    event: Event,
}

impl Told {
    pub(crate) fn set(&self) {
        self.told.store(true, Ordering::Release);
        self.event.notify(usize::MAX);
    }

    pub(crate) async fn wait(&self) {
        loop {
            let event = self.event.listen();
            if self.told.load(Ordering::Acquire) {
                return;
            }
            event.await;
        }
    }
}

/// Something to tell.
pub(crate) enum News {
    Up(Peer),
    Down(Peer, Down),
    /// A connection is closed that never was up.
    Rejected(SocketAddr, Closing),
    /// The encoding of the message, which stays charged to the send budget until it is told.
    NotSent(MessageId, NotSentCause, Arc<str>, Bytes),
    Unresponsive(Arc<str>, SystemTime),
    /// A session is over whose reader is no more.
    Over(PeerId, Arc<Told>),
}

/// What waits to be told. Bounded by the peers and by the send budget.
#[derive(Default)]
pub(crate) struct NewsQueue {
    queue: Mutex<(VecDeque<News>, bool)>,
}

impl Shared {
    /// Tells something, now and here.
    pub(crate) fn tell(&self, news: News) {
        let snapshot = self.registry.snapshot();
        match news {
            News::Up(peer) => self.handler.peer_up(&peer),
            News::Down(peer, down) => {
                let listeners = snapshot.listeners(snapshot.rules.peer_disconnect_targets());
                drop(snapshot);
                for listener in listeners {
                    match listener {
                        Listener::Module(handler) => handler.peer_disconnect(&peer, &down),
                        Listener::Space(handler) => handler.peer_disconnect(&peer, &down),
                        Listener::Handler => self.handler.peer_down(&peer, &down),
                    }
                }
            }
            News::Rejected(addr, closing) => {
                drop(snapshot);
                self.handler.rejected(addr::unmapped(addr), &closing);
            }
            News::NotSent(id, cause, url, encoded) => {
                drop(snapshot);
                let message = Message::decode(&encoded).unwrap_or_default();
                let returned = Returned {
                    url,
                    space: encoded.slice_ref(message.space.unwrap_or_default()),
                    module: message
                        .module
                        .map(|module| String::from_utf8_lossy(module.as_bytes()).into_owned()),
                    data: encoded.slice_ref(message.data),
                };
                self.budget.give_back(encoded.len());
                self.handler.not_sent(id, cause, returned);
            }
            News::Unresponsive(url, when) => {
                let listeners = snapshot.listeners(snapshot.rules.set_unresponsive_targets());
                drop(snapshot);
                for listener in listeners {
                    if let Listener::Space(space) = listener {
                        space.set_unresponsive(&url, when);
                    }
                }
                self.handler.unresponsive(&url, when);
            }
            News::Over(peer, told) => {
                drop(snapshot);
                told.set();
                self.book().told(&peer, &told);
            }
        }
    }

    /// Puts something after everything that waits to be told. Returns whether [`start_telling`](Self::start_telling) is
    /// to be called, without any lock.
    #[must_use]
    pub(crate) fn enqueue(&self, news: News) -> bool {
        let mut queue = self.news.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.0.push_back(news);
        !std::mem::replace(&mut queue.1, true)
    }

    pub(crate) fn start_telling(self: &Arc<Self>) {
        self.spawn(tell_all(self.task()));
    }
}

async fn tell_all(guard: TaskGuard) {
    let _rest = Rest(&guard);
    while let Some(news) = {
        let mut queue = guard.shared.news.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let next = queue.0.pop_front();
        queue.1 = next.is_some();
        next
    } {
        guard.shared.tell(news);
        futures_lite::future::yield_now().await;
    }
}

/// A handler that panics costs the others nothing: another task goes on.
struct Rest<'a>(&'a TaskGuard);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.shared.start_telling();
        }
    }
}
