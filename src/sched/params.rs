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
use super::deadline::DlParams;
use super::deadline_admit::DlRefused;
use super::entity::SchedRef;
use super::prio::{MAX_NICE, MIN_NICE, Policy, PrioError, SchedAttr, nice_to_prio};
use super::rq::Rq;
use super::rt::RtRq;

impl Rq {
    /// Gives `p`, queued here or asleep, another policy and parameters. The
    /// answer is about this run queue's running task.
    ///
    /// # Errors
    /// [`DlRefused`] if it asks for a reservation that does not fit; nothing is
    /// changed then.
    pub fn set_scheduler(&mut self, p: SchedRef, attr: SchedAttr) -> Result<Resched, DlRefused> {
        if !changes_anything(p, attr) {
            return Ok(Resched::No);
        }
        self.change_reservation(p, attr)?;
        let new_prio = attr.normal_prio();
        // Among deadline tasks the deadline decides, which may be another now.
        let moves = new_prio != p.prio() || attr.policy() == Policy::Deadline;
        Ok(self.change(p, moves, |p| {
            p.set_params(attr);
            p.prio.set(new_prio);
        }))
    }

    /// Admission, and the giving back of what is not wanted any more.
    fn change_reservation(&mut self, p: SchedRef, attr: SchedAttr) -> Result<(), DlRefused> {
        let now = self.clock_ns();
        let has = p.policy() == Policy::Deadline;
        if attr.policy() == Policy::Deadline {
            let held = if has { p.dl().params() } else { DlParams::NONE };
            self.dl_bandwidth.reserve(attr.dl(), held, now)?;
            if !has {
                p.make_dl().start_anew();
            }
        } else if has {
            self.release_reservation(p);
        }
        Ok(())
    }

    /// Changes the nice value of `p`. Under a real-time policy it is kept for
    /// later and nothing else happens; under the deadline policy too.
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
        if !p.policy().is_fair() {
            p.static_prio.set(prio);
            return Ok(Resched::No);
        }
        Ok(self.change(p, false, |p| {
            p.static_prio.set(prio);
            p.normal_prio.set(prio);
            p.prio.set(prio);
            p.set_load_weight();
        }))
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
        if is_running {
            self.stop_running(old_class);
        }
        apply(p);
        if p.class() != old_class {
            self.switched_class(p, old_class);
        }
        if is_queued {
            if old_prio < p.prio() {
                restore |= EnqueueFlags::HEAD;
            }
            self.class_enqueue(p, restore);
        }
        if is_running {
            self.start_running(p);
        }
        self.update_special();
        self.check_class_changed(p, old_class, old_prio)
    }

    fn check_class_changed(&mut self, p: SchedRef, old_class: Class, old_prio: i32) -> Resched {
        let curr = self.curr;
        let class = p.class();
        if !p.is_queued() {
            // Nothing to preempt, but the meaning of `vruntime` changes with
            // the class. A task never woken is relative in either.
            if class != old_class && !p.is_new.get() {
                match (old_class, class) {
                    (_, Class::Fair) => self.cfs.attach_sleeping(p),
                    (Class::Fair, _) => self.cfs.detach_sleeping(p),
                    _ => {}
                }
            }
            return Resched::No;
        }
        match (class, class != old_class) {
            (Class::Deadline, _) => self.dl.changed(curr, p),
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
        Policy::Deadline => attr.dl() != p.dl().params(),
        Policy::Idle => false,
        _ => attr.nice() != p.nice(),
    }
}
