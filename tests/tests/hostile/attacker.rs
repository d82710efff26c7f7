//! Somebody with a key who keeps to the protocol for as long as it serves, over either channel.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use kitfox_core::wire::{FrameHeader, FrameType, HEADER_BYTES, Message};
use kitfox_smol::Builder;
use kitfox_tests::frames::encoded;
use kitfox_tests::script::wire;
use snow::TransportState;

use crate::common::{Event, Events, PATIENCE, Party, Raw, SPACE, frame, preflight, within};
use crate::noise::{self, FIRST_HEADER, id, key};

/// Whose keys are whose. The node that is attacked is always Bob's.
pub(crate) const BOB: u8 = 1;
pub(crate) const ALICE: u8 = 2;
/// The first of the attackers.
pub(crate) const MALLORY: u8 = 100;

/// The frame with which a dialler opens the gate.
pub(crate) const CONFIRM: [u8; 5] = [1, 0, 0, 0, 0];

/// The text of the longest record that is sent here, as every node takes it that was not told otherwise.
const RECORD_TEXT: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Plain,
    Secured,
}

impl Carrier {
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Secured];

    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "ws",
            Self::Secured => "wss",
        }
    }

    /// A URL of a peer, where nobody listens.
    pub(crate) fn url(self, seed: u8) -> String {
        format!("{}://127.0.0.1:1/{}", self.scheme(), id(seed))
    }

    pub(crate) async fn party(
        self,
        seed: u8,
        build: impl FnOnce(Builder) -> Builder,
        behave: impl FnOnce(&mut Events),
    ) -> Party {
        match self {
            Self::Plain => Party::with(|builder| build(builder.peer_id(id(seed).to_string())), behave).await,
            Self::Secured => Party::secured(|builder| build(builder.key(key(seed))), behave).await,
        }
    }

    /// The node that is attacked.
    pub(crate) async fn bob(self, build: impl FnOnce(Builder) -> Builder) -> Party {
        self.party(BOB, build, |_| {}).await
    }

    /// An honest peer that is connected with Bob.
    pub(crate) async fn alice(self, bob: &Party) -> Party {
        let alice = self.party(ALICE, |builder| builder, |_| {}).await;
        within(alice.node.connect(&bob.url)).await.unwrap();
        assert!(matches!(alice.event().await, Event::Up(_)));
        alice
    }
}

/// An address to be dialled at, and its URL with the id of `seed`.
pub(crate) fn listener(carrier: Carrier, seed: u8) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{}://{}/{}", carrier.scheme(), listener.local_addr().unwrap(), id(seed));
    (listener, url)
}

pub(crate) struct Attacker {
    carrier: Carrier,
    seed: u8,
    pub(crate) stream: TcpStream,
    /// What seals and opens, on a secured channel.
    noise: Option<TransportState>,
    /// What was said by the node and not looked at yet.
    heard: Vec<u8>,
}

