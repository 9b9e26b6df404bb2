//! Changes of priority, policy and CPU set of everybody else, all the time.

use super::Scene;
use super::cast::{self, Cast, Me};
use crate::check_eq;
use crate::framework::Outcome;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::Error;
use stint::sched::prio::{Policy, SchedAttr};
use stint::task::{self, TaskRef};

/// The scene's name: it is in every run.
pub const NAME: &str = "shake";
pub const SCENE: Scene = Scene { name: NAME, start, release: || (), check };

const SHAKERS: usize = 2;
/// Above all that they shake.
const PRIORITY: i32 = 60;
/// The highest priority given to those.
const HIGHEST: u64 = 50;

static REFUSED: AtomicU64 = AtomicU64::new(0);

fn start(cast: &mut Cast) -> stint::Result<()> {
    let tasks = Arc::new(cast.tasks());
    for _ in 0..SHAKERS {
        let tasks = Arc::clone(&tasks);
        cast.spawn_unmoved(task::build("shaker").fifo(PRIORITY), move |me| shake(me, &tasks))?;
    }
    Ok(())
}

fn shake(mut me: Me, tasks: &[(TaskRef, bool)]) {
    while !cast::STOP_SHAKERS.load(Ordering::Acquire) {
        for _ in 0..1 + me.random.below(8) {
            if let Some((task, movable)) = tasks.get(me.random.below(tasks.len() as u64) as usize) {
                change(&mut me, task, *movable);
            }
            me.beat();
        }
        task::sleep_ns(me.random.below(40_000));
    }
    // What is left is a task with its own CPU set and no claims.
    for (task, _) in tasks.iter() {
        let _ = task.set_scheduler(SchedAttr::NORMAL);
    }
}

fn change(me: &mut Me, task: &TaskRef, movable: bool) {
    let number = me.random.below(16);
    let result = match number {
        0..=5 if movable => task.set_affinity(me.random.cpus()),
        0..=8 => task.set_scheduler(attr(me, Policy::Fifo)),
        9 => task.set_scheduler(attr(me, Policy::Rr)),
        10..=12 => task.set_nice(me.random.below(40) as i32 - 20),
        _ => task.set_scheduler(SchedAttr::normal(me.random.below(40) as i32 - 20).expect("a nice value")),
    };
    // The CPUs of the set may have gone since it was chosen.
    if !matches!(result, Ok(()) | Err(Error::BadAffinity)) {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    }
}

fn attr(me: &mut Me, policy: Policy) -> SchedAttr {
    SchedAttr::new(policy, 1 + me.random.below(HIGHEST) as u32, 0).expect("a priority")
}

fn check() -> Outcome {
    check_eq!(
        REFUSED.swap(0, Ordering::Relaxed),
        0,
        "changes of priority, policy or CPU set that were refused"
    );
    Ok(())
}
