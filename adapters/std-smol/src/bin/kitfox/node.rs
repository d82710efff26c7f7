//! Makes the node of a command from what the command line says about its identity.

use std::net::IpAddr;
use std::path::PathBuf;

use kitfox_smol::core::storage::BufferLimits;
use kitfox_smol::core::wire::{PeerUrl, UrlRules};
use kitfox_smol::{BuildError, Builder, Config, Limits, Network, Node, PeerLimits};

use crate::failure::Failure;
use crate::keygen;

/// Queues hold two of the largest messages, but not less than this.
const MIN_QUEUE_BYTES: usize = 1 << 20;

/// Which URLs are for which connections.
pub(crate) const SCHEMES: &str = "; URLs of plain nodes begin with ws://, all others with wss://";

/// Who a node is, and how it proves that.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// Nothing is proven or hidden.
    pub(crate) plain: bool,
    /// The id of a plain node; a random one without it.
    pub(crate) id: Option<String>,
    /// The file with the key of a secured node; a key for this run without it.
    pub(crate) key: Option<PathBuf>,
    /// The network of a secured node.
    pub(crate) network: Option<Vec<u8>>,
}

impl Identity {
    /// Says no to what has no meaning.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.plain && (self.key.is_some() || self.network.is_some()) {
            return Err(Failure::usage(
                "--key and --network are for secured connections, and --plain is for others: leave out one or the other",
            ));
        }
        if !self.plain && self.id.is_some() {
            return Err(Failure::usage(
                "--id is for plain nodes, with --plain; the id of a secured node is that of its key: --key FILE",
            ));
        }
        Ok(())
    }

    /// Says no to the URL of a peer that is for another kind of connection.
    pub(crate) fn check_peer(&self, url: &str) -> Result<(), Failure> {
        let secured = PeerUrl::parse(url, &UrlRules::default()).is_ok_and(|url| url.uses_tls());
        match (self.plain, secured) {
            (true, true) => Err(Failure::usage(format!(
                "{url} is the URL of a secured peer: leave out --plain; that of a plain peer begins with ws://"
            ))),
            (false, false) => Err(Failure::usage(format!(
                "{url} is the URL of a plain peer: add --plain if you trust the network; that of a secured peer begins \
                 with wss://"
            ))),
            _ => Ok(()),
        }
    }

    /// The node.
    pub(crate) fn node(&self, build: impl FnOnce(Builder) -> Builder) -> Result<Node, Failure> {
        let mut builder = Node::builder();
        if self.plain {
            builder = builder.plain();
        }
        if let Some(id) = &self.id {
            builder = builder.peer_id(id);
        }
        if let Some(file) = &self.key {
            builder = builder.key(keygen::load(file)?);
        }
        if let Some(name) = &self.network {
            builder = builder.network(Network::new(name));
        }
        build(builder).build().map_err(|error| match error {
            BuildError::PeerId => Failure::usage(
                "--id takes the 64 hex digits of a key, or another text of 1 to 64 characters that can end a URL",
            ),
            BuildError::AdvertisedUrl(error) => Failure::usage(format!("--advertise takes a peer's URL: {error}")),
            BuildError::AdvertisedId => {
                Failure::usage("the URL of --advertise ends in the node's id: that of --key, or of --id where it is plain")
            }
            BuildError::AdvertisedScheme => Failure::usage(format!("--advertise: {error}{SCHEMES}")),
            BuildError::Record(error) => Failure::usage(format!(
                "--record: {error}; a file that exists is left as it is, and the directory must be there"
            )),
            other => Failure::usage(other.to_string()),
        })
    }

    /// Says on standard error what a plain connection means where others can see it.
    pub(crate) fn warn(&self, addr: &str) {
        if self.plain && !is_loopback(addr) {
            eprintln!(
                "warning: {addr} is not on this machine, and plain connections hide and prove nothing: whoever is on \
                 the way can read and change every message, and claim every id"
            );
        }
    }
}

/// Limits of each connection.
pub(crate) fn config(max_frame_bytes: Option<usize>) -> Config {
    let Some(max_frame_bytes) = max_frame_bytes else { return Config::HOST };
    let queue =
        BufferLimits { min_bytes: 0, max_bytes: max_frame_bytes.saturating_mul(2).max(MIN_QUEUE_BYTES) };
    Config {
        max_frame_bytes,
        rx_buffer: BufferLimits { min_bytes: 0, max_bytes: max_frame_bytes },
        tx_queue: queue,
        outbox: queue,
        ..Config::HOST
    }
}

/// Limits of the node.
pub(crate) fn limits(max_connections: Option<usize>) -> Limits {
    let host = PeerLimits::HOST;
    let peers = PeerLimits { max_connections: max_connections.unwrap_or(host.max_connections), ..host };
    Limits { peers, ..Limits::default() }
}

/// Whether `host:port`, or the host of a peer's URL, is this machine's own.
fn is_loopback(addr: &str) -> bool {
    let host = match PeerUrl::parse(addr, &UrlRules::default()) {
        Ok(url) => url.host(),
        Err(_) => addr.rsplit_once(':').map_or(addr, |(host, _)| host),
    };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for addr in ["127.0.0.1:0", "[::1]:80", "localhost:1", "[::ffff:127.0.0.1]:1", "ws://127.9.9.9:1/a"] {
            assert!(is_loopback(addr), "{addr}");
        }
        for addr in ["0.0.0.0:0", "[::]:0", "10.0.0.1:1", "localhost.example:1", "ws://fox.example:1/a"] {
            assert!(!is_loopback(addr), "{addr}");
        }
    }
}
