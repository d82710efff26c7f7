//! How a node is made.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kitfox_core::node::{NodeConfig, PeerLimits};
use kitfox_core::secure::{Credentials, HOST_RECORD_BYTES, Network, SecretKey};
use kitfox_core::wire::{PathRule, PeerUrl, UrlError, UrlRules};
use kitfox_core::{Config, PeerId, RouterLimits};

use crate::handler::{Handler, NoHandler};
use crate::key_file::new_key;
use crate::node::{Node, Setup, Shared};
use crate::security::Security;
use crate::taped::Tape;

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) type Spawner = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Limits of a node as a whole; those of one connection are in [`Config`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // written with `..Limits::default()`
pub struct Limits {
    /// Peers, connections, connections whose gate is not open, attempts to dial and their deadlines. Default:
    /// [`PeerLimits::HOST`].
    pub peers: PeerLimits,
    /// Bytes that wait in all outboxes together, those of messages that are being handed back included. Default: 1 GiB.
    pub max_send_bytes: usize,
    /// Bytes that the frame buffers of all connections may own together: the connection whose read passes it is closed.
    /// Default: 1 GiB.
    pub max_receive_bytes: usize,
    /// How long [`Node::shutdown`] lets connections write what is queued. Default: 5 s.
    pub shutdown_timeout: Duration,
    /// Spaces, modules, block rules and counters. Default: [`RouterLimits::HOST`].
    pub router: RouterLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: PeerLimits::HOST,
            max_send_bytes: 1 << 30,
            max_receive_bytes: NodeConfig::HOST.max_receive_bytes,
            shutdown_timeout: Duration::from_secs(5),
            router: RouterLimits::HOST,
        }
    }
}

/// Makes a [`Node`]. All settings have defaults.
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    config: Config,
    limits: Limits,
    peer_id: Option<String>,
    advertise: Option<String>,
    handler: Arc<dyn Handler>,
    spawner: Option<Spawner>,
    plain: bool,
    key: Option<SecretKey>,
    network: Network,
    max_record_bytes: u16,
    #[cfg(feature = "record")]
    record: Option<std::path::PathBuf>,
    #[cfg(feature = "record")]
    record_max_bytes: u64,
}

