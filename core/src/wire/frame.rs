//! Stream frames: one byte of type, four bytes of big-endian payload length, payload.
//!
//! Source: Kitsune2's iroh transport. The bound on a frame includes its header.

use core::fmt;

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 5;

/// The empty data frame: it carries no message (its payload decodes as [`Kind::Unspecified`]) and every Kitsune2
/// node ignores it. It serves as confirm and as idle probe.
///
/// [`Kind::Unspecified`]: super::Kind::Unspecified
pub const EMPTY_DATA_FRAME: [u8; HEADER_BYTES] = [1, 0, 0, 0, 0];

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[allow(clippy::exhaustive_enums)] // the wire has two types; extensions never add one
pub enum FrameType {
    /// The peer's URL and its preflight message: the first frame of each direction, and only that one.
    Preflight = 0,
    /// One encoded message.
    Data = 1,
}

impl FrameType {
    /// The type that a frame's first byte names.
    ///
    /// # Errors
    /// [`FrameError::UnknownType`] for every value but 0 and 1.
    #[inline]
    pub const fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0 => Ok(Self::Preflight),
            1 => Ok(Self::Data),
            other => Err(FrameError::UnknownType(other)),
        }
    }
}

/// A decoded frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // five bytes on the wire, fixed for good
pub struct FrameHeader {
    /// What the frame carries.
    pub ty: FrameType,
    /// Bytes of payload that follow the header.
    pub payload_bytes: u32,
}

impl FrameHeader {
    /// Reads a header from the front of `bytes` and holds it against `max_frame_bytes`, which counts header and
    /// payload. The type is looked at before the length.
    ///
    /// # Errors
    /// All of them the peer's fault; see [`FrameError`].
    ///
    /// ```
    /// use kitfox_core::wire::{FrameError, FrameHeader, FrameType};
    ///
    /// let header = FrameHeader::decode(&[1, 0, 0, 0, 3], 8)?;
    /// assert_eq!((header.ty, header.payload_bytes), (FrameType::Data, 3));
    /// assert!(matches!(FrameHeader::decode(&[1, 0, 0, 0, 4], 8), Err(FrameError::TooLarge { .. })));
    /// # Ok::<(), FrameError>(())
    /// ```
    #[inline]
    pub fn decode(bytes: &[u8], max_frame_bytes: usize) -> Result<Self, FrameError> {
        let Some((&[ty, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(FrameError::Truncated);
        };
        let ty = FrameType::from_byte(ty)?;
        let payload_bytes = u32::from_be_bytes([a, b, c, d]);
        let frame_bytes = u64::from(payload_bytes) + HEADER_BYTES as u64;
        if frame_bytes > max_frame_bytes as u64 {
            return Err(FrameError::TooLarge { payload_bytes, max_frame_bytes });
        }
        Ok(Self { ty, payload_bytes })
    }

    /// The header of a frame whose payload has `payload_bytes` bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] if the whole frame would pass `max_frame_bytes` or the length field (here the
    /// caller's fault).
    #[inline]
    pub fn new(ty: FrameType, payload_bytes: usize, max_frame_bytes: usize) -> Result<Self, FrameError> {
        let frame_bytes = payload_bytes as u64 + HEADER_BYTES as u64;
        let fits = frame_bytes <= max_frame_bytes as u64;
        match u32::try_from(payload_bytes) {
            Ok(payload_bytes) if fits => Ok(Self { ty, payload_bytes }),
            bytes => Err(FrameError::TooLarge { payload_bytes: bytes.unwrap_or(u32::MAX), max_frame_bytes }),
        }
    }

    /// The header's five bytes.
    #[inline]
    pub const fn encode(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.payload_bytes.to_be_bytes();
        [self.ty as u8, a, b, c, d]
    }

    /// Bytes of the whole frame. Saturates where `usize` is too small for it.
    #[inline]
    pub const fn frame_bytes(self) -> usize {
        (self.payload_bytes as usize).saturating_add(HEADER_BYTES)
    }
}

/// Why bytes are not a frame header that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer than five bytes. On a live stream this only means that more must arrive.
    Truncated,
    /// The first byte is neither 0 nor 1.
    UnknownType(u8),
    /// Header and payload together are longer than the bound.
    TooLarge {
        /// Bytes behind the header; at most as many as its length field can say.
        payload_bytes: u32,
        /// The bound that it passes.
        max_frame_bytes: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("frame header is incomplete"),
            Self::UnknownType(ty) => write!(f, "unknown frame type {ty}"),
            Self::TooLarge { payload_bytes, max_frame_bytes } => {
                let frame_bytes = u64::from(*payload_bytes) + HEADER_BYTES as u64;
                write!(f, "frame of {frame_bytes} bytes is larger than {max_frame_bytes}")
            }
        }
    }
}

impl core::error::Error for FrameError {}
