//! Tasks made, joined, left alone and aborted, on random CPUs.
//!
//! What must be true: whoever is joined has done its work exactly once, and returns it; whoever is left alone ends.

use super::Scene;
use super::cast::{Cast, Me};
use crate::check_eq;
use crate::framework::{Outcome, cpus};
use core::sync::atomic::{AtomicU64, Ordering};
use stint::task;

pub const SCENE: Scene = Scene { name: "births", start, release: || (), check };

const PARENTS: usize = 2;

static MADE: AtomicU64 = AtomicU64::new(0);
static LIVED: AtomicU64 = AtomicU64::new(0);
static ABORTED: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

fn start(cast: &mut Cast) -> stint::Result<()> {
    for _ in 0..PARENTS {
        cast.spawn(task::build("parent").fifo(15), bear)?;
    }
    Ok(())
}

fn bear(mut me: Me) {
    while !me.is_over() {
        let number = me.random.next();
        let mut child = cpus::among(me.random.cpus(), task::build("child").stack_bytes(8192));
        child = match me.random.below(3) {
            0 => child.fifo(1 + me.random.below(40) as i32),
            _ => child.nice(me.random.below(40) as i32 - 20),
        };
        let dawdles = me.random.below(2) == 0;
        let parks = me.random.below(8) == 0;
        let born = child.spawn(move || {
            if dawdles {
                task::sleep_ns(number % 10_000);
            }
            if parks {
                task::park();
            }
            LIVED.fetch_add(1, Ordering::Relaxed);
            number ^ 1
        });
        match born {
            Ok(child) => {
                MADE.fetch_add(1, Ordering::Relaxed);
                if parks {
                    end(&mut me, child);
                } else if me.random.below(4) > 0 && child.join() != Some(number ^ 1) {
                    WRONG.fetch_add(1, Ordering::Relaxed);
                }
                me.beat();
            }
            // Those that were left alone have the memory still, or the CPUs of the set have just gone.
            Err(_) => task::sleep_ns(50_000),
        }
    }
}

/// One that parks is let go on, or aborted where it sleeps.
fn end(me: &mut Me, child: task::JoinHandle<u64>) {
    if me.random.below(2) == 0 {
        // SAFETY: it sleeps in `park` or in `sleep_ns`, or has not begun: it is in the middle of nothing, and what it
        // has captured are numbers.
        if unsafe { child.task().abort() }.is_ok() {
            ABORTED.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    child.task().unpark();
    let _ = child.join();
}

fn check() -> Outcome {
    // Those who were left alone may still be on their way.
    for _ in 0..1000 {
        if LIVED.load(Ordering::Relaxed) + ABORTED.load(Ordering::Relaxed) == MADE.load(Ordering::Relaxed) {
            break;
        }
        task::sleep_ns(1_000_000);
    }
    check_eq!(WRONG.swap(0, Ordering::Relaxed), 0, "tasks that returned something else than they were to");
    let (lived, aborted) = (LIVED.swap(0, Ordering::Relaxed), ABORTED.swap(0, Ordering::Relaxed));
    check_eq!(
        lived + aborted,
        MADE.swap(0, Ordering::Relaxed),
        "tasks that lived, and those aborted, of those made"
    );
    Ok(())
}
