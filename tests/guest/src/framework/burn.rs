//! CPU time spent without work: a task that waits for an interrupt has the CPU, as far as the scheduler knows,
//! and on a machine with virtual time the wait takes no time of the host. So ten seconds at 95 % load are a
//! matter of a moment.

use stint::task;
use stint::time::Timer;

/// Below that it is not worth a timer.
const STEP_NS: u64 = 20_000;

/// Has the CPU for `ns`, the time of others not included. For machines with an exact clock, where a cycle is a
/// nanosecond.
pub fn burn_ns(ns: u64) {
    let alarm = Timer::new_hard(|| ());
    let end = task::cpu_cycles() + ns;
    loop {
        let left = end.saturating_sub(task::cpu_cycles());
        if left == 0 {
            return;
        }
        if left > STEP_NS {
            wait_ns(&alarm, left);
        } else {
            super::clock::work(20);
        }
    }
}

/// Waits until an interrupt comes, with a timer to make one come in time. No switch can come between the timer's
/// start and the wait, and an interrupt in between ends the wait.
fn wait_ns(alarm: &Timer, ns: u64) {
    let flags = arch::irqflags::local_irq_save();
    alarm.start_once(ns);
    arch::cpu::wait_for_interrupt();
    arch::irqflags::local_irq_restore(flags);
    alarm.cancel();
}
