//! Which waits are too long: what is remembered of waiting tasks from one look to the next.
//!
//! A wait is one as long as the task has not been switched to: its number of switches tells. So nothing is kept in the
//! task, and a task that waits often and briefly is never mistaken for one that waits for long.
//!
//! Context: threads; pure. Bound of a look: linear in the tasks that wait.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

/// A wait that was seen.
#[derive(Clone, Copy, Debug)]
struct Wait {
    task: u32,
    switches: u64,
    since_ns: u64,
    told: bool,
    /// In this look.
    seen: bool,
}

/// The waits that were seen at the last look.
#[derive(Debug, Default)]
pub struct Waits(Vec<Wait>);

impl Waits {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// `task` waits at `now_ns`, and has been switched away from `switches` times. Answers how long it has been seen to
    /// wait if that is `timeout_ns` or more, once for each wait. A wait that there is no memory for is not remembered.
    pub fn see(&mut self, task: u32, switches: u64, now_ns: u64, timeout_ns: u64) -> Option<u64> {
        let Some(wait) = self.0.iter_mut().find(|wait| wait.task == task) else {
            if self.0.try_reserve(1).is_ok() {
                self.0.push(Wait { task, switches, since_ns: now_ns, told: false, seen: true });
            }
            return None;
        };
        if wait.switches != switches {
            *wait = Wait { task, switches, since_ns: now_ns, told: false, seen: true };
        }
        wait.seen = true;
        let for_ns = now_ns - wait.since_ns;
        let tell = for_ns >= timeout_ns && !wait.told;
        wait.told |= tell;
        tell.then_some(for_ns)
    }

    /// The look is over: whoever was not seen does not wait any more.
    pub fn end_of_look(&mut self) {
        self.0.retain_mut(|wait| core::mem::take(&mut wait.seen));
    }
}

#[cfg(test)]
mod tests {
    use super::Waits;

    #[test]
    fn a_long_wait_is_told_once() {
        let mut waits = Waits::new();
        let told: std::vec::Vec<_> = (0..6)
            .map(|i| {
                let told = waits.see(7, 3, 100 + 5 * i, 10);
                waits.end_of_look();
                told
            })
            .collect();
        assert_eq!(told, [None, None, Some(10), None, None, None]);
    }

    #[test]
    fn short_waits_of_the_same_task_do_not_add_up() {
        let mut waits = Waits::new();
        for i in 0..20 {
            assert_eq!(waits.see(7, i, 100 + 9 * i, 10), None);
            waits.end_of_look();
        }
    }

    #[test]
    fn a_wait_that_ended_is_forgotten_and_the_next_one_told_again() {
        let mut waits = Waits::new();
        for round in 0..3 {
            let at = 1000 * round;
            assert_eq!(waits.see(7, round, at, 10), None);
            waits.end_of_look();
            assert_eq!(waits.see(7, round, at + 12, 10), Some(12));
            waits.end_of_look();
            // Not waiting at this look.
            waits.end_of_look();
        }
        assert!(waits.0.is_empty());
    }
}
