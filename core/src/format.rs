//! `defmt::Format` where it is not derived: texts as texts, machines by their names and what is worth a line of a log.

use defmt::{Format, Formatter, write};

use crate::connection::{Actions as ConnectionActions, Channel, Connection, Frames, Outbox, Rx, Tx};
use crate::node::{Actions, Carrier, Node, Ops, PeerSlot, PeerTable};
use crate::peer::PeerId;
use crate::router::{
    BlockList, BlockRule, BlockedCount, BlockedCounts, Directory, Module, Policy, Router, Space,
};
use crate::storage::{
    Buffer, FixedBuffer, FixedBytes, FixedQueue, FixedSeq, FixedTable, FixedText, Seq, Storage, Table,
    TxQueue,
};
use crate::wire::{ModuleName, PeerUrl};

/// Keys as lower-case hex, texts as they are.
impl Format for PeerId {
    fn format(&self, f: Formatter<'_>) {
        match self.key() {
            Some(key) => key.iter().for_each(|byte| write!(f, "{=u8:02x}", byte)),
            None => write!(f, "{=str}", core::str::from_utf8(self.as_bytes()).unwrap_or_default()),
        }
    }
}

impl Format for PeerUrl<'_> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "{=str}", self.as_str());
    }
}

impl Format for ModuleName<'_> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "{=[u8]:a}", self.as_bytes());
    }
}

impl<const N: usize> Format for FixedBytes<N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "{=[u8]}", self.as_ref());
    }
}

impl<const N: usize> Format for FixedText<N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "{=str}", self.as_ref());
    }
}

impl<T: core::fmt::Debug + Clone, const N: usize> Format for FixedSeq<T, N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "FixedSeq({=usize} of {=usize})", self.as_slice().len(), N);
    }
}

impl<T: core::fmt::Debug + Clone, const N: usize> Format for FixedTable<T, N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "FixedTable({=usize} of {=usize})", self.len(), self.limit());
    }
}

impl<const N: usize> Format for FixedBuffer<N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "FixedBuffer({=usize} of {=usize} bytes)", self.as_slice().len(), N);
    }
}

impl<const N: usize> Format for FixedQueue<N> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "FixedQueue({=usize} of {=usize} bytes)", self.len(), self.limit());
    }
}

impl<S: Storage, P, C: Channel> Format for Actions<'_, '_, S, P, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Actions");
    }
}

impl<S: Storage, C: Channel> Format for ConnectionActions<'_, '_, S, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Actions");
    }
}

impl<S: Storage, C: Channel> Format for Frames<'_, '_, S, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Frames");
    }
}

impl<S: Storage, P: Policy> Format for Ops<'_, S, P> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Ops");
    }
}

impl<S: Storage, P: Policy, C: Channel> Format for Node<S, P, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Node({})", self.peers());
    }
}

impl<S: Storage> Format for PeerTable<S> {
    fn format(&self, f: Formatter<'_>) {
        let (peers, connections) = (self.peers().count(), self.connections().count());
        write!(f, "{}: {=usize} peers, {=usize} connections", self.own_id(), peers, connections);
    }
}

impl<S: Storage> Format for PeerSlot<S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "PeerSlot");
    }
}

impl<S: Storage, C: Channel> Format for Carrier<S, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Carrier");
    }
}

impl<S: Storage> Format for Outbox<S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Outbox({=usize} bytes)", self.len());
    }
}

impl<S: Storage, C: Channel> Format for Connection<S, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Connection");
    }
}

impl<S: Storage, C: Channel> Format for Rx<S, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Rx({}, peer {})", self.role(), self.peer());
    }
}

impl<S: Storage, C: Channel> Format for Tx<S, C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Tx({=usize} bytes)", self.pending());
    }
}

impl<S: Storage, P> Format for Router<S, P> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Router");
    }
}

impl<S: Storage, P> Format for Directory<S, P> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Directory({=usize} spaces)", self.space_count());
    }
}

impl<S: Storage> Format for Space<S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Space");
    }
}

impl<S: Storage> Format for Module<S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Module");
    }
}

impl<S: Storage> Format for BlockedCount<S> {
    fn format(&self, f: Formatter<'_>) {
        let (peer, space) = (self.peer(), self.space());
        write!(f, "{=str} in {=[u8]}: {=u32} in, {=u32} out", peer, space, self.incoming(), self.outgoing());
    }
}

impl<S: Storage> Format for BlockedCounts<S> {
    fn format(&self, f: Formatter<'_>) {
        for entry in self.iter() {
            write!(f, "{}; ", entry);
        }
        write!(f, "{=u64} unattributed", self.unattributed());
    }
}

impl<S: Storage> Format for BlockList<S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "BlockList");
    }
}

impl<S: Storage> Format for BlockRule<S> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "BlockRule");
    }
}

#[cfg(feature = "alloc")]
mod heap {
    use defmt::{Format, Formatter, write};

    use crate::storage::{Buffer, HeapBuffer, HeapQueue, HeapTable, Table, TxQueue};
    use crate::wire::{K2Proto, K2WireType};

    impl<T: core::fmt::Debug + Clone> Format for HeapTable<T> {
        fn format(&self, f: Formatter<'_>) {
            write!(f, "HeapTable({=usize} of {=usize})", self.len(), self.limit());
        }
    }

    impl Format for HeapBuffer {
        fn format(&self, f: Formatter<'_>) {
            write!(f, "HeapBuffer({=usize} of {=usize} bytes)", self.as_slice().len(), self.limit());
        }
    }

    impl Format for HeapQueue {
        fn format(&self, f: Formatter<'_>) {
            write!(f, "HeapQueue({=usize} of {=usize} bytes)", self.len(), self.limit());
        }
    }

    impl Format for K2Proto {
        fn format(&self, f: Formatter<'_>) {
            write!(f, "{}", defmt::Debug2Format(self));
        }
    }

    impl Format for K2WireType {
        fn format(&self, f: Formatter<'_>) {
            write!(f, "{}", defmt::Debug2Format(self));
        }
    }
}

/// The id, and nothing else.
#[cfg(feature = "secure")]
impl Format for crate::secure::SecretKey {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "SecretKey(of {})", self.peer_id());
    }
}

/// Not what it is keyed with, or has in it.
#[cfg(feature = "secure")]
impl<B: Buffer, A> Format for crate::secure::Opener<B, A> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "{=str}", self.state_name());
    }
}

#[cfg(feature = "secure")]
impl<B: Buffer, A> Format for crate::secure::Sealer<B, A> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "{=str}", self.state_name());
    }
}

#[cfg(feature = "secure")]
impl<B, A> Format for crate::secure::Secured<B, A> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "Secured");
    }
}

#[cfg(feature = "secure")]
impl Format for crate::secure::ChaChaPoly {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "ChaChaPoly");
    }
}

impl<C> Format for crate::connection::OrPlain<C> {
    fn format(&self, f: Formatter<'_>) {
        write!(f, "OrPlain");
    }
}

impl<H> Format for crate::connection::Half<H> {
    fn format(&self, f: Formatter<'_>) {
        match self {
            Self::Plain(_) => write!(f, "Plain"),
            Self::Channel(_) => write!(f, "Channel"),
        }
    }
}
