//! Registers.

/// A 32-bit register of a peripheral.
#[derive(Debug, Clone, Copy)]
pub struct Register(*mut u32);

impl Register {
    /// # Safety
    /// At `address` is a register of this board's, which may be read and written at any time: nothing that Rust owns.
    pub const unsafe fn at(address: usize) -> Self {
        Self(core::ptr::with_exposed_provenance_mut(address))
    }

    #[inline]
    pub fn read(self) -> u32 {
        // SAFETY: `at` was promised that this is a register.
        unsafe { self.0.read_volatile() }
    }

    #[inline]
    pub fn write(self, value: u32) {
        // SAFETY: `at` was promised that this is a register.
        unsafe { self.0.write_volatile(value) }
    }
}
