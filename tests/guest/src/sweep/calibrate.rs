//! What the way from the interrupt to H costs where nothing is in the way.
//!
//! Measured on sleds of `nop`, once, with the very same handler and H as everywhere else. The oracle
//! compares every point of every path with these figures.
//!
//! Context: the victim.

use crate::cast::FAIR;
use crate::oracle::SLACK;
use crate::others;
use crate::path::Path;
use crate::run::{self, Point};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use spin::Once;
use stint::early_println;
use stint::locking::Semaphore;
use stint::time::Timer;
use stint::{preempt, task};

/// Instructions, each exact on this machine and image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Constants {
    /// From the instruction at which the interrupt is taken to the handler's first.
    pub entry: u64,
    /// The same in a softirq, whose interrupts stay on its stack.
    pub softirq_entry: u64,
    /// From the handler to H, if the return from the interrupt may switch.
    pub direct: u64,
    /// From the handler to H less what the interrupted code still had to do, if H had to wait for the
    /// `preempt_enable` that makes the count zero.
    pub deferred: u64,
    /// The same, if H had to wait for the end of a softirq, which is the return from the interrupt under it.
    pub softirq: u64,
    /// From the handler to H out of the idle loop, which is not preempted but looks by itself.
    pub idle: u64,
    /// As `direct`, if the interrupted task is of the fair class: its time is accounted on the way.
    pub fair: u64,
}

static SLED: Path = Path::new("(sled)", nops);
static SLED_DISABLED: Path = Path::new("(sled, preemption off)", || {
    let guard = preempt::preempt_disable();
    nops();
    drop(guard);
});
static SLED_MASKED: Path = Path::new("(sled, IRQs masked)", || {
    let flags = arch::irqflags::local_irq_save();
    nops();
    arch::irqflags::local_irq_restore(flags);
});
/// A sled in a softirq: the function of a timer that goes off in the path.
static SLED_SOFTIRQ: Path = Path::new("(sled, softirq)", || {
    PASSED.store(false, Relaxed);
    TIMER.call_once(|| {
        Timer::new(|| {
            nops();
            PASSED.store(true, Relaxed);
        })
    });
    if let Some(timer) = TIMER.get() {
        timer.start_once(SOFTIRQ_NS);
    }
    while !passed() {}
});
fn passed() -> bool {
    PASSED.load(Relaxed)
}
static TIMER: Once<Timer> = Once::new();
static PASSED: AtomicBool = AtomicBool::new(false);
const SOFTIRQ_NS: u64 = 600;
/// The softirq is over long before.
const SOFTIRQ_MAX: u64 = 5_000;
static SLED_IDLE: Path = Path { idles: true, ..Path::new("(idle)", || task::sleep_ns(10_000)) };

static SLED_FAIR: Path = Path {
    ready: || {
        FAIR.play(|| {
            nops();
            let _ = DONE.give();
        })
    },
    ..Path::new("(sled, fair)", || DONE.take())
};
static DONE: Semaphore = Semaphore::new(0);

/// Instructions of a sled, and a place inside with only `nop`s for a while.
const SLED_INSNS: u64 = 256;
const INSIDE: u64 = 100;
const SAMPLES: u64 = 100;
/// FAIR is in its sled long before.
const FAIR_MAX: u64 = 10_000;
/// When everybody sleeps in [`SLED_IDLE`].
const ASLEEP: u64 = 5_000;

const NOT_EXACT: &str = "this is not how interrupts come instruction by instruction: boot with -icount \
    shift=0,sleep=off and cntfrq=1000000000; or, if that is so, the kernel is not as it was";

#[inline(never)]
fn nops() {
    // SAFETY: does nothing.
    unsafe { asm!(".rept {n}", "nop", ".endr", n = const SLED_INSNS, options(nostack, preserves_flags)) };
}

