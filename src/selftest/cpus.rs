//! What each CPU finds out about itself: its clock, its interrupts, its sleep.
//!
//! A task on that CPU looks; who asked waits for it.
//!
//! Context: threads.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::judge::{Found, Verdict};
use crate::drivers::irqchip;
use crate::drivers::pace::{Pace, TaskPace};
use crate::irq::{self, IrqFlags, IrqReturn, count_on};
use crate::percpu::raw_smp_processor_id;
use crate::shell::cpu_clock;
use crate::smp::ipi::{self, Ipi};
use crate::smp::{self, CpuMask};
use crate::start::boot_info;
use crate::task;
use crate::time::{self, Timer};

/// Above everything that is not in a hurry.
const PRIORITY: i32 = 50;
/// An interrupt that has not come by then does not come.
const IRQ_NS: u64 = 100_000_000;
/// What a sleep is measured for.
const SLEEP_NS: u64 = 10_000_000;
/// Shared interrupts that no device of the known machines has, and every GIC of theirs implements.
const FREE_SPIS: core::ops::Range<u32> = 216..224;

/// Whether that comes of an interrupt, in time.
fn comes(came: impl Fn() -> bool) -> bool {
    TaskPace.wait(IRQ_NS, || came().then_some(())).is_some()
}

/// Runs `look` on a CPU.
fn on<T: Send + 'static>(cpu: usize, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Found> {
    let task = task::build("selftest").fifo(PRIORITY).affinity(CpuMask::of(cpu)).spawn(look);
    let task = task.map_err(|error| Found::new(Verdict::Failed, format!("CPU {cpu}: {error}")))?;
    task.join().ok_or_else(|| Found::new(Verdict::Failed, format!("CPU {cpu}: the looking task ended")))
}

/// Cycles per second of each online CPU.
pub(crate) fn clocks() -> Result<Vec<u64>, Found> {
    smp::online().iter().map(|cpu| on(cpu, cpu_clock::measure)).collect()
}

/// The interrupts that CPUs send each other: from each to each. The one that stops a CPU is not tried.
pub(super) fn sgis() -> Found {
    if smp::present().iter().count() < 2 {
        return Found::new(Verdict::Absent, "one CPU sends itself none");
    }
    const TRIED: [Ipi; 3] = [Ipi::Reschedule, Ipi::CallFunction, Ipi::Backtrace];
    let mut lost = String::new();
    for from in smp::online().iter() {
        let look = move || {
            let mut lost = String::new();
            for (to, sgi) in smp::online().iter().flat_map(|to| TRIED.map(|sgi| (to, sgi))) {
                let before = count_on(sgi as u32, to);
                ipi::send(CpuMask::of(to), sgi);
                if !comes(|| count_on(sgi as u32, to) > before) {
                    lost += &format!(" SGI {} from {from} to {to}", sgi as u32);
                }
            }
            lost
        };
        match on(from, look) {
            Ok(more) => lost += &more,
            Err(found) => return found,
        }
    }
    match lost.as_str() {
        "" => Found::new(Verdict::Ok, format!("0, 1 and 3 from each to each of CPUs {}", smp::online())),
        lost => Found::new(Verdict::Failed, format!("did not come:{lost}")),
    }
}

/// The private interrupt of the virtual timer.
pub(super) fn timer() -> Found {
    let intid = boot_info().timer_interrupt.intid;
    for cpu in smp::online().iter() {
        let came = on(cpu, move || {
            let before = count_on(intid, cpu);
            let fired = Arc::new(AtomicBool::new(false));
            let alarm = Timer::new_hard({
                let fired = Arc::clone(&fired);
                move || fired.store(true, Ordering::Relaxed)
            });
            alarm.start_at(time::now_ns() + 1_000_000);
            // The task must not sleep: what would wake it is what is tried.
            let end_ns = time::now_ns() + IRQ_NS;
            while !fired.load(Ordering::Relaxed) && time::now_ns() < end_ns {
                arch::cpu::relax();
            }
            alarm.cancel();
            fired.load(Ordering::Relaxed) && count_on(intid, cpu) > before
        });
        match came {
            Ok(true) => {}
            Ok(false) => {
                return Found::new(
                    Verdict::Failed,
                    format!("PPI {} (INTID {intid}) did not come to CPU {cpu}", intid - 16),
                );
            }
            Err(found) => return found,
        }
    }
    Found::new(Verdict::Ok, format!("PPI {} (INTID {intid}) on CPUs {}", intid - 16, smp::online()))
}

/// A shared interrupt that is made pending in the controller, and sent to each CPU in turn.
pub(super) fn shared() -> Found {
    let flags = IrqFlags::EDGE | IrqFlags::NO_THREAD;
    let id = FREE_SPIS
        .clone()
        .find_map(|intid| irq::request_irq(intid, flags, "selftest", |_| IrqReturn::Handled).ok());
    let Some(id) = id else {
        return Found::new(Verdict::Failed, format!("none of the interrupts {FREE_SPIS:?} is free"));
    };
    let intid = id.irq();
    let mut lost = String::new();
    for cpu in smp::online().iter() {
        let before = count_on(intid, cpu);
        if let Err(error) = irq::irq_set_affinity(intid, CpuMask::of(cpu)) {
            lost += &format!(" to CPU {cpu}: {error}");
            continue;
        }
        irqchip::set_pending(raw_smp_processor_id(), intid);
        if !comes(|| count_on(intid, cpu) > before) {
            lost += &format!(" to CPU {cpu}");
        }
    }
    if let Err(error) = irq::free_irq(id) {
        lost += &format!(" and was not given back: {error}");
    }
    match lost.as_str() {
        "" => Found::new(
            Verdict::Ok,
            format!("SPI {} (INTID {intid}) routed to each of CPUs {}", intid - 32, smp::online()),
        ),
        lost => Found::new(Verdict::Failed, format!("SPI {} (INTID {intid}) did not come{lost}", intid - 32)),
    }
}

/// What the cycle counter does while a CPU waits for an interrupt.
pub(super) fn sleep(cpu_hz: u64) -> Found {
    let Some(cpu) = smp::online().iter().last() else {
        return Found::new(Verdict::Failed, "no CPU is online");
    };
    let looked = on(cpu, || {
        let (cycles, ns) = (arch::pmu::cycles(), time::now_ns());
        task::sleep_ns(SLEEP_NS);
        (arch::pmu::cycles() - cycles, time::now_ns() - ns)
    });
    let (cycles, ns) = match looked {
        Ok(looked) => looked,
        Err(found) => return found,
    };
    let whole = u128::from(cpu_hz) * u128::from(ns) / 1_000_000_000;
    let percent = (u128::from(cycles) * 100 / whole.max(1)) as u64;
    let goes_on = if percent >= 90 { "it goes on in WFI" } else { "it stops in WFI" };
    Found::new(
        Verdict::of(ns >= SLEEP_NS),
        format!(
            "CPU {cpu} slept {} us, and its cycle counter ran for {percent}% of them: {goes_on}",
            ns / 1000
        ),
    )
}
