//! Functions called on other CPUs, one by one and on all at once.
//!
//! What must be true: the function runs once for each CPU that was asked, on that CPU, and before the call returns.

use super::Scene;
use super::cast::{Cast, Me};
use crate::check_eq;
use crate::framework::{Outcome, cpus};
use core::sync::atomic::{AtomicU64, Ordering};
use stint::smp::call::{call_function_many, call_function_single};
use stint::task;

pub const SCENE: Scene = Scene { name: "calls", start, release: || (), check };

const CALLERS: usize = 2;

/// Calls that did not run as often as they were to, or elsewhere.
static WRONG: AtomicU64 = AtomicU64::new(0);

fn start(cast: &mut Cast) -> stint::Result<()> {
    for _ in 0..CALLERS {
        cast.spawn(task::build("caller").fifo(12), call)?;
    }
    Ok(())
}

fn call(mut me: Me) {
    while !me.is_over() {
        let right = if me.random.below(4) == 0 { call_many(&mut me) } else { call_one(&mut me) };
        WRONG.fetch_add(u64::from(!right), Ordering::Relaxed);
        me.beat();
        if me.random.below(4) == 0 {
            task::sleep_ns(me.random.below(20_000));
        }
    }
}

fn call_one(me: &mut Me) -> bool {
    let cpu = me.random.cpu();
    let (there, elsewhere) = (AtomicU64::new(0), AtomicU64::new(0));
    let asked = call_function_single(cpu, &|| {
        let count = if cpus::here() == cpu { &there } else { &elsewhere };
        count.fetch_add(1, Ordering::Relaxed);
    });
    // A CPU that has gone since it was chosen is refused.
    let expected = u64::from(asked.is_ok());
    there.load(Ordering::Relaxed) == expected && elsewhere.load(Ordering::Relaxed) == 0
}

fn call_many(me: &mut Me) -> bool {
    let mask = me.random.cpus();
    let ran_on = AtomicU64::new(0);
    let times = AtomicU64::new(0);
    let refused = call_function_many(mask, &|| {
        ran_on.fetch_or(1 << cpus::here(), Ordering::Relaxed);
        times.fetch_add(1, Ordering::Relaxed);
    });
    let called = mask & !refused;
    ran_on.load(Ordering::Relaxed) == called.bits() && times.load(Ordering::Relaxed) == called.count() as u64
}

fn check() -> Outcome {
    check_eq!(
        WRONG.swap(0, Ordering::Relaxed),
        0,
        "calls that ran too often, not often enough, or elsewhere"
    );
    Ok(())
}
