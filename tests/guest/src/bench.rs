//! The bench image: the core primitives of peers.md, in instructions.
//!
//! Boot it under `-icount shift=0,sleep=off` (`make bench`): one instruction is one cycle, so a figure is an
//! instruction count and the same on every run. Each benchmark prints one result line. The definitions are
//! those of the peers: kernel threads, hot, one waiter, min = avg = max over 1,000 repetitions; the cost of
//! reading the counter is measured and subtracted.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "bench/balance.rs"]
mod balance;
#[path = "bench/cross.rs"]
mod cross;
#[path = "bench/deadline.rs"]
mod deadline;
#[path = "bench/depth.rs"]
mod depth;
#[path = "bench/irq.rs"]
mod irq;
#[path = "bench/memory.rs"]
mod memory;
#[path = "bench/sample.rs"]
mod sample;
#[path = "bench/sync.rs"]
mod sync;
#[path = "bench/thread_metric.rs"]
mod thread_metric;
#[path = "bench/threads.rs"]
mod threads;
#[path = "bench/timer.rs"]
mod timer;
#[path = "bench/whole.rs"]
mod whole;

use sample::Bench;
use stint::smp::{self, CpuMask};
use stint::task;

stint_board::entry!(main);

/// Priority of the thread that measures. Helpers of a benchmark are above or equal.
pub const LOW: i32 = 10;
/// Priority of the thread that is woken.
pub const HIGH: i32 = 20;

/// A row's name and how it is measured.
type Row = (&'static str, fn() -> Bench);

const BENCHES: &[Row] = &[
    ("yield_none", threads::yield_none),
    ("yield_switch", threads::yield_switch),
    ("irq_to_isr", irq::irq_to_isr),
    ("isr_to_interrupted", irq::isr_to_interrupted),
    ("irq_to_thread", irq::irq_to_thread),
    ("isr_give_wake", irq::isr_give_wake),
    ("sem_give_wake", sync::sem_give_wake),
    ("fair_give_wake", sync::fair_give_wake),
    ("block_to_giver", sync::block_to_giver),
    ("sem_give", sync::sem_give),
    ("sem_take", sync::sem_take),
    ("mutex_lock", sync::mutex_lock),
    ("mutex_unlock", sync::mutex_unlock),
    ("mutex_pi_handoff", sync::mutex_pi_handoff),
    ("pi_chain_8", sync::pi_chain_8),
    ("queue_put", sync::queue_put),
    ("queue_get", sync::queue_get),
    ("queue_put_wake", sync::queue_put_wake),
    ("thread_create", threads::thread_create),
    ("thread_start", threads::thread_start),
    ("thread_exit", threads::thread_exit),
    ("thread_abort", threads::thread_abort),
    ("heap_alloc", memory::heap_alloc),
    ("heap_free", memory::heap_free),
    ("heap_alloc_split", memory::heap_alloc_split),
    ("heap_free_merge", memory::heap_free_merge),
    ("pool_alloc", memory::pool_alloc),
    ("pool_free", memory::pool_free),
    ("tick_irq", irq::tick_irq),
    ("softirq_raise_to_run", irq::softirq_raise_to_run),
    ("irq_thread_wake", irq::irq_thread_wake),
    ("bh_enable_idle", threads::bh_enable_idle),
    ("dl_replenish", deadline::dl_replenish),
    ("preempt_enable", threads::preempt_enable),
    ("preempt_enable_resched", threads::preempt_enable_resched),
    ("spin_lock", threads::spin_lock),
    ("spin_unlock", threads::spin_unlock),
    ("raw_spin_lock", threads::raw_spin_lock),
    ("raw_spin_unlock", threads::raw_spin_unlock),
    ("raw_irqsave_lock", threads::raw_irqsave_lock),
    ("raw_irqsave_unlock", threads::raw_irqsave_unlock),
    ("raw_section_wake", threads::raw_section_wake),
    ("timer_start", timer::timer_start),
    ("timer_cancel", timer::timer_cancel),
    ("timer_to_thread", timer::timer_to_thread),
    ("queue_ping_pong", whole::queue_ping_pong),
    ("sleep_over_busy", whole::sleep_over_busy),
    ("thread_create_join", whole::thread_create_join),
];

/// Where there is more than one CPU.
const SMP_BENCHES: &[Row] = &[
    ("cross_wake", cross::cross_wake),
    ("cross_wake_fair", cross::cross_wake_fair),
    ("cross_give", cross::cross_give),
    ("cross_give_fair", cross::cross_give_fair),
    ("idle_round_wake", cross::idle_round_wake),
    ("cross_call", cross::cross_call),
    ("cross_call_round", cross::cross_call_round),
    ("migrate", cross::migrate),
    ("rt_push", cross::rt_push),
    ("rt_pull", cross::rt_pull),
];

/// Rows of the scaling table that are no wake-up by their names.
const FOR_SCALING: &[&str] = &["cross_call", "cross_give", "cross_give_fair", "rt_push", "rt_pull"];

fn main() {
    // All but the rows about several CPUs stay on this one.
    let worker = task::build("bench").fifo(LOW).affinity(CpuMask::of(0)).stack_bytes(64 * 1024).spawn(run);
    match worker {
        Ok(worker) => worker.join(),
        Err(error) => panic!("cannot start the bench thread: {error}"),
    };
    stint::power::exit(0)
}

fn run() {
    let only = stint::start::boot_info().bootargs.bench;
    // The tick would fall into a sample now and then; `tick_irq` starts it again for itself.
    stint::time::tick::stop_this_cpu();
    // So would the timer of real-time throttling, which no peer has. (A tick costs 14 instructions more while
    // it, or any other timer, is pending.)
    stint::sched::core::set_rt_bandwidth(None, 1_000_000).expect("nothing is reserved");
    if only == Some("scale") {
        depth::print();
        balance::print();
        return;
    }
    let across = smp::online().count() > 1;
    if across {
        cross::stop_ticks();
    }
    // Rows with one of these words, parted by commas, in their names.
    let is_asked_for = |name: &str| only.is_none_or(|only| only.split(',').any(|word| name.contains(word)));
    for (name, bench) in BENCHES.iter().chain(SMP_BENCHES.iter().filter(|_| across)) {
        // `wake`: what the scaling table needs.
        if is_asked_for(name) || only == Some("wake") && FOR_SCALING.contains(name) {
            bench().print(name);
        }
    }
    thread_metric::print(|name| {
        only.is_none_or(|only| "thread_metric".contains(only) || name.contains(only))
    });
}
