//! The Kitsune2 wire: frames, preflight payloads, messages and peer URLs. No state, no allocation.

mod frame;
mod message;
mod preflight;
#[cfg(feature = "alloc")]
mod proto;
mod url;
mod varint;

pub use frame::{EMPTY_DATA_FRAME, FrameError, FrameHeader, FrameType, HEADER_BYTES};
pub use message::{BufferTooSmall, DecodeError, Kind, MAX_HEAD_BYTES, Message, ModuleName};
pub use preflight::{PreflightError, PreflightPayload, URL_LEN_BYTES};
#[cfg(feature = "alloc")]
pub use proto::{K2Proto, K2WireType};
pub use url::{PathRule, PeerUrl, Scheme, UrlError, UrlRules};
