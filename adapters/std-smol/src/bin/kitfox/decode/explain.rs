//! What the bytes of one direction of a connection mean, and what is wrong with them.

use std::ops::Range;
use std::str;

use kitfox_smol::core::wire::{
    FrameError, FrameHeader, FrameType, HEADER_BYTES, Kind, Message, PeerUrl, PreflightError,
    PreflightPayload, URL_LEN_BYTES,
};
use kitfox_smol::{Config, PeerId};

use super::fields::{Value, fields};
use crate::names::Hex;
use crate::text;

/// Bytes of a payload that are shown.
const SHOWN_BYTES: usize = 48;

/// What hosts take if they are not configured otherwise.
const RULES: Config = Config::HOST;

/// One line of the explanation.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: Range<usize>,
    pub(super) depth: usize,
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) wrong: bool,
}

#[derive(Debug)]
pub(super) struct Explanation {
    pub(super) lines: Vec<Line>,
    /// What the stream is made of.
    pub(super) unit: &'static str,
    /// How many of them there are.
    pub(super) count: u64,
}

impl Explanation {
    pub(super) fn of(unit: &'static str) -> Self {
        Self { lines: Vec::new(), unit, count: 0 }
    }

    /// How many things are wrong.
    pub(super) fn wrong(&self) -> usize {
        self.lines.iter().filter(|line| line.wrong).count()
    }

    pub(super) fn say(
        &mut self,
        depth: usize,
        at: Range<usize>,
        name: &'static str,
        value: impl Into<String>,
    ) {
        self.lines.push(Line { at, depth, name, value: value.into(), wrong: false });
    }

    pub(super) fn blame(&mut self, depth: usize, at: Range<usize>, value: impl Into<String>) {
        self.lines.push(Line { at, depth, name: "wrong", value: value.into(), wrong: true });
    }
}

/// Explains a stream of frames, from a connection's first byte or from the beginning of any other frame.
pub(super) fn stream(bytes: &[u8]) -> Explanation {
    let mut told = Explanation::of("frame");
    let (mut place, mut before) = (0, None);
    while place < bytes.len() {
        let rest = &bytes[place..];
        // The type is looked at before the length.
        let ty = FrameType::from_byte(rest[0]);
        let header = match ty.and_then(|_| FrameHeader::decode(rest, RULES.max_frame_bytes)) {
            Ok(header) => header,
            Err(error) => {
                broken_header(&mut told, place..bytes.len(), error);
                break;
            }
        };
        told.count += 1;
        let (start, end) = (place + HEADER_BYTES, place + header.frame_bytes());
        let name = match header.ty {
            FrameType::Preflight => "preflight frame",
            FrameType::Data => "data frame",
        };
        let size = match (header.ty, header.payload_bytes) {
            (FrameType::Data, 0) => "empty: a confirm or a probe".to_owned(),
            (_, len) => format!("payload of {} B", text::count(len.into())),
        };
        told.say(0, place..start, name, size);
        if header.ty == FrameType::Preflight {
            match before {
                Some(FrameType::Preflight) => {
                    told.blame(1, place..start, "second preflight frame: it closes the connection");
                }
                Some(FrameType::Data) => {
                    told.blame(1, place..start, "a preflight behind data: it is the first frame or none");
                }
                None => {}
            }
            if header.frame_bytes() > RULES.max_preflight_bytes {
                let bound = text::count(RULES.max_preflight_bytes as u64);
                told.blame(1, place..start, format!("before the gate is open frames have at most {bound} B"));
            }
        }
        if end > bytes.len() {
            let missing = text::count((end - bytes.len()) as u64);
            told.blame(
                1,
                start..bytes.len(),
                format!("the bytes end inside this frame: {missing} B are missing"),
            );
            break;
        }
        match header.ty {
            FrameType::Preflight => preflight(&mut told, bytes, start..end),
            FrameType::Data if header.payload_bytes > 0 => data(&mut told, bytes, start..end),
            FrameType::Data => {}
        }
        before = before.or(Some(header.ty));
        place = end;
    }
    told
}

/// Where frames cannot be told apart there is nothing more to explain.
fn broken_header(told: &mut Explanation, at: Range<usize>, error: FrameError) {
    let advice = match error {
        FrameError::UnknownType(_) => ": a frame begins with 0 (preflight) or 1 (data)",
        FrameError::TooLarge { .. } => ": the bound can be configured",
        _ => "",
    };
    told.blame(0, at, format!("{error}{advice}"));
}

