//! CPUs go off and come back, with all that runs on them.
//!
//! What must be true: a CPU that is told to go goes, or says why not; one that went comes back. In the end all are
//! there again.

use super::Scene;
use super::cast::{Cast, Me};
use crate::framework::{Outcome, cpus};
use crate::{check, check_eq};
use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use stint::smp::bringup::CpuError;
use stint::smp::hotplug::{cpu_down, cpu_up};
use stint::task;

pub const SCENE: Scene = Scene { name: "hotplug", start, release: || (), check };

/// Above all whom it moves, below the shakers.
const PRIORITY: i32 = 55;
/// The longest pause between two changes.
const SPAN_NS: u64 = 4_000_000;

/// Odd while a CPU is about to go: while it is even and stands still, all that were there are.
static DEPARTURES: AtomicU64 = AtomicU64::new(0);
static CPUS: AtomicUsize = AtomicUsize::new(0);
static WRONG: spin::Mutex<String> = spin::Mutex::new(String::new());

/// Whether no CPU went while `f` ran; and its answer.
pub fn nobody_leaves<R>(f: impl FnOnce() -> R) -> (R, bool) {
    let before = DEPARTURES.load(Ordering::SeqCst);
    let answer = f();
    (answer, before.is_multiple_of(2) && before == DEPARTURES.load(Ordering::SeqCst))
}

fn start(cast: &mut Cast) -> stint::Result<()> {
    CPUS.store(cpus::online(), Ordering::Relaxed);
    if cpus::online() > 1 {
        cast.spawn_unmoved(task::build("hotplug").fifo(PRIORITY), turn_off_and_on)?;
    }
    Ok(())
}

fn turn_off_and_on(mut me: Me) {
    while !me.is_over() {
        task::sleep_ns(me.random.below(SPAN_NS));
        let others = stint::smp::online().without(0);
        let Some(cpu) = others.next_from(me.random.below(64) as usize) else { continue };
        DEPARTURES.fetch_add(1, Ordering::SeqCst);
        let gone = cpu_down(cpu);
        DEPARTURES.fetch_add(1, Ordering::SeqCst);
        match gone {
            Ok(()) => {}
            // Something keeps it, for this time.
            Err(CpuError::Stays { .. }) => continue,
            Err(error) => {
                complain(format_args!(" CPU {cpu} was to go: {error};"));
                continue;
            }
        }
        me.beat();
        task::sleep_ns(me.random.below(SPAN_NS));
        if let Err(error) = cpu_up(cpu) {
            complain(format_args!(" CPU {cpu} was to come: {error};"));
        }
        me.beat();
    }
}

fn complain(what: core::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = WRONG.lock().write_fmt(what);
}

fn check() -> Outcome {
    let wrong = core::mem::take(&mut *WRONG.lock());
    check!(wrong.is_empty(), "CPUs that did not go or come:{wrong}");
    check_eq!(cpus::online(), CPUS.load(Ordering::Relaxed), "CPUs that are online in the end");
    Ok(())
}
