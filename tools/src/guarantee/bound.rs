//! The figures of one model: what the walk over its code adds up to.
//!
//! ```text
//! irqs         longest time with interrupts masked, whoever masked them
//! section      longest section of a thread in which nobody else can run, its own instructions
//! softirq      longest piece of a softirq between two places where it gives way
//! interrupt    an interrupt that wakes nobody: entry, handler, a piece of the softirqs it raised, return
//! schedule     from the masking in preempt_schedule to the first instruction of the next task
//! irq_to_task  an interrupt that wakes a task: from its first instruction to the task's
//! wake         hold + irq_to_task, where hold = interrupt + section + softirq
//! ```
//!
//! `hold` is what the CPU may be in the middle of when the interrupt is due: an interrupt, over a section that has just begun, with
//! a piece of a softirq behind its end. A section with interrupts open lets the interrupt in at once and the task only behind
//! its end; both orders are within the sum. Each further interrupt that comes later adds one `interrupt`.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result};

use super::code::{Code, Key};
use super::limits::Limits;
use super::names::Inlined;
use super::report;
use super::state::{Machine, Registers};
use super::walk::{Begin, End, Kind, Problem, Section, Walker, returning};

/// A model of preemption, and how many timers are due in one interrupt.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// As in `preempt=`.
    pub name: &'static str,
    /// The keys that it switches on, on one CPU with a GICv3.
    pub keys: &'static [Key],
    /// It preempts: wake-ups are bounded.
    pub preempts: bool,
}

/// All models.
pub const MODELS: [Model; 4] = [
    Model { name: "none", keys: &[Key::PreemptInert], preempts: false },
    Model { name: "voluntary", keys: &[Key::PreemptInert, Key::Voluntary], preempts: false },
    Model { name: "full", keys: &[], preempts: true },
    Model { name: "rt", keys: &[Key::Rt, Key::SleepingSpinLocks], preempts: true },
];

/// A computed figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// See the module's text.
    pub name: &'static str,
    /// In instructions.
    pub value: u64,
    /// Where it is reached: the path, its costly calls and loops.
    pub path: Vec<String>,
}

/// What was computed for a model.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The figures, in the order of the module's text.
    pub figures: Vec<Figure>,
    /// What keeps them from being a bound.
    pub problems: BTreeSet<Problem>,
    /// Limits that were used.
    pub used: BTreeSet<String>,
    /// Functions that never return, whose callers' paths were left out: panics.
    pub never_return: BTreeSet<String>,
}

impl Bounds {
    /// A figure's value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}

/// Functions that are begun by something else than a call or an address in data.
const BEGUN: [&str; 1] = ["stint::task::current::exit"];
const IDLE: &str = "stint::sched::core::cpu_idle_loop";
const INTERRUPT: &str = "el1_irq";
const NEW_TASK: &str = "schedule_tail";
const PREEMPT_SCHEDULE: &str = "stint::preempt::preempt_schedule";
/// The count of a task before its first instruction.
const FORK_COUNT: u32 = 2;
/// Calls and loops that cost less are not told.
const LEAST: u64 = 100;

/// Computes the bounds of an image in a model. `alone`: one timer is due in an interrupt, and not as many as it serves.
///
/// # Errors
/// When the file is no image of this kernel.
pub fn compute(
    elf: &[u8],
    names: &dyn Inlined,
    model: &Model,
    alone: bool,
    limits: &Limits,
) -> Result<Bounds> {
    let code = Code::read(elf, model.keys)?;
    let limits = limits.on(model.name, alone);
    let returns = returning(&code);
    let mut bounds = Bounds::default();

    let mut irqs = Looked::at(&code, names, &limits, Kind::Irqs, &returns)?;
    bounds.figures.push(irqs.longest("irqs")?);
    let broken = !irqs.walker.problems.is_empty();
    let mut all = vec![irqs];
    // What is wrong there is wrong here too.
    if model.preempts && !broken {
        let mut any = Looked::at(&code, names, &limits, Kind::Any, &returns)?;
        any.figures(&mut bounds)?;
        all.push(any);
    }
    for looked in all {
        bounds.problems.extend(looked.walker.problems);
        bounds.used.extend(looked.walker.used);
        bounds.never_return.extend(looked.walker.left_out);
    }
    Ok(bounds)
}

/// A finished walk, and the way from a switch to the opening behind it.
struct Looked<'a> {
    walker: Walker<'a>,
    behind_switch: u64,
}

impl<'a> Looked<'a> {
    fn at(
        code: &'a Code,
        names: &'a dyn Inlined,
        limits: &'a Limits,
        kind: Kind,
        returns: &HashSet<u64>,
    ) -> Result<Self> {
        let mut walker = Walker::new(code, names, limits, kind, returns.clone());
        let none = Registers::default();
        let mut done = HashSet::new();
        let mut todo: Vec<u64> = code.pointers().to_vec();
        for name in BEGUN {
            todo.push(symbol(code, name)?);
        }
        while !todo.is_empty() {
            for function in todo {
                if done.insert(function) && !walker.is_absent(function) {
                    walker.root(function, Machine::OPEN);
                }
            }
            todo = walker.pointers.iter().copied().filter(|function| !done.contains(function)).collect();
        }
        walker.summary(symbol(code, IDLE)?, Machine::IDLE, &none);
        for count in [0, 1] {
            walker.summary(symbol(code, INTERRUPT)?, Machine::interrupted(count), &none);
        }
        let new = walker.summary(symbol(code, NEW_TASK)?, Machine::interrupted(FORK_COUNT), &none);
        let new = new.heads.get(&End::Open).map_or(0, |(length, _)| *length);
        let resumed = walker.sections.iter().filter(|section| section.begin == Begin::Switch);
        let behind_switch =
            resumed.filter(|section| section.end != End::Switch).map(|section| section.length).max();
        Ok(Self { behind_switch: behind_switch.unwrap_or(0).max(new), walker })
    }

