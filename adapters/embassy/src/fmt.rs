//! Log points that reach `defmt`, `log`, both or nothing.

macro_rules! at_level {
    ($level:ident, $text:literal $(, $arg:expr)*) => {{
        #[cfg(feature = "defmt")]
        ::defmt::$level!($text $(, $arg)*);
        #[cfg(feature = "log")]
        ::log::$level!($text $(, $arg)*);
        #[cfg(not(any(feature = "defmt", feature = "log")))]
        let _ = ($(&$arg,)*);
    }};
}

/// Expected and frequent: bytes and messages.
macro_rules! trace { ($($args:tt)*) => { at_level!(trace, $($args)*) } }
/// Expected: connections that come, go and fail.
macro_rules! debug { ($($args:tt)*) => { at_level!(debug, $($args)*) } }
/// What an operator wants to see: peers and addresses.
macro_rules! info { ($($args:tt)*) => { at_level!(info, $($args)*) } }
/// This end could not do what it should: a limit, or the application's fault.
macro_rules! warning { ($($args:tt)*) => { at_level!(warn, $($args)*) } }
