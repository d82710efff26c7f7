#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

#[macro_use]
mod fmt;

mod addr;
mod channel;
mod drive;
mod entropy;
mod error;
mod handler;
mod inbox;
mod names;
mod node;
mod options;
mod resources;
mod runner;
mod stats;
mod stream;
mod tcp;
mod time;
mod wakers;

pub use channel::{Protection, RECORD_BUFFER_BYTES, Secured};
pub use entropy::{Entropy, NoEntropy};
pub use error::{BlockError, BuildError, NotConnected, SendError};
pub use handler::{Down, Handler, Incoming, NoHandler, Ops, Refused};
pub use inbox::{Inbox, Letter};
pub use node::{MAX_WAITING_TASKS, Node};
pub use options::Options;
pub use resources::Resources;
pub use runner::{Runner, new};
pub use stats::{Stats, Totals};
pub use stream::{StreamRunner, new_stream};

pub use kitfox_core as core;
pub use kitfox_core::connection::{CloseReason, NotDialable, Numbers, Plain, Refusal, Role, Timeout};
pub use kitfox_core::fixed;
pub use kitfox_core::node::{
    ConnectionId, DownCause, MessageId, NodeConfig, NotSentCause, PeerKey, PeerLimits, PendingPolicy,
};
pub use kitfox_core::router::{RegisterError, SendRefused};
pub use kitfox_core::secure::{Credentials, DEVICE_RECORD_BYTES, KeyError, Network, SecretKey};
pub use kitfox_core::{CapacityError, Config, Peer, PeerId, RouterLimits};
