//! The console: a UART, written and read by interrupt.
//!
//! Output is made of pieces of a few bytes: interrupts are masked while a piece goes to the UART's FIFO or, when that is
//! full, to the queue that the UART's interrupt empties, and open between pieces. So however much is printed, nobody waits
//! for it longer than one piece. A writer that finds the queue full sleeps until half of it is sent; where it must not, it
//! sends the queue's pieces itself. Before there is an interrupt, FIFO and polling are all there is; a panic sends what is
//! queued past this driver. Lines of several tasks can mix if they are longer than a piece; [`print`] keeps one call
//! together by holding a sleeping lock where sleeping is allowed.
//!
//! Context: output from any but NMI; `interrupt` from hard interrupt, or its thread; input from one thread.
//! Locks: WRITER (sleeps, only in preemptible context), then UART (a leaf).

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arch::mmu::{PAGE_BYTES, PhysAddr};
use arm_pl011_uart::{
    DataBits, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};

use super::early;
use super::machine::{Interrupt, UartInfo, UartKind};
use super::mini_uart::{self, MiniUart};
use super::mmio::Mmio;
use super::output::Output;
use super::port::{BrokenByte, MiniInterrupts, Port};
use super::queue::ByteQueue;
use crate::irq::{self, IrqFlags, IrqReturn};
use crate::locking::{Mutex, RawSpinLockIrqSave, Semaphore};
use crate::mm::{SpaceError, ioremap};
use crate::preempt;
use crate::task;

const BAUD: u32 = 115_200;
/// Bytes the FIFOs hold at most (32 since r1p5, 16 before).
const FIFO_BYTES: usize = 32;
/// Bytes of output that wait for the interrupt: a second's worth is 11,520.
const OUTPUT_BYTES: usize = 2048;
/// A UART that cannot interrupt is asked this often.
const POLL_MS: u64 = 20;

static UART: RawSpinLockIrqSave<Option<Port>> = RawSpinLockIrqSave::new(None);
static WRITER: Mutex<()> = Mutex::new(());
static INPUT: ByteQueue<256> = ByteQueue::new();
/// Both ends under UART's lock.
static OUTPUT: Output<OUTPUT_BYTES> = Output::new();
/// Whether the interrupt feeds INPUT and empties OUTPUT; otherwise both are polled.
static BY_INTERRUPT: AtomicBool = AtomicBool::new(false);
/// Given by the interrupt handler when there is input.
static ARRIVED: Semaphore = Semaphore::with_limit(0, 1);
/// Writers that sleep until there is room, or are about to.
static WAITING: AtomicU32 = AtomicU32::new(0);
/// Given for each of them, by the interrupt handler, when OUTPUT is half empty.
static DRAINED: Semaphore = Semaphore::with_limit(0, WAITING_MAX);
const WAITING_MAX: u32 = 1 << 16;
/// Pieces that the interrupt has sent.
static REFILLS: AtomicU32 = AtomicU32::new(0);

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
    let port = match info.kind {
        UartKind::Pl011 => {
            let base = map(info.regs.start, info.regs.bytes as usize, info.kind)?;
            let regs = base.cast::<PL011Registers>();
            // SAFETY: the device tree says that this is a PL011; the mapping stays for ever. The early console shares the
            // registers only when this driver is not to be used any more (panic) or not yet.
            let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(regs) });
            let line =
                LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
            uart.set_interrupt_masks(Interrupts::empty());
            uart.clear_interrupts(Interrupts::all());
            uart.enable(line, BAUD, clock_hz).map_err(|_| ConsoleFault::Clock(clock_hz))?;
            Port::Pl011(uart)
        }
        UartKind::Mini => {
            // Its enable bit is in the block of auxiliary devices, whose page begins with it.
            let block = info.regs.start & !(PAGE_BYTES as u64 - 1);
            let base = map(block, mini_uart::WINDOW_BYTES, info.kind)?;
            // SAFETY: as above.
            let mut uart = MiniUart::new(unsafe { Mmio::new(base.cast(), mini_uart::WINDOW_BYTES) });
            uart.enable(clock_hz, BAUD);
            Port::Mini(uart, MiniInterrupts::default())
        }
    };
    *UART.lock() = Some(port);
    Ok(())
}

/// Maps the registers for this driver and the early console, and waits until that has said everything: turning the UART
/// off in the middle of a byte would garble it.
fn map(phys: u64, bytes: usize, kind: UartKind) -> Result<NonNull<u8>, ConsoleFault> {
    let base = ioremap(PhysAddr(phys), bytes).map_err(ConsoleFault::Map)?;
    // SAFETY: the device tree says that this is such a UART; the mapping stays for ever.
    unsafe { early::set_base(base, kind) };
    early::flush();
    Ok(NonNull::new(base).expect("mapped addresses are not 0"))
}

