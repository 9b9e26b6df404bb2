//! Softirqs: what an interrupt leaves to be done at once, but with interrupts open.
//!
//! A handler raises a [`Vector`]; its function runs when the last hard interrupt on this CPU ends, before the
//! preemption check, so that a task which it wakes runs at that same exit. Where they run (reference 7.1):
//!
//! * at the **return from an interrupt**, on the IRQ stack (`irq_exit_softirq`);
//! * at the last **`local_bh_enable`** of a thread, on the IRQ stack too, so that no thread's stack need be sized
//!   for them;
//! * in **ksoftirqd**, which takes over after ten passes, after 2 ms, or when a task is waiting for the CPU; and
//!   which is woken when softirqs are raised by a thread that serves nothing itself.
//!
//! In the `rt` model they run in ksoftirqd alone, preemptible, under a sleeping lock per CPU that
//! `local_bh_disable` takes as well.
//!
//! Invariants: the mask of pending vectors is the truth and changes with IRQs masked; the hint in the running
//! task (`arch::thread_info`) makes an exit look. A hint is lost only with the task that has it, and a thread can
//! lose the CPU with something pending only after ksoftirqd was woken. A softirq never runs under a hard interrupt
//! and never in another one. **Bound:** one run is at most ten passes; a function that has more to do when
//! [`should_stop`] says so raises its vector again and returns.
//!
//! Context: raising from any; `local_bh_disable` from threads and softirqs. Locks: in `rt` the CPU's bottom-half
//! lock, outermost of the locks that softirq functions take.

use crate::locking::dep::Dep;
use crate::locking::raw_mutex::RawMutex;
use crate::per_cpu;
use crate::preempt::{self, SOFTIRQ_DISABLE_OFFSET, SOFTIRQ_OFFSET, need_resched, preempt_count};
use crate::sched::affinity::{migrate_disable, migrate_enable};
use crate::sched::core as sched;
use crate::sched::prio::rt_priority_to_prio;
#[cfg(target_os = "none")]
use crate::smp::CpuMask;
#[cfg(target_os = "none")]
use crate::task::TaskRef;
use crate::task::{self, Task, state};
use crate::time::ticks_to_ns;
use arch::irqflags;
use arch::patch::{RT, static_branch};
use arch::thread_info;
use core::cell::Cell;
#[cfg(target_os = "none")]
use core::fmt::Write;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;
#[cfg(target_os = "none")]
use core::sync::atomic::Ordering::{AcqRel, Acquire};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};

/// What can be raised, in the order in which it runs. Linux's numbers; what is missing is not used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Vector {
    /// Urgent tasklets.
    Hi = 0,
    /// Timers of low resolution.
    Timer = 1,
    /// Tasklets.
    Tasklet = 6,
    /// The scheduler's own chores.
    Sched = 7,
    /// The functions of timers.
    Hrtimer = 8,
    /// Nobody's: for tests. (Linux has RCU there.)
    Spare = 9,
}

/// Places in the table.
pub const NR_SOFTIRQS: usize = 10;
/// The most passes over the pending vectors in one run.
pub const MAX_RESTART: u32 = 10;
/// The longest run after which another pass is begun.
pub const MAX_TIME_NS: u64 = 2_000_000;
/// Vectors that do not wait for a ksoftirqd that is on its way.
const NOW_MASK: u32 = 1 << Vector::Hi as u32 | 1 << Vector::Tasklet as u32;
/// In a task's nesting: it is serving softirqs, in the `rt` model.
const RT_SERVING: u32 = 1 << 31;

struct Table([Cell<fn()>; NR_SOFTIRQS]);
// SAFETY: an entry is written before its vector is raised for the first time (contract of `open_softirq`).
unsafe impl Sync for Table {}
static TABLE: Table = Table([const { Cell::new(unopened as fn()) }; NR_SOFTIRQS]);

