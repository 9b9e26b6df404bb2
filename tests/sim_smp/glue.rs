//! What the kernel does where there is more than one CPU, step by step, on the simulated ones: the same pure functions in
//! the same order as the core, the pushes and pulls and the balancing call them, without locks and interrupts.

use stint::sched::balance::{CpuIdle, Outcome, find_busiest};
use stint::sched::cpupri::level_of;
use stint::sched::select::{
    Wakeup, fallback, find_pull, find_push, pull_source, record_wakee, select_task_rq,
};
use stint::sched::{Class, DequeueFlags, EnqueueFlags, Resched, SchedAttr, SchedRef, Tunables, WakeFlags};
use stint::smp::CpuMask;

use super::world::World;

impl World {
    /// `p` has been dequeued or detached, or has changed.
    fn publish_change(&mut self, c: usize, p: SchedRef) {
        let (pri, loads) = (&self.pri, &self.loads);
        self.cpus[c].rq.publish_change(pri, loads, p);
    }

    /// `p` has been woken or attached.
    fn publish_wakeup(&mut self, c: usize, p: SchedRef, answer: Resched) {
        let (pri, loads) = (&self.pri, &self.loads);
        self.cpus[c].rq.publish_wakeup(pri, loads, p, answer);
        self.request(c, answer);
    }

    /// The one place that switches.
    pub fn schedule(&mut self, c: usize) {
        self.charge(c);
        self.clock(c);
        self.pull(c);
        if self.cpus[c].rq.peek_prio() >= 140 {
            self.newly_idle(c);
        }
        let cpu = &mut self.cpus[c];
        let (prev, idle) = (cpu.rq.curr(), cpu.rq.idle());
        let next = cpu.rq.pick_next_task(prev);
        cpu.need_resched = false;
        if prev != next {
            self.counts.switches += 1;
            if next == idle {
                cpu.balancer.idle_begins(self.now);
            } else if prev == idle {
                cpu.balancer.idle_ends(self.now);
            }
        }
        let (pri, loads) = (&self.pri, &self.loads);
        self.cpus[c].rq.publish_switch(pri, loads, prev, next);
        self.check_pick(c);
        self.push(c);
    }

    /// Moves the queued `p` from one CPU to another.
    fn move_task(&mut self, p: SchedRef, from: usize, to: usize) {
        assert!(p != self.cpus[from].rq.curr(), "{p:?} runs on {from} and is moved");
        let i = self.slots.iter().position(|s| s.is_alive && s.p == p).expect("a task that nobody knows");
        assert_eq!(self.slots[i].cpu, from);
        assert!(p.cpus_allowed().contains(to), "{p:?} is moved to {to}, not in {}", p.cpus_allowed());
        assert_eq!(p.migrate_disabled(), 0, "{p:?} forbids its migration and is moved");
        self.charge(from);
        self.charge(to);
        self.clock(from);
        self.clock(to);
        let (vruntime, min) = (p.se().vruntime(), self.cpus[from].rq.cfs().min_vruntime());
        let budget =
            p.is_deadline().then(|| (p.dl().deadline_ns(), p.dl().runtime_ns(), p.dl().is_throttled()));
        self.cpus[from].rq.detach_task(p);
        let distance = p.se().vruntime();
        if p.is_fair() {
            // To be taken off a queue brings its `min_vruntime` up to date first.
            let (most, moved) =
                (self.cpus[from].rq.cfs().min_vruntime().wrapping_sub(min), vruntime.wrapping_sub(min));
            let lost = moved.wrapping_sub(distance);
            assert!(lost <= most, "{p:?} was {moved} behind {min} and is {distance} on the way");
        }
        self.publish_change(from, p);
        self.slots[i].cpu = to;
        let answer = self.cpus[to].rq.attach_task(p);
        self.check_move(p, distance, budget, to);
        self.publish_wakeup(to, p, answer);
    }

    /// What waits on `c` and can run elsewhere goes there.
    pub fn push(&mut self, c: usize) {
        for _ in 0..64 {
            let Some((p, to)) = find_push(&self.view(), &self.cpus[c].rq, c) else { return };
            self.check_open(p, to);
            self.move_task(p, c, to);
            self.counts.pushed += 1;
        }
    }

