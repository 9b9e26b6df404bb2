//! Spreading fair tasks over the CPUs: when it is looked around, and the carrying out of what `balance` decides.
//!
//! * A CPU that is **about to idle** takes one task from the busiest ([`newly_idle`]).
//! * A CPU that **ticks** looks around at intervals, in the SCHED softirq ([`run`]).
//! * CPUs that **idle without a tick** do not: a CPU with more than it can do wakes one of them, which looks around for
//!   all ([`tick`], the softirq).
//! * What **runs alone** on a CPU that does better things most of the time is not waiting, and is moved by that CPU's
//!   stopper when nothing else has helped several times.
//!
//! Isolated CPUs are no part of it. A CPU's [`Balancer`] belongs to the lock of its run queue.
//!
//! **Bound:** one task per locking of two run queues, [`NR_MIGRATE`] of them per look, interrupts open in between.
//!
//! Context: as each function says. Locks: the two run queues.

use super::balance::{self, Balancer, Busiest, CpuIdle, Imbalance, Outcome};
use super::cpupri;
use super::migrate::{double_rq_lock, finish_move, lock_second_rq};
use super::prio::MAX_PRIO;
use super::push_pull::{LOADS, view};
use super::runqueue::{CPUPRI, RunQueue, cpu_rq, task_of};
use super::select::View;
use super::stop::Request;
use super::tunables::Tunables;
use crate::irq::softirq::{self, Vector};
use crate::percpu::raw_smp_processor_id;
use crate::smp::{CpuMask, ipi};
use crate::{MAX_CPUS, per_cpu, time};
use arch::irqflags;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The most tasks that one look moves (Linux's `sysctl_sched_nr_migrate`).
const NR_MIGRATE: usize = 32;

per_cpu! {
    /// Under the lock of the CPU's run queue.
    static BALANCER: Cell<Balancer> = Cell::new(Balancer::new(1));
}

/// The CPU was woken to look around for all that idle.
static FOR_ALL: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// When some CPU that idles is next to look around.
static NEXT_FOR_ALL_NS: AtomicU64 = AtomicU64::new(0);

/// For each CPU, what its stopper is asked for, and to where.
static ACTIVE: [Request; MAX_CPUS] = [const { Request::new(active_balance) }; MAX_CPUS];
static ACTIVE_TO: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

/// Says what the SCHED softirq does. Once, before the first tick.
pub(crate) fn init() {
    softirq::open_softirq(Vector::Sched, run);
}

/// The balancer of the CPU of `this`, which is locked.
fn balancer_of(this: &RunQueue) -> &Cell<Balancer> {
    // SAFETY: the CPU is there; the lock, which the caller holds, guards it.
    unsafe { BALANCER.of(this.cpu()) }
}

/// Works on the balancer of the CPU of `this`, which is locked.
fn with_balancer<R>(this: &RunQueue, f: impl FnOnce(&mut Balancer) -> R) -> R {
    let cell = balancer_of(this);
    let mut balancer = cell.get();
    let result = f(&mut balancer);
    cell.set(balancer);
    result
}

/// The number of CPUs among which tasks are spread has changed: it scales the intervals of balancing and the fair class's
/// periods. Threads.
pub(crate) fn set_cpus(count: usize) {
    for cpu in crate::smp::online().iter() {
        let this = cpu_rq(cpu);
        let flags = irqflags::local_irq_save();
        this.lock.lock();
        with_balancer(this, |balancer| balancer.set_cpus(count));
        // SAFETY: locked above.
        unsafe { this.rq() }.set_tunables(Tunables::for_cpus(count as u32));
        // SAFETY: locked above.
        unsafe { this.unlock() };
        irqflags::local_irq_restore(flags);
    }
}

/// Moves one fair task from `from` to `to`, both locked, and counts it off. Whether there was one.
fn move_one(from: &'static RunQueue, to: &'static RunQueue, imbalance: &mut Imbalance, failed: u32) -> bool {
    let now = time::now_ns();
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { from.rq() };
    rq.update_clock(now);
    let Some(p) = rq.detach_one(to.cpu(), imbalance, failed) else { return false };
    finish_move(task_of(p), from, to, now);
    true
}

/// `this` CPU, whose run queue is locked, is about to pick: if there is nothing, a task of another. May let go of the lock
/// and take it again.
#[inline(never)]
pub(super) fn newly_idle(this: &'static RunQueue) {
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    if rq.peek_prio() != MAX_PRIO || rq.curr() == rq.idle() {
        return;
    }
    let now = time::now_ns();
    let is_worth_it = with_balancer(this, |balancer| {
        balancer.idle_begins(now);
        balancer.is_worth_it()
    });
    // What the others see must not be what was here before.
    rq.update_clock(now);
    LOADS.publish(rq);
    if !is_worth_it {
        return;
    }
    let Some(busiest) = balance::find_busiest(&view(), this.cpu(), CpuIdle::NewlyIdle) else { return };
    let from = cpu_rq(busiest.cpu);
    // SAFETY: IRQs masked, `this` locked; the busiest is another one.
    unsafe { lock_second_rq(this, from) };
    // SAFETY: locked, still or again.
    let is_idle = unsafe { this.rq() }.peek_prio() == MAX_PRIO;
    let failed = with_balancer(this, |balancer| balancer.nr_failed());
    if is_idle {
        let moved = move_one(from, this, &mut Imbalance::Tasks(1), failed);
        let outcome = if moved { Outcome::Moved } else { Outcome::Failed };
        with_balancer(this, |balancer| balancer.done(now, CpuIdle::NewlyIdle, outcome));
    }
    // SAFETY: locked above.
    unsafe { from.unlock() };
}

/// `this` CPU, whose run queue is locked, ceases to idle.
#[inline(never)]
pub(super) fn idle_ends(this: &RunQueue) {
    with_balancer(this, |balancer| balancer.idle_ends(time::now_ns()));
}

/// From the tick, on a CPU whose run queue `this` is locked: is it time to look around, here or for those that idle?
pub(super) fn tick(this: &'static RunQueue) -> Todo {
    let now = time::now_ns();
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    let is_due = balancer_of(this).get().is_due(now);
    // Where a real-time task runs and no fair one waits, all was told when that began; what sleeps only fades, and how
    // far is told each time that it is looked around.
    let is_plain = rq.curr().is_rt() && rq.cfs().nr_running() == 0;
    if is_plain && !is_due {
        return Todo { is_due: false, kick: None };
    }
    rq.update_clock(now);
    rq.sync_curr_load();
    rq.publish(&CPUPRI, &LOADS);
    let view = view();
    if !view.domain.contains(this.cpu()) {
        return Todo { is_due: false, kick: None };
    }
    let kick = (now >= NEXT_FOR_ALL_NS.load(Ordering::Relaxed))
        .then(|| balance::nohz_kick(&view, this.cpu(), view.domain))
        .flatten();
    Todo { is_due, kick }
}

/// What the tick has found, to be done without the run queue's lock.
pub(super) struct Todo {
    is_due: bool,
    kick: Option<usize>,
}

impl Todo {
    /// Hard interrupt, IRQs masked, nothing locked.
    pub(super) fn begin(self) {
        if self.is_due {
            softirq::raise_softirq(Vector::Sched);
        }
        if let Some(cpu) = self.kick {
            // Not before long, whether it can or not.
            NEXT_FOR_ALL_NS.store(time::now_ns() + KICK_INTERVAL_NS, Ordering::Relaxed);
            FOR_ALL[cpu].store(true, Ordering::Release);
            ipi::send_call(cpu);
        }
    }
}

/// The least time between two looks for all that idle.
const KICK_INTERVAL_NS: u64 = 1_000_000;

/// The interrupt with which a CPU is asked to run what was left for it: has it been woken to look around for all? Hard
/// interrupt.
pub(crate) fn run_pending() {
    if FOR_ALL[raw_smp_processor_id()].load(Ordering::Acquire) {
        softirq::raise_softirq(Vector::Sched);
    }
}

/// The SCHED softirq.
fn run() {
    let here = raw_smp_processor_id();
    look_around(here);
    if FOR_ALL[here].swap(false, Ordering::Relaxed) {
        let idle = view().domain.without(here).iter().filter(|&cpu| CPUPRI.level(cpu) == cpupri::IDLE);
        for cpu in idle {
            look_around(cpu);
        }
    }
}

/// The machine as it is but for the thread that looks at it, if that is one.
fn looking_view() -> View<'static> {
    let here = raw_smp_processor_id();
    let looking = if softirq::is_thread() { CpuMask::of(here) } else { CpuMask::NONE };
    View { looking, ..view() }
}

