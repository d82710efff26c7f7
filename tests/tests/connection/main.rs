//! One connection against byte scripts: what comes in, what is asked and delivered, what goes out.

mod errors;
mod gate;
mod memory;
mod messages;
mod refusals;
mod splits;
mod time;

use kitfox_core::storage::Storage;
use kitfox_tests::pair::Side;
use kitfox_tests::script::{at, config, wire};

/// Alice's preflight, as a dialler writes it.
const FROM_ALICE: &str = "00 00000026 00000019 'ws://127.0.0.1:9000/alice' 0801 1205 'hello'";
/// Bob's preflight, as an acceptor writes it.
const FROM_BOB: &str = "00 00000024 00000017 'ws://127.0.0.1:9001/bob' 0801 1205 'world'";
/// The dialler's third leg.
const CONFIRM: &str = "01 00000000";
/// A NOTIFY to the space `garden`.
const RAIN: &str = "01 00000014 0802 1208 'it rains' 1a06 'garden'";
/// A MODULE message to `moss` in `garden`.
const GROWS: &str = "01 00000017 0803 1205 'grows' 1a06 'garden' 2204 'moss'";
/// A DISCONNECT.
const BYE: &str = "01 00000007 080f 1203 'bye'";
/// What a peer is told that is refused.
const REFUSED: &str = "01 0000000b 080f 1207 'refused'";
/// What a peer is told that broke the protocol.
const PROTOCOL_ERROR: &str = "01 00000012 080f 120e 'protocol error'";
/// What a peer is told that is too slow.
const TIMEOUT: &str = "01 0000000b 080f 1207 'timeout'";

/// Alice, whose gate is open; what she wrote for that is gone.
fn open_dialler<S: Storage>() -> Side<S> {
    open(Side::dial(at(0), &config()))
}

/// Bob, whose gate is open; what he wrote for that is gone.
fn open_acceptor<S: Storage>() -> Side<S> {
    open(Side::accept(at(0), &config()))
}

fn open<S: Storage>(mut side: Side<S>) -> Side<S> {
    match side.connection.rx().role() {
        kitfox_core::connection::Role::Dialler => side.receive(at(0), &wire(FROM_BOB)),
        _ => side.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat()),
    };
    assert!(side.opened() && side.closed().is_none());
    side.written(at(0));
    side
}
