#![forbid(unsafe_code)]
//! What a task waits for, and who has it, for people.
//!
//! Taken down under the PI lock, printed after it: names are copied, because the tasks may go meanwhile.
//!
//! Context: threads. Lock: the PI lock.

use super::PI;
use super::cycle::Made;
use crate::task::{Name, Task};
use core::fmt;

/// A lock that a task waits for.
pub(crate) struct Awaited {
    lock: Made,
    owner: Option<(Name, u32, bool)>,
}

impl Awaited {
    /// What `task` waits for, if it is a lock with priority inheritance.
    pub(crate) fn by(task: &Task) -> Option<Self> {
        let pi = PI.lock();
        let awaited = task.pi.blocked_on().map(|waiter| {
            let lock = waiter.lock();
            let owner =
                lock.owner().map(|owner| (owner.name_copy(), owner.id(), owner.pi.blocked_on().is_some()));
            Self { lock: Made::of(&lock), owner }
        });
        pi.unlock_no_resched();
        awaited
    }
}

/// `mutex 0x… made at file:1:2, which owner/7 has`.
impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock.fmt(f)?;
        match self.owner {
            Some((name, id, waits)) => write!(
                f,
                ", which {}/{id} has{}",
                name.as_str(),
                if waits { " and waits itself" } else { "" }
            ),
            None => f.write_str(", which nobody has"),
        }
    }
}
