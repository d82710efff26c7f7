//! What can be said about one direction of a secured connection without its keys: docs/protocol.md, section 7.

use std::ops::{Range, RangeInclusive};

use kitfox_smol::core::secure::{HOST_RECORD_BYTES, KEY_BYTES, SUITE, TAG_BYTES, VERSION};

use super::explain::Explanation;
use crate::text;

/// What the dialler's stream begins with, and no frame.
const MAGIC: &[u8] = b"kf";
const LEN_BYTES: usize = 2;
/// The dialler's X25519 key, sealed.
const SEALED_KEY_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Lengths of the first and of the second handshake message.
const FIRST: RangeInclusive<usize> = 138..=256;
const SECOND: RangeInclusive<usize> = 58..=256;
/// Lengths of records, as hosts take them.
const RECORD: RangeInclusive<usize> = TAG_BYTES..=HOST_RECORD_BYTES as usize + TAG_BYTES;

/// Whether this is what a dialler says on a secured connection: no frame begins so.
pub(super) fn is_dialler(bytes: &[u8]) -> bool {
    bytes.first() == MAGIC.first()
}

/// Explains everything that one end said, from the first byte.
pub(super) fn stream(bytes: &[u8]) -> Explanation {
    let mut reader = Reader { bytes, place: 0, told: Explanation::of("record") };
    // Where it goes wrong there is nothing more to explain.
    let _ = if is_dialler(bytes) { reader.dialler() } else { reader.acceptor() };
    reader.told
}

struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
    told: Explanation,
}

