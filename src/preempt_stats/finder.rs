//! The scheduling-point finder (K10): the longest time from a request to switch to the next point that honours it, and
//! where the code was meanwhile.
//!
//! In a kernel that is not preempted a request waits for a `cond_resched` or a sleep. Where it waits long, a scheduling
//! point is missing, and the back-trace says where. It is taken at the return from interrupts (the tick, at least) that
//! come while the request waits longer than any did before: first when it has become the worst, then again each time
//! its age has doubled. So the one that is kept was taken in the second half of the wait, or before it where no interrupt came once
//! its age had doubled, at a cost of a few walks.
//!
//! In a preemptible kernel the same figure is the longest preempt-off section that a request came into.
//!
//! Context: the recorder, IRQs masked; pure. Bound: constant.
#![forbid(unsafe_code)]

use super::section::Who;

/// Places kept of a back-trace.
pub const TRACE_MAX: usize = 8;

/// Where the code was: the interrupted instruction, then return addresses, innermost first; then zeros.
pub type Trace = [u64; TRACE_MAX];

/// A request that was honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// From the request to the scheduling point.
    pub cycles: u64,
    /// Who ran on.
    pub who: Who,
    /// All zeros if no interrupt came while it waited longer than any before.
    pub trace: Trace,
    /// The age of the request when the trace was taken.
    pub trace_cycles: u64,
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub struct Finder {
    since: Option<u64>,
    /// Of the request that waits: worth nothing until it is the worst.
    trace: Trace,
    trace_cycles: u64,
    /// Requests that were honoured.
    pub count: u64,
    /// The one that waited longest.
    pub worst: Wait,
}

impl Finder {
    /// No request.
    pub(super) const fn new() -> Self {
        Self {
            since: None,
            trace: [0; TRACE_MAX],
            trace_cycles: 0,
            count: 0,
            worst: Wait { cycles: 0, who: Who::NOBODY, trace: [0; TRACE_MAX], trace_cycles: 0 },
        }
    }

    /// Adds what another CPU has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        if other.worst.cycles > self.worst.cycles {
            self.worst = other.worst;
        }
    }

    /// Somebody asks for a switch. Repeats do not count.
    pub fn request(&mut self, now: u64) {
        if self.since.is_none() {
            self.since = Some(now);
            self.trace = [0; TRACE_MAX];
            self.trace_cycles = 0;
        }
    }

    /// An interrupt returns: whether a trace should be taken now.
    pub fn wants_trace(&self, now: u64) -> bool {
        self.since.is_some_and(|since| {
            let age = now.wrapping_sub(since);
            age > self.worst.cycles && age / 2 >= self.trace_cycles
        })
    }

    /// Here it is.
    pub fn set_trace(&mut self, now: u64, trace: Trace) {
        if let Some(since) = self.since {
            self.trace = trace;
            self.trace_cycles = now.wrapping_sub(since);
        }
    }

    /// A scheduling point: the request, if there was one, is honoured.
    pub fn served(&mut self, now: u64, who: impl FnOnce() -> Who) {
        let Some(since) = self.since.take() else { return };
        self.count += 1;
        let cycles = now.wrapping_sub(since);
        if cycles > self.worst.cycles {
            self.worst = Wait { cycles, who: who(), trace: self.trace, trace_cycles: self.trace_cycles };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(pc: u64) -> Trace {
        let mut trace = [0; TRACE_MAX];
        trace[0] = pc;
        trace
    }

    /// A request at 0, an interrupt at each of the times, honoured at the end. Returns when traces were taken.
    fn wait(finder: &mut Finder, from: u64, interrupts: &[u64], end: u64) -> std::vec::Vec<u64> {
        finder.request(from);
        let mut taken = std::vec::Vec::new();
        for &at in interrupts {
            if finder.wants_trace(from + at) {
                finder.set_trace(from + at, trace(at));
                taken.push(at);
            }
        }
        finder.served(from + end, || Who::NOBODY);
        taken
    }

    #[test]
    fn the_trace_that_is_kept_is_of_the_second_half_of_the_worst_wait() {
        let mut finder = Finder::new();
        let ticks: std::vec::Vec<u64> = (1..=10).map(|i| i * 4).collect();
        assert_eq!(wait(&mut finder, 1000, &ticks, 42), [4, 8, 16, 32]);
        assert_eq!((finder.worst.cycles, finder.worst.trace[0], finder.worst.trace_cycles), (42, 32, 32));
    }

    #[test]
    fn a_shorter_wait_takes_no_trace_and_changes_nothing() {
        let mut finder = Finder::new();
        wait(&mut finder, 0, &[50], 100);
        assert_eq!(wait(&mut finder, 500, &[20, 60, 99], 99), []);
        assert_eq!((finder.worst.cycles, finder.worst.trace[0], finder.count), (100, 50, 2));
    }

    #[test]
    fn a_worse_wait_without_an_interrupt_has_no_trace_of_another_one() {
        let mut finder = Finder::new();
        wait(&mut finder, 0, &[50], 100);
        wait(&mut finder, 500, &[], 200);
        assert_eq!((finder.worst.cycles, finder.worst.trace), (200, [0; TRACE_MAX]));
    }

    #[test]
    fn a_request_counts_from_the_first_time_it_is_made() {
        let mut finder = Finder::new();
        finder.request(10);
        finder.request(90);
        finder.served(100, || Who::NOBODY);
        assert_eq!(finder.worst.cycles, 90);
        finder.served(500, || Who::NOBODY);
        assert_eq!((finder.worst.cycles, finder.count), (90, 1));
    }
}
