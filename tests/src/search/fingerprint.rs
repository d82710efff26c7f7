//! When two states count as one.

use core::fmt::Write as _;
use core::hash::{Hash, Hasher};
use std::hash::DefaultHasher;

use kitfox_core::connection::Channel;
use kitfox_core::storage::Storage;

use super::State;
use crate::world::End;

/// Makes 128 bits of a state.
///
/// Everything that a node is goes in through its `Debug` text, in which moments are made relative to the node's clock,
/// and numbers that are only compared are replaced by their rank. What that text leaves out is the content of outboxes,
/// which the ledger and the numbers of the messages in them determine; all other buffers are empty between two events.
#[derive(Debug, Default)]
pub(super) struct Fingerprint {
    text: String,
    canonical: String,
    ranks: [Vec<u64>; 2],
    marks: Vec<(usize, u64, core::ops::Range<usize>)>,
}

impl Fingerprint {
    pub(super) fn of<T: Storage, C: Channel>(&mut self, state: &mut State<T, C>) -> u128 {
        for (host, print) in state.world.hosts.iter_mut().zip(&mut state.prints) {
            if !core::mem::take(&mut host.touched) {
                continue;
            }
            self.text.clear();
            self.canonical.clear();
            let _ = write!(self.text, "{:?}", host.node);
            self.canonicalise(host.now.as_micros());
            let _ = write!(self.canonical, "{:?}", host.answers);
            for (connection, socket) in &host.sockets {
                let _ = write!(self.canonical, "|{} {} {:?}", connection.index(), socket.side, socket.unread);
            }
            *print = both(|hasher| hasher.write(self.canonical.as_bytes()));
        }
        both(|mut hasher| {
            let State { world, ledger, unsent, faults, ticks, prints } = &*state;
            (prints, ledger, unsent, faults, ticks).hash(&mut hasher);
            for link in world.links.iter().filter(|link| link.ends != [End::Gone, End::Gone]) {
                let ends = link.ends.map(|end| match end {
                    End::Waiting(connection) => (0, connection.map(|connection| connection.index())),
                    End::Live(connection) => (1, Some(connection.index())),
                    End::Gone => (2, None),
                });
                (link.nodes, ends, &link.pipes, link.refused, link.broken).hash(&mut hasher);
            }
        })
    }

    /// Appends `text` to `canonical`.
    fn canonicalise(&mut self, now: u64) {
        const MARKS: [&str; 6] =
            ["Instant(", "heard_at: ", "next_order: ", "generation: ", " order: ", "config: "];
        // What is registered and counted never changes.
        let mut from = self.text.find(", peers: ").expect("nodes have peers");
        self.ranks.iter_mut().for_each(Vec::clear);
        self.marks.clear();
        self.marks.extend(marks(&self.text, &MARKS));
        for &(mark, number, ref place) in &self.marks {
            if (mark == 3 || mark == 4) && place.start > from {
                self.ranks[mark - 3].push(number);
            }
        }
        for ranks in &mut self.ranks {
            ranks.sort_unstable();
            ranks.dedup();
        }
        let mut after_counter = false;
        for &(mark, number, ref place) in &self.marks {
            if place.start < from {
                continue;
            }
            self.canonical.push_str(&self.text[from..place.start]);
            from = place.end;
            match mark {
                0 => {
                    let _ = write!(self.canonical, "@{}", number as i64 - now as i64);
                }
                // When something was heard does not matter without probes.
                1 => from = place.end + self.text[place.end..].find(')').map_or(0, |end| end + 1),
                2 => after_counter = true,
                // The counters themselves are above everything that they gave out.
                3 if after_counter => after_counter = false,
                3 | 4 => {
                    let rank = self.ranks[mark - 3].binary_search(&number).unwrap_or(0);
                    let _ = write!(self.canonical, "#{rank}");
                }
                // Never changes. It ends with the first blank after its braces.
                _ => {
                    let mut depth = 0;
                    let end = self.text.as_bytes()[from..].iter().position(|&byte| {
                        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
                        depth == 0 && byte == b'}'
                    });
                    from += end.map_or(0, |end| end + 1);
                }
            }
        }
        self.canonical.push_str(&self.text[from..]);
    }
}

/// Where the marks are in a text: which one, the number behind it, and from the number's first digit to its end.
fn marks<'t>(
    text: &'t str,
    marks: &'t [&'t str],
) -> impl Iterator<Item = (usize, u64, core::ops::Range<usize>)> + 't {
    let bytes = text.as_bytes();
    let mut at = 0;
    core::iter::from_fn(move || {
        while at < bytes.len() {
            let here = at;
            at += 1;
            // Every mark ends in a bracket, or a blank behind a colon.
            if bytes[here] != b'(' && (bytes[here] != b' ' || here == 0 || bytes[here - 1] != b':') {
                continue;
            }
            let front = &bytes[..here + 1];
            if let Some(mark) = marks.iter().position(|mark| front.ends_with(mark.as_bytes())) {
                let digits = bytes[here + 1..].iter().take_while(|byte| byte.is_ascii_digit());
                let mut number = 0u64;
                let mut len = 0;
                for digit in digits {
                    number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                    len += 1;
                }
                return Some((mark, number, here + 1..here + 1 + len));
            }
        }
        None
    })
}

/// What two different functions make of it.
fn both(write: impl Fn(&mut dyn Hasher)) -> u128 {
    let (mut first, mut second) = (DefaultHasher::new(), Mixer(0xcbf2_9ce4_8422_2325));
    write(&mut first);
    write(&mut second);
    u128::from(first.finish()) << 64 | u128::from(second.finish())
}

/// A second opinion.
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
            self.0 = (self.0 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
        }
        for &byte in chunks.remainder() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 29
    }
}
