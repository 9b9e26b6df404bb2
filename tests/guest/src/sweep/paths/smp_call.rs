//! Functions called on other CPUs: on one, on all, received here, in both directions at once, posted; and all CPUs brought
//! together.
//!
//! H posts one in every run.
#![forbid(unsafe_code)]

use super::{Flag, Slot};
use crate::cast::{THERE, THERE_CPU};
use crate::path::{Check, Path, expect};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use stint::percpu::raw_smp_processor_id;
use stint::sched::stop::stop_machine;
use stint::smp;
use stint::smp::call::{CallData, call_function_many, call_function_single, post};

const BASE: Path = Path { cpus: 2, setup: fresh, intrude: post_there, ..Path::new("", || {}) };

pub const PATHS: &[Path] = &[
    Path { name: "smp_call_single", run: call_there, check: there_alone, ..BASE },
    Path { name: "smp_call_many", run: call_all, check: everywhere, ..BASE },
    Path { name: "smp_called_from_there", ready: there_calls, run: ask_and_wait, check: here_alone, ..BASE },
    Path { name: "smp_call_each_other", ready: there_calls, run: ask_and_call, check: both, ..BASE },
    Path { name: "smp_post", run: post_and_wait, check: posts_have_run, ..BASE },
    Path { name: "smp_stop_machine", run: stop_all, idles: true, check: stopped, ..BASE },
];

/// Calls per CPU, of those that the path makes.
static RAN: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];
static GO: Flag = Flag::new();
static DONE: Flag = Flag::new();
static RESULT: Slot = Slot::new();

static POSTED: Slot = Slot::new();
static POSTED_RAN: AtomicU32 = AtomicU32::new(0);
static POST: CallData = CallData::new(|| {
    POSTED_RAN.store(POSTED_RAN.load(Relaxed) + 1, Relaxed);
});

/// Nothing has been posted.
pub(super) fn fresh_posts() {
    POSTED.set(0);
    POSTED_RAN.store(0, Relaxed);
}

/// Posts a function to the other CPU. It counts there, so counting needs no lock.
pub(super) fn post_there() {
    // Posted already, it runs once for both.
    if post(THERE_CPU, &POST) == Ok(true) {
        POSTED.set(POSTED.get() + 1);
    }
}

/// Each post has run once.
pub(super) fn posts_have_run() -> Check {
    expect("posted functions that ran", POSTED_RAN.load(Relaxed).into(), POSTED.get())
}

fn fresh() {
    fresh_posts();
    RAN.iter().for_each(|ran| ran.store(0, Relaxed));
    GO.lower();
    DONE.lower();
    RESULT.set(0);
}

fn count() {
    RAN[raw_smp_processor_id()].fetch_add(1, Relaxed);
}

fn call_there() {
    RESULT.set(call_function_single(THERE_CPU, &count).is_err().into());
}

fn call_all() {
    RESULT.set(call_function_many(smp::online(), &count).bits());
}

/// Watches a flag, and calls.
fn there_calls() {
    THERE.play(|| {
        GO.wait();
        RESULT.set(call_function_single(0, &count).is_err().into());
        DONE.raise();
    });
}

fn ask_and_wait() {
    GO.raise();
    DONE.wait();
}

/// Both wait for each other, and each serves the other meanwhile.
fn ask_and_call() {
    GO.raise();
    let refused = call_function_single(THERE_CPU, &count).is_err();
    DONE.wait();
    RESULT.set(RESULT.get() + u64::from(refused));
}

fn post_and_wait() {
    post_there();
    while POST.is_posted() {
        arch::cpu::relax();
    }
}

fn stop_all() {
    RESULT.set(stop_machine(|| {
        count();
        smp::online().bits()
    }));
}

fn ran_on(cpus: impl Fn(usize) -> bool) -> Check {
    for (cpu, ran) in RAN.iter().enumerate() {
        let right = smp::online().contains(cpu) && cpus(cpu);
        expect("calls on a CPU", ran.load(Relaxed).into(), right.into())?;
    }
    posts_have_run()
}

fn there_alone() -> Check {
    expect("calls refused", RESULT.get(), 0)?;
    ran_on(|cpu| cpu == THERE_CPU)
}

fn here_alone() -> Check {
    expect("calls refused", RESULT.get(), 0)?;
    ran_on(|cpu| cpu == 0)
}

fn both() -> Check {
    expect("calls refused", RESULT.get(), 0)?;
    ran_on(|cpu| cpu <= THERE_CPU)
}

fn everywhere() -> Check {
    expect("CPUs that refused the call", RESULT.get(), 0)?;
    ran_on(|_| true)
}

/// Once, by whichever CPU.
fn stopped() -> Check {
    expect("what the function of stop_machine returned", RESULT.get(), smp::online().bits())?;
    let ran: u32 = RAN.iter().map(|ran| ran.load(Relaxed)).sum();
    expect("runs of the function of stop_machine", ran.into(), 1)?;
    posts_have_run()
}
