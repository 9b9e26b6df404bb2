//! CPUs that come and go: the order of the steps.
//!
//! A CPU comes up through three lists and goes down through them backwards, on behalf of the one thread that holds
//! `CONTROL`:
//!
//! 1. `PREPARE`: before the CPU starts: what it will need. Backwards after it has gone: what it has left behind.
//! 2. `starting` and `dying`: on the CPU itself, with IRQs masked, as its idle task.
//! 3. `ONLINE`: the CPU schedules tasks. Backwards before it ceases to.
//!
//! **Going down.** First the CPU is taken out of `smp::online()`, so that nobody chooses it for anything new; who has
//! chosen it a moment ago with IRQs masked is waited for by interrupting every CPU once. Then its tasks are moved
//! away, its stopper closes it, and its idle task, which is picked when nothing else is there, ends it. A task that has
//! forbidden its migration, or does not let the idle task come, is waited for, and after [`WAIT_MS`] the CPU stays.
//!
//! A step that fails is undone with those before it. Context: threads that may sleep. Lock: CONTROL.

use core::fmt;

use super::bringup::{self, CpuError, State, WAIT_MS};
use super::call;
use crate::error::Result;
use crate::irq::{self, softirq};
use crate::locking::Mutex;
use crate::sched::{dl_root, evacuate, stop, wake_list};
use crate::{percpu, task, time, watchdog};

/// One part of the kernel's share in a CPU's coming and going. Threads.
struct Step {
    name: &'static str,
    up: fn(usize) -> Result<()>,
    down: fn(usize),
}

fn nothing(_: usize) {}

fn nothing_to_do(_: usize) -> Result<()> {
    Ok(())
}

/// While the CPU is off.
static PREPARE: [Step; 7] = [
    // Kept: other CPUs may be looking at it.
    Step { name: "per-CPU data", up: |cpu| percpu::make(cpu).map(drop), down: nothing },
    Step { name: "trace ring", up: crate::trace::control::prepare_cpu, down: nothing },
    Step { name: "idle task", up: |cpu| bringup::idle_of(cpu).map(drop), down: nothing },
    Step { name: "stopper", up: stop::prepare, down: nothing },
    Step { name: "softirqs", up: nothing_to_do, down: softirq::migrate_from },
    Step { name: "timers", up: nothing_to_do, down: time::migrate_from },
    Step { name: "wake list", up: nothing_to_do, down: wake_list::take_from },
];

/// While the CPU is online.
static ONLINE: [Step; 4] = [
    // Closed by the last thing that it does.
    Step {
        name: "stopper",
        up: |cpu| {
            stop::open(cpu);
            Ok(())
        },
        down: nothing,
    },
    Step { name: "softirqs", up: start_ksoftirqd, down: softirq::going_down },
    Step {
        name: "interrupts",
        up: |cpu| {
            irq::back_online(cpu);
            Ok(())
        },
        down: nothing,
    },
    Step {
        name: "watchdog",
        up: |cpu| {
            watchdog::cpu_online(cpu);
            Ok(())
        },
        down: watchdog::cpu_going_down,
    },
];

fn start_ksoftirqd(cpu: usize) -> Result<()> {
    softirq::up(cpu)?;
    softirq::online(cpu);
    Ok(())
}

/// On a CPU that comes, behind its interrupt controller and run queue. IRQs masked.
pub(super) fn starting() {
    time::starting();
    irq::starting();
    crate::preempt_stats::starting();
    call::open_this_cpu();
    evacuate::publish_this_cpu(true);
}

/// On a CPU that goes, as the last before it is off. IRQs masked.
fn dying() {
    call::close_this_cpu();
    wake_list::run_pending();
    irq::dying();
    time::dying();
}

/// Orders all coming and going.
static CONTROL: Mutex<()> = Mutex::new(());

/// Runs `steps` upwards for `cpu`; those that are done are undone if one fails.
fn go_up(steps: &[Step], cpu: usize) -> core::result::Result<(), CpuError> {
    for (done, step) in steps.iter().enumerate() {
        if let Err(error) = (step.up)(cpu) {
            log::error!(target: "smp", "CPU {cpu}: {}: {error}", step.name);
            go_down(&steps[..done], cpu);
            return Err(CpuError::Setup(error));
        }
    }
    Ok(())
}

fn go_down(steps: &[Step], cpu: usize) {
    steps.iter().rev().for_each(|step| (step.down)(cpu));
}

/// Starts CPU `cpu` and waits until it schedules tasks. Thread context.
///
/// # Errors
/// See [`CpuError`].
pub fn cpu_up(cpu: usize) -> core::result::Result<(), CpuError> {
    let _control = CONTROL.lock();
    bringup::may_start(cpu)?;
    go_up(&PREPARE, cpu)?;
    if let Err(error) = bringup::boot(cpu) {
        go_down(&PREPARE, cpu);
        return Err(error);
    }
    go_up(&ONLINE, cpu)?;
    dl_root::cpus_changed();
    Ok(())
}