fn preflight(told: &mut Explanation, bytes: &[u8], at: Range<usize>) {
    let payload = &bytes[at.clone()];
    let Some((len, rest)) = payload.split_first_chunk::<URL_LEN_BYTES>() else {
        return told.blame(1, at, PreflightError::Truncated.to_string());
    };
    let len = u32::from_be_bytes(*len);
    let url_at = at.start + URL_LEN_BYTES;
    told.say(1, at.start..url_at, "URL length", text::count(len.into()));
    let message_at = match usize::try_from(len).ok().filter(|len| *len <= rest.len()) {
        Some(len) => url_at + len,
        None => return told.blame(1, url_at..at.end, PreflightError::Truncated.to_string()),
    };
    told.say(1, url_at..message_at, "URL", quoted(&bytes[url_at..message_at]));
    match PreflightPayload::decode(payload, &RULES.url) {
        Ok(PreflightPayload { url, .. }) => peer_url(told, url_at..message_at, url),
        Err(error) => told.blame(2, url_at..message_at, error.to_string()),
    }
    let kind = message(told, bytes, message_at..at.end);
    if kind.is_some_and(|kind| kind != Kind::Preflight) {
        told.blame(1, message_at..at.end, "what follows the URL is not a PREFLIGHT message");
    }
}

fn peer_url(told: &mut Explanation, at: Range<usize>, url: PeerUrl<'_>) {
    let channel = if url.uses_tls() { "secured" } else { "plain" };
    let id = url.peer_id().unwrap_or_default();
    let id_at = at.end - id.len()..at.end;
    told.say(2, at.start..at.end - id.len(), "address", format!("{}, {channel}", url.addr()));
    match PeerId::new(id) {
        Some(parsed) => {
            let form = if parsed.key().is_some() { "a key" } else { "a text" };
            told.say(2, id_at, "peer id", format!("{id}, {form}"));
        }
        None => told.blame(2, id_at, "the URL has no peer id of 1 to 64 bytes"),
    }
}

fn data(told: &mut Explanation, bytes: &[u8], at: Range<usize>) {
    let kind = message(told, bytes, at.clone());
    let message = Message::decode(&bytes[at.clone()]).unwrap_or_default();
    match kind {
        Some(Kind::Notify | Kind::Module) if message.space.is_none() => {
            told.blame(1, at, "message without a space id");
        }
        Some(Kind::Module) if message.module.is_none() => {
            told.say(1, at, "note", "names no module: it is dropped");
        }
        Some(Kind::Unspecified) => told.say(1, at, "note", "of no known kind: it is ignored"),
        _ => {}
    }
}

/// Explains the fields of a message. `None` if it does not decode.
fn message(told: &mut Explanation, bytes: &[u8], at: Range<usize>) -> Option<Kind> {
    let payload = &bytes[at.clone()];
    let (mut broken, mut groups) = (false, 0usize);
    for field in fields(payload) {
        let field = match field {
            Ok(field) => field,
            Err(error) => {
                told.blame(1, at.start + error.at..at.end, error.why);
                broken = true;
                continue;
            }
        };
        let place = at.start + field.at.start..at.start + field.at.end;
        // A group is skipped with all that is in it.
        let number = if groups > 0 { 0 } else { field.number };
        match field.value {
            Value::GroupStart => groups += 1,
            Value::GroupEnd => groups = groups.saturating_sub(1),
            _ => {}
        }
        let known = match number {
            1 => "ty",
            2 => "data",
            3 => "space_id",
            4 => "module_id",
            _ => "unknown field",
        };
        match (number, &field.value) {
            // The low 32 bits, as protobuf has it.
            (1, Value::Number(ty)) => told.say(1, place, known, kind_name(*ty as i32)),
            (2 | 3, Value::Bytes(value)) => told.say(1, place, known, quoted(value)),
            (4, Value::Bytes(value)) => {
                told.say(1, place.clone(), known, quoted(value));
                if str::from_utf8(value).is_err() {
                    told.blame(1, place, "the id of a module is UTF-8");
                    broken = true;
                }
            }
            (1..=4, _) => {
                told.blame(1, place, format!("{known} has another type than this"));
                broken = true;
            }
            (_, value) => {
                told.say(1, place, known, format!("number {}, {}: skipped", field.number, shown(value)));
            }
        }
    }
    match Message::decode(payload) {
        Ok(message) => Some(message.kind()),
        Err(error) => {
            if !broken {
                told.blame(1, at, format!("the message does not decode: {error}"));
            }
            None
        }
    }
}

fn kind_name(ty: i32) -> String {
    let name = match Kind::from_wire(ty) {
        Kind::Preflight => "PREFLIGHT",
        Kind::Notify => "NOTIFY",
        Kind::Module => "MODULE",
        Kind::Disconnect => "DISCONNECT",
        _ if ty == 0 => "UNSPECIFIED",
        _ => "unknown",
    };
    format!("{ty}, {name}")
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bytes(bytes) => quoted(bytes),
        Value::Fixed(bytes) => Hex(bytes).to_string(),
        Value::GroupStart => "a group begins".to_owned(),
        Value::GroupEnd => "a group ends".to_owned(),
    }
}

