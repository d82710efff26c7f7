//! Messages and their fates.

use crate::common::*;
use crate::hub::Hub;
use crate::sim::test;

#[test]
fn a_message_dials_and_arrives() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair(&sim, &hub).await;
        bob.sends(&alice, b"it rains").await;
        assert_eq!(within(10, alice.hears()).await, b"it rains");
        assert!(alice.nothing_more() && bob.nothing_more());
    });
}
