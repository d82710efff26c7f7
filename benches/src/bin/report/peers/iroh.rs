//! iroh: QUIC over UDP, without relays or look-ups.

use iroh::endpoint::{RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};
use kitfox_benches::peers::{Fault, Link};
use tokio::runtime::Runtime;

use super::streams::{Pipe, Streams};

const PROTOCOL: &[u8] = b"measured/0";

async fn endpoint() -> Result<Endpoint, Fault> {
    Ok(Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?
        .alpns(vec![PROTOCOL.to_vec()])
        .bind()
        .await?)
}

pub(crate) fn open() -> Result<Box<dyn Link>, Fault> {
    let both = async {
        let (alice, bob) = (endpoint().await?, endpoint().await?);
        let socket = *bob.bound_sockets().first().ok_or("no socket is bound")?;
        let accepting = tokio::spawn({
            let bob = bob.clone();
            async move { Ok::<_, Fault>(bob.accept().await.ok_or("the endpoint is closed")?.await?) }
        });
        let dialled = alice.connect(EndpointAddr::new(bob.id()).with_ip_addr(socket), PROTOCOL).await?;
        let accepted = accepting.await??;
        let mut here = dialled.open_bi().await?;
        // The other end learns of a stream by the first bytes on it.
        here.0.write_all(&[1]).await?;
        let mut there = accepted.accept_bi().await?;
        there.1.read_exact(&mut [0]).await?;
        Ok((here, there, (alice, bob, dialled, accepted)))
    };
    Ok(Box::new(Streams::open(both, Runtime::new()?)?))
}

impl Pipe for (SendStream, RecvStream) {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.0.write_all(bytes).await?)
    }

    /// QUIC needs none: what is written is sent.
    async fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    async fn take(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        Ok(self.1.read(bytes).await?.ok_or("the stream has ended")?)
    }
}
