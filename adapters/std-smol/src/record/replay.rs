//! Replays a recording to its end.

use std::fmt;
use std::io::{BufReader, Read};
use std::time::Duration;

use kitfox_core::secure::{Credentials, SecretKey};
use kitfox_core::{Instant, PeerId};

use super::ReplayError;
use super::file::{Entries, Header, decode};
use super::replayer::Replayer;
use crate::security::Security;
use crate::taped::entry::{End, Entry, OutboxCall, RxCall, Seen, TableCall, TxCall, Wrote};

/// What a replay has done, without a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The node that was recorded.
    pub peer_id: PeerId,
    /// The version of kitfox that has recorded it.
    pub version: String,
    /// When it was built, in seconds since 1970.
    pub at_s: u64,
    /// How its recording ended.
    pub ended: Ended,
    /// From the building of the node to the last call that was told the time.
    pub lasted: Duration,
    /// Entries of every kind, but for the last one, which says how the recording ended.
    pub entries: u64,
    /// Calls of the peer table.
    pub table_calls: u64,
    /// Calls of what is registered and blocked.
    pub rules_calls: u64,
    /// Calls of outboxes.
    pub outbox_calls: u64,
    /// Calls of the receive halves of connections.
    pub rx_calls: u64,
    /// Calls of the transmit halves of connections.
    pub tx_calls: u64,
    /// Connections that had a socket.
    pub connections: u64,
    /// Messages to spaces and modules that were received.
    pub received_messages: u64,
    /// Messages that were accepted for sending.
    pub accepted_messages: u64,
    /// Bytes that were read from sockets.
    pub read_bytes: u64,
    /// Bytes that sockets have taken.
    pub written_bytes: u64,
}

/// How a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// With its node.
    Stopped,
    /// At its limit; the node went on.
    Limit,
    /// In the middle: the process was killed, or the file could not be written any more. What was whole was replayed.
    Cut,
}

/// Replays a recording into parts of the core of their own, and compares what comes out. `key` is that of the node that
/// was recorded; a plain node needs none.
///
/// # Errors
/// See [`ReplayError`]. No file makes it panic, or own much more memory than the file is long.
pub fn replay(recording: impl Read, key: Option<&SecretKey>) -> Result<Replayed, ReplayError> {
    replay_telling(recording, key, |_, _| {})
}

/// As [`replay`], and tells of each entry before it is replayed: its number, and what it says as text for people.
/// Neither messages nor what handshakes draw their secrets from are in it, but URLs are.
///
/// # Errors
/// As for [`replay`].
pub fn replay_telling(
    recording: impl Read,
    key: Option<&SecretKey>,
    mut tell: impl FnMut(u64, &dyn fmt::Display),
) -> Result<Replayed, ReplayError> {
    let (header, mut entries) = Entries::new(BufReader::new(recording))?;
    let security = security(&header, key)?;
    let mut replayer = Replayer::new(&header, security);
    let mut replayed = Replayed::new(&header);
    let mut number = 0;
    let mut ended = None;
    while let Some(bytes) = entries.next()? {
        number += 1;
        let malformed = |what| ReplayError::Malformed { entry: number, what };
        if ended.is_some() {
            return Err(malformed("it comes after the last one"));
        }
        let entry: Entry<'_> = decode(bytes).ok_or_else(|| malformed("it is none"))?;
        tell(number, &entry);
        if let Entry::End(end) = entry {
            ended = Some(match end {
                End::Stopped => Ended::Stopped,
                End::Limit => Ended::Limit,
            });
            continue;
        }
        replayed.count(&entry);
        replayer.entry(number, &entry, bytes)?;
    }
    replayer.end()?;
    replayed.ended = ended.unwrap_or(Ended::Cut);
    Ok(replayed)
}

/// What the connections of the recorded node were secured with.
fn security(header: &Header, key: Option<&SecretKey>) -> Result<Security, ReplayError> {
    let Some(secured) = &header.secured else { return Ok(Security::Plain) };
    let key = key.ok_or_else(|| ReplayError::KeyMissing(header.id.to_string()))?;
    let given = key.peer_id();
    if given != header.id {
        let (recorded, given) = (header.id.to_string(), given.to_string());
        return Err(ReplayError::OtherKey { recorded, given });
    }
    let (network, max_record_bytes) = (secured.network, secured.max_record_bytes);
    Ok(Security::Secured(Box::new(Credentials { key: key.clone(), network, max_record_bytes })))
}

impl Replayed {
    fn new(header: &Header) -> Self {
        Self {
            peer_id: header.id,
            version: header.version.clone(),
            at_s: header.at_s,
            ended: Ended::Cut,
            lasted: Duration::ZERO,
            entries: 0,
            table_calls: 0,
            rules_calls: 0,
            outbox_calls: 0,
            rx_calls: 0,
            tx_calls: 0,
            connections: 0,
            received_messages: 0,
            accepted_messages: 0,
            read_bytes: 0,
            written_bytes: 0,
        }
    }

    fn count(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        if let Some(now) = time(entry) {
            self.lasted = self.lasted.max(now.since(Instant::ZERO));
        }
        match entry {
            Entry::Table { .. } => self.table_calls += 1,
            Entry::Rules(_) => self.rules_calls += 1,
            Entry::Outbox { call, .. } => {
                self.outbox_calls += 1;
                if let OutboxCall::Push { result: Ok(_), .. } | OutboxCall::PushShared { result: Ok(_), .. } =
                    call
                {
                    self.accepted_messages += 1;
                }
            }
            Entry::Rx { call, .. } => {
                self.rx_calls += 1;
                match call {
                    RxCall::Dial { .. } | RxCall::Accept { .. } => self.connections += 1,
                    RxCall::Read { bytes, .. } => self.read_bytes += bytes.0.len() as u64,
                    RxCall::Next(Seen::Notify { .. } | Seen::Module { .. }) => self.received_messages += 1,
                    _ => {}
                }
            }
            Entry::Tx { call, .. } => {
                self.tx_calls += 1;
                if let TxCall::Transmit { wrote: Wrote::Took { bytes, .. }, .. } = call {
                    // The file may say anything.
                    self.written_bytes = self.written_bytes.saturating_add(bytes.len as u64);
                }
            }
            Entry::End(_) => {}
        }
    }
}

/// What the time was, if the call was told.
fn time(entry: &Entry<'_>) -> Option<Instant> {
    match entry {
        Entry::Table { call, .. } => match call {
            TableCall::Timeout { now, .. }
            | TableCall::Waiting { now, .. }
            | TableCall::Refuse { now, .. }
            | TableCall::Introduced { now, .. }
            | TableCall::Confirmed { now, .. }
            | TableCall::Ended { now, .. }
            | TableCall::Disconnect { now, .. } => Some(*now),
            _ => None,
        },
        Entry::Rx { call, .. } => match call {
            RxCall::Dial { now, .. }
            | RxCall::Accept { now }
            | RxCall::Read { now, .. }
            | RxCall::Answer { now, .. }
            | RxCall::Work { now }
            | RxCall::Timeout { now } => Some(*now),
            _ => None,
        },
        Entry::Tx { call, .. } => match call {
            TxCall::Transmit { now, .. }
            | TxCall::PushEmpty { now, .. }
            | TxCall::PushDisconnect { now, .. }
            | TxCall::PushFarewell { now, .. }
            | TxCall::Stage { now, .. }
            | TxCall::Timeout { now, .. } => Some(*now),
            TxCall::FinishFrame { .. } | TxCall::Gone => None,
        },
        Entry::Rules(_) | Entry::Outbox { .. } | Entry::End(_) => None,
    }
}