/// Why a node was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The peer id cannot be the last segment of a URL, or has not 1 to 64 bytes.
    PeerId,
    /// The advertised URL is not one.
    AdvertisedUrl(UrlError),
    /// The advertised URL does not end in the peer id.
    AdvertisedId,
    /// The advertised URL asks for the other kind of connection: those of a plain node are `ws` or `http`, all others
    /// `wss` or `https`.
    AdvertisedScheme,
    /// A peer id was set for a node that is not plain, or a key for one that is: the key's id is the peer's.
    IdAndKey,
    /// There is no spawner: the feature `pool` is off and the builder was given none.
    NoSpawner,
    /// The system gave no random numbers.
    Random(getrandom::Error),
    /// The file for the recording exists already, or cannot be written.
    #[cfg(feature = "record")]
    Record(std::io::Error),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            config: Config::HOST,
            limits: Limits::default(),
            peer_id: None,
            advertise: None,
            handler: Arc::new(NoHandler),
            spawner: None,
            plain: false,
            key: None,
            network: Network::default(),
            max_record_bytes: HOST_RECORD_BYTES,
            #[cfg(feature = "record")]
            record: None,
            #[cfg(feature = "record")]
            record_max_bytes: 1 << 30,
        }
    }

    /// Makes a node whose connections are not secured: everybody on their way can read and change what is said, and
    /// peers only claim their ids. Such a node neither dials secured peers nor is it dialled by them; a node without
    /// this never makes or takes a plain connection.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// The key of a secured node: its id is our peer id. Default: a key for this run only.
    pub fn key(mut self, key: SecretKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The network of a secured node. Nodes of different networks do not understand each other. Default: the one
    /// without a name.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Longest text of a record that a secured node takes, in bytes: 256 at least, 65,519 at most. Each connection
    /// may own twice as much memory for them, while it is busy. Default: 16 KiB.
    pub fn max_record_bytes(mut self, bytes: u16) -> Self {
        self.max_record_bytes = bytes;
        self
    }

    /// Limits and deadlines of each connection. Default: [`Config::HOST`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Limits of the node as a whole.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The text of a plain node's peer id, the last segment of our URLs. Default: 64 random hex digits.
    pub fn peer_id(mut self, id: impl Into<String>) -> Self {
        self.peer_id = Some(id.into());
        self
    }

    /// The URL under which peers are told to know us. It must end in the peer id; if none was set, its id is ours.
    /// Default: what each connection shows, from the addresses that the node listens on.
    pub fn advertise(mut self, url: impl Into<String>) -> Self {
        self.advertise = Some(url.into());
        self
    }

    /// Who decides and is told about connections. Default: [`NoHandler`], which accepts everybody.
    pub fn handler(mut self, handler: impl Handler) -> Self {
        self.handler = Arc::new(handler);
        self
    }

    /// Where tasks run. The spawner is called from any thread, also from inside other tasks, and must see that the
    /// future it is given is polled until it ends. Default: a pool of threads for the whole process (feature `pool`).
    ///
    /// ```
    /// use kitfox_smol::Node;
    ///
    /// let node = Node::builder().spawner(|task| smol::spawn(task).detach()).build()?;
    /// # Ok::<(), kitfox_smol::BuildError>(())
    /// ```
    pub fn spawner(mut self, spawner: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        self.spawner = Some(Arc::new(spawner));
        self
    }

    /// Records all that goes into the node's core in a new file, which only its owner can read: a secret, see
    /// [`crate::record`]. The recording ends with [`Node::shutdown`], or when the node is gone. A secured node is
    /// replayed with its [`key`](Self::key), which has to be kept for that. Whoever uses the node waits for the file now
    /// and then. Default: nothing is recorded.
    #[cfg(feature = "record")]
    pub fn record(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.record = Some(path.into());
        self
    }

    /// The most bytes that a recording may have. Then it ends, and the node goes on:
    /// [`Node::recording`] tells of it. Default: 1 GiB.
    #[cfg(feature = "record")]
    pub fn record_max_bytes(mut self, bytes: u64) -> Self {
        self.record_max_bytes = bytes;
        self
    }

    /// Makes the node. It neither listens nor dials yet.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<Node, BuildError> {
        let advertised = match &self.advertise {
            Some(url) => Some(PeerUrl::parse(url, &self.config.url).map_err(BuildError::AdvertisedUrl)?),
            None => None,
        };
        let advertised_id = advertised.and_then(|url| url.peer_id());
        if advertised.is_some_and(|url| url.uses_tls() == self.plain) {
            return Err(BuildError::AdvertisedScheme);
        }
        let (peer_id, security) = match (self.plain, self.peer_id, self.key) {
            (true, Some(id), None) => (id, Security::Plain),
            (true, None, None) => match advertised_id {
                Some(id) => (id.to_owned(), Security::Plain),
                None => (random_id()?, Security::Plain),
            },
            (false, None, key) => {
                let key = match key {
                    Some(key) => key,
                    None => new_key().map_err(BuildError::Random)?,
                };
                let (network, max_record_bytes) = (self.network, self.max_record_bytes);
                let id = key.peer_id().to_string();
                (id, Security::Secured(Box::new(Credentials { key, network, max_record_bytes })))
            }
            (true, _, Some(_)) | (false, Some(_), _) => return Err(BuildError::IdAndKey),
        };
        let id = usable_id(&peer_id).ok_or(BuildError::PeerId)?;
        if advertised.is_some() && advertised_id.and_then(PeerId::new) != Some(id) {
            return Err(BuildError::AdvertisedId);
        }
        let spawner = self.spawner.or_else(default_spawner).ok_or(BuildError::NoSpawner)?;
        let seed = getrandom::u64().map_err(BuildError::Random)?;
        let setup = Setup { peer_id, id, advertise: self.advertise, seed, security };
        #[cfg(feature = "record")]
        let tape = match &self.record {
            Some(path) => {
                crate::record::start(path, self.record_max_bytes, &self.config, &self.limits, &setup)
                    .map_err(BuildError::Record)?
            }
            None => Tape::default(),
        };
        #[cfg(not(feature = "record"))]
        let tape = Tape::default();
        Ok(Node::new(Shared::new(self.config, self.limits, setup, self.handler, spawner, tape)))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("limits", &self.limits)
            .field("peer_id", &self.peer_id)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}

fn random_id() -> Result<String, BuildError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(BuildError::Random)?;
    Ok(PeerId::from_key(bytes).to_string())
}

/// An id that a URL can carry as its last segment.
fn usable_id(id: &str) -> Option<PeerId> {
    let rules = UrlRules { path: PathRule::SingleSegment, ..UrlRules::default() };
    let url = format!("ws://a:1/{id}");
    let url = PeerUrl::parse(&url, &rules).ok()?;
    if url.peer_id() == Some(id) { PeerId::new(id) } else { None }
}

#[cfg(feature = "pool")]
fn default_spawner() -> Option<Spawner> {
    Some(Arc::new(crate::pool::spawn))
}

#[cfg(not(feature = "pool"))]
fn default_spawner() -> Option<Spawner> {
    None
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerId => f.write_str("the peer id cannot be the last segment of a URL"),
            Self::AdvertisedUrl(error) => write!(f, "advertised URL: {error}"),
            Self::AdvertisedId => f.write_str("the advertised URL does not end in the peer id"),
            Self::AdvertisedScheme => f.write_str("the advertised URL is for another kind of connection"),
            Self::IdAndKey => f.write_str("a plain node has a peer id, any other one a key"),
            Self::NoSpawner => f.write_str("no spawner was given"),
            Self::Random(error) => write!(f, "no random numbers: {error}"),
            #[cfg(feature = "record")]
            Self::Record(error) => write!(f, "the file for the recording: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}
