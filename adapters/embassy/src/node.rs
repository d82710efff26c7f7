//! The handle: what tasks of the application do with a node.

use core::cell::{RefCell, RefMut};
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_sync::waitqueue::WakerRegistration;
use kitfox_core::connection::Channel;
use kitfox_core::node::{MessageId, Node as Core};
use kitfox_core::router::{BlockList, RegisterError};
use kitfox_core::storage::Storage;
use kitfox_core::wire::{PeerUrl, UrlRules};
use kitfox_core::{Peer, PeerId};

use crate::channel::{Protection, Secured};
use crate::error::{BlockError, NotConnected, SendError};
use crate::handler::Ops;
use crate::stats::{Stats, Totals};
use crate::time::now;
use crate::wakers::Wakers;

/// Tasks that can wait at the same time until a message of theirs finds room.
pub const MAX_WAITING_TASKS: usize = 8;

/// What the runner and the handles share.
pub(crate) struct Shared<S: Storage, C: Channel> {
    pub(crate) core: Core<S, BlockList<S>, C>,
    /// The task of the runner.
    pub(crate) runner: WakerRegistration,
    /// Tasks that wait until there is room for a message, or for anything else that was full.
    pub(crate) waiting: Wakers<MAX_WAITING_TASKS>,
    pub(crate) totals: Totals,
    pub(crate) url_rules: UrlRules,
    /// Whether the network has been found to be up: link and address.
    pub(crate) network_up: bool,
}

/// A handle to a node: `Copy`, for all tasks of the executor that runs it.
///
/// Its methods are asynchronous because they wait for their turn: from inside a handler, where the node is in use, they
/// would wait for ever. A handler uses the [`Ops`] that it is given.
pub struct Node<'d, S: Storage, C: Channel = Secured> {
    pub(crate) shared: &'d RefCell<Shared<S, C>>,
}

impl<S: Storage, C: Channel> Clone for Node<'_, S, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Storage, C: Channel> Copy for Node<'_, S, C> {}

impl<S: Storage, C: Channel> fmt::Debug for Node<'_, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}

#[cfg(feature = "defmt")]
impl<S: Storage, C: Channel> defmt::Format for Node<'_, S, C> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Node");
    }
}

