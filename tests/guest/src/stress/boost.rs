//! Mutexes held over priorities: who waits lends its priority, on whichever CPU the holder is.
//!
//! What must be true: one holder at a time; every section is counted; who holds nothing any more has its own
//! priority.

use super::Scene;
use super::cast::{Cast, Me};
use crate::framework::Outcome;
use crate::framework::clock::work;
use crate::{check, check_eq};
use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stint::locking::Mutex;
use stint::sched::wait::Timeout;
use stint::task;

pub const SCENE: Scene = Scene { name: "boost", start, release: || (), check };

const LOCKS: usize = 3;
const TASKS: usize = 6;

struct Guarded {
    mutex: Mutex<u64>,
    inside: AtomicBool,
    sections: AtomicU64,
}

/// Each mutex is made at a place of its own: to lockdep they are of different classes, which are taken in order.
static GUARDED: [Guarded; LOCKS] = [
    Guarded { mutex: Mutex::new(0), inside: AtomicBool::new(false), sections: AtomicU64::new(0) },
    Guarded { mutex: Mutex::new(0), inside: AtomicBool::new(false), sections: AtomicU64::new(0) },
    Guarded { mutex: Mutex::new(0), inside: AtomicBool::new(false), sections: AtomicU64::new(0) },
];
/// Two holders at once, and tasks that ended with somebody else's priority.
static INTRUDERS: AtomicU64 = AtomicU64::new(0);
static STILL_BOOSTED: spin::Mutex<String> = spin::Mutex::new(String::new());

fn start(cast: &mut Cast) -> stint::Result<()> {
    for number in 0..TASKS {
        let task = match number {
            0 | 1 => task::build("holder").nice(number as i32 * 10),
            _ => task::build("holder").fifo(number as i32 * 8),
        };
        cast.spawn(task, compete)?;
    }
    Ok(())
}

fn compete(mut me: Me) {
    while !me.is_over() {
        let first = me.random.below(LOCKS as u64) as usize;
        let spin = me.random.below(200) as u32;
        if me.random.below(4) == 0 {
            // The inner lock has the higher number: no deadlock.
            let Some(second) = (first + 1 < LOCKS).then_some(first + 1) else { continue };
            let patience = 1 + me.random.below(50_000);
            GUARDED[first].hold(spin, || {
                let Ok(guard) = GUARDED[second].mutex.lock_timeout(Timeout::In(patience)) else { return };
                GUARDED[second].section(guard, spin, || ());
            });
        } else {
            GUARDED[first].hold(spin, || ());
        }
        me.beat();
        // Somebody else has to come to the lock, also where this is the highest task.
        if me.random.below(4) == 0 {
            task::sleep_ns(me.random.below(20_000));
        }
    }
    let info = task::current_ref().info();
    if info.prio != info.attr.normal_prio() {
        // Writing to a string does not fail.
        let _ = write!(
            STILL_BOOSTED.lock(),
            " {}/{} has priority {} and not its own, {}",
            info.name,
            info.id,
            info.prio,
            info.attr.normal_prio()
        );
    }
}

impl Guarded {
    fn hold(&'static self, spin: u32, inner: impl FnOnce()) {
        self.section(self.mutex.lock(), spin, inner);
    }

    fn section(&self, mut guard: stint::locking::MutexGuard<'_, u64>, spin: u32, inner: impl FnOnce()) {
        if self.inside.swap(true, Ordering::AcqRel) {
            INTRUDERS.fetch_add(1, Ordering::Relaxed);
        }
        *guard += 1;
        work(spin);
        inner();
        self.inside.store(false, Ordering::Release);
        self.sections.fetch_add(1, Ordering::Relaxed);
        drop(guard);
    }
}

fn check() -> Outcome {
    check_eq!(INTRUDERS.swap(0, Ordering::Relaxed), 0, "sections with two holders");
    let boosted = core::mem::take(&mut *STILL_BOOSTED.lock());
    check!(boosted.is_empty(), "tasks that hold nothing:{boosted}");
    for (number, guarded) in GUARDED.iter().enumerate() {
        let counted = core::mem::take(&mut *guarded.mutex.lock());
        check_eq!(
            counted,
            guarded.sections.swap(0, Ordering::Relaxed),
            "sections counted under mutex {number}"
        );
    }
    Ok(())
}
