//! The instrument: an interrupt after exactly N instructions, and H, the task that it wakes.
//!
//! [`timed`] presets the cycle counter to −N, so that its overflow interrupt is due N instructions later,
//! and calls the path. From that moment the counter shows the distance from the interrupt's due time, and
//! everybody just writes down what it shows: the handler at its first instruction, H at its own.
//!
//! Context: the handler in hard interrupt, H as the most important task there is.

use crate::cast;
use arch::context::ArchTask;
use arch::{backtrace, pmu, thread_info};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use stint::locking::{RawSpinLock, Semaphore};
use stint::{irq, start, task};

/// H is above everybody.
const WOKEN_PRIO: i32 = 90;
/// Turns of the loop that waits for the interrupt behind the end of the path.
const PATIENCE: u32 = 100_000;

static WAKE: Semaphore = Semaphore::new(0);
/// What H does after it has written down when it ran.
static INTRUDE: RawSpinLock<fn()> = RawSpinLock::new(nothing);
/// What the handler does before it wakes H.
static IN_IRQ: RawSpinLock<fn()> = RawSpinLock::new(nothing);

static IRQS: AtomicU32 = AtomicU32::new(0);
static TAKEN_AT: AtomicU64 = AtomicU64::new(0);
static HANDLED_AT: AtomicU64 = AtomicU64::new(0);
static TAKEN_COUNT: AtomicU32 = AtomicU32::new(0);
static TAKEN_TASK: AtomicU64 = AtomicU64::new(0);
static TAKEN_PC: AtomicU64 = AtomicU64::new(0);
/// Address of the frame record that the interrupt's entry pushed.
static TAKEN_FRAME: AtomicU64 = AtomicU64::new(0);
static TAKEN_COMPARE: AtomicU64 = AtomicU64::new(0);
static WOKEN: AtomicU32 = AtomicU32::new(0);
static WOKEN_AT: AtomicU64 = AtomicU64::new(0);
static WOKEN_COMPARE: AtomicU64 = AtomicU64::new(0);
static WOKEN_WITHIN: AtomicBool = AtomicBool::new(false);
static INTRUSIONS: AtomicU32 = AtomicU32::new(0);

/// What one run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Interrupts taken; 1 if all is well, as all counts here.
    pub irqs: u32,
    /// Counter at the first instruction of the handler: how long after it was due.
    pub taken_at: u64,
    /// Counter when the handler was about to wake H.
    pub handled_at: u64,
    /// Preempt count of the interrupted code.
    pub count: u32,
    /// Address of the interrupted task's `ThreadInfo`.
    pub task: u64,
    /// The interrupted instruction.
    pub pc: u64,
    /// How often H ran.
    pub woken: u32,
    /// Counter at the first instruction of H.
    pub woken_at: u64,
    /// Whether the interrupted task was still within the interrupt when H ran: it has not gone on in between.
    pub within: bool,
    /// Whether a timer interrupt came between handler and H: it leaves another compare value behind.
    pub timer_between: bool,
    /// How often H completed its intrusion.
    pub intrusions: u32,
}

/// Makes H and takes the counter's interrupt.
pub fn init() -> Result<(), &'static str> {
    let Some(interrupt) = start::boot_info().pmu_interrupt else {
        return Err("the device tree names no interrupt for the PMU");
    };
    irq::request(interrupt.intid, overflow, 0).map_err(|_| "the PMU's interrupt cannot be requested")?;
    task::build("woken").fifo(WOKEN_PRIO).spawn(woken).map_err(|_| "no memory for the task H")?;
    Ok(())
}

/// Forgets the last run, and says what H and the handler do in the next.
pub fn reset(intrude: fn(), in_irq: fn()) {
    *INTRUDE.lock() = intrude;
    *IN_IRQ.lock() = in_irq;
    IRQS.store(0, Relaxed);
    WOKEN.store(0, Relaxed);
    INTRUSIONS.store(0, Relaxed);
}

/// Runs `path` with the interrupt due after `n` instructions; returns the counter at its end, which is its
/// length less `n` if nothing interrupted it. A function of its own: the instructions around the path are
/// the same for every path and every n.
#[inline(never)]
pub fn timed(n: u64, path: fn()) -> u64 {
    pmu::overflow_after(n);
    path();
    pmu::cycles()
}

/// Interrupts and runs of H as of now. H runs before anybody else can see its interrupt, unless preemption is off.
pub fn counts() -> (u32, u32) {
    (IRQS.load(Relaxed), WOKEN.load(Relaxed))
}

/// Waits for an interrupt that was due behind the end of the path. Returns whether there was one.
pub fn wait() -> bool {
    (0..PATIENCE).any(|_| IRQS.load(Relaxed) != 0)
}

/// Takes the interrupt back, for runs that have none.
pub fn disarm() {
    pmu::overflow_stop();
}

/// What the run left behind.
pub fn reading() -> Reading {
    Reading {
        irqs: IRQS.load(Relaxed),
        taken_at: TAKEN_AT.load(Relaxed),
        handled_at: HANDLED_AT.load(Relaxed),
        count: TAKEN_COUNT.load(Relaxed),
        task: TAKEN_TASK.load(Relaxed),
        pc: TAKEN_PC.load(Relaxed),
        woken: WOKEN.load(Relaxed),
        woken_at: WOKEN_AT.load(Relaxed),
        within: WOKEN_WITHIN.load(Relaxed),
        timer_between: TAKEN_COMPARE.load(Relaxed) != WOKEN_COMPARE.load(Relaxed),
        intrusions: INTRUSIONS.load(Relaxed),
    }
}

