//! The host: a debugger, or QEMU, which says what this run is for and is told how it ended.
//!
//! Without the feature `semihosting` there is none: no arguments, and an end is a halt.

/// What an argument may be long.
pub type Text = heapless::String<128>;

/// The value of the argument `name=value`.
#[cfg(feature = "semihosting")]
pub fn argument(name: &str) -> Option<Text> {
    let args = semihosting::experimental::env::args::<1024>().ok()?;
    (&args).flatten().find_map(|arg| {
        let (key, value) = arg.split_once('=')?;
        if key == name { Text::try_from(value).ok() } else { None }
    })
}

/// The value of the argument `name=value`.
#[cfg(not(feature = "semihosting"))]
pub fn argument(_: &str) -> Option<Text> {
    None
}

/// What the host sees as the status of the process, or a halt.
pub mod status {
    /// A panic.
    pub const PANIC: i32 = 101;
    /// A fault of the processor.
    pub const FAULT: i32 = 102;
}

/// Ends the run.
pub fn exit(status: i32) -> ! {
    #[cfg(feature = "semihosting")]
    semihosting::process::exit(status);
    #[cfg(not(feature = "semihosting"))]
    {
        let _ = status;
        cortex_m::asm::udf()
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(feature = "defmt")]
    defmt::error!("{}", defmt::Display2Format(info));
    let _ = info;
    exit(status::PANIC)
}

// SAFETY: it touches nothing and does not return.
#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    exit(status::FAULT)
}

#[cfg(feature = "defmt")]
use defmt_semihosting as _;
