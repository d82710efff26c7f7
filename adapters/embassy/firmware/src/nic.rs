//! embassy-net's driver, over the board's Ethernet controller.

use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;

/// Longest Ethernet frame without its check sequence.
const MTU: usize = 1514;

/// Bytes of a frame's buffer: with the check sequence, an offset, and in whole words.
pub const BUFFER_BYTES: usize = 1536;

/// An Ethernet controller that is read and written word by word.
pub trait Controller {
    /// Where a frame starts in what is read and written. The bytes before it are the controller's.
    const OFFSET: usize;

    /// Takes the next frame out and returns its length.
    fn receive(&mut self, buffer: &mut [u8; BUFFER_BYTES]) -> Option<usize>;

    /// Sends the frame of `len` bytes.
    fn transmit(&mut self, buffer: &mut [u8; BUFFER_BYTES], len: usize);
}

static ARRIVED: AtomicWaker = AtomicWaker::new();

/// A frame has arrived: called by the interrupt.
pub(crate) fn on_frame() {
    ARRIVED.wake();
}

/// Room for a frame in each direction. It is apart from the rest so that it never lies on the stack.
pub struct Buffers {
    rx: [u8; BUFFER_BYTES],
    tx: [u8; BUFFER_BYTES],
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffers {
    pub const fn new() -> Self {
        Self { rx: [0; BUFFER_BYTES], tx: [0; BUFFER_BYTES] }
    }
}

/// A controller and its buffers.
pub struct Nic<C> {
    controller: C,
    address: [u8; 6],
    buffers: &'static mut Buffers,
}

impl<C: Controller> Nic<C> {
    pub const fn new(controller: C, address: [u8; 6], buffers: &'static mut Buffers) -> Self {
        Self { controller, address, buffers }
    }
}

pub struct Rx<'a>(&'a mut [u8]);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub struct Tx<'a, C> {
    controller: &'a mut C,
    buffer: &'a mut [u8; BUFFER_BYTES],
}

impl<C: Controller> TxToken for Tx<'_, C> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let result = write(&mut self.buffer[C::OFFSET..C::OFFSET + len]);
        self.controller.transmit(self.buffer, len);
        result
    }
}

impl<C: Controller> Driver for Nic<C> {
    type RxToken<'a>
        = Rx<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Tx<'a, C>
    where
        Self: 'a;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Rx<'_>, Tx<'_, C>)> {
        // First, or a frame that arrives between the look and the registration would wait for the one after it.
        ARRIVED.register(cx.waker());
        let len = self.controller.receive(&mut self.buffers.rx)?;
        let frame = self.buffers.rx.get_mut(C::OFFSET..C::OFFSET + len)?;
        Some((Rx(frame), Tx { controller: &mut self.controller, buffer: &mut self.buffers.tx }))
    }

    /// Both controllers send at once: there is always room.
    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Tx<'_, C>> {
        Some(Tx { controller: &mut self.controller, buffer: &mut self.buffers.tx })
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}