    /// A section's length to where the CPU is open again, behind a switch in the next task.
    fn whole(&self, length: u64, end: End) -> u64 {
        length + if end == End::Switch { self.behind_switch } else { 0 }
    }

    /// The longest section among some.
    fn worst(&self, which: impl Fn(&Section) -> bool) -> Option<(u64, &Section)> {
        let own =
            self.walker.sections.iter().filter(|section| section.begin == Begin::Closed && which(section));
        own.map(|section| (self.whole(section.length, section.end), section))
            .max_by_key(|(length, _)| *length)
    }

    fn figure(&self, name: &'static str, found: Option<(u64, &Section)>) -> Figure {
        let Some((value, section)) = found else { return Figure { name, value: 0, path: Vec::new() } };
        let mut path = report::path(&self.walker, section, LEAST);
        if section.end == End::Switch {
            path.push(format!("  {:>6}  behind the switch, in the next task", self.behind_switch));
        }
        Figure { name, value, path }
    }

    /// The entry of an interrupt over a thread with this count: the longest way to an end.
    fn interrupt(&mut self, count: u32, which: impl Fn(End) -> bool) -> Result<(u64, Vec<String>)> {
        let entry = symbol(self.walker.code, INTERRUPT)?;
        let summary = self.walker.summary(entry, Machine::interrupted(count), &Registers::default());
        let heads = summary.heads.iter().filter(|(end, _)| which(**end));
        let lengths = heads.map(|(&end, &(length, node))| (self.whole(length, end), end, node));
        let Some((length, end, node)) = lengths.max() else { return Ok((0, Vec::new())) };
        let mut path = Vec::new();
        report::head(&self.walker, &summary, end, node, LEAST, &mut path);
        Ok((length, path))
    }

    /// The longest section of all, interrupts included.
    fn longest(&mut self, name: &'static str) -> Result<Figure> {
        let of_threads = self.figure(name, self.worst(|_| true));
        let (value, path) = self.interrupt(0, |_| true)?;
        Ok(if value > of_threads.value { Figure { name, value, path } } else { of_threads })
    }

    fn figures(&mut self, bounds: &mut Bounds) -> Result<()> {
        let entry = symbol(self.walker.code, INTERRUPT)?;
        let in_thread = |section: &Section| section.summary.entry != entry;
        let section = self.figure("section", self.worst(|s| in_thread(s) && s.end != End::GivesWay));
        let softirq = self.figure("softirq", self.worst(|s| in_thread(s) && s.end == End::GivesWay));
        // Behind the piece of a softirq that gives way: to the return, or to the switch.
        let rest =
            |end: End| self.worst(|s| s.summary.entry == entry && s.end == end).map_or(0, |(rest, _)| rest);
        let (to_return, to_switch) = (rest(End::Return), rest(End::Switch));

        let (direct, path) = self.interrupt(1, |end| end == End::Return)?;
        let (piece, with_piece) = self.interrupt(1, |end| end == End::GivesWay)?;
        let piece = if piece > 0 { piece + to_return } else { 0 };
        let interrupt = Figure {
            name: "interrupt",
            value: direct.max(piece),
            path: if piece > direct { with_piece } else { path },
        };

        let preempt = symbol(self.walker.code, PREEMPT_SCHEDULE)?;
        self.walker.summary(preempt, Machine::OPEN, &Registers::default());
        let schedule = self.figure("schedule", self.worst(|s| s.summary.entry == preempt));

        let (direct, path) = self.interrupt(0, |end| end != End::GivesWay)?;
        let (piece, with_piece) = self.interrupt(0, |end| end == End::GivesWay)?;
        let piece = if piece > 0 { piece + to_return.max(to_switch) } else { 0 };
        let over_section = interrupt.value + schedule.value;
        let value = direct.max(piece).max(over_section);
        let mut path = if piece > direct { with_piece } else { path };
        if over_section == value {
            path = vec!["  interrupt + schedule: the task follows at the end of a section".to_owned()];
        }
        let to_task = Figure { name: "irq_to_task", value, path };

        let hold = interrupt.value + section.value + softirq.value;
        let wake = Figure {
            name: "wake",
            value: hold + to_task.value,
            path: vec![format!(
                "  {hold} of what was under way, {} from the interrupt to the task",
                to_task.value
            )],
        };
        bounds.figures.extend([section, softirq, interrupt, schedule, to_task, wake]);
        Ok(())
    }
}

fn symbol(code: &Code, name: &str) -> Result<u64> {
    code.symbol(name)
        .with_context(|| format!("the image has no function `{name}`; what it does cannot be bounded"))
}
