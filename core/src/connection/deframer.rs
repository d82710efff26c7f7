//! Finds frames in a stream that is cut anywhere.

use core::ops::Range;

use crate::config::{Config, Oversize, RxLimits};
use crate::error::{CapacityError, ProtocolError};
use crate::storage::Buffer;
use crate::time::Instant;
use crate::wire::{FrameError, FrameHeader, FrameType, HEADER_BYTES};

use super::CloseReason;

/// What [`Deframer::step`] found at the front of the plaintext.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole frame. Its payload lies in this range of the plaintext; the frame ends where the range ends.
    Whole { ty: FrameType, payload: Range<usize> },
    /// The buffer holds a whole frame, whose payload lies in this range of the buffer, after `taken` bytes of the
    /// plaintext were put into it. It stays there until [`Deframer::release`].
    Buffered { ty: FrameType, payload: Range<usize>, taken: usize },
    /// All of the plaintext was taken, and a frame is still incomplete.
    Partial,
    /// A data frame that is too long begins here, and is to be discarded; its header was taken.
    Oversize { frame_bytes: u64, taken: usize },
    /// So many bytes of a frame that is discarded were taken.
    Skipped { taken: usize },
}

/// Which frames are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) preflight: bool,
    pub(super) max_frame_bytes: usize,
    pub(super) oversize: Oversize,
}

/// Finds frames. A frame that lies whole in the plaintext is found there; one that does not is put together in a
/// buffer that grows with the bytes that arrived, never with the length that the header claims.
#[derive(Debug, Clone)]
pub(super) struct Deframer<B> {
    /// The front of the frame that is under way, header first. Invariant: never longer than its frame.
    buffer: B,
    /// Bytes that are still to be discarded. Invariant: the buffer is empty while it is not zero.
    skip: u64,
    /// When the frame that is under way must have ended. Invariant: `None` if and only if no frame is under way.
    deadline: Option<Instant>,
}

impl<B: Buffer> Deframer<B> {
    pub(super) fn new(config: &Config) -> Self {
        Self { buffer: B::with_limits(config.rx_buffer), skip: 0, deadline: None }
    }

    pub(super) fn buffer(&self) -> &B {
        &self.buffer
    }

    pub(super) fn buffer_mut(&mut self) -> &mut B {
        &mut self.buffer
    }

    /// When the frame that is under way must have ended.
    #[inline]
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The length of the frame at the front of `plain`, if it is a data frame that lies there whole and has a payload.
    #[inline(always)]
    pub(super) fn usual_frame(&self, max_frame_bytes: usize, plain: &[u8]) -> Option<usize> {
        let header = FrameHeader::decode(plain, max_frame_bytes).ok()?;
        let usual = self.deadline.is_none()
            && header.ty == FrameType::Data
            && header.payload_bytes > 0
            && header.frame_bytes() <= plain.len();
        usual.then_some(header.frame_bytes())
    }

    /// Looks at the front of `plain`, which is not empty. Only a whole frame is left where it is.
    #[inline]
    pub(super) fn step(
        &mut self,
        now: Instant,
        limits: &RxLimits,
        bounds: Bounds,
        plain: &[u8],
    ) -> Result<Step, CloseReason> {
        if self.deadline.is_none() && plain.len() >= HEADER_BYTES {
            let header = self.header(bounds, plain)?;
            if let Ok(header) = header {
                let end = header.frame_bytes();
                if end <= plain.len() {
                    return Ok(Step::Whole { ty: header.ty, payload: HEADER_BYTES..end });
                }
            }
        }
        self.step_in_pieces(now, limits, bounds, plain)
    }

    /// The frame in the buffer, if it is whole and was not released yet.
    #[inline]
    pub(super) fn whole(&self, bounds: Bounds) -> Option<(FrameType, Range<usize>)> {
        self.deadline?;
        let buffered = self.buffer.as_slice();
        let header = FrameHeader::decode(buffered, bounds.max_frame_bytes).ok()?;
        (buffered.len() == header.frame_bytes()).then_some((header.ty, HEADER_BYTES..buffered.len()))
    }

