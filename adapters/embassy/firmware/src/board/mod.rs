//! The boards. Exactly one is compiled: a module with `clock`, `Ethernet` and the numbers of their interrupts.

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use static_cell::ConstStaticCell;

use crate::nic::{Buffers, Nic};
use crate::{nic, time};

#[cfg(feature = "mps2-an386")]
mod lan9118;
#[cfg(feature = "lm3s6965evb")]
mod lm3s6965evb;
#[cfg(feature = "mps2-an386")]
mod mps2_an386;
#[cfg(feature = "lm3s6965evb")]
mod stellaris;

#[cfg(feature = "lm3s6965evb")]
use lm3s6965evb as this;
#[cfg(feature = "mps2-an386")]
use mps2_an386 as this;

pub(crate) use this::clock;
pub use this::{Ethernet, NAME};

/// The address that QEMU's documentation gives to machines of its own.
const ADDRESS: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

#[derive(Debug, Clone, Copy)]
struct Interrupt(u16);

// SAFETY: the numbers are those of the board's data sheet, and do not change.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

/// Starts the board's clock and Ethernet. `None` when it was called before.
pub fn start() -> Option<Nic<Ethernet>> {
    static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());

    let peripherals = cortex_m::Peripherals::take()?;
    clock::start(peripherals.SYST);
    let ethernet = Ethernet::start(ADDRESS);
    for interrupt in [clock::INTERRUPT, Ethernet::INTERRUPT] {
        // SAFETY: no critical section rests on these being masked: they are not yet enabled.
        unsafe { NVIC::unmask(Interrupt(interrupt)) };
    }
    critical_section::with(time::on_alarm);
    Some(Nic::new(ethernet, ADDRESS, BUFFERS.take()))
}

// SAFETY: it keeps to the interrupts' own registers, and what it shares lies behind a critical section or a waker.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    if number == clock::INTERRUPT as i16 {
        critical_section::with(|cs| {
            clock::acknowledge();
            time::on_alarm(cs);
        });
    } else if number == Ethernet::INTERRUPT as i16 {
        Ethernet::acknowledge();
        nic::on_frame();
    } else {
        panic!("interrupt {}", number);
    }
}
