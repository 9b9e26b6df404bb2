//! Starting a CPU: what it needs, how it is told, and what it does first.
//!
//! By the CPU that starts it (`cpu_up`): its per-CPU data, stacks and idle task are made (once, they are kept), its
//! record is written to memory, and the method of its device-tree node lets it go. It sets itself up with IRQs masked
//! (`secondary_start`), says that it is online, and becomes its idle task. It is waited for [`WAIT_MS`]: one that does
//! not come is left out, and is told so should it come after all.
//!
//! The state of a CPU (`STATES`) decides between the two: `Starting` becomes `Alive` by the new CPU or `LeftOut` by
//! who waits, and not both.
//!
//! Context: `cpu_up` in threads, one at a time. Locks: none.

use ::core::fmt;
use ::core::ptr;
use ::core::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

use arch::patch::{SMP_LOCKS, static_branch};
use arch::psci::PsciError;
use arch::{irqflags, secondary};

use super::{hotplug, ops};
use crate::cpus;
use crate::drivers::irqchip;
use crate::error::Error;
use crate::percpu::{self, raw_smp_processor_id};
use crate::sched::core;
use crate::start::boot_info;
use crate::task::{self, Name, Task};
use crate::{MAX_CPUS, preempt};

/// How long a CPU may take from the call of the firmware to its idle loop. It takes tens of microseconds; but an
/// emulator may not let it run at once.
pub const WAIT_MS: u64 = 1000;

/// Why a CPU does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuError {
    /// There is no CPU of this number, or it may not run (`nr_cpus=`).
    NotPresent,
    /// It runs already.
    Online,
    /// It was left out when it did not come.
    LeftOut,
    /// There is no memory for its data, or no stack.
    Setup(Error),
    /// Deadline tasks have reserved what would be left.
    Reserved(Error),
    /// No PSCI firmware to ask.
    NoFirmware,
    /// The firmware refuses.
    Firmware(PsciError),
    /// Its `cpu-release-addr` cannot be written to.
    ReleaseAddress(u64),
    /// It came, and cannot take interrupts.
    Interrupts,
    /// It did not come in time.
    TimedOut,
    /// It is the boot CPU, which stays.
    BootCpu,
    /// It is not online.
    Offline,
    /// It does not go: a task has forbidden its migration, or something runs there all the time.
    Stays(Name),
}

impl fmt::Display for CpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresent => write!(f, "is not there; present are {}", super::present()),
            Self::Online => f.write_str("is online already"),
            Self::LeftOut => f.write_str("did not come when it was started, and is left out"),
            Self::Setup(error) => write!(f, "cannot be set up: {error}; left out"),
            Self::Reserved(error) => write!(f, "stays, for deadline tasks: {error}"),
            Self::NoFirmware => f.write_str("needs PSCI firmware, and there is none; left out"),
            Self::Firmware(error) => write!(f, "is not started by the firmware: {error}; left out"),
            Self::ReleaseAddress(at) => {
                write!(f, "has its release address at {at:#x}; expected 8-byte aligned memory; left out")
            }
            Self::Interrupts => f.write_str("cannot take interrupts (see above); left out"),
            Self::TimedOut => write!(f, "did not come within {WAIT_MS} ms; left out"),
            Self::BootCpu => f.write_str("is the boot CPU, which stays; expected another one"),
            Self::Offline => write!(f, "is not online; online are {}", super::online()),
            Self::Stays(task) => {
                write!(
                    f,
                    "does not go within {WAIT_MS} ms because of task {}; it stays online",
                    task.as_str()
                )
            }
        }
    }
}

/// What is known of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Off = 0,
    /// Told to come.
    Starting,
    /// Has come, and sets itself up.
    Alive,
    Online,
    /// Has come, and cannot run.
    Failed,
    /// Has not come in time. For good: it may come at any time, and would use what a second start had changed.
    LeftOut,
    /// Is to go as soon as it has nothing to do.
    Dying,
    /// Will not touch anything any more but to turn itself off.
    Dead,
    /// Waits in its pen to be started again.
    Parked,
}

impl State {
    fn from_bits(bits: u8) -> Self {
        use State::*;
        [Off, Starting, Alive, Online, Failed, LeftOut, Dying, Dead, Parked][usize::from(bits)]
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Off | Self::Dead | Self::Parked => "off",
            Self::Starting | Self::Alive => "starting",
            Self::Online => "online",
            Self::Failed => "failed",
            Self::LeftOut => "left out",
            Self::Dying => "stopping",
        }
    }
}