    /// What waits elsewhere and should run on `c` comes here.
    pub fn pull(&mut self, c: usize) {
        let mut tried = CpuMask::NONE;
        while let Some(source) = pull_source(&self.view(), &self.cpus[c].rq, tried) {
            match find_pull(&self.cpus[c].rq, &self.cpus[source].rq) {
                Some(p) => {
                    self.check_open(p, c);
                    self.move_task(p, source, c);
                    self.counts.pulled += 1;
                }
                None => tried = tried.with(source),
            }
        }
    }

    pub fn wake(&mut self, i: usize, this: usize) {
        let p = self.slots[i].p;
        let (prev, waker) = (self.slots[i].cpu, self.cpus[this].rq.curr());
        if (p.cpus_allowed() & self.online()).is_empty() {
            // All it may run on has gone.
            p.set_cpus_allowed(CpuMask::ALL);
        }
        record_wakee(&waker, &p, self.now);
        let sync = self.rng.one_in(8);
        let view = self.view();
        let mut to = select_task_rq(&view, &p, prev, this, &waker, Wakeup::Woken { sync });
        // What a waker sees may be out of date.
        let others = p.cpus_allowed() & view.domain;
        if self.rng.one_in(32) && p.migrate_disabled() == 0 && !others.is_empty() {
            to = others.next_from(self.rng.below(64) as usize).expect("not empty");
        }
        self.check_selected(i, to);
        self.slots[i].is_runnable = true;
        self.slots[i].cpu = to;
        self.charge(to);
        self.clock(to);
        let flags = if self.cpus[to].need_resched { WakeFlags::CURR_FLAGGED } else { WakeFlags::empty() };
        let answer = if to == prev {
            self.cpus[to].rq.enqueue_task(p, EnqueueFlags::WAKEUP);
            self.cpus[to].rq.check_preempt_curr(p, flags)
        } else {
            self.counts.selected_elsewhere += 1;
            self.charge(prev);
            self.clock(prev);
            let distance = p.se().vruntime().wrapping_sub(self.cpus[prev].rq.cfs().min_vruntime());
            self.cpus[prev].rq.detach_sleeping(p);
            if p.is_fair() {
                assert_eq!(p.se().vruntime(), distance, "virtual time is relative on the way");
            }
            self.publish_change(prev, p);
            self.cpus[to].rq.wake_up_migrated(p, flags)
        };
        let answer = self.prefer_bound(to, p, answer);
        self.publish_wakeup(to, p, answer);
        self.push(to);
    }

    /// Equals: the one that can go elsewhere does.
    fn prefer_bound(&mut self, c: usize, p: SchedRef, answer: Resched) -> Resched {
        let curr = self.cpus[c].rq.curr();
        if answer.is_yes() || !p.is_rt() || p.prio() != curr.prio() {
            return answer;
        }
        let domain = self.domain().without(c);
        let can_go = |q: SchedRef| self.pri.has_lower(q.cpus_allowed() & domain, level_of(&q));
        let (curr_can_go, p_can_go) = (can_go(curr), can_go(p));
        let answer = self.cpus[c].rq.check_preempt_equal(p, curr_can_go, p_can_go);
        self.counts.equal += u64::from(answer.is_yes());
        answer
    }

    pub fn fork(&mut self, attr: SchedAttr, allowed: CpuMask, this: usize) -> usize {
        let i = self.new_task(attr);
        let p = self.slots[i].p;
        p.set_cpus_allowed(allowed);
        self.charge(this);
        self.clock(this);
        let answer = self.cpus[this].rq.task_fork(p);
        self.request(this, answer);
        let waker = self.cpus[this].rq.curr();
        let to = select_task_rq(&self.view(), &p, this, this, &waker, Wakeup::Fork);
        self.slots[i].cpu = to;
        self.check_selected(i, to);
        self.slots[i].is_runnable = true;
        self.charge(to);
        self.clock(to);
        let answer = self.cpus[to].rq.wake_up_new_task(p);
        self.publish_wakeup(to, p, answer);
        self.push(to);
        i
    }

    /// What runs on `c` goes to sleep.
    pub fn block(&mut self, c: usize) {
        let Some(i) = self.running(c) else { return };
        self.charge(c);
        self.clock(c);
        let p = self.slots[i].p;
        self.slots[i].is_runnable = false;
        self.cpus[c].rq.dequeue_task(p, DequeueFlags::SLEEP);
        self.cpus[c].is_preempt_off = false;
        self.schedule(c);
    }

