//! The other end: a kitfox-smol node on the loopback interface, which firmware sees as 10.0.2.2.

use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};

use async_channel::{Receiver, Sender, unbounded};
use async_io::Timer;
use futures_lite::future;
use kitfox_core::secure::{Network, SecretKey};
use kitfox_smol::{Down, Handler, Limits, MessageId, Node, NotSentCause, Peer, PeerLimits, Returned};

use super::PATIENCE;

/// The space of all firmware.
pub const SPACE: &[u8] = b"garden";
/// The module that sends back what it receives.
pub const ECHO: &str = "echo";
/// The module that takes commands.
pub const BOARD: &str = "board";

/// What connections are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Wire {
    /// Nothing protects them.
    Plain,
    /// Both ends prove who they are.
    Secured,
}

impl Wire {
    /// The scheme of URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "ws",
            Self::Secured => "wss",
        }
    }

    /// The peer id of a host of this name.
    pub fn id(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Secured => key(name).peer_id().to_string(),
        }
    }

    /// The peer id of the firmware.
    pub fn firmware_id(self) -> &'static str {
        const KEY: &str = include_str!("../../../adapters/embassy/firmware/test.key");
        match self {
            Self::Plain => "firmware",
            Self::Secured => KEY.lines().nth(1).expect("the id is the second line"),
        }
    }

    /// The features that images are built with, besides others.
    pub fn features(self) -> &'static str {
        match self {
            Self::Plain => "plain,",
            Self::Secured => "",
        }
    }
}

/// The key of a host of this name.
fn key(name: &str) -> SecretKey {
    let mut seed = [0; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    SecretKey::from_seed(&seed)
}

/// What a host was told of its peers.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_enums)]
pub enum Told {
    /// A peer is up.
    Up(Peer),
    /// A peer is down.
    Down(Peer, Down),
}

/// A kitfox-smol node that reports what happens.
#[derive(Debug)]
pub struct Host {
    /// The node.
    pub node: Node,
    /// The port that it listens on.
    pub port: u16,
    /// The URL under which firmware reaches it.
    pub url: String,
    told: Receiver<Told>,
    notified: Receiver<Vec<u8>>,
    echoed: Receiver<Vec<u8>>,
    obeyed: Receiver<Vec<u8>>,
    not_sent: Receiver<NotSentCause>,
}

struct Reports(Sender<Told>, Sender<NotSentCause>);

impl Handler for Reports {
    fn peer_up(&self, peer: &Peer) {
        _ = self.0.try_send(Told::Up(peer.clone()));
    }

    fn peer_down(&self, peer: &Peer, down: &Down) {
        _ = self.0.try_send(Told::Down(peer.clone(), down.clone()));
    }

    fn not_sent(&self, _: MessageId, cause: NotSentCause, _: Returned) {
        _ = self.1.try_send(cause);
    }
}

/// What a future gives, unless it takes too long.
///
/// # Panics
/// If it does.
pub async fn within<T>(body: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(PATIENCE).await;
        panic!("not over after {PATIENCE:?}");
    };
    future::or(body, late).await
}

impl Host {
    /// A node on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn new(name: &str, wire: Wire) -> Self {
        for _ in 0..8 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
            // Its own address has to be known before it listens; somebody else may take it in between.
            if let Ok(host) = Self::at(name, wire, free.expect("a free port").port()).await {
                return host;
            }
        }
        panic!("no port stays free");
    }

    /// A node in the place of another one that is gone.
    ///
    /// # Errors
    /// If the place is taken.
    pub async fn at(name: &str, wire: Wire, port: u16) -> Result<Self, kitfox_smol::ListenError> {
        let url = format!("{}://10.0.2.2:{port}/{}", wire.scheme(), wire.id(name));
        let ((tells, told), (gives_up, not_sent)) = (unbounded(), unbounded());
        // Firmware that is switched off is given up quickly.
        let limits = Limits { peers: PeerLimits { attempts: 1, ..PeerLimits::HOST }, ..Limits::default() };
        let node = match wire {
            Wire::Plain => Node::builder().plain(),
            Wire::Secured => Node::builder().key(key(name)).network(Network::new(SPACE)),
        };
        let node = node.handler(Reports(tells, gives_up)).limits(limits).advertise(&url).build();
        let node = node.expect("a sound URL");
        node.listen(&format!("127.0.0.1:{port}")).await?;
        let into = |sender: Sender<Vec<u8>>| {
            move |_: &Peer, data: &[u8]| {
                _ = sender.try_send(data.to_vec());
                Ok(())
            }
        };
        let ((n, notified), (e, echoed), (o, obeyed)) = (unbounded(), unbounded(), unbounded());
        node.register_space(SPACE, into(n)).expect("it is new");
        node.register_module(SPACE, ECHO, into(e)).expect("it is new");
        node.register_module(SPACE, BOARD, into(o)).expect("it is new");
        Ok(Self { node, port, url, told, notified, echoed, obeyed, not_sent })
    }

    /// The next thing that it is told of its peers.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn told(&self) -> Told {
        within(self.told.recv()).await.expect("the node lives")
    }

    /// Waits until a peer is up.
    ///
    /// # Panics
    /// If something else happens first.
    pub async fn up(&self) -> Peer {
        match self.told().await {
            Told::Up(peer) => peer,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a peer is down.
    ///
    /// # Panics
    /// If something else happens first.
    pub async fn down(&self) -> Down {
        match self.told().await {
            Told::Down(_, down) => down,
            other => panic!("{other:?}"),
        }
    }

    /// Whether it was told nothing more.
    pub fn is_at_peace(&self) -> bool {
        self.told.is_empty()
    }

    /// The next notify.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn notified(&self) -> Vec<u8> {
        within(self.notified.recv()).await.expect("the node lives")
    }

    /// The next message to [`ECHO`].
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn echoed(&self) -> Vec<u8> {
        within(self.echoed.recv()).await.expect("the node lives")
    }

    /// Why the next message was handed back.
    ///
    /// # Panics
    /// If none is in time.
    pub async fn not_sent(&self) -> NotSentCause {
        within(self.not_sent.recv()).await.expect("the node lives")
    }

    /// Sends a command and gives the answer.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn command(&self, to: &str, command: &str) -> String {
        self.node.module(to, SPACE, BOARD, command.as_bytes()).expect("room for a command");
        let answer = within(self.obeyed.recv()).await.expect("the node lives");
        String::from_utf8_lossy(&answer).into_owned()
    }
}