/// One CPU's softirqs. Changed by its own CPU, with IRQs masked; others may look.
struct Softirqs {
    pending: AtomicU32,
    /// Null, or a task with a count; changes while the CPU is off.
    ksoftirqd: AtomicPtr<Task>,
    /// ksoftirqd is to end: its CPU is about to be switched off.
    stop: AtomicBool,
    /// ksoftirqd was woken and has not come to its end: what is pending is its business. Not before its first
    /// turn, which no wake-up can bring nearer: until then the exits serve, or a busy real-time task would keep
    /// softirqs off from the boot on.
    thread_has_it: Cell<bool>,
    runs: [AtomicU64; NR_SOFTIRQS],
}
// SAFETY: the cell of a CPU's is used by that CPU, the rest is atomic.
unsafe impl Send for Softirqs {}

per_cpu! {
    static SOFTIRQS: Softirqs = Softirqs {
        pending: AtomicU32::new(0),
        ksoftirqd: AtomicPtr::new(ptr::null_mut()),
        stop: AtomicBool::new(false),
        thread_has_it: Cell::new(false),
        runs: [const { AtomicU64::new(0) }; NR_SOFTIRQS],
    };
    /// The `rt` model's bottom-half lock.
    static BH_LOCK: BhLock = BhLock { mutex: RawMutex::new(), dep: Dep::spin() };
}

impl Softirqs {
    /// IRQs masked, this CPU's.
    #[inline(always)]
    fn take_pending(&self) -> u32 {
        let pending = self.pending.load(Relaxed);
        self.pending.store(0, Relaxed);
        pending
    }

    fn runs(&self) -> [u64; NR_SOFTIRQS] {
        core::array::from_fn(|vector| self.runs[vector].load(Relaxed))
    }
}

/// `threadirqs`: the return from an interrupt leaves softirqs to ksoftirqd.
static ALL_IN_THREAD: AtomicBool = AtomicBool::new(false);

/// This CPU's.
///
/// # Safety
/// IRQs masked, or preemption off and the use tolerates this CPU's interrupts.
#[inline(always)]
unsafe fn this_cpu() -> &'static Softirqs {
    // SAFETY: by contract.
    unsafe { SOFTIRQS.this_cpu() }
}

fn unopened() {
    panic!("a softirq was raised before open_softirq gave it a function");
}

/// Says what `vector` does. The function runs in softirq context: IRQs open, preemption off (but in `rt`), and it
/// must not sleep. Once per vector, at boot or before anybody raises it.
pub fn open_softirq(vector: Vector, function: fn()) {
    TABLE.0[vector as usize].set(function);
}

/// Makes `vector` pending and sees to it that it runs. Any context.
pub fn raise_softirq(vector: Vector) {
    let flags = irqflags::local_irq_save();
    raise_softirq_irqoff(vector);
    // ksoftirqd may have been woken, and in `rt` it may be more important than the caller.
    if !irqflags::irqs_disabled_flags(flags) {
        preempt::preempt_check_resched_irqs_off();
    }
    irqflags::local_irq_restore(flags);
}

/// [`raise_softirq`] with IRQs masked by the caller, and without a preemption point.
#[inline]
pub fn raise_softirq_irqoff(vector: Vector) {
    debug_assert!(
        irqflags::irqs_disabled(),
        "raise_softirq_irqoff({vector:?}) with IRQs open; mask them, or call raise_softirq"
    );
    // SAFETY: IRQs masked.
    let this = unsafe { this_cpu() };
    this.pending.store(this.pending.load(Relaxed) | 1 << vector as u32, Relaxed);
    crate::trace::softirq_raise(vector as u32);
    if static_branch::<RT>() {
        return wake_up(this);
    }
    thread_info::set_softirq_hint();
    // Whoever is interrupted, or has bottom halves disabled, looks at its end.
    if !preempt::in_interrupt() {
        wake_up(this);
    }
}

