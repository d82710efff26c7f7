//! All memory of a node.

use core::cell::RefCell;
use core::fmt;

use kitfox_core::connection::Channel;
use kitfox_core::storage::Storage;

use crate::channel::Secured;
use crate::node::Shared;

/// All memory of a node: tables, frame buffers and outboxes, whose sizes the storage tier `S` names
/// ([`fixed!`](crate::fixed!)), and `SOCKETS` pairs of ring buffers of `RX` and `TX` bytes.
///
/// It is one value of a size that is known when the firmware is linked; nothing else is ever owned. Make it as a
/// constant: all of it is zero and costs no flash, and it does not cross the stack, as it would with
/// `StaticCell::init_with`.
///
/// ```
/// use kitfox_embassy::{Resources, fixed};
/// use static_cell::ConstStaticCell;
///
/// fixed!(Board { connections: 4, peers: 4, frame: 1024, tx: 512, outbox: 1024 });
///
/// static RESOURCES: ConstStaticCell<Resources<Board, 4>> = ConstStaticCell::new(Resources::new());
/// let resources = RESOURCES.take();
/// ```
///
/// `SOCKETS` is how many connections there can be at once, those that are being opened and closed included: embassy-net
/// has no backlog, so a stranger who finds no socket listening is refused. At least two, so that two nodes can dial each
/// other at the same time. The storage's `connections` should not be less.
///
/// `RX` bounds how many bytes a peer may send before they are read, `TX` how many are under way to it. Messages that
/// arrive whole are lent from the `RX` buffer without a copy.
pub struct Resources<
    S: Storage,
    const SOCKETS: usize,
    const RX: usize = 1024,
    const TX: usize = 1024,
    C: Channel = Secured,
> {
    pub(crate) shared: Option<RefCell<Shared<S, C>>>,
    pub(crate) buffers: [SocketBuffers<RX, TX>; SOCKETS],
}

/// The ring buffers of one socket.
#[derive(Clone, Copy)]
pub(crate) struct SocketBuffers<const RX: usize, const TX: usize> {
    pub(crate) rx: [u8; RX],
    pub(crate) tx: [u8; TX],
}

impl<S: Storage, C: Channel, const SOCKETS: usize, const RX: usize, const TX: usize>
    Resources<S, SOCKETS, RX, TX, C>
{
    /// Memory in which there is no node yet.
    pub const fn new() -> Self {
        Self { shared: None, buffers: [SocketBuffers { rx: [0; RX], tx: [0; TX] }; SOCKETS] }
    }
}

impl<S: Storage, C: Channel, const SOCKETS: usize, const RX: usize, const TX: usize> Default
    for Resources<S, SOCKETS, RX, TX, C>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Storage, C: Channel, const SOCKETS: usize, const RX: usize, const TX: usize> fmt::Debug
    for Resources<S, SOCKETS, RX, TX, C>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resources({SOCKETS} sockets of {RX} and {TX} bytes)")
    }
}

#[cfg(feature = "defmt")]
impl<S: Storage, C: Channel, const SOCKETS: usize, const RX: usize, const TX: usize> defmt::Format
    for Resources<S, SOCKETS, RX, TX, C>
{
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Resources({=usize} sockets of {=usize} and {=usize} bytes)", SOCKETS, RX, TX);
    }
}