static STATES: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(State::Off as u8) }; MAX_CPUS];

pub(super) fn state(cpu: usize) -> State {
    State::from_bits(STATES[cpu].load(Ordering::Acquire))
}

fn set_state(cpu: usize, to: State) {
    STATES[cpu].store(to as u8, Ordering::Release);
}

/// `from` to `to`, unless somebody was faster.
fn move_state(cpu: usize, from: State, to: State) -> bool {
    let exchange = STATES[cpu].compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
    exchange.is_ok()
}

/// The idle tasks that were made, and the tops of their stacks.
static IDLE: [AtomicPtr<Task>; MAX_CPUS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];
static IDLE_STACK_TOP: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

pub(super) fn idle_of(cpu: usize) -> Result<(&'static Task, usize), Error> {
    // SAFETY: null, or made below and kept for ever.
    if let Some(task) = unsafe { IDLE[cpu].load(Ordering::Relaxed).as_ref() } {
        return Ok((task, IDLE_STACK_TOP[cpu].load(Ordering::Relaxed)));
    }
    let (task, stack_top) = task::make_idle(cpu)?;
    IDLE[cpu].store(ptr::from_ref(task).cast_mut(), Ordering::Relaxed);
    IDLE_STACK_TOP[cpu].store(stack_top, Ordering::Relaxed);
    Ok((task, stack_top))
}

/// Starts every CPU that may run, or as many as `maxcpus=` says, and tells how it went. The first task, once.
pub(crate) fn boot_all() {
    let found = cpus::get().map_or(&[][..], |cpus| &cpus.left_out);
    for (affinity, reason) in found {
        log::warn!(target: "smp", "the CPU with mpidr {affinity:#x} is left out: {reason}");
    }
    set_state(0, State::Online);
    if static_branch::<SMP_LOCKS>() {
        hotplug::adopt_boot_cpu();
    }
    let present = super::present();
    let wanted = boot_info().bootargs.maxcpus.map_or(MAX_CPUS, |count| count as usize);
    for cpu in present.iter().skip(1).take(wanted.saturating_sub(1)) {
        if let Err(error) = hotplug::cpu_up(cpu) {
            let affinity = cpus::affinity(cpu).unwrap_or(0);
            log::error!(target: "smp", "CPU {cpu} (mpidr {affinity:#x}) {error}");
        }
    }
    if present.count() > 1 {
        let online = super::online().count();
        log::info!(target: "smp", "{online} CPU{} online", if online == 1 { "" } else { "s" });
    }
}

/// Whether CPU `cpu` can be started.
pub(super) fn may_start(cpu: usize) -> Result<(), CpuError> {
    if cpu >= MAX_CPUS || !super::present().contains(cpu) {
        return Err(CpuError::NotPresent);
    }
    match state(cpu) {
        State::Off | State::Parked => Ok(()),
        State::LeftOut | State::Failed => Err(CpuError::LeftOut),
        _ => Err(CpuError::Online),
    }
}

/// Starts CPU `cpu`, for which everything is made, and waits until it is online.
pub(super) fn boot(cpu: usize) -> Result<(), CpuError> {
    let known = cpus::cpu(cpu).ok_or(CpuError::NotPresent)?;
    let ops = ops::of(known).ok_or(CpuError::Online)?;
    if move_state(cpu, State::Parked, State::Starting) {
        // It waits in its pen for that.
        arch::spin_table::wake_all();
        return wait_online(cpu);
    }
    let offset = percpu::make(cpu).map_err(CpuError::Setup)?;
    let (idle, stack_top) = idle_of(cpu).map_err(CpuError::Setup)?;
    // SAFETY: its state says that the CPU is off, and callers are serialised; stack, task and per-CPU copy are its own.
    let record = unsafe { secondary::prepare(cpu, known.affinity, stack_top, &raw const idle.arch, offset) };
    set_state(cpu, State::Starting);
    if let Err(error) = (ops.boot)(known, record) {
        set_state(cpu, State::Off);
        return Err(error);
    }
    wait_online(cpu)
}

