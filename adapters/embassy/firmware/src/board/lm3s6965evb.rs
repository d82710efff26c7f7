//! Stellaris LM3S6965 evaluation board: a Cortex-M3 with 256 KiB of flash and 64 KiB of RAM.
//!
//! As QEMU plays it: the core runs at 12.5 MHz from reset, and peripherals need no clock gate to be opened.

pub use super::stellaris::Ethernet;

/// What QEMU calls it.
pub const NAME: &str = "lm3s6965evb";

/// The system timer counts; general purpose timer 0 is the alarm. LM3S6965 data sheet, "System Timer (SysTick)" and
/// "General-Purpose Timers".
pub(crate) mod clock {
    use cortex_m::peripheral::SYST;
    use cortex_m::peripheral::syst::SystClkSource;

    use crate::register::{Peripheral, Register};

    /// Microseconds, and the ticks that they have.
    pub(crate) const MICROS: (u64, u64) = (2, 25);
    /// The counter has 24 bits: a turn takes 1.34 s.
    pub(crate) const COUNTER_MASK: u32 = 0x00ff_ffff;
    pub(crate) const INTERRUPT: u16 = 19;

    /// Timer 1 turns once a millisecond.
    const KICK_TICKS: u32 = 12_500;

    // SAFETY: timer 0 has these 4 KiB to itself.
    const TIMER_0: Peripheral = unsafe { Peripheral::at(0x4003_0000, 0x1000) };
    // SAFETY: timer 1 has these 4 KiB to itself.
    const TIMER_1: Peripheral = unsafe { Peripheral::at(0x4003_1000, 0x1000) };

    // The registers GPTMCFG, GPTMTAMR, GPTMCTL, GPTMIMR, GPTMICR and GPTMTAILR of timer 0, and those of timer 1
    // that are named below.
    const CONFIG: Register = TIMER_0.register(0);
    const MODE: Register = TIMER_0.register(0x04);
    const CONTROL: Register = TIMER_0.register(0x0c);
    const INTERRUPT_MASK: Register = TIMER_0.register(0x18);
    const INTERRUPT_CLEAR: Register = TIMER_0.register(0x24);
    const INTERVAL: Register = TIMER_0.register(0x28);
    const KICK_CONFIG: Register = TIMER_1.register(0);
    const KICK_MODE: Register = TIMER_1.register(0x04);
    const KICK_CONTROL: Register = TIMER_1.register(0x0c);
    const KICK_INTERRUPT_MASK: Register = TIMER_1.register(0x18);
    const KICK_INTERVAL: Register = TIMER_1.register(0x28);

    const ONE_SHOT: u32 = 1;
    const PERIODIC: u32 = 2;
    const ENABLE: u32 = 1;
    const TIME_OUT: u32 = 1;

    pub(crate) fn start(mut counter: SYST) {
        counter.set_clock_source(SystClkSource::Core);
        counter.set_reload(COUNTER_MASK);
        counter.clear_current();
        counter.enable_counter();

        CONTROL.write(0);
        CONFIG.write(0); // 32 bits
        MODE.write(ONE_SHOT);
        INTERRUPT_MASK.write(TIME_OUT);
        start_kick();
    }

    /// Nobody hears this timer. While the guest sleeps without any, QEMU leaves sockets that it has just opened for
    /// the guest alone for half a second.
    fn start_kick() {
        KICK_CONTROL.write(0);
        KICK_CONFIG.write(0);
        KICK_MODE.write(PERIODIC);
        KICK_INTERRUPT_MASK.write(0);
        KICK_INTERVAL.write(KICK_TICKS);
        KICK_CONTROL.write(ENABLE);
    }

    /// Ticks since the start, without the turns: the counter counts down from nought.
    #[inline]
    pub(crate) fn counter() -> u32 {
        SYST::get_current().wrapping_neg() & COUNTER_MASK
    }

    /// An interrupt after so many ticks, and none that was asked for before.
    pub(crate) fn alarm(ticks: u32) {
        CONTROL.write(0);
        INTERVAL.write(ticks);
        CONTROL.write(ENABLE);
    }

    pub(crate) fn acknowledge() {
        INTERRUPT_CLEAR.write(TIME_OUT);
    }
}