/// Wakes ksoftirqd. IRQs masked.
#[cold]
#[inline(never)]
fn wake_up(this: &Softirqs) {
    // At boot there is none yet; then the next interrupt looks.
    // SAFETY: its count is given back while this CPU is off.
    if let Some(thread) = unsafe { this.ksoftirqd.load(Relaxed).as_ref() }
        && sched::wake_up_process(thread)
    {
        this.thread_has_it.set(true);
    }
}

/// Whether the caller is this CPU's ksoftirqd. In a softirq.
#[must_use]
pub(crate) fn is_thread() -> bool {
    // SAFETY: the caller does not leave its CPU: softirqs, and their thread, stay where they are.
    let this = unsafe { SOFTIRQS.of(crate::percpu::raw_smp_processor_id()) };
    ptr::eq(this.ksoftirqd.load(Relaxed), task::current())
}

/// Whether the function of a softirq is to stop between two pieces of its work, raise its vector again and return:
/// somebody wants the CPU, or it holds up a task that is more important than softirqs are. Softirqs have the
/// importance that their thread has in `rt`. Over a task above that, an interrupt runs one piece at most, and the rest
/// is ksoftirqd's: so what many softirqs that are due together can cost such a task is a piece for each interrupt.
#[inline]
#[must_use]
pub fn should_stop() -> bool {
    arch::gives_way!();
    need_resched()
        || !static_branch::<RT>() && task::current().sched.prio() < rt_priority_to_prio(RT_PRIORITY as u32)
}

/// Whether the running code is a softirq's function.
#[inline(always)]
#[must_use]
pub fn in_serving_softirq() -> bool {
    preempt_count() & SOFTIRQ_OFFSET != 0
        || static_branch::<RT>() && thread_info::bh_nesting() & RT_SERVING != 0
}

/// The vectors that wait to run on this CPU, one bit each.
#[must_use]
pub fn local_softirq_pending() -> u32 {
    // SAFETY: one word; a stale answer is allowed here.
    unsafe { this_cpu().pending.load(Relaxed) }
}

/// How often the function of each vector has run on this CPU.
#[must_use]
pub fn runs() -> [u64; NR_SOFTIRQS] {
    // SAFETY: as above.
    unsafe { this_cpu() }.runs()
}

/// [`runs`] of any CPU that has been online.
#[must_use]
pub fn runs_on(cpu: usize) -> [u64; NR_SOFTIRQS] {
    // SAFETY: what is read is atomic. For a CPU that was never online the boot CPU's answer.
    unsafe { SOFTIRQS.of(cpu) }.runs()
}

/// Softirqs do not run on this CPU while it lives. Dropping the last one runs those that are pending, and **may
/// switch to another task**. Preemption is off with it, but in `rt`, where it holds a sleeping lock.
#[must_use = "bottom halves are enabled again as soon as the guard is dropped"]
pub struct BhGuard {
    _not_send: PhantomData<*mut ()>,
}

/// `local_bh_disable()`: no softirq on this CPU until the guard is dropped. Nests. Threads and softirqs.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub fn local_bh_disable() -> BhGuard {
    if static_branch::<RT>() {
        rt_bh_disable();
    } else {
        thread_info::preempt_count_add_const::<SOFTIRQ_DISABLE_OFFSET>();
        #[cfg(debug_assertions)]
        preempt::bottom_halves_disabled();
    }
    BhGuard { _not_send: PhantomData }
}

impl Drop for BhGuard {
    /// Linux's order (reference 3.6): all of the section but one preemption count goes, so that nobody can switch
    /// while the softirqs run; then they run; then the last count goes, and with it comes the check.
    #[inline(always)]
    fn drop(&mut self) {
        if static_branch::<RT>() {
            return rt_bh_enable();
        }
        #[cfg(debug_assertions)]
        assert_may_enable();
        thread_info::preempt_count_sub_const::<{ SOFTIRQ_DISABLE_OFFSET - 1 }>();
        if thread_info::softirq_hint() {
            bh_enable_pending();
        }
        preempt::preempt_enable();
    }
}

