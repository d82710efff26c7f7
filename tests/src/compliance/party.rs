//! A node with its application, and what claims do with it.

use alloc::sync::Arc;
use core::time::Duration;

use async_channel::Receiver;
use futures_lite::future;
use kitfox_core::connection::CloseReason;
use kitfox_core::node::{DownCause, MessageId, NotSentCause};

use super::{Adapter, Counters, Event, Heard, Node, PATIENCE, SPACE, Terms, Told, id};

/// A node with its application.
#[non_exhaustive]
pub struct Party<A: Adapter> {
    /// Where it lives.
    pub world: A,
    /// The node.
    pub node: A::Node,
    /// The URL under which it listens.
    pub url: String,
    /// Its application.
    pub told: Arc<Told>,
    events: Receiver<Event>,
    heard: Receiver<Heard>,
}

/// Waits for something, but not for ever.
pub async fn within<A: Adapter, T>(world: &A, limit: Duration, body: impl Future<Output = T>) -> T {
    let end = world.now() + limit;
    let late = async {
        while world.now() < end {
            world.pause().await;
        }
        panic!("not over after {limit:?}");
    };
    future::or(body, late).await
}

impl<A: Adapter> Party<A> {
    /// A node as most are.
    pub async fn new(world: &A, name: &'static str) -> Self {
        Self::with(world, Terms::of(name)).await
    }

    /// A node as it is said to be, which listens.
    pub async fn with(world: &A, terms: Terms) -> Self {
        let (told, events, heard) = Told::new();
        let node = world.node(&terms, told.clone()).await;
        let url = node.url();
        let party = Self { world: world.clone(), node, url, told, events, heard };
        assert_eq!(party.event().await, Event::Listening(party.url.clone()));
        party
    }

    /// The next thing that it is told.
    pub async fn event(&self) -> Event {
        within(&self.world, PATIENCE, self.events.recv()).await.unwrap()
    }

    /// The next thing that it was told already.
    pub fn told_already(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Nothing that it was told is left to be looked at.
    pub fn nothing_more(&self) -> bool {
        self.events.is_empty() && self.heard.is_empty()
    }

    /// The next message.
    pub async fn message(&self) -> Heard {
        within(&self.world, PATIENCE, self.heard.recv()).await.unwrap()
    }

    /// A message that came already.
    pub fn heard_already(&self) -> Option<Vec<u8>> {
        self.heard.try_recv().ok().map(|heard| heard.data)
    }

    /// The payload of the next message.
    pub async fn hears(&self) -> Vec<u8> {
        self.message().await.data
    }

    /// Sends a message to another party; waits for room.
    pub async fn sends(&self, to: &Self, data: &[u8]) -> MessageId {
        self.sends_to(&to.url, data).await
    }

    /// Sends a message to a URL; waits for room.
    pub async fn sends_to(&self, url: &str, data: &[u8]) -> MessageId {
        within(&self.world, PATIENCE, self.node.send(url, SPACE, data)).await.unwrap()
    }

    /// It is told next that this peer is up.
    pub async fn up(&self, peer: &Self) {
        assert_eq!(self.event().await, Event::Up(peer.url.clone()));
    }

    /// It is told next that a peer is down: why, and with what words.
    pub async fn down(&self) -> (CloseReason, Vec<u8>) {
        match self.event().await {
            Event::Down { cause: DownCause::Ended(reason), words, .. } => (reason, words),
            other => panic!("{other:?}"),
        }
    }

    /// It is told next that a message was not sent, which it gets back.
    pub async fn handed_back(&self) -> (MessageId, NotSentCause, Vec<u8>) {
        match self.event().await {
            Event::NotSent { id, cause, data } => (id, cause, data),
            other => panic!("{other:?}"),
        }
    }

    /// It is told next that this URL does not respond.
    pub async fn unresponsive(&self, url: &str) {
        assert_eq!(self.event().await, Event::Unresponsive(url.to_owned()));
    }

    /// Waits until the counters are so.
    pub async fn until(&self, mut are_so: impl FnMut(&Counters) -> bool) -> Counters {
        let end = self.world.now() + PATIENCE;
        loop {
            let counters = self.node.counters().await;
            if are_so(&counters) {
                return counters;
            }
            assert!(self.world.now() < end, "{counters:?}");
            self.world.pause().await;
        }
    }

    /// The same URL with the id of somebody else.
    pub fn url_with_id(&self, id: &str) -> String {
        format!("{}/{id}", self.url.rsplit_once('/').unwrap().0)
    }
}

/// Two nodes, the first with the smaller id.
pub async fn two<A: Adapter>(world: &A) -> (Party<A>, Party<A>) {
    assert!(id::<A>("alice") < id::<A>("bob"));
    (Party::new(world, "alice").await, Party::new(world, "bob").await)
}

/// Two nodes that are connected: the first dialled, and was heard.
pub async fn connected<A: Adapter>(world: &A) -> (Party<A>, Party<A>) {
    let (alice, bob) = two(world).await;
    meet(&alice, &bob).await;
    (alice, bob)
}

/// The first dials the second, and is heard.
pub(super) async fn meet<A: Adapter>(alice: &Party<A>, bob: &Party<A>) {
    alice.sends(bob, b"hello").await;
    assert_eq!(bob.hears().await, b"hello");
    alice.up(bob).await;
    bob.up(alice).await;
}
