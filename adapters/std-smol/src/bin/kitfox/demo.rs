//! Two nodes on this machine talk to each other and check what they hear.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::future;
use kitfox_smol::core::connection::CloseReason;
use kitfox_smol::{
    BoxFuture, Bytes, Direction, Down, Handler, Node, Peer, Refused, SendError, SendRefused, Stats,
};

use crate::text::{self, Style};

/// All of it must be over by then.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Each thing that is waited for must come by then.
const PATIENCE: Duration = Duration::from_secs(10);
const BURST: u64 = 100_000;
const BURST_BYTES: usize = 64;
const PHOTO_BYTES: usize = 5 << 20;
const GARDEN: &[u8] = b"garden";
const REASON: &str = "the sun has set";

type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) fn run() -> Outcome<()> {
    let late = async {
        Timer::after(TIME_LIMIT).await;
        Err(failure(format_args!("not over after {} s", TIME_LIMIT.as_secs())))
    };
    // On a thread of its own, because it waits for what handlers report.
    let demo = blocking::unblock(|| async_io::block_on(demo()).map_err(|error| error.to_string()));
    async_io::block_on(future::or(async { demo.await.map_err(Into::into) }, late))
}

/// What a node's handlers heard.
#[derive(Debug, PartialEq)]
enum Heard {
    Preflight(String),
    Up,
    Down(CloseReason, String),
    Notify(Vec<u8>),
    Module(Vec<u8>),
}

/// Tells what its node is asked and told.
struct Reporter {
    name: &'static str,
    heard: Mutex<Sender<Heard>>,
}

impl Reporter {
    fn report(&self, heard: Heard) {
        if let Ok(sender) = self.heard.lock() {
            let _ = sender.send(heard);
        }
    }
}

impl Handler for Reporter {
    fn preflight_gather<'a>(&'a self, _: &'a Peer) -> BoxFuture<'a, Result<Bytes, Refused>> {
        Box::pin(async { Ok(Bytes::from(format!("{} is at home", self.name))) })
    }

    fn preflight_validate<'a>(&'a self, _: &'a Peer, data: &'a [u8]) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            self.report(Heard::Preflight(String::from_utf8_lossy(data).into_owned()));
            if data.ends_with(b"is at home") { Ok(()) } else { Err(Refused) }
        })
    }

    fn peer_up(&self, _: &Peer) {
        self.report(Heard::Up);
    }

    fn peer_down(&self, _: &Peer, down: &Down) {
        self.report(Heard::Down(down.reason, String::from_utf8_lossy(&down.message).into_owned()));
    }
}

/// A node, its URL, and what it heard.
struct Party {
    name: &'static str,
    node: Node,
    url: String,
    heard: Receiver<Heard>,
    burst: Arc<Burst>,
}

/// Counts the messages of a burst and checks that they come in order.
#[derive(Default)]
struct Burst {
    next: AtomicU64,
    wrong: AtomicU64,
}

impl Burst {
    fn message(number: u64) -> [u8; BURST_BYTES] {
        let mut message = [b'.'; BURST_BYTES];
        message[..8].copy_from_slice(&number.to_be_bytes());
        message
    }

    fn take(&self, data: &[u8]) {
        let number = self.next.load(Ordering::Relaxed);
        if data != Self::message(number) {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.next.store(number + 1, Ordering::Release);
    }
}

impl Party {
    async fn new(name: &'static str) -> Outcome<Self> {
        let (sender, heard) = mpsc::channel();
        let reporter = Arc::new(Reporter { name, heard: Mutex::new(sender) });
        let node = Node::builder().handler(Shared(reporter.clone())).build()?;
        let burst = Arc::new(Burst::default());

        let to = reporter.clone();
        node.register_space(GARDEN, move |_: &Peer, data: &[u8]| {
            to.report(Heard::Notify(data.to_vec()));
            Ok(())
        })?;
        node.register_module(GARDEN, "photos", move |_: &Peer, data: &[u8]| {
            reporter.report(Heard::Module(data.to_vec()));
            Ok(())
        })?;
        let to = burst.clone();
        node.register_module(GARDEN, "burst", move |_: &Peer, data: &[u8]| {
            to.take(data);
            Ok(())
        })?;
        let url = node.listen("127.0.0.1:0").await?;
        Ok(Self { name, node, url, heard, burst })
    }

