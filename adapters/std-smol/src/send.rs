//! How messages get into mailboxes: without the book while the peer is connected, through it otherwise.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kitfox_core::connection::{NotDialable, PushError, check_dialable};
use kitfox_core::node::MessageId;
use kitfox_core::router::SendRefused;
use kitfox_core::secure::check_id;
use kitfox_core::wire::{HEADER_BYTES, Message, PeerUrl};
use kitfox_core::{CapacityError, PeerId};

use crate::error::{ConnectError, SendError, Unsent};
use crate::handler::Peer;
use crate::mailbox::{Inner, Mailbox};
use crate::node::{Node, Shared};
use crate::taped::Outbox;

/// From one message to the next, where each is written by whoever sends it: what a write to a socket takes, so that
/// nobody who could share a write is slowed by more than that.
const SELDOM: Duration = Duration::from_micros(10);

/// What a push came to.
type Pushed = Result<MessageId, SendError>;

/// Puts one message into an outbox.
type Push<'a> = dyn FnMut(&mut Outbox) -> Result<u64, PushError> + 'a;

/// A message on its way into an outbox.
struct Parcel<'a> {
    url: &'a str,
    space: &'a [u8],
    /// Bytes of its frame.
    len: usize,
}

pub(crate) fn send(shared: &Arc<Shared>, url: &str, space: &[u8], message: &Message<'_>) -> Pushed {
    let parcel = Parcel { url, space, len: HEADER_BYTES + message.encoded_len() };
    push(shared, shared.routed(url), &parcel, &mut |outbox| outbox.push(message)).map(|(id, _)| id)
}

pub(crate) fn send_shared(
    shared: &Arc<Shared>,
    url: &str,
    space: &[u8],
    routing: &Message<'_>,
    data: Bytes,
) -> Result<MessageId, Unsent> {
    send_shared_to(shared, shared.routed(url), url, space, routing, data).map(|(id, _)| id)
}

fn send_shared_to(
    shared: &Arc<Shared>,
    mailbox: Option<Arc<Mailbox>>,
    url: &str,
    space: &[u8],
    routing: &Message<'_>,
    data: Bytes,
) -> Result<(MessageId, Arc<Mailbox>), Unsent> {
    let len = HEADER_BYTES + Message { data: &data, ..*routing }.encoded_len();
    let mut held = Some(data);
    let parcel = Parcel { url, space, len };
    let pushed = push(shared, mailbox, &parcel, &mut |outbox| {
        outbox.push_shared(routing, held.take().unwrap_or_default()).map_err(|(error, data)| {
            held = Some(data);
            error
        })
    });
    pushed.map_err(|error| Unsent { error, data: held.take().unwrap_or_default() })
}

/// Asks the rules, then puts the message into the mailbox if its peer is connected, or through the book.
fn push(
    shared: &Arc<Shared>,
    mailbox: Option<Arc<Mailbox>>,
    parcel: &Parcel<'_>,
    push: &mut Push<'_>,
) -> Result<(MessageId, Arc<Mailbox>), SendError> {
    if shared.is_closing() {
        return Err(SendError::ShutDown);
    }
    let id = match &mailbox {
        Some(mailbox) => mailbox.id,
        None => parse(shared, parcel.url)?.1,
    };
    let peer = kitfox_core::Peer::new(parcel.url, Some(&id));
    if let Err(refused) = shared.registry.permit_send(&peer, parcel.space) {
        if refused == SendRefused::Blocked {
            shared.counts().outgoing(parcel.url, parcel.space);
        }
        return Err(SendError::Refused(refused));
    }
    if let Some(mailbox) = mailbox {
        let mut inner = mailbox.lock();
        if inner.writer.is_some() {
            let pushed = push_into(shared, &mut inner, parcel.len, push);
            let idle = inner.waker.take().map(|waker| {
                let seldom = is_seldom(shared, &mut inner) && pushed.is_ok();
                (waker, if seldom { inner.link.upgrade() } else { None })
            });
            drop(inner);
            if let Some((waker, link)) = idle
                && link.is_none_or(|link| !link.write_at_once(&shared.budget, &waker))
            {
                waker.wake();
            }
            return pushed.map(|number| (MessageId { peer: mailbox.key, number }, mailbox));
        }
        drop(inner);
    }
    push_by_book(shared, parcel, push)
}

