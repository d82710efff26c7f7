//! Nothing is lost, doubled or out of order, whatever happens in whatever order.

use kitfox_core::fixed;
use kitfox_tests::search::{Fault, Run, Seen, Timing};
use kitfox_tests::world::{Mischief, Trusting};

fixed!(Tiny { peers: 2, connections: 6, frame: 96, tx: 128, outbox: 96, url: 32, block_rules: 1, blocked_counts: 1 });

fn good(run: Run) -> Seen {
    let began = std::time::Instant::now();
    match run.search::<Tiny, Trusting>() {
        Ok(seen) => {
            println!("{:24} {seen:?} {:?}", run.name, began.elapsed());
            seen
        }
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn without_a_fault_everything_arrives() {
    println!("{}", size_of::<kitfox_core::node::Node<Tiny, kitfox_core::router::BlockList<Tiny>, Trusting>>());
    good(Run { name: "one side sends", messages: [1, 0, 0], ..Run::default() });
    good(Run { name: "both send", ..Run::default() });
}
