//! The rules: what is learnt from each lock that is taken, and what contradicts it.
//!
//! 1. **Order.** If `b` is taken while `a` is held, `a` is never taken, directly or by way of others, while `b`
//!    is held.
//! 2. **Interrupts.** A class that is taken in an interrupt leads, directly or by way of others, to no class that
//!    is taken where that interrupt may come.
//! 3. **Kinds.** What may sleep is not taken inside what must not ([`Kind`]), nor in an interrupt.
//! 4. **Balance.** A lock is released by whoever took it, and before certain moments ([`Moment`]).
//!
//! Nothing has to go wrong for a report: it is enough that each half has happened once, at any time. What was
//! reported is remembered apart and does not enter what is known, so the invariant holds for ever, and the same
//! thing is reported once.
//!
//! A `try_lock` cannot wait: it is held like any other lock, but nothing leads to it.
//!
//! Invariant: the graph has no cycle; no way in it leads from a used to an open class of the same interrupt.
//! Context: any; plain data, owned by the module above. Locks: none. Bound: see `graph`; for a nesting that is
//! known already, one bit test for each lock that is held.
#![forbid(unsafe_code)]

use super::class::{CLASSES_MAX, Class, ClassId, Classes, Kind, LockKey, Place};
use super::graph::{Direction, Edge, Graph};
use super::held::{Context, Held, HeldStack};
use super::problem::{Interrupt, Limit, Moment, Problem, Step, Taken, Way};
use super::set::ClassSet;

/// Who is told.
pub type Report<'a> = &'a mut dyn FnMut(&Problem);

/// A lock that is about to be taken.
pub struct Taking<'a> {
    /// Its key.
    pub key: &'a LockKey,
    /// Its address.
    pub lock: usize,
    /// Where it is taken.
    pub at: Place,
    /// By what.
    pub context: Context,
    /// What may come in between.
    pub open: Open,
    /// By `try_lock`, which has succeeded.
    pub tried: bool,
}

/// Which interrupts may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Hard ones.
    pub hard: bool,
    /// Softirqs; if hard interrupts cannot come, these cannot either.
    pub soft: bool,
}

/// A set of classes, each with the place that put it there, and those that were reported instead.
struct Noted {
    set: ClassSet,
    reported: ClassSet,
    at: [Option<Place>; CLASSES_MAX],
}

impl Noted {
    const NONE: Self = Self { set: ClassSet::EMPTY, reported: ClassSet::EMPTY, at: [None; CLASSES_MAX] };

    fn knows(&self, class: ClassId) -> bool {
        self.set.contains(class) || self.reported.contains(class)
    }
}

/// What is known about one kind of interrupt.
struct Uses {
    /// Taken in it.
    used: Noted,
    /// Taken where it may come.
    open: Noted,
}

/// See the module's text.
pub struct Checker {
    classes: Classes,
    graph: Graph,
    hard: Uses,
    soft: Uses,
    /// Pairs that were reported, and are not in the graph.
    wrong_order: [ClassSet; CLASSES_MAX],
    /// Classes that were reported, for each of the other rules.
    wrong_kind: ClassSet,
    wrong_release: ClassSet,
    left: ClassSet,
    /// There was a time in which nothing was checked: what is released now may have been taken then.
    has_gaps: bool,
    off: bool,
}