/// What the boot CPU has, which was never off. The first task.
pub(super) fn adopt_boot_cpu() {
    if let Err(error) = stop::prepare(0) {
        panic!("the stopper of CPU 0: {error}");
    }
    stop::open(0);
    dl_root::cpus_changed();
}

/// Moves everything away from CPU `cpu` and turns it off. Thread context.
///
/// # Errors
/// [`CpuError::BootCpu`] for CPU 0, [`CpuError::Offline`] for one that is not online, [`CpuError::Stays`] if something
/// keeps it: then it is as before.
pub fn cpu_down(cpu: usize) -> core::result::Result<(), CpuError> {
    let _control = CONTROL.lock();
    bringup::may_stop(cpu)?;
    // Not from the CPU that goes: the caller sleeps on the way, and its timer would go with the CPU. (Who may not be
    // moved, such as a deadline task, is bound to another one or keeps it.)
    let caller = task::current_ref();
    let cpus = caller.affinity();
    let _ = caller.set_affinity(super::online().without(cpu));
    let result = leave(cpu);
    // Refused to a caller that was bound to this CPU alone: it stays where it is.
    let _ = caller.set_affinity(cpus);
    result
}

/// [`cpu_down`] from another CPU.
fn leave(cpu: usize) -> core::result::Result<(), CpuError> {
    // Deadline tasks may have reserved what the others do not have.
    dl_root::update(super::online().without(cpu).count()).map_err(CpuError::Reserved)?;
    go_down(&ONLINE, cpu);
    super::set_online(cpu, false);
    evacuate::stop_taking(cpu);
    let gone = take_down(cpu);
    if gone.is_err() {
        super::set_online(cpu, true);
        evacuate::publish(cpu, true);
        dl_root::cpus_changed();
        return gone.and(go_up(&ONLINE, cpu));
    }
    go_down(&PREPARE, cpu);
    bringup::set_off(cpu);
    dl_root::cpus_changed();
    Ok(())
}

/// From "not chosen any more" to "off".
fn take_down(cpu: usize) -> core::result::Result<(), CpuError> {
    let limit_ns = time::now_ns() + WAIT_MS * 1_000_000;
    // Whoever chose the CPU before it was taken out did so with IRQs masked: a CPU that answers has done with that. (The
    // one that goes answers by its stopper.)
    let _ = call::call_function_many(super::online(), &|| {});
    irq::migrate_irqs_away(cpu);
    while let Some(bound) = evacuate::move_tasks_away(cpu) {
        if time::now_ns() > limit_ns {
            return Err(CpuError::Stays(bound));
        }
        task::sleep_ms(1);
    }
    // On the CPU, so that none of its works is left; then the idle task comes to it.
    let closed = stop::stop_one_cpu(cpu, &|| {
        stop::close(cpu);
        evacuate::publish_this_cpu(false);
        bringup::begin_to_die(cpu);
    });
    if closed.is_err() {
        return Err(CpuError::Offline);
    }
    bringup::wait_dead(cpu, limit_ns)
}

/// The idle loop, IRQs masked, nothing else to run: whether the CPU is to go. It does not return if it goes.
#[inline]
pub(crate) fn go_if_dying() {
    let cpu = percpu::raw_smp_processor_id();
    if bringup::state(cpu) == State::Dying {
        go(cpu);
    }
}

#[cold]
#[inline(never)]
fn go(cpu: usize) {
    dying();
    if bringup::is_dead(cpu) {
        bringup::end_this_cpu(cpu);
    }
    // Whoever waited has given up.
    starting();
}

/// What is known of a CPU, for people.
#[derive(Clone, Copy, Debug)]
pub struct CpuInfo {
    /// Its number.
    pub cpu: usize,
    /// The affinity fields of its MPIDR_EL1.
    pub affinity: u64,
    /// How it is started.
    pub method: crate::cpus::Method,
    /// In a word.
    pub state: &'static str,
    /// How important the task is that runs there, as others see it; `None` if the CPU is no business of theirs.
    pub level: Option<u8>,
}

/// Calls `f` with every CPU that is present.
pub fn for_each_cpu(mut f: impl FnMut(&CpuInfo)) {
    for cpu in super::present().iter() {
        let Some(known) = crate::cpus::cpu(cpu) else { continue };
        f(&CpuInfo {
            cpu,
            affinity: known.affinity,
            method: known.method,
            state: bringup::state(cpu).name(),
            level: evacuate::cpu_level(cpu),
        });
    }
}

/// [`CpuInfo::level`] in words.
pub struct Level(pub Option<u8>);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.pad("-"),
            Some(0) => f.pad("idle"),
            Some(1) => f.pad("fair"),
            Some(101) => f.pad("deadline"),
            Some(102) => f.pad("stopper"),
            Some(level) => write!(f, "fifo {}", level - 1),
        }
    }
}
