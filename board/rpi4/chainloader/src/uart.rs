//! The PL011, polled, with the clock and the pins of the board that this is.

use core::arch::asm;

const DR: usize = 0x00;
const FR: usize = 0x18;
const IBRD: usize = 0x24;
const FBRD: usize = 0x28;
const LCRH: usize = 0x2c;
const CR: usize = 0x30;
const IMSC: usize = 0x38;
const ICR: usize = 0x44;
const FR_BUSY: u32 = 1 << 3;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
/// Break, parity and framing errors, overrun.
const DR_ERRORS: u32 = 0xf00;

const BAUD: u32 = 115_200;
const GPIO: usize = 0xfe20_0000;
const GPFSEL1: usize = GPIO + 0x04;
const GPFSEL3: usize = GPIO + 0x0c;
const GPIO_PUP_PDN_CNTRL_REG0: usize = GPIO + 0xe4;
/// Memory of QEMU `virt` begins here, that of a Raspberry Pi at 0.
const VIRT_MEMORY: usize = 0x4000_0000;

/// A serial line.
pub struct Uart {
    base: usize,
    /// Of the counter.
    hz: u64,
}

impl Uart {
    /// Sets the line of the board whose memory has the kernel at `kernel`.
    ///
    /// # Safety
    /// Nobody else uses the line, and the MMU is off.
    pub unsafe fn new(kernel: usize) -> Self {
        let hz: u64;
        // SAFETY: reads a register that every exception level may read.
        unsafe { asm!("mrs {}, cntfrq_el0", out(reg) hz, options(nomem, nostack, preserves_flags)) };
        // Firmware that leaves it empty belongs to a board with 54 MHz.
        let hz = if hz == 0 { 54_000_000 } else { hz };
        let (base, clock_hz) =
            if kernel < VIRT_MEMORY { (0xfe20_1000, 48_000_000) } else { (0x0900_0000, 24_000_000) };
        let uart = Self { base, hz };
        if kernel < VIRT_MEMORY {
            // Pins 14 and 15 become the PL011's (function 0 is 0b100); 32 and 33, where Bluetooth would have it,
            // become inputs. No pull on what we drive, a pull-up on what we hear.
            modify(GPFSEL3, 0o77 << 6, 0);
            modify(GPFSEL1, 0o77 << 12, 0o44 << 12);
            modify(GPIO_PUP_PDN_CNTRL_REG0, 0xf << 28, 0b0100 << 28);
        }
        uart.flush();
        uart.write(CR, 0);
        uart.write(IMSC, 0);
        uart.write(ICR, 0x7ff);
        // The divisor in 1/64, rounded: 26 3/64 at 48 MHz.
        let divisor = (clock_hz * 4 + BAUD / 2) / BAUD;
        uart.write(IBRD, divisor >> 6);
        uart.write(FBRD, divisor & 0x3f);
        // 8 bits, FIFOs on; then UART, transmitter, receiver on.
        uart.write(LCRH, 0x70);
        uart.write(CR, 0x301);
        uart
    }

    /// The next byte, if one comes within so many milliseconds; a byte with an error counts as a 0, and the frame that
    /// it is part of will not have its sum.
    pub fn get(&self, ms: u64) -> Option<u8> {
        let limit = self.hz * ms / 1000;
        let since = counter();
        loop {
            if self.read(FR) & FR_RXFE == 0 {
                let word = self.read(DR);
                return Some(if word & DR_ERRORS == 0 { word as u8 } else { 0 });
            }
            if counter().wrapping_sub(since) > limit {
                return None;
            }
        }
    }

    /// Reads until nothing has come for a while.
    pub fn drain(&self) {
        while self.get(50).is_some() {}
    }

    /// Sends bytes.
    pub fn put(&self, bytes: &[u8]) {
        for &byte in bytes {
            while self.read(FR) & FR_TXFF != 0 {}
            self.write(DR, u32::from(byte));
        }
    }

    /// Waits until the last bit has left.
    pub fn flush(&self) {
        while self.read(FR) & FR_BUSY != 0 {}
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: a register of the PL011 at `base`.
        unsafe { ((self.base + register) as *const u32).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: a register of the PL011 at `base`.
        unsafe { ((self.base + register) as *mut u32).write_volatile(value) }
    }
}

fn modify(register: usize, mask: u32, value: u32) {
    let register = register as *mut u32;
    // SAFETY: a register of the GPIO block, which nobody else uses.
    unsafe { register.write_volatile(register.read_volatile() & !mask | value) }
}

fn counter() -> u64 {
    let now: u64;
    // SAFETY: reads the counter; without `nomem`, so that it stays where it is between accesses.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) now, options(nostack, preserves_flags)) };
    now
}
