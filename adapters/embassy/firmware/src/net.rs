//! The network of every image: QEMU's user network, in which the host is 10.0.2.2.

use embassy_executor::Spawner;
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use static_cell::{ConstStaticCell, StaticCell};

use crate::board::{self, Ethernet};
use crate::nic::Nic;
use crate::{SOCKETS, host};

/// Where the host is.
pub const HOST: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
/// Where we are.
pub const OWN: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);

/// A number that is another one in each run, if the host gives one. Without a host it is a time.
pub fn seed() -> u64 {
    host::argument("seed")
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| embassy_time::Instant::now().as_ticks())
}

/// Starts the board and its network. The runner is a task of its own: sockets wake it each time that they are looked
/// at, and one task with both would never sleep.
pub fn start(spawner: Spawner) -> Stack<'static> {
    static NIC: StaticCell<Nic<Ethernet>> = StaticCell::new();
    static RESOURCES: ConstStaticCell<StackResources<SOCKETS>> = ConstStaticCell::new(StackResources::new());

    let nic = NIC.init(board::start().expect("started once"));
    let config = Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(OWN, 24),
        gateway: Some(HOST),
        dns_servers: heapless::Vec::new(),
    });
    let (stack, runner) = embassy_net::new(nic, config, RESOURCES.take(), seed());
    spawner.spawn(run(runner).expect("spawned once"));
    stack
}

#[embassy_executor::task]
async fn run(mut runner: Runner<'static, &'static mut Nic<Ethernet>>) -> ! {
    runner.run().await
}
