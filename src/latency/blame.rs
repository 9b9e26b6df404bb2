//! Where the time of a late wake-up went.
//!
//! A latency reaches from the moment at which the task's timer was due to the task's first instruction. The trace has what
//! happened meanwhile, and before; this is what it makes of that: a [`Part`] for each cause, with its time. Between two
//! events the CPU was in one state, and the state says whose time it is: a handler's, a softirq's, of the code that had
//! interrupts masked when the timer was due, and so on (`State::cause` has the order). The time of the events themselves
//! is a part of its own, [`Part::Tracing`].
//!
//! A task may be woken on one CPU and run on another. Until it is woken, the time is that of the CPU whose timer it is;
//! from then on, that of the CPU on which it runs.
//!
//! Invariants: whatever the events are, the parts add up to the whole, exactly. What the trace does not reach back to is
//! [`Part::Unrecorded`]; causes beyond the [`PARTS`] that fit are [`Part::Rest`].
//!
//! Context: any; pure. Bound: constant for each event. No allocation.
#![forbid(unsafe_code)]

use crate::trace::event::{Event, NOT_IDLE, Section};
use heapless::Vec;

/// Different causes that one latency can have.
pub const PARTS: usize = 20;
/// Contexts that can interrupt each other: softirq, interrupt, its timer's function, and again.
const DEPTH: usize = 8;

/// A cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Interrupts were masked by a task.
    Masked {
        /// Who.
        task: u32,
        /// Where.
        at: Section,
    },
    /// A task kept preemption off when the woken one was ready.
    PreemptOff {
        /// Who.
        task: u32,
        /// Where.
        at: Section,
    },
    /// From the timer to its interrupt's handler, and into and out of other interrupts: the hardware and the entry.
    Entry,
    /// An interrupt's handler.
    Handler {
        /// The interrupt.
        irq: u32,
    },
    /// Another CPU's request.
    Ipi {
        /// Which.
        ipi: u32,
    },
    /// A timer's function.
    Timer {
        /// Its address.
        function: u64,
    },
    /// A softirq's function.
    Softirq {
        /// Which.
        vector: u32,
    },
    /// The wake-up itself, with the timer's function that makes it.
    Wake,
    /// The task was ready, nothing was masked or off, and another one ran on: on its way to the scheduler, or because this
    /// kernel does not preempt.
    Behind {
        /// Who.
        task: u32,
    },
    /// The task was ready, and another one was as important, or was chosen.
    Other {
        /// Who.
        task: u32,
    },
    /// The task waited for a lock.
    Lock {
        /// Its address.
        lock: u64,
        /// Who had it, if priority inheritance boosted anybody.
        owner: Option<u32>,
    },
    /// The way through the scheduler.
    Switch,
    /// From the switch to the task's first instruction.
    Return,
    /// The task itself ran: it was not asleep when the timer was due.
    Own,
    /// The events' own time.
    Tracing,
    /// The ring does not reach back so far.
    Unrecorded,
    /// What had no place.
    Rest,
}

/// An event as the trace has it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When, on the clock of the latency.
    pub ns: u64,
    /// The task that ran; 0 for an idle one.
    pub task: u32,
    /// Whether it was in a hard interrupt.
    pub in_hardirq: bool,
    /// Hooks since the CPU's event before, that made none.
    pub silent_hooks: u8,
    /// What happened.
    pub event: Event,
}

/// What it costs to record an event: the time before its stamp is taken, and the time behind that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Before.
    pub before_ns: u64,
    /// Behind.
    pub behind_ns: u64,
}

/// What it costs to record the sorts of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// One whose hook is a call that the code around it does not notice.
    pub plain: Cost,
    /// One of a pair around a call: of a handler, a softirq, a timer's function.
    pub around: Cost,
    /// A change of the mask or of the preempt count.
    pub section: Cost,
    /// A hook that makes no event, since it changes nothing that is outermost.
    pub silent_ns: u64,
}

/// A latency that was longer than all before it, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which of the run's fragments.
    pub fragment: u64,
    /// The latency.
    pub whole_ns: u64,
    /// Its parts.
    pub parts: Parts,
}

/// The parts of a latency, in the order in which they first came.
pub type Parts = Vec<(Part, u64), PARTS>;

/// Whose latency it is, and from when to when.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// The task.
    pub task: u32,
    /// When its timer was due.
    pub due_ns: u64,
    /// When it executed its first instruction.
    pub seen_ns: u64,
}

