//! The floor: frames of five bytes of header and a payload, over sockets of smol.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

/// Bytes of one write, and of one read.
const SHARED: usize = 64 << 10;

/// Two ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let addr = listener.local_addr().expect("bound");
    smol::block_on(async {
        let (here, there) = futures_lite::future::zip(
            TcpStream::connect(addr),
            smol::unblock(move || listener.accept().expect("dialled").0),
        )
        .await;
        let there = TcpStream::from(async_io::Async::new(there).expect("a socket"));
        let here = here.expect("listening");
        here.set_nodelay(true).expect("TCP");
        there.set_nodelay(true).expect("TCP");
        (here, there)
    })
}

/// The time in which so many messages go through: from the first byte written to the last byte read.
pub(crate) fn send(bytes: usize, messages: usize) -> Duration {
    let (mut here, mut there) = pair();
    let frame = bytes + 5;
    let total = frame * messages;
    let start = Instant::now();
    let writer = thread::spawn(move || {
        smol::block_on(async {
            let mut buffer = Vec::with_capacity(SHARED.max(frame));
            let payload = vec![7; bytes];
            for number in 0..messages {
                buffer.push(1);
                buffer.extend_from_slice(&(bytes as u32).to_be_bytes());
                buffer.extend_from_slice(&payload);
                if buffer.len() + frame > SHARED || number + 1 == messages {
                    here.write_all(&buffer).await.expect("open");
                    buffer.clear();
                }
            }
            here
        })
    });
    smol::block_on(async {
        let (mut left, mut buffer) = (total, vec![0; SHARED]);
        while left > 0 {
            let read = there.read(&mut buffer).await.expect("open");
            assert!(read > 0, "{left} bytes are missing");
            left -= read;
        }
    });
    let time = start.elapsed();
    drop(writer.join());
    time
}

/// The times in which messages of 16 B come back.
pub(crate) fn round_trips(count: usize) -> Vec<Duration> {
    let (mut here, mut there) = pair();
    let echo = thread::spawn(move || {
        smol::block_on(async {
            let mut frame = [0; 21];
            for _ in 0..count {
                there.read_exact(&mut frame).await.expect("open");
                there.write_all(&frame).await.expect("open");
            }
        });
    });
    let times = smol::block_on(async {
        let (frame, mut back) = ([7; 21], [0; 21]);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            here.write_all(&frame).await.expect("open");
            here.read_exact(&mut back).await.expect("open");
            times.push(start.elapsed());
        }
        times
    });
    echo.join().expect("no panic");
    times
}
