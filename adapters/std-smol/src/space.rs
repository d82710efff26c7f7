//! Handles to spaces and modules, and their messages as streams.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use async_channel::Receiver;
use bytes::Bytes;
use futures_lite::Stream;
use kitfox_core::node::MessageId;
use kitfox_core::router::RegisterError;

use crate::error::{SendError, Unsent};
use crate::handler::{ModuleHandler, Peer};
use crate::node::{Node, Shared, WeakNode};

/// A handle to a space of a node, to send from it. It keeps the node alive, and the space registered or not, as it is.
#[derive(Clone)]
pub struct Space {
    node: Node,
    id: Arc<[u8]>,
}

/// A handle to a space that does not keep its node alive.
#[derive(Clone)]
pub struct WeakSpace {
    node: WeakNode,
    id: Arc<[u8]>,
}

/// A handle to a module of a space, to send to the same module of peers.
#[derive(Clone)]
pub struct Module {
    space: Space,
    name: Arc<str>,
}

impl Space {
    pub(crate) fn new(node: &Node, id: &[u8]) -> Self {
        Self { node: node.clone(), id: id.into() }
    }

    /// The space's id.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A handle that does not keep the node alive: for handlers of this very node.
    pub fn downgrade(&self) -> WeakSpace {
        WeakSpace { node: self.node.downgrade(), id: self.id.clone() }
    }

    /// Sends a message to this space of a peer, as [`Node::notify`] does.
    ///
    /// # Errors
    /// As for [`Node::notify`].
    pub fn notify(&self, peer: &str, data: &[u8]) -> Result<MessageId, SendError> {
        self.node.notify(peer, &self.id, data)
    }

    /// Sends a message as [`notify`](Self::notify) does, without copying a payload that is long.
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn notify_shared(&self, peer: &str, data: Bytes) -> Result<MessageId, Unsent> {
        self.node.notify_shared(peer, &self.id, data)
    }

    /// A handle to a module of this space, registered or not.
    pub fn module(&self, name: &str) -> Module {
        Module { space: self.clone(), name: name.into() }
    }

    /// Registers a module of this space, as [`Node::register_module`] does.
    ///
    /// # Errors
    /// As for [`Node::register_space`].
    pub fn register_module(&self, name: &str, handler: impl ModuleHandler) -> Result<Module, RegisterError> {
        self.node.register_module(&self.id, name, handler)
    }

    /// Removes the space and its modules, as [`Node::unregister_space`] does.
    pub fn unregister(&self) -> impl Future<Output = bool> + Send + use<> {
        self.node.unregister_space(&self.id)
    }
}

impl WeakSpace {
    /// A handle that keeps the node alive, if another one still does.
    pub fn upgrade(&self) -> Option<Space> {
        Some(Space { node: self.node.upgrade()?, id: self.id.clone() })
    }
}

impl Module {
    /// The module's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a message to this module of a peer, as [`Node::module`] does.
    ///
    /// # Errors
    /// As for [`Node::notify`].
    pub fn send(&self, peer: &str, data: &[u8]) -> Result<MessageId, SendError> {
        self.space.node.module(peer, &self.space.id, &self.name, data)
    }

    /// Sends a message as [`send`](Self::send) does, without copying a payload that is long.
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn send_shared(&self, peer: &str, data: Bytes) -> Result<MessageId, Unsent> {
        self.space.node.module_shared(peer, &self.space.id, &self.name, data)
    }

    /// Removes the module, as [`Node::unregister_module`] does.
    pub fn unregister(&self) -> impl Future<Output = bool> + Send + use<> {
        self.space.node.unregister_module(&self.space.id, &self.name)
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Space({})", self.id.escape_ascii())
    }
}

impl fmt::Debug for WeakSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeakSpace({})", self.id.escape_ascii())
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({} of {})", self.name, self.space.id.escape_ascii())
    }
}

/// A message out of a [`MessageStream`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Incoming {
    /// Who sent it.
    pub from: Peer,
    /// The payload. One that arrived in pieces was not copied.
    pub data: Bytes,
}

/// The messages of a space or a module, in their order for each peer. It ends when the space or module is unregistered;
/// dropping it unregisters them.
pub struct MessageStream {
    shared: Weak<Shared>,
    space: Box<[u8]>,
    module: Option<Box<str>>,
    receiver: Pin<Box<Receiver<Incoming>>>,
}

impl MessageStream {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        space: &[u8],
        module: Option<&str>,
        receiver: Receiver<Incoming>,
    ) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            space: space.into(),
            module: module.map(Into::into),
            receiver: Box::pin(receiver),
        }
    }

    /// Waits for the next message; `None` if there will be none any more.
    pub async fn recv(&self) -> Option<Incoming> {
        self.receiver.recv().await.ok()
    }

    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<Incoming> {
        self.receiver.try_recv().ok()
    }

    /// Messages that are there.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether no message is there.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

impl Stream for MessageStream {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.receiver.as_mut().poll_next(cx)
    }
}

impl Drop for MessageStream {
    fn drop(&mut self) {
        // Closed by this end, it is told from one that was registered since.
        self.receiver.close();
        if let Some(shared) = self.shared.upgrade() {
            shared.registry.unregister_closed(&self.space, self.module.as_deref());
        }
    }
}

impl fmt::Debug for MessageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageStream({})", self.space.escape_ascii())
    }
}