/// Goes through the events of a CPU and gives each piece of time between `from_ns` and `to_ns` to a part.
#[derive(Debug)]
pub struct Blame {
    task: u32,
    from_ns: u64,
    to_ns: u64,
    /// The task's priority, if it was woken by another CPU: it is ready from `from_ns` on.
    woken: Option<i32>,
    costs: Costs,
    /// Up to here, time has its part; nothing before the first event.
    done_ns: Option<u64>,
    /// What the event there takes of the time behind it.
    behind_ns: u64,
    state: State,
    /// Of the open section with interrupts masked, or with preemption off: not given to a part before it is known whether
    /// it is the scheduler's on its way to the task.
    masked_ns: u64,
    off_ns: u64,
    /// Of the timer's function that is being called, and its address: it may be the one that wakes the task.
    timer_ns: u64,
    timer_function: u64,
    parts: Parts,
}

/// What a CPU does.
#[derive(Debug, Default)]
struct State {
    running: u32,
    /// Interrupts, softirqs and timers that are being served, each over the one before.
    contexts: Vec<Part, DEPTH>,
    masked: Option<Closed>,
    off: Option<Closed>,
    /// In WFI, or on the way there.
    idle: bool,
    /// The task is being woken.
    waking: bool,
    /// The task was woken and does not run yet.
    ready: bool,
    /// Somebody else was switched to while it was ready.
    passed_over: bool,
    /// The kernel priority of what runs, if a switch has told it, and the task's: the smaller is more important.
    running_prio: Option<i32>,
    prio: i32,
    /// The task was switched to, after its timer was due.
    arrived: bool,
    /// The lock that the task waits for.
    lock: Option<(u64, Option<u32>)>,
}

/// Who closed the CPU, and where.
#[derive(Clone, Copy, Debug)]
struct Closed {
    task: u32,
    at: Section,
    /// By an interrupt, on its way in.
    by_interrupt: bool,
}

/// Where the time of a state goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Part(Part),
    /// To whoever masked interrupts, unless it was for the switch to the task.
    Masked,
    /// To whoever disabled preemption, unless it was for the switch to the task.
    Off,
}

impl State {
    /// Whose time it is, in this state.
    fn cause(&self, us: u32) -> Cause {
        if self.waking {
            return Cause::Part(Part::Wake);
        }
        if let Some(context) = self.contexts.last() {
            return Cause::Part(*context);
        }
        let by_interrupt = |closed: &Option<Closed>| closed.is_some_and(|closed| closed.by_interrupt);
        if self.running == us {
            return Cause::Part(match (by_interrupt(&self.masked), self.arrived) {
                (true, _) => Part::Entry,
                (false, true) => Part::Return,
                (false, false) => Part::Own,
            });
        }
        if let Some((lock, owner)) = self.lock {
            return Cause::Part(Part::Lock { lock, owner });
        }
        if by_interrupt(&self.masked) || self.ready && self.masked.is_none() && by_interrupt(&self.off) {
            return Cause::Part(if self.ready { Part::Switch } else { Part::Entry });
        }
        if self.masked.is_some() && !self.idle {
            return Cause::Masked;
        }
        let other = self.passed_over || self.running_prio.is_some_and(|prio| prio <= self.prio);
        match (self.ready, self.off.is_some(), other) {
            (false, ..) => Cause::Part(Part::Entry),
            (true, true, _) => Cause::Off,
            (true, false, true) => Cause::Part(Part::Other { task: self.running }),
            (true, false, false) => Cause::Part(Part::Behind { task: self.running }),
        }
    }

    /// The task is ready from here on, with this priority.
    fn woken(&mut self, prio: i32) {
        self.prio = prio;
        self.waking = false;
        self.ready = true;
        // What was chosen before was not chosen over it.
        self.passed_over = false;
    }

    /// Leaves the innermost context that is such a one. One that is not there was entered before the trace began, or by a
    /// task that has been switched away from.
    fn leave(&mut self, is_it: impl Fn(&Part) -> bool) {
        if let Some(at) = self.contexts.iter().rposition(is_it) {
            self.contexts.truncate(at);
        }
    }

    fn enter(&mut self, context: Part) {
        // A deeper one counts as the one that it interrupts.
        let _ = self.contexts.push(context);
    }
}

impl Blame {
    fn new(task: u32, from_ns: u64, to_ns: u64, woken: Option<i32>, costs: Costs) -> Self {
        Self {
            task,
            from_ns,
            to_ns,
            woken,
            costs,
            done_ns: None,
            behind_ns: 0,
            state: State::default(),
            masked_ns: 0,
            off_ns: 0,
            timer_ns: 0,
            timer_function: 0,
            parts: Parts::new(),
        }
    }

