//! The table of peers by itself, as a host with threads drives it.

mod tiers;

use kitfox_core::connection::CloseReason;
use kitfox_core::node::{NotSentCause, PeerTable, Step};
use kitfox_core::storage::Storage;
use kitfox_core::{Instant, PeerId, ProtocolError};
use tiers::*;

both_tiers![what_no_gate_lets_through_closes, a_peer_is_forgotten_after_everything_was_told_of_it,];

/// All steps that wait.
fn steps<T: Storage>(table: &mut PeerTable<T>) -> Vec<Step> {
    core::iter::from_fn(|| table.next_step()).collect()
}

fn what_no_gate_lets_through_closes<T: Storage>() {
    let now = Instant::ZERO;
    let misplaced = CloseReason::from(ProtocolError::SecondPreflight);
    for proven in [true, false] {
        let mut table = PeerTable::<T>::new(&config().peers, PeerId::new("b").unwrap(), 1);
        let peer = PeerId::new("a").unwrap();
        let connection = table.accept().unwrap();
        assert_eq!((table.pending(), table.is_proven(connection)), (1, false));
        table.introduced(now, connection, &peer, URL_S, proven);
        assert_eq!(
            steps(&mut table),
            [Step::Pause(table.peer(&peer).unwrap(), true), Step::Proceed(connection)]
        );
        assert_eq!((table.pending(), table.is_proven(connection)), (0, proven));
        // Once more.
        table.introduced(now, connection, &peer, URL_S, proven);
        assert_eq!(steps(&mut table)[0], Step::Close(connection, misplaced));
        assert_eq!((table.state(connection), table.is_proven(connection)), (None, false));
    }
    // A confirm before anything else, and one on a connection that has ended.
    let mut table = PeerTable::<T>::new(&config().peers, PeerId::new("b").unwrap(), 1);
    let connection = table.accept().unwrap();
    assert!(!table.confirmed(now, connection));
    assert_eq!(steps(&mut table), [Step::Close(connection, misplaced)]);
    assert!(!table.confirmed(now, connection));
    assert_eq!(steps(&mut table), []);
}

fn a_peer_is_forgotten_after_everything_was_told_of_it<T: Storage>() {
    let now = Instant::ZERO;
    let mut table = PeerTable::<T>::new(&config().peers, PeerId::new("b").unwrap(), 1);
    let peer = PeerId::new("a").unwrap();
    // It is to leave, and before that is taken out a message is sent to it and given up.
    let key = table.enter(&peer, URL_S).unwrap();
    table.waiting(now, key, false);
    assert_eq!(table.enter(&peer, URL_S), Ok(key));
    table.waiting(now, key, true);
    let (connection, _) = table.connections().next().unwrap();
    table.disconnect(now, key);
    assert_eq!(
        steps(&mut table),
        [
            Step::Dial(key, connection),
            Step::Close(connection, CloseReason::Local),
            Step::GiveUp(key, NotSentCause::Disconnected),
            Step::Forget(key),
        ]
    );
    assert_eq!(table.peer(&peer), None);
}
