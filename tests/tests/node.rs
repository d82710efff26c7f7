//! Two nodes and one connection.

use kitfox_core::node::NodeConfig;
use kitfox_core::storage::Heap;
use kitfox_tests::world::{Event, Told, Trusting, World};

#[test]
fn a_send_dials_and_arrives() {
    let mut world = World::<Heap, Trusting>::new(&NodeConfig::HOST, &["a", "b"]);
    world.send(0, 1, b"hello").unwrap();
    assert!(world.settle(100));
    assert!(
        world.hosts[1].told.iter().any(|told| matches!(told, Told::Message(_, data) if data == b"hello"))
    );
    assert_eq!(world.live_links(), 1);
    let _ = Event::Tick(0);
}

#[test]
fn both_send_at_once() {
    let mut world = World::<Heap, Trusting>::new(&NodeConfig::HOST, &["a", "b"]);
    world.send(0, 1, b"from a").unwrap();
    world.send(1, 0, b"from b").unwrap();
    assert!(world.settle(100));
    assert_eq!(world.live_links(), 1);
}
