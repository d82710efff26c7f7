//! Nodes that are wrong on purpose, to see whether the checks find it.

use kitfox_core::connection::{Answer, QuestionId, RxCounts};
use kitfox_core::node::{Action, ConnectionId, ConnectionState, Input, PeerKey};
use kitfox_core::router::SpaceKey;
use kitfox_core::{ApiMisuse, CapacityError, Instant, PeerId};

use super::node::{AnyNode, AnyOps, Blocked, Handled, Take};

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sabotage {
    /// It drops some messages.
    Drops,
    /// It delivers some messages twice.
    DeliversTwice,
    /// It delivers some messages after the next one.
    Reorders,
    /// It does not tell of some messages that were not sent.
    LosesNotSent,
    /// It forgets its deadlines.
    ForgetsTimers,
    /// Its secured channel looks at no tag.
    IgnoresTags,
    /// It takes the id in a preflight for the one that the channel has proven.
    BelievesIds,
}

/// A NOTIFY that is held back: connection, registration, space, data, bytes of its frame.
type Held = (ConnectionId, SpaceKey, Vec<u8>, Vec<u8>, usize);

/// A node behind a layer that is wrong.
pub(super) struct Sabotaged {
    node: Box<dyn AnyNode>,
    sabotage: Sabotage,
    actions: u64,
    held: Option<Held>,
}

impl Sabotaged {
    pub(super) fn new(node: Box<dyn AnyNode>, sabotage: Sabotage) -> Self {
        Self { node, sabotage, actions: 0, held: None }
    }
}

impl AnyNode for Sabotaged {
    fn accept(&mut self, now: Instant) -> Result<ConnectionId, CapacityError> {
        self.node.accept(now)
    }

    fn connected(&mut self, now: Instant, id: ConnectionId) -> Result<(), ApiMisuse> {
        self.node.connected(now, id)
    }

    fn handle(&mut self, now: Instant, input: Input<'_>, most: usize, take: &mut Take<'_>) -> Handled {
        let Self { node, sabotage, actions, held } = self;
        node.handle(now, input, most, &mut |action: Action<'_>, ops: &mut dyn AnyOps| {
            let is_message = matches!(action, Action::Notify { .. });
            *actions += u64::from(is_message || matches!(action, Action::NotSent { .. }));
            let now_wrong = *actions % 7 == 3;
            match (*sabotage, action) {
                (Sabotage::Drops, Action::Notify { .. })
                | (Sabotage::LosesNotSent, Action::NotSent { .. })
                    if now_wrong => {}
                (Sabotage::DeliversTwice, action @ Action::Notify { .. }) if now_wrong => {
                    take(action, ops);
                    take(action, ops);
                }
                (Sabotage::Reorders, Action::Notify { connection, to, space, data, wire_bytes })
                    if now_wrong && held.is_none() =>
                {
                    *held = Some((connection, to, space.to_vec(), data.to_vec(), wire_bytes));
                }
                (_, action) => {
                    take(action, ops);
                    if is_message && let Some((connection, to, space, data, wire_bytes)) = held.take() {
                        let (space, data) = (&space[..], &data[..]);
                        take(Action::Notify { connection, to, space, data, wire_bytes }, ops);
                    }
                }
            }
        })
    }

    fn answer(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        id: QuestionId,
        answer: Answer<'_>,
    ) -> Result<(), ApiMisuse> {
        self.node.answer(now, connection, id, answer)
    }

    fn with_ops(&mut self, now: Instant, with: &mut dyn FnMut(&mut dyn AnyOps)) {
        self.node.with_ops(now, with);
    }

    fn transmit(&mut self, now: Instant, connection: ConnectionId, most: usize, pieces: bool) -> Vec<u8> {
        self.node.transmit(now, connection, most, pieces)
    }

    fn sealed(&mut self, connection: ConnectionId) -> Option<Vec<u8>> {
        self.node.sealed(connection)
    }

    fn work(&mut self, now: Instant, connection: ConnectionId) {
        self.node.work(now, connection);
    }

    fn has_output(&mut self, connection: ConnectionId) -> bool {
        self.node.has_output(connection)
    }

    fn release(&mut self, connection: ConnectionId) {
        self.node.release(connection);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.node.poll_timeout().filter(|_| self.sabotage != Sabotage::ForgetsTimers)
    }

    fn set_network_up(&mut self, up: bool) {
        self.node.set_network_up(up);
    }

    fn connections(&self) -> Vec<(ConnectionId, ConnectionState)> {
        self.node.connections()
    }

    fn pending(&self) -> usize {
        self.node.pending()
    }

    fn peer_count(&self) -> usize {
        self.node.peer_count()
    }

    fn peer_id(&self, peer: PeerKey) -> Option<PeerId> {
        self.node.peer_id(peer)
    }

    fn outbox(&self, peer: PeerKey) -> Option<(usize, bool)> {
        self.node.outbox(peer)
    }

    fn counts(&self, connection: ConnectionId) -> Option<RxCounts> {
        self.node.counts(connection)
    }

    fn receive_memory(&self) -> (usize, usize) {
        self.node.receive_memory()
    }

    fn blocked(&self) -> (Vec<Blocked>, u64) {
        self.node.blocked()
    }
}