/// Whether the last message that found nothing to write is long ago. Who sends now and then writes at once, which is
/// quicker than to wake a task; who sends more leaves it to the writer, so that messages share a write.
fn is_seldom(shared: &Shared, inner: &mut Inner) -> bool {
    let now = shared.clock.now();
    now.since(std::mem::replace(&mut inner.begun_at, now)) >= SELDOM
}

/// Puts a message into an outbox, if the budget allows.
fn push_into(shared: &Shared, inner: &mut Inner, len: usize, push: &mut Push<'_>) -> Result<u64, SendError> {
    use std::sync::atomic::Ordering::Relaxed;
    if !shared.budget.take(len) {
        return Err(SendError::Backpressure);
    }
    let before = inner.outbox.len();
    match push(&mut inner.outbox) {
        Ok(number) => {
            debug_assert_eq!(inner.outbox.len() - before, len, "what is charged is what is queued");
            shared.budget.accepted.fetch_add(1, Relaxed);
            Ok(number)
        }
        Err(error) => {
            shared.budget.give_back(len);
            Err(match error {
                PushError::TooLarge => SendError::TooLarge,
                PushError::TooLargeForPeer => SendError::TooLargeForPeer,
                _ => {
                    shared.budget.outbox_full.fetch_add(1, Relaxed);
                    SendError::Backpressure
                }
            })
        }
    }
}

/// Puts a message into the mailbox of a peer that is perhaps not connected, and has it dialled.
fn push_by_book(
    shared: &Arc<Shared>,
    parcel: &Parcel<'_>,
    push: &mut Push<'_>,
) -> Result<(MessageId, Arc<Mailbox>), SendError> {
    let (url, id) = parse(shared, parcel.url)?;
    shared.with_book(|book, now, after| {
        if book.shut_down {
            return Err(SendError::ShutDown);
        }
        let open = book.table.peer(&id).is_some_and(|key| book.table.open_connection(key).is_some());
        if !open {
            dialable(shared, url, &id)?;
        }
        let key = book.table.enter(&id, parcel.url).map_err(|error| {
            book.totals.no_place_for_peer += 1;
            SendError::Capacity(error)
        })?;
        let mailbox = book.mailbox(shared, key).ok_or(SendError::Capacity(CapacityError::Peers))?;
        let pushed = {
            let mut inner = mailbox.lock();
            let pushed = push_into(shared, &mut inner, parcel.len, push);
            after.wakers.extend(inner.waker.take());
            pushed
        };
        if pushed.is_ok() {
            book.route(shared, &mailbox, parcel.url);
        }
        if book.table.open_connection(key).is_none() {
            book.table.waiting(now, key, pushed.is_ok());
        }
        pushed.map(|number| (MessageId { peer: key, number }, mailbox))
    })
}

/// A peer's URL and the id in it.
fn parse<'a>(shared: &Shared, url: &'a str) -> Result<(PeerUrl<'a>, PeerId), SendError> {
    let url = PeerUrl::parse(url, &shared.config.url).map_err(SendError::InvalidUrl)?;
    let id = url.peer_id().and_then(PeerId::new);
    let id = id.ok_or(SendError::NotDialable(NotDialable::NoPeerId))?;
    if id == shared.setup.id {
        return Err(SendError::NotDialable(NotDialable::OurOwnId));
    }
    Ok((url, id))
}

fn dialable(shared: &Shared, url: PeerUrl<'_>, id: &PeerId) -> Result<(), SendError> {
    let secured = shared.setup.security.is_secured();
    check_dialable(url, secured).map_err(SendError::NotDialable)?;
    if secured {
        check_id(id).map_err(|_| SendError::NotDialable(NotDialable::NoKey))?;
    }
    Ok(())
}

/// The mailbox of a peer that is connected, or for which something waits.
pub(crate) fn find(shared: &Shared, url: &str) -> Option<Arc<Mailbox>> {
    if let Some(mailbox) = shared.routed(url) {
        return Some(mailbox);
    }
    let (_, id) = parse(shared, url).ok()?;
    let mut book = shared.book();
    let key = book.table.peer(&id)?;
    book.mailbox(shared, key)
}