impl Attacker {
    fn over(carrier: Carrier, seed: u8, stream: TcpStream, noise: Option<TransportState>) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { carrier, seed, stream, noise, heard: Vec::new() }
    }

    /// Dials Bob. The channel is there, and not a frame was sent.
    pub(crate) fn dial(carrier: Carrier, url: &str, seed: u8) -> Self {
        Self::dial_with(carrier, url, seed, noise::LIMITS)
    }

    fn dial_with(carrier: Carrier, url: &str, seed: u8, limits: &str) -> Self {
        let mut stream = Raw::connect(url).stream;
        let noise = (carrier == Carrier::Secured).then(|| {
            let mut noise = noise::dialling(&noise::prologue(), seed, BOB);
            let payload = [&noise::id_bytes(seed)[..], &wire(limits)].concat();
            stream.write_all(&noise::first_with(&mut noise, &payload)).unwrap();
            noise::take(&mut noise, &read_part(&mut stream).expect("Bob's second message"));
            noise.into_transport_mode().unwrap()
        });
        Self::over(carrier, seed, stream, noise)
    }

    /// Dials Bob and goes through the gate, with this URL.
    pub(crate) fn opened_as(carrier: Carrier, url: &str, seed: u8, own_url: &str) -> Self {
        Self::dial(carrier, url, seed).through_the_gate(own_url)
    }

    /// Dials Bob over a secured channel with these limits, and goes through the gate.
    pub(crate) fn opened_with(url: &str, seed: u8, limits: &str) -> Self {
        let carrier = Carrier::Secured;
        Self::dial_with(carrier, url, seed, limits).through_the_gate(&carrier.url(seed))
    }

    fn through_the_gate(mut self, own_url: &str) -> Self {
        self.send(&preflight(own_url, &Message::preflight(b"hi")));
        self.send(&CONFIRM);
        let (ty, payload) = self.frame();
        assert_eq!(ty, FrameType::Preflight, "{}", payload.escape_ascii());
        self
    }

    /// Dials Bob and goes through the gate.
    pub(crate) fn opened(carrier: Carrier, url: &str, seed: u8) -> Self {
        Self::opened_as(carrier, url, seed, &carrier.url(seed))
    }

    /// Is dialled. The channel is there, and not a frame was sent.
    pub(crate) async fn accept(carrier: Carrier, listener: &TcpListener, seed: u8) -> Self {
        Self::accept_with(carrier, listener, seed, noise::LIMITS).await
    }

    async fn accept_with(carrier: Carrier, listener: &TcpListener, seed: u8, limits: &'static str) -> Self {
        let listener = listener.try_clone().unwrap();
        within(smol::unblock(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let noise = (carrier == Carrier::Secured).then(|| {
                let mut noise = noise::accepting(seed);
                noise::take(&mut noise, &read_first(&mut stream)[FIRST_HEADER..]);
                stream.write_all(&noise::second(&mut noise, limits)).unwrap();
                noise.into_transport_mode().unwrap()
            });
            Self::over(carrier, seed, stream, noise)
        }))
        .await
    }

    /// Is dialled, and goes through the gate but for the dialler's confirm.
    pub(crate) async fn answering(carrier: Carrier, listener: &TcpListener, seed: u8) -> Self {
        Self::accept(carrier, listener, seed).await.answer()
    }

    /// Is dialled over a secured channel, has these limits, and goes through the gate but for the dialler's confirm.
    pub(crate) async fn answering_with(listener: &TcpListener, seed: u8, limits: &'static str) -> Self {
        Self::accept_with(Carrier::Secured, listener, seed, limits).await.answer()
    }

    fn answer(mut self) -> Self {
        assert_eq!(self.frame().0, FrameType::Preflight);
        self.send(&preflight(&self.url(), &Message::preflight(b"hi")));
        self
    }

    pub(crate) fn url(&self) -> String {
        self.carrier.url(self.seed)
    }

    /// The bytes in which this would be sent.
    pub(crate) fn sealed(&mut self, bytes: &[u8]) -> Vec<u8> {
        match &mut self.noise {
            None => bytes.to_vec(),
            Some(noise) => bytes.chunks(RECORD_TEXT).flat_map(|text| noise::record(noise, text)).collect(),
        }
    }

    /// One record, of a secured channel.
    pub(crate) fn sealed_record(&mut self, text: &[u8]) -> Vec<u8> {
        noise::record(self.noise.as_mut().expect("a secured channel"), text)
    }

    /// Sends bytes of the stream of frames.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let sealed = self.sealed(bytes);
        self.send_raw(&sealed);
    }

    /// Sends bytes past the channel.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        // The node may have closed by now, which the test sees when it reads.
        let _ = self.stream.write_all(bytes);
    }

    /// What comes next past the channel, at least a byte, as it is on the wire: on a secured channel one record.
    pub(crate) fn hear_raw(&mut self) -> Option<Vec<u8>> {
        if self.noise.is_some() {
            let sealed = read_part(&mut self.stream)?;
            return Some([&(sealed.len() as u16).to_be_bytes(), &sealed[..]].concat());
        }
        let mut bytes = vec![0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => None,
            Ok(len) => Some(bytes[..len].to_vec()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    /// Hears more of the stream of frames; `false` at its end.
    fn hear(&mut self) -> bool {
        let Some(bytes) = self.hear_raw() else { return false };
        match &mut self.noise {
            None => self.heard.extend(bytes),
            Some(noise) => {
                let mut text = vec![0; bytes.len()];
                let len = noise.read_message(&bytes[2..], &mut text).unwrap();
                self.heard.extend(&text[..len]);
            }
        }
        true
    }

    /// The next frame that the node says. Panics if there is none.
    pub(crate) fn frame(&mut self) -> (FrameType, Vec<u8>) {
        loop {
            if let Some(header) = self.heard.first_chunk::<HEADER_BYTES>() {
                let header = FrameHeader::decode(header, 1 << 20).unwrap();
                let end = HEADER_BYTES + header.payload_bytes as usize;
                if end <= self.heard.len() {
                    let payload = self.heard[HEADER_BYTES..end].to_vec();
                    self.heard.drain(..end);
                    return (header.ty, payload);
                }
            }
            assert!(self.hear(), "the node ended before a frame did");
        }
    }

    /// The data of the next message that the node says, empty frames left out.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        loop {
            let (ty, payload) = self.frame();
            assert_eq!(ty, FrameType::Data);
            if !payload.is_empty() {
                return Message::decode(&payload).unwrap().data.to_vec();
            }
        }
    }

    /// Everything that the node says before it closes. Panics if it does not close.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.hear() {}
        std::mem::take(&mut self.heard)
    }

    /// The node closes, and says this word last.
    pub(crate) fn told(&mut self, word: &[u8]) {
        let rest = self.rest();
        let farewell = frame(FrameType::Data, &encoded(&Message::disconnect(word)));
        assert!(rest.ends_with(&farewell), "{:?}: {}", self.carrier, rest.escape_ascii());
    }

    /// Says that nothing more comes, without a word on the channel.
    pub(crate) fn stop(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// The bytes after a length of two bytes; `None` at the end of the stream.
pub(crate) fn read_part(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    if !read_exact(stream, &mut len) {
        return None;
    }
    let mut part = vec![0; usize::from(u16::from_be_bytes(len))];
    read_exact(stream, &mut part).then_some(part)
}

/// A first message, its header included.
pub(crate) fn read_first(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = vec![0; FIRST_HEADER];
    assert!(read_exact(stream, &mut header), "a first message");
    let mut message = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]]))];
    assert!(read_exact(stream, &mut message), "a first message");
    [header, message].concat()
}

fn read_exact(stream: &mut TcpStream, bytes: &mut [u8]) -> bool {
    match stream.read_exact(bytes) {
        Ok(()) => true,
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => false,
        Err(error) => panic!("nothing came: {error}"),
    }
}

/// Waits until something holds. Panics if it never does.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let late = smol::Timer::after(PATIENCE);
    let wait = async {
        while !holds() {
            smol::Timer::after(Duration::from_millis(1)).await;
        }
    };
    let late = async {
        late.await;
        panic!("never: {what}");
    };
    smol::future::or(wait, late).await;
}

/// Both nodes hear each other.
pub(crate) async fn exchange(a: &Party, b: &Party, data: &[u8]) {
    a.node.notify(&b.url, SPACE, data).unwrap();
    assert_eq!(b.hears().await, data);
    b.node.notify(&a.url, SPACE, data).unwrap();
    assert_eq!(a.hears().await, data);
}