#[cfg(debug_assertions)]
fn assert_may_enable() {
    let count = preempt_count();
    assert!(
        !preempt::in_hardirq() && !irqflags::irqs_disabled(),
        "local_bh_enable in a hard interrupt or with IRQs masked: count {count:#x}; end the section outside"
    );
    assert!(
        count & preempt::SOFTIRQ_MASK >= SOFTIRQ_DISABLE_OFFSET,
        "local_bh_enable without local_bh_disable: count {count:#x}"
    );
}

/// The other side of `local_bh_enable`: somebody raised something meanwhile.
#[cold]
#[inline(never)]
fn bh_enable_pending() {
    let flags = irqflags::local_irq_save();
    // An outer section, or the softirq that this is part of, looks at its own end.
    if !preempt::in_interrupt() {
        // SAFETY: IRQs masked, and not in an interrupt of any kind: on the stack of a thread. `run_now` keeps to
        // the rule of bit 8, and does not switch: the caller has left one count.
        unsafe { arch::irq_stack::call_on_irq_stack(run_now) };
    }
    irqflags::local_irq_restore(flags);
}

/// From entry.S at the end of an interrupt: the hint is set, and the interrupted code is a thread with bottom
/// halves enabled. On the IRQ stack, IRQs masked.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn irq_exit_softirq() {
    if ALL_IN_THREAD.load(Relaxed) {
        thread_info::clear_softirq_hint();
        // SAFETY: IRQs masked.
        return wake_up(unsafe { this_cpu() });
    }
    run_now();
}

/// Runs what is pending, unless it waits for a ksoftirqd that is about to run. IRQs masked.
extern "C" fn run_now() {
    // SAFETY: IRQs masked.
    let this = unsafe { this_cpu() };
    let pending = this.pending.load(Relaxed);
    if pending == 0 || pending & NOW_MASK == 0 && this.thread_has_it.get() {
        thread_info::clear_softirq_hint();
    } else {
        do_softirq(this);
    }
}

/// `__do_softirq`: passes over the pending vectors. IRQs masked, no softirq served; something is pending.
fn do_softirq(this: &Softirqs) {
    let start = arch::timer::counter();
    thread_info::preempt_count_add(SOFTIRQ_OFFSET);
    let mut passes = 0;
    loop {
        arch::bound!(MAX_RESTART);
        // Cleared before IRQs are opened: what is raised from now on is not lost.
        let pending = this.take_pending();
        thread_info::clear_softirq_hint();
        irqflags::local_irq_enable();
        run_pending(this, pending);
        irqflags::local_irq_disable();
        passes += 1;
        if this.pending.load(Relaxed) == 0 {
            break;
        }
        let ns = ticks_to_ns(arch::timer::counter().wrapping_sub(start));
        if passes == MAX_RESTART || ns >= MAX_TIME_NS || should_stop() {
            wake_up(this);
            // ksoftirqd has it from here.
            thread_info::clear_softirq_hint();
            break;
        }
    }
    thread_info::preempt_count_sub(SOFTIRQ_OFFSET);
}

/// One pass, lowest vector first; Linux looks for a request behind a pass, this behind each function. IRQs open.
fn run_pending(this: &Softirqs, mut pending: u32) {
    while pending != 0 {
        arch::bound!(NR_SOFTIRQS);
        let vector = pending.trailing_zeros() as usize;
        pending &= pending - 1;
        let count = preempt_count();
        this.runs[vector].store(this.runs[vector].load(Relaxed) + 1, Relaxed);
        crate::trace::softirq(vector as u32, TABLE.0[vector].get());
        #[cfg(debug_assertions)]
        crate::lockdep::interrupt_ends();
        if preempt_count() != count {
            unbalanced(vector, count);
        }
        debug_assert!(
            !irqflags::irqs_disabled(),
            "the function of softirq {vector} returned with IRQs masked"
        );
        if pending != 0 && should_stop() {
            // The vectors behind it wait, for the next pass or for ksoftirqd.
            let flags = irqflags::local_irq_save();
            this.pending.store(this.pending.load(Relaxed) | pending, Relaxed);
            irqflags::local_irq_restore(flags);
            return;
        }
    }
}

