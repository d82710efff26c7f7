//! Messages in both directions.

use std::future::Future;
use std::pin::Pin;

use kitfox_smol::{CloseReason, SendError};
use kitfox_tests::firmware::{ECHO, SPACE};

use crate::bench::{Bench, Setup, log};

type Test = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) fn firmware_dials_and_answers_notifies_and_modules(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        bench.host.node.notify(&bench.url, SPACE, b"it rains").unwrap();
        assert_eq!(bench.host.notified().await, b"it rains");
        bench.answers(b"to the module").await;
        bench.answers(b"").await;
        assert_eq!(bench.command("name").await, setup.board.name);
        assert_eq!(bench.host.node.stats().connections.len(), 1);
    })
}

pub(crate) fn a_message_over_many_segments_is_put_together(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        // Several times the receive buffer of the firmware's socket; the rest of the frame says where it belongs.
        let len = setup.board.frame_bytes - 64;
        let long: Vec<u8> = (0..len).map(|number| ((number * number) >> 3) as u8).collect();
        for _ in 0..3 {
            bench.answers(&long).await;
        }
    })
}

pub(crate) fn a_thousand_messages_come_back_byte_for_byte(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        let message = |number: usize| -> Vec<u8> {
            let len = number * 7919 % 1200;
            (0..len).map(|at| (at * 31 + number * 17) as u8).collect()
        };
        for number in 0..1000 {
            // The host's outbox holds them all; the firmware takes them as fast as it can answer.
            bench.host.node.module(&bench.url, SPACE, ECHO, &message(number)).unwrap();
        }
        for number in 0..1000 {
            assert!(bench.host.echoed().await == message(number), "message {number}");
        }
        assert!(bench.host.is_at_peace());
    })
}

pub(crate) fn an_oversize_message_closes_its_connection_and_the_next_one_works(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        bench.host.node.module(&bench.url, SPACE, ECHO, &vec![7; setup.board.frame_bytes]).unwrap();
        let down = bench.host.down().await;
        assert_ne!(down.reason(), CloseReason::Superseded, "{down:?}");
        bench.ready().await;
        bench.answers(b"after").await;
    })
}

pub(crate) fn a_message_that_firmware_does_not_take_is_refused_and_the_connection_stays(
    setup: Setup,
) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        let refused = bench.host.node.module(&bench.url, SPACE, ECHO, &vec![7; setup.board.frame_bytes]);
        assert_eq!(refused, Err(SendError::TooLargeForPeer));
        bench.answers(b"after").await;
        assert!(bench.host.is_at_peace());
    })
}

pub(crate) fn what_firmware_does_is_in_its_log(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        bench.command("name").await;
        let log = log(&bench.machine);
        assert!(log.contains("command name") && log.contains(setup.board.name), "{log}");
        assert!(!log.contains("malformed"), "{log}");
    })
}