/// Does nothing, for the steps that a path does not need.
pub fn nothing() {}

/// The overflow interrupt. From [`HANDLED_AT`] to H's first instruction every run does the same.
fn overflow(_: usize) {
    let at = pmu::cycles();
    pmu::overflow_stop();
    TAKEN_AT.store(at, Relaxed);
    TAKEN_COUNT.store(thread_info::preempt_count() - arch::HARDIRQ_OFFSET, Relaxed);
    TAKEN_TASK.store(thread_info::current_thread_info().addr() as u64, Relaxed);
    let frame = interrupted_frame();
    TAKEN_FRAME.store(frame, Relaxed);
    // SAFETY: the record of the interrupted code's frame, if one was found.
    TAKEN_PC.store(if frame == 0 { 0 } else { unsafe { (frame as *const u64).add(1).read() } }, Relaxed);
    TAKEN_COMPARE.store(timer_compare(), Relaxed);
    IRQS.store(IRQS.load(Relaxed) + 1, Relaxed);
    let in_irq = *IN_IRQ.lock();
    in_irq();
    HANDLED_AT.store(pmu::cycles(), Relaxed);
    // No limit to run into: one unit, and H takes it.
    let _ = WAKE.give();
}

unsafe extern "C" {
    /// Where the interrupt entries go on when the handler has returned (`entry.S`): with a GICv3, with one and several CPUs,
    /// and with a GICv2.
    static el1_irq_eoi: u8;
    static el1_irq_count: u8;
    static el1_irq_exit: u8;
}

/// Whether `address` is behind the call of the handler in an interrupt entry, of which there is one for each kind of
/// machine: there stands a branch to the way out, or the way out itself.
fn is_behind_handler(address: u64) -> bool {
    let branch_to = |way_out: u64| 0x1400_0000 | (way_out.wrapping_sub(address) >> 2) as u32 & 0x03ff_ffff;
    // SAFETY: the return address of a live frame, so it is in the kernel's text.
    let instruction = unsafe { (address as *const u32).read() };
    let ways_out = [&raw const el1_irq_eoi, &raw const el1_irq_count, &raw const el1_irq_exit]
        .map(|way| way.addr() as u64);
    ways_out.iter().any(|&way_out| address == way_out || instruction == branch_to(way_out))
}

/// The frame record that the entry pushed, in which the return address is the interrupted instruction: the one behind
/// the record that returns into the entry. (A softirq is interrupted on the handler's own stack.)
fn interrupted_frame() -> u64 {
    /// More calls than there are between the entry and this handler.
    const CALLS_MAX: usize = 16;
    let mut record = backtrace::frame_pointer();
    for _ in 0..CALLS_MAX {
        if record == 0 {
            break;
        }
        // SAFETY: kernel code keeps frame pointers, so this is the chain of live frames; it has just begun
        // on the stack this runs on.
        let (next, caller) = unsafe { ((record as *const u64).read(), (record as *const u64).add(1).read()) };
        if next != 0 && is_behind_handler(caller) {
            return next;
        }
        record = next;
    }
    0
}

/// Whether the interrupted task, which has been switched away from, still has the interrupt's frame on its stack, and
/// is on its way out of it: where a task goes on its saved frames are others.
fn is_within() -> bool {
    /// More calls than there are between the entry and the switch, and more bytes.
    const CALLS_MAX: usize = 12;
    const STACK_BYTES: u64 = 4096;
    let (task, frame) = (TAKEN_TASK.load(Relaxed), TAKEN_FRAME.load(Relaxed));
    // SAFETY: a task is its `ArchTask`, and this one lives longer than the path.
    let (_, first) = unsafe { &*(task as *const ArchTask) }.context().pc_fp();
    let mut record = first;
    for _ in 0..CALLS_MAX {
        if record == frame {
            return true;
        }
        if !(first..first + STACK_BYTES).contains(&record) || !record.is_multiple_of(16) {
            return false;
        }
        // SAFETY: between the saved frame of a task that does not run and the frame of its interrupt: its stack.
        record = unsafe { (record as *const u64).read() };
    }
    false
}

/// What the timer's compare register holds.
#[inline(always)]
fn timer_compare() -> u64 {
    let compare;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, cntv_cval_el0", out(reg) compare, options(nostack, preserves_flags)) };
    compare
}

fn woken() {
    loop {
        WAKE.take();
        let at = pmu::cycles();
        let compare = timer_compare();
        // A timer that comes between these reads came after H, not before it.
        let undisturbed = pmu::cycles() - at <= 2;
        WOKEN_AT.store(at, Relaxed);
        WOKEN_WITHIN.store(is_within(), Relaxed);
        WOKEN_COMPARE.store(if undisturbed { compare } else { TAKEN_COMPARE.load(Relaxed) }, Relaxed);
        WOKEN.store(WOKEN.load(Relaxed) + 1, Relaxed);
        cast::check_own_word();
        let intrude = *INTRUDE.lock();
        intrude();
        INTRUSIONS.store(INTRUSIONS.load(Relaxed) + 1, Relaxed);
    }
}