#[cold]
#[inline(never)]
fn unbalanced(vector: usize, before: u32) -> ! {
    panic!(
        "the function of softirq {vector} returned with preempt count {:#x}, was called with {before:#x}",
        preempt_count()
    )
}

/// ksoftirqd: runs what the other places left. On its own stack; an interrupt over it stays there (bit 8).
fn ksoftirqd(cpu: usize) {
    // SAFETY: this CPU's: the thread stays on it, and ends before it is switched off.
    let this = unsafe { SOFTIRQS.of(cpu) };
    loop {
        task::set_current_state(state::INTERRUPTIBLE);
        // In this order: an interrupt in between runs what it raises itself, or is seen here.
        this.thread_has_it.set(false);
        if this.stop.load(Relaxed) {
            // What is pending is the exits' business, and then that of `migrate_from`.
            return task::set_current_state(state::RUNNING);
        }
        if this.pending.load(Relaxed) == 0 {
            sched::schedule();
        }
        task::set_current_state(state::RUNNING);
        this.thread_has_it.set(true);
        while this.pending.load(Relaxed) != 0 {
            if static_branch::<RT>() {
                rt_run(this);
            } else {
                irqflags::local_irq_disable();
                if this.pending.load(Relaxed) != 0 {
                    do_softirq(this);
                }
                irqflags::local_irq_enable();
                // The softirq's count is gone, and what came meanwhile relied on somebody who looks then, in either
                // style.
                drop(preempt::preempt_disable());
            }
            preempt::cond_resched();
        }
    }
}

/// Starts this CPU's ksoftirqd, at boot. `all_in_thread`: it runs all softirqs, in every model.
#[cfg(target_os = "none")]
pub(crate) fn start(all_in_thread: bool) {
    ALL_IN_THREAD.store(all_in_thread, Relaxed);
    let cpu = crate::percpu::raw_smp_processor_id();
    if let Err(error) = up(cpu) {
        panic!("cannot start ksoftirqd/{cpu}: {error}");
    }
    online(cpu);
}

/// Makes the ksoftirqd of `cpu`, which is off or has none any more; at boot of this one. Thread context or boot.
///
/// # Errors
/// Those of making a task.
#[cfg(target_os = "none")]
pub(crate) fn up(cpu: usize) -> crate::Result<()> {
    // SAFETY: what is used is atomic; the CPU is about to come, so its copy is there.
    let this = unsafe { SOFTIRQS.of(cpu) };
    if thread_of(cpu).is_some_and(|thread| thread.state() == state::NEW) {
        // From the last time, when the CPU did not come.
        return Ok(());
    }
    let mut name = heapless::String::<16>::new();
    // It fits.
    let _ = write!(name, "ksoftirqd/{cpu}");
    let thread = task::build(&name);
    let thread = if static_branch::<RT>() { thread.fifo(RT_PRIORITY) } else { thread };
    let thread = thread.create(ksoftirqd, cpu)?;
    // Not by the builder, which asks for a CPU that is online.
    thread.sched.set_cpus_allowed(CpuMask::of(cpu));
    this.stop.store(false, Relaxed);
    let before = this.ksoftirqd.swap(TaskRef::into_slot(Some(thread)).cast(), AcqRel);
    if !before.is_null() {
        // Of a CPU that was about to go, and stayed: it may be about to wake that thread, with IRQs masked. An error
        // says that it is off.
        let _ = crate::smp::call::call_function_single(cpu, &|| {});
        // SAFETY: put here by an earlier call; nobody knows it any more.
        drop(unsafe { TaskRef::from_slot(before.cast()) });
    }
    Ok(())
}

/// `cpu` schedules tasks now, its ksoftirqd among them. Thread context or boot.
#[cfg(target_os = "none")]
pub(crate) fn online(cpu: usize) {
    if let Some(thread) = thread_of(cpu) {
        thread.start();
    }
}

