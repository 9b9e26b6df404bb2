//! `start_kernel`: from a machine that is set up to a machine that schedules.
//!
//! Context: the boot CPU, on the boot stack, IRQs masked; memory, console and interrupt controller are
//! there, the vectors are not. The boot code becomes the idle task at the end.

use crate::boot_info::BootInfo;
use crate::drivers::{console, platform};
use crate::sched::core;
use crate::smp::isolation;
use crate::time::{self, hrtimer, tick};
use crate::{irq, klog, preempt, smp, task};

unsafe extern "Rust" {
    /// The first task's function: `board::entry!` defines it.
    safe fn stint_main();
}

/// What the boot found out about the machine, once `start_kernel` runs.
///
/// # Panics
/// Before `start_kernel`.
#[must_use]
pub fn boot_info() -> &'static BootInfo {
    crate::boot_info::get().expect("boot_info() is called after start_kernel")
}

/// Starts the scheduler on the boot CPU, makes the first task and becomes the idle task.
pub fn start_kernel(info: &'static BootInfo) -> ! {
    let hz = info.bootargs.hz;
    crate::trace::control::start_at_boot(&info.bootargs);
    // What is made from here on asks which CPUs there are.
    smp::call::open_this_cpu();
    smp::set_online(info.boot_cpu, true);
    arch::pmu::init();
    time::init(info.timer_hz);
    tick::init(hz, info.timer_hz);
    core::init_idle(task::idle_task(), hz);
    // Whoever is made from here on inherits it.
    task::idle_task().sched.set_cpus_allowed(isolation::housekeeping());
    core::init_rt_bandwidth(info.bootargs.rt_runtime_us, info.bootargs.rt_period_us);
    task::register_idle();
    // SAFETY: once, in the upper half; the per-CPU offset, sp_el0 and this CPU's exception stacks are set.
    unsafe { arch::exception::set_vectors() };
    arch::irqflags::open_daf();

    time::soft::init();
    if let Err(error) = irq::request_percpu(info.timer_interrupt.intid, hrtimer::timer_interrupt, 0) {
        panic!("the timer interrupt {}: {error}", info.timer_interrupt.intid);
    }
    irq::force_threads(info.bootargs.threadirqs);
    irq::tasklet::init();
    crate::sched::rebalance::init();
    if let Some(interrupt) = info.uart.interrupt
        && let Err(error) = console::start_interrupts(interrupt)
    {
        log::warn!("console: interrupt {}: {error}; the console is polled", interrupt.intid);
    }
    smp::ipi::init();
    tick::start_this_cpu();
    task::start_reaper();
    irq::softirq::start(info.bootargs.threadirqs);
    crate::workqueue::start();
    klog::start_drain();
    if let Err(error) = task::build("init").stack_bytes(64 * 1024).spawn(first_task) {
        panic!("cannot make the first task: {error}");
    }
    crate::ladder::reached(crate::ladder::Step::Scheduler);
    preempt::system_runs();
    arch::irqflags::local_irq_enable();
    core::cpu_idle_loop()
}

/// The first task: the other CPUs, the devices, what the boot arguments switch on that needs a thread, and then the image's own.
fn first_task() {
    smp::boot_all();
    crate::trace::control::start_from_bootargs(&boot_info().bootargs);
    platform::probe_devices();
    if let Some(budget_us) = boot_info().bootargs.latency_budget_us
        && let Err(failure) = crate::preempt_stats::set_budget(Some(budget_us))
    {
        log::error!("latency_budget_us={budget_us}: {failure}; nothing is timed");
    }
    crate::watchdog::start_from_bootargs(&boot_info().bootargs, false);
    stint_main();
}
