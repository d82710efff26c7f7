//! What a user may rely on with any adapter, written once and run over each, with plain and with secured connections.
//!
//! A claim is an `async fn` over an [`Adapter`], which knows how to make a node, a stranger with a socket, and time. It
//! asks nothing about which adapter it is. [`compliance!`](crate::compliance!) lists all claims once: adding one there
//! runs it everywhere. Nothing waits for a time to pass: what is awaited is an event or a number, with a deadline.
//!
//! The runs: kitfox-smol over loopback sockets in `tests/tests/smol/compliance.rs`; kitfox-embassy over embassy-net
//! stacks on a hub, with a clock of the test's own, in `adapters/embassy/tests/net/compliance.rs`.
//!
//! Where adapters differ on purpose:
//!
//! * [`Adapter::FAREWELL`]: a kitfox-smol node that is stopped says so; a kitfox-embassy runner that is dropped says
//!   nothing, as a device does that loses its power.
//! * [`Adapter::COUNTS_REPLIES`]: whether `accepted_messages` counts what a handler sends from inside a delivery.
//!   kitfox-embassy's handler sends through the core, which its own counters do not see.
//! * Questions are futures in kitfox-smol and functions in kitfox-embassy; the adapters' runs bridge that.
//! * Numbers whose meaning belongs to one adapter (the connections that there are, bytes that were written) are not in
//!   [`Counters`]. Those that both have are, under the same names.
#![allow(async_fn_in_trait)] // every implementation is beside a test, and nobody asks for `Send`

use alloc::sync::Arc;
use core::time::Duration;
use std::sync::Mutex;

use kitfox_core::connection::NotDialable;
use kitfox_core::node::{MessageId, PeerLimits};
use kitfox_core::router::SendRefused;
use kitfox_core::secure::SecretKey;
use kitfox_core::storage::BufferLimits;
use kitfox_core::wire::UrlError;
use kitfox_core::{CapacityError, Config, PeerId};

pub mod flow;
pub mod gate;
pub mod life;
pub mod messages;
mod party;
pub mod plain;
pub mod secured;
pub mod sending;
pub mod stats;
pub mod strangers;
mod told;

pub use party::{Party, connected, two, within};
pub use told::{Answers, Event, Heard, Inside, Told};

/// The space of all claims.
pub const SPACE: &[u8] = b"garden";

/// Frames of every node are at most this long.
pub const FRAME: usize = 1024;

/// Messages that wait for one peer have so many bytes together, with those of their frames.
pub const OUTBOX: usize = 2048;

/// Messages that wait in the inbox of a node with [`Terms::letters`].
pub const LETTERS: usize = 2;

/// Nobody waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What an adapter does for the claims: a world of its own for each of them.
pub trait Adapter: Clone + 'static {
    /// Connections are secured.
    const SECURED: bool;
    /// What a node that is stopped tells its peers, if anything.
    const FAREWELL: Option<&'static [u8]>;
    /// Whether what a handler sends is counted as accepted.
    const COUNTS_REPLIES: bool;
    /// A node.
    type Node: Node;
    /// Somebody with a socket.
    type Raw: Raw;

    /// Runs a claim in a world of its own.
    fn run<F: Future<Output = ()> + 'static>(claim: impl FnOnce(Self) -> F);

    /// A node that listens, and that has registered [`SPACE`].
    async fn node(&self, terms: &Terms, told: Arc<Told>) -> Self::Node;

    /// Connects a socket to a node.
    async fn raw(&self, url: &str) -> Self::Raw;

    /// A URL under which a node is reached by a wire on which somebody listens, and what that one hears.
    async fn tap(&self, url: &str) -> (String, Tap);

    /// Lets everybody else go on for a moment.
    async fn pause(&self);

    /// The time since the world began.
    fn now(&self) -> Duration;
}

/// The bytes that went over a wire.
pub type Tap = Arc<Mutex<Vec<u8>>>;

