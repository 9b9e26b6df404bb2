//! The console: a PL011, written by polling and read by interrupt.
//!
//! Output is made of pieces of at most one FIFO: preemption is off while a piece is written, and on
//! between pieces and while the FIFO drains, so however much is printed nobody waits for it longer than
//! one piece. Lines of several tasks can mix if they are longer than a piece; [`print`] keeps one call
//! together by holding a sleeping lock where sleeping is allowed.
//!
//! Context: output from thread context; [`rx_interrupt`] from hard interrupt; input from one thread.
//! Locks: WRITER (sleeps, only in preemptible context), then UART (a leaf).

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arch::mmu::PhysAddr;
use arm_pl011_uart::{
    DataBits, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};

use super::early;
use super::machine::UartInfo;
use super::queue::ByteQueue;
use crate::locking::{Mutex, SpinLock};
use crate::mm::{SpaceError, ioremap};

const BAUD: u32 = 115_200;
/// Bytes the transmit FIFO takes at most (32 since r1p5, 16 before).
const PIECE_BYTES: usize = 32;

static UART: SpinLock<Option<Uart<'static>>> = SpinLock::new(None);
static WRITER: Mutex<()> = Mutex::new(());
static INPUT: ByteQueue<256> = ByteQueue::new();
/// Whether the interrupt feeds INPUT; otherwise reading polls.
static BY_INTERRUPT: AtomicBool = AtomicBool::new(false);
/// `fn()` called by the interrupt handler when there is input; 0: nobody.
static ON_INPUT: AtomicUsize = AtomicUsize::new(0);

/// Why there is no console.
#[derive(Clone, Copy, Debug)]
pub enum ConsoleFault {
    /// The registers cannot be mapped.
    Map(SpaceError),
    /// The baud rate cannot be made from this clock.
    Clock(u32),
}

impl fmt::Display for ConsoleFault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Map(error) => write!(f, "console registers: {error}"),
            Self::Clock(hz) => write!(f, "console clock of {hz} Hz; expected 16 times {BAUD} Hz or more"),
        }
    }
}

/// Sets the UART up from scratch: 115200 baud from `clock_hz`, 8 bits, no parity, FIFOs on.
pub fn init(info: &UartInfo, clock_hz: u32) -> Result<(), ConsoleFault> {
    let base = ioremap(PhysAddr(info.regs.start), info.regs.bytes as usize).map_err(ConsoleFault::Map)?;
    // SAFETY: the device tree says that this is a PL011; the mapping stays for ever.
    unsafe { early::set_base(base) };
    // Turning the UART off in the middle of a byte would garble it.
    early::flush();
    let regs = NonNull::new(base.cast::<PL011Registers>()).expect("mapped addresses are not 0");
    // SAFETY: as above; the early console shares the registers only when this driver is not to be used
    // any more (panic) or not yet.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(regs) });
    let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
    uart.set_interrupt_masks(Interrupts::empty());
    uart.clear_interrupts(Interrupts::all());
    uart.enable(line, BAUD, clock_hz).map_err(|_| ConsoleFault::Clock(clock_hz))?;
    *UART.lock() = Some(uart);
    Ok(())
}

/// Lets the UART interrupt when input arrives; [`rx_interrupt`] must be its handler by now.
pub fn enable_rx_interrupt() {
    if let Some(uart) = UART.lock().as_mut() {
        uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes4);
        uart.clear_interrupts(Interrupts::all());
        uart.set_interrupt_masks(Interrupts::RXI | Interrupts::RTI | Interrupts::OEI);
        BY_INTERRUPT.store(true, Ordering::Release);
    }
}

/// Has `wake` called, in interrupt context, whenever input has arrived.
pub fn on_input(wake: fn()) {
    ON_INPUT.store(wake as usize, Ordering::Release);
}

/// Handler of the UART's interrupt. Bound: one FIFO.
pub fn rx_interrupt(_: usize) {
    let mut any = false;
    if let Some(uart) = UART.lock().as_mut() {
        uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI | Interrupts::OEI);
        for _ in 0..PIECE_BYTES {
            match uart.read_word() {
                Ok(Some(byte)) => any |= INPUT.push(byte),
                Ok(None) => break,
                // A broken byte (break, framing, parity) is dropped; the next one may be whole.
                Err(_) => {}
            }
        }
    }
    let wake = ON_INPUT.load(Ordering::Acquire);
    if any && wake != 0 {
        // SAFETY: only `on_input` writes it, a `fn()` or 0.
        unsafe { core::mem::transmute::<usize, fn()>(wake)() };
    }
}

/// The next byte of input, if there is one. Does not wait.
pub fn read_byte() -> Option<u8> {
    if !BY_INTERRUPT.load(Ordering::Acquire) {
        return UART.lock().as_mut().and_then(|uart| uart.read_word().ok().flatten());
    }
    INPUT.pop()
}

/// Input bytes lost because nobody took them.
pub fn input_lost() -> u32 {
    INPUT.lost()
}

/// Writes bytes as they are. Mixes with other writers; see [`print`].
pub fn write_bytes(bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let done = {
            let mut guard = UART.lock();
            let Some(uart) = guard.as_mut() else {
                drop(guard);
                rest.iter().for_each(|&byte| early::write_raw(byte));
                return;
            };
            let room = rest.iter().take(PIECE_BYTES).take_while(|&&byte| {
                let room = !uart.is_tx_fifo_full();
                if room {
                    uart.write_word(byte);
                }
                room
            });
            room.count()
        };
        rest = &rest[done..];
        if done == 0 {
            arch::cpu::relax();
        }
    }
}

/// Writes text, a line feed as carriage return and line feed.
pub fn write_text(text: &str) {
    for piece in text.split_inclusive('\n') {
        match piece.strip_suffix('\n') {
            Some(line) => {
                write_bytes(line.as_bytes());
                write_bytes(b"\r\n");
            }
            None => write_bytes(piece.as_bytes()),
        }
    }
}

/// The console as a target for `write!`.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_text(text);
        Ok(())
    }
}

impl embedded_io::ErrorType for Console {
    type Error = core::convert::Infallible;
}

impl embedded_io::Write for Console {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        write_bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        while UART.lock().as_ref().is_some_and(|uart| uart.is_busy()) {
            arch::cpu::relax();
        }
        Ok(())
    }
}

/// Writes formatted text as one piece. What `kprint!` and `kprintln!` are made of.
pub fn print(args: fmt::Arguments) {
    use fmt::Write;
    let _together = crate::preempt::preemptible().then(|| WRITER.lock());
    // The console never reports an error; a Display that does has nothing more to say.
    let _ = Console.write_fmt(args);
}

/// Writes to the console.
#[macro_export]
macro_rules! kprint {
    ($($arg:tt)*) => { $crate::drivers::console::print(format_args!($($arg)*)) };
}

/// Writes a line to the console.
#[macro_export]
macro_rules! kprintln {
    () => { $crate::kprint!("\n") };
    ($($arg:tt)*) => { $crate::drivers::console::print(format_args!("{}\n", format_args!($($arg)*))) };
}
