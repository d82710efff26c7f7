//! What each parameter of a device's memory costs, as docs/memory.md says.

use kitfox_embassy::{Plain, Secured};

/// What a plain node owns.
type Resources<S, const SOCKETS: usize, const RX: usize = 1024, const TX: usize = 1024> =
    kitfox_embassy::Resources<S, SOCKETS, RX, TX, Plain>;

const SOCKETS: usize = 3;
// Defaults of the tier.
const PEERS: usize = 4;
const CONNECTIONS: usize = 4;

/// A tier that differs from the defaults in what is named.
macro_rules! board {
    ($name:ident { $($size:ident: $value:expr),* }) => {
        mod $name {
            kitfox_core::fixed!(pub(super) Board { $($size: $value),* });
        }
    };
}

board!(base {});
board!(frame { frame: 1024 + 64 });
board!(tx { tx: 1024 + 64 });
board!(outbox { outbox: 1024 + 64 });

const BASE: usize = size_of::<Resources<base::Board, SOCKETS>>();

#[test]
fn a_longer_frame_costs_each_connection_as_many_bytes() {
    assert_eq!(size_of::<Resources<frame::Board, SOCKETS>>() - BASE, 64 * CONNECTIONS);
}

#[test]
fn a_longer_transmit_queue_costs_each_connection_as_many_bytes() {
    assert_eq!(size_of::<Resources<tx::Board, SOCKETS>>() - BASE, 64 * CONNECTIONS);
}

#[test]
fn a_larger_outbox_costs_each_peer_as_many_bytes() {
    assert_eq!(size_of::<Resources<outbox::Board, SOCKETS>>() - BASE, 64 * PEERS);
}

#[test]
fn larger_ring_buffers_cost_each_socket_as_many_bytes() {
    assert_eq!(size_of::<Resources<base::Board, SOCKETS, { 1024 + 64 }, 1024>>() - BASE, 64 * SOCKETS);
    assert_eq!(size_of::<Resources<base::Board, SOCKETS, 1024, { 1024 + 64 }>>() - BASE, 64 * SOCKETS);
}

#[test]
fn another_socket_costs_its_ring_buffers() {
    assert_eq!(size_of::<Resources<base::Board, { SOCKETS + 1 }>>() - BASE, 2048);
}

#[test]
fn longer_records_cost_each_connection_twice_as_many_bytes() {
    type With<const BYTES: usize> =
        kitfox_embassy::Resources<base::Board, SOCKETS, 1024, 1024, Secured<BYTES>>;
    assert_eq!(size_of::<With<{ 528 + 64 }>>() - size_of::<With<528>>(), 2 * 64 * CONNECTIONS);
}

/// The sizes of one more of each, on a machine with pointers of `usize`. Printed by `-- --nocapture`.
#[test]
fn one_more_of_anything_costs_no_more_than_the_table_says() {
    board!(one_connection { connections: 5 });
    board!(one_peer { peers: 5 });
    board!(one_space { spaces: 2 });
    board!(one_module { modules: 2 });
    board!(longer_url { url: 128 + 8 });
    fn more<S: kitfox_core::storage::Storage>() -> usize {
        size_of::<Resources<S, SOCKETS>>() - BASE
    }
    let (connection, peer) = (more::<one_connection::Board>(), more::<one_peer::Board>());
    println!(
        "connection {connection}, peer {peer}, space {}, module {}, 8 bytes of URL {}",
        more::<one_space::Board>(),
        more::<one_module::Board>(),
        more::<longer_url::Board>()
    );
    assert!(connection - 2048 <= 1000, "{connection}");
    assert!(peer - 1024 <= 500, "{peer}");
}
