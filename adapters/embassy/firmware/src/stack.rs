//! How deep the stack has been.

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    static mut _stack_start: u32;
    static mut _stack_end: u32;
}

/// Bytes of the stack that were ever written, since the start-up code painted it.
pub fn high_water() -> usize {
    let (top, end) = (&raw const _stack_start, &raw const _stack_end);
    let mut place = end;
    // SAFETY: the linker puts `_stack_end` and `_stack_start` at the ends of the stack, which is memory; what is below
    // the stack pointer is nobody's, and only read.
    while place < top && unsafe { place.read_volatile() } == STACK_PAINT_VALUE {
        place = place.wrapping_add(1);
    }
    top.addr() - place.addr()
}
