//! How the connections of a node are protected: the one place that knows which channels there are.

use kitfox_core::connection::{Channel, Plain};

/// A channel that this crate can make the halves of.
pub trait Protection: Channel {
    /// Whether our URLs, and those that can be dialled, are those of secured connections (`wss`, `https`).
    const SECURED: bool;

    /// Both halves of the channel of a connection that begins.
    fn halves() -> (Self::Opener, Self::Sealer);
}

impl Protection for Plain {
    const SECURED: bool = false;

    fn halves() -> (Self, Self) {
        Default::default()
    }
}
