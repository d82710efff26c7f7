//! Registers.

use core::ptr::with_exposed_provenance_mut;

/// The registers of a peripheral.
#[derive(Debug, Clone, Copy)]
pub struct Peripheral {
    address: usize,
    bytes: usize,
}

impl Peripheral {
    /// # Safety
    /// The `bytes` from `address` on are registers of this board's, which may be read and written at any time: nothing
    /// that Rust owns.
    pub const unsafe fn at(address: usize, bytes: usize) -> Self {
        assert!(address.is_multiple_of(4));
        Self { address, bytes }
    }

    /// The register at an offset.
    pub const fn register(self, offset: usize) -> Register {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.bytes);
        Register(self.address + offset)
    }
}

/// A 32-bit register of a peripheral. Invariant: its address is one of a [`Peripheral`]'s.
#[derive(Debug, Clone, Copy)]
pub struct Register(usize);

impl Register {
    #[inline]
    pub fn read(self) -> u32 {
        // SAFETY: `Peripheral::at` was promised that this is a register.
        unsafe { with_exposed_provenance_mut::<u32>(self.0).read_volatile() }
    }

    #[inline]
    pub fn write(self, value: u32) {
        // SAFETY: `Peripheral::at` was promised that this is a register.
        unsafe { with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}
