//! What byte scripts are written with: the wire as text, actions as owned values, and both storage tiers.

use core::time::Duration;

use kitfox_core::connection::{Action, CloseReason, Question};
use kitfox_core::router::{DropReason, Policy, PolicyFailed};
use kitfox_core::storage::BufferLimits;
use kitfox_core::{Config, Instant, Peer, PeerId, fixed};

fixed!(
    /// A Fixed tier with room for everything that [`config`] allows.
    pub Fixed { spaces: 4, modules: 4, space_id: 32, module_name: 16, url: 256, frame: 4096, tx: 8192 }
);

/// Limits that both tiers can hold, with Kitsune2's deadlines.
pub fn config() -> Config {
    Config {
        max_frame_bytes: 4096,
        max_preflight_bytes: 1024,
        rx_buffer: BufferLimits { min_bytes: 0, max_bytes: 4096 },
        tx_queue: BufferLimits { min_bytes: 0, max_bytes: 8192 },
        ..Config::HOST
    }
}

/// Makes a test of each generic function, for each storage tier.
#[macro_export]
macro_rules! on_both_tiers {
    ($($test:ident),* $(,)?) => {
        mod heap {
            $(#[test] fn $test() { super::$test::<kitfox_core::storage::Heap>(); })*
        }
        mod fixed {
            $(#[test] fn $test() { super::$test::<kitfox_tests::script::Fixed>(); })*
        }
    };
}

/// Bytes of the wire, written as hex digits and 'quoted text', with blanks wherever they help.
pub fn wire(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, part) in text.split('\'').enumerate() {
        if place % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        assert!(digits.len().is_multiple_of(2), "half a byte in {part:?}");
        for pair in digits.chunks(2) {
            let pair = core::str::from_utf8(pair).expect("hex digits");
            bytes.push(u8::from_str_radix(pair, 16).expect("hex digits"));
        }
    }
    bytes
}

/// A moment, in milliseconds.
pub fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// An [`Action`] that owns what it tells. Bytes are escaped as in a byte string, which is one-to-one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the same words as in `Action` and `Question`
pub enum Act {
    Randomness,
    AdmitHandshake { claimed: PeerId },
    AdmitPeer { peer: String },
    HasLocalAgents,
    GatherPreflight { peer: String },
    ValidatePreflight { peer: String, space: Option<String>, data: String },
    Opened { peer: String },
    Notify { space: String, data: String, wire_bytes: usize },
    Module { space: String, module: String, data: String, wire_bytes: usize },
    Dropped { reason: DropReason, space: String, wire_bytes: u64 },
    Closed { reason: CloseReason, message: String },
}

impl Act {
    /// Copies an action. Panics if a peer's id is not the one that its URL ends in.
    pub fn of(action: &Action<'_>) -> Self {
        match *action {
            Action::Ask { question, .. } => match question {
                Question::Randomness => Self::Randomness,
                Question::AdmitHandshake { claimed } => Self::AdmitHandshake { claimed },
                Question::AdmitPeer { peer } => Self::AdmitPeer { peer: url(peer) },
                Question::HasLocalAgents => Self::HasLocalAgents,
                Question::GatherPreflight { peer } => Self::GatherPreflight { peer: url(peer) },
                Question::ValidatePreflight { peer, space, data } => {
                    Self::ValidatePreflight { peer: url(peer), space: space.map(text), data: text(data) }
                }
                other => panic!("unknown question {other:?}"),
            },
            Action::Opened { peer } => Self::Opened { peer: url(peer) },
            Action::Notify { space, data, wire_bytes, .. } => {
                Self::Notify { space: text(space), data: text(data), wire_bytes }
            }
            Action::Module { space, module, data, wire_bytes, .. } => Self::Module {
                space: text(space),
                module: module.as_str().into(),
                data: text(data),
                wire_bytes,
            },
            Action::Dropped { reason, space, wire_bytes } => {
                Self::Dropped { reason, space: text(space), wire_bytes }
            }
            Action::Closed { reason, message } => Self::Closed { reason, message: text(message) },
            ref other => panic!("unknown action {other:?}"),
        }
    }

    /// The end of a connection, without words of the peer.
    pub fn closed(reason: impl Into<CloseReason>) -> Self {
        Self::Closed { reason: reason.into(), message: String::new() }
    }

    /// Whether this is a question.
    pub fn is_question(&self) -> bool {
        use Act::{
            AdmitHandshake, AdmitPeer, GatherPreflight, HasLocalAgents, Randomness, ValidatePreflight,
        };
        matches!(
            self,
            Randomness
                | AdmitHandshake { .. }
                | AdmitPeer { .. }
                | HasLocalAgents
                | GatherPreflight { .. }
                | ValidatePreflight { .. }
        )
    }
}

/// Bytes as an [`Act`] shows them.
pub fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn url(peer: Peer<'_>) -> String {
    let id = peer.url.rsplit('/').next().and_then(PeerId::new);
    assert_eq!(peer.id.copied(), id, "the id is not the one of {}", peer.url);
    peer.url.into()
}

/// A policy for tests.
#[derive(Debug, Clone, Default)]
#[allow(clippy::exhaustive_structs)] // tests set what they need
pub struct Rules {
    /// Spaces in which everybody is blocked.
    pub blocked: Vec<Vec<u8>>,
    /// Neither question is answered.
    pub broken: bool,
}

impl Policy for Rules {
    fn is_blocked(&self, _: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed> {
        if self.broken { Err(PolicyFailed) } else { Ok(self.blocked.iter().any(|blocked| blocked == space)) }
    }
}