    /// Forgets the frame that [`Step::Buffered`] told of.
    pub(super) fn release(&mut self) {
        self.buffer.clear();
        self.deadline = None;
    }

    /// Reads a whole header; the inner error is the length of a frame that is to be discarded.
    #[inline]
    fn header(&self, bounds: Bounds, bytes: &[u8]) -> Result<Result<FrameHeader, u64>, CloseReason> {
        check_type(bounds, bytes)?;
        match FrameHeader::decode(bytes, bounds.max_frame_bytes) {
            Ok(header) => Ok(Ok(header)),
            Err(FrameError::TooLarge { payload_bytes, .. }) if bounds.oversize == Oversize::Skip => {
                Ok(Err(u64::from(payload_bytes) + HEADER_BYTES as u64))
            }
            Err(error) => Err(CloseReason::Protocol(ProtocolError::Frame(error))),
        }
    }

    #[cold]
    #[inline(never)]
    fn step_in_pieces(
        &mut self,
        now: Instant,
        limits: &RxLimits,
        bounds: Bounds,
        plain: &[u8],
    ) -> Result<Step, CloseReason> {
        if self.skip > 0 {
            let taken = usize::try_from(self.skip).map_or(plain.len(), |skip| skip.min(plain.len()));
            self.skip -= taken as u64;
            if self.skip == 0 {
                self.deadline = None;
            }
            return Ok(Step::Skipped { taken });
        }
        let mut taken = 0;
        let buffered = self.buffer.as_slice().len();
        if buffered < HEADER_BYTES {
            taken = plain.len().min(HEADER_BYTES - buffered);
            self.append(&plain[..taken], HEADER_BYTES)?;
            check_type(bounds, self.buffer.as_slice())?;
            self.deadline.get_or_insert(now + limits.frame_timeout);
            if buffered + taken < HEADER_BYTES {
                return Ok(Step::Partial);
            }
        }
        let header = match self.header(bounds, self.buffer.as_slice())? {
            Ok(header) => header,
            Err(frame_bytes) => {
                self.buffer.clear();
                self.skip = frame_bytes - HEADER_BYTES as u64;
                let announced = u32::try_from(self.skip).unwrap_or(u32::MAX);
                self.deadline = self.deadline.map(|deadline| deadline + limits.frame_allowance(announced));
                return Ok(Step::Oversize { frame_bytes, taken });
            }
        };
        if taken > 0 {
            let allowance = limits.frame_allowance(header.payload_bytes);
            self.deadline = self.deadline.map(|deadline| deadline + allowance);
        }
        let missing = header.frame_bytes() - self.buffer.as_slice().len();
        let more = missing.min(plain.len() - taken);
        self.append(&plain[taken..taken + more], header.frame_bytes())?;
        taken += more;
        if more < missing {
            return Ok(Step::Partial);
        }
        Ok(Step::Buffered { ty: header.ty, payload: HEADER_BYTES..header.frame_bytes(), taken })
    }

    fn append(&mut self, bytes: &[u8], expected: usize) -> Result<(), CloseReason> {
        self.buffer.append(bytes, expected).map_err(|error: CapacityError| CloseReason::Capacity(error))
    }
}

/// Looks at the first byte of a frame: an unknown type closes before the length is looked at.
#[inline]
fn check_type(bounds: Bounds, bytes: &[u8]) -> Result<(), CloseReason> {
    let Some(&byte) = bytes.first() else { return Ok(()) };
    match FrameType::from_byte(byte) {
        Ok(FrameType::Preflight) if !bounds.preflight => {
            Err(CloseReason::Protocol(ProtocolError::SecondPreflight))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(CloseReason::Protocol(ProtocolError::Frame(error))),
    }
}

#[cfg(feature = "alloc")]
impl Deframer<crate::storage::HeapBuffer> {
    /// Hands over the buffer of the frame that [`Step::Buffered`] told of.
    pub(super) fn take_buffer(&mut self) -> bytes::Bytes {
        self.deadline = None;
        self.buffer.take()
    }
}
