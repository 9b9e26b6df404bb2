#![forbid(unsafe_code)]
//! A ring of tasks that wait for each other, for people.
//!
//! Taken down under the PI lock, printed after it: names are copied, because the tasks may go meanwhile.
//!
//! Context: threads. Lock: the PI lock, for [`Cycle::find`].

use super::{PiLock, graph};
use crate::task::{Name, Task};
use core::fmt;
use core::panic::Location;

/// As many links are named.
const NAMED: usize = 8;

/// Which mutex: where it was made, and, because several may be made there, where it is.
#[derive(Clone, Copy)]
pub(super) struct Made {
    at: &'static Location<'static>,
    address: usize,
}

impl Made {
    pub(super) fn of(lock: &PiLock<Task>) -> Self {
        Self { at: lock.made_at(), address: core::ptr::from_ref(lock).addr() }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mutex {:#x} made at {}", self.address, self.at)
    }
}

/// Who waits for what, in the order of waiting. The last one waits for a lock of the first one.
pub(crate) struct Cycle {
    links: heapless::Vec<(Name, Made), NAMED>,
    length: usize,
}

impl Cycle {
    /// The ring that `task` is part of, if there is one.
    pub(in crate::locking) fn find(task: &Task) -> Option<Self> {
        let mut cycle = Self { links: heapless::Vec::new(), length: 0 };
        let origin = task.pi.blocked_on()?.task();
        let found = graph::find_cycle(origin, |waiter| {
            cycle.length += 1;
            // Full: it is counted.
            let _ = cycle.links.push((Name::new(waiter.task().name()), Made::of(&waiter.lock())));
        });
        found.then_some(cycle)
    }

    /// A task that locks what it holds.
    pub(in crate::locking) fn of_one(task: &Task, lock: &PiLock<Task>) -> Self {
        let mut links = heapless::Vec::new();
        let _ = links.push((Name::new(task.name()), Made::of(lock)));
        Self { links, length: 1 }
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, mutex)) = self.links.first() else { return Ok(()) };
        if self.length == 1 {
            return write!(f, "task {} locks a mutex that it holds: {mutex}", first.as_str());
        }
        write!(f, "task {}", first.as_str())?;
        for (index, (_, mutex)) in self.links.iter().enumerate() {
            let owner = match self.links.get(index + 1) {
                Some((owner, _)) => owner.as_str(),
                None if self.length > NAMED => return write!(f, " …, and {} more", self.length - NAMED),
                None => first.as_str(),
            };
            let comma = if index == 0 { "" } else { ", which" };
            write!(f, "{comma} waits for {mutex}, held by {owner}")?;
        }
        Ok(())
    }
}
