//! Beginning and end of nodes, tasks and handlers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use async_channel::{Sender, unbounded};
use bytes::Bytes;
use futures_lite::future;
use kitfox_core::wire::Message;
use kitfox_smol::{BoxFuture, ConnectError, Direction, Limits, ListenError, Peer, SendError};

use crate::common::*;

#[test]
fn connecting_twice_uses_one_connection() {
    test(async {
        let (alice, bob) = pair().await;
        let again = alice.node.connect(&bob.url).await.unwrap();
        let back = bob.node.connect(&alice.url).await.unwrap();
        assert_eq!((again.direction(), back.direction()), (Direction::Outgoing, Direction::Incoming));
        assert_eq!(alice.node.stats().connections.len(), 1);
    });
}

#[test]
fn shutdown_writes_what_is_queued_and_closes_everything() {
    test(async {
        let (alice, bob) = pair().await;
        let weak = alice.node.downgrade();
        for number in 0..1000u32 {
            alice.node.notify(&bob.url, SPACE, &number.to_be_bytes()).unwrap();
        }
        alice.node.notify_shared(&bob.url, SPACE, Bytes::from(vec![7; 5 << 20])).unwrap();
        assert_eq!(within(alice.node.shutdown()).await, 0);
        for number in 0..1000u32 {
            assert_eq!(bob.hears().await, number.to_be_bytes());
        }
        assert_eq!(bob.hears().await.len(), 5 << 20);
        bob.told(b"shutdown").await;
        assert!(matches!(alice.node.connect(&bob.url).await, Err(ConnectError::ShutDown)));
        assert!(matches!(alice.node.listen("127.0.0.1:0").await, Err(ListenError::ShutDown)));
        assert!(matches!(alice.node.notify(&bob.url, SPACE, b""), Err(SendError::ShutDown)));
        assert!(matches!(bob.node.connect(&alice.url).await, Err(ConnectError::Dial(_))));
        drop(alice);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    test(async {
        let limits = Limits { shutdown_timeout: Duration::from_millis(200), ..Limits::default() };
        let alice = Party::limited(limits).await;
        let lazy = Raw::opened(&alice.url, "lazy");
        let peer = alice.up().await;
        alice.node.notify_shared(peer.url(), SPACE, Bytes::from(vec![7; 50 << 20])).unwrap();
        // What was not begun is handed back, and cuts nothing.
        while alice.node.stats().connections[0].sent_messages == 0 {
            future::yield_now().await;
        }
        assert_eq!(within(alice.node.shutdown()).await, 1, "one connection was cut");
        drop(lazy);
    });
}

/// Counts the tasks that have not ended, and tells when there is none.
struct Alive(Arc<AtomicUsize>, Sender<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            let _ = self.1.try_send(());
        }
    }
}

#[test]
fn dropping_the_last_handle_closes_everything_and_leaks_no_task() {
    test(async {
        let (alive, (done, all_done)) = (Arc::new(AtomicUsize::new(0)), unbounded());
        let counter = alive.clone();
        let spawner = move |task: BoxFuture<'static, ()>| {
            counter.fetch_add(1, Ordering::SeqCst);
            let guard = Alive(counter.clone(), done.clone());
            let counted = async move {
                let _guard = guard;
                task.await;
            };
            smol::spawn(counted).detach();
        };
        let alice = Party::with(|builder| builder.spawner(spawner), |_| {}).await;
        let bob = Party::new().await;
        connect(&alice, &bob).await;
        let mut pending = Raw::connect(&alice.url);
        while alice.node.stats().pending == 0 {
            future::yield_now().await;
        }
        let Party { node, url, .. } = alice;
        drop(node);
        bob.told(b"shutdown").await;
        assert_eq!(pending.rest(), data(&Message::disconnect(b"shutdown")));
        drop(pending);
        within(all_done.recv()).await.unwrap();
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        assert!(matches!(bob.node.connect(&url).await, Err(ConnectError::Dial(_))));
    });
}

#[test]
fn any_executor_will_do() {
    let spawners: [fn(BoxFuture<'static, ()>); 2] = [
        |task| smol::spawn(task).detach(),
        |task| drop(thread::spawn(|| futures_lite::future::block_on(task))),
    ];
    for spawner in spawners {
        // The test's own executor is yet another one, which drives no reactor.
        futures_lite::future::block_on(within(async {
            let alice = Party::with(|builder| builder.spawner(spawner), |_| {}).await;
            let bob = Party::with(|builder| builder.spawner(spawner), |_| {}).await;
            connect(&alice, &bob).await;
            alice.node.notify(&bob.url, SPACE, b"hello").unwrap();
            assert_eq!(bob.hears().await, b"hello");
            assert_eq!(alice.node.shutdown().await, 0);
            bob.told(b"shutdown").await;
        }));
    }
}

#[test]
fn unregistering_waits_for_the_delivery_that_is_under_way() {
    test(async {
        let (alice, bob) = pair().await;
        alice.mute(b"slow");
        let (began, begins) = unbounded();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let (finished, ended) = (Mutex::new(finished), Arc::new(AtomicUsize::new(0)));
        let ends = ended.clone();
        let slow = move |_: &Peer, _: &[u8]| {
            let _ = began.try_send(());
            let _ = finished.lock().unwrap().recv_timeout(PATIENCE);
            ends.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        bob.node.register_space(b"slow", slow).unwrap();
        alice.node.notify(&bob.url, b"slow", b"1").unwrap();
        alice.node.notify(&bob.url, b"slow", b"2").unwrap();
        within(begins.recv()).await.unwrap();
        let mut unregistered = Box::pin(bob.node.unregister_space(b"slow"));
        assert!(future::poll_once(&mut unregistered).await.is_none(), "a delivery is under way");
        finish.send(()).unwrap();
        assert!(within(unregistered).await);
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert!(!bob.node.unregister_space(b"slow").await);
        alice.node.notify(&bob.url, SPACE, b"after").unwrap();
        assert_eq!(bob.hears().await, b"after");
        assert_eq!(ended.load(Ordering::SeqCst), 1, "the second message found no space");
        bob.mute(b"slow");
    });
}
