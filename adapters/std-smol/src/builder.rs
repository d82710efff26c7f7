//! How a node is made.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kitfox_core::node::{NodeConfig, PeerLimits};
use kitfox_core::wire::{PathRule, PeerUrl, UrlError, UrlRules};
use kitfox_core::{Config, PeerId, RouterLimits};

use crate::handler::{Handler, NoHandler};
use crate::node::{Node, Setup, Shared};

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
    /// There is no spawner: the feature `pool` is off and the builder was given none.
    NoSpawner,
    /// The system gave no random numbers.
    Random(getrandom::Error),
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
        }
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

    /// The text of our peer id, the last segment of our URLs. Default: 64 random hex digits.
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
        let peer_id = match self.peer_id {
            Some(id) => id,
            None => match advertised_id {
                Some(id) => id.to_owned(),
                None => random_id()?,
            },
        };
        let id = usable_id(&peer_id).ok_or(BuildError::PeerId)?;
        if advertised.is_some() && advertised_id.and_then(PeerId::new) != Some(id) {
            return Err(BuildError::AdvertisedId);
        }
        let spawner = self.spawner.or_else(default_spawner).ok_or(BuildError::NoSpawner)?;
        let seed = getrandom::u64().map_err(BuildError::Random)?;
        let setup = Setup { peer_id, id, advertise: self.advertise, seed };
        Ok(Node::new(Shared::new(self.config, self.limits, setup, self.handler, spawner)))
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
            Self::NoSpawner => f.write_str("no spawner was given"),
            Self::Random(error) => write!(f, "no random numbers: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}