/// Waits until `cpu` has said that it is online. At first not asleep: it takes less time than that would.
fn wait_online(cpu: usize) -> Result<(), CpuError> {
    let (start, hz) = (arch::timer::counter(), boot_info().timer_hz);
    let (patience, limit) = (start + hz / 1000, start + hz * WAIT_MS / 1000);
    loop {
        match state(cpu) {
            State::Online => return Ok(()),
            State::Failed => return Err(CpuError::Interrupts),
            // Once it is alive it comes; only what has not been heard of is given up.
            State::Starting
                if arch::timer::counter() > limit && move_state(cpu, State::Starting, State::LeftOut) =>
            {
                return Err(CpuError::TimedOut);
            }
            _ if arch::timer::counter() < patience => arch::cpu::relax(),
            _ => task::sleep_ns(100_000),
        }
        preempt::cond_resched();
    }
}

/// The first Rust code of a further CPU, from boot.S: on its idle task's stack, in the upper half on the final tables,
/// vectors set, everything masked.
#[unsafe(no_mangle)]
extern "C" fn stint_secondary_start() -> ! {
    let cpu = raw_smp_processor_id();
    if !move_state(cpu, State::Starting, State::Alive) {
        // Too late: nobody counts on this CPU any more, and it has touched nothing but its own.
        arch::psci::stop();
    }
    let info = boot_info();
    arch::pmu::init();
    if let Err(fault) = irqchip::init_cpu(cpu) {
        log::error!(target: "smp", "CPU {cpu}: {fault}");
        set_state(cpu, State::Failed);
        arch::psci::stop();
    }
    // What it was told before it went down the last time.
    task::current().arch.thread_info.clear_need_resched();
    core::init_idle(task::current(), info.bootargs.hz);
    core::copy_rt_bandwidth();
    irqflags::open_daf();
    hotplug::starting();
    super::set_online(cpu, true);
    set_state(cpu, State::Online);
    irqflags::local_irq_enable();
    core::cpu_idle_loop()
}

/// Whether CPU `cpu` can be taken down.
pub(super) fn may_stop(cpu: usize) -> Result<(), CpuError> {
    if cpu == 0 {
        return Err(CpuError::BootCpu);
    }
    if cpu >= MAX_CPUS || !super::present().contains(cpu) {
        return Err(CpuError::NotPresent);
    }
    if state(cpu) == State::Online { Ok(()) } else { Err(CpuError::Offline) }
}

/// The idle task of `cpu` is to end it.
pub(super) fn begin_to_die(cpu: usize) {
    set_state(cpu, State::Dying);
}

/// On the CPU itself: whether it is to end now, and nobody has changed his mind.
pub(super) fn is_dead(cpu: usize) -> bool {
    move_state(cpu, State::Dying, State::Dead)
}

/// Waits until `cpu` is off; or takes it back if it does not go.
pub(super) fn wait_dead(cpu: usize, limit_ns: u64) -> Result<(), CpuError> {
    loop {
        match state(cpu) {
            State::Parked => return Ok(()),
            State::Dead if ops::is_off(cpu) => return Ok(()),
            State::Dying
                if crate::time::now_ns() > limit_ns && move_state(cpu, State::Dying, State::Online) =>
            {
                return Err(CpuError::Stays(crate::sched::evacuate::running_on(cpu)));
            }
            _ => task::sleep_ns(50_000),
        }
    }
}

/// It is off, and everything that it left behind has been taken.
pub(super) fn set_off(cpu: usize) {
    // A parked one stays that.
    move_state(cpu, State::Dead, State::Off);
}

/// The end of this CPU: turned off by its method, or, where there is none, in its pen. IRQs masked.
pub(super) fn end_this_cpu(cpu: usize) -> ! {
    if let Some(known) = cpus::cpu(cpu)
        && let Some(ops) = ops::of(known)
    {
        (ops.die)();
    }
    // Still here: the method cannot turn a CPU off. It waits, with caches and tables as they are (maintenance by other
    // CPUs reaches it), for its state to change; whoever changes that sends an event.
    set_state(cpu, State::Parked);
    while state(cpu) != State::Starting {
        arch::cpu::wait_for_event();
    }
    let stack_top = IDLE_STACK_TOP[cpu].load(Ordering::Relaxed);
    // SAFETY: nothing below this frame is needed again; the registers that boot.S sets are what they were.
    unsafe { secondary::start_again(stack_top) }
}
