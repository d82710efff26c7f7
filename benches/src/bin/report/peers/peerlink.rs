//! peerlink: a reactor at each end.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kitfox_benches::peers::{ECHO_BYTES, Fault, Link, PATIENCE};
use peerlink::{Command, Config, DecodeError, Event, Handle, PeerId};

/// Bytes before a payload.
const HEADER: usize = 5;
/// Bytes that may be under way: the reactor takes commands without end, and gives those back for which its own buffer,
/// twice the longest message, has no room.
const WINDOW: usize = 1 << 20;

/// A payload behind its length.
#[derive(Debug, Clone)]
struct Payload(Vec<u8>);

impl peerlink::Message for Payload {
    const MAX_SIZE: usize = (2 << 20) + HEADER;

    fn encode(&self, sink: &mut impl Write) -> usize {
        let mut header = [1; HEADER];
        header[1..].copy_from_slice(&(self.0.len() as u32).to_be_bytes());
        // The sink is memory: it takes everything.
        sink.write_all(&header).and_then(|()| sink.write_all(&self.0)).map_or(0, |()| HEADER + self.0.len())
    }

    fn decode(buffer: &[u8]) -> Result<(Self, usize), DecodeError> {
        let Some((&[_, a, b, c, d], rest)) = buffer.split_first_chunk::<HEADER>() else {
            return Err(DecodeError::NotEnoughData);
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        match rest.get(..len) {
            _ if HEADER + len > Self::MAX_SIZE => Err(DecodeError::MalformedMessage),
            Some(payload) => Ok((Self(payload.to_vec()), HEADER + len)),
            None => Err(DecodeError::NotEnoughData),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(HEADER + self.0.len())
    }
}

struct Peerlink {
    alice: Handle<Payload>,
    bob: Handle<Payload>,
    /// bob, as alice knows him, and the other way round.
    to_bob: PeerId,
    to_alice: PeerId,
}

pub(crate) fn open() -> Result<Box<dyn Link>, Fault> {
    // A reactor does not tell which port it was given.
    let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let bob = peerlink::run(Config { bind_addr: vec![addr], ..Config::default() })?;
    let alice = peerlink::run::<Payload>(Config::default())?;
    alice.send(Command::connect(addr as SocketAddr))?;
    let to_bob = match next(&alice)? {
        Event::ConnectedTo { result, .. } => result?,
        other => return Err(format!("{other:?} instead of a connection").into()),
    };
    let to_alice = match next(&bob)? {
        Event::ConnectedFrom { peer, .. } => peer,
        other => return Err(format!("{other:?} instead of a connection").into()),
    };
    Ok(Box::new(Peerlink { alice, bob, to_bob, to_alice }))
}

fn next(handle: &Handle<Payload>) -> Result<Event<Payload>, Fault> {
    Ok(handle.receiver().recv_timeout(PATIENCE)?)
}

/// The next message; nothing else is to happen.
fn message(handle: &Handle<Payload>) -> Result<Payload, Fault> {
    match next(handle)? {
        Event::Message { message, .. } => Ok(message),
        Event::Disconnected { reason, .. } => Err(format!("disconnected: {reason:?}").into()),
        Event::SendBufferFull { .. } => Err("the send buffer was full".into()),
        _ => Err("something else than a message came".into()),
    }
}

impl Link for Peerlink {
    fn send(&mut self, bytes: usize, messages: usize) -> Result<Duration, Fault> {
        // So many messages are under way at most, one at least, and leave is given for a quarter of them at once.
        let window = (WINDOW / (HEADER + bytes)).max(1);
        let batch = (window / 4).max(1);
        let (give, leave) = mpsc::channel();
        (0..window / batch).try_for_each(|_| give.send(()))?;
        let Self { alice, bob, to_bob, .. } = &*self;
        let payload = Payload(vec![7; bytes]);
        let start = Instant::now();
        thread::scope(|scope| {
            let sender = scope.spawn(move || {
                for number in 0..messages {
                    if number % batch == 0 {
                        leave.recv_timeout(PATIENCE)?;
                    }
                    alice.send(Command::Message(*to_bob, payload.clone()))?;
                }
                Ok::<_, Fault>(())
            });
            for number in 1..=messages {
                message(bob)?;
                if number % batch == 0 {
                    // Nobody listens any more when everything is sent.
                    let _ = give.send(());
                }
            }
            let time = start.elapsed();
            sender.join().map_err(|_| "the sender panicked")??;
            Ok(time)
        })
    }

    fn round_trips(&mut self, count: usize) -> Result<Vec<Duration>, Fault> {
        let Self { alice, bob, to_bob, to_alice } = &*self;
        thread::scope(|scope| {
            let echo = scope.spawn(|| {
                for _ in 0..count {
                    let payload = message(bob)?;
                    bob.send(Command::Message(*to_alice, payload))?;
                }
                Ok::<_, Fault>(())
            });
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                let start = Instant::now();
                alice.send(Command::Message(*to_bob, Payload(vec![7; ECHO_BYTES])))?;
                message(alice)?;
                times.push(start.elapsed());
            }
            echo.join().map_err(|_| "the echo panicked")??;
            Ok(times)
        })
    }
}