/// `cpu` is about to be switched off: ends its ksoftirqd. Thread context, and that CPU still schedules tasks.
#[cfg(target_os = "none")]
pub(crate) fn going_down(cpu: usize) {
    // SAFETY: what is used is atomic; the CPU is online.
    unsafe { SOFTIRQS.of(cpu) }.stop.store(true, Relaxed);
    if let Some(thread) = thread_of(cpu) {
        sched::wake_up_process(&thread);
        thread.wait_exited();
    }
}

/// Takes over what was pending on `cpu`, which is off, tasklets included. Thread context.
#[cfg(target_os = "none")]
pub(crate) fn migrate_from(cpu: usize) {
    // SAFETY: the CPU was online and is off: its part is nobody's but the caller's.
    let from = unsafe { SOFTIRQS.of(cpu) };
    let slot = from.ksoftirqd.swap(ptr::null_mut(), Relaxed);
    // SAFETY: `up` put it there.
    drop(unsafe { TaskRef::from_slot(slot.cast()) });
    from.thread_has_it.set(false);
    let pending = from.pending.swap(0, Relaxed);
    super::tasklet::migrate_from(cpu);
    for vector in [Vector::Timer, Vector::Sched] {
        if pending & 1 << vector as u32 != 0 {
            raise_softirq(vector);
        }
    }
}

#[cfg(target_os = "none")]
fn thread_of(cpu: usize) -> Option<TaskRef> {
    // SAFETY: what is used is atomic, and the callers' CPU is there.
    let thread = unsafe { SOFTIRQS.of(cpu) }.ksoftirqd.load(Acquire);
    // SAFETY: null, or kept by its count.
    unsafe { thread.as_ref() }.map(TaskRef::clone_from_task)
}

/// ksoftirqd's real-time priority in the `rt` model; settable like any task's.
const RT_PRIORITY: i32 = 1;

/// Keeps softirqs and sections without them apart in `rt`. To the validation of the lock order it is of the kind of
/// `SpinLock`, which sleeps in `rt` too: what the other models do inside of one, `local_bh_disable` among it, is
/// allowed here.
struct BhLock {
    mutex: RawMutex,
    dep: Dep,
}

impl BhLock {
    #[cfg_attr(debug_assertions, track_caller)]
    fn lock(&self) {
        self.dep.acquire();
        self.mutex.lock();
    }

    fn unlock(&self) {
        self.dep.release();
        self.mutex.unlock();
    }
}

/// This CPU's bottom-half lock. Whoever holds it, or is about to, stays on its CPU.
fn bh_lock() -> &'static BhLock {
    // SAFETY: as the text says; the mutex itself may be shared.
    unsafe { BH_LOCK.this_cpu() }
}

#[cold]
#[inline(never)]
#[cfg_attr(debug_assertions, track_caller)]
fn rt_bh_disable() {
    let nesting = thread_info::bh_nesting();
    if nesting == 0 {
        // The lock is this CPU's, and so is what it keeps off. Until `rt_bh_enable`.
        core::mem::forget(migrate_disable());
        bh_lock().lock();
    }
    thread_info::set_bh_nesting(nesting + 1);
}

#[cold]
#[inline(never)]
fn rt_bh_enable() {
    let nesting = thread_info::bh_nesting();
    assert!(nesting & !RT_SERVING != 0, "local_bh_enable without local_bh_disable");
    thread_info::set_bh_nesting(nesting - 1);
    if nesting == 1 {
        // ksoftirqd may be waiting for it, lent the importance of whoever waits for a softirq's result.
        bh_lock().unlock();
        migrate_enable();
    }
}

/// One pass in the `rt` model.
fn rt_run(this: &Softirqs) {
    bh_lock().lock();
    thread_info::set_bh_nesting(RT_SERVING);
    let flags = irqflags::local_irq_save();
    let pending = this.take_pending();
    irqflags::local_irq_restore(flags);
    run_pending(this, pending);
    thread_info::set_bh_nesting(0);
    bh_lock().unlock();
}