/// Measures the constants.
pub fn measure() -> Result<Constants, &'static str> {
    let mut constants = Constants::default();
    // The very first run finds heap and console as no later one will.
    let _ = run::once(&SLED, INSIDE);
    let open = run::once(&SLED, INSIDE);
    constants.entry = open.reading.taken_at;
    constants.direct = open.delay();
    for n in INSIDE..INSIDE + SAMPLES {
        let point = run::once(&SLED, n);
        let is_next = point.reading.pc == open.reading.pc + 4 * (n - INSIDE);
        let same = point.reading.taken_at == constants.entry && point.delay() == constants.direct;
        accept(&point, point.reading.count == 0 && is_next && same)?;
    }

    // The first place behind the sled where the count is zero again ends the wait.
    let disabled = run::once(&SLED_DISABLED, INSIDE);
    let enabled = (INSIDE..INSIDE + 2 * SLED_INSNS)
        .map(|n| run::once(&SLED_DISABLED, n))
        .find(|point| point.reading.count == 0);
    let wait = enabled.ok_or(NOT_EXACT)?.at(&constants).wrapping_sub(INSIDE);
    constants.deferred = disabled.delay().wrapping_sub(wait);
    for n in INSIDE..INSIDE + SAMPLES {
        let point = run::once(&SLED_DISABLED, n);
        let right = constants.deferred + wait - (n - INSIDE);
        accept(&point, point.reading.count == 1 && point.delay() == right)?;
    }

    // Masked, all of them are taken at one place: where the mask is lifted.
    let masked = run::once(&SLED_MASKED, INSIDE);
    for n in INSIDE..INSIDE + SAMPLES {
        let point = run::once(&SLED_MASKED, n);
        let same = point.reading.pc == masked.reading.pc && point.at(&constants) == masked.at(&constants);
        accept(
            &point,
            same && point.at(&constants) > n && point.delay().abs_diff(constants.direct) <= SLACK,
        )?;
    }

    // The sled in the softirq, found by its instructions; then the first place behind its interrupt.
    let in_sled = |point: &Point| {
        (1..SLED_INSNS - SAMPLES).contains(&(point.reading.pc.wrapping_sub(nops as fn() as usize as u64) / 4))
    };
    let mut sweep = (INSIDE..SOFTIRQ_MAX).map(|n| run::once(&SLED_SOFTIRQ, n));
    let served = sweep.find(in_sled).ok_or(NOT_EXACT)?;
    constants.softirq_entry = served.reading.taken_at;
    let ended = sweep.find(|point| point.reading.count == 0).ok_or(NOT_EXACT)?;
    let wait = ended.at(&constants).wrapping_sub(served.n);
    constants.softirq = served.delay().wrapping_sub(wait);
    for n in served.n..served.n + SAMPLES {
        let point = run::once(&SLED_SOFTIRQ, n);
        let right = constants.softirq.wrapping_add(wait) - (n - served.n);
        accept(&point, point.reading.count == 0x100 && point.delay() == right)?;
    }

    let idle = run::certain(&SLED_IDLE, ASLEEP);
    constants.idle = idle.delay();
    for n in ASLEEP..ASLEEP + SAMPLES {
        let point = run::certain(&SLED_IDLE, n);
        accept(&point, point.is_idle() && point.reading.count == 1 && point.delay() == constants.idle)?;
    }
    let fair =
        (INSIDE..FAIR_MAX).step_by(16).map(|n| run::once(&SLED_FAIR, n)).find(in_sled).ok_or(NOT_EXACT)?;
    constants.fair = fair.delay();
    for n in fair.n..fair.n + SAMPLES {
        let point = run::once(&SLED_FAIR, n);
        accept(&point, point.is_fair() && point.reading.count == 0 && point.delay() == constants.fair)?;
    }
    early_println!(
        "result sweep-calibration.direct {} insn entry={} deferred={} softirq={} idle={} fair={} slack={}",
        constants.direct,
        constants.entry,
        constants.deferred,
        constants.softirq,
        constants.idle,
        constants.fair,
        SLACK
    );
    Ok(constants)
}

/// On several CPUs, where no length is judged, none has to be exact.
fn accept(point: &Point, exact: bool) -> Result<(), &'static str> {
    if let Some(wrong) = point.wrong {
        early_println!("sweep: while calibrating, after {} instructions: {wrong}", point.n);
        return Err("the kernel is not right even where nothing is in the way");
    }
    if exact || others::online() > 1 {
        return Ok(());
    }
    early_println!("sweep: while calibrating, after {} instructions: {:?}", point.n, point.reading);
    Err(NOT_EXACT)
}
