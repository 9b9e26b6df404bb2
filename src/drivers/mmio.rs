//! Device registers, as a driver sees them: 32-bit words at an offset.
//!
//! A driver is generic over [`Registers`]. In the kernel that is [`Mmio`], a mapped window; in a test on a PC it is a
//! fake that models the device behind the words, so that the driver's own code is what is tested.
//!
//! Invariant: a window is mapped as Device memory for ever, and a word of it is read and written with one access each.
//!
//! Ordering: accesses to one window keep their order (Device-nGnRE). Against normal memory, and between two devices,
//! nothing is ordered: a driver that shares memory with its device says so with a barrier of its own.
//!
//! Context: any.

use core::ptr::NonNull;

/// Words of a device.
pub trait Registers {
    /// Reads the word `offset` bytes from the start.
    fn read(&self, offset: usize) -> u32;
    /// Writes the word `offset` bytes from the start.
    fn write(&self, offset: usize, value: u32);

    /// Reads, changes and writes a word; not atomic, so the driver's lock is held.
    fn modify(&self, offset: usize, change: impl FnOnce(u32) -> u32)
    where
        Self: Sized,
    {
        self.write(offset, change(self.read(offset)));
    }
}

/// A mapped window of registers.
#[derive(Debug)]
pub struct Mmio {
    base: NonNull<u32>,
    bytes: usize,
}

// SAFETY: the window is valid on every CPU and for ever; a word is read and written as a whole.
unsafe impl Send for Mmio {}
// SAFETY: as above; what two accesses at once do to the device is for the driver's lock to decide.
unsafe impl Sync for Mmio {}

impl Mmio {
    /// A window of `bytes` bytes at `base`.
    ///
    /// # Safety
    /// `base` is aligned to 4 and mapped for ever as Device memory over `bytes` bytes, and they are the registers of the
    /// device that the driver is for.
    pub const unsafe fn new(base: NonNull<u32>, bytes: usize) -> Self {
        Self { base, bytes }
    }

    fn at(&self, offset: usize) -> *mut u32 {
        assert!(
            offset.is_multiple_of(4) && offset + 4 <= self.bytes,
            "there is no register at offset {offset:#x} of a window of {:#x} bytes",
            self.bytes
        );
        // SAFETY: inside the window, as was just checked.
        unsafe { self.base.as_ptr().byte_add(offset) }
    }
}

impl Registers for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: `at` stays inside of a mapped window (constructor).
        unsafe { self.at(offset).read_volatile() }
    }

    fn write(&self, offset: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.at(offset).write_volatile(value) }
    }
}