/// A node, through its adapter's public API.
pub trait Node {
    /// The URL under which it listens.
    fn url(&self) -> String;
    /// Sends a message; waits while the outbox is full.
    async fn send(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError>;
    /// Sends a message, or says at once why not.
    async fn try_send(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError>;
    /// Sends a message to a module, or says at once why not.
    async fn try_send_module(
        &self,
        to: &str,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError>;
    /// Ends the connection with a peer. Returns whether there was something to end.
    async fn disconnect(&self, url: &str, reason: &[u8]) -> bool;
    /// Registers a space whose messages are told.
    async fn register_space(&self, space: &[u8]);
    /// Removes a space. Returns whether there was one.
    async fn unregister_space(&self, space: &[u8]) -> bool;
    /// Registers a module whose messages are told.
    async fn register_module(&self, space: &[u8], module: &str);
    /// Removes a module. Returns whether there was one.
    async fn unregister_module(&self, space: &[u8], module: &str) -> bool;
    /// Blocks a peer id.
    async fn block(&self, id: &str, space: Option<&[u8]>);
    /// Takes a block back. Returns whether there was one.
    async fn unblock(&self, id: &str, space: Option<&[u8]>) -> bool;
    /// Blocked messages: URL, space, incoming, outgoing.
    async fn blocked(&self) -> Vec<(String, Vec<u8>, u32, u32)>;
    /// The URLs of the peers that are up.
    async fn peers(&self) -> Vec<String>;
    /// What it did so far.
    async fn counters(&self) -> Counters;
    /// The next message of a node with [`Terms::letters`].
    async fn letter(&self) -> Vec<u8>;
    /// Messages that are in its inbox.
    fn letters(&self) -> usize;
    /// Stops to listen, or listens again where it did.
    async fn listen(&self, listens: bool);
    /// Ends the node. Its address is free afterwards.
    async fn stop(self);
}

/// Somebody with a socket and ideas of its own.
pub trait Raw {
    /// Sends bytes. A node that has closed meanwhile is no failure.
    async fn send(&mut self, bytes: &[u8]);
    /// Everything that the node says before it closes.
    async fn rest(&mut self) -> Vec<u8>;
    /// Ends what it says.
    async fn finish(&mut self);
}

/// How a node is to be.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs)] // written with `..Terms::of(..)`
pub struct Terms {
    /// The id is made of it.
    pub name: &'static str,
    /// Each connection.
    pub config: Config,
    /// Peers and attempts.
    pub peers: PeerLimits,
    /// The network of a secured node.
    pub network: &'static [u8],
    /// The URL to tell peers.
    pub advertise: Option<String>,
    /// The URL of a node that is gone and whose place this one takes.
    pub at: Option<String>,
    /// Messages go to an inbox of [`LETTERS`] places, and are told to nobody.
    pub letters: bool,
}

impl Terms {
    /// Those of most nodes: the sizes of a small device, whatever the adapter.
    pub fn of(name: &'static str) -> Self {
        let at_most = |max_bytes| BufferLimits { min_bytes: 0, max_bytes };
        let config = Config {
            max_frame_bytes: FRAME,
            max_preflight_bytes: 512,
            rx_buffer: at_most(FRAME),
            tx_queue: at_most(512),
            outbox: at_most(OUTBOX),
            ..Config::DEVICE
        };
        let quick = Duration::from_millis(20);
        let peers = PeerLimits { backoff: quick, max_backoff: 2 * quick, ..PeerLimits::DEVICE };
        Self { name, config, peers, network: b"tests", advertise: None, at: None, letters: false }
    }

    /// So many attempts before a peer is given up.
    #[must_use]
    pub fn attempts(mut self, attempts: u8) -> Self {
        self.peers.attempts = attempts;
        self
    }
}

/// The key of the node of this name.
pub fn key(name: &str) -> SecretKey {
    let mut seed = [2; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    SecretKey::from_seed(&seed)
}

/// The id of the node of this name.
pub fn id<A: Adapter>(name: &str) -> PeerId {
    if A::SECURED { key(name).peer_id() } else { PeerId::new(name).unwrap() }
}

/// The same id in another spelling: those that are keys have one.
pub fn spelled<A: Adapter>(name: &str) -> String {
    let id = id::<A>(name).to_string();
    if A::SECURED { id.to_uppercase() } else { id }
}

/// The scheme of all URLs.
pub fn scheme<A: Adapter>() -> &'static str {
    if A::SECURED { "wss" } else { "ws" }
}

/// Why a message was not accepted: what the adapters' own types say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_enums)] // as the adapters'
pub enum SendError {
    InvalidUrl(UrlError),
    NotDialable(NotDialable),
    Refused(SendRefused),
    Backpressure,
    TooLarge,
    TooLargeForPeer,
    Capacity(CapacityError),
    /// The adapter's own.
    Other,
}

/// Makes the suite's error of an adapter's, by name.
#[macro_export]
macro_rules! compliance_send_error {
    ($error:expr, $adapters:ty) => {{
        use $crate::compliance::SendError as Ours;
        type Theirs = $adapters;
        match $error {
            Theirs::InvalidUrl(error) => Ours::InvalidUrl(error),
            Theirs::NotDialable(error) => Ours::NotDialable(error),
            Theirs::Refused(error) => Ours::Refused(error),
            Theirs::Backpressure => Ours::Backpressure,
            Theirs::TooLarge => Ours::TooLarge,
            Theirs::TooLargeForPeer => Ours::TooLargeForPeer,
            Theirs::Capacity(error) => Ours::Capacity(error),
            _ => Ours::Other,
        }
    }};
}

macro_rules! counters {
    ($($now:ident),*; $($total:ident),*) => {
        /// What a node did, in the numbers that every adapter has.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[allow(missing_docs, clippy::exhaustive_structs)] // as the adapters'
        pub struct Counters { $(pub $now: u64,)* $(pub $total: u64,)* }

        /// Makes the suite's counters of an adapter's `Stats`, by name.
        #[macro_export]
        macro_rules! compliance_counters {
            ($stats:expr) => {{
                let stats = $stats;
                $crate::compliance::Counters {
                    $($now: stats.$now as u64,)*
                    $($total: u64::from(stats.totals.$total),)*
                }
            }};
        }
    };
}

counters! {
    connected_peers, known_peers, pending, queued_bytes, blocked_unattributed;
    accepted, dialled, opened, closed, turned_away, outbox_full, accepted_messages, not_sent_messages,
    unknown_messages, received_messages, received_bytes, dropped_messages
}

/// Runs all claims over an adapter with plain connections and over one with secured ones.
#[macro_export]
macro_rules! compliance {
    ($name:ident, $plain:ty, $secured:ty) => {
        mod $name {
            mod plain {
                $crate::compliance! { @all $plain }
                $crate::compliance! { @claims $plain;
                    plain {
                        whoever_answers_with_another_id_is_not_the_peer,
                        a_wrong_preflight_is_refused_and_disturbs_nobody_else,
                        a_frame_that_is_too_long_is_refused_by_its_header,
                        a_connection_that_is_cut_inside_a_frame_delivers_nothing_of_it,
                        a_message_that_is_too_large_for_the_peer_ends_the_connection,
                        a_liar_does_not_displace_a_live_connection,
                        a_peer_that_said_goodbye_is_down_with_its_words,
                    }
                }
            }
            mod secured {
                $crate::compliance! { @all $secured }
                $crate::compliance! { @claims $secured;
                    secured {
                        whoever_listens_there_without_the_key_of_the_url_is_not_spoken_to,
                        nodes_of_different_networks_do_not_meet,
                        peers_are_proven_to_each_other,
                        a_url_whose_id_is_no_key_is_refused_at_once,
                        a_message_that_the_connected_peer_does_not_take_is_refused_at_once,
                        what_waited_and_is_too_large_for_the_peer_is_handed_back_alone,
                        an_unwanted_id_is_turned_away_before_it_is_proven,
                        a_secured_node_never_takes_a_plain_connection,
                    }
                }
            }
        }
    };
    (@all $adapter:ty) => {
        $crate::compliance! { @claims $adapter;
            messages {
                a_message_dials_and_arrives,
                messages_arrive_in_order_in_both_directions,
                messages_of_every_length_cross_the_ends_of_frames_and_buffers,
                a_module_gets_its_messages,
                a_message_for_nobody_is_dropped_and_counted,
                what_is_unregistered_gets_nothing_and_sends_nothing,
                an_id_is_the_same_peer_in_every_spelling_and_at_every_address,
                a_handler_replies_from_inside_a_delivery,
                a_handler_may_block_from_inside_a_delivery,
                after_a_disconnect_from_inside_nothing_more_is_delivered,
                what_is_said_is_on_the_wire_only_where_it_is_plain,
            }
            sending {
                what_cannot_be_dialled_is_refused_at_once,
                a_url_that_is_none_is_refused_at_once,
                an_unknown_space_is_refused_at_once,
                a_message_that_no_frame_can_hold_is_refused_at_once,
                a_peer_that_has_no_place_is_refused_at_once,
            }
            flow {
                a_full_outbox_is_backpressure_and_who_waits_loses_nothing,
                a_full_inbox_stops_the_peer_and_nothing_is_lost,
                what_waits_at_a_disconnect_is_handed_back,
            }
            gate {
                preflights_are_exchanged,
                whoever_is_refused_at_the_gate_is_told_and_gets_its_messages_back,
                whoever_refuses_at_the_gate_gets_its_messages_back,
                a_peer_that_was_refused_and_is_welcome_now_gets_in,
                a_handler_that_refuses_a_message_closes_the_connection_with_a_reason,
                a_module_that_refuses_a_message_closes_the_connection_with_a_reason,
                a_blocked_peer_is_neither_heard_nor_spoken_to_and_both_are_counted,
                a_block_in_one_space_is_none_in_another,
                a_peer_is_up_before_its_messages_and_down_after_them,
            }
            life {
                a_disconnect_tells_its_reason_and_either_may_come_back,
                when_both_dial_at_once_one_connection_stays_and_nothing_is_lost,
                a_peer_that_cannot_be_reached_is_unresponsive_and_its_messages_are_handed_back,
                what_waits_for_a_peer_that_is_away_arrives_when_it_comes,
                every_message_across_a_restart_has_one_fate,
                a_listening_address_is_told_and_its_loss_too,
                an_advertised_url_is_what_peers_know,
                more_peers_than_one_are_served_at_once,
            }
            strangers {
                garbage_ends_its_own_connection_and_nothing_else,
                data_before_the_gate_is_delivered_to_nobody,
                silence_before_the_preflight_ends_after_its_time,
                a_stranger_that_goes_is_forgotten,
            }
            stats {
                a_script_has_these_counts,
                a_dial_that_fails_has_these_counts,
                a_gate_that_stays_shut_has_these_counts,
                a_stranger_has_these_counts,
            }
        }
    };
    (@claims $adapter:ty; $($topic:ident { $($claim:ident,)* })*) => {
        $(mod $topic {
            $(#[test]
            fn $claim() {
                <$adapter as $crate::compliance::Adapter>::run($crate::compliance::$topic::$claim::<$adapter>);
            })*
        })*
    };
}
