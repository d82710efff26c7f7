//! How a node is to be.

use core::time::Duration;

use kitfox_core::node::{NodeConfig, PeerLimits};

/// What a node is made from. Start with [`new`](Self::new) and change what is to be different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // written with `..Options::new(..)`
pub struct Options<'a> {
    /// The text of our peer id, the last segment of our URLs: 1 to 64 bytes that a URL can carry.
    pub peer_id: &'a str,
    /// A number that strangers cannot guess, different at each start: it seeds hashes and the jitter of retries.
    pub seed: u64,
    /// The TCP port that all sockets listen on. Default: 7777.
    pub port: u16,
    /// The URL under which peers are told to know us; it must end in the peer id. Default: none, then each peer is
    /// told the address of its own connection, with [`port`](Self::port). A node over a stream that has none tells
    /// `ws://unreachable.invalid:0/<peer id>`, which nobody dials.
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

impl<'a> Options<'a> {
    /// The defaults, for a node with this id and this seed.
    pub const fn new(peer_id: &'a str, seed: u64) -> Self {
        Self {
            peer_id,
            seed,
            port: 7777,
            advertise: None,
            config: NodeConfig::DEVICE,
            close_timeout: Duration::from_secs(2),
        }
    }

    /// These options with other limits of peers and connections.
    #[must_use]
    pub const fn peers(mut self, peers: PeerLimits) -> Self {
        self.config.peers = peers;
        self
    }
}
