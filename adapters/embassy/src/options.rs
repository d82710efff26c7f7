//! How a node is to be.

use core::fmt;
use core::time::Duration;

use kitfox_core::PeerId;
use kitfox_core::connection::Plain;
use kitfox_core::node::{NodeConfig, PeerLimits};
use kitfox_core::secure::{self, Aead, Credentials};
use kitfox_core::storage::Buffer;

use crate::channel::{Protection, Secured};
use crate::entropy::Entropy;

/// What a node is made from. Start with [`secured`](Self::secured) and change what is to be different.
#[allow(clippy::exhaustive_structs)] // written with `..Options::secured(..)`
pub struct Options<'a, C: Protection = Secured> {
    /// Who we are: [`Credentials`] of a secured node, a mere [`PeerId`] of a plain one.
    pub identity: C::Identity,
    /// Where random bytes come from.
    pub entropy: &'a mut dyn Entropy,
    /// The TCP port that all sockets listen on. Default: 7777.
    pub port: u16,
    /// The URL under which peers are told to know us; it must end in our peer id. Default: none, then each peer is
    /// told the address of its own connection, with [`port`](Self::port). A node over a stream that has none tells
    /// `wss://unreachable.invalid:0/<peer id>`, which nobody dials.
    pub advertise: Option<&'a str>,
    /// Limits and deadlines. Default: [`NodeConfig::DEVICE`]; the storage's own sizes are limits too.
    ///
    /// Of the sockets, keep one from strangers: with `max_pending` one less than their number there is always one to
    /// dial with.
    pub config: NodeConfig,
    /// How long a connection that has ended may write what is left and wait for the peer to close too, before its
    /// socket is used again. Default: 2 s.
    pub close_timeout: Duration,
}

impl<'a, B: Buffer, A: Aead> Options<'a, secure::Secured<B, A>> {
    /// The defaults, for a node whose connections are all secured. Our peer id is the key's.
    pub const fn secured(credentials: Credentials, entropy: &'a mut dyn Entropy) -> Self {
        Self::new(credentials, entropy)
    }
}

impl<'a> Options<'a, Plain> {
    /// The defaults, for a node none of whose connections is secured: anybody on the network can read and change what is
    /// said, and claim any id. The id is the last segment of our URLs, and must be one that a URL can carry.
    pub const fn plain(peer_id: PeerId, entropy: &'a mut dyn Entropy) -> Self {
        Self::new(peer_id, entropy)
    }
}

impl<'a, C: Protection> Options<'a, C> {
    const fn new(identity: C::Identity, entropy: &'a mut dyn Entropy) -> Self {
        Self {
            identity,
            entropy,
            port: 7777,
            advertise: None,
            config: NodeConfig::DEVICE,
            close_timeout: Duration::from_secs(2),
        }
    }

    /// These options with other limits of peers and connections.
    #[must_use]
    pub fn peers(mut self, peers: PeerLimits) -> Self {
        self.config.peers = peers;
        self
    }
}

impl<C: Protection> fmt::Debug for Options<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, entropy: _, port, advertise, config, close_timeout } = self;
        f.debug_struct("Options")
            .field("identity", identity)
            .field("port", port)
            .field("advertise", advertise)
            .field("config", config)
            .field("close_timeout", close_timeout)
            .finish_non_exhaustive()
    }
}