impl<S: Storage, C: Protection> Node<'_, S, C> {
    /// Sends a message to a peer's space, and has the peer dialled if it is not connected. Waits while the peer's outbox
    /// is full. Dropping the future before it is ready sends nothing.
    ///
    /// A message that is accepted has one fate: it is *written* on a connection that stays open; or *unknown*, written
    /// on one that has ended ([`Down::unknown`](crate::Down::unknown) has its number); or *not sent*, and
    /// [`Handler::not_sent`](crate::Handler::not_sent) hands it back.
    ///
    /// # Errors
    /// See [`SendError`]; nothing has changed then.
    pub async fn send_notify(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.send(to, |ops, url| ops.notify(url, space, data)).await
    }

    /// Sends a message to a module of a peer's space, as [`send_notify`](Self::send_notify) does.
    ///
    /// # Errors
    /// As for [`send_notify`](Self::send_notify).
    pub async fn send_module(
        &self,
        to: &str,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError> {
        self.send(to, |ops, url| ops.module(url, space, module, data)).await
    }

    /// Sends a message as [`send_notify`](Self::send_notify) does, but does not wait for room.
    ///
    /// # Errors
    /// As for [`send_notify`](Self::send_notify), and [`SendError::Backpressure`] if the peer's outbox is full.
    pub async fn try_send_notify(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.with(|shared| shared.send(to, |ops, url| ops.notify(url, space, data))).await
    }

    /// Sends a message as [`send_module`](Self::send_module) does, but does not wait for room.
    ///
    /// # Errors
    /// As for [`try_send_notify`](Self::try_send_notify).
    pub async fn try_send_module(
        &self,
        to: &str,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError> {
        self.with(|shared| shared.send(to, |ops, url| ops.module(url, space, module, data))).await
    }

    /// Ends the connection to a peer and tells it why, in at most
    /// [`MAX_PARTING_BYTES`](kitfox_core::node::MAX_PARTING_BYTES). What waits for it is given up.
    ///
    /// # Errors
    /// [`NotConnected`] if nothing is connected to the peer and nothing waits for it.
    pub async fn disconnect(&self, peer: &PeerId, reason: &[u8]) -> Result<(), NotConnected> {
        poll_fn(|cx| {
            let Some(mut shared) = self.lock(cx) else { return Poll::Pending };
            let Some(key) = shared.core.peers().peer(peer) else { return Poll::Ready(Err(NotConnected)) };
            if shared.core.ops(now()).disconnect(key, reason) {
                shared.runner.wake();
                return Poll::Ready(Ok(()));
            }
            // So much is going on that the runner has to have its turn first.
            shared.wait(cx)
        })
        .await
    }

    /// Registers a space: its messages come to [`Handler::notify`](crate::Handler::notify), and messages can be sent
    /// from it.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_space(&self, space: &[u8]) -> Result<(), RegisterError> {
        self.with(|shared| shared.core.directory_mut().register_space(space).map(drop)).await
    }

    /// Registers a module of a space: its messages come to [`Handler::module`](crate::Handler::module).
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_module(&self, space: &[u8], module: &str) -> Result<(), RegisterError> {
        self.with(|shared| shared.core.directory_mut().register_module(space, module).map(drop)).await
    }

    /// Removes a space. Returns whether there was one. No message for it is delivered afterwards.
    pub async fn unregister_space(&self, space: &[u8]) -> bool {
        self.with(|shared| shared.core.directory_mut().unregister_space(space)).await
    }

    /// Removes a module. Returns whether there was one. No message for it is delivered afterwards.
    pub async fn unregister_module(&self, space: &[u8], module: &str) -> bool {
        self.with(|shared| shared.core.directory_mut().unregister_module(space, module)).await
    }

    /// Blocks the peer with this id in one space, or in all of them: nothing of it is delivered and nothing is sent to
    /// it. Its connection stays.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub async fn block(&self, peer: &str, space: Option<&[u8]>) -> Result<(), BlockError> {
        let id = PeerId::new(peer).ok_or(BlockError::NoPeerId)?;
        self.with(|shared| shared.core.directory_mut().policy_mut().block(id, space))
            .await
            .map_err(BlockError::Capacity)
    }

    /// Takes back what [`block`](Self::block) did. Returns whether there was such a block.
    pub async fn unblock(&self, peer: &str, space: Option<&[u8]>) -> bool {
        let Some(id) = PeerId::new(peer) else { return false };
        self.with(|shared| shared.core.directory_mut().policy_mut().unblock(id, space)).await
    }

    /// Shows each peer that is up, in a fixed order.
    pub async fn peers(&self, mut show: impl FnMut(&Peer<'_>)) {
        self.with(|shared| {
            let peers = shared.core.peers();
            let up = peers.peers().filter(|&peer| peers.open_connection(peer).is_some());
            up.filter_map(|peer| shared.core.peer(peer)).for_each(|peer| show(&peer));
        })
        .await;
    }

    /// The URLs of the peers that are up.
    #[cfg(feature = "alloc")]
    pub async fn peer_urls(&self) -> alloc::vec::Vec<alloc::string::String> {
        let mut urls = alloc::vec::Vec::new();
        self.peers(|peer| urls.push(peer.url.into())).await;
        urls
    }

    /// What the node did so far, and holds now.
    pub async fn stats(&self) -> Stats {
        self.with(|shared| shared.stats()).await
    }

    /// Shows how many messages were blocked, by peer URL and space: incoming, outgoing.
    pub async fn blocked(&self, mut show: impl FnMut(&str, &[u8], u32, u32)) {
        self.with(|shared| {
            for entry in shared.core.blocked_counts().iter() {
                show(entry.peer(), entry.space(), entry.incoming(), entry.outgoing());
            }
        })
        .await;
    }

    /// Waits until the runner has found the network up: a link and an address. Several tasks may wait, and here they
    /// should: embassy-net's own `wait_config_up` and its like serve one task only, and that one is the runner's.
    pub async fn wait_network_up(&self) {
        poll_fn(|cx| {
            let Some(mut shared) = self.lock(cx) else { return Poll::Pending };
            if shared.network_up { Poll::Ready(()) } else { shared.wait(cx) }
        })
        .await;
    }

    async fn send<T>(
        &self,
        to: &str,
        mut send: impl FnMut(&mut Ops<'_, S>, PeerUrl<'_>) -> Result<T, kitfox_core::node::SendError>,
    ) -> Result<T, SendError> {
        poll_fn(|cx| {
            let Some(mut shared) = self.lock(cx) else { return Poll::Pending };
            match shared.send(to, &mut send) {
                Err(SendError::Backpressure) if shared.waiting.register(cx.waker()) => Poll::Pending,
                done => Poll::Ready(done),
            }
        })
        .await
    }

    async fn with<T>(&self, mut body: impl FnMut(&mut Shared<S, C>) -> T) -> T {
        poll_fn(|cx| {
            let Some(mut shared) = self.lock(cx) else { return Poll::Pending };
            Poll::Ready(body(&mut shared))
        })
        .await
    }

    /// The node, unless a handler of it is being called.
    fn lock(&self, cx: &Context<'_>) -> Option<RefMut<'_, Shared<S, C>>> {
        let shared = self.shared.try_borrow_mut().ok();
        if shared.is_none() {
            cx.waker().wake_by_ref();
        }
        shared
    }
}

impl<S: Storage, C: Protection> Shared<S, C> {
    fn send<T>(
        &mut self,
        to: &str,
        mut send: impl FnMut(&mut Ops<'_, S>, PeerUrl<'_>) -> Result<T, kitfox_core::node::SendError>,
    ) -> Result<T, SendError> {
        let url = PeerUrl::parse(to, &self.url_rules).map_err(SendError::InvalidUrl)?;
        let sent = send(&mut self.core.ops(now()), url).map_err(SendError::from);
        match sent {
            Ok(_) => Totals::count(&mut self.totals.accepted_messages),
            Err(SendError::Backpressure) => Totals::count(&mut self.totals.outbox_full),
            Err(_) => {}
        }
        // A peer that entered the table for a message that was not accepted leaves it again, in the runner.
        if sent.is_ok() || self.core.peers().has_steps() {
            self.runner.wake();
        }
        sent
    }

    /// Has a task wait until something has changed; where too many do, it looks again at its next turn.
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.runner.wake();
        if !self.waiting.register(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn stats(&self) -> Stats {
        let peers = self.core.peers();
        let mut stats = Stats {
            pending: peers.pending(),
            connections: peers.connections().count(),
            blocked_unattributed: self.core.blocked_counts().unattributed(),
            totals: self.totals,
            ..Stats::default()
        };
        for peer in peers.peers() {
            stats.known_peers += 1;
            stats.connected_peers += usize::from(peers.open_connection(peer).is_some());
            stats.queued_bytes += self.core.outbox(peer).map_or(0, |outbox| outbox.len());
        }
        stats
    }
}
