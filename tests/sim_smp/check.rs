//! What must hold: after each pick, each move, and each event.

use stint::sched::cpupri::{self, level_of};
use stint::sched::{Class, SchedRef};
use stint::smp::CpuMask;

use super::world::{Slot, World};

impl World {
    /// Right after a pick on `c`, nobody of a better class or priority waits there.
    pub fn check_pick(&self, c: usize) {
        let rq = &self.cpus[c].rq;
        let curr = rq.curr();
        if curr == self.cpus[c].stopper {
            return;
        }
        let here = || self.slots.iter().filter(|s| s.is_alive && s.is_runnable && s.cpu == c);
        let earliest = here().filter(|s| may_run_deadline(s)).map(|s| s.p.dl().deadline_ns()).min();
        if let Some(earliest) = earliest {
            assert!(curr.is_deadline(), "{curr:?} runs on {c} before a deadline task");
            assert_eq!(curr.dl().deadline_ns(), earliest, "the earliest deadline runs on {c}");
            return;
        }
        let held_back = rq.rt_bandwidth().is_throttled();
        match here().filter(|s| s.p.is_rt() && !held_back).map(|s| s.p.prio()).min() {
            Some(prio) => assert_eq!(curr.prio(), prio, "the best real-time priority runs on {c}"),
            None if here().any(|s| s.p.is_fair()) => {
                assert_eq!(curr.class(), Class::Fair, "{c} idles with work")
            }
            None => assert_eq!(curr, rq.idle()),
        }
    }

    /// `p`, whose distance to `min_vruntime` was `distance` on the way, and which had `budget`, has come to the CPU `to`.
    pub fn check_move(&self, p: SchedRef, distance: u64, budget: Option<(u64, i64, bool)>, to: usize) {
        if p.is_fair() {
            let now = p.se().vruntime().wrapping_sub(self.cpus[to].rq.cfs().min_vruntime());
            assert_eq!(now, distance, "{p:?} keeps its distance in virtual time over a move");
        }
        let Some((deadline, runtime, was_throttled)) = budget else { return };
        let dl = p.dl();
        if runtime > 0 {
            assert_eq!(
                (dl.deadline_ns(), dl.runtime_ns()),
                (deadline, runtime),
                "{p:?} was renewed by a move"
            );
        }
        let next_period = deadline - dl.params().deadline_ns() + dl.params().period_ns();
        if was_throttled && self.now < next_period && !dl.is_boosted() {
            assert!(dl.is_throttled(), "{p:?} is not held back any more, by a move");
        }
    }

    /// `p` is to be pushed to, or pulled by, `to`.
    pub fn check_open(&self, p: SchedRef, to: usize) {
        let holds_back = self.cpus[to].rq.rt_bandwidth().is_throttled();
        assert!(!p.is_rt() || !holds_back, "{p:?} goes to {to}, where real-time tasks are held back");
        assert!(self.domain().contains(to), "{p:?} goes to {to}, which takes no part");
    }

    pub fn check_selected(&self, i: usize, to: usize) {
        let p = self.slots[i].p;
        let allowed = p.cpus_allowed() & self.online();
        assert!(
            allowed.contains(to) || allowed.is_empty() && self.online().contains(to),
            "{p:?} is sent to {to}; it may run on {allowed}"
        );
        assert!(p.migrate_disabled() == 0 || to == self.slots[i].cpu, "{p:?} forbids its migration");
    }

    /// Everything that must hold between two events.
    pub fn check(&mut self) {
        self.check_queues();
        for c in 0..self.cpus.len() {
            let cpu = &mut self.cpus[c];
            let min = cpu.rq.cfs().min_vruntime();
            assert!(min.wrapping_sub(cpu.min_vruntime) as i64 >= 0, "min_vruntime of {c} went back");
            cpu.min_vruntime = min;
            self.check_table(c);
        }
        // While a CPU is asked for a switch and does not get to it, all else may have to wait.
        if self.cpus.iter().all(|cpu| !cpu.need_resched) {
            for i in 0..self.slots.len() {
                self.check_waits_rightly(i);
            }
        }
    }

