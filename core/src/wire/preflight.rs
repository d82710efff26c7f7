//! The payload of a preflight frame: the sender's URL, then its preflight message.

use core::fmt;

use super::url::{PeerUrl, UrlError, UrlRules};

/// Bytes in front of the URL: its length, big endian.
pub const URL_LEN_BYTES: usize = 4;

/// The two parts of a preflight frame's payload.
///
/// ```
/// use kitfox_core::wire::{PeerUrl, PreflightPayload, UrlRules};
///
/// let rules = UrlRules::default();
/// let url = PeerUrl::parse("ws://127.0.0.1:9000/alice", &rules)?;
/// let mut bytes = [0; 64];
/// let len = PreflightPayload { url, message: b"\x08\x01" }.encode(&mut bytes).unwrap();
/// let read = PreflightPayload::decode(&bytes[..len], &rules)?;
/// assert_eq!((read.url, read.message), (url, &b"\x08\x01"[..]));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // the wire's own layout
pub struct PreflightPayload<'a> {
    /// The URL under which the sender wants to be known.
    pub url: PeerUrl<'a>,
    /// What follows the URL: an encoded message. The gate asks for one of kind PREFLIGHT.
    pub message: &'a [u8],
}

impl<'a> PreflightPayload<'a> {
    /// Splits a preflight frame's payload.
    ///
    /// # Errors
    /// All of them the peer's fault; see [`PreflightError`].
    pub fn decode(payload: &'a [u8], rules: &UrlRules) -> Result<Self, PreflightError> {
        let (len, rest) = payload.split_first_chunk::<URL_LEN_BYTES>().ok_or(PreflightError::Truncated)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| PreflightError::Truncated)?;
        let (url, message) = rest.split_at_checked(len).ok_or(PreflightError::Truncated)?;
        let url = PeerUrl::parse_bytes(url, rules).map_err(PreflightError::Url)?;
        Ok(Self { url, message })
    }

    /// Bytes that [`encode`](Self::encode) writes.
    pub fn encoded_len(&self) -> usize {
        URL_LEN_BYTES + self.url.as_str().len() + self.message.len()
    }

    /// Writes the payload to the front of `out` and returns its length, or `None` if `out` is too small.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let url = self.url.as_str().as_bytes();
        let (len, rest) = out.split_first_chunk_mut::<URL_LEN_BYTES>()?;
        *len = u32::try_from(url.len()).ok()?.to_be_bytes();
        let (url_out, rest) = rest.split_at_mut_checked(url.len())?;
        url_out.copy_from_slice(url);
        rest.get_mut(..self.message.len())?.copy_from_slice(self.message);
        Some(self.encoded_len())
    }
}

/// Why bytes are not the payload of a preflight frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PreflightError {
    /// The payload ends before its URL does.
    Truncated,
    /// The URL is not one that we take.
    Url(UrlError),
}

impl fmt::Display for PreflightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("preflight ends inside its URL"),
            Self::Url(error) => write!(f, "preflight URL: {error}"),
        }
    }
}

impl core::error::Error for PreflightError {}
