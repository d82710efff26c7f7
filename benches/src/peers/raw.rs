//! The floor: frames of five bytes of header and a payload, over sockets of smol.

use std::io;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use async_io::Async;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

use super::{ECHO_BYTES, Fault, Link};

/// Bytes of one write, and of one read.
const SHARED: usize = 64 << 10;
/// Bytes before a payload.
pub(crate) const HEADER: usize = 5;

/// A connection over loopback.
#[derive(Debug)]
pub struct Raw {
    here: TcpStream,
    there: TcpStream,
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn open() -> Result<Self, Fault> {
        let (here, there) = pair()?;
        Ok(Self { here, there })
    }
}

/// Two ends of a connection.
pub(crate) fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = std::net::TcpStream::connect(listener.local_addr()?)?;
    let there = listener.accept()?.0;
    let wrap = |socket: std::net::TcpStream| {
        socket.set_nodelay(true)?;
        io::Result::Ok(TcpStream::from(Async::new(socket)?))
    };
    Ok((wrap(here)?, wrap(there)?))
}

/// A frame is put behind others.
pub(crate) fn put_frame(buffer: &mut Vec<u8>, payload: &[u8]) {
    buffer.push(1);
    buffer.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    buffer.extend_from_slice(payload);
}

async fn write_frames(socket: &mut TcpStream, bytes: usize, messages: usize) -> io::Result<()> {
    let frame = HEADER + bytes;
    let mut buffer = Vec::with_capacity(SHARED.max(frame));
    let payload = vec![7; bytes];
    for number in 0..messages {
        put_frame(&mut buffer, &payload);
        if buffer.len() + frame > SHARED || number + 1 == messages {
            socket.write_all(&buffer).await?;
            buffer.clear();
        }
    }
    Ok(())
}

async fn read_frames(socket: &mut TcpStream, bytes: usize, messages: usize) -> io::Result<()> {
    let (mut left, mut buffer) = ((HEADER + bytes) * messages, vec![0; SHARED]);
    while left > 0 {
        match socket.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read,
        }
    }
    Ok(())
}

impl Link for Raw {
    fn send(&mut self, bytes: usize, messages: usize) -> Result<Duration, Fault> {
        let Self { here, there } = self;
        let start = Instant::now();
        thread::scope(|scope| {
            let writer = scope.spawn(|| smol::block_on(write_frames(here, bytes, messages)));
            smol::block_on(read_frames(there, bytes, messages))?;
            let time = start.elapsed();
            writer.join().map_err(|_| "the writer panicked")??;
            Ok(time)
        })
    }

    fn round_trips(&mut self, count: usize) -> Result<Vec<Duration>, Fault> {
        const FRAME: usize = HEADER + ECHO_BYTES;
        let Self { here, there } = self;
        thread::scope(|scope| {
            let echo = scope.spawn(|| {
                smol::block_on(async {
                    let mut frame = [0; FRAME];
                    for _ in 0..count {
                        there.read_exact(&mut frame).await?;
                        there.write_all(&frame).await?;
                    }
                    io::Result::Ok(())
                })
            });
            let times = smol::block_on(async {
                let (frame, mut back) = ([7; FRAME], [0; FRAME]);
                let mut times = Vec::with_capacity(count);
                for _ in 0..count {
                    let start = Instant::now();
                    here.write_all(&frame).await?;
                    here.read_exact(&mut back).await?;
                    times.push(start.elapsed());
                }
                io::Result::Ok(times)
            })?;
            echo.join().map_err(|_| "the echo panicked")??;
            Ok(times)
        })
    }
}
