//! The parts of the core that a recording is replayed into. Each call goes through the same wrapper as in the node, and
//! what that notes is compared with what it noted then.
//!
//! Everything in a recording is a stranger's word. What a driver of the core must not do is looked for here, before it
//! is done.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use kitfox_core::Config;
use kitfox_core::connection::Answer;
use kitfox_core::node::PeerKey;
use kitfox_core::wire::PeerUrl;

use super::ReplayError;
use super::file::{Header, decode, encode};
use crate::security::Security;
use crate::taped::entry::{Entry, OutboxCall, RulesCall, RxCall, Said, TableCall, TxCall, Wrote};
use crate::taped::{Making, Outbox, PeerTable, Rules, Rx, Sink, Tape, Tx};

/// Bytes that the buffers of all connections and outboxes may own before anything is in them.
const MAX_MINIMUM_BYTES: u128 = 1 << 30;

/// Entries of all rules that somebody still uses though they have changed since.
const MAX_OLD_RULES: u64 = 10_000_000;

/// What was noted last.
#[derive(Default)]
struct Heard(Mutex<Vec<u8>>);

impl Sink for Heard {
    fn put(&self, entry: &Entry<'_>) {
        encode(entry, &mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

pub(super) struct Replayer {
    heard: Arc<Heard>,
    tape: Tape,
    config: Config,
    security: Security,
    table: PeerTable,
    rules: Arc<Rules>,
    /// How many entries they have, at most.
    rules_size: u64,
    old_rules: Vec<(Weak<Rules>, u64)>,
    outboxes: HashMap<PeerKey, Replayed>,
    connections: HashMap<u64, Connection>,
}

/// An outbox, and whether a connection writes what is in it.
struct Replayed {
    outbox: Outbox,
    open: bool,
}

/// What is left of a connection.
struct Connection {
    rx: Option<Rx>,
    tx: Option<Tx>,
    /// Bytes that were read and not taken.
    unread: Vec<u8>,
    /// The turn that has begun. It borrows the receive half from its beginning to its end, and entries of other parts
    /// may come in between; so it is replayed when it is over.
    turn: Vec<Held>,
}

/// An entry that waits for the end of its turn.
struct Held {
    number: u64,
    bytes: Vec<u8>,
    /// The rules that it brings.
    rules: Option<Arc<Rules>>,
}

type Outcome = Result<(), ReplayError>;

impl Replayer {
    pub(super) fn new(header: &Header, security: Security) -> Self {
        let heard = Arc::new(Heard::default());
        let tape = Tape::to(heard.clone());
        Self {
            table: PeerTable::new(&header.peers, header.id, header.seed, &tape),
            rules: Arc::new(Rules::new(&header.router, header.seed, &tape)),
            rules_size: 0,
            old_rules: Vec::new(),
            outboxes: HashMap::new(),
            connections: HashMap::new(),
            config: header.config,
            heard,
            tape,
            security,
        }
    }

    /// Replays an entry.
    pub(super) fn entry(&mut self, number: u64, entry: &Entry<'_>, bytes: &[u8]) -> Outcome {
        let outcome = self.carry_out(number, entry, bytes);
        outcome.map_err(|error| self.first(error))
    }

    /// Replays the turns that have not ended.
    pub(super) fn end(&mut self) -> Outcome {
        let outcomes: Vec<_> = self.connections.values_mut().map(|it| it.end_turn(&self.heard)).collect();
        outcomes.into_iter().filter_map(Result::err).min_by_key(ReplayError::entry).map_or(Ok(()), Err)
    }

    /// This error, or an earlier one in a turn that has not ended.
    fn first(&mut self, error: ReplayError) -> ReplayError {
        match self.end() {
            Err(other) if other.entry() < error.entry() => other,
            _ => error,
        }
    }

    fn carry_out(&mut self, number: u64, entry: &Entry<'_>, bytes: &[u8]) -> Outcome {
        let malformed = |what| ReplayError::Malformed { entry: number, what };
        match entry {
            Entry::Table { call, .. } => self.call_table(call).map_err(malformed)?,
            Entry::Rules(call) => {
                self.make_room_for_rules(number, call)?;
                self.call_rules(call);
            }
            Entry::Outbox { peer, call, .. } => {
                self.make_room(number, matches!(call, OutboxCall::New))?;
                self.call_outbox(*peer, call).map_err(malformed)?;
            }
            Entry::Rx { connection, call } if call.is_of_turn() => {
                let rules = matches!(call, RxCall::Rules { .. }).then(|| self.rules.clone());
                let held = Held { number, bytes: bytes.to_vec(), rules };
                let connection = self.connections.get_mut(connection);
                let connection = connection.ok_or_else(|| malformed("there is no such connection"))?;
                connection.turn.push(held);
                let over = matches!(call, RxCall::Finish { .. });
                return if over { connection.end_turn(&self.heard) } else { Ok(()) };
            }
            Entry::Rx { connection, call } => {
                self.make_room(number, matches!(call, RxCall::Dial { .. } | RxCall::Accept { .. }))?;
                self.call_rx(*connection, call)?.map_err(malformed)?;
            }
            Entry::Tx { connection, call, .. } => self.call_tx(*connection, call).map_err(malformed)?,
            Entry::End(_) => return Err(malformed("the end is not a call")),
        }
        self.heard.compare(number, bytes)
    }

    /// Sees that buffers which own memory from the beginning are not too many.
    fn make_room(&self, number: u64, grows: bool) -> Outcome {
        let Config { rx_buffer, tx_queue, outbox, .. } = &self.config;
        let connections =
            (self.connections.len() as u128 + 1) * (rx_buffer.min_bytes as u128 + tx_queue.min_bytes as u128);
        let outboxes = (self.outboxes.len() as u128 + 1) * outbox.min_bytes as u128;
        if grows && connections + outboxes > MAX_MINIMUM_BYTES {
            return Err(ReplayError::TooLarge { entry: number });
        }
        Ok(())
    }

    /// Sees that old rules are not too many, as far as somebody uses them.
    fn make_room_for_rules(&mut self, number: u64, call: &RulesCall<'_>) -> Outcome {
        if matches!(call, RulesCall::Permit { .. }) {
            return Ok(());
        }
        self.rules_size += 1;
        if Arc::strong_count(&self.rules) > 1 {
            self.old_rules.retain(|(rules, _)| rules.strong_count() > 0);
            self.old_rules.push((Arc::downgrade(&self.rules), self.rules_size));
            if self.old_rules.iter().map(|(_, size)| size).sum::<u64>() > MAX_OLD_RULES {
                return Err(ReplayError::TooLarge { entry: number });
            }
        }
        Ok(())
    }

    fn call_table(&mut self, call: &TableCall<'_>) -> Result<(), &'static str> {
        let table = &mut self.table;
        if table.is_full() && !matches!(call, TableCall::NextStep(_)) {
            return Err("too many steps wait to be taken");
        }
        match call {
            TableCall::NextStep(_) => drop(table.next_step()),
            TableCall::Timeout { now, .. } => drop(table.handle_timeout(*now)),
            TableCall::NetworkUp(up) => table.set_network_up(*up),
            TableCall::Enter { id, url, .. } => drop(table.enter(id, url)),
            TableCall::Waiting { now, peer, waiting } => table.waiting(*now, *peer, *waiting),
            TableCall::Refuse { now, connection, reason, waiting } => {
                table.refuse(*now, *connection, *reason, *waiting);
            }
            TableCall::Accept(_) => drop(table.accept()),
            TableCall::Dialled(connection) => table.dialled(*connection),
            TableCall::Sent(connection) => table.sent(*connection),
            TableCall::Introduced { now, connection, id, url, proven } => {
                table.introduced(*now, *connection, id, url, *proven);
            }
            TableCall::Confirmed { now, connection, .. } => drop(table.confirmed(*now, *connection)),
            TableCall::Ended { now, connection, ending } => table.ended(*now, *connection, *ending),
            TableCall::Disconnect { now, peer } => table.disconnect(*now, *peer),
            TableCall::Release(connection) => table.release(*connection),
        }
        Ok(())
    }

    fn call_rules(&mut self, call: &RulesCall<'_>) {
        if let RulesCall::Permit { peer, space, .. } = call {
            let mut who = kitfox_core::Peer::new(peer.url, peer.id.as_ref());
            who.proven = peer.proven;
            let _ = self.rules.permit_send(&who, space.0);
            return;
        }
        let rules = Arc::make_mut(&mut self.rules);
        match call {
            RulesCall::RegisterSpace { id, .. } => drop(rules.register_space(id.0)),
            RulesCall::RegisterModule { space, name, .. } => drop(rules.register_module(space.0, name)),
            RulesCall::UnregisterSpace { id, .. } => drop(rules.unregister_space(id.0)),
            RulesCall::UnregisterModule { space, name, .. } => drop(rules.unregister_module(space.0, name)),
            RulesCall::Block { id, space, .. } => drop(rules.block(*id, space.map(|space| space.0))),
            RulesCall::Unblock { id, space, .. } => drop(rules.unblock(*id, space.map(|space| space.0))),
            RulesCall::Permit { .. } => {}
        }
    }

    fn call_outbox(&mut self, peer: PeerKey, call: &OutboxCall<'_>) -> Result<(), &'static str> {
        match call {
            OutboxCall::New => {
                if self.outboxes.contains_key(&peer) {
                    return Err("this outbox is there already");
                }
                let outbox = Outbox::new(peer, &self.config, &self.tape);
                self.outboxes.insert(peer, Replayed { outbox, open: false });
                return Ok(());
            }
            OutboxCall::Gone => {
                self.outboxes.remove(&peer).ok_or("there is no such outbox")?;
                return Ok(());
            }
            _ => {}
        }
        let Replayed { outbox, open } = self.outboxes.get_mut(&peer).ok_or("there is no such outbox")?;
        match call {
            OutboxCall::Push { letter, .. } => drop(outbox.push(&letter.message())),
            OutboxCall::PushShared { letter, .. } => {
                let message = letter.message();
                drop(outbox.push_shared(&message, Bytes::copy_from_slice(message.data)));
            }
            OutboxCall::SetPaused(paused) => outbox.set_paused(*paused),
            OutboxCall::Begin { peer_max_frame_bytes } => {
                if mem::replace(open, true) {
                    return Err("this outbox is written already");
                }
                outbox.begin(*peer_max_frame_bytes);
            }
            OutboxCall::End(_) => {
                *open = false;
                _ = outbox.end();
            }
            OutboxCall::TakeFirst(_) => {
                if *open && !outbox.is_too_large_for_peer() {
                    return Err("the first message may be on its way");
                }
                drop(outbox.take_first());
            }
            OutboxCall::Relax { .. } => drop(outbox.relax()),
            OutboxCall::New | OutboxCall::Gone => {}
        }
        Ok(())
    }

    fn call_rx(&mut self, number: u64, call: &RxCall<'_>) -> Result<Result<(), &'static str>, ReplayError> {
        if let RxCall::Dial { .. } | RxCall::Accept { .. } = call {
            return Ok(self.connect(number, call));
        }
        let Some(connection) = self.connections.get_mut(&number) else {
            return Ok(Err("there is no such connection"));
        };
        if let RxCall::Gone = call {
            // Also in the middle of a turn, where a handler has panicked.
            connection.end_turn(&self.heard)?;
            let gone = connection.rx.take().map(drop);
            self.forget(number);
            return Ok(gone.ok_or("there is no such receive half"));
        }
        Ok(connection.call_rx(call, &self.config))
    }

    /// Makes both halves of a connection.
    fn connect(&mut self, number: u64, call: &RxCall<'_>) -> Result<(), &'static str> {
        if self.connections.contains_key(&number) {
            return Err("this connection is there already");
        }
        let making = Making { config: &self.config, security: &self.security, tape: &self.tape };
        let (rx, tx) = match call {
            RxCall::Dial { now, url } => {
                let url = PeerUrl::parse(url, &self.config.url).map_err(|_| "it dials what is no URL")?;
                making.dial(*now, number, url).ok_or("it dials what cannot be dialled")?
            }
            RxCall::Accept { now } => making.accept(*now, number),
            _ => return Err("this makes no connection"),
        };
        let connection = Connection { rx: Some(rx), tx: Some(tx), unread: Vec::new(), turn: Vec::new() };
        self.connections.insert(number, connection);
        Ok(())
    }

    /// Forgets a connection of which nothing is left.
    fn forget(&mut self, number: u64) {
        if self.connections.get(&number).is_some_and(|it| it.rx.is_none() && it.tx.is_none()) {
            self.connections.remove(&number);
        }
    }

    fn call_tx(&mut self, number: u64, call: &TxCall<'_>) -> Result<(), &'static str> {
        let connection = self.connections.get_mut(&number).ok_or("there is no such connection")?;
        let tx = connection.tx.as_mut().ok_or("there is no such transmit half")?;
        match call {
            TxCall::Transmit { now, outbox, wrote } => {
                let outbox = match outbox {
                    Some(peer) => {
                        let found = self.outboxes.get_mut(peer).ok_or("there is no such outbox")?;
                        Some(&mut found.outbox)
                    }
                    None => None,
                };
                // What is shown is compared with what was shown: that, and what was taken of it, is noted.
                drop(tx.transmit_slices_with(*now, outbox, |pieces| match wrote {
                    Wrote::Took { bytes, .. } => Ok(bytes.len.min(pieces.iter().map(|it| it.len()).sum())),
                    Wrote::Nothing | Wrote::Failed { .. } => Err(io::ErrorKind::WouldBlock.into()),
                }));
            }
            TxCall::PushEmpty { now, .. } => drop(tx.push_empty(*now)),
            TxCall::PushDisconnect { now, reason, .. } => drop(tx.push_disconnect(*now, reason.0)),
            TxCall::PushFarewell { now, reason } => tx.push_farewell(*now, *reason),
            TxCall::FinishFrame { outbox, .. } => {
                let found = self.outboxes.get_mut(outbox).ok_or("there is no such outbox")?;
                tx.finish_frame(&mut found.outbox);
            }
            TxCall::Stage { now, outbox, .. } => {
                let found = self.outboxes.get_mut(outbox).ok_or("there is no such outbox")?;
                tx.stage(*now, &mut found.outbox);
            }
            TxCall::Timeout { now, .. } => drop(tx.handle_timeout(*now)),
            TxCall::Gone => {
                connection.tx = None;
                self.forget(number);
            }
        }
        Ok(())
    }
}

impl Connection {
    /// A call between two turns.
    fn call_rx(&mut self, call: &RxCall<'_>, config: &Config) -> Result<(), &'static str> {
        let Self { rx, tx, turn, .. } = self;
        let rx = rx.as_mut().ok_or("there is no such receive half")?;
        if !turn.is_empty() {
            return Err("it comes in the middle of a read");
        }
        let whole = "there is no such transmit half";
        match call {
            RxCall::Answer { now, id, answer, .. } => {
                let own_url;
                let answer = match answer {
                    Said::Accept => Answer::Accept,
                    Said::Refuse => Answer::Refuse,
                    Said::Preflight { own_url: text, data } => {
                        own_url = PeerUrl::parse(text, &config.url).map_err(|_| "our own URL is none")?;
                        Answer::Preflight { own_url, data: data.0 }
                    }
                    Said::Randomness(bytes) => {
                        let bytes = bytes.0.0.try_into().map_err(|_| "not 32 random bytes")?;
                        Answer::Randomness(bytes)
                    }
                    Said::Other => return Err("an answer that nobody gives"),
                };
                _ = rx.answer(*now, tx.as_mut().ok_or(whole)?, *id, answer);
            }
            RxCall::Work { now } => rx.work(*now, tx.as_mut().ok_or(whole)?),
            RxCall::End => rx.end(),
            RxCall::Close(reason) => rx.close(*reason),
            RxCall::Timeout { now } => rx.handle_timeout(*now),
            _ => return Err("it has no place here"),
        }
        Ok(())
    }

    /// Replays the turn that has begun, if one has, as far as it was recorded.
    fn end_turn(&mut self, heard: &Heard) -> Outcome {
        let turn = mem::take(&mut self.turn);
        let Some(first) = turn.first() else { return Ok(()) };
        let malformed = |entry, what| ReplayError::Malformed { entry, what };
        let nothing = "there is no such receive half";
        let rx = self.rx.as_mut().ok_or_else(|| malformed(first.number, nothing))?;
        let mut turn = turn.into_iter();

        // A look at the rules, and a read.
        let mut rules = None;
        let (now, read) = loop {
            let Some(held) = turn.next() else { return Ok(()) };
            match held.call() {
                Some(RxCall::Rules { epoch }) => {
                    rx.sees(epoch);
                    heard.compare(held.number, &held.bytes)?;
                    rules = held.rules;
                }
                Some(RxCall::Read { now, bytes, .. }) => {
                    self.unread.extend_from_slice(bytes.0);
                    break (now, held);
                }
                _ => return Err(malformed(held.number, "it comes before a read")),
            }
        };
        let mut rules = rules.ok_or_else(|| malformed(read.number, "it was read without rules"))?;
        let mut frames = rx.read(now, &mut self.unread);
        heard.compare(read.number, &read.bytes)?;

        // What was seen of it.
        for held in turn {
            match held.call() {
                Some(RxCall::Rules { epoch }) => {
                    frames.sees(epoch);
                    rules = held.rules.unwrap_or(rules);
                }
                Some(RxCall::Next(_)) => drop(frames.next(&rules).is_some()),
                Some(RxCall::Keep(_)) => drop(frames.payload_to_bytes()),
                Some(RxCall::CloseInside(reason)) => frames.close(reason),
                Some(RxCall::Finish { drained, .. }) => {
                    if drained && frames.next(&rules).is_some() {
                        // An action that the node did not see.
                        return heard.compare(held.number, &held.bytes);
                    }
                    let (taken, _) = frames.finish();
                    self.unread.drain(..taken);
                    return heard.compare(held.number, &held.bytes);
                }
                _ => return Err(malformed(held.number, "it comes in the middle of a read")),
            }
            heard.compare(held.number, &held.bytes)?;
        }
        Ok(())
    }
}

impl Held {
    fn call(&self) -> Option<RxCall<'_>> {
        match decode(&self.bytes)? {
            Entry::Rx { call, .. } => Some(call),
            _ => None,
        }
    }
}

impl Heard {
    /// Compares what was noted since the last time with what is recorded.
    fn compare(&self, entry: u64, recorded: &[u8]) -> Outcome {
        let replayed = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if replayed == recorded {
            return Ok(());
        }
        let say = |bytes: &[u8]| match decode::<Entry<'_>>(bytes) {
            Some(entry) => entry.words(),
            None => "nothing".to_owned(),
        };
        let part = decode::<Entry<'_>>(recorded).map_or_else(String::new, |entry| entry.part());
        let (recorded, replayed) = (say(recorded), say(&replayed));
        Err(ReplayError::Difference { entry, part, recorded, replayed })
    }
}