    pub fn yield_now(&mut self, c: usize) {
        self.charge(c);
        self.clock(c);
        self.cpus[c].rq.yield_task();
        self.cpus[c].is_preempt_off = false;
        self.schedule(c);
    }

    pub fn tick(&mut self, c: usize) {
        let answer = self.cpus[c].rq.task_tick();
        self.request(c, answer);
        self.cpus[c].rq.sync_curr_load();
        let (pri, loads) = (&self.pri, &self.loads);
        self.cpus[c].rq.publish(pri, loads);
        if self.domain().contains(c) && self.cpus[c].balancer.is_due(self.now) {
            self.balance(c);
        }
    }

    /// The priority or the mask of `p` has changed.
    fn changed(&mut self, c: usize, p: SchedRef, answer: Resched) {
        self.publish_change(c, p);
        self.request(c, answer);
        // It may have sunk below what waits elsewhere.
        if p == self.cpus[c].rq.curr() {
            self.pull(c);
        }
        self.push(c);
    }

    pub fn set_scheduler(&mut self, i: usize, attr: SchedAttr) -> bool {
        let (p, c, donated) = (self.slots[i].p, self.slots[i].cpu, self.slots[i].donated);
        self.charge(c);
        self.clock(c);
        let root = &mut self.root;
        let answer = self.cpus[c].rq.with_root(root, |rq| rq.set_scheduler_boosted(p, attr, donated));
        // A reservation may be refused; then nothing has changed.
        let Ok(answer) = answer else { return false };
        self.changed(c, p, answer);
        true
    }

    pub fn set_nice(&mut self, i: usize, nice: i32) {
        let (p, c) = (self.slots[i].p, self.slots[i].cpu);
        self.charge(c);
        self.clock(c);
        let answer = self.cpus[c].rq.set_nice(p, nice).unwrap();
        self.changed(c, p, answer);
    }

    /// Somebody waits for what `i` holds, or does not any more.
    pub fn setprio(&mut self, i: usize, donated: i32) {
        let (p, c) = (self.slots[i].p, self.slots[i].cpu);
        self.charge(c);
        self.clock(c);
        self.slots[i].donated = donated;
        let answer = self.cpus[c].rq.setprio(p, p.normal_prio().min(donated), None);
        self.changed(c, p, answer);
    }

    /// The stopper of `c` runs `work` there.
    pub fn stop_one_cpu(&mut self, c: usize, work: impl FnOnce(&mut Self)) {
        let stopper = self.cpus[c].stopper;
        self.charge(c);
        self.clock(c);
        self.cpus[c].rq.enqueue_task(stopper, EnqueueFlags::WAKEUP);
        let answer = self.cpus[c].rq.check_preempt_curr(stopper, WakeFlags::empty());
        assert!(answer.is_yes(), "the stopper waits");
        self.publish_wakeup(c, stopper, answer);
        self.cpus[c].is_preempt_off = false;
        self.schedule(c);
        assert_eq!(self.cpus[c].rq.curr(), stopper);
        work(self);
        self.charge(c);
        self.clock(c);
        self.cpus[c].rq.dequeue_task(stopper, DequeueFlags::SLEEP);
        self.schedule(c);
    }

    pub fn set_affinity(&mut self, i: usize, mask: CpuMask) {
        let (p, c) = (self.slots[i].p, self.slots[i].cpu);
        p.set_cpus_allowed(mask);
        self.publish_change(c, p);
        if !self.slots[i].is_runnable {
            return;
        }
        if mask.contains(c) {
            // It may run in more places now.
            return self.push(c);
        }
        let leave = |world: &mut Self| {
            // Somebody may have been quicker: pushed it, when the stopper took its CPU.
            if world.slots[i].cpu == c {
                let to = fallback(&world.view(), &p, c);
                world.move_task(p, c, to);
                world.push(to);
            }
        };
        if self.is_running(i) {
            self.counts.forced += 1;
            self.stop_one_cpu(c, leave);
        } else {
            leave(self);
        }
    }

    fn set_tunables(&mut self) {
        let count = self.online().count();
        for cpu in &mut self.cpus {
            cpu.rq.set_tunables(Tunables::for_cpus(count as u32));
            cpu.balancer.set_cpus(count);
        }
    }