    /// The next event of the CPU.
    pub fn see(&mut self, seen: &Seen) {
        if seen.ns >= self.to_ns {
            return;
        }
        if seen.ns >= self.from_ns {
            self.begin();
        }
        let cost = self.cost_of(&seen.event);
        self.advance(seen.ns, cost.before_ns + u64::from(seen.silent_hooks) * self.costs.silent_ns);
        // Of one before the interval nothing counts.
        self.behind_ns = if seen.ns >= self.from_ns { cost.behind_ns } else { 0 };
        if self.state.running != seen.task {
            // There may have been a switch before the trace began.
            self.state.running = seen.task;
        }
        self.change(seen);
    }

    /// The first event of the interval, or its end. A task that another CPU has woken is ready now: what this CPU's events
    /// before say of that is about earlier turns of the task.
    fn begin(&mut self) {
        if let Some(prio) = self.woken.take() {
            self.state.woken(prio);
        }
    }

    fn cost_of(&self, event: &Event) -> Cost {
        match event {
            Event::IrqDisable(_)
            | Event::IrqEnable(_)
            | Event::PreemptDisable(_)
            | Event::PreemptEnable(_) => self.costs.section,
            Event::IrqHandlerEntry { .. }
            | Event::IrqHandlerExit { .. }
            | Event::IpiEntry { .. }
            | Event::IpiExit { .. }
            | Event::SoftirqEntry { .. }
            | Event::SoftirqExit { .. }
            | Event::HrtimerExpireEntry { .. }
            | Event::HrtimerExpireExit { .. } => self.costs.around,
            _ => self.costs.plain,
        }
    }

    /// The state lasted until `ns`, and of that the next event takes `before_ns`.
    fn advance(&mut self, ns: u64, before_ns: u64) {
        let ns = ns.clamp(self.from_ns, self.to_ns);
        let Some(done_ns) = self.done_ns else {
            // Before the first event nothing is known.
            self.give(Part::Unrecorded, ns - self.from_ns);
            self.done_ns = Some(ns);
            return;
        };
        // Nothing, should an event come out of order.
        let whole_ns = ns.saturating_sub(done_ns);
        let tracing_ns = (self.behind_ns + before_ns).min(whole_ns);
        self.give(Part::Tracing, tracing_ns);
        let rest_ns = whole_ns - tracing_ns;
        match self.state.cause(self.task) {
            Cause::Part(Part::Timer { .. }) => self.timer_ns += rest_ns,
            Cause::Part(part) => self.give(part, rest_ns),
            Cause::Masked => self.masked_ns += rest_ns,
            Cause::Off => self.off_ns += rest_ns,
        }
        self.done_ns = Some(done_ns + whole_ns);
    }

    fn give(&mut self, part: Part, ns: u64) {
        if ns == 0 {
            return;
        }
        if let Some((_, known)) = self.parts.iter_mut().find(|(known, _)| *known == part) {
            *known += ns;
            return;
        }
        // The last place is for what finds none.
        let part = if self.parts.len() + 1 < PARTS { part } else { Part::Rest };
        match self.parts.iter_mut().find(|(known, _)| *known == part) {
            Some((_, known)) => *known += ns,
            None => {
                let _ = self.parts.push((part, ns));
            }
        }
    }

    /// The timer's function is over, or another one is called over it.
    fn end_timer(&mut self) {
        let ns = core::mem::take(&mut self.timer_ns);
        self.give(Part::Timer { function: self.timer_function }, ns);
    }

    /// The open section with interrupts masked is over.
    fn unmask(&mut self, to_the_switch: bool) {
        let ns = core::mem::take(&mut self.masked_ns);
        let part = match self.state.masked {
            Some(Closed { task, at, .. }) if !to_the_switch => Part::Masked { task, at },
            _ => Part::Switch,
        };
        self.give(part, ns);
    }

    /// The open section with preemption off is over.
    fn preempt_on(&mut self, to_the_switch: bool) {
        let ns = core::mem::take(&mut self.off_ns);
        let part = match self.state.off {
            Some(Closed { task, at, .. }) if !to_the_switch => Part::PreemptOff { task, at },
            _ => Part::Switch,
        };
        self.give(part, ns);
    }

