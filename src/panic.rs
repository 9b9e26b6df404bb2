//! The end: a panic or a fault that nobody mends.
//!
//! Prints what a person needs to find the cause — what happened, where (symbolised), the preempt word
//! decoded, the registers, the back-trace, the last trace events and log lines — on the console, by
//! polling, with everything masked, and leaves the emulator with status 101. A panic inside this path
//! prints one line and stops.
//!
//! Context: any. Takes no lock and allocates nothing.

use crate::drivers::{console, early};
use crate::early_println;
use crate::ksyms::{ReturnAddress, Symbol};
use crate::smp::{AtomicCpuMask, stop};
use crate::{klog, mm, power, preempt, task, trace};
use arch::exception::Syndrome;
use arch::frame::PtRegs;
use arch::upcall::Fault;
use arch::{backtrace, irqflags, thread_info};
use core::fmt;
use core::panic::PanicInfo;

/// Exit status of a panic.
pub const PANIC_STATUS: u32 = 101;
/// The deepest back-trace that is printed.
const BACKTRACE_FRAMES: usize = 32;
/// Trace events that are printed.
const TRACE_EVENTS: usize = 24;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    match info.location() {
        Some(at) => early_println!("panic: {} at {at}", info.message()),
        None => early_println!("panic: {}", info.message()),
    }
    report(None);
    power::exit(PANIC_STATUS)
}

/// From the CPU's exception entry: nothing is mended yet, so every fault is the end.
#[unsafe(no_mangle)]
fn kernel_fault(regs: &mut PtRegs, fault: Fault) -> bool {
    begin();
    let syndrome = Syndrome(regs.esr);
    match fault {
        Fault::StackOverflow => report_stack_overflow(regs.sp),
        Fault::BadMode(vector) => {
            early_println!("panic: exception vector {vector} must never be taken: {syndrome}")
        }
        Fault::Sync if syndrome.has_far() => {
            early_println!("panic: {syndrome} at address {:#018x}, in {}", regs.far, Symbol(regs.pc))
        }
        Fault::Sync => early_println!("panic: {syndrome}, in {}", Symbol(regs.pc)),
    }
    report(Some(regs));
    power::exit(PANIC_STATUS)
}

fn report_stack_overflow(sp: u64) {
    let task = task::current();
    let place = mm::stack::owner_of(sp as usize);
    match (task.stack_bounds(), place) {
        (Some((low, top)), Some(place)) if place.bottom == low => {
            let at = if sp as usize >= low {
                "with no room left for an exception's frame"
            } else {
                "in its guard page"
            };
            early_println!(
                "panic: stack overflow: task {}/{} has {} bytes of stack ({low:#x} to {top:#x}); sp was {sp:#018x}, {at}. Give it more: task::build(..).stack_bytes(..)",
                task.name(),
                task.id(),
                top - low,
            );
        }
        (_, Some(place)) if !preempt::in_task() => early_println!(
            "panic: stack overflow: {} used up the interrupt stack ({:#x} to {:#x}); sp was {sp:#018x}",
            if preempt::in_hardirq() { "an interrupt handler" } else { "a softirq" },
            place.bottom,
            place.top,
        ),
        (_, Some(place)) => early_println!(
            "panic: stack overflow: of the stack {:#x} to {:#x}, which is not that of the running task {}/{}; sp was {sp:#018x}",
            place.bottom,
            place.top,
            task.name(),
            task.id(),
        ),
        (_, None) => early_println!(
            "panic: stack overflow: sp was {sp:#018x}, which is in no stack and no guard page: the stack pointer itself was damaged"
        ),
    }
}

fn begin() {
    irqflags::mask_all();
    if stop::claim() {
        early::write_text("\npanic: again, inside the panic report\n");
        power::exit(PANIC_STATUS);
    }
    // Before the first word, so that nobody talks in between.
    let running = stop::stop_others();
    console::hand_over();
    early::write_text("\n");
    STILL_RUNNING.store(running);
}

/// The CPUs that did not stop.
static STILL_RUNNING: AtomicCpuMask = AtomicCpuMask::new();

fn report(regs: Option<&PtRegs>) {
    let task = task::current();
    let (policy, prio) = (task.sched.policy(), task.sched.prio());
    early_println!(
        "  task {}/{} ({policy:?}, prio {prio}), CPU {}",
        task.name(),
        task.id(),
        crate::percpu::raw_smp_processor_id()
    );
    early_println!("  {}", PreemptWord(thread_info::preempt_word()));
    #[cfg(debug_assertions)]
    crate::lockdep::for_each_held(task, |lock| early_println!("  holds {lock}, taken at {}", lock.at));
    if let Some(regs) = regs {
        registers(regs);
    }
    early_println!("  back-trace, innermost first:");
    let mut depth = 0;
    let from = match regs {
        Some(regs) => {
            early_println!("    #0  {}", Symbol(regs.pc));
            depth = 1;
            regs.fp
        }
        None => backtrace::frame_pointer(),
    };
    backtrace::walk(from, BACKTRACE_FRAMES, |pc| {
        early_println!("    #{depth:<2} {}", ReturnAddress(pc));
        depth += 1;
    });
    stop::report_others(STILL_RUNNING.load());
    last_events();
    klog::drain_panic();
}

fn registers(regs: &PtRegs) {
    for (i, row) in regs.x.chunks(4).enumerate() {
        let mut text = heapless::String::<128>::new();
        for (j, value) in row.iter().enumerate() {
            let _ = fmt::write(&mut text, format_args!(" x{:<2} {value:016x}", 4 * i + j));
        }
        early_println!(" {text}");
    }
    early_println!(
        "  fp  {:016x} lr  {:016x} sp  {:016x} pstate {:x}",
        regs.fp,
        regs.lr,
        regs.sp,
        regs.pstate
    );
}

fn last_events() {
    if !arch::patch::is_enabled(arch::patch::Key::Trace) {
        early_println!("  trace: off; boot with trace=1 to see the last scheduler events here");
        return;
    }
    early_println!("  last scheduler events, newest last:");
    trace::for_each_last(TRACE_EVENTS, |cpu, entry| {
        early_println!("    {:>16} ns  CPU {cpu}  {}", crate::time::ticks_to_ns(entry.ticks), entry.event);
    });
}

/// The 64 bits in words.
pub struct PreemptWord(pub u64);

impl fmt::Display for PreemptWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0 as u32;
        let need = self.0 >> 32 == 0;
        write!(
            f,
            "preempt word {:#018x}: preempt {}, softirq {}, hardirq {}, nmi {}; reschedule {}{}",
            self.0,
            count & preempt::PREEMPT_MASK,
            (count & preempt::SOFTIRQ_MASK) >> 8,
            (count & preempt::HARDIRQ_MASK) >> 16,
            (count & preempt::NMI_MASK) >> 20,
            if need { "wanted" } else { "not wanted" },
            if self.0 == 0 { ": switch now" } else { "" },
        )
    }
}
