//! The early console: the UART written to directly, for boot before the drivers and for panics.
//!
//! Invariant: uses no lock, allocates nothing and waits a bounded time per byte, so it works in any
//! context and whatever else is broken. Lines of several CPUs may mix. Registers of a PL011: Arm TRM (DDI 0183); the
//! mini UART has a driver.
//!
//! Context: any, once the MMU is on and [`set_base`] was called.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::machine::UartKind;
use super::mini_uart::{self, MiniUart};
use super::mmio::Mmio;

/// Virtual address of the registers; 0 until known.
static BASE: AtomicUsize = AtomicUsize::new(0);
/// Whether they are those of a mini UART.
static IS_MINI: AtomicBool = AtomicBool::new(false);

const DR: usize = 0x00;
const FR: usize = 0x18;
const IBRD: usize = 0x24;
const FBRD: usize = 0x28;
const LCR_H: usize = 0x2c;
const CR: usize = 0x30;
const FR_TXFF: u32 = 1 << 5;
const FR_BUSY: u32 = 1 << 3;
const LCR_H_8BIT_FIFO: u32 = 0b111 << 4;
const CR_RXE_TXE_EN: u32 = (1 << 9) | (1 << 8) | 1;

/// A UART that is off never drains: a byte that does not go out after this many looks is dropped.
const PATIENCE: u32 = 1_000_000;
const BAUD: u32 = 115_200;

/// Writes to the UART at `base` from now on.
///
/// # Safety
///
/// `base` must be the mapped registers of such a UART (of a mini UART: the block it is in), and stay so.
pub unsafe fn set_base(base: *mut u8, kind: UartKind) {
    // Nobody else prints meanwhile: only the boot CPU runs.
    IS_MINI.store(kind == UartKind::Mini, Ordering::Relaxed);
    BASE.store(base as usize, Ordering::Relaxed);
}

/// The mini UART, if it is one.
fn mini() -> Option<MiniUart<Mmio>> {
    let base = core::ptr::NonNull::new(BASE.load(Ordering::Relaxed) as *mut u32)?;
    // SAFETY: whoever set the base vouched for it.
    let regs = IS_MINI.load(Ordering::Relaxed).then(|| unsafe { Mmio::new(base, mini_uart::WINDOW_BYTES) });
    regs.map(MiniUart::new)
}

/// Turns the UART on if the firmware has not: 115200 baud, 8 bits, from a clock of `clock_hz`.
pub fn enable(clock_hz: u32) {
    if let Some(mut uart) = mini() {
        flush();
        return uart.enable(clock_hz, BAUD);
    }
    if BASE.load(Ordering::Relaxed) == 0 || read(CR) & 1 != 0 {
        return;
    }
    // The divisor is clock / (16 * baud) in 64ths: 4 * clock / baud, to the nearest. 48 MHz: 1667 = 26 + 3/64.
    let divisor = (8 * u64::from(clock_hz) / u64::from(BAUD)).div_ceil(2) as u32;
    write(CR, 0);
    write(IBRD, divisor >> 6);
    write(FBRD, divisor & 0x3f);
    write(LCR_H, LCR_H_8BIT_FIFO);
    write(CR, CR_RXE_TXE_EN);
}

/// Writes text, a line feed as carriage return and line feed.
pub fn write_text(text: &str) {
    if BASE.load(Ordering::Relaxed) == 0 {
        return;
    }
    for byte in text.bytes() {
        if byte == b'\n' {
            write_byte(b'\r');
        }
        write_byte(byte);
    }
}

/// Writes a byte as it is.
pub fn write_raw(byte: u8) {
    if BASE.load(Ordering::Relaxed) != 0 {
        write_byte(byte);
    }
}

/// Waits until the last byte is on the wire, for a bounded time.
pub fn flush() {
    if let Some(uart) = mini() {
        (0..PATIENCE).find(|_| uart.is_idle());
    } else if BASE.load(Ordering::Relaxed) != 0 {
        (0..PATIENCE).find(|_| read(FR) & FR_BUSY == 0);
    }
}

fn write_byte(byte: u8) {
    if let Some(mut uart) = mini() {
        (0..PATIENCE).find(|_| uart.has_room());
        return uart.put(byte);
    }
    (0..PATIENCE).find(|_| read(FR) & FR_TXFF == 0);
    write(DR, u32::from(byte));
}

fn read(offset: usize) -> u32 {
    // SAFETY: whoever set the base vouched for it, and it is not 0 (checked by the public functions).
    unsafe { ((BASE.load(Ordering::Relaxed) + offset) as *const u32).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: as in `read`; these registers only affect the UART.
    unsafe { ((BASE.load(Ordering::Relaxed) + offset) as *mut u32).write_volatile(value) };
}

/// The early console as a target for `write!`.
pub struct Early;

impl fmt::Write for Early {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_text(text);
        Ok(())
    }
}

/// Writes a line to the early console.
#[macro_export]
macro_rules! early_println {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        // The early console never reports an error.
        let _ = writeln!($crate::drivers::early::Early, $($arg)*);
    }};
}