impl Checker {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            classes: Classes::new(),
            graph: Graph::new(),
            hard: Uses { used: Noted::NONE, open: Noted::NONE },
            soft: Uses { used: Noted::NONE, open: Noted::NONE },
            wrong_order: [ClassSet::EMPTY; CLASSES_MAX],
            wrong_kind: ClassSet::EMPTY,
            wrong_release: ClassSet::EMPTY,
            left: ClassSet::EMPTY,
            has_gaps: false,
            off: false,
        }
    }

    /// The classes, for people.
    #[must_use]
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The order, for people.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whether a table was too small.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Whether `class` is known to be taken in this kind of interrupt, and where it may come.
    #[must_use]
    pub fn uses(&self, interrupt: Interrupt, class: ClassId) -> (bool, bool) {
        let uses = match interrupt {
            Interrupt::Hard => &self.hard,
            Interrupt::Soft => &self.soft,
        };
        (uses.used.set.contains(class), uses.open.set.contains(class))
    }

    /// Nothing is checked for a while.
    pub fn leave_gap(&mut self) {
        self.has_gaps = true;
    }

    /// A lock is about to be taken by the task with the stack `held`.
    pub fn acquire(&mut self, held: &HeldStack, taking: &Taking<'_>, report: Report<'_>) {
        if self.off {
            return;
        }
        let Some(class) = self.classes.of(taking.key) else { return self.turn_off(Limit::Classes, report) };
        if !taking.tried {
            for outer in held.iter().filter(|outer| outer.context == taking.context) {
                if !self.graph.has(outer.class, class) {
                    self.learn_order(&outer, class, taking.at, report);
                }
            }
            self.check_context(class, taking, report);
            match taking.context {
                Context::Thread => {}
                Context::SoftIrq => self.learn_used(Interrupt::Soft, class, taking.at, report),
                Context::HardIrq => self.learn_used(Interrupt::Hard, class, taking.at, report),
            }
        }
        self.learn_open(taking.open, class, taking.at, report);
        let taken = Held { class, lock: taking.lock, at: taking.at, context: taking.context };
        if !self.off && !held.push(taken) {
            self.turn_off(Limit::Held, report);
        }
    }

    /// The lock at address `lock` is about to be released. What may come by now may have come in the section.
    pub fn release(&mut self, held: &HeldStack, key: &LockKey, lock: usize, open: Open, report: Report<'_>) {
        if self.off {
            return;
        }
        if let Some(found) = held.remove(lock) {
            return self.learn_open(open, found.class, found.at, report);
        }
        if self.has_gaps {
            return;
        }
        let Some(class) = self.classes.of(key) else { return self.turn_off(Limit::Classes, report) };
        if self.wrong_release.insert(class)
            && let Some(class) = self.classes.get(class.index())
        {
            report(&Problem::NotHeld { made_at: class.made_at });
        }
    }

    /// At a moment at which none of the locks that `matters` selects may be held; they are forgotten.
    pub fn left(
        &mut self,
        held: &HeldStack,
        moment: Moment,
        matters: impl Fn(&Held, Kind) -> bool,
        report: Report<'_>,
    ) {
        while !self.off
            && let Some(found) = held.iter().find(|entry| {
                self.classes.get(entry.class.index()).is_some_and(|class| matters(entry, class.kind))
            })
        {
            held.remove(found.lock);
            if self.left.insert(found.class) {
                report(&Problem::Left { held: self.taken(found.class, found.at), moment });
            }
        }
    }

    /// Rule 1 and, for the new edge, rules 2 and 3.
    #[inline(never)]
    fn learn_order(&mut self, outer: &Held, class: ClassId, at: Place, report: Report<'_>) {
        if !self.wrong_order[outer.class.index()].insert(class) {
            return;
        }
        let now = Step { outer: self.taken(outer.class, outer.at), inner: self.taken(class, at) };
        if outer.class == class {
            return report(&Problem::Recursion(now));
        }
        if now.inner.kind > now.outer.kind {
            report(&Problem::Nesting(now));
        }
        if self.graph.search(class, Direction::Inwards, &ClassSet::of(outer.class)).is_some() {
            let mut known = Way::default();
            self.append_way(&mut known, class, outer.class);
            return report(&Problem::Order { now, known });
        }
        for interrupt in [Interrupt::Hard, Interrupt::Soft] {
            let (used, open) = (self.noted(interrupt).used.set, self.noted(interrupt).open.set);
            if let Some(open) = self.graph.search(class, Direction::Inwards, &open)
                && let Some(used) = self.graph.search(outer.class, Direction::Outwards, &used)
            {
                let mut way = Way::default();
                self.append_way(&mut way, used, outer.class);
                way.push(now);
                self.append_way(&mut way, class, open);
                let (used, open) = (self.used(interrupt, used), self.opened(interrupt, open));
                return report(&Problem::Interrupted { interrupt, used, open, way });
            }
        }
        // In order: it goes where it belongs.
        self.wrong_order[outer.class.index()].remove(class);
        let edge = Edge { from: outer.class, to: class, held_at: outer.at, taken_at: at };
        if !self.graph.add(edge) {
            self.turn_off(Limit::Edges, report);
        }
    }

    /// Rule 3 for a lock alone.
    #[inline(always)]
    fn check_context(&mut self, class: ClassId, taking: &Taking<'_>, report: Report<'_>) {
        if taking.context == Context::Thread {
            return;
        }
        let taken = self.taken(class, taking.at);
        if taken.kind == Kind::Sleep && self.wrong_kind.insert(class) {
            report(&Problem::InInterrupt { taken, context: taking.context });
        }
    }

    /// Rule 2 for a class that is taken in an interrupt.
    #[inline(always)]
    fn learn_used(&mut self, interrupt: Interrupt, class: ClassId, at: Place, report: Report<'_>) {
        if !self.noted(interrupt).used.knows(class) {
            self.learn_used_slow(interrupt, class, at, report);
        }
    }

    #[inline(never)]
    fn learn_used_slow(&mut self, interrupt: Interrupt, class: ClassId, at: Place, report: Report<'_>) {
        let open = self.noted(interrupt).open.set;
        let contradicts = self.graph.search(class, Direction::Inwards, &open);
        let used = &mut self.noted_mut(interrupt).used;
        used.at[class.index()] = Some(at);
        match contradicts {
            None => {
                used.set.insert(class);
            }
            Some(open) => {
                used.reported.insert(class);
                self.report_uses(interrupt, class, open, report);
            }
        }
    }

    /// Rule 2 for a class that is taken where interrupts may come.
    #[inline(always)]
    fn learn_open(&mut self, open: Open, class: ClassId, at: Place, report: Report<'_>) {
        if open.hard {
            if !self.hard.open.knows(class) {
                self.learn_open_slow(Interrupt::Hard, class, at, report);
            }
            if open.soft && !self.soft.open.knows(class) {
                self.learn_open_slow(Interrupt::Soft, class, at, report);
            }
        }
    }

    #[inline(never)]
    fn learn_open_slow(&mut self, interrupt: Interrupt, class: ClassId, at: Place, report: Report<'_>) {
        let used = self.noted(interrupt).used.set;
        let contradicts = self.graph.search(class, Direction::Outwards, &used);
        let open = &mut self.noted_mut(interrupt).open;
        open.at[class.index()] = Some(at);
        match contradicts {
            None => {
                open.set.insert(class);
            }
            Some(used) => {
                open.reported.insert(class);
                self.report_uses(interrupt, used, class, report);
            }
        }
    }

    fn report_uses(&mut self, interrupt: Interrupt, used: ClassId, open: ClassId, report: Report<'_>) {
        let mut way = Way::default();
        self.append_way(&mut way, used, open);
        let (used, open) = (self.used(interrupt, used), self.opened(interrupt, open));
        report(&Problem::Interrupted { interrupt, used, open, way });
    }

    /// Adds a shortest way from `from` to `to` to `way`.
    fn append_way(&mut self, way: &mut Way, from: ClassId, to: ClassId) {
        let Self { graph, classes, .. } = self;
        for edge in graph.way(from, to) {
            way.push(Step {
                outer: taken(classes, edge.from, edge.held_at),
                inner: taken(classes, edge.to, edge.taken_at),
            });
        }
    }

    fn noted(&self, interrupt: Interrupt) -> &Uses {
        match interrupt {
            Interrupt::Hard => &self.hard,
            Interrupt::Soft => &self.soft,
        }
    }

    fn noted_mut(&mut self, interrupt: Interrupt) -> &mut Uses {
        match interrupt {
            Interrupt::Hard => &mut self.hard,
            Interrupt::Soft => &mut self.soft,
        }
    }

    fn used(&self, interrupt: Interrupt, class: ClassId) -> Taken {
        let at = self.noted(interrupt).used.at[class.index()];
        self.taken(class, at.unwrap_or(self.class(class).made_at))
    }

    fn opened(&self, interrupt: Interrupt, class: ClassId) -> Taken {
        let at = self.noted(interrupt).open.at[class.index()];
        self.taken(class, at.unwrap_or(self.class(class).made_at))
    }

    fn class(&self, class: ClassId) -> &Class {
        of(&self.classes, class)
    }

    /// For people: a lock of `class`, taken at `at`.
    pub(super) fn taken(&self, class: ClassId, at: Place) -> Taken {
        taken(&self.classes, class, at)
    }

    #[cold]
    fn turn_off(&mut self, limit: Limit, report: Report<'_>) {
        self.off = true;
        report(&Problem::Full(limit));
    }
}

fn of(classes: &Classes, class: ClassId) -> &Class {
    classes.get(class.index()).expect("class numbers come from the table")
}

fn taken(classes: &Classes, class: ClassId, at: Place) -> Taken {
    Taken::new(of(classes, class), at)
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}
