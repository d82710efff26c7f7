//! What a connection takes out of the outbox, before it is sealed and written.

use kitfox_core::connection::{Outbox, Tx};
use kitfox_core::storage::Storage;
use kitfox_core::wire::Message;
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::SPACE;
use kitfox_tests::script::{at, config};

use crate::common::{Channel, alice, open};

on_both_tiers!(
    staging_changes_no_byte,
    what_comes_meanwhile_belongs_to_the_next_record,
    what_is_staged_has_to_be_taken_in_time,
    before_the_handshake_is_done_no_message_is_staged,
);

/// An outbox with these messages, whose connection is open.
fn outbox<S: Storage>(texts: &[&str]) -> Outbox<S> {
    let mut outbox = Outbox::new(&config());
    outbox.begin(usize::MAX);
    for text in texts {
        outbox.push(&Message::notify(SPACE, text.as_bytes())).unwrap();
    }
    outbox
}

/// What the connection has to write.
fn written<S: Storage>(tx: &mut Tx<S, Channel<S>>, outbox: Option<&mut Outbox<S>>) -> Vec<u8> {
    let mut out = vec![0; 4096];
    let len = tx.transmit_with(at(0), outbox, &mut out);
    out.truncate(len);
    out
}

/// Frames of the connection and messages of its peer, in one record.
fn staging_changes_no_byte<S: Storage>() {
    let mut pair = open::<S>();
    let tx = pair.a.connection.tx_mut();
    tx.push_empty(at(0)).unwrap();
    let mut other = tx.clone();
    let mut messages = outbox::<S>(&["one", "two"]);
    assert!(tx.stage(at(0), &mut messages));
    assert!(messages.is_empty() && messages.next_written() == 2, "all of it fits into a record");
    let staged = written(tx, None);
    assert_eq!(written(&mut other, Some(&mut outbox(&["one", "two"]))), staged);
    assert!(!tx.stage(at(0), &mut messages), "there is nothing left");
    pair.b.receive(at(0), &staged);
    assert_eq!(pair.b.notified(), ["one", "two"]);
}

fn what_comes_meanwhile_belongs_to_the_next_record<S: Storage>() {
    let mut pair = open::<S>();
    let tx = pair.a.connection.tx_mut();
    let mut outbox = outbox::<S>(&["one"]);
    assert!(tx.stage(at(0), &mut outbox));
    outbox.push(&Message::notify(SPACE, b"two")).unwrap();
    // The socket takes all but the last byte.
    let record = tx.pending();
    assert_eq!(tx.transmit_slices(at(0), |_| Ok::<_, ()>(record - 1)), Ok(record - 1));
    assert!(tx.stage(at(0), &mut outbox));
    assert_eq!((tx.pending(), outbox.next_written()), (1, 1));
    assert_eq!(written(tx, None).len(), 1);
    assert!(tx.stage(at(0), &mut outbox));
    assert_eq!((tx.pending(), outbox.next_written()), (record, 2));
}

fn what_is_staged_has_to_be_taken_in_time<S: Storage>() {
    let mut pair = open::<S>();
    let tx = pair.a.connection.tx_mut();
    assert!(tx.stage(at(5), &mut outbox(&["one"])));
    let end = 5 + config().tx_timeout.as_millis() as u64;
    assert!(tx.handle_timeout(at(end - 1)));
    assert!(!tx.handle_timeout(at(end)));
}

fn before_the_handshake_is_done_no_message_is_staged<S: Storage>() {
    let mut alice = alice::<S>();
    let mut outbox = outbox(&["one"]);
    assert!(!alice.connection.tx_mut().stage(at(0), &mut outbox), "nothing is said yet");
    alice.run(at(0));
    let tx = alice.connection.tx_mut();
    assert!(tx.stage(at(0), &mut outbox), "its first message");
    assert!(!written(tx, None).is_empty());
    assert!(!tx.stage(at(0), &mut outbox));
    assert_eq!(outbox.next_written(), 0);
}