    /// `cpu off c`. False if it cannot be.
    pub fn go_off(&mut self, c: usize) -> bool {
        let left = self.domain().without(c);
        let is_bound = self.slots.iter().any(|s| s.is_alive && s.cpu == c && s.p.migrate_disabled() != 0);
        if left.is_empty() || is_bound || self.root.set_cpus(left.count(), self.now).is_err() {
            return false;
        }
        self.cpus[c].rq.set_off(true);
        self.cpus[c].is_online = false;
        self.stop_one_cpu(c, |world| {
            let here = |s: &&super::world::Slot| s.is_alive && s.is_runnable && s.cpu == c;
            let leaving: Vec<SchedRef> = world.slots.iter().filter(here).map(|s| s.p).collect();
            for p in leaving {
                if (p.cpus_allowed() & world.online()).is_empty() {
                    p.set_cpus_allowed(CpuMask::ALL);
                }
                // Not where it must not be, if it is to be spread at all.
                let to = fallback(&world.view(), &p, c);
                world.move_task(p, c, to);
                world.counts.evacuated += 1;
            }
        });
        assert_eq!(self.cpus[c].rq.curr(), self.cpus[c].rq.idle(), "CPU {c} is off and runs something");
        self.loads.clear(c);
        self.set_tunables();
        for other in self.online().iter() {
            self.push(other);
        }
        true
    }

    /// `cpu on c`.
    pub fn go_on(&mut self, c: usize) {
        self.cpus[c].is_online = true;
        self.set_next_tick(c);
        self.root.set_cpus(self.domain().count(), self.now).expect("more is never refused");
        let is_isolated = !self.domain().contains(c);
        self.cpus[c].rq.set_off(is_isolated);
        self.clock(c);
        let (pri, loads) = (&self.pri, &self.loads);
        self.cpus[c].rq.publish(pri, loads);
        self.set_tunables();
        self.schedule(c);
    }

    fn newly_idle(&mut self, c: usize) {
        if !self.domain().contains(c) || !self.cpus[c].balancer.is_worth_it() {
            return;
        }
        if self.balance_once(c, CpuIdle::NewlyIdle, 1) == Outcome::Moved {
            self.counts.newly_idle += 1;
        }
    }

    /// The CPU looks around: on a tick, or for a CPU that idles without one.
    pub fn balance(&mut self, c: usize) {
        let is_idle = self.cpus[c].rq.curr() == self.cpus[c].rq.idle();
        let idle = if is_idle { CpuIdle::Idle } else { CpuIdle::Busy };
        let outcome = self.balance_once(c, idle, 32);
        let is_active = self.cpus[c].balancer.done(self.now, idle, outcome);
        if outcome == Outcome::Moved {
            self.counts.balanced += 1;
        }
        if is_active {
            self.active_balance(c);
        }
    }

    fn balance_once(&mut self, c: usize, idle: CpuIdle, most: usize) -> Outcome {
        let Some(busiest) = find_busiest(&self.view(), c, idle) else { return Outcome::Balanced };
        let failed = self.cpus[c].balancer.nr_failed();
        let mut imbalance = busiest.imbalance;
        let mut moved = false;
        self.charge(busiest.cpu);
        self.clock(busiest.cpu);
        for _ in 0..most {
            let Some(p) = self.cpus[busiest.cpu].rq.find_one(c, &mut imbalance, failed) else { break };
            self.move_task(p, busiest.cpu, c);
            moved = true;
        }
        if moved { Outcome::Moved } else { Outcome::Failed }
    }

    /// The stopper of the busiest CPU sends what runs there here.
    fn active_balance(&mut self, c: usize) {
        let Some(busiest) = find_busiest(&self.view(), c, CpuIdle::Idle) else { return };
        let p = self.cpus[busiest.cpu].rq.curr();
        if p.class() != Class::Fair || !p.may_move_to(c) {
            return;
        }
        self.counts.active += 1;
        self.stop_one_cpu(busiest.cpu, |world| {
            if p.is_queued() && world.slots.iter().any(|s| s.is_alive && s.p == p && s.cpu == busiest.cpu) {
                world.move_task(p, busiest.cpu, c);
            }
        });
    }
}
