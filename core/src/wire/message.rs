//! The `K2Proto` message of Kitsune2 (`wire.proto`), decoded without a copy and encoded without an allocation.
//!
//! [`Message::decode`] accepts exactly what Kitsune2's own decoder (prost 0.14) accepts, with the same values. Its
//! stack use does not grow with the input, nor does it recurse.

use core::{fmt, str};

use super::varint::{
    self, END_GROUP, LENGTH_DELIMITED, START_GROUP, VARINT, key, length_delimited, skip, skip_group,
};

/// The longest [head](Message::encode_head) of a message, in bytes.
pub const MAX_HEAD_BYTES: usize = 2 * (1 + varint::MAX_BYTES);

const TY: u32 = 1;
const DATA: u32 = 2;
const SPACE: u32 = 3;
const MODULE: u32 = 4;

const KEY_TY: u8 = (TY << 3) as u8 | VARINT;
const KEY_DATA: u8 = (DATA << 3) as u8 | LENGTH_DELIMITED;
const KEY_SPACE: u8 = (SPACE << 3) as u8 | LENGTH_DELIMITED;
const KEY_MODULE: u8 = (MODULE << 3) as u8 | LENGTH_DELIMITED;

/// The kinds of message on the wire
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// No kind, or one this version does not know; such messages are ignored.
    #[default]
    Unspecified = 0,
    /// The first message of a connection, in each direction.
    Preflight = 1,
    /// A message to a space.
    Notify = 2,
    /// A message to a module of a space.
    Module = 3,
    /// The sender is about to close the connection.
    Disconnect = 15,
}

impl Kind {
    /// The kind with this number on the wire; [`Kind::Unspecified`] if there is none.
    #[inline]
    pub const fn from_wire(ty: i32) -> Self {
        match ty {
            1 => Self::Preflight,
            2 => Self::Notify,
            3 => Self::Module,
            15 => Self::Disconnect,
            _ => Self::Unspecified,
        }
    }

    /// The number of this kind on the wire.
    #[inline]
    pub const fn to_wire(self) -> i32 {
        self as i32
    }
}

/// A K2Proto message whose fields are lent from the bytes it was decoded from
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Message<'a> {
    /// The kind as on the wire, kept also if unknown; see [`Message::kind`].
    pub ty: i32,
    /// The payload.
    pub data: &'a [u8],
    /// The id of the space. Present but empty differs from absent.
    pub space: Option<&'a [u8]>,
    /// The id of the module. Present but empty differs from absent.
    pub module: Option<ModuleName<'a>>,
}

/// The name of a module, lent from a message: UTF-8.
///
/// It is checked when a message is decoded and compared by its bytes. Safe code makes no `str` of checked bytes without
/// reading them again, which costs as much as half of the decoding; so that is done only for those who ask.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct ModuleName<'a>(&'a [u8]);

impl<'a> ModuleName<'a> {
    /// This text as a module's name.
    #[inline]
    pub const fn new(name: &'a str) -> Self {
        Self(name.as_bytes())
    }

    /// The name's bytes, which are UTF-8.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The name as text. Reads all of it.
    pub fn as_str(&self) -> &'a str {
        str::from_utf8(self.0).unwrap_or_default()
    }
}

impl fmt::Debug for ModuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ModuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'a> Message<'a> {
    /// A message to a space.
    #[inline]
    pub const fn notify(space: &'a [u8], data: &'a [u8]) -> Self {
        Self { ty: Kind::Notify.to_wire(), data, space: Some(space), module: None }
    }

    /// A message to a module of a space.
    #[inline]
    pub const fn module(space: &'a [u8], module: &'a str, data: &'a [u8]) -> Self {
        Self { ty: Kind::Module.to_wire(), data, space: Some(space), module: Some(ModuleName::new(module)) }
    }

    /// The first message of a connection.
    #[inline]
    pub const fn preflight(data: &'a [u8]) -> Self {
        Self { ty: Kind::Preflight.to_wire(), data, space: None, module: None }
    }

    /// The last message of a connection, with a reason: usually a text for people.
    #[inline]
    pub const fn disconnect(reason: &'a [u8]) -> Self {
        Self { ty: Kind::Disconnect.to_wire(), data: reason, space: None, module: None }
    }

    /// The kind of message; [`Kind::Unspecified`] if [`Message::ty`] is unknown.
    #[inline]
    pub const fn kind(&self) -> Kind {
        Kind::from_wire(self.ty)
    }

