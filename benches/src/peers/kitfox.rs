//! Two nodes of kitfox-smol.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kitfox_smol::{Node, Peer, Refused, SendError};

use super::{ECHO_BYTES, Fault, Link, PATIENCE};

/// The one space of these nodes.
pub const SPACE: &[u8] = &[7; 32];
/// The one module in it.
pub const MODULE: &str = "measured";

/// What the connections of a node are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everybody on the way can read and change what is said.
    Plain,
    /// With the cipher of RustCrypto, or of crate `ring` with the feature of that name.
    Secured,
}

/// Two nodes that are connected.
#[derive(Debug)]
pub struct Kitfox {
    alice: Node,
    bob: Node,
    bob_url: String,
    /// Messages that have not come to bob yet.
    left: Arc<AtomicUsize>,
    /// When the last of them came.
    last: mpsc::Receiver<Instant>,
    /// What came back to alice.
    back: mpsc::Receiver<()>,
}

/// A node that listens on loopback, and its URL.
///
/// # Errors
/// Those of kitfox.
pub fn listening(kind: Kind) -> Result<(Node, String), Fault> {
    let builder = Node::builder();
    let builder = if kind == Kind::Plain { builder.plain() } else { builder };
    let node = builder.build()?;
    let url = smol::block_on(node.listen("127.0.0.1:0"))?;
    Ok((node, url))
}

impl Kitfox {
    /// Makes the nodes and connects them.
    ///
    /// # Errors
    /// Those of kitfox.
    pub fn open(kind: Kind) -> Result<Self, Fault> {
        let ((alice, _), (bob, bob_url)) = (listening(kind)?, listening(kind)?);
        let left = Arc::new(AtomicUsize::new(0));
        let (told, last) = mpsc::channel();
        let counter = Arc::clone(&left);
        let weak = bob.downgrade();
        // What comes to the space goes back, from inside the delivery; what comes to the module is counted.
        bob.register_space(SPACE, move |from: &Peer, data: &[u8]| {
            let Some(bob) = weak.upgrade() else { return Ok(()) };
            bob.module(from.url(), SPACE, MODULE, data).map(drop).map_err(|_| Refused)
        })?;
        bob.register_module(SPACE, MODULE, move |_: &Peer, _: &[u8]| {
            if counter.fetch_sub(1, Ordering::AcqRel) == 1 {
                let _ = told.send(Instant::now());
            }
            Ok(())
        })?;
        let (told, back) = mpsc::channel();
        alice.register_space(SPACE, |_: &Peer, _: &[u8]| Ok(()))?;
        alice.register_module(SPACE, MODULE, move |_: &Peer, _: &[u8]| {
            let _ = told.send(());
            Ok(())
        })?;
        smol::block_on(alice.connect(&bob_url))?;
        Ok(Self { alice, bob, bob_url, left, last, back })
    }
}

impl Drop for Kitfox {
    fn drop(&mut self) {
        smol::block_on(async {
            self.alice.shutdown().await;
            self.bob.shutdown().await;
        });
    }
}

impl Link for Kitfox {
    fn send(&mut self, bytes: usize, messages: usize) -> Result<Duration, Fault> {
        let data = vec![7; bytes];
        let peer = self.alice.peer(&self.bob_url)?;
        self.left.store(messages, Ordering::Release);
        let start = Instant::now();
        smol::block_on(async {
            for _ in 0..messages {
                while let Err(error) = peer.module(SPACE, MODULE, &data) {
                    if error != SendError::Backpressure {
                        return Err(Fault::from(error));
                    }
                    self.alice.ready(&self.bob_url, bytes + 100).await?;
                }
            }
            Ok(())
        })?;
        Ok(self.last.recv_timeout(PATIENCE)?.duration_since(start))
    }

    fn round_trips(&mut self, count: usize) -> Result<Vec<Duration>, Fault> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.alice.notify(&self.bob_url, SPACE, &[7; ECHO_BYTES])?;
            self.back.recv_timeout(PATIENCE)?;
            times.push(start.elapsed());
        }
        Ok(times)
    }
}
