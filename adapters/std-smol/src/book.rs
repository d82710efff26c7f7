//! The peer table and what belongs to it: the cold path. It is locked for a look or a change, never while the
//! application is called; what would block or call is done [`After`] the lock is released.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;

use async_io::Timer;
use bytes::Bytes;
use futures_lite::future;
use kitfox_core::Instant;
use kitfox_core::connection::{CloseReason, Numbers};
use kitfox_core::node::{ConnectionId, DownCause, Ending, MessageId, NotSentCause, PeerKey, Step};
use kitfox_core::wire::HEADER_BYTES;
use kitfox_core::{CapacityError, PeerId};

use crate::dial::{Cancel, Dial, dial};
use crate::events::{News, Told};
use crate::handler::{Closing, Peer};
use crate::link::{Link, Session};
use crate::mailbox::{Failure, Mailbox};
use crate::node::{Shared, TaskGuard};
use crate::stats::Totals;
use crate::taped::PeerTable;

/// Texts by which one peer is found without the book.
const MAX_URLS: usize = 4;

pub(crate) struct Book {
    pub(crate) table: PeerTable,
    /// By the index of the connection.
    places: Vec<Option<Place>>,
    /// By the index of the peer.
    mailboxes: Vec<Option<Arc<Mailbox>>>,
    /// The last session of each peer that has ended, until everything about it was told.
    telling: HashMap<PeerId, Arc<Told>>,
    next_number: u64,
    pub(crate) totals: Totals,
    pub(crate) shut_down: bool,
    /// Somebody keeps the table's time, and wakes at this time.
    clock_runs: bool,
    armed: Option<Instant>,
}

/// The place of one connection, from the order to dial, or from its acceptance, until its socket is closed.
struct Place {
    id: ConnectionId,
    carrier: Carrier,
    /// How its session ended, to be told by its reader.
    end: Option<Box<SessionEnd>>,
}

enum Carrier {
    Dialing(Arc<Cancel>),
    Linked(Arc<Link>),
}

/// How a session ended, and what is to be told after that.
pub(crate) struct SessionEnd {
    pub(crate) cause: DownCause,
    pub(crate) unknown: Option<Numbers>,
    pub(crate) after: Vec<News>,
}

/// What is to be done when the book is not locked any more.
#[derive(Default)]
pub(crate) struct After {
    pub(crate) wakers: Vec<Waker>,
    changed: Vec<Arc<Mailbox>>,
    dials: Vec<Dial>,
    cancels: Vec<Arc<Cancel>>,
    start_telling: bool,
    start_clock: bool,
    wake_clock: bool,
    /// What peers are told where this end closes because the application wants it.
    pub(crate) words: Option<Bytes>,
    /// The session that has just ended: what follows for its peer is told after that.
    ended: Option<(PeerKey, ConnectionId)>,
}

impl Shared {
    /// Does something to the book, carries out what the peer table makes of it, and does the rest without the lock.
    pub(crate) fn with_book<T>(self: &Arc<Self>, act: impl FnOnce(&mut Book, Instant, &mut After) -> T) -> T {
        let mut after = After::default();
        let mut book = self.book();
        let now = self.clock.now();
        let result = act(&mut book, now, &mut after);
        book.carry_out(self, now, &mut after);
        book.arm(&mut after);
        drop(book);
        after.run(self);
        result
    }
}

impl After {
    fn run(self, shared: &Arc<Shared>) {
        for cancel in &self.cancels {
            cancel.set();
        }
        for order in self.dials {
            shared.spawn(dial(shared.task(), order));
        }
        if self.start_clock {
            shared.spawn(keep_time(shared.task()));
        }
        if self.wake_clock {
            shared.rearmed.notify(usize::MAX);
        }
        self.wakers.into_iter().for_each(Waker::wake);
        self.changed.iter().for_each(|mailbox| mailbox.notify());
        if self.start_telling {
            shared.start_telling();
        }
    }
}

/// Keeps the peer table's time for as long as it has deadlines.
async fn keep_time(guard: TaskGuard) {
    let shared = &guard.shared;
    loop {
        let rearmed = shared.rearmed.listen();
        let next = shared.with_book(|book, now, after| {
            while book.table.handle_timeout(now) {
                book.carry_out(shared, now, after);
            }
            book.armed = book.table.poll_timeout();
            book.clock_runs = book.armed.is_some();
            book.armed.and_then(|at| shared.clock.to_std(at))
        });
        let Some(next) = next else { return };
        future::or(rearmed, async {
            Timer::at(next).await;
        })
        .await;
    }
}

