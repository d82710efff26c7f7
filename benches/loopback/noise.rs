//! Raw sockets with Noise on them, by crate `snow` with its default cipher: what the secured channel is measured
//! against. Records of up to 64 KiB, filled as far as they go.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use snow::{Builder, TransportState};

/// Longest text of a record.
const RECORD: usize = 65_535 - 16;

fn transports() -> (TransportState, TransportState) {
    let params = || "Noise_IK_25519_ChaChaPoly_BLAKE2s".parse().expect("a protocol");
    let keys = Builder::new(params()).generate_keypair().expect("randomness");
    let other = Builder::new(params()).generate_keypair().expect("randomness");
    let build = "keys of the right length";
    let mut dialler = Builder::new(params())
        .local_private_key(&other.private)
        .expect(build)
        .remote_public_key(&keys.public)
        .expect(build)
        .build_initiator()
        .expect(build);
    let mut acceptor =
        Builder::new(params()).local_private_key(&keys.private).expect(build).build_responder().expect(build);
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    let len = dialler.write_message(&[], &mut message).expect("room");
    acceptor.read_message(&message[..len], &mut payload).expect("honest");
    let len = acceptor.write_message(&[], &mut message).expect("room");
    dialler.read_message(&message[..len], &mut payload).expect("honest");
    (dialler.into_transport_mode().expect("done"), acceptor.into_transport_mode().expect("done"))
}

fn sockets() -> (smol::net::TcpStream, smol::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let here = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
    let there = listener.accept().expect("dialled").0;
    let wrap = |socket: TcpStream| {
        socket.set_nodelay(true).expect("TCP");
        smol::net::TcpStream::from(async_io::Async::new(socket).expect("a socket"))
    };
    (wrap(here), wrap(there))
}

/// Seals `text` as one record and writes it.
async fn write(
    socket: &mut smol::net::TcpStream,
    noise: &mut TransportState,
    text: &[u8],
    record: &mut [u8],
) {
    let len = noise.write_message(text, &mut record[2..]).expect("room");
    record[..2].copy_from_slice(&(len as u16).to_be_bytes());
    socket.write_all(&record[..2 + len]).await.expect("open");
}

/// The time in which so many messages go through.
pub(crate) fn send(bytes: usize, messages: usize) -> Duration {
    let (mut here, mut there) = sockets();
    let (mut sealing, mut opening) = transports();
    let frame = bytes + 5;
    let total = frame * messages;
    let start = Instant::now();
    let writer = thread::spawn(move || {
        smol::block_on(async {
            let (mut text, mut record) = (Vec::new(), vec![0; 2 + RECORD + 16]);
            let payload = vec![7; bytes];
            for number in 0..messages {
                text.push(1);
                text.extend_from_slice(&(bytes as u32).to_be_bytes());
                text.extend_from_slice(&payload);
                if text.len() + frame > RECORD || number + 1 == messages {
                    for part in text.chunks(RECORD) {
                        write(&mut here, &mut sealing, part, &mut record).await;
                    }
                    text.clear();
                }
            }
            here
        })
    });
    smol::block_on(async {
        let (mut left, mut read, mut filled) = (total, vec![0; 256 << 10], 0);
        let mut text = vec![0; RECORD];
        while left > 0 {
            let len = there.read(&mut read[filled..]).await.expect("open");
            assert!(len > 0, "{left} bytes are missing");
            filled += len;
            let mut taken = 0;
            while let Some((len, rest)) = read[taken..filled].split_first_chunk() {
                let len = usize::from(u16::from_be_bytes(*len));
                let Some(sealed) = rest.get(..len) else { break };
                left -= opening.read_message(sealed, &mut text).expect("in order");
                taken += 2 + len;
            }
            read.copy_within(taken..filled, 0);
            filled -= taken;
        }
    });
    let time = start.elapsed();
    drop(writer.join());
    time
}
