//! What can be wrong, and how it is told: each with the places that a person has to look at.
//!
//! Context: any; a problem is a value. Locks: none.
#![forbid(unsafe_code)]

use super::class::{Class, Kind, Place};
use super::held::Context;
use core::fmt;

/// The most steps of a way that are told.
pub const STEPS_MAX: usize = 6;

/// A lock, and where it was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The lock's class: where it was made.
    pub made_at: Place,
    /// See [`super::LockKey::with_subclass`].
    pub subclass: u8,
    /// What kind of lock.
    pub kind: Kind,
    /// Where it was taken.
    pub at: Place,
}

impl Taken {
    pub(super) fn new(class: &Class, at: Place) -> Self {
        Self { made_at: class.made_at, subclass: class.subclass, kind: class.kind, at }
    }
}

/// One step of an order: `inner` was taken while `outer` was held.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Held.
    pub outer: Taken,
    /// Taken.
    pub inner: Taken,
}

/// Steps that follow from each other: the inner lock of one is of the class of the outer of the next.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// The first ones.
    pub steps: heapless::Vec<Step, STEPS_MAX>,
    /// How many more there are.
    pub more: usize,
}

impl Way {
    pub(super) fn push(&mut self, step: Step) {
        if self.steps.push(step).is_err() {
            self.more += 1;
        }
    }
}

/// Hard or soft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// A hard interrupt; masked by the CPU's I bit.
    Hard,
    /// A softirq; held off by `local_bh_disable`.
    Soft,
}

/// A moment at which locks must not be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The task ends.
    Exit,
    /// The CPU becomes idle.
    Idle,
    /// The task is switched away from, inside a section that must not be.
    Switch,
    /// The interrupt that took the lock returns.
    InterruptEnd,
}

/// A table that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of classes.
    Classes,
    /// Of edges.
    Edges,
    /// Of locks that one task holds.
    Held,
}

/// What is wrong.
#[derive(Clone, Debug)]
pub enum Problem {
    /// The order of two locks, against that of `known`, which leads from the one that is taken to the one that
    /// is held.
    Order {
        /// What the task does.
        now: Step,
        /// What was done before.
        known: Way,
    },
    /// A lock is taken while one of its class is held: it may be the same.
    Recursion(Step),
    /// An interrupt may come while `open` is held, and wait for it, by way of `way` if that is not empty.
    Interrupted {
        /// What kind of interrupt.
        interrupt: Interrupt,
        /// Taken in that interrupt.
        used: Taken,
        /// Taken where that interrupt may come.
        open: Taken,
        /// From the first to the second.
        way: Way,
    },
    /// A lock that may sleep is taken inside one that must not.
    Nesting(Step),
    /// A sleeping lock is taken in an interrupt.
    InInterrupt {
        /// The lock.
        taken: Taken,
        /// The interrupt.
        context: Context,
    },
    /// A lock is released that the task does not hold.
    NotHeld {
        /// The lock's class.
        made_at: Place,
    },
    /// A lock is held where none may be.
    Left {
        /// The lock.
        held: Taken,
        /// Where.
        moment: Moment,
    },
    /// A table is full: from here on nothing is checked.
    Full(Limit),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "raw lock",
            Self::Spin => "spin lock",
            Self::Sleep => "sleeping lock",
        })
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hard => "a hard interrupt",
            Self::Soft => "a softirq",
        })
    }
}

/// The class.
impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of {}", self.kind, self.made_at)?;
        if self.subclass != 0 {
            write!(f, " (subclass {})", self.subclass)?;
        }
        Ok(())
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            write!(
                f,
                "\n  {} was taken at {}\n    while {} was held, taken at {}",
                step.inner, step.inner.at, step.outer, step.outer.at
            )?;
        }
        if self.more > 0 {
            write!(f, "\n  and {} more steps", self.more)?;
        }
        Ok(())
    }
}

/// Lines of bounded length: each becomes one message of the log.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { now, known } => write!(
                f,
                "lock order inversion: {} is taken at {}\n  while {} is held, taken at {}\n  but the order known so far is the other one:{known}\n  expected: one order everywhere",
                now.inner, now.inner.at, now.outer, now.outer.at
            ),
            Self::Recursion(step) => write!(
                f,
                "possible deadlock: {} is taken at {}\n  while one of the same place is held, taken at {}\n  expected: one at a time, or a subclass of its own",
                step.inner, step.inner.at, step.outer.at
            ),
            Self::Interrupted { interrupt, used, open, way } => {
                write!(
                    f,
                    "{interrupt} may wait for what it interrupts:\n  {used} is taken in {interrupt} at {}\n  {open} is taken at {} where one may come{way}\n  expected: ",
                    used.at, open.at
                )?;
                match interrupt {
                    Interrupt::Hard => f.write_str("interrupts masked around it (an irqsave lock)"),
                    Interrupt::Soft => f.write_str("local_bh_disable around it"),
                }
            }
            Self::Nesting(step) => write!(
                f,
                "wrong context: {} is taken at {}\n  while {} is held, taken at {}\n  expected: inside a raw lock only raw locks, inside a spin lock no sleeping ones",
                step.inner, step.inner.at, step.outer, step.outer.at
            ),
            Self::InInterrupt { taken, context } => write!(
                f,
                "wrong context: {taken} is taken at {} in context {context:?}\n  expected: thread context",
                taken.at
            ),
            Self::NotHeld { made_at } => write!(
                f,
                "a lock of {made_at} is released by a task that does not hold it\n  expected: each release by the task that took the lock, once"
            ),
            Self::Left { held, moment } => {
                let when = match moment {
                    Moment::Exit => "when its task ends",
                    Moment::Idle => "when the CPU becomes idle",
                    Moment::Switch => "at a switch to another task",
                    Moment::InterruptEnd => "when the interrupt returns that took it",
                };
                write!(f, "{held}, taken at {}, is still held {when}\n  expected: released before", held.at)
            }
            Self::Full(limit) => {
                let (what, most) = match limit {
                    Limit::Classes => ("lock classes", super::class::CLASSES_MAX),
                    Limit::Edges => ("pairs of lock classes", super::graph::EDGES_MAX),
                    Limit::Held => ("locks held by one task", super::held::HELD_MAX),
                };
                write!(f, "off from here on: more than {most} {what}")
            }
        }
    }
}
