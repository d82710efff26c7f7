//! Somebody with a socket and ideas of its own.

use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Instant};
use kitfox_embassy::Plain;
use kitfox_embassy::core::wire::{FrameHeader, FrameType, Message, PeerUrl, PreflightPayload, UrlRules};

use crate::common::*;
use crate::hub::Hub;
use crate::sim::{Sim, test};

struct Raw {
    socket: TcpSocket<'static>,
}

impl Raw {
    async fn connect(sim: &Sim, hub: &Hub, host: u8, to: u8) -> Self {
        let machine = Machine::new(sim, hub, host);
        let (rx, tx) = (Box::leak(Box::new([0; 2048])), Box::leak(Box::new([0; 2048])));
        let mut socket = TcpSocket::new(machine.stack, rx, tx);
        let to = (embassy_net::Ipv4Address::new(10, 0, 0, to), PORT);
        // Where no socket listens, one soon will: those that were closed wait for a last acknowledgement.
        while socket.connect(to).await.is_err() {
            pass(Duration::from_millis(10)).await;
        }
        Self { socket }
    }

    /// Connects and goes through the gate.
    async fn opened(sim: &Sim, hub: &Hub, host: u8, to: u8) -> Self {
        let mut raw = Self::connect(sim, hub, host, to).await;
        raw.send(&preflight("ws://10.0.0.77:1/raw")).await;
        raw.send(&[1, 0, 0, 0, 0]).await;
        raw
    }

    async fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.socket.write(bytes).await {
                Ok(len) => bytes = &bytes[len..],
                // The node may have closed by now, which the test sees when it reads.
                Err(_) => return,
            }
        }
    }

    /// Everything that the node says before it closes.
    async fn rest(&mut self) -> Vec<u8> {
        let (mut rest, mut buffer) = (Vec::new(), [0; 256]);
        while let Ok(len @ 1..) = self.socket.read(&mut buffer).await {
            rest.extend(&buffer[..len]);
        }
        self.socket.close();
        let _ = self.socket.flush().await;
        rest
    }
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.encode(&mut bytes).unwrap();
    bytes
}

fn frame(ty: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut frame = FrameHeader::new(ty, payload.len(), usize::MAX).unwrap().encode().to_vec();
    frame.extend(payload);
    frame
}

fn preflight(url: &str) -> Vec<u8> {
    let url = PeerUrl::parse(url, &UrlRules::default()).unwrap();
    let message = encoded(&Message::preflight(b""));
    let payload = PreflightPayload { url, message: &message };
    let mut bytes = vec![0; payload.encoded_len()];
    payload.encode(&mut bytes).unwrap();
    frame(FrameType::Preflight, &bytes)
}

fn farewell(reason: &[u8]) -> Vec<u8> {
    frame(FrameType::Data, &encoded(&Message::disconnect(reason)))
}

#[test]
fn silence_before_the_preflight_ends_after_its_time() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<Plain>::new(&sim, &hub, 2, "bob").await;
        let mut silent = Vec::new();
        for host in 0..SOCKETS as u8 {
            silent.push(Raw::connect(&sim, &hub, 20 + host, 2).await);
        }
        let start = Instant::now();
        for raw in &mut silent {
            assert_eq!(raw.rest().await, farewell(b"timeout"));
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(9900) && took <= Duration::from_millis(10_100), "{took:?}");
        let alice = Party::<Plain>::new(&sim, &hub, 1, "alice").await;
        alice.sends(&bob, b"room again").await;
        assert_eq!(within(1000, bob.hears()).await, b"room again");
    });
}

#[test]
fn a_reset_is_noticed_at_once() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<Plain>::new(&sim, &hub, 2, "bob").await;
        let mut raw = Raw::opened(&sim, &hub, 20, 2).await;
        bob.until(|event| matches!(event, Event::Up(_))).await;
        raw.socket.abort();
        let down = within(100, bob.down()).await;
        assert_eq!(down.0, kitfox_embassy::CloseReason::Failed);
    });
}

#[test]
fn a_peer_that_reads_nothing_ends_after_its_time() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<Plain>::new(&sim, &hub, 2, "bob").await;
        let _raw = Raw::opened(&sim, &hub, 20, 2).await;
        bob.until(|event| matches!(event, Event::Up(_))).await;
        let node = bob.node;
        sim.spawn("bob sends", async move {
            // The last of them is handed back or fails with the connection.
            for _ in 0..12 {
                node.send_notify("ws://10.0.0.77:1/raw", SPACE, &[9; 400]).await.unwrap();
            }
        });
        let start = Instant::now();
        let down = bob.until(|event| matches!(event, Event::Down { .. })).await;
        assert!(start.elapsed() >= Duration::from_secs(29), "{down:?}");
        assert!(start.elapsed() <= Duration::from_secs(65), "{down:?}");
    });
}
