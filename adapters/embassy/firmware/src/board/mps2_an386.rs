//! Arm MPS2 with the FPGA image AN386: a Cortex-M4F at 25 MHz, 4 MiB of code and 4 MiB of data memory.

pub use super::lan9118::Ethernet;

/// What QEMU calls it.
pub const NAME: &str = "mps2-an386";

/// APB timer 1 counts, APB timer 0 is the alarm. Cortex-M System Design Kit, Technical Reference Manual, "APB timer".
pub(crate) mod clock {
    use cortex_m::peripheral::SYST;
    use cortex_m::peripheral::syst::SystClkSource;

    use crate::register::{Peripheral, Register};

    /// Microseconds, and the ticks that they have.
    pub(crate) const MICROS: (u64, u64) = (1, 25);
    /// A turn takes 171 s.
    pub(crate) const COUNTER_MASK: u32 = u32::MAX;
    pub(crate) const INTERRUPT: u16 = 8;

    /// The system timer turns once a millisecond.
    const KICK_TICKS: u32 = 25_000;

    // SAFETY: APB timer 0 has these 4 KiB to itself.
    const ALARM: Peripheral = unsafe { Peripheral::at(0x4000_0000, 0x1000) };
    // SAFETY: APB timer 1 has these 4 KiB to itself.
    const COUNTER: Peripheral = unsafe { Peripheral::at(0x4000_1000, 0x1000) };

    // The registers CTRL, VALUE, RELOAD and INTSTATUS/INTCLEAR of timer 0, and the first three of timer 1.
    const ALARM_CONTROL: Register = ALARM.register(0);
    const ALARM_VALUE: Register = ALARM.register(0x04);
    const ALARM_RELOAD: Register = ALARM.register(0x08);
    const ALARM_CLEAR: Register = ALARM.register(0x0c);
    const COUNTER_CONTROL: Register = COUNTER.register(0);
    const COUNTER_VALUE: Register = COUNTER.register(0x04);
    const COUNTER_RELOAD: Register = COUNTER.register(0x08);

    const ENABLE: u32 = 0b0001;
    const INTERRUPT_ENABLE: u32 = 0b1000;

    pub(crate) fn start(mut kick: SYST) {
        COUNTER_CONTROL.write(0);
        COUNTER_RELOAD.write(COUNTER_MASK);
        COUNTER_VALUE.write(COUNTER_MASK);
        COUNTER_CONTROL.write(ENABLE);
        start_kick(&mut kick);
    }

    /// Nobody hears this timer. While the guest sleeps without any, QEMU leaves sockets that it has just opened for
    /// the guest alone for half a second.
    fn start_kick(kick: &mut SYST) {
        kick.set_clock_source(SystClkSource::Core);
        kick.set_reload(KICK_TICKS - 1);
        kick.clear_current();
        kick.enable_counter();
    }

    /// Ticks since the start, without the turns: the counter counts down from nought.
    #[inline]
    pub(crate) fn counter() -> u32 {
        COUNTER_VALUE.read().wrapping_neg()
    }

    /// An interrupt after so many ticks, and none that was asked for before.
    pub(crate) fn alarm(ticks: u32) {
        ALARM_CONTROL.write(0);
        ALARM_RELOAD.write(ticks);
        ALARM_VALUE.write(ticks);
        ALARM_CONTROL.write(ENABLE | INTERRUPT_ENABLE);
    }

    pub(crate) fn acknowledge() {
        ALARM_CLEAR.write(1);
    }
}