    /// Decodes a whole message. No bytes at all are a message too, with every field at its default.
    ///
    /// # Errors
    ///
    /// If the bytes are no protobuf message, a known field has another wire type than the schema's, or the id of the
    /// module is not UTF-8.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_in_line(bytes)
    }

    /// [`decode`](Self::decode) for the one place that every message passes. Elsewhere its code is not worth its size.
    #[inline(always)]
    pub(crate) fn decode_in_line(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match Self::decode_usual(bytes) {
            Some(message) if message.module.is_none_or(|name| name.0.is_ascii()) => Ok(message),
            _ => Self::decode_any(bytes),
        }
    }

    /// The number of bytes of the encoding, those of [`Message::encode`].
    #[inline]
    pub fn encoded_len(&self) -> usize {
        self.head_len().saturating_add(self.data.len()).saturating_add(self.tail_len())
    }

    /// Encodes the message at the front of `out` and returns the number of bytes written.
    ///
    /// The encoding is the canonical one: fields ascending, a zero `ty` and empty `data` omitted.
    ///
    /// # Errors
    ///
    /// If `out` is shorter than [`Message::encoded_len`]. What `out` holds then is unspecified.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let size = out.len();
        let left = self.put_head(out).and_then(|out| put(self.data, out)).and_then(|out| self.put_tail(out));
        written(size, left, || self.encoded_len())
    }

    /// The number of bytes before the payload, those of [`Message::encode_head`]; at most [`MAX_HEAD_BYTES`].
    #[inline]
    pub fn head_len(&self) -> usize {
        let ty = if self.ty == 0 { 0 } else { 1 + varint::len(self.ty as u64) };
        let data = if self.data.is_empty() { 0 } else { 1 + varint::len(self.data.len() as u64) };
        ty + data
    }

    /// The number of bytes after the payload, those of [`Message::encode_tail`].
    #[inline]
    pub fn tail_len(&self) -> usize {
        let len = |field: Option<&[u8]>| {
            field.map_or(0, |bytes| (1 + varint::len(bytes.len() as u64)).saturating_add(bytes.len()))
        };
        len(self.space).saturating_add(len(self.module.map(|name| name.0)))
    }

    /// Encodes what precedes the payload, so that a large one need not be copied: head, [`Message::data`] and
    /// [tail](Message::encode_tail) on end are the encoding.
    ///
    /// # Errors
    ///
    /// If `out` is shorter than [`Message::head_len`]. [`MAX_HEAD_BYTES`] are always enough.
    #[inline]
    pub fn encode_head(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let size = out.len();
        let left = self.put_head(out);
        written(size, left, || self.head_len())
    }

    /// Encodes what follows the payload, see [`Message::encode_head`].
    ///
    /// # Errors
    ///
    /// If `out` is shorter than [`Message::tail_len`].
    #[inline]
    pub fn encode_tail(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let size = out.len();
        let left = self.put_tail(out);
        written(size, left, || self.tail_len())
    }

    #[inline]
    fn put_head<'o>(&self, mut out: &'o mut [u8]) -> Option<&'o mut [u8]> {
        if self.ty != 0 {
            // Sign-extended: a negative number takes ten bytes.
            out = put_key(KEY_TY, self.ty as u64, out)?;
        }
        if !self.data.is_empty() {
            out = put_key(KEY_DATA, self.data.len() as u64, out)?;
        }
        Some(out)
    }

    #[inline(always)]
    fn put_tail<'o>(&self, mut out: &'o mut [u8]) -> Option<&'o mut [u8]> {
        if let Some(space) = self.space {
            out = put_id(KEY_SPACE, space, out)?;
        }
        if let Some(module) = self.module {
            out = put_id(KEY_MODULE, module.0, out)?;
        }
        Some(out)
    }
}

impl<'a> Message<'a> {
    /// Straight down the fields as encoders write them; nothing if there is anything unusual about the bytes. The id of the
    /// module is yet to be checked.
    #[inline(always)]
    fn decode_usual(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut ty = 0;
        if let [KEY_TY, value @ 0..=0x7f, tail @ ..] = rest {
            ty = i32::from(*value);
            rest = tail;
        }
        let mut data: &[u8] = &[];
        if let [KEY_DATA, tail @ ..] = rest {
            let (len, tail) = match tail {
                [a @ 0..=0x7f, tail @ ..] => (usize::from(*a), tail),
                [a, b @ 0..=0x7f, tail @ ..] => (usize::from(a & 0x7f) | usize::from(*b) << 7, tail),
                [a, b, c @ 0..=0x7f, tail @ ..] => {
                    (usize::from(a & 0x7f) | usize::from(b & 0x7f) << 7 | usize::from(*c) << 14, tail)
                }
                _ => return None,
            };
            (data, rest) = tail.split_at_checked(len)?;
        }
        let mut space = None;
        if let [KEY_SPACE, len @ 0..=0x7f, tail @ ..] = rest {
            let (value, tail) = tail.split_at_checked(usize::from(*len))?;
            space = Some(value);
            rest = tail;
        }
        let mut module = None;
        if let [KEY_MODULE, len @ 0..=0x7f, tail @ ..] = rest {
            let (value, tail) = tail.split_at_checked(usize::from(*len))?;
            module = Some(ModuleName(value));
            rest = tail;
        }
        rest.is_empty().then_some(Self { ty, data, space, module })
    }

