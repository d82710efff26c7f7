//! rust-libp2p over TCP with Noise and Yamux, on tokio.

use std::convert::identity;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use kitfox_benches::peers::{Fault, Link, PATIENCE};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream::Behaviour;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::streams::{Pipe, Streams};
use super::{Acceptor, Open};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/measured");
/// Longer than any measurement.
const IDLE: Duration = Duration::from_secs(3600);

fn swarm() -> Result<Swarm<Behaviour>, Fault> {
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| Behaviour::new())?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}

/// Listens on loopback, and waits for the address.
async fn listen(swarm: &mut Swarm<Behaviour>) -> Result<Multiaddr, Fault> {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return Ok(address);
        }
    }
}

pub(crate) fn open() -> Result<Box<dyn Link>, Fault> {
    let both = async {
        let (mut alice, mut bob) = (swarm()?, swarm()?);
        let address = listen(&mut bob).await?;
        let bob_id = *bob.local_peer_id();
        let mut incoming = bob.behaviour().new_control().accept(PROTOCOL)?;
        let mut control = alice.behaviour().new_control();
        alice.dial(DialOpts::peer_id(bob_id).addresses(vec![address]).build())?;
        for mut swarm in [alice, bob] {
            tokio::spawn(async move {
                loop {
                    swarm.select_next_some().await;
                }
            });
        }
        let mut here = control.open_stream(bob_id, PROTOCOL).await?;
        // The other end learns of a stream by the first bytes on it.
        here.write_all(&[1]).await?;
        AsyncWriteExt::flush(&mut here).await?;
        let (_, mut there) = incoming.next().await.ok_or("no stream came")?;
        there.read_exact(&mut [0]).await?;
        Ok((here, there, incoming))
    };
    Ok(Box::new(Streams::open(both, Runtime::new()?)?))
}

impl Pipe for Stream {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.write_all(bytes).await?)
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        Ok(AsyncWriteExt::flush(self).await?)
    }

    async fn take(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        match self.read(bytes).await? {
            0 => Err("the stream has ended".into()),
            read => Ok(read),
        }
    }
}

/// A swarm that counts its connections.
struct Hub {
    _runtime: Runtime,
    address: String,
    open: Arc<AtomicUsize>,
}

impl Acceptor for Hub {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

pub(crate) fn accept() -> Result<Box<dyn Acceptor>, Fault> {
    let (runtime, open) = (Runtime::new()?, Arc::new(AtomicUsize::new(0)));
    let (mut swarm, address) = runtime.block_on(async {
        let mut swarm = swarm()?;
        let address = timeout(PATIENCE, listen(&mut swarm)).await??;
        Ok::<_, Fault>((swarm, address))
    })?;
    let address = format!("{address} {}", swarm.local_peer_id());
    let counted = Arc::clone(&open);
    runtime.spawn(async move {
        loop {
            if let SwarmEvent::ConnectionEstablished { .. } = swarm.select_next_some().await {
                counted.fetch_add(1, Ordering::AcqRel);
            }
        }
    });
    Ok(Box::new(Hub { _runtime: runtime, address, open }))
}

/// Connections of one swarm with the same peer, a few at a time.
pub(crate) fn dial(address: &str, count: usize) -> Result<Open, Fault> {
    const AT_A_TIME: usize = 32;
    let (address, id) = address.split_once(' ').ok_or("an address and an id")?;
    let (address, id): (Multiaddr, PeerId) = (address.parse()?, id.parse()?);
    let runtime = Runtime::new()?;
    let (told, all) = oneshot::channel();
    runtime.spawn(async move {
        let mut swarm = swarm()?;
        let another = |swarm: &mut Swarm<Behaviour>| {
            let options = DialOpts::peer_id(id).condition(PeerCondition::Always);
            swarm.dial(options.addresses(vec![address.clone()]).build())
        };
        let (mut dialled, mut done, mut told) = (0, 0, Some(told));
        while dialled < count.min(AT_A_TIME) {
            another(&mut swarm)?;
            dialled += 1;
        }
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => done += 1,
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(Fault::from(error)),
                _ => continue,
            }
            if dialled < count {
                another(&mut swarm)?;
                dialled += 1;
            } else if done == count
                && let Some(told) = told.take()
            {
                let _ = told.send(());
            }
        }
        #[allow(unreachable_code)] // says of what type the errors are
        identity(Ok::<(), Fault>(()))
    });
    runtime.block_on(all)?;
    Ok(Box::new(runtime))
}