/// Has a peer dialled if need be, and waits for its gate.
pub(crate) async fn connect(shared: &Arc<Shared>, text: &str) -> Result<Peer, ConnectError> {
    let refuse = |error| match error {
        SendError::InvalidUrl(error) => ConnectError::InvalidUrl(error),
        SendError::NotDialable(error) => ConnectError::NotDialable(error),
        SendError::Capacity(error) => ConnectError::Capacity(error),
        _ => ConnectError::ShutDown,
    };
    let (url, id) = parse(shared, text).map_err(refuse)?;
    let (mailbox, ups, given_up) = shared.with_book(|book, now, _| {
        if book.shut_down {
            return Err(ConnectError::ShutDown);
        }
        let open = book.table.peer(&id).is_some_and(|key| book.table.open_connection(key).is_some());
        if !open {
            dialable(shared, url, &id).map_err(refuse)?;
        }
        let key = book.table.enter(&id, text).map_err(ConnectError::Capacity)?;
        let mailbox = book.mailbox(shared, key).ok_or(ConnectError::Capacity(CapacityError::Peers))?;
        let (ups, given_up) = {
            let inner = mailbox.lock();
            (inner.ups.0, inner.given_up.0)
        };
        if !open {
            book.table.waiting(now, key, true);
        }
        Ok((mailbox, ups, given_up))
    })?;
    mailbox
        .when(|inner| {
            if let Some(peer) = &inner.peer {
                return Some(Ok(peer.clone()));
            }
            // It may have been up and gone again before this task had a look.
            match &inner.ups {
                (count, Some(peer)) if *count != ups => return Some(Ok(peer.clone())),
                _ => {}
            }
            (inner.gone || inner.given_up.0 != given_up).then(|| Err(inner.connect_error()))
        })
        .await
}

/// A handle for many messages to one peer. It remembers the peer's mailbox, connected or not.
pub struct PeerHandle {
    node: Node,
    url: Arc<str>,
    mailbox: Mutex<Option<Arc<Mailbox>>>,
}

impl PeerHandle {
    pub(crate) fn new(node: &Node, url: &str) -> Result<Self, SendError> {
        parse(&node.shared, url)?;
        let mailbox = Mutex::new(node.shared.routed(url));
        Ok(Self { node: node.clone(), url: url.into(), mailbox })
    }

    /// The URL to which it sends.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The peer, if it is up.
    pub fn peer(&self) -> Option<Peer> {
        self.mailbox()?.lock().peer.clone()
    }

    fn mailbox(&self) -> Option<Arc<Mailbox>> {
        let mut held = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|mailbox| mailbox.lock().gone) {
            *held = self.node.shared.routed(&self.url);
        }
        held.clone()
    }

    fn send(&self, space: &[u8], message: &Message<'_>) -> Result<MessageId, SendError> {
        let parcel = Parcel { url: &self.url, space, len: HEADER_BYTES + message.encoded_len() };
        push(&self.node.shared, self.mailbox(), &parcel, &mut |outbox| outbox.push(message)).map(|(id, _)| id)
    }

    /// As [`Node::notify`].
    ///
    /// # Errors
    /// As for [`Node::notify`].
    pub fn notify(&self, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.send(space, &Message::notify(space, data))
    }

    /// As [`Node::module`].
    ///
    /// # Errors
    /// As for [`Node::notify`].
    pub fn module(&self, space: &[u8], module: &str, data: &[u8]) -> Result<MessageId, SendError> {
        self.send(space, &Message::module(space, module, data))
    }

    /// As [`Node::notify_shared`].
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn notify_shared(&self, space: &[u8], data: Bytes) -> Result<MessageId, Unsent> {
        let routing = Message::notify(space, &[]);
        send_shared_to(&self.node.shared, self.mailbox(), &self.url, space, &routing, data).map(|(id, _)| id)
    }

    /// As [`Node::module_shared`].
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn module_shared(&self, space: &[u8], module: &str, data: Bytes) -> Result<MessageId, Unsent> {
        let routing = Message::module(space, module, &[]);
        send_shared_to(&self.node.shared, self.mailbox(), &self.url, space, &routing, data).map(|(id, _)| id)
    }
}

impl Clone for PeerHandle {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), url: self.url.clone(), mailbox: Mutex::new(self.mailbox()) }
    }
}

impl fmt::Debug for PeerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerHandle({})", self.url)
    }
}
