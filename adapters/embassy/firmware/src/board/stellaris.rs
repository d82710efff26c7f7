//! The Ethernet controller of the Stellaris LM3S6965: data sheet, "Ethernet Controller", registers MACRIS to MACTR.
//!
//! The PHY is left alone: QEMU's link is up from the start.

use crate::nic::{BUFFER_BYTES, Controller};
use crate::register::{Peripheral, Register};

// SAFETY: the Ethernet controller has these 4 KiB to itself.
const BASE: Peripheral = unsafe { Peripheral::at(0x4004_8000, 0x1000) };

// The controller's registers, in the order and with the names of the data sheet: MACRIS/MACIACK, MACIM, MACRCTL,
// MACTCTL, MACDATA, MACIA0, MACIA1, MACTHR, MACNP, MACTR.
const INTERRUPTS: Register = BASE.register(0);
const INTERRUPT_MASK: Register = BASE.register(0x04);
const RX_CONTROL: Register = BASE.register(0x08);
const TX_CONTROL: Register = BASE.register(0x0c);
const DATA: Register = BASE.register(0x10);
const ADDRESS_LOW: Register = BASE.register(0x14);
const ADDRESS_HIGH: Register = BASE.register(0x18);
const TX_THRESHOLD: Register = BASE.register(0x1c);
const FRAMES_WAITING: Register = BASE.register(0x34);
const TX_REQUEST: Register = BASE.register(0x38);

const ALL_INTERRUPTS: u32 = 0x7f;
const RECEIVED: u32 = 0x01;
const RX_ENABLE: u32 = 0x01;
const RX_REJECT_BAD: u32 = 0x08;
const RX_RESET_FIFO: u32 = 0x10;
const TX_ENABLE: u32 = 0x01;
const TX_PAD: u32 = 0x02;
const TX_CHECK_SEQUENCE: u32 = 0x04;
const TX_DUPLEX: u32 = 0x08;
const THRESHOLD_OFF: u32 = 0x3f;
const SEND: u32 = 1;

const ETHERNET_HEADER: usize = 14;
/// A length before the frame and a check sequence behind it are counted in the length of what is received.
const RX_OVERHEAD: usize = 6;

/// The controller.
pub struct Ethernet(());

impl Ethernet {
    pub(super) const INTERRUPT: u16 = 42;

    pub(super) fn start([a, b, c, d, e, f]: [u8; 6]) -> Self {
        INTERRUPT_MASK.write(0);
        RX_CONTROL.write(RX_RESET_FIFO);
        ADDRESS_LOW.write(u32::from_le_bytes([a, b, c, d]));
        ADDRESS_HIGH.write(u32::from_le_bytes([e, f, 0, 0]));
        TX_THRESHOLD.write(THRESHOLD_OFF);
        RX_CONTROL.write(RX_ENABLE | RX_REJECT_BAD);
        TX_CONTROL.write(TX_ENABLE | TX_PAD | TX_CHECK_SEQUENCE | TX_DUPLEX);
        INTERRUPTS.write(ALL_INTERRUPTS);
        INTERRUPT_MASK.write(RECEIVED);
        Self(())
    }

    pub(super) fn acknowledge() {
        INTERRUPTS.write(RECEIVED);
    }
}

impl Controller for Ethernet {
    const OFFSET: usize = 2;

    fn receive(&mut self, buffer: &mut [u8; BUFFER_BYTES]) -> Option<usize> {
        while FRAMES_WAITING.read() & 0x3f != 0 {
            let first = DATA.read().to_le_bytes();
            let len = usize::from(u16::from_le_bytes([first[0], first[1]]));
            buffer[..4].copy_from_slice(&first);
            // Every word of a frame has to be taken out, also of one that is too long.
            for at in (4..len).step_by(4) {
                let word = DATA.read().to_le_bytes();
                if let Some(place) = buffer.get_mut(at..at + 4) {
                    place.copy_from_slice(&word);
                }
            }
            if (RX_OVERHEAD..=BUFFER_BYTES).contains(&len) {
                return Some(len - RX_OVERHEAD);
            }
        }
        None
    }

    fn transmit(&mut self, buffer: &mut [u8; BUFFER_BYTES], len: usize) {
        let payload = len.saturating_sub(ETHERNET_HEADER) as u16;
        buffer[..Self::OFFSET].copy_from_slice(&payload.to_le_bytes());
        for word in buffer[..Self::OFFSET + len].chunks(4) {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            DATA.write(u32::from_le_bytes(bytes));
        }
        TX_REQUEST.write(SEND);
    }
}
