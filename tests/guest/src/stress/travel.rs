//! Tasks that move themselves from CPU to CPU, and tasks that yield.
//!
//! What must be true: when `set_affinity` of the running task has returned, it runs on a CPU of the set.

use super::Scene;
use super::cast::{Cast, Me};
use super::hotplug::nobody_leaves;
use crate::check_eq;
use crate::framework::{Outcome, cpus};
use core::sync::atomic::{AtomicU64, Ordering};
use stint::task;

pub const SCENE: Scene = Scene { name: "travel", start, release: || (), check };

const TRAVELLERS: usize = 2;
const YIELDERS: usize = 3;

static ASTRAY: AtomicU64 = AtomicU64::new(0);

fn start(cast: &mut Cast) -> stint::Result<()> {
    for _ in 0..TRAVELLERS {
        cast.spawn_unmoved(task::build("traveller").fifo(35), travel)?;
    }
    for _ in 0..YIELDERS {
        cast.spawn(task::build("yielder"), yield_often)?;
    }
    Ok(())
}

fn travel(mut me: Me) {
    let own = task::current_ref();
    while !me.is_over() {
        let mask = me.random.cpus();
        let (is_astray, all_stayed) =
            nobody_leaves(|| own.set_affinity(mask).is_ok() && !mask.contains(cpus::here()));
        // A CPU that goes takes no heed of who is for it alone.
        if is_astray && all_stayed {
            ASTRAY.fetch_add(1, Ordering::Relaxed);
        }
        me.beat();
        if me.random.below(8) == 0 {
            task::sleep_ns(me.random.below(20_000));
        }
    }
}

/// A real-time yielder would keep everybody below it off its CPU: it sleeps between.
fn yield_often(mut me: Me) {
    while !me.is_over() {
        for _ in 0..me.random.below(16) {
            task::yield_now();
            me.beat();
        }
        task::sleep_ns(me.random.below(20_000));
        me.beat();
    }
}

fn check() -> Outcome {
    check_eq!(ASTRAY.swap(0, Ordering::Relaxed), 0, "times at which a task ran outside of its CPU set");
    Ok(())
}
