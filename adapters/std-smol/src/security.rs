//! What connections are secured with, or that they are not.

use kitfox_core::PeerId;
use kitfox_core::connection::{Channel, OrPlain};
use kitfox_core::secure::{Credentials, Secured};
use kitfox_core::storage::HeapBuffer;
use kitfox_core::wire::PeerUrl;

#[cfg(feature = "ring")]
use crate::cipher::RingCipher as Cipher;
#[cfg(not(feature = "ring"))]
use kitfox_core::secure::ChaChaPoly as Cipher;

/// What all connections run on.
pub(crate) type Wire = OrPlain<Secured<HeapBuffer, Cipher>>;

type Halves = (<Wire as Channel>::Opener, <Wire as Channel>::Sealer);

/// One kind of connection for a whole node.
pub(crate) enum Security {
    Plain,
    Secured(Box<Credentials>),
}

impl Security {
    pub(crate) fn is_secured(&self) -> bool {
        matches!(self, Self::Secured(_))
    }

    /// The scheme of our URLs.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Plain => "ws",
            Self::Secured(_) => "wss",
        }
    }

    /// Whether a URL is one for this kind of connection.
    pub(crate) fn speaks(&self, url: PeerUrl<'_>) -> bool {
        url.uses_tls() == matches!(self, Self::Secured(_))
    }

    pub(crate) fn accept(&self) -> Halves {
        match self {
            Self::Plain => Wire::plain(),
            Self::Secured(ours) => Wire::channel(Secured::accept(ours)),
        }
    }

    /// `None` if the URL is one for another kind of connection, or if nobody could prove its id.
    pub(crate) fn dial(&self, url: PeerUrl<'_>) -> Option<Halves> {
        match (self, url.uses_tls()) {
            (Self::Plain, false) => Some(Wire::plain()),
            (Self::Secured(ours), true) => {
                let id = url.peer_id().and_then(PeerId::new)?;
                Some(Wire::channel(Secured::dial(ours, &id).ok()?))
            }
            _ => None,
        }
    }
}