/// Looks around on behalf of `cpu`, if it is time for it to. Softirq, IRQs open.
fn look_around(cpu: usize) {
    let to = cpu_rq(cpu);
    let idle = if balance::is_idle(&looking_view(), cpu) { CpuIdle::Idle } else { CpuIdle::Busy };
    let (is_due, failed) =
        locked(to, || with_balancer(to, |balancer| (balancer.is_due(time::now_ns()), balancer.nr_failed())));
    if !is_due {
        return;
    }
    let (outcome, busiest) = take_from_busiest(to, idle, failed);
    let is_active = locked(to, || with_balancer(to, |balancer| balancer.done(time::now_ns(), idle, outcome)));
    if let Some(busiest) = busiest
        && is_active
    {
        ACTIVE_TO[busiest].store(cpu, Ordering::Relaxed);
        let _ = ACTIVE[busiest].post(busiest);
    }
}

/// Takes from the busiest CPU; if all that is there is bound to it, from the busiest of the others, and so on: each CPU is
/// looked at once. What came of it, and which CPU was the last. IRQs open.
fn take_from_busiest(to: &'static RunQueue, idle: CpuIdle, failed: u32) -> (Outcome, Option<usize>) {
    let mut outcome = Outcome::Balanced;
    let mut bound = CpuMask::NONE;
    for _ in 0..MAX_CPUS {
        let mut view = looking_view();
        view.domain = view.domain & !bound;
        let Some(busiest) = balance::find_busiest(&view, to.cpu(), idle) else { break };
        outcome = take_from(busiest, to, failed);
        if outcome != Outcome::Pinned {
            return (outcome, Some(busiest.cpu));
        }
        bound = bound.with(busiest.cpu);
    }
    (outcome, None)
}