/// Takes the UART's interrupt, and lets it come when there is input or room for output. Without one, both are polled.
///
/// # Errors
/// Those of [`irq::request_irq`].
pub(crate) fn start_interrupts(line: Interrupt) -> crate::Result<()> {
    let trigger = if line.edge { IrqFlags::EDGE } else { IrqFlags::LEVEL };
    // For as long as the machine runs.
    let _ = irq::request_irq(line.intid, trigger, "console", interrupt)?;
    if let Some(port) = UART.lock().as_mut() {
        port.start_input();
        BY_INTERRUPT.store(true, Ordering::Release);
    }
    Ok(())
}

/// Handler of the UART's interrupt. Bound: one FIFO in, one piece out.
fn interrupt(_: u32) -> IrqReturn {
    let (mut any, mut ours, mut drained) = (false, false, false);
    if let Some(port) = UART.lock().as_mut() {
        ours = port.acknowledge();
        for _ in 0..FIFO_BYTES {
            arch::bound!(FIFO_BYTES);
            match port.get() {
                Ok(Some(byte)) => any |= INPUT.push(byte),
                Ok(None) => break,
                // It is dropped; the next one may be whole.
                Err(BrokenByte) => {}
            }
        }
        if !OUTPUT.is_empty() {
            OUTPUT.refill(port);
            REFILLS.fetch_add(1, Ordering::Relaxed);
            drained = OUTPUT.is_half_empty();
        }
    }
    if any {
        // Full: somebody is being woken already.
        let _ = ARRIVED.give();
    }
    if drained && WAITING.load(Ordering::Relaxed) != 0 {
        wake_writer();
    }
    if ours || any { IrqReturn::Handled } else { IrqReturn::None }
}

/// Wakes one writer that waits for room, if there is one. It wakes the next when it is done.
fn wake_writer() {
    let one_less = |waiting: u32| waiting.checked_sub(1);
    if WAITING.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less).is_ok() {
        // Fewer wait than its limit.
        let _ = DRAINED.give();
    }
}

/// Sleeps until OUTPUT is half empty, which the interrupt tells.
fn wait_for_room() {
    {
        // Under the lock, so that the interrupt comes behind this: as long as something is queued, there will be one.
        let _uart = UART.lock();
        if OUTPUT.is_half_empty() {
            return;
        }
        WAITING.fetch_add(1, Ordering::AcqRel);
    }
    DRAINED.take();
    wake_writer();
}

/// The next byte of input, if there is one. Does not wait.
pub fn read_byte() -> Option<u8> {
    if !BY_INTERRUPT.load(Ordering::Acquire) {
        return UART.lock().as_mut().and_then(|port| port.get().ok().flatten());
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
        let by_interrupt = BY_INTERRUPT.load(Ordering::Acquire);
        let may_sleep = by_interrupt && preempt::preemptible();
        let done = {
            let mut guard = UART.lock();
            let Some(port) = guard.as_mut() else {
                drop(guard);
                rest.iter().for_each(|&byte| early::write_raw(byte));
                return;
            };
            let done = OUTPUT.send(port, rest, by_interrupt);
            if done == 0 && by_interrupt && !may_sleep {
                OUTPUT.refill(port);
            }
            done
        };
        rest = &rest[done..];
        preempt::cond_resched_if_allowed();
        if done == 0 {
            if may_sleep { wait_for_room() } else { arch::cpu::relax() }
        }
    }
}

/// Sends what is queued past the driver, for one after whom nobody will: a panic, the end of the machine. Waits a bounded
/// time for each byte. The other CPUs are stopped, or about to be.
pub(crate) fn hand_over() {
    // A panic may hold the lock itself; whoever else holds it gives it back within a piece.
    let guard = (0..1_000_000).find_map(|_| UART.try_lock());
    for _ in 0..OUTPUT_BYTES {
        match OUTPUT.take() {
            Some(byte) => early::write_raw(byte),
            None => break,
        }
    }
    drop(guard);
    early::flush();
}

/// How many pieces the interrupt has sent.
#[doc(hidden)]
pub fn refills() -> u32 {
    REFILLS.load(Ordering::Relaxed)
}

/// For tests: leaves as much as possible to the interrupt, or as usual. (An emulated UART's FIFO is never full.)
#[doc(hidden)]
pub fn prefer_interrupt(on: bool) {
    OUTPUT.prefer_interrupt(on);
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
        loop {
            let idle = match UART.lock().as_mut() {
                Some(port) => {
                    if !OUTPUT.is_empty() {
                        OUTPUT.refill(port);
                    }
                    OUTPUT.is_empty() && !port.is_busy()
                }
                None => true,
            };
            if idle {
                return Ok(());
            }
            preempt::cond_resched_if_allowed();
            arch::cpu::relax();
        }
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
