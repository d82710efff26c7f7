//! Frames of those who write them by hand.

use kitfox_core::wire::{FrameHeader, FrameType, Message, PeerUrl, PreflightPayload, UrlRules};

/// The bytes of a message.
///
/// # Panics
/// If that cannot be: the fault of the test.
pub fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.encode(&mut bytes).unwrap();
    bytes
}

/// A frame of this type with this payload.
///
/// # Panics
/// If that cannot be: the fault of the test.
pub fn frame(ty: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut frame = FrameHeader::new(ty, payload.len(), usize::MAX).unwrap().encode().to_vec();
    frame.extend(payload);
    frame
}

/// The frame of a message.
///
/// # Panics
/// If that cannot be: the fault of the test.
pub fn data(message: &Message<'_>) -> Vec<u8> {
    frame(FrameType::Data, &encoded(message))
}

/// The frame of a preflight: the URL of whoever sends it, and what it says.
///
/// # Panics
/// If that cannot be: the fault of the test.
pub fn preflight(url: &str, message: &Message<'_>) -> Vec<u8> {
    let url = PeerUrl::parse(url, &UrlRules::default()).unwrap();
    let message = encoded(message);
    let payload = PreflightPayload { url, message: &message };
    let mut bytes = vec![0; payload.encoded_len()];
    payload.encode(&mut bytes).unwrap();
    frame(FrameType::Preflight, &bytes)
}
