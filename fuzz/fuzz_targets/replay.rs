#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitfox_tests::fuzz::replay(input));
