//! The console: a PL011, written by polling and read by interrupt.
//!
//! Output is made of pieces of a few bytes: interrupts are masked while a piece is written, since the
//! handler shares the registers, and open between pieces and while the FIFO drains. So however much is
//! printed, nobody waits for it longer than one piece. Lines of several tasks can mix if they are longer
//! than a piece; [`print`] keeps one call together by holding a sleeping lock where sleeping is allowed.
//!
//! Context: output from thread context; `rx_interrupt` from hard interrupt, or its thread; input from one thread.
//! Locks: WRITER (sleeps, only in preemptible context), then UART (a leaf).

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use arch::mmu::PhysAddr;
use arm_pl011_uart::{
    DataBits, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};

use super::early;
use super::machine::{Interrupt, UartInfo};
use super::queue::ByteQueue;
use crate::irq::{self, IrqFlags, IrqReturn};
use crate::locking::{Mutex, RawSpinLockIrqSave, Semaphore};
use crate::mm::{SpaceError, ioremap};
use crate::preempt;
use crate::task;

const BAUD: u32 = 115_200;
/// Bytes the FIFOs hold at most (32 since r1p5, 16 before).
const FIFO_BYTES: usize = 32;
/// Bytes written with interrupts masked.
const PIECE_BYTES: usize = 8;
/// A UART that cannot interrupt is asked this often.
const POLL_MS: u64 = 20;

static UART: RawSpinLockIrqSave<Option<Uart<'static>>> = RawSpinLockIrqSave::new(None);
static WRITER: Mutex<()> = Mutex::new(());
static INPUT: ByteQueue<256> = ByteQueue::new();
/// Whether the interrupt feeds INPUT; otherwise reading polls.
static BY_INTERRUPT: AtomicBool = AtomicBool::new(false);
/// Given by the interrupt handler when there is input.
static ARRIVED: Semaphore = Semaphore::with_limit(0, 1);

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

/// Takes the UART's interrupt and lets it come when there is input. Without one, reading polls.
///
/// # Errors
/// Those of [`irq::request_irq`].
pub(crate) fn start_input(interrupt: Interrupt) -> crate::Result<()> {
    let trigger = if interrupt.edge { IrqFlags::EDGE } else { IrqFlags::LEVEL };
    // For as long as the machine runs.
    let _ = irq::request_irq(interrupt.intid, trigger, "console", rx_interrupt)?;
    if let Some(uart) = UART.lock().as_mut() {
        uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes4);
        uart.clear_interrupts(Interrupts::all());
        uart.set_interrupt_masks(Interrupts::RXI | Interrupts::RTI | Interrupts::OEI);
        BY_INTERRUPT.store(true, Ordering::Release);
    }
    Ok(())
}

/// Handler of the UART's interrupt. Bound: one FIFO.
fn rx_interrupt(_: u32) -> IrqReturn {
    let (mut any, mut ours) = (false, false);
    if let Some(uart) = UART.lock().as_mut() {
        let input = Interrupts::RXI | Interrupts::RTI | Interrupts::OEI;
        ours = uart.raw_interrupt_status().intersects(input);
        // Reads clear the other two when they empty the FIFO. Cleared here, they would stay so if it is filled
        // again as fast as it is read, and what is left behind the bound below would lie there for good.
        uart.clear_interrupts(Interrupts::OEI);
        for _ in 0..FIFO_BYTES {
            match uart.read_word() {
                Ok(Some(byte)) => any |= INPUT.push(byte),
                Ok(None) => break,
                // A broken byte (break, framing, parity) is dropped; the next one may be whole.
                Err(_) => {}
            }
        }
    }
    if any {
        // Full: somebody is being woken already.
        let _ = ARRIVED.give();
    }
    if ours || any { IrqReturn::Handled } else { IrqReturn::None }
}

/// The next byte of input, if there is one. Does not wait.
pub fn read_byte() -> Option<u8> {
    if !BY_INTERRUPT.load(Ordering::Acquire) {
        return UART.lock().as_mut().and_then(|uart| uart.read_word().ok().flatten());
    }
    INPUT.pop()
}

/// The next byte of input; waits for it.
pub fn read() -> u8 {
    loop {
        if let Some(byte) = read_byte() {
            return byte;
        }
        if BY_INTERRUPT.load(Ordering::Acquire) {
            // What came before the test above has given it too: no byte is overlooked.
            ARRIVED.take();
        } else {
            task::sleep_ms(POLL_MS);
        }
    }
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
        preempt::cond_resched_if_allowed();
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
