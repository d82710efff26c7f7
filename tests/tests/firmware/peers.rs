//! Peers that come, go and are not welcome.

use std::future::Future;
use std::pin::Pin;

use kitfox_smol::CloseReason;
use kitfox_tests::firmware::{Host, SPACE, Told};

use crate::bench::{Bench, Setup, switch_on, url};

type Test = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) fn a_host_that_restarts_is_found_again(setup: Setup) -> Test {
    Box::pin(async move {
        let mut bench = Bench::new(setup).await;
        for goodbye in [true, false, true] {
            let port = bench.host.port;
            if goodbye {
                bench.host.node.shutdown().await;
            }
            // The old node has to be gone before there is another one in its place.
            let gone = std::mem::replace(&mut bench.host, Host::new("elsewhere", setup.wire).await);
            drop(gone);
            bench.host = restarted(setup, port).await;
            // Nobody but the firmware knows that there is somebody to dial.
            bench.ready().await;
            bench.answers(b"again").await;
        }
    })
}

/// A host in the place of one that is gone, as soon as its port is free.
async fn restarted(setup: Setup, port: u16) -> Host {
    loop {
        if let Ok(host) = Host::at("host", setup.wire, port).await {
            return host;
        }
        async_io::Timer::after(std::time::Duration::from_millis(5)).await;
    }
}

pub(crate) fn firmware_that_restarts_is_welcome_again(setup: Setup) -> Test {
    Box::pin(async move {
        let mut bench = Bench::new(setup).await;
        for _ in 0..2 {
            // Power off: no goodbye.
            bench.machine = switch_on(setup, &bench.host);
            bench.url = url(setup, bench.machine.port());
            loop {
                // The host is told of the end of the old session, if it noticed it, before the new one.
                match bench.host.told().await {
                    Told::Up(peer) => break assert_eq!(peer.url(), bench.url),
                    Told::Down(_, down) => assert_ne!(down.reason(), CloseReason::Disconnected),
                }
            }
            assert_eq!(bench.host.notified().await, b"ready");
            bench.answers(b"again").await;
        }
    })
}

pub(crate) fn firmware_dials_whom_it_is_told_to(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        let bob = Host::new("bob", setup.wire).await;
        assert_eq!(bench.command(&format!("greet {}", bob.url)).await, "yes");
        assert_eq!(bob.up().await.url(), bench.url);
        assert_eq!(bob.notified().await, b"greetings");
        // A host that dials is answered on its own connection.
        let carol = Host::new("carol", setup.wire).await;
        carol.node.notify(&bench.url, SPACE, b"I am new").unwrap();
        assert_eq!(carol.notified().await, b"I am new");
        bench.answers(b"to the first").await;
    })
}

pub(crate) fn a_blocked_peer_is_not_heard_until_it_is_unblocked(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        let bob = Host::new("bob", setup.wire).await;
        let id = setup.wire.id("bob");
        bob.node.notify(&bench.url, SPACE, b"1").unwrap();
        assert_eq!(bob.notified().await, b"1");
        assert_eq!(bench.command(&format!("block {id}")).await, "yes");
        bob.node.notify(&bench.url, SPACE, b"2").unwrap();
        while bench.command(&format!("blocked {id}")).await != "yes" {}
        assert_eq!(bench.command(&format!("unblock {id}")).await, "yes");
        bob.node.notify(&bench.url, SPACE, b"3").unwrap();
        assert_eq!(bob.notified().await, b"3");
    })
}
