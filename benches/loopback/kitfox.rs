//! The same through kitfox-smol.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kitfox_core::connection::{Action, Answer, Connection, Input, Question};
use kitfox_core::router::{BlockList, Directory};
use kitfox_core::storage::Heap;
use kitfox_core::wire::{FrameHeader, FrameType, Message, PeerUrl, UrlRules};
use kitfox_core::{Config, Instant as Moment, RouterLimits};
use kitfox_smol::{Node, Peer, SendError};

const SPACE: &[u8] = &[7; 32];
const MODULE: &str = "measured";
/// Steps of work in a handler where readers are to run side by side: so many that the reader is what takes the time.
const WORK: u32 = 3000;

/// What the connections of a node are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Secured,
}

fn node(kind: Kind) -> Node {
    let builder = Node::builder();
    let builder = if kind == Kind::Plain { builder.plain() } else { builder };
    builder.build().expect("a node")
}

/// A node whose module counts messages and tells when the last one has come. Each costs its handler so many steps of
/// work.
fn counting(kind: Kind, messages: usize, work: u32) -> (Node, String, mpsc::Receiver<Instant>) {
    let node = node(kind);
    let url = smol::block_on(node.listen("127.0.0.1:0")).expect("loopback");
    let (told, hears) = mpsc::channel();
    let left = Arc::new(AtomicUsize::new(messages));
    node.register_space(SPACE, |_: &Peer, _: &[u8]| Ok(())).expect("new");
    node.register_module(SPACE, MODULE, move |_: &Peer, data: &[u8]| {
        assert_eq!(data.first(), Some(&7));
        (0..work).for_each(|step| {
            black_box(step);
        });
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = told.send(Instant::now());
        }
        Ok(())
    })
    .expect("new");
    (node, url, hears)
}

fn sender(kind: Kind) -> Node {
    let node = node(kind);
    smol::block_on(node.listen("127.0.0.1:0")).expect("loopback");
    node.register_space(SPACE, |_: &Peer, _: &[u8]| Ok(())).expect("new");
    node
}

/// The time in which so many messages go through: from the first one sent to the last one handled.
pub(crate) fn send(kind: Kind, bytes: usize, messages: usize) -> Duration {
    let (bob, url, hears) = counting(kind, messages, 0);
    let alice = sender(kind);
    let data = vec![7; bytes];
    let time = smol::block_on(async {
        alice.connect(&url).await.expect("listening");
        let peer = alice.peer(&url).expect("connected");
        let start = Instant::now();
        for _ in 0..messages {
            loop {
                match peer.module(SPACE, MODULE, &data) {
                    Ok(_) => break,
                    Err(SendError::Backpressure) => alice.ready(&url, bytes + 100).await.expect("connected"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        hears.recv().expect("the last message comes").duration_since(start)
    });
    smol::block_on(async {
        alice.shutdown().await;
        bob.shutdown().await;
    });
    time
}

/// The times in which messages of 16 B come back, sent back from inside the delivery.
pub(crate) fn round_trips(kind: Kind, count: usize) -> Vec<Duration> {
    let (alice, bob) = (sender(kind), node(kind));
    let url = smol::block_on(bob.listen("127.0.0.1:0")).expect("loopback");
    let weak = bob.downgrade();
    bob.register_space(SPACE, move |from: &Peer, data: &[u8]| {
        if let Some(bob) = weak.upgrade() {
            bob.module(from.url(), SPACE, MODULE, data).expect("room");
        }
        Ok(())
    })
    .expect("new");
    let (told, hears) = mpsc::channel();
    alice
        .register_module(SPACE, MODULE, move |_: &Peer, _: &[u8]| {
            let _ = told.send(());
            Ok(())
        })
        .expect("new");
    smol::block_on(alice.connect(&url)).expect("listening");
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        alice.notify(&url, SPACE, &[7; 16]).expect("connected");
        hears.recv().expect("it comes back");
        times.push(start.elapsed());
    }
    smol::block_on(async {
        alice.shutdown().await;
        bob.shutdown().await;
    });
    times
}

/// The time in which one node takes so many messages from each of several connections, which are written by plain
/// threads as fast as the sockets take them.
pub(crate) fn receive(connections: usize, messages: usize) -> Duration {
    let (bob, url, hears) = counting(Kind::Plain, connections * messages, WORK);
    let sockets: Vec<_> = (0..connections).map(|number| open(&url, number)).collect();
    let frame = frame(&Message::module(SPACE, MODULE, &[7; 128]));
    let start = Instant::now();
    let writers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            let many = frame.repeat(400);
            thread::spawn(move || {
                for _ in 0..messages / 400 {
                    socket.write_all(&many).expect("open");
                }
                socket.write_all(&many[..messages % 400 * many.len() / 400]).expect("open");
                socket
            })
        })
        .collect();
    let time = hears.recv().expect("the last message comes").duration_since(start);
    for writer in writers {
        drop(writer.join());
    }
    smol::block_on(bob.shutdown());
    time
}

fn frame(message: &Message<'_>) -> Vec<u8> {
    let len = message.encoded_len();
    let header = FrameHeader::new(FrameType::Data, len, usize::MAX).expect("short");
    let mut frame = header.encode().to_vec();
    frame.resize(frame.len() + len, 0);
    message.encode(&mut frame[5..]).expect("room");
    frame
}

/// A socket on which a core has opened the gate by hand.
fn open(url: &str, number: usize) -> TcpStream {
    let own_url = format!("ws://127.0.0.1:{}/{}", 1 + number, "ab".repeat(31) + &format!("{number:02}"));
    let parse = |url| PeerUrl::parse(url, &UrlRules::default()).expect("valid");
    let directory =
        Directory::<Heap, _>::new(&RouterLimits::HOST, BlockList::<Heap>::new(&RouterLimits::HOST));
    let mut connection =
        Connection::<Heap>::dial(Moment::ZERO, &Config::HOST, parse(url)).expect("diallable");
    let mut socket = TcpStream::connect(parse(url).addr()).expect("listening");
    let (mut bytes, mut wire) = (Vec::new(), [0; 4096]);
    loop {
        let mut asked = None;
        let mut actions = connection.handle(Moment::ZERO, Input::Bytes(&mut bytes));
        while let Some(action) = actions.next(&directory) {
            if let Action::Ask { id, question } = action {
                asked = Some((id, matches!(question, Question::GatherPreflight { .. })));
            }
        }
        let (taken, _) = actions.finish();
        bytes.drain(..taken);
        if let Some((id, gather)) = asked {
            let preflight = Answer::Preflight { own_url: parse(&own_url), data: b"" };
            connection
                .answer(Moment::ZERO, id, if gather { preflight } else { Answer::Accept })
                .expect("asked");
        }
        let len = connection.transmit(Moment::ZERO, &mut wire);
        socket.write_all(&wire[..len]).expect("open");
        if connection.is_open() {
            return socket;
        }
        if asked.is_none() {
            let len = socket.read(&mut wire).expect("open");
            bytes.extend_from_slice(&wire[..len]);
        }
    }
}
