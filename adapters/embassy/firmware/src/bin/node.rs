//! A node that does what it is told: the firmware that the tests talk to.
//!
//! It says `ready` to the peer of the argument `peer=URL`, again after each time that it lost it, and is known under the
//! URL of the argument `url=URL`. What comes to its space or to the module `echo` goes back the same way. The module
//! `board` takes [commands](obey).
#![no_std]
#![no_main]

use core::task::{Context, Poll};

use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Timer;
use kitfox_embassy::{
    Down, Handler, Inbox, Incoming, MessageId, Node, NotSentCause, Ops, Options, PeerKey, PeerLimits,
    Refused, Resources, Runner, fixed, new,
};
use kitfox_firmware::channel::{self, Channel};
use kitfox_firmware::host::Text;
use kitfox_firmware::{PORT, SOCKET_BYTES, board, executor, host, log, net};
use static_cell::{ConstStaticCell, StaticCell};

const SPACE: &[u8] = b"garden";
const ECHO: &str = "echo";
const COMMANDS: &str = "board";
/// For the host, for another peer, and one that listens meanwhile or dials.
const SOCKETS: usize = 3;
/// Longest frame: as much as the smaller board has room for, and several receive buffers on the other.
const FRAME: usize = if cfg!(feature = "mps2-an386") { 4 << 10 } else { 3 << 9 };

fixed!(Board {
    connections: SOCKETS,
    peers: SOCKETS,
    spaces: 1,
    modules: 2,
    frame: FRAME,
    outbox: FRAME,
    tx: 256,
});

type Post = Inbox<1, FRAME>;
type Handle = Node<'static, Board, Channel>;

/// The host is not connected, or a message to it was given up.
static LOST: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// Takes messages in for the task that answers them, one at a time.
struct Desk {
    post: &'static Post,
}

impl Handler<Board> for Desk {
    fn notify(&mut self, node: &mut Ops<'_, Board>, message: &Incoming<'_>) -> Result<(), Refused> {
        self.post.put(node, message)
    }

    fn module(&mut self, node: &mut Ops<'_, Board>, message: &Incoming<'_>) -> Result<(), Refused> {
        self.post.put(node, message)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.post.poll_room(cx)
    }

    fn peer_down(&mut self, _: &mut Ops<'_, Board>, _: PeerKey, _: &Down<'_>) {
        LOST.signal(());
    }

    fn not_sent(&mut self, _: &mut Ops<'_, Board>, _: MessageId, _: NotSentCause) {
        LOST.signal(());
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    executor::run(start)
}

fn start(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<Resources<Board, SOCKETS, SOCKET_BYTES, SOCKET_BYTES, Channel>> =
        ConstStaticCell::new(Resources::new());
    static POST: StaticCell<Post> = StaticCell::new();
    static URL: StaticCell<Text> = StaticCell::new();

    let stack = net::start(spawner);
    let url = host::argument("url").map(|url| URL.init(url).as_str());
    // Two sockets are kept from strangers: the host's, and one to dial with.
    let peers = PeerLimits { max_pending: SOCKETS - 2, ..PeerLimits::DEVICE };
    let options = Options { port: PORT, advertise: url, ..channel::options().peers(peers) };
    let (node, runner) = new(stack, RESOURCES.take(), options).expect("sound options");
    log!("{} on {}", url, board::NAME);

    let post: &'static Post = POST.init_with(Inbox::new);
    spawner.spawn(drive(runner, post).expect("spawned once"));
    spawner.spawn(answer(node, post).expect("spawned once"));
    spawner.spawn(stay_in_touch(node).expect("spawned once"));
}

#[embassy_executor::task]
async fn drive(mut runner: Runner<'static, Board, SOCKETS, Channel>, post: &'static Post) -> ! {
    runner.run(&mut Desk { post }).await
}

/// Joins the space, and says `ready` to the host whenever it may have forgotten us.
#[embassy_executor::task]
async fn stay_in_touch(node: Handle) {
    node.register_space(SPACE).await.expect("room for it");
    for module in [ECHO, COMMANDS] {
        node.register_module(SPACE, module).await.expect("room for it");
    }
    let Some(host) = host::argument("peer") else { return };
    node.wait_network_up().await;
    loop {
        if let Err(_refused) = node.send_notify(&host, SPACE, b"ready").await {
            log!("not ready: {}", _refused);
        }
        LOST.wait().await;
        // Whoever is starting again needs some time for it.
        Timer::after_millis(100).await;
    }
}

/// Answers what came in. Waits while the peer takes nothing, and then no more is read of anybody.
#[embassy_executor::task]
async fn answer(node: Handle, post: &'static Post) {
    loop {
        let letter = post.recv().await;
        let mut from = Text::new();
        node.peers(|peer| {
            if peer.id == letter.from_id.as_ref() {
                let _ = from.push_str(peer.url);
            }
        })
        .await;
        let sent = match letter.module() {
            "" => node.send_notify(&from, SPACE, letter.data()).await,
            COMMANDS => {
                let done = obey(node, letter.data()).await;
                node.send_module(&from, SPACE, COMMANDS, done).await
            }
            module => node.send_module(&from, SPACE, module, letter.data()).await,
        };
        if let Err(_refused) = sent {
            log!("no answer to {}: {}", from, _refused);
        }
    }
}

/// Does what a command says: `block ID`, `unblock ID`, `greet URL`, `blocked ID` (is a message of it dropped by now?), or
/// `name`.
async fn obey(node: Handle, command: &[u8]) -> &'static [u8] {
    let text = core::str::from_utf8(command).unwrap_or_default();
    log!("command {}", text);
    let done = match text.split_once(' ') {
        Some(("block", id)) => node.block(id, None).await.is_ok(),
        Some(("unblock", id)) => node.unblock(id, None).await,
        Some(("greet", url)) => node.send_notify(url, SPACE, b"greetings").await.is_ok(),
        Some(("blocked", id)) => has_blocked(node, id).await,
        None if text == "name" => return board::NAME.as_bytes(),
        _ => false,
    };
    if done { b"yes" } else { b"no" }
}

async fn has_blocked(node: Handle, id: &str) -> bool {
    let mut dropped = false;
    node.blocked(|url, _, incoming, _| dropped |= incoming > 0 && url.rsplit('/').next() == Some(id)).await;
    dropped
}
