//! Nodes over streams that are not sockets.

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::pipe::Pipe;
use kitfox_embassy::{CloseReason, Resources, Role, new_stream};

use crate::common::*;
use crate::sim::test;

type Line = Pipe<NoopRawMutex, 64>;

on_both_wires! {
    two_nodes_talk_over_a_line,
    noise_on_the_line_ends_the_connection_and_another_one_begins,
}

fn two_nodes_talk_over_a_line<W: Wire>() {
    test(async |_| {
        let url = |name| format!("{}://line:1/{}", W::scheme(), W::id(name));
        let (there, back) = (Line::new(), Line::new());
        let (mut ours, mut theirs) =
            (Resources::<Board, 1, 1024, 1024, W>::new(), Resources::<Board, 1, 1024, 1024, W>::new());
        let (alice, mut alice_runs) = new_stream(&mut ours, W::options("alice")).unwrap();
        let (bob, mut bob_runs) = new_stream(&mut theirs, W::options("bob")).unwrap();
        for node in [alice, bob] {
            node.register_space(SPACE).await.unwrap();
        }
        let (mut told_alice, mut told_bob) = (Reporter::default(), Reporter::default());
        let (heard_alice, heard_bob) = (told_alice.heard.clone(), told_bob.heard.clone());
        // What is sent to the dialler waits for it.
        bob.send_notify(&url("alice"), SPACE, b"first").await.unwrap();
        let talk = async {
            for number in 0..50u8 {
                alice.send_notify(&url("bob"), SPACE, &[number; 200]).await.unwrap();
                eventually(|| (heard_bob.borrow().last()? == &[number; 200]).then_some(())).await;
            }
            eventually(|| (heard_alice.borrow().last()? == b"first").then_some(())).await;
            alice.disconnect(&W::id("bob"), b"bye").await.unwrap();
            pass(embassy_time::Duration::from_secs(1)).await;
        };
        let reasons = embassy_futures::join::join3(
            alice_runs.run(Role::Dialler, &back, &there, &mut told_alice),
            bob_runs.run(Role::Acceptor, &there, &back, &mut told_bob),
            talk,
        )
        .await;
        assert_eq!((reasons.0, reasons.1), (CloseReason::Local, CloseReason::Disconnected));
        assert_eq!(heard_bob.borrow().len(), 50);
    });
}

fn noise_on_the_line_ends_the_connection_and_another_one_begins<W: Wire>() {
    test(async |_| {
        let mut memory = Resources::<Board, 1, 1024, 1024, W>::new();
        let (_, mut runner) = new_stream(&mut memory, W::options("alice")).unwrap();
        for _ in 0..5 {
            let (there, back) = (Line::new(), Line::new());
            there.write(b"\x55\x55\x55\x55\x55\x55").await;
            let mut handler = kitfox_embassy::NoHandler;
            let run = runner.run(Role::Acceptor, &there, &back, &mut handler);
            let Either::First(reason) = select(run, pass(embassy_time::Duration::from_secs(1))).await else {
                panic!("it goes on")
            };
            assert!(matches!(reason, CloseReason::Protocol(_)));
            assert_eq!(back.is_empty(), W::SECURED, "the other end is told, unless nothing is sealed yet");
        }
    });
}
