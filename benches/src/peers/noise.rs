//! Raw sockets with Noise on them, by crate `snow`: what the secured channel is measured against. Records of up to
//! 64 KiB, filled as far as they go. The cipher is snow's own, or with feature `ring` that of crate `ring`.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use snow::{Builder, TransportState};

use super::raw::{HEADER, pair, put_frame};
use super::{ECHO_BYTES, Fault, Link};

/// Longest text of a record.
const RECORD: usize = 65_535 - 16;

/// A secured connection over loopback.
#[derive(Debug)]
pub struct Noise {
    here: End,
    there: End,
}

impl Noise {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Those of sockets and of snow.
    pub fn open() -> Result<Self, Fault> {
        let (here, there) = pair()?;
        let (dialler, acceptor) = transports()?;
        Ok(Self { here: End::new(here, dialler), there: End::new(there, acceptor) })
    }
}

fn builder() -> Result<Builder<'static>, Fault> {
    let params = "Noise_IK_25519_ChaChaPoly_BLAKE2s".parse()?;
    #[cfg(feature = "ring")]
    {
        use snow::resolvers::{DefaultResolver, FallbackResolver, RingResolver};
        let resolver = FallbackResolver::new(Box::new(RingResolver), Box::new(DefaultResolver));
        Ok(Builder::with_resolver(params, Box::new(resolver)))
    }
    #[cfg(not(feature = "ring"))]
    Ok(Builder::new(params))
}

fn transports() -> Result<(TransportState, TransportState), Fault> {
    let keys = builder()?.generate_keypair()?;
    let other = builder()?.generate_keypair()?;
    let mut dialler =
        builder()?.local_private_key(&other.private)?.remote_public_key(&keys.public)?.build_initiator()?;
    let mut acceptor = builder()?.local_private_key(&keys.private)?.build_responder()?;
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    let len = dialler.write_message(&[], &mut message)?;
    acceptor.read_message(&message[..len], &mut payload)?;
    let len = acceptor.write_message(&[], &mut message)?;
    dialler.read_message(&message[..len], &mut payload)?;
    Ok((dialler.into_transport_mode()?, acceptor.into_transport_mode()?))
}

/// One end of the connection.
#[derive(Debug)]
struct End {
    socket: TcpStream,
    noise: TransportState,
    record: Vec<u8>,
    text: Vec<u8>,
    read: Vec<u8>,
    filled: usize,
}

impl End {
    fn new(socket: TcpStream, noise: TransportState) -> Self {
        let (record, text, read) = (vec![0; 2 + RECORD + 16], vec![0; RECORD], vec![0; 256 << 10]);
        Self { socket, noise, record, text, read, filled: 0 }
    }

    /// Writes `text` in as few records as it goes into.
    async fn write(&mut self, text: &[u8]) -> Result<(), Fault> {
        for part in text.chunks(RECORD) {
            let len = self.noise.write_message(part, &mut self.record[2..])?;
            self.record[..2].copy_from_slice(&(len as u16).to_be_bytes());
            self.socket.write_all(&self.record[..2 + len]).await?;
        }
        Ok(())
    }

    /// Opens the records that are whole after one read: so many bytes of text.
    async fn read(&mut self) -> Result<usize, Fault> {
        let len = self.socket.read(&mut self.read[self.filled..]).await?;
        if len == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.filled += len;
        let (mut taken, mut text) = (0, 0);
        while let Some((len, rest)) = self.read[taken..self.filled].split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some(sealed) = rest.get(..len) else { break };
            text += self.noise.read_message(sealed, &mut self.text)?;
            taken += 2 + len;
        }
        self.read.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(text)
    }

    async fn read_bytes(&mut self, mut left: usize) -> Result<(), Fault> {
        while left > 0 {
            left -= self.read().await?;
        }
        Ok(())
    }

    async fn write_frames(&mut self, bytes: usize, messages: usize) -> Result<(), Fault> {
        let (mut text, payload) = (Vec::new(), vec![7; bytes]);
        for number in 0..messages {
            put_frame(&mut text, &payload);
            if text.len() + HEADER + bytes > RECORD || number + 1 == messages {
                self.write(&text).await?;
                text.clear();
            }
        }
        Ok(())
    }
}

impl Link for Noise {
    fn send(&mut self, bytes: usize, messages: usize) -> Result<Duration, Fault> {
        let Self { here, there } = self;
        let start = Instant::now();
        thread::scope(|scope| {
            let writer = scope.spawn(|| smol::block_on(here.write_frames(bytes, messages)));
            smol::block_on(there.read_bytes((HEADER + bytes) * messages))?;
            let time = start.elapsed();
            writer.join().map_err(|_| "the writer panicked")??;
            Ok(time)
        })
    }

    fn round_trips(&mut self, count: usize) -> Result<Vec<Duration>, Fault> {
        const FRAME: [u8; HEADER + ECHO_BYTES] = [7; HEADER + ECHO_BYTES];
        let Self { here, there } = self;
        thread::scope(|scope| {
            let echo = scope.spawn(|| {
                smol::block_on(async {
                    for _ in 0..count {
                        there.read_bytes(FRAME.len()).await?;
                        there.write(&FRAME).await?;
                    }
                    Ok::<_, Fault>(())
                })
            });
            let times = smol::block_on(async {
                let mut times = Vec::with_capacity(count);
                for _ in 0..count {
                    let start = Instant::now();
                    here.write(&FRAME).await?;
                    here.read_bytes(FRAME.len()).await?;
                    times.push(start.elapsed());
                }
                Ok::<_, Fault>(times)
            })?;
            echo.join().map_err(|_| "the echo panicked")??;
            Ok(times)
        })
    }
}
