//! The Ethernet controller of the MPS2: SMSC LAN9118, data sheet, "System Control and Status Registers" and "MAC Control
//! and Status Registers".

use crate::nic::{BUFFER_BYTES, Controller};
use crate::register::{Peripheral, Register};

// SAFETY: the Ethernet controller has these addresses to itself.
const BASE: Peripheral = unsafe { Peripheral::at(0x4020_0000, 0x100) };

// The controller's registers, in the order and with the names of the data sheet: RX_DATA_FIFO, TX_DATA_FIFO,
// RX_STATUS_FIFO, TX_STATUS_FIFO, IRQ_CFG, INT_STS, INT_EN, BYTE_TEST, FIFO_INT, RX_CFG, TX_CFG, HW_CFG, RX_FIFO_INF,
// TX_FIFO_INF, MAC_CSR_CMD, MAC_CSR_DATA.
const RX_DATA: Register = BASE.register(0);
const TX_DATA: Register = BASE.register(0x20);
const RX_STATUS: Register = BASE.register(0x40);
const TX_STATUS: Register = BASE.register(0x48);
const INTERRUPT_CONFIG: Register = BASE.register(0x54);
const INTERRUPT_STATUS: Register = BASE.register(0x58);
const INTERRUPT_ENABLE: Register = BASE.register(0x5c);
const BYTE_TEST: Register = BASE.register(0x64);
const FIFO_LEVELS: Register = BASE.register(0x68);
const RX_CONFIG: Register = BASE.register(0x6c);
const TX_CONFIG: Register = BASE.register(0x70);
const HARDWARE_CONFIG: Register = BASE.register(0x74);
const RX_FIFO: Register = BASE.register(0x7c);
const TX_FIFO: Register = BASE.register(0x80);
const MAC_COMMAND: Register = BASE.register(0xa4);
const MAC_DATA: Register = BASE.register(0xa8);

const BYTE_TEST_VALUE: u32 = 0x8765_4321;
const RESET: u32 = 1;
/// 5 KiB of transmit FIFO; whole frames are stored before they are sent.
const HARDWARE_DEFAULT: u32 = 0x0005_0000;
/// Push-pull and active high: as an open drain the line would idle high, which is an interrupt for ever.
const INTERRUPT_LINE: u32 = 0x111;
const RECEIVED: u32 = 1 << 3;
const TX_ON: u32 = 1 << 1;
const FIRST_AND_LAST: u32 = 0x3000;

const MAC_BUSY: u32 = 1 << 31;
const MAC_CONTROL: u32 = 1;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;
const FULL_DUPLEX: u32 = 1 << 20;
const MAC_TX_ENABLE: u32 = 1 << 3;
const MAC_RX_ENABLE: u32 = 1 << 2;

const CHECK_SEQUENCE: usize = 4;

/// The controller.
pub struct Ethernet(());

impl Ethernet {
    pub(super) const INTERRUPT: u16 = 13;

    pub(super) fn start([a, b, c, d, e, f]: [u8; 6]) -> Self {
        assert_eq!(BYTE_TEST.read(), BYTE_TEST_VALUE, "no LAN9118");
        HARDWARE_CONFIG.write(RESET);
        while HARDWARE_CONFIG.read() & RESET != 0 {}
        HARDWARE_CONFIG.write(HARDWARE_DEFAULT);
        INTERRUPT_CONFIG.write(INTERRUPT_LINE);
        FIFO_LEVELS.write(0);
        RX_CONFIG.write(0);
        TX_CONFIG.write(TX_ON);
        write_mac(MAC_ADDRESS_LOW, u32::from_le_bytes([a, b, c, d]));
        write_mac(MAC_ADDRESS_HIGH, u32::from_le_bytes([e, f, 0, 0]));
        write_mac(MAC_CONTROL, FULL_DUPLEX | MAC_TX_ENABLE | MAC_RX_ENABLE);
        INTERRUPT_STATUS.write(u32::MAX);
        INTERRUPT_ENABLE.write(RECEIVED);
        Self(())
    }

    pub(super) fn acknowledge() {
        INTERRUPT_STATUS.write(RECEIVED);
    }
}

fn write_mac(register: u32, value: u32) {
    MAC_DATA.write(value);
    MAC_COMMAND.write(MAC_BUSY | register);
    while MAC_COMMAND.read() & MAC_BUSY != 0 {}
}

impl Controller for Ethernet {
    const OFFSET: usize = 0;

    fn receive(&mut self, buffer: &mut [u8; BUFFER_BYTES]) -> Option<usize> {
        while RX_FIFO.read() >> 16 & 0xff != 0 {
            let len = (RX_STATUS.read() >> 16 & 0x3fff) as usize;
            // Every word of a frame has to be taken out, also of one that is too long.
            for at in (0..len).step_by(4) {
                let word = RX_DATA.read().to_le_bytes();
                if let Some(place) = buffer.get_mut(at..at + 4) {
                    place.copy_from_slice(&word);
                }
            }
            if (CHECK_SEQUENCE..=BUFFER_BYTES).contains(&len) {
                return Some(len - CHECK_SEQUENCE);
            }
        }
        None
    }

    fn transmit(&mut self, buffer: &mut [u8; BUFFER_BYTES], len: usize) {
        // A status is left for each frame that was sent.
        while TX_FIFO.read() >> 16 & 0xff != 0 {
            TX_STATUS.read();
        }
        let len_bits = len as u32;
        TX_DATA.write(FIRST_AND_LAST | len_bits);
        TX_DATA.write(len_bits << 16 | len_bits);
        for word in buffer[..len.next_multiple_of(4)].chunks_exact(4) {
            TX_DATA.write(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
}
