//! The parts of the core that a node drives, each behind a wrapper of the same name that can note what is done to it:
//! whatever changes one of them goes through its wrapper, and the core's own type is lent for looking only. So a
//! recording cannot miss a call (feature `record`; [`crate::record`] says what it is good for).
//!
//! A call is noted while the lock of its part is held, or by the one task that owns the part, so that the order of the
//! notes is one in which everything can have happened. Without the feature the wrappers are the core's types and
//! nothing more; with it, and where nobody records, each call costs one look.

pub(crate) mod entry;
mod outbox;
mod rules;
mod rx;
mod table;
mod tape;
mod tx;

pub(crate) use outbox::Outbox;
pub(crate) use rules::Rules;
pub(crate) use rx::Rx;
pub(crate) use table::PeerTable;
#[cfg(feature = "record")]
pub(crate) use tape::Sink;
pub(crate) use tape::Tape;
pub(crate) use tx::Tx;

use kitfox_core::wire::PeerUrl;
use kitfox_core::{Config, Instant};

use crate::security::Security;
use entry::{Entry, RxCall};

/// What every connection of a node is made with.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    pub(crate) config: &'a Config,
    pub(crate) security: &'a Security,
    pub(crate) tape: &'a Tape,
}

impl Making<'_> {
    /// Both halves of a connection that this end has opened. `None` if it is not one that we dial.
    pub(crate) fn dial(self, now: Instant, connection: u64, url: PeerUrl<'_>) -> Option<(Rx, Tx)> {
        let (opener, sealer) = self.security.dial(url)?;
        let rx = kitfox_core::connection::Rx::dial(now, self.config, opener, url).ok()?.settling();
        self.tape.note(|| Entry::Rx { connection, call: RxCall::Dial { now, url: url.as_str() } });
        Some((Rx::new(connection, rx, self.tape), Tx::new(connection, self.config, sealer, self.tape)))
    }

    /// Both halves of a connection that a peer has opened.
    pub(crate) fn accept(self, now: Instant, connection: u64) -> (Rx, Tx) {
        let (opener, sealer) = self.security.accept();
        let rx = kitfox_core::connection::Rx::accept(now, self.config, opener).settling();
        self.tape.note(|| Entry::Rx { connection, call: RxCall::Accept { now } });
        (Rx::new(connection, rx, self.tape), Tx::new(connection, self.config, sealer, self.tape))
    }
}