    fn expect(&self, expected: &Heard) -> Outcome<()> {
        match self.heard.recv_timeout(PATIENCE) {
            Ok(heard) if heard == *expected => Ok(()),
            Ok(heard) => Err(failure(format_args!(
                "{} heard {} instead of {}",
                self.name,
                shortened(&heard),
                shortened(expected)
            ))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(failure(format_args!("{} did not hear {}", self.name, shortened(expected))))
            }
        }
    }
}

/// Handlers are values; this one is also held by spaces.
struct Shared(Arc<Reporter>);

impl Handler for Shared {
    fn preflight_gather<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Bytes, Refused>> {
        self.0.preflight_gather(peer)
    }

    fn preflight_validate<'a>(
        &'a self,
        peer: &'a Peer,
        data: &'a [u8],
    ) -> BoxFuture<'a, Result<(), Refused>> {
        self.0.preflight_validate(peer, data)
    }

    fn peer_up(&self, peer: &Peer) {
        self.0.peer_up(peer);
    }

    fn peer_down(&self, peer: &Peer, down: &Down) {
        self.0.peer_down(peer, down);
    }
}

async fn demo() -> Outcome<()> {
    let style = Style::detect();
    let begun = Instant::now();
    let say = |what: &str, how: &str| {
        let line = format!("{:<11}{how}", what);
        let (head, tail) = line.split_at(11);
        println!("{} {}{tail}", style.green("ok"), style.bold(head));
    };

    let alice = Party::new("alice").await?;
    let bob = Party::new("bob").await?;
    say("listen", &format!("alice {}   bob {}", text::peer(&alice.url), text::peer(&bob.url)));

    let peer = alice.node.connect(&bob.url).await?;
    check(peer.url() == bob.url, "alice's peer has bob's URL")?;
    for (party, other) in [(&alice, &bob), (&bob, &alice)] {
        party.expect(&Heard::Preflight(format!("{} is at home", other.name)))?;
        party.expect(&Heard::Up)?;
    }
    say("preflight", "alice dialled bob; each accepted what the other's preflight says");

    let photo: Vec<u8> = (0..PHOTO_BYTES).map(|place| (place % 251) as u8).collect();
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        from.node.notify(&to.url, GARDEN, from.name.as_bytes())?;
        to.expect(&Heard::Notify(from.name.into()))?;
        from.node.module_shared(&to.url, GARDEN, "photos", Bytes::from(photo.clone()))?;
        to.expect(&Heard::Module(photo.clone()))?;
    }
    let size = text::bytes(PHOTO_BYTES as u64);
    say("messages", &format!("a notify and a photo of {size} in each direction, checked byte for byte"));

    block(&alice, &bob)?;
    say("block", "bob blocked alice: 3 of her messages dropped, 1 of his not sent, all counted");
    check(bob.node.unblock(alice.node.peer_id(), Some(GARDEN)), "there is a rule to take back")?;
    alice.node.notify(&bob.url, GARDEN, b"hello again")?;
    bob.expect(&Heard::Notify(b"hello again".to_vec()))?;
    say("unblock", "her next message arrived");

    let seconds = burst(&alice, &bob).await?;
    let rate = text::rate(BURST as f64 / seconds);
    let milliseconds = seconds * 1e3;
    let n = text::count(BURST);
    say("burst", &format!("{n} messages of {BURST_BYTES} B in order in {milliseconds:.0} ms: {rate}/s"));

    // The peers are told from what the nodes count before they part.
    let (alice_stats, bob_stats) = (alice.node.stats(), bob.node.stats());
    check(alice.node.disconnect(&bob.url, REASON.as_bytes()), "alice has a connection to end")?;
    bob.expect(&Heard::Down(CloseReason::Disconnected, REASON.to_owned()))?;
    alice.expect(&Heard::Down(CloseReason::Local, String::new()))?;
    let after = alice.node.notify(&bob.url, GARDEN, b"too late");
    check(after == Err(SendError::NotConnected), "nothing is sent after the disconnect")?;
    say("disconnect", &format!("bob saw alice's reason: \"{REASON}\""));

    for party in [&alice, &bob] {
        check(party.node.shutdown().await == 0, "everything was written before the end")?;
    }
    say("shutdown", "every task has ended, nothing was left unwritten");

    println!();
    print_stats(style, &[("alice", &alice_stats), ("bob", &bob_stats)]);
    println!("\nAll of it happened and was checked, in {:.2} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

fn block(alice: &Party, bob: &Party) -> Outcome<()> {
    bob.node.block(alice.node.peer_id(), Some(GARDEN))?;
    for _ in 0..3 {
        alice.node.notify(&bob.url, GARDEN, b"can you hear me?")?;
    }
    let to_alice = bob.node.notify(&alice.url, GARDEN, b"no");
    check(
        to_alice == Err(SendError::Refused(SendRefused::Blocked)),
        "bob's message to the blocked alice is refused",
    )?;
    let until = Instant::now() + PATIENCE;
    loop {
        let counted = bob.node.stats().blocked;
        if let [count] = &counted[..]
            && (count.peer.as_str(), count.incoming, count.outgoing) == (alice.url.as_str(), 3, 1)
        {
            break;
        }
        check(Instant::now() < until, "three messages are dropped and counted, and one that was not sent")?;
        std::thread::sleep(Duration::from_millis(1));
    }
    check(bob.heard.try_recv().is_err(), "nothing of a blocked peer is delivered")
}

/// Returns the seconds that it took until the last message was heard.
async fn burst(alice: &Party, bob: &Party) -> Outcome<f64> {
    let begun = Instant::now();
    for number in 0..BURST {
        while let Err(error) = alice.node.module(&bob.url, GARDEN, "burst", &Burst::message(number)) {
            if error != SendError::Backpressure {
                return Err(error.into());
            }
            alice.node.ready(&bob.url, BURST_BYTES).await?;
        }
    }
    while bob.burst.next.load(Ordering::Acquire) < BURST {
        let heard = bob.burst.next.load(Ordering::Acquire);
        if begun.elapsed() > PATIENCE {
            return Err(failure(format_args!("bob heard only {heard} of {BURST} messages")));
        }
        Timer::after(Duration::from_micros(200)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    check(bob.burst.wrong.load(Ordering::Relaxed) == 0, "every message of the burst is whole and in order")?;
    Ok(seconds)
}

fn print_stats(style: Style, nodes: &[(&str, &Stats)]) {
    let head = [
        "node",
        "peer",
        "dialled by",
        "sent",
        "bytes",
        "received",
        "bytes",
        "dropped",
        "blocked in",
        "blocked out",
    ];
    let mut rows = Vec::new();
    for (name, stats) in nodes {
        for connection in &stats.connections {
            let blocked = stats.blocked.iter().filter(|blocked| blocked.peer == connection.peer);
            let (incoming, outgoing) = blocked.fold((0, 0), |(incoming, outgoing), blocked| {
                (incoming + u64::from(blocked.incoming), outgoing + u64::from(blocked.outgoing))
            });
            rows.push(vec![
                (*name).to_owned(),
                text::peer(&connection.peer),
                if connection.direction == Direction::Outgoing { "itself" } else { "peer" }.to_owned(),
                text::count(connection.sent_messages),
                text::bytes(connection.sent_bytes),
                text::count(connection.received_messages),
                text::bytes(connection.received_bytes),
                text::count(connection.dropped_messages),
                text::count(incoming),
                text::count(outgoing),
            ]);
        }
    }
    println!("{}", text::table(style, 3, &head, &rows));
}

#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}

fn failure(what: fmt::Arguments<'_>) -> Box<dyn Error> {
    Box::new(Failure(what.to_string()))
}

fn check(happened: bool, what: &str) -> Outcome<()> {
    if happened { Ok(()) } else { Err(failure(format_args!("expected that {what}"))) }
}

/// What was heard, without all the bytes of a photo.
fn shortened(heard: &Heard) -> String {
    match heard {
        Heard::Notify(data) | Heard::Module(data) if data.len() > 80 => format!("{} bytes", data.len()),
        Heard::Notify(data) => format!("the notify \"{}\"", data.escape_ascii()),
        other => format!("{other:?}"),
    }
}