/// The front of some bytes: as text if they are, in hex otherwise.
fn quoted(bytes: &[u8]) -> String {
    let front = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let shown = match front.iter().all(is_text) {
        true => format!("\"{}\"", front.escape_ascii()),
        false => Hex(front).to_string(),
    };
    let more = if front.len() < bytes.len() { "..." } else { "" };
    format!("{shown}{more}, {} B", text::count(bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and values of all lines.
    fn lines(bytes: &[u8]) -> Vec<(usize, &'static str, String)> {
        stream(bytes).lines.into_iter().map(|line| (line.at.start, line.name, line.value)).collect()
    }

    /// The places of what is wrong.
    fn blamed(bytes: &[u8]) -> Vec<(usize, String)> {
        let lines = stream(bytes).lines.into_iter().filter(|line| line.wrong);
        lines.map(|line| (line.at.start, line.value)).collect()
    }

    fn frame(ty: u8, payload: &[u8]) -> Vec<u8> {
        [&[ty][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
    }

    const PREFLIGHT: &[u8] = b"\x00\x00\x00\x00\x17\x00\x00\x00\x0dws://a:1/abcd\x08\x01\x12\x02hi";

    #[test]
    fn a_stream_is_explained_to_its_last_byte() {
        let stream_bytes = [PREFLIGHT, &frame(1, b""), &frame(1, b"\x08\x02\x12\x01!\x1a\x01g")].concat();
        let expected = [
            (0, "preflight frame", "payload of 23 B"),
            (5, "URL length", "13"),
            (9, "URL", "\"ws://a:1/abcd\", 13 B"),
            (9, "address", "a:1, plain"),
            (18, "peer id", "abcd, a text"),
            (22, "ty", "1, PREFLIGHT"),
            (24, "data", "\"hi\", 2 B"),
            (28, "data frame", "empty: a confirm or a probe"),
            (33, "data frame", "payload of 8 B"),
            (38, "ty", "2, NOTIFY"),
            (40, "data", "\"!\", 1 B"),
            (43, "space_id", "\"g\", 1 B"),
        ];
        let told = lines(&stream_bytes);
        let told: Vec<_> = told.iter().map(|(at, name, value)| (*at, *name, value.as_str())).collect();
        assert_eq!(told, expected);
        assert_eq!((stream(&stream_bytes).wrong(), stream(&stream_bytes).count), (0, 3));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let second = [PREFLIGHT, PREFLIGHT].concat();
        let cases: [(&[u8], usize, &str); 14] = [
            (b"\x01\0", 0, "frame header is incomplete"),
            (b"\x07", 0, "unknown frame type 7"),
            (b"\x01\xff\xff\xff\xff", 0, "is larger than"),
            (b"\x01\0\0\0\x03\x08", 5, "2 B are missing"),
            (&second, 28, "second preflight"),
            (&[&frame(1, b"")[..], PREFLIGHT].concat(), 5, "a preflight behind data"),
            (&frame(0, b"\0\0"), 5, "preflight ends inside its URL"),
            (&frame(0, b"\0\0\0\x09ws"), 9, "preflight ends inside its URL"),
            (&frame(0, b"\0\0\0\x08ws://a:1\x08\x01"), 17, "no peer id"),
            (&frame(0, b"\0\0\0\x0aws://a:1/b\x08\x02"), 19, "not a PREFLIGHT"),
            (&frame(1, b"\x08\x02"), 5, "without a space id"),
            (&frame(1, b"\x08\x02\x1a\x05g"), 7, "ends inside this field"),
            (&frame(1, b"\x08\x03\x22\x01\xff"), 7, "UTF-8"),
            (&frame(1, b"\x0a\x01x"), 5, "ty has another type"),
        ];
        for (bytes, at, words) in cases {
            let blamed = blamed(bytes);
            assert!(
                blamed.iter().any(|(place, why)| *place == at && why.contains(words)),
                "{words}: {blamed:?}"
            );
        }
    }

    #[test]
    fn a_message_is_called_wrong_exactly_where_nodes_refuse_it() {
        // Short messages of bytes that mean something in many places.
        let bytes = [0, 1, 2, 8, 0x0a, 0x12, 0x1a, 0x22, 0x2b, 0x2c, 0x35, 0x80, 0xff];
        let mut message = [0; 4];
        for number in 0..bytes.len().pow(4) {
            for (place, byte) in message.iter_mut().enumerate() {
                *byte = bytes[number / bytes.len().pow(place as u32) % bytes.len()];
            }
            let mut told = Explanation::of("frame");
            let kind = super::message(&mut told, &message, 0..message.len());
            let verdict = Message::decode(&message);
            assert_eq!(kind, verdict.ok().map(|message| message.kind()), "{message:?}");
            assert_eq!(told.wrong() > 0, verdict.is_err(), "{message:?}: {told:?}");
        }
    }
}
