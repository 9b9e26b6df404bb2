#![forbid(unsafe_code)]
//! Changing a task's policy, priority or nice value while it lives.
//!
//! One shape for all changes: off the queue, change, back on the queue, then
//! the classes say whether somebody has to make room. Where a real-time task
//! comes back to is the part users rely on:
//!
//! | change | place in its list |
//! |---|---|
//! | nothing changes | untouched, nothing happens at all |
//! | raised | tail of the new list |
//! | lowered | **head** of the new list |
//! | FIFO and RR exchanged at the same priority | keeps its place |
//!
//! Contexts: task, under the run-queue lock, IRQs off. Needs the clock
//! whenever the task or the running one is, or becomes, fair.

use super::class::{Class, DequeueFlags, EnqueueFlags, Resched, WakeFlags};
use super::entity::SchedRef;
use super::prio::{MAX_NICE, MIN_NICE, PrioError, SchedAttr, nice_to_prio};
use super::rq::Rq;
use super::rt::RtRq;

impl Rq {
    /// Gives `p`, queued here or asleep, another policy and parameters. The
    /// answer is about this run queue's running task.
    pub fn set_scheduler(&mut self, p: SchedRef, attr: SchedAttr) -> Resched {
        self.set_scheduler_boosted(p, attr, i32::MAX)
    }

    /// [`Self::set_scheduler`] of a task to which waiters lend the priority `donated`: the parameters are its
    /// own, the priority is the more important of the two.
    pub fn set_scheduler_boosted(&mut self, p: SchedRef, attr: SchedAttr, donated: i32) -> Resched {
        if !changes_anything(p, attr) {
            return Resched::No;
        }
        let new_prio = attr.normal_prio().min(donated);
        let moves = new_prio != p.prio();
        self.change(p, moves, |p| {
            p.set_params(attr);
            p.prio.set(new_prio);
        })
    }

    /// Changes the nice value of `p`. Under a real-time policy it is kept for
    /// later and nothing else happens.
    ///
    /// # Errors
    /// [`PrioError::Nice`] outside -20..=19; nothing is changed then.
    pub fn set_nice(&mut self, p: SchedRef, nice: i32) -> Result<Resched, PrioError> {
        if !(MIN_NICE..=MAX_NICE).contains(&nice) {
            return Err(PrioError::Nice(nice));
        }
        if p.nice() == nice {
            return Ok(Resched::No);
        }
        let prio = nice_to_prio(nice);
        if p.policy().is_rt() {
            p.static_prio.set(prio);
            return Ok(Resched::No);
        }
        let is_boosted = p.prio() < p.normal_prio();
        Ok(self.change(p, false, |p| {
            p.static_prio.set(prio);
            p.normal_prio.set(prio);
            if !is_boosted {
                p.prio.set(prio);
            }
            p.set_load_weight();
        }))
    }

    /// Puts an inherited priority in force, or the task's own again: `rt_mutex_setprio`. Policy, nice value and weight
    /// stay what they are; the class is the new priority's. A task that sinks goes to the head of its new list: it
    /// lost the CPU to nobody (reference 5.5, 10.1). `donor` is the waiter it comes from.
    /// Needs the clock unless all three, the task before and after and the running one, are real-time.
    #[inline(always)]
    pub fn setprio(&mut self, p: SchedRef, prio: i32, donor: Option<SchedRef>) -> Resched {
        // The deadline class takes the donor's deadline from it.
        let _ = donor;
        let old_prio = p.prio();
        if old_prio == prio {
            return Resched::No;
        }
        // What happens when a real-time task releases a lock that a more important one waits for.
        if p.is_rt() && p.is_queued() && Class::of_prio(prio) == Class::Rt {
            self.rt.dequeue(p, DequeueFlags::SAVE | DequeueFlags::MOVE);
            p.prio.set(prio);
            let head = if old_prio < prio { EnqueueFlags::HEAD } else { EnqueueFlags::empty() };
            self.rt.enqueue(p, EnqueueFlags::RESTORE | EnqueueFlags::MOVE | head);
            return self.rt.prio_changed(self.curr, p);
        }
        self.setprio_slow(p, prio)
    }

    #[inline(never)]
    fn setprio_slow(&mut self, p: SchedRef, prio: i32) -> Resched {
        self.change(p, true, |p| p.prio.set(prio))
    }

    /// Takes `p` out of its class, applies `apply`, puts it back. `moves`: its
    /// place in the queue is to be found anew.
    fn change(&mut self, p: SchedRef, moves: bool, apply: impl FnOnce(SchedRef)) -> Resched {
        let is_queued = p.is_queued();
        let is_running = self.curr == p;
        let old_prio = p.prio();
        let old_class = p.class();
        let (mut save, mut restore) = (DequeueFlags::SAVE, EnqueueFlags::RESTORE);
        if moves {
            save |= DequeueFlags::MOVE;
            restore |= EnqueueFlags::MOVE;
        }
        if is_queued {
            self.class_dequeue(p, save);
        }
        if is_running && old_class == Class::Fair {
            self.cfs.put_prev(self.clock_task_ns());
        }
        apply(p);
        if is_queued {
            if old_prio < p.prio() {
                restore |= EnqueueFlags::HEAD;
            }
            self.class_enqueue(p, restore);
        }
        if is_running && p.is_fair() {
            self.cfs.set_next(p, self.clock_task_ns());
        }
        self.check_class_changed(p, old_class, old_prio)
    }

    fn check_class_changed(&mut self, p: SchedRef, old_class: Class, old_prio: i32) -> Resched {
        let curr = self.curr;
        let class = p.class();
        if !p.is_queued() {
            // Nothing to preempt, but the meaning of `vruntime` changes with
            // the class. A task never woken is relative in either.
            if class != old_class && !p.is_new.get() {
                match class {
                    Class::Fair => self.cfs.attach_sleeping(p),
                    _ => self.cfs.detach_sleeping(p),
                }
            }
            return Resched::No;
        }
        match (class, class != old_class) {
            (Class::Rt, true) => RtRq::switched_to(curr, p),
            (Class::Rt, false) => self.rt.prio_changed(curr, p),
            (_, true) if p == curr => Resched::Yes,
            (_, true) => self.check_preempt_curr(p, WakeFlags::empty()),
            (_, false) => match self.cfs.prio_changed(curr, p, old_prio) {
                Some(answer) => answer,
                None => self.check_preempt_curr(p, WakeFlags::empty()),
            },
        }
    }
}

/// Setting what is already set must not cost a task its place in the queue.
fn changes_anything(p: SchedRef, attr: SchedAttr) -> bool {
    if p.policy() != attr.policy() {
        return true;
    }
    match attr.policy() {
        policy if policy.is_rt() => attr.rt_priority() != p.rt_priority(),
        super::prio::Policy::Idle => false,
        _ => attr.nice() != p.nice(),
    }
}
