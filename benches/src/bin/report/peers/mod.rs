//! The peers: how a connection of each is opened, and which program can do it.

mod acceptors;
#[cfg(feature = "iroh")]
mod iroh;
#[cfg(feature = "libp2p")]
mod libp2p;
#[cfg(feature = "peerlink")]
mod peerlink;
#[cfg(any(feature = "iroh", feature = "libp2p"))]
mod streams;
#[cfg(feature = "zenoh")]
mod zenoh;

use std::any::Any;

use kitfox_benches::peers::kitfox::{Kind, Kitfox};
use kitfox_benches::peers::noise::Noise;
use kitfox_benches::peers::raw::Raw;
use kitfox_benches::peers::{Fault, Link};

/// Which program measures a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The one that runs.
    This,
    /// The one with the cipher of crate `ring`.
    Ring,
}

/// One column of the report.
pub(crate) struct Peer {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its name in the report.
    pub(crate) title: &'static str,
    /// How its messages are sent.
    pub(crate) how: &'static str,
    pub(crate) program: Program,
    pub(crate) open: fn() -> Result<Box<dyn Link>, Fault>,
    /// How it idles, if that is measured.
    pub(crate) idle: Option<Idle>,
    /// Whether all instructions of both its ends are counted.
    pub(crate) whole: bool,
}

/// A program that accepts connections, and one that dials many.
#[derive(Clone, Copy)]
pub(crate) struct Idle {
    pub(crate) accept: fn() -> Result<Box<dyn Acceptor>, Fault>,
    /// Opens so many connections with what is at the address; they stay open while what is returned lives.
    pub(crate) dial: fn(&str, usize) -> Result<Open, Fault>,
}

/// Connections that stay open while it lives.
pub(crate) type Open = Box<dyn Any>;

/// What others connect to.
pub(crate) trait Acceptor {
    fn address(&self) -> String;
    /// Connections that are fully open.
    fn open(&self) -> usize;
}

/// The peer with this name.
pub(crate) fn find(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

/// Instead of a peer that this program was built without.
#[allow(dead_code)] // with all features
fn absent(feature: &str) -> Result<Box<dyn Link>, Fault> {
    Err(format!("built without feature `{feature}`").into())
}

/// A peer whose cipher depends on how this program was built.
fn with_cipher(ring: bool, open: fn() -> Result<Box<dyn Link>, Fault>) -> Result<Box<dyn Link>, Fault> {
    if ring == cfg!(feature = "ring") { open() } else { Err("this program has the other cipher".into()) }
}

const KITFOX_HOW: &str = "one call of `module` a message; a handler counts";
const NOISE_HOW: &str = "frames in records of up to 64 KiB, a write a record";
#[allow(dead_code)] // without both of those features
const STREAM_HOW: &str = "one stream, a write a message";

/// All of them, in the order of the report. The first one is what the others are compared with.
pub(crate) static PEERS: [Peer; 10] = [
    Peer {
        name: "raw",
        title: "raw smol",
        how: "frames in writes of up to 64 KiB; only bytes are counted",
        program: Program::This,
        open: || Ok(Box::new(Raw::open()?)),
        idle: Some(Idle { accept: acceptors::raw, dial: acceptors::dial_raw }),
        whole: true,
    },
    Peer {
        name: "kitfox",
        title: "kitfox plain",
        how: KITFOX_HOW,
        program: Program::This,
        open: || Ok(Box::new(Kitfox::open(Kind::Plain)?)),
        idle: Some(Idle { accept: acceptors::plain, dial: acceptors::dial_plain }),
        whole: true,
    },
    Peer {
        name: "peerlink",
        title: "peerlink (plain)",
        how: "one command a message, 1 MiB under way at most; the reactor's events are counted",
        program: Program::This,
        #[cfg(feature = "peerlink")]
        open: peerlink::open,
        #[cfg(not(feature = "peerlink"))]
        open: || absent("peerlink"),
        idle: None,
        whole: true,
    },
    Peer {
        name: "zenoh",
        title: "zenoh TCP (plain)",
        how: "one `put` a message, blocking when congested; a subscriber's callback counts",
        program: Program::This,
        #[cfg(feature = "zenoh")]
        open: zenoh::open,
        #[cfg(not(feature = "zenoh"))]
        open: || absent("zenoh"),
        idle: None,
        whole: false,
    },
    Peer {
        name: "noise",
        title: "raw + Noise, RustCrypto",
        how: NOISE_HOW,
        program: Program::This,
        open: || with_cipher(false, || Ok(Box::new(Noise::open()?))),
        idle: None,
        whole: false,
    },
    Peer {
        name: "kitfox-secured",
        title: "kitfox secured, RustCrypto",
        how: KITFOX_HOW,
        program: Program::This,
        open: || with_cipher(false, || Ok(Box::new(Kitfox::open(Kind::Secured)?))),
        idle: Some(Idle { accept: acceptors::secured, dial: acceptors::dial_secured }),
        whole: true,
    },
    Peer {
        name: "noise-ring",
        title: "raw + Noise, ring",
        how: NOISE_HOW,
        program: Program::Ring,
        open: || with_cipher(true, || Ok(Box::new(Noise::open()?))),
        idle: None,
        whole: false,
    },
    Peer {
        name: "kitfox-ring",
        title: "kitfox secured, ring",
        how: KITFOX_HOW,
        program: Program::Ring,
        open: || with_cipher(true, || Ok(Box::new(Kitfox::open(Kind::Secured)?))),
        idle: None,
        whole: false,
    },
    Peer {
        name: "libp2p",
        title: "libp2p TCP+noise+yamux",
        how: STREAM_HOW,
        program: Program::This,
        #[cfg(feature = "libp2p")]
        open: libp2p::open,
        #[cfg(not(feature = "libp2p"))]
        open: || absent("libp2p"),
        #[cfg(feature = "libp2p")]
        idle: Some(Idle { accept: libp2p::accept, dial: libp2p::dial }),
        #[cfg(not(feature = "libp2p"))]
        idle: None,
        whole: false,
    },
    Peer {
        name: "iroh",
        title: "iroh (QUIC)",
        how: STREAM_HOW,
        program: Program::This,
        #[cfg(feature = "iroh")]
        open: iroh::open,
        #[cfg(not(feature = "iroh"))]
        open: || absent("iroh"),
        idle: None,
        whole: false,
    },
];