/// Runs `f` with `this` locked.
fn locked<R>(this: &RunQueue, f: impl FnOnce() -> R) -> R {
    let flags = irqflags::local_irq_save();
    this.lock.lock();
    let result = f();
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
    result
}

/// Moves to `to` what `busiest` has too much.
fn take_from(busiest: Busiest, to: &'static RunQueue, failed: u32) -> Outcome {
    let from = cpu_rq(busiest.cpu);
    let mut imbalance = busiest.imbalance;
    let mut moved = 0;
    while moved < NR_MIGRATE && move_one_locking(from, to, &mut imbalance, failed) {
        moved += 1;
    }
    if moved != 0 {
        return Outcome::Moved;
    }
    // SAFETY: locked by `locked`, which `f` runs under.
    let may_move = locked(from, || unsafe { from.rq() }.has_movable(to.cpu()));
    if may_move { Outcome::Failed } else { Outcome::Pinned }
}

/// [`move_one`] with the locks taken for it, and the preemption point behind. IRQs open.
fn move_one_locking(
    from: &'static RunQueue,
    to: &'static RunQueue,
    imbalance: &mut Imbalance,
    failed: u32,
) -> bool {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked; the busiest is another than who takes from it.
    unsafe { double_rq_lock(from, to) };
    let moved = crate::smp::online().contains(to.cpu()) && move_one(from, to, imbalance, failed);
    // SAFETY: locked above.
    unsafe {
        from.unlock();
        to.unlock();
    }
    irqflags::local_irq_restore(flags);
    moved
}

/// The stopper of a CPU on which something runs that should run elsewhere, and now does not run.
fn active_balance() {
    let cpu = raw_smp_processor_id();
    let to = ACTIVE_TO[cpu].load(Ordering::Relaxed);
    if to != cpu {
        move_one_locking(cpu_rq(cpu), cpu_rq(to), &mut Imbalance::Tasks(1), u32::MAX);
    }
}
