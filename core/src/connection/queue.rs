//! Messages into a queue, as frames.

#[cfg(feature = "alloc")]
use bytes::Bytes;

use super::tx::PushError;
#[cfg(feature = "alloc")]
use crate::storage::HeapQueue;
use crate::storage::TxQueue;
use crate::wire::{FrameHeader, FrameType, HEADER_BYTES, Message};

/// The header of a frame that is to be queued.
#[inline]
pub(super) fn header<Q: TxQueue>(
    queue: &Q,
    max_frame_bytes: usize,
    ty: FrameType,
    payload: usize,
) -> Result<FrameHeader, PushError> {
    FrameHeader::new(ty, payload, max_frame_bytes.min(queue.limit())).map_err(|_| PushError::TooLarge)
}

/// Whether a peer takes a message that says how long a frame may be.
#[inline]
pub(crate) fn check_peer(max_frame_bytes: usize, message: &Message<'_>) -> Result<(), PushError> {
    if max_frame_bytes < usize::MAX && HEADER_BYTES + message.encoded_len() > max_frame_bytes {
        return Err(PushError::TooLargeForPeer);
    }
    Ok(())
}

/// Queues a message, encoded into the queue, unless `high_water` bytes wait; returns the length of its frame's payload.
#[inline]
pub(crate) fn push<Q: TxQueue>(
    queue: &mut Q,
    max_frame_bytes: usize,
    high_water: usize,
    message: &Message<'_>,
) -> Result<usize, PushError> {
    let payload = message.encoded_len();
    let header = header(queue, max_frame_bytes, FrameType::Data, payload)?;
    if queue.len() >= high_water {
        return Err(PushError::Backpressure);
    }
    let room = queue.reserve(HEADER_BYTES + payload).ok_or(PushError::Backpressure)?;
    if let Some((header_out, rest)) = room.split_first_chunk_mut() {
        *header_out = header.encode();
        let written = message.encode(rest);
        debug_assert_eq!(written.ok(), Some(payload), "reserved what encoded_len asks for");
    }
    Ok(payload)
}

/// Below this payload a copy is cheaper than a piece of its own in every write, in bytes.
#[cfg(feature = "alloc")]
const SHARE_FROM: usize = 2048;

/// As [`push`], without copying the payload, if that is long.
#[cfg(feature = "alloc")]
pub(crate) fn push_shared(
    queue: &mut HeapQueue,
    max_frame_bytes: usize,
    high_water: usize,
    routing: &Message<'_>,
    data: Bytes,
) -> Result<usize, (PushError, Bytes)> {
    let message = Message { data: &data, ..*routing };
    if data.len() < SHARE_FROM {
        return push(queue, max_frame_bytes, high_water, &message).map_err(|error| (error, data));
    }
    let payload = message.encoded_len();
    let header = match header(queue, max_frame_bytes, FrameType::Data, payload) {
        Ok(header) => header,
        Err(error) => return Err((error, data)),
    };
    if queue.len() >= high_water || HEADER_BYTES + payload > queue.limit() - queue.len() {
        return Err((PushError::Backpressure, data));
    }
    let (head, tail) = (message.head_len(), message.tail_len());
    if let Some((header_out, rest)) =
        queue.reserve(HEADER_BYTES + head).and_then(<[u8]>::split_first_chunk_mut)
    {
        *header_out = header.encode();
        let written = message.encode_head(rest);
        debug_assert!(written.is_ok());
    }
    queue.push_shared(data);
    if let Some(rest) = queue.reserve(tail) {
        let written = routing.encode_tail(rest);
        debug_assert!(written.is_ok());
    }
    Ok(payload)
}
