//! Alice and Bob, with keys.

use kitfox_core::connection::{Channel as _, Connection, Rx, Tx};
use kitfox_core::secure::{Credentials, HOST_RECORD_BYTES, Network, SecretKey, Secured, Start};
use kitfox_core::storage::Storage;
use kitfox_core::{Config, PeerId};
use kitfox_tests::pair::{Pair, Side, peer_url};
use kitfox_tests::script::{Act, at, config};

/// The channel of a tier: records are put together where frames are.
pub(crate) type Channel<S> = Secured<<S as Storage>::RxBuffer>;
pub(crate) type Secure<S> = Side<S, Channel<S>>;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn credentials(seed: u8) -> Credentials {
    Credentials { key: key(seed), network: Network::default(), max_record_bytes: HOST_RECORD_BYTES }
}

pub(crate) const ALICE: u8 = 1;
pub(crate) const BOB: u8 = 2;

pub(crate) fn id(seed: u8) -> PeerId {
    key(seed).peer_id()
}

pub(crate) fn url(id: PeerId) -> String {
    format!("ws://127.0.0.1:9000/{id}")
}

/// The end that dials `peer`.
pub(crate) fn dial<S: Storage>(config: &Config, ours: &Credentials, peer: PeerId) -> Secure<S> {
    let (opener, sealer) = Channel::<S>::halves(Start::dial(ours, &peer).unwrap());
    let rx = Rx::dial(at(0), config, opener, peer_url(&url(peer))).unwrap();
    let connection = Connection::from_halves(rx, Tx::new(config, sealer));
    Side::new(connection, &url(ours.key.peer_id()), b"hello")
}

/// The end that is dialled.
pub(crate) fn accept<S: Storage>(config: &Config, ours: &Credentials) -> Secure<S> {
    let (opener, sealer) = Channel::<S>::halves(Start::accept(ours));
    let rx = Rx::accept(at(0), config, opener);
    let connection = Connection::from_halves(rx, Tx::new(config, sealer));
    Side::new(connection, &url(ours.key.peer_id()), b"world")
}

pub(crate) fn alice<S: Storage>() -> Secure<S> {
    dial(&config(), &credentials(ALICE), id(BOB))
}

pub(crate) fn bob<S: Storage>() -> Secure<S> {
    accept(&config(), &credentials(BOB))
}

pub(crate) fn pair<S: Storage>() -> Pair<S, Channel<S>> {
    Pair::of(alice(), bob())
}

/// A pair whose gates are open.
pub(crate) fn open<S: Storage>() -> Pair<S, Channel<S>> {
    let mut pair = pair();
    pair.drive();
    assert!(pair.a.opened() && pair.b.opened(), "{:?} {:?}", pair.a.acts, pair.b.acts);
    pair
}

/// The actions that a plain connection would have given, too.
pub(crate) fn without_handshake(acts: &[Act]) -> Vec<Act> {
    let is_handshake = |act: &&Act| matches!(act, Act::Randomness | Act::AdmitHandshake { .. });
    acts.iter().filter(|act| !is_handshake(act)).cloned().collect()
}

/// What both ends say in a handshake: the first message and the second one.
pub(crate) fn handshake<S: Storage>() -> (Vec<u8>, Vec<u8>) {
    let (mut alice, mut bob) = (alice::<S>(), bob::<S>());
    alice.run(at(0));
    let first = alice.written(at(0));
    bob.receive(at(0), &first);
    (first, bob.written(at(0)))
}
