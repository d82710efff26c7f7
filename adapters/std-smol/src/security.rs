//! What connections are secured with, or that they are not.

use kitfox_core::PeerId;
use kitfox_core::connection::{Channel, OrPlain};
use kitfox_core::secure::{Credentials, Secured, Start};
use kitfox_core::storage::HeapBuffer;
use kitfox_core::wire::PeerUrl;

use crate::boxed::Boxed;

#[cfg(feature = "ring")]
use crate::cipher::RingCipher as Cipher;
#[cfg(not(feature = "ring"))]
use kitfox_core::secure::ChaChaPoly as Cipher;

/// What all connections run on.
pub(crate) type Wire = OrPlain<Boxed<Secured<HeapBuffer, Cipher>>>;

/// Both halves of a channel.
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
        Wire::halves(match self {
            Self::Plain => None,
            Self::Secured(ours) => Some(Start::accept(ours)),
        })
    }

    /// `None` if the URL is one for another kind of connection, or if nobody could prove its id.
    pub(crate) fn dial(&self, url: PeerUrl<'_>) -> Option<Halves> {
        let start = match (self, url.uses_tls()) {
            (Self::Plain, false) => None,
            (Self::Secured(ours), true) => {
                let id = url.peer_id().and_then(PeerId::new)?;
                Some(Start::dial(ours, &id).ok()?)
            }
            _ => return None,
        };
        Some(Wire::halves(start))
    }
}