impl Book {
    pub(crate) fn new(table: PeerTable) -> Self {
        Self {
            table,
            places: Vec::new(),
            mailboxes: Vec::new(),
            telling: HashMap::new(),
            next_number: 0,
            totals: Totals::default(),
            shut_down: false,
            clock_runs: false,
            armed: None,
        }
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn place(&mut self, id: ConnectionId) -> Option<&mut Place> {
        self.places.get_mut(id.index())?.as_mut().filter(|place| place.id == id)
    }

    fn set_place(&mut self, id: ConnectionId, carrier: Carrier) {
        if self.places.len() <= id.index() {
            self.places.resize_with(id.index() + 1, || None);
        }
        self.places[id.index()] = Some(Place { id, carrier, end: None });
    }

    /// A socket has taken the place of a connection.
    pub(crate) fn link_up(&mut self, link: &Arc<Link>) {
        self.set_place(link.id, Carrier::Linked(link.clone()));
    }

    fn link(&mut self, id: ConnectionId) -> Option<Arc<Link>> {
        match &self.place(id)?.carrier {
            Carrier::Linked(link) => Some(link.clone()),
            Carrier::Dialing(_) => None,
        }
    }

    /// Every connection with a socket.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.places.iter().flatten().filter_map(|place| match &place.carrier {
            Carrier::Linked(link) => Some(link),
            Carrier::Dialing(_) => None,
        })
    }

    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.mailboxes.iter().flatten()
    }

    /// The mailbox of a peer that is in the table.
    pub(crate) fn mailbox(&mut self, shared: &Shared, key: PeerKey) -> Option<Arc<Mailbox>> {
        let id = *self.table.id(key)?;
        if self.mailboxes.len() <= key.index() {
            self.mailboxes.resize_with(key.index() + 1, || None);
        }
        let mailbox = &mut self.mailboxes[key.index()];
        let mailbox = mailbox.get_or_insert_with(|| Mailbox::new(key, id, &shared.config, &shared.tape));
        debug_assert!(mailbox.key == key, "a peer that was forgotten leaves no mailbox");
        Some(mailbox.clone())
    }

    /// Lets messages to this URL find a mailbox without the book.
    pub(crate) fn route(
        &self,
        shared: &Shared,
        mailbox: &Arc<Mailbox>,
        url: impl Into<Arc<str>> + AsRef<str>,
    ) {
        let mut inner = mailbox.lock();
        if inner.urls.len() < MAX_URLS && !inner.urls.iter().any(|known| **known == *url.as_ref()) {
            let url = url.into();
            // Nearly every peer has one.
            inner.urls.reserve_exact(1);
            inner.urls.push(url.clone());
            shared.routes_mut().insert(url, mailbox.clone());
        }
    }

    /// A connection has come to its end at its socket, or at its gate.
    pub(crate) fn end(
        &mut self,
        shared: &Shared,
        now: Instant,
        link: &Arc<Link>,
        closing: &Closing,
        after: &mut After,
    ) {
        if self.table.state(link.id).is_none() {
            return;
        }
        self.totals.closed += 1;
        let waiting = link.part(shared, closing.reason, None, after);
        if link.session.get().is_none()
            && let Some(key) = self.table.peer_of(link.id)
            && let Some(mailbox) = self.mailbox(shared, key)
        {
            mailbox.lock().failure = Some(Box::new(Failure::Closed(closing.clone())));
        }
        let superseded = closing.reason == CloseReason::Disconnected
            && closing.message.starts_with(kitfox_core::connection::SUPERSEDED);
        if closing.reason == CloseReason::Capacity(CapacityError::ReceiveMemory) {
            self.totals.receive_memory_full += 1;
        }
        self.table.ended(now, link.id, Ending { reason: closing.reason, superseded, waiting });
        self.carry_out(shared, now, after);
    }

    /// What its reader is to tell about the end of a session.
    pub(crate) fn take_end(&mut self, id: ConnectionId) -> Option<SessionEnd> {
        self.place(id)?.end.take().map(|end| *end)
    }

    /// Everything about a session was told.
    pub(crate) fn told(&mut self, peer: &PeerId, told: &Arc<Told>) {
        if self.telling.get(peer).is_some_and(|last| Arc::ptr_eq(last, told)) {
            self.telling.remove(peer);
        }
    }

    /// A dial came to nothing before there was a socket.
    pub(crate) fn dial_failed(
        &mut self,
        shared: &Shared,
        now: Instant,
        id: ConnectionId,
        error: std::io::Error,
        after: &mut After,
    ) {
        if let Some(key) = self.table.peer_of(id)
            && let Some(mailbox) = self.mailbox(shared, key)
        {
            mailbox.lock().failure = Some(Box::new(Failure::Dial(error)));
        }
        let reason = CloseReason::Failed;
        self.table.ended(now, id, Ending { reason, superseded: false, waiting: false });
        self.carry_out(shared, now, after);
        self.release(id);
    }

    /// The socket of a connection is closed, or there will be none.
    pub(crate) fn release(&mut self, id: ConnectionId) {
        if let Some(place) = self.places.get_mut(id.index())
            && let Some(Place { carrier, .. }) = place.take_if(|place| place.id == id)
        {
            if let Carrier::Linked(link) = carrier {
                link.add_to(&mut self.totals);
            }
            self.table.release(id);
        }
    }

    /// Ends every connection with a peer; what waits for it is given up.
    pub(crate) fn disconnect(
        &mut self,
        shared: &Shared,
        now: Instant,
        key: PeerKey,
        words: &[u8],
        after: &mut After,
    ) {
        after.words = Some(Bytes::copy_from_slice(words));
        self.table.disconnect(now, key);
        self.carry_out(shared, now, after);
    }

    /// Closes what belongs to no peer, and peers that are not connected, or all of them.
    pub(crate) fn close(
        &mut self,
        shared: &Shared,
        now: Instant,
        open_too: bool,
        words: &[u8],
        after: &mut After,
    ) {
        after.words = Some(Bytes::copy_from_slice(words));
        let keys: Vec<_> = self.table.peers().collect();
        for key in keys {
            if open_too || self.table.open_connection(key).is_none() {
                self.table.disconnect(now, key);
                self.carry_out(shared, now, after);
            }
        }
        let of_nobody: Vec<_> =
            self.links().map(|link| link.id).filter(|id| self.table.peer_of(*id).is_none()).collect();
        for id in of_nobody {
            self.table.refuse(now, id, CloseReason::Local, false);
            self.carry_out(shared, now, after);
        }
    }

    /// Carries out the steps of the peer table, in their order.
    pub(crate) fn carry_out(&mut self, shared: &Shared, now: Instant, after: &mut After) {
        while let Some(step) = self.table.next_step() {
            match step {
                Step::Dial(key, id) => {
                    let cancel = Arc::new(Cancel::default());
                    let url = self.table.url(key).unwrap_or_default().to_owned();
                    self.set_place(id, Carrier::Dialing(cancel.clone()));
                    after.dials.push(Dial { id, url, cancel });
                }
                Step::Proceed(id) => {
                    if let Some(link) = self.link(id) {
                        link.proceed(after);
                    }
                }
                Step::Close(id, reason) => self.close_one(shared, id, reason, after),
                Step::Probe(id) => {
                    if let Some(link) = self.link(id) {
                        link.probe(now, after);
                    }
                }
                Step::Up(key, id) => self.up(shared, key, id, after),
                Step::Down(key, id, cause) => self.down(shared, key, id, cause, after),
                Step::Pause(key, paused) => {
                    if let Some(mailbox) = self.mailbox(shared, key) {
                        let mut inner = mailbox.lock();
                        inner.outbox.set_paused(paused);
                        after.wakers.extend(inner.waker.take());
                    }
                }
                Step::Unresponsive(key) => {
                    let url = self.table.url(key).unwrap_or_default().into();
                    self.tell(shared, key, News::Unresponsive(url, SystemTime::now()), after);
                }
                Step::GiveUp(key, cause) => self.give_up(shared, key, cause, after),
                Step::Forget(key) => self.forget(shared, key, after),
                _ => debug_assert!(false, "a step that this version does not know"),
            }
        }
    }

    fn close_one(&mut self, shared: &Shared, id: ConnectionId, reason: CloseReason, after: &mut After) {
        match self.place(id).map(|place| &place.carrier) {
            Some(Carrier::Dialing(cancel)) => after.cancels.push(cancel.clone()),
            Some(Carrier::Linked(link)) => {
                let link = link.clone();
                self.totals.closed += 1;
                if reason == CloseReason::Capacity(CapacityError::Pending) {
                    self.totals.evicted += 1;
                }
                let words = after.words.clone().filter(|_| reason == CloseReason::Local);
                link.part(shared, reason, words.as_deref(), after);
                link.ask(reason, after);
            }
            None => {}
        }
    }

    /// A connection carries the messages of its peer from now on.
    fn up(&mut self, shared: &Shared, key: PeerKey, id: ConnectionId, after: &mut After) {
        let (Some(link), Some(mailbox)) = (self.link(id), self.mailbox(shared, key)) else { return };
        let url = link.claimed.get().cloned().unwrap_or_default();
        let proven = self.table.is_proven(id);
        let peer =
            Peer::new(url.clone(), mailbox.id, link.number, link.role.into()).proven(proven).keyed(key);
        let told = Arc::new(Told::default());
        let before = self.telling.remove(&mailbox.id);
        let session =
            Session { peer: peer.clone(), claimed: !proven, opened_at: SystemTime::now(), told, before };
        link.begin(session, &mailbox, after);
        // Asked before the mailbox is locked: the writer locks its side first.
        let peer_max_frame_bytes = link.peer_max_frame_bytes();
        {
            let mut inner = mailbox.lock();
            inner.outbox.begin(peer_max_frame_bytes);
            inner.writer = Some(id);
            inner.link = Arc::downgrade(&link);
            inner.failure = None;
            inner.ups = (inner.ups.0 + 1, Some(peer.clone()));
            inner.peer = Some(peer.clone());
        }
        self.totals.opened += 1;
        self.route(shared, &mailbox, url);
        after.changed.push(mailbox);
    }

    /// The session of a connection is over.
    fn down(&mut self, shared: &Shared, key: PeerKey, id: ConnectionId, cause: DownCause, after: &mut After) {
        let Some(mailbox) = self.mailbox(shared, key) else { return };
        let unknown = {
            let mut inner = mailbox.lock();
            let before = inner.outbox.len();
            let unknown = inner.outbox.end();
            inner.settle(before, &shared.budget);
            (inner.writer, inner.peer) = (None, None);
            unknown
        };
        self.totals.unknown_messages += unknown.map_or(0, |numbers| numbers.last - numbers.first + 1);
        if let Some(link) = self.link(id)
            && let Some(session) = link.session.get()
        {
            self.telling.insert(mailbox.id, session.told.clone());
        }
        if let Some(place) = self.place(id) {
            place.end = Some(Box::new(SessionEnd { cause, unknown, after: Vec::new() }));
        }
        after.ended = Some((key, id));
        after.changed.push(mailbox);
    }

    /// What waits for a peer is handed back.
    fn give_up(&mut self, shared: &Shared, key: PeerKey, cause: NotSentCause, after: &mut After) {
        let Some(mailbox) = self.mailbox(shared, key) else { return };
        let url: Arc<str> = self.table.url(key).unwrap_or_default().into();
        loop {
            let taken = mailbox.lock().outbox.take_first();
            let Some((number, encoded)) = taken else { break };
            // The message itself stays charged until it is told.
            shared.budget.give_back(HEADER_BYTES);
            self.totals.not_sent_messages += 1;
            let id = MessageId { peer: key, number };
            self.tell(shared, key, News::NotSent(id, cause, url.clone(), Bytes::from(encoded)), after);
        }
        let mut inner = mailbox.lock();
        inner.given_up = (inner.given_up.0 + 1, cause);
        drop(inner);
        after.changed.push(mailbox);
    }

    /// Gives up the next message of a peer that is up and does not take it.
    pub(crate) fn give_up_too_large(&mut self, shared: &Shared, mailbox: &Mailbox, after: &mut After) {
        let url: Arc<str> = self.table.url(mailbox.key).unwrap_or_default().into();
        let mut inner = mailbox.lock();
        while inner.outbox.is_too_large_for_peer()
            && let Some((number, encoded)) = inner.outbox.take_first()
        {
            shared.budget.give_back(HEADER_BYTES);
            self.totals.not_sent_messages += 1;
            let id = MessageId { peer: mailbox.key, number };
            let cause = NotSentCause::TooLargeForPeer;
            let news = News::NotSent(id, cause, url.clone(), Bytes::from(encoded));
            after.start_telling |= shared.enqueue(news);
        }
    }

    /// Nothing is connected to a peer, and nothing waits for it.
    fn forget(&mut self, shared: &Shared, key: PeerKey, after: &mut After) {
        let place = self.mailboxes.get_mut(key.index());
        let Some(mailbox) = place.and_then(|place| place.take_if(|mailbox| mailbox.key == key)) else {
            return;
        };
        let urls = {
            let mut inner = mailbox.lock();
            debug_assert!(inner.outbox.is_empty(), "nothing waits for a peer that is forgotten");
            inner.gone = true;
            std::mem::take(&mut inner.urls)
        };
        if !urls.is_empty() {
            let mut routes = shared.routes_mut();
            for url in urls {
                routes.remove(&url);
            }
        }
        after.changed.push(mailbox);
    }

    /// Tells something about a peer: by the reader of the session that has just ended, or after everything that waits.
    fn tell(&mut self, shared: &Shared, key: PeerKey, news: News, after: &mut After) {
        if let Some((peer, id)) = after.ended
            && peer == key
            && let Some(end) = self.place(id).and_then(|place| place.end.as_mut())
        {
            return end.after.push(news);
        }
        after.start_telling |= shared.enqueue(news);
    }

    /// Sees that somebody keeps the table's time.
    fn arm(&mut self, after: &mut After) {
        let Some(at) = self.table.poll_timeout() else { return };
        if !std::mem::replace(&mut self.clock_runs, true) {
            self.armed = Some(at);
            after.start_clock = true;
        } else if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            after.wake_clock = true;
        }
    }
}
