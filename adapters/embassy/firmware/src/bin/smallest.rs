//! The smallest node, whose size is measured: one space, one module, and as many peers as sockets.
//!
//! It says `ready` to the peer of the argument `peer=URL`, and sends back what it receives.
#![no_std]
#![no_main]

use kitfox_embassy::{Handler, Incoming, Node, Ops, Options, Refused, Resources, Runner, fixed, new};
use kitfox_firmware::channel::{self, Channel};
use kitfox_firmware::{PORT, SOCKET_BYTES, SOCKETS, executor, host, net};
use static_cell::ConstStaticCell;

const SPACE: &[u8] = b"garden";
const MODULE: &str = "echo";
/// Whom it dials if it is not told.
const HOST: &str = if cfg!(feature = "plain") {
    "ws://10.0.2.2:7777/host"
} else {
    "wss://10.0.2.2:7777/d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
};

fixed!(Board {
    connections: SOCKETS,
    peers: SOCKETS,
    spaces: 1,
    modules: 1,
    frame: 1024,
    outbox: 1024,
    tx: 512,
    block_rules: 1,
    blocked_counts: 1,
});

struct Echo;

impl Handler<Board> for Echo {
    fn notify(&mut self, node: &mut Ops<'_, Board>, message: &Incoming<'_>) -> Result<(), Refused> {
        node.notify_peer(message.from, message.space, message.data).map(drop).map_err(|_| Refused)
    }

    fn module(&mut self, node: &mut Ops<'_, Board>, message: &Incoming<'_>) -> Result<(), Refused> {
        node.module_peer(message.from, message.space, message.module, message.data)
            .map(drop)
            .map_err(|_| Refused)
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static RESOURCES: ConstStaticCell<Resources<Board, SOCKETS, SOCKET_BYTES, SOCKET_BYTES, Channel>> =
        ConstStaticCell::new(Resources::new());

    executor::run(|spawner| {
        let stack = net::start(spawner);
        let options = Options { port: PORT, ..channel::options() };
        let resources = RESOURCES.take();
        let (node, runner) = new(stack, resources, options).expect("sound options");
        spawner.spawn(drive(runner).expect("spawned once"));
        spawner.spawn(greet(node).expect("spawned once"));
    })
}

#[embassy_executor::task]
async fn drive(mut runner: Runner<'static, Board, SOCKETS, Channel>) -> ! {
    runner.run(&mut Echo).await
}

#[embassy_executor::task]
async fn greet(node: Node<'static, Board, Channel>) {
    node.wait_network_up().await;
    let registered =
        node.register_space(SPACE).await.is_ok() && node.register_module(SPACE, MODULE).await.is_ok();
    let peer = host::argument("peer");
    let peer = peer.as_deref().unwrap_or(HOST);
    if registered && node.send_notify(peer, SPACE, b"ready").await.is_err() {
        host::exit(1);
    }
}