    fn change(&mut self, seen: &Seen) {
        let us = self.task;
        let closed = |at: Section| Some(Closed { task: seen.task, at, by_interrupt: seen.in_hardirq });
        match seen.event {
            Event::IrqDisable(at) => {
                self.unmask(false);
                self.state.masked = closed(at);
            }
            Event::IrqEnable(_) => {
                self.unmask(false);
                self.state.masked = None;
            }
            Event::PreemptDisable(at) => {
                self.preempt_on(false);
                self.state.off = closed(at);
            }
            Event::PreemptEnable(_) => {
                self.preempt_on(false);
                self.state.off = None;
            }
            Event::IrqHandlerEntry { irq } => self.state.enter(Part::Handler { irq }),
            Event::IrqHandlerExit { irq, .. } => self.state.leave(|part| *part == Part::Handler { irq }),
            Event::IpiEntry { ipi } => self.state.enter(Part::Ipi { ipi }),
            Event::IpiExit { ipi } => self.state.leave(|part| *part == Part::Ipi { ipi }),
            Event::SoftirqEntry { vector } => self.state.enter(Part::Softirq { vector }),
            Event::SoftirqExit { vector } => self.state.leave(|part| *part == Part::Softirq { vector }),
            Event::HrtimerExpireEntry { function, .. } => {
                self.end_timer();
                self.timer_function = function;
                self.state.enter(Part::Timer { function });
            }
            Event::HrtimerExpireExit { .. } => {
                self.end_timer();
                self.state.leave(|part| matches!(part, Part::Timer { .. } | Part::Wake));
            }
            Event::CpuIdle { state } => self.state.idle = state != NOT_IDLE,
            // One before may have been left to another CPU, which has recorded its end.
            Event::SchedWaking { task, .. } if task == us && seen.ns >= self.from_ns => {
                self.state.waking = true;
                // The function was the one that wakes, from its start.
                let ns = core::mem::take(&mut self.timer_ns);
                self.give(Part::Wake, ns);
                if let Some(context @ Part::Timer { .. }) = self.state.contexts.last_mut() {
                    *context = Part::Wake;
                }
            }
            Event::SchedWakeup { task, prio, .. } if task == us => self.state.woken(prio),
            Event::ContentionBegin { lock, .. } if seen.task == us => self.state.lock = Some((lock, None)),
            Event::ContentionEnd { .. } if seen.task == us => self.state.lock = None,
            Event::SchedPiSetprio { task, old_prio, new_prio } if new_prio < old_prio => {
                if let Some((_, owner)) = &mut self.state.lock
                    && seen.task == us
                {
                    // The first that is boosted is the one that holds it; the others are behind that one.
                    owner.get_or_insert(task);
                }
            }
            Event::SchedSwitch { next, next_prio, .. } => {
                self.state.running_prio = Some(next_prio);
                self.end_timer();
                // Whatever the scheduler closed, it closed for this.
                self.unmask(next == us);
                self.preempt_on(next == us);
                self.state.running = next;
                self.state.contexts.clear();
                self.state.idle = false;
                self.state.arrived = next == us && seen.ns >= self.from_ns;
                self.state.passed_over = self.state.ready && next != us;
                self.state.ready &= next != us;
                if next == us {
                    // An interrupt may have led here; now it is the task's own way back.
                    for closed in [&mut self.state.masked, &mut self.state.off].into_iter().flatten() {
                        closed.by_interrupt = false;
                    }
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Parts {
        self.begin();
        self.advance(self.to_ns, 0);
        self.end_timer();
        self.unmask(false);
        self.preempt_on(false);
        self.parts
    }
}

/// Explains a latency: `events(cpu, f)` calls `f` with the events of `cpu`, oldest first, as far back as there are any.
/// `timer_cpu` is the CPU on which the timer expired, `cpu` the one on which the task ran.
pub fn explain(
    interval: Interval,
    (timer_cpu, cpu): (usize, usize),
    costs: Costs,
    mut events: impl FnMut(usize, &mut dyn FnMut(&Seen)),
) -> Parts {
    let Interval { task, due_ns, seen_ns } = interval;
    let seen_ns = seen_ns.max(due_ns);
    if timer_cpu == cpu {
        let mut blame = Blame::new(task, due_ns, seen_ns, None, costs);
        events(cpu, &mut |seen| blame.see(seen));
        return blame.finish();
    }
    // Found first, since the time behind it is the other CPU's.
    let mut woken = None;
    events(timer_cpu, &mut |seen| {
        if let Event::SchedWaking { task: woken_task, prio, .. } = seen.event
            && woken_task == task
            && (due_ns..seen_ns).contains(&seen.ns)
        {
            woken.get_or_insert((seen.ns, prio));
        }
    });
    let woken_ns = woken.map_or(seen_ns, |(ns, _)| ns);
    let mut before = Blame::new(task, due_ns, woken_ns, None, costs);
    events(timer_cpu, &mut |seen| before.see(seen));
    let mut behind = Blame::new(task, woken_ns, seen_ns, woken.map(|(_, prio)| prio), costs);
    behind.parts = before.finish();
    events(cpu, &mut |seen| behind.see(seen));
    behind.finish()
}

#[cfg(test)]
#[path = "blame_tests.rs"]
mod tests;
