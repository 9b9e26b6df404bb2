//! No tick for a single task: on a CPU of `nohz_full=` the tick stops while nobody needs it (docs/adr/0017).
//!
//! **Who needs it.** Two fair tasks, to take turns; a round-robin task, whose slice is counted in ticks; a deadline task,
//! to be on the safe side (its budget has a timer). A FIFO task does not, however many wait behind it, and neither does
//! one fair task. Real-time throttling would, and is off on such a CPU. Jiffies follow from the clock (`time::tick`), and
//! run time from the cycle counter at each switch, so nothing is lost.
//!
//! **It stops** in the tick itself, when that finds that it was not needed: the last one comes behind the last switch.
//!
//! **It goes on** in the next `__schedule` of the CPU, which takes the long way because of [`Special::TICK_STOPPED`], and
//! there looks again. What makes a tick necessary without a switch asks for one: a fair task that becomes ready beside a
//! running one, here or from another CPU (then by the reschedule interrupt), always "preempts" where the tick is stopped
//! (`Rq::check_preempt_not_rt`), and so does a change of the running task's policy (`Rq::change`). Out of idle the tick goes
//! on by itself (`time::idle`).
//!
//! Other CPUs pay nothing for it: their ticks do not come here, and their queues do not have the flag.
//!
//! Context: [`try_stop_tick`] in the tick, [`look_at_tick`] in `__schedule`. Lock: this CPU's run queue.

use super::class::Class;
use super::prio::Policy;
use super::rq::{Rq, Special};
use super::runqueue::lock_this_rq;
use crate::time::tick;

impl Rq {
    /// Whether the running task needs the tick.
    fn needs_tick(&self) -> bool {
        let curr = self.curr();
        match curr.class() {
            Class::Stop | Class::Idle => false,
            Class::Deadline => true,
            Class::Rt => curr.policy() == Policy::Rr,
            Class::Fair => self.cfs().nr_running() > 1,
        }
    }
}

/// Whether the tick of this CPU may stop. If so, it is to be stopped before IRQs are opened. The tick, IRQs masked.
pub(crate) fn try_stop_tick() -> bool {
    // SAFETY: hard interrupt, IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let may_stop = !rq.needs_tick();
    if may_stop {
        rq.special |= Special::TICK_STOPPED;
    }
    // SAFETY: locked above.
    unsafe { this.unlock() };
    may_stop
}

/// Behind the pick of a CPU whose tick is stopped, or was: does the task that is to run need it? The run queue `rq`, this
/// CPU's, is locked.
pub(super) fn look_at_tick(rq: &mut Rq) {
    if !rq.special().contains(Special::TICK_STOPPED) {
        return;
    }
    // Idle has made it go on, or it was set from outside.
    let runs = !tick::is_stopped_irqs_off();
    if runs || rq.needs_tick() {
        rq.special -= Special::TICK_STOPPED;
    }
    if !runs && !rq.special().contains(Special::TICK_STOPPED) {
        tick::resume_irqs_off();
    }
}
