//! Three nodes on this machine talk to each other and check what they hear.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_io::Timer;
use futures_lite::future;
use kitfox_smol::core::connection::CloseReason;
use kitfox_smol::{
    BoxFuture, Bytes, Direction, Down, Handler, MessageId, Node, NotSentCause, Peer, Refused, Returned,
    SecretKey, SendError, SendRefused, Stats, new_key,
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
    NotSent(NotSentCause, Vec<u8>),
    Unresponsive,
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
        self.report(Heard::Down(down.reason(), String::from_utf8_lossy(&down.message).into_owned()));
    }

    fn not_sent(&self, _: MessageId, cause: NotSentCause, message: Returned) {
        self.report(Heard::NotSent(cause, message.data.to_vec()));
    }

    fn unresponsive(&self, _: &str, _: SystemTime) {
        self.report(Heard::Unresponsive);
    }
}

/// A node, its URL, and what it heard.
struct Party {
    name: &'static str,
    key: SecretKey,
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
        Self::at(name, "127.0.0.1:0", new_key()?).await
    }

    /// With an address and a key, perhaps those that it had before.
    async fn at(name: &'static str, addr: &str, key: SecretKey) -> Outcome<Self> {
        let (sender, heard) = mpsc::channel();
        let reporter = Arc::new(Reporter { name, heard: Mutex::new(sender) });
        let node = Node::builder().key(key.clone()).handler(Shared(reporter.clone())).build()?;
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
        let url = node.listen(addr).await?;
        Ok(Self { name, key, node, url, heard, burst })
    }

    fn expect(&self, expected: &Heard) -> Outcome<()> {
        loop {
            match self.heard.recv_timeout(PATIENCE) {
                Ok(heard) if heard == *expected => return Ok(()),
                // Where two connections compete each has a preflight, and the one that is given up may come late.
                Ok(Heard::Preflight(_)) => {}
                Ok(heard) => {
                    return Err(failure(format_args!(
                        "{} heard {} instead of {}",
                        self.name,
                        shortened(&heard),
                        shortened(expected)
                    )));
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(failure(format_args!("{} did not hear {}", self.name, shortened(expected))));
                }
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

    fn not_sent(&self, id: MessageId, cause: NotSentCause, message: Returned) {
        self.0.not_sent(id, cause, message);
    }

    fn unresponsive(&self, url: &str, when: SystemTime) {
        self.0.unresponsive(url, when);
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
    let carol = Party::new("carol").await?;
    let [a, b, c] = [&alice, &bob, &carol].map(|party| text::peer(&party.url));
    say("listen", &format!("alice {a}   bob {b}   carol {c}"));

    alice.node.notify(&bob.url, GARDEN, b"hello bob")?;
    for (party, other) in [(&alice, &bob), (&bob, &alice)] {
        party.expect(&Heard::Preflight(format!("{} is at home", other.name)))?;
        party.expect(&Heard::Up)?;
    }
    bob.expect(&Heard::Notify(b"hello bob".to_vec()))?;
    say("send", "alice sent to bob, who was not connected: dialled, preflights accepted, delivered");

    both_dial(&bob, &carol)?;
    say(
        "both dial",
        "bob and carol sent to each other at the same time: one connection stays, nobody was down",
    );

    let photo: Vec<u8> = (0..PHOTO_BYTES).map(|place| (place % 251) as u8).collect();
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        from.node.module_shared(&to.url, GARDEN, "photos", Bytes::from(photo.clone()))?;
        to.expect(&Heard::Module(photo.clone()))?;
    }
    let size = text::bytes(PHOTO_BYTES as u64);
    say("photos", &format!("a photo of {size} in each direction, checked byte for byte"));

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

    let carol = restart(&bob, carol).await?;
    say("restart", "carol went and came back; bob's next message reached her without a new call");

    let gone = Party::new("dave").await?;
    check(gone.node.shutdown().await == 0, "nothing was left unwritten")?;
    alice.node.notify(&gone.url, GARDEN, b"anybody there?")?;
    alice.expect(&Heard::NotSent(NotSentCause::DialFailed, b"anybody there?".to_vec()))?;
    alice.expect(&Heard::Unresponsive)?;
    say("not sent", "after three attempts a message to dave, who is gone, was handed back to alice");

    // The peers are told from what the nodes count before they part.
    let stats = [("alice", alice.node.stats()), ("bob", bob.node.stats()), ("carol", carol.node.stats())];
    check(alice.node.disconnect(&bob.url, REASON.as_bytes()), "alice has a connection to end")?;
    bob.expect(&Heard::Down(CloseReason::Disconnected, REASON.to_owned()))?;
    alice.expect(&Heard::Down(CloseReason::Local, String::new()))?;
    say("disconnect", &format!("bob saw alice's reason: \"{REASON}\""));

    for party in [&alice, &bob, &carol] {
        check(party.node.shutdown().await == 0, "everything was written before the end")?;
    }
    say("shutdown", "every task has ended, nothing was left unwritten");

    println!();
    print_stats(style, &stats);
    println!("\nAll of it happened and was checked, in {:.2} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Each sends to the other from a thread of its own, at the same moment.
fn both_dial(one: &Party, other: &Party) -> Outcome<()> {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let (from, to, name, ready) = (&one.node, &other.url, one.name, &barrier);
        let sending = scope.spawn(move || {
            ready.wait();
            from.notify(to, GARDEN, name.as_bytes()).map(drop)
        });
        barrier.wait();
        other.node.notify(&one.url, GARDEN, other.name.as_bytes())?;
        sending.join().unwrap_or(Ok(()))
    })?;
    for (party, from) in [(one, other), (other, one)] {
        party.expect(&Heard::Up)?;
        party.expect(&Heard::Notify(from.name.into()))?;
        let stats = party.node.stats();
        let count = stats.connections.iter().filter(|connection| connection.peer == from.url).count();
        check(count == 1, "one connection stays")?;
    }
    Ok(())
}

/// A node goes, and another one takes its place. Returns that.
async fn restart(peer: &Party, party: Party) -> Outcome<Party> {
    let (name, url, key) = (party.name, party.url.clone(), party.key.clone());
    check(party.node.shutdown().await == 0, "nothing was left unwritten")?;
    drop(party);
    peer.expect(&Heard::Down(CloseReason::Disconnected, "shutdown".to_owned()))?;
    let addr = url.split('/').nth(2).unwrap_or_default();
    let again = Party::at(name, addr, key).await?;
    peer.node.notify(&url, GARDEN, b"welcome back")?;
    for (party, other) in [(&again, peer), (peer, &again)] {
        party.expect(&Heard::Preflight(format!("{} is at home", other.name)))?;
        party.expect(&Heard::Up)?;
    }
    again.expect(&Heard::Notify(b"welcome back".to_vec()))?;
    Ok(again)
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
    let heard = bob.heard.try_iter().find(|heard| matches!(heard, Heard::Notify(_)));
    check(heard.is_none(), "nothing of a blocked peer is delivered")
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

fn print_stats(style: Style, nodes: &[(&str, Stats)]) {
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