impl Reader<'_> {
    fn dialler(&mut self) -> Option<()> {
        let magic = self.part(0, MAGIC.len(), "magic", "\"kf\": a dialler's stream")?;
        if self.bytes[magic.clone()] != *MAGIC {
            return self.blame(magic, "a secured connection begins with \"kf\"");
        }
        self.number("version", VERSION)?;
        self.number("suite", SUITE)?;
        let end = self.length("first message", FIRST)?;
        self.part(1, KEY_BYTES, "ephemeral key", "X25519")?;
        self.part(1, SEALED_KEY_BYTES, "static key", "the dialler's X25519 key, sealed: 32 B and a tag")?;
        self.payload(end, "id, limits")?;
        self.records()
    }

    fn acceptor(&mut self) -> Option<()> {
        let end = self.length("second message", SECOND)?;
        self.part(1, KEY_BYTES, "ephemeral key", "X25519")?;
        self.payload(end, "limits")?;
        self.records()
    }

    fn payload(&mut self, end: usize, holds: &str) -> Option<()> {
        let len = end - TAG_BYTES - self.place;
        self.part(1, len, "payload", &format!("sealed: {holds}, {len} B"))?;
        self.part(1, TAG_BYTES, "tag", "of the payload").map(drop)
    }

    fn records(&mut self) -> Option<()> {
        let mut closed = false;
        while self.place < self.bytes.len() {
            if closed {
                return self.blame(self.place..self.bytes.len(), "nothing may follow the closing record");
            }
            let end = self.length("record", RECORD)?;
            self.told.count += 1;
            let len = end - TAG_BYTES - self.place;
            closed = len == 0;
            if !closed {
                self.part(1, len, "text", &format!("sealed: {} B of frames", text::count(len as u64)))?;
            }
            self.part(
                1,
                TAG_BYTES,
                "tag",
                if closed { "of no text: nothing more comes" } else { "of the text" },
            )?;
        }
        if !closed {
            let end = self.place;
            self.told.say(
                0,
                end..end,
                "note",
                "no closing record: the connection is open, or it was cut off",
            );
        }
        Some(())
    }

    /// A byte that has one right value.
    fn number(&mut self, name: &'static str, right: u8) -> Option<()> {
        let is = self.bytes.get(self.place).copied().unwrap_or_default();
        let at = self.part(0, 1, name, &is.to_string())?;
        if is == right { Some(()) } else { self.blame(at, &format!("this build knows {name} {right} only")) }
    }

    /// The length of what follows, and where that ends.
    fn length(&mut self, name: &'static str, bounds: RangeInclusive<usize>) -> Option<usize> {
        let rest = &self.bytes[self.place..];
        let len = rest.first_chunk().map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
        let at = self.part(0, LEN_BYTES, name, &format!("{} B", text::count(len as u64)))?;
        if bounds.contains(&len) {
            return Some(self.place + len);
        }
        let [first, last] = [bounds.start(), bounds.end()].map(|bound| text::count(*bound as u64));
        self.blame(at, &format!("a {name} has {first} to {last} B"))
    }

    /// The next bytes are this.
    fn part(&mut self, depth: usize, len: usize, name: &'static str, value: &str) -> Option<Range<usize>> {
        let at = self.place..self.place + len;
        if at.end > self.bytes.len() {
            let missing = text::count((at.end - self.bytes.len()) as u64);
            let why = format!("the bytes end inside the {name}: {missing} B are missing");
            return self.blame(self.place..self.bytes.len(), &why);
        }
        self.told.say(depth, at.clone(), name, value);
        self.place = at.end;
        Some(at)
    }

    fn blame<T>(&mut self, at: Range<usize>, why: &str) -> Option<T> {
        self.told.blame(1, at, why);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Vec<u8> {
        [&b"kf\x01\x01\x00\x8a"[..], &[0xee; 138]].concat()
    }

    fn record(len: u16) -> Vec<u8> {
        [&len.to_be_bytes()[..], &vec![0xcc; len.into()]].concat()
    }

    /// Places and names.
    fn parts(bytes: &[u8]) -> Vec<(usize, &'static str)> {
        stream(bytes).lines.into_iter().map(|line| (line.at.start, line.name)).collect()
    }

    #[test]
    fn both_ends_of_a_secured_connection_are_explained_to_their_last_byte() {
        let dialler = [first(), record(20), record(16)].concat();
        assert!(is_dialler(&dialler));
        let expected = [
            (0, "magic"),
            (2, "version"),
            (3, "suite"),
            (4, "first message"),
            (6, "ephemeral key"),
            (38, "static key"),
            (86, "payload"),
            (128, "tag"),
            (144, "record"),
            (146, "text"),
            (150, "tag"),
            (166, "record"),
            (168, "tag"),
        ];
        assert_eq!(parts(&dialler), expected);
        assert_eq!((stream(&dialler).wrong(), stream(&dialler).count), (0, 2));

        let acceptor = [record(58), record(17)].concat();
        assert!(!is_dialler(&acceptor));
        let expected = [
            (0, "second message"),
            (2, "ephemeral key"),
            (34, "payload"),
            (44, "tag"),
            (60, "record"),
            (62, "text"),
        ];
        assert_eq!(parts(&acceptor)[..6], expected);
        assert_eq!(parts(&acceptor).last(), Some(&(79, "note")), "it is not closed");
        assert_eq!(stream(&acceptor).wrong(), 0);
    }

    #[test]
    fn what_is_wrong_with_a_secured_stream_is_told_with_its_place() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = first();
            bytes[at] = byte;
            bytes
        };
        let cases: [(Vec<u8>, usize, &str); 9] = [
            (changed(1, b'g'), 0, "begins with \"kf\""),
            (changed(2, 2), 2, "version 1 only"),
            (changed(3, 0), 3, "suite 1 only"),
            (changed(5, 137), 4, "138 to 256 B"),
            (first()[..100].to_vec(), 86, "28 B are missing"),
            (record(57), 0, "58 to 256 B"),
            ([first(), record(15)].concat(), 144, "16 to 16,400 B"),
            ([first(), record(16), record(17)].concat(), 162, "closing record"),
            ([first(), vec![0]].concat(), 144, "1 B are missing"),
        ];
        for (bytes, at, words) in cases {
            let lines = stream(&bytes).lines;
            let last = lines.last().unwrap();
            assert!(last.wrong && last.at.start == at && last.value.contains(words), "{words}: {last:?}");
        }
    }

    #[test]
    fn wherever_a_secured_stream_is_cut_it_is_explained() {
        let bytes = [first(), record(20), record(16)].concat();
        for len in 1..bytes.len() {
            let explanation = stream(&bytes[..len]);
            let whole = [144, 166].contains(&len);
            assert_eq!(explanation.wrong(), usize::from(!whole), "{len}");
        }
    }
}
