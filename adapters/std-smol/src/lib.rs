//! kitfox on async-io sockets: a peer-to-peer transport that speaks Kitsune2's wire, for smol and any other executor.
//!
//! A [`Node`] listens and dials, asks a [`Handler`] who may connect, and delivers messages to the handlers of spaces
//! and modules. All rules stand in `kitfox-core`; here are sockets, tasks and time.
//!
//! ```
//! use kitfox_smol::{Node, Peer};
//!
//! # futures_lite::future::block_on(async {
//! let alice = Node::builder().build()?;
//! let bob = Node::builder().build()?;
//! let url = bob.listen("127.0.0.1:0").await?;
//!
//! let (heard, hears) = std::sync::mpsc::channel();
//! alice.register_space(b"garden", |_: &Peer, _: &[u8]| Ok(()))?;
//! bob.register_space(b"garden", move |from: &Peer, data: &[u8]| {
//!     let _ = heard.send((from.url().to_owned(), data.to_vec()));
//!     Ok(())
//! })?;
//!
//! // Nobody has to connect: the message waits until bob is reached and both have accepted each other.
//! alice.notify(&url, b"garden", b"it rains")?;
//! assert_eq!(hears.recv()?.1, b"it rains");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # One connection a peer, and nothing lost
//!
//! There is one connection with each peer, whoever dialled, and however often it has to be made again. A message that is
//! accepted has one fate, and it is told: it is *written* on a connection that stays open; or it is *unknown*, written on
//! a connection that has ended, and [`Down::unknown`] has its number; or it is *not sent*, and
//! [`Handler::not_sent`] hands it back. It arrives once at most, and in order. Without a fault nothing is lost.
//!
//! [`Handler::peer_up`], the messages of the peer and [`Handler::peer_down`] come one after another, in the reader's
//! task; a peer that comes back on another connection is not told of before its last session was. What belongs to no
//! session comes from a task of its own, in order.
//!
//! # Limits
//!
//! [`Limits`] bound peers, connections, those whose gate is not open, and the memory of the whole node in both
//! directions; [`Config`] bounds each connection and each peer's outbox. Reaching one is a typed error or reason, and is
//! counted in [`Totals`].
//!
//! # Threads and executors
//!
//! Each connection is two tasks: one reads, routes and calls handlers, one writes. The tasks run wherever the
//! [spawner](Builder::spawner) puts them; nothing here depends on a particular executor. The default (feature `pool`)
//! is one `async-executor` for the whole process with a thread for each core, started when it is first needed.
//! Futures of this crate may be awaited on any executor.
//!
//! A message to a connected peer takes that peer's lock, and two that many hold at once to look; the one lock of the peer
//! table is for peers that come and go. No lock is held while a handler runs, so a handler may send, register, block and
//! disconnect. It is called in the reader's task: a slow handler slows its own peer down, through TCP, and nobody else as
//! long as the executor has a thread to spare.
#![forbid(unsafe_code)]
// This crate is std throughout; the lints are for the core.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)]

mod addr;
mod book;
mod boxed;
mod builder;
#[cfg(feature = "ring")]
mod cipher;
mod connection;
mod dial;
mod error;
mod events;
mod handler;
mod key_file;
mod link;
mod listener;
mod mailbox;
mod node;
#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "record")]
pub mod record;
mod registry;
mod security;
mod send;
mod space;
mod stats;
mod taped;
mod time;

pub use builder::{BoxFuture, BuildError, Builder, Limits};
pub use error::{BlockError, ConnectError, ListenError, NotConnected, SendError, Unsent};
pub use handler::{Closing, Down, Handler, ModuleHandler, NoHandler, Peer, Refused, Returned, SpaceHandler};
pub use key_file::{KeyFileError, create_key, load_key, new_key, write_provisioned};
pub use node::{Node, WeakNode};
pub use send::PeerHandle;
pub use space::{Incoming, MessageStream, Module, Space, WeakSpace};
pub use stats::{BlockedStats, ConnectionStats, Direction, Stats, Totals};

pub use bytes::Bytes;
pub use kitfox_core as core;
pub use kitfox_core::connection::{CloseReason, NotDialable, Numbers, Refusal, Timeout};
pub use kitfox_core::node::{DownCause, MessageId, NotSentCause, PeerKey, PeerLimits, PendingPolicy};
pub use kitfox_core::router::{DropReason, RegisterError, SendRefused};
pub use kitfox_core::secure::{KeyError, Network, SecretKey};
pub use kitfox_core::{CapacityError, Config, PeerId, RouterLimits};