    /// Nobody lost, nobody twice, nobody where it may not be; each queue right in itself.
    fn check_queues(&self) {
        let mut seen = vec![None; self.slots.len()];
        for (c, cpu) in self.cpus.iter().enumerate() {
            let rq = &cpu.rq;
            let held_back = rq.dl().iter_throttled().filter(|p| p.is_queued());
            let queued = rq.rt().iter().chain(rq.cfs().iter()).chain(rq.cfs().curr()).chain(rq.dl().iter());
            for p in queued.chain(held_back) {
                let i = self.slots.iter().position(|s| s.is_alive && s.p == p);
                let i = i.unwrap_or_else(|| panic!("{p:?} is queued on {c} and nobody knows it"));
                assert!(self.slots[i].is_runnable, "{p:?} is queued on {c} and asleep");
                assert_eq!(self.slots[i].cpu, c, "{p:?} is queued on a CPU that is not its own");
                assert_eq!(seen[i].replace(c), None, "{p:?} is queued twice");
            }
            assert!(rq.rt().is_consistent() && rq.is_smp_consistent(), "real-time lists of {c}");
            assert!(rq.cfs().is_consistent(), "fair sums, cache or order of {c}");
            assert!(rq.dl().is_consistent(), "deadline trees of {c}");
            assert!(cpu.is_online || rq.nr_running() == 0, "{c} is offline and has tasks");
        }
        for (slot, seen) in self.slots.iter().zip(&seen).filter(|(s, _)| s.is_alive) {
            let p = slot.p;
            assert_eq!(seen.is_some(), slot.is_runnable, "{p:?} on {} is lost", slot.cpu);
            assert_eq!(p.is_queued(), slot.is_runnable, "{p:?}");
            assert!(
                !slot.is_runnable || p.cpus_allowed().contains(slot.cpu),
                "{p:?} is on {}, not in its mask",
                slot.cpu
            );
            if self.cpus[slot.cpu].rq.cfs().curr() != Some(p) {
                assert_eq!(p.se().sum_exec_runtime(), slot.fair_ns, "{p:?}");
            }
        }
    }

    /// What others are told of `c` is true.
    fn check_table(&self, c: usize) {
        let (rq, cpu) = (&self.cpus[c].rq, &self.cpus[c]);
        let (pri, loads) = (&self.pri, &self.loads);
        if !cpu.is_online {
            assert_eq!(pri.level(c), cpupri::OFF, "{c} is offline");
            return;
        }
        if !cpu.need_resched {
            assert_eq!(pri.level(c), rq.level(), "what is told of {c}, where {:?} runs", rq.curr());
        }
        let nr = rq.cfs().nr_running() + u32::from(matches!(rq.curr().class(), Class::Deadline | Class::Rt));
        assert_eq!(loads.nr_running(c), nr.min(255), "what is told of the tasks of {c}");
        let waits =
            if rq.rt_bandwidth().is_throttled() { 0 } else { rq.rt_pushable().map_or(0, |p| level_of(&p)) };
        assert_eq!(loads.pushable(c), waits, "what is told of who waits on {c}");
        assert_eq!(
            loads.pushable_deadline(c),
            rq.dl_pushable().map(|p| p.dl().deadline_ns()),
            "deadlines of {c}"
        );
        assert_eq!(loads.overloaded().contains(c), waits != 0 || rq.dl_is_overloaded(), "overload of {c}");
        assert_eq!(loads.deadline(c), rq.earliest_deadline(), "deadline of {c}");
        assert_eq!(loads.load_avg(c), rq.load_avg(), "load of {c}");
    }

    /// A real-time or deadline task waits only if something at least as good runs wherever it may.
    fn check_waits_rightly(&self, i: usize) {
        let slot = &self.slots[i];
        let p = slot.p;
        if !slot.is_alive || !slot.is_runnable || self.is_running(i) {
            return;
        }
        let here = slot.cpu;
        // Who waits on an isolated CPU has chosen to.
        let stays = p.migrate_disabled() != 0 || !self.domain().contains(here);
        let places = if stays { CpuMask::NONE } else { p.cpus_allowed() };
        let places = (places & self.domain()).with(here);
        if may_run_deadline(slot) {
            for c in places.iter() {
                let curr = self.cpus[c].rq.curr();
                let waits_rightly = curr.is_deadline() && curr.dl().deadline_ns() <= p.dl().deadline_ns();
                assert!(waits_rightly, "{p:?} waits on {here} while {curr:?} runs on {c}");
            }
        } else if p.is_rt() && !self.cpus[here].rq.rt_bandwidth().is_throttled() {
            for c in places.iter().filter(|&c| !self.cpus[c].rq.rt_bandwidth().is_throttled()) {
                let curr = self.cpus[c].rq.curr();
                assert!(curr.prio() <= p.prio(), "{p:?} waits on {here} while {curr:?} runs on {c}");
            }
        }
    }
}

fn may_run_deadline(slot: &Slot) -> bool {
    slot.p.is_deadline() && !slot.p.dl().is_throttled()
}
