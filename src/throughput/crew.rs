//! Tasks that begin together, and are timed until the last of them ends.
//!
//! The tasks wait at a gate while they are made; the time runs from its opening to the end of the last body. A crew that
//! is given up before, because there was no memory for all of it, opens the gate to nothing.
//!
//! Context: threads. Locks: those of two completions, one at a time.

use crate::error::Result;
use crate::locking::Completion;
use crate::sched::wait::Timeout;
use crate::task::{self, JoinHandle};
use crate::time;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How often whoever started the crew looks whether it should go on.
const POLL_NS: u64 = 100_000_000;

/// What a crew did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// From the opening of the gate to the end of the last body.
    pub ns: u64,
    /// The sum of what the bodies returned.
    pub done: u64,
    /// It was told to end before it was through.
    pub stopped: bool,
}

struct Shared {
    gate: Completion,
    /// Nobody works behind the gate.
    abandoned: AtomicBool,
    /// Whoever works should come to an end.
    stop: AtomicBool,
    /// Bodies that have not ended.
    left: AtomicUsize,
    end_ns: AtomicU64,
    all_ended: Completion,
}

/// See the module's text.
pub(super) struct Crew {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Crew {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        let shared = Shared {
            gate: Completion::new(),
            abandoned: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            // The crew itself, until the gate opens: nobody is the last before everybody is there.
            left: AtomicUsize::new(1),
            end_ns: AtomicU64::new(0),
            all_ended: Completion::new(),
        };
        Self { shared: Arc::new(shared), tasks: Vec::new() }
    }

    /// Adds a fair task. Its body returns how much it did, and ends soon once its argument is set.
    ///
    /// # Errors
    /// No memory for the task.
    pub(super) fn add(
        &mut self,
        name: &str,
        body: impl FnOnce(&AtomicBool) -> u64 + Send + 'static,
    ) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        shared.left.fetch_add(1, Ordering::Relaxed);
        let spawned = task::build(name).spawn(move || {
            shared.gate.wait();
            if shared.abandoned.load(Ordering::Relaxed) {
                return 0;
            }
            let done = body(&shared.stop);
            shared.end_one();
            done
        });
        match spawned {
            Ok(task) => {
                self.tasks.push(task);
                Ok(())
            }
            Err(error) => {
                self.shared.left.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Opens the gate, and waits. `go_on` is asked now and then; `false` tells the bodies to end.
    pub(super) fn run(mut self, mut go_on: impl FnMut() -> bool) -> Outcome {
        let begin_ns = time::now_ns();
        self.shared.gate.complete_all();
        self.shared.end_one();
        let mut stopped = false;
        while self.shared.all_ended.wait_timeout(Timeout::In(POLL_NS)).is_err() {
            if !go_on() {
                stopped = true;
                self.shared.stop.store(true, Ordering::Relaxed);
            }
        }
        let ns = self.shared.end_ns.load(Ordering::Relaxed) - begin_ns;
        Outcome { ns, done: self.tasks.drain(..).filter_map(JoinHandle::join).sum(), stopped }
    }
}

impl Shared {
    /// One body has ended. The last one takes the time, and its store is before the completion that is waited for.
    fn end_one(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end_ns.store(time::now_ns(), Ordering::Relaxed);
            self.all_ended.complete_all();
        }
    }
}

/// A crew that was not run.
impl Drop for Crew {
    fn drop(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.shared.gate.complete_all();
        for task in self.tasks.drain(..) {
            task.join();
        }
    }
}