    /// The general decoder: any field in any order.
    #[cold]
    #[inline(never)]
    fn decode_any(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, wire_type, tail) = key(rest)?;
            rest = match (number, wire_type) {
                (TY, VARINT) => {
                    let (ty, tail) = varint::decode(tail)?;
                    // The low 32 bits, as protobuf has it for enums.
                    message.ty = ty as i32;
                    tail
                }
                (DATA, LENGTH_DELIMITED) => {
                    let (data, tail) = length_delimited(tail)?;
                    message.data = data;
                    tail
                }
                (SPACE, LENGTH_DELIMITED) => {
                    let (space, tail) = length_delimited(tail)?;
                    message.space = Some(space);
                    tail
                }
                (MODULE, LENGTH_DELIMITED) => {
                    let (module, tail) = length_delimited(tail)?;
                    str::from_utf8(module).map_err(|_| DecodeError::NotUtf8)?;
                    message.module = Some(ModuleName(module));
                    tail
                }
                (TY..=MODULE, _) => return Err(DecodeError::WireType),
                (number, START_GROUP) => skip_group(number, tail)?,
                (_, END_GROUP) => return Err(DecodeError::EndGroup),
                (_, wire_type) => skip(wire_type, tail)?,
            };
        }
        Ok(message)
    }
}

/// Writes a key and the varint after it; returns what is left of `out`.
#[inline(always)]
fn put_key(key: u8, value: u64, out: &mut [u8]) -> Option<&mut [u8]> {
    if value < 0x80 {
        let (head, rest) = out.split_first_chunk_mut()?;
        *head = [key, value as u8];
        Some(rest)
    } else if value < 0x4000 {
        let (head, rest) = out.split_first_chunk_mut()?;
        *head = [key, value as u8 | 0x80, (value >> 7) as u8];
        Some(rest)
    } else {
        put_long_key(key, value, out)
    }
}

#[cold]
#[inline(never)]
fn put_long_key(key: u8, value: u64, out: &mut [u8]) -> Option<&mut [u8]> {
    let (first, rest) = out.split_first_mut()?;
    *first = key;
    varint::encode(value, rest)
}

/// Copies `bytes` to the front of `out`; returns what is left of `out`.
#[inline(always)]
fn put<'o>(bytes: &[u8], out: &'o mut [u8]) -> Option<&'o mut [u8]> {
    let (front, rest) = out.split_at_mut_checked(bytes.len())?;
    front.copy_from_slice(bytes);
    Some(rest)
}

/// Writes a key and an id after it; returns what is left of `out`. Ids of the usual lengths are moved in registers,
/// without a call, and their room is looked at once.
#[inline(always)]
fn put_id<'o>(key: u8, bytes: &[u8], out: &'o mut [u8]) -> Option<&'o mut [u8]> {
    const ID: usize = 32;
    if let Ok(id) = <&[u8; ID]>::try_from(bytes) {
        let (front, rest) = out.split_first_chunk_mut::<{ 2 + ID }>()?;
        let (head, body) = front.split_at_mut(2);
        head.copy_from_slice(&[key, ID as u8]);
        body.copy_from_slice(id);
        return Some(rest);
    }
    // Eight to sixteen bytes are the first eight and the last eight, which may overlap.
    if let (Some(first), Some(last), ..=16) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>(), bytes.len())
    {
        let (front, rest) = out.split_at_mut_checked(2 + bytes.len())?;
        *front.last_chunk_mut()? = *last;
        let (head, body) = front.split_first_chunk_mut()?;
        *head = [key, bytes.len() as u8];
        *body.first_chunk_mut()? = *first;
        return Some(rest);
    }
    put(bytes, put_key(key, bytes.len() as u64, out)?)
}

#[inline(always)]
fn written(
    size: usize,
    left: Option<&mut [u8]>,
    needed: impl FnOnce() -> usize,
) -> Result<usize, BufferTooSmall> {
    match left {
        Some(left) => Ok(size - left.len()),
        None => Err(BufferTooSmall { needed: needed() }),
    }
}

/// Why bytes are no message
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DecodeError {
    /// The bytes end inside a field.
    Truncated,
    /// A varint of more than ten bytes or 64 bits.
    VarintTooLong,
    /// A field key of more than 32 bits.
    KeyTooLarge,
    /// A field numbered zero.
    FieldNumberZero,
    /// A wire type that does not exist, or not that of a known field.
    WireType,
    /// The end of a group that is not the innermost open one.
    EndGroup,
    /// Groups nested too deep.
    GroupDepth,
    /// The id of the module is not UTF-8.
    NotUtf8,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the message ends inside a field",
            Self::VarintTooLong => "a varint exceeds 64 bits",
            Self::KeyTooLarge => "a field key exceeds 32 bits",
            Self::FieldNumberZero => "a field is numbered zero",
            Self::WireType => "a wire type does not exist or is not the field's",
            Self::EndGroup => "a group ends that is not the innermost open one",
            Self::GroupDepth => "groups are nested too deep",
            Self::NotUtf8 => "the module id is not UTF-8",
        })
    }
}

impl core::error::Error for DecodeError {}

/// The buffer given is too small for what was to be written
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferTooSmall {
    /// The number of bytes that would do.
    pub needed: usize,
}

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a buffer of {} bytes is needed", self.needed)
    }
}

impl core::error::Error for BufferTooSmall {}
