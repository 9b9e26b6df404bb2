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
use super::deadline::{DlParams, SchedDlEntity, dl_time_before};
use super::deadline_admit::DlRefused;
use super::entity::SchedRef;
use super::prio::{MAX_NICE, MIN_NICE, Policy, PrioError, SchedAttr, is_rt_prio, nice_to_prio};
use super::rq::{Rq, Special};
use super::rt::RtRq;

impl Rq {
    /// Gives `p`, queued here or asleep, another policy and parameters. The
    /// answer is about this run queue's running task.
    ///
    /// # Errors
    /// [`DlRefused`] if it asks for a reservation that does not fit; nothing is
    /// changed then.
    pub fn set_scheduler(&mut self, p: SchedRef, attr: SchedAttr) -> Result<Resched, DlRefused> {
        self.set_scheduler_boosted(p, attr, i32::MAX)
    }

    /// [`Self::set_scheduler`] of a task to which waiters lend the priority `donated`: the parameters are its
    /// own, the priority is the more important of the two.
    ///
    /// # Errors
    /// As [`Self::set_scheduler`].
    pub fn set_scheduler_boosted(
        &mut self,
        p: SchedRef,
        attr: SchedAttr,
        donated: i32,
    ) -> Result<Resched, DlRefused> {
        if !changes_anything(p, attr) {
            return Ok(Resched::No);
        }
        self.change_reservation(p, attr)?;
        let new_prio = attr.normal_prio().min(donated);
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
    #[inline]
    pub fn setprio(&mut self, p: SchedRef, prio: i32, donor: Option<SchedRef>) -> Resched {
        if p.is_rt() && is_rt_prio(prio) {
            return self.setprio_rt(p, prio);
        }
        // Among deadline tasks it is the donor's deadline that counts, and that may be another.
        if p.prio() == prio && prio >= 0 {
            return Resched::No;
        }
        self.setprio_slow(p, prio, donor)
    }

    /// [`Self::setprio`] of a real-time task that stays one: what happens when it releases a lock that a more important
    /// one waits for. Needs no clock.
    #[inline(always)]
    pub(super) fn setprio_rt(&mut self, p: SchedRef, prio: i32) -> Resched {
        let old_prio = p.prio();
        if old_prio == prio || !p.is_queued() {
            p.prio.set(prio);
            return Resched::No;
        }
        self.rt.dequeue(p, DequeueFlags::SAVE | DequeueFlags::MOVE);
        p.prio.set(prio);
        let head = if old_prio < prio { EnqueueFlags::HEAD } else { EnqueueFlags::empty() };
        self.rt.enqueue(p, EnqueueFlags::RESTORE | EnqueueFlags::MOVE | head);
        self.rt.prio_changed(self.curr, p)
    }

    #[inline(never)]
    fn setprio_slow(&mut self, p: SchedRef, prio: i32, donor: Option<SchedRef>) -> Resched {
        // Among deadline tasks it is the donor's deadline that counts, and that may be another.
        if p.prio() == prio && prio >= 0 {
            return Resched::No;
        }
        // A deadline of its own that is earlier is no reason to take another's.
        let donor = donor.filter(|donor| {
            prio < 0
                && donor.is_deadline()
                && (p.normal_prio() >= 0 || dl_time_before(donor.dl().deadline_ns(), p.dl().deadline_ns()))
        });
        if donor.is_some() {
            self.dl.end_throttle(p.make_dl(), p);
        }
        self.change(p, true, |p| {
            p.prio.set(prio);
            match donor {
                Some(donor) => p.dl().inherit_from(donor.dl()),
                // The end of a loan.
                None => p.try_dl().into_iter().for_each(SchedDlEntity::end_loan),
            }
        })
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
        let decision = self.check_class_changed(p, old_class, old_prio);
        // Maybe the tick is needed now: `__schedule` looks.
        if is_queued && self.special.contains(Special::TICK_STOPPED) { Resched::Yes } else { decision }
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
            (Class::Rt, true) if p == curr => self.loses_to_another(p),
            (Class::Rt, true) => RtRq::check_preempt(curr, p),
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
