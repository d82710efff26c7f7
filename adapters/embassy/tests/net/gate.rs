//! Who is let in, and who is heard.

use kitfox_embassy::{BuildError, NoEntropy, Options, PeerId, new};

use crate::common::*;
use crate::hub::Hub;
use crate::sim::test;

on_both_wires! {
    a_preflight_that_is_too_long_closes_the_connection_at_once,
    a_node_that_makes_no_sense_is_not_made,
}

fn a_preflight_that_is_too_long_closes_the_connection_at_once<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let told = Reporter { preflight: &[7; 2000], ..Reporter::default() };
        let alice = Party::<W>::with(&sim, &hub, 1, W::options("alice").peers(HASTY), told).await;
        let bob = Party::<W>::new(&sim, &hub, 2, "bob").await;
        alice.sends(&bob, b"hello").await;
        within(1000, alice.until(|event| matches!(event, Event::NotSent(..)))).await;
    });
}

fn a_node_that_makes_no_sense_is_not_made<W: Wire>() {
    test(async |sim| {
        let machine = Machine::new(&sim, &Hub::default(), 1);
        let refused =
            |options: Options<'static, W>| new(machine.stack, resources(), options).map(|_| ()).unwrap_err();
        let with = |advertise: String| Options { advertise: Some(advertise.leak()), ..W::options("fox") };
        assert!(matches!(refused(with("fox".into())), BuildError::AdvertisedUrl(_)));
        assert_eq!(refused(with(W::url(1, 1, "cat"))), BuildError::AdvertisedId);
        let other = if W::SECURED { "ws" } else { "wss" };
        let other = W::url(1, 1, "fox").replace(W::scheme(), other);
        assert_eq!(refused(with(other)), BuildError::AdvertisedScheme);
        assert_eq!(refused(Options { port: 0, ..W::options("fox") }), BuildError::NothingToListenOn);
        let entropy = Box::leak(Box::new(|_: &mut [u8; 32]| Err(NoEntropy)));
        assert_eq!(refused(Options { entropy, ..W::options("fox") }), BuildError::Entropy(NoEntropy));
    });
}

#[test]
fn an_id_that_no_url_can_carry_is_refused() {
    test(async |sim| {
        let machine = Machine::new(&sim, &Hub::default(), 1);
        for id in ["a/b", "a b", "é", "a?b", "."] {
            let options = Options::plain(PeerId::new(id).unwrap(), entropy());
            let refused = new(machine.stack, resources(), options).map(|_| ()).unwrap_err();
            assert_eq!(refused, BuildError::PeerId, "{id:?}");
        }
    });
}
