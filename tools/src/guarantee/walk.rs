//! One function in one state: which instructions it executes, in which states, and what that costs.
//!
//! [`Walker::summary`] explores a function from a [`Machine`], together with everything it calls, and keeps the answer: a
//! function that masks interrupts and returns is followed into whoever called it, and one that is called with
//! interrupts masked is looked at in that state. The nodes of the exploration are pairs of instruction and state. A *section* is a path
//! through nodes that are closed ([`Kind`]); it may begin and end in different functions. So the summary says how long the
//! closed paths are
//!
//! * from the entry to each way out (`through`),
//! * from the last opening to each way out (`tail`),
//! * from the entry to the first opening (`head`),
//!
//! and what begins and ends inside is a [`Section`] of the whole analysis.
//!
//! Length is counted as preempt-stats does: the instruction that closes is in, the one that opens is not.
//!
//! Left out are paths that never come back, to a caller or to an opening: panics. They end the machine.
#![forbid(unsafe_code)]

mod found;
mod lengths;
mod targets;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::code::Code;
use super::graph::{Longest, Node};
use super::insn::{Flow, Op, flow, op};
use super::limits::Limits;
use super::names::Inlined;
use super::state::{Effect, Machine, Registers, Value};
use found::Found;
use targets::NOBODY;
pub use targets::returning;

/// What closes the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Interrupts are masked.
    Irqs,
    /// Interrupts are masked, or preemption is off by the count.
    Any,
}

impl Kind {
    fn closed(self, machine: Machine) -> bool {
        machine.masked || self == Self::Any && machine.counted()
    }
}

/// How a section ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// The CPU is open again.
    Open,
    /// Another task goes on from here.
    Switch,
    /// A softirq gives way to whoever asked.
    GivesWay,
    /// The return from an interrupt.
    Return,
}

/// How long the paths to one way out are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Closed from the entry on.
    pub through: Option<u64>,
    /// Closed since something inside.
    pub tail: Option<u64>,
    /// Closed since this task was switched to.
    pub resumed: Option<u64>,
}

/// What a function does, entered in one state.
pub struct Summary {
    /// Where it was entered.
    pub entry: u64,
    /// The ways out.
    pub exits: BTreeMap<Machine, Exit>,
    /// The longest closed path from the entry to an end inside, by the kind of end.
    pub heads: BTreeMap<End, (u64, Node)>,
    /// Its inside.
    pub body: Body,
}

/// How a successor is reached.
#[derive(Clone)]
pub(super) enum Via {
    Plain,
    /// Through a call that comes back in this state.
    Call(Rc<Summary>, Machine),
}

#[derive(Clone)]
pub(super) struct Step {
    pub to: Node,
    /// Closed all the way: so long.
    pub weight: Option<u64>,
    /// A section begins on the way, and is so long when it arrives.
    pub start: Option<u64>,
    /// The task is switched to on the way, and so much of a section is behind it when it arrives.
    pub resumed: Option<u64>,
    pub via: Via,
}

/// The inside of a summary, for telling where the time goes.
pub struct Body {
    pub(super) nodes: Vec<(u64, Machine)>,
    pub(super) steps: Vec<Vec<Step>>,
    pub(super) entry: Longest,
    pub(super) local: Longest,
    pub(super) resumed: Longest,
}

/// How a section begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Begin {
    /// The CPU is closed here, or a softirq goes on here after it was asked whether to give way.
    Closed,
    /// A task was switched to.
    Switch,
}

/// A section that ends in `summary`, at `node`.
#[derive(Clone)]
pub struct Section {
    /// Its length in instructions.
    pub length: u64,
    /// How it begins.
    pub begin: Begin,
    /// How it ends.
    pub end: End,
    /// Where.
    pub summary: Rc<Summary>,
    /// At which of its nodes.
    pub node: Node,
    /// Through a call that contains the end.
    pub(super) inside: Option<Rc<Summary>>,
}

/// Something that keeps the bound from being computed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What and where.
    pub text: String,
    /// The calls that lead there, the innermost first.
    pub calls: Vec<String>,
}

/// The part of a register context that a summary depends on.
type Context = (u64, Machine, [u8; 8]);

/// See the module's text.
pub struct Walker<'a> {
    pub(super) code: &'a Code,
    pub(super) names: &'a dyn Inlined,
    pub(super) limits: &'a Limits,
    kind: Kind,
    known: HashMap<Context, Rc<Summary>>,
    /// The functions that are being looked at, with the call in each.
    calls: Vec<(Context, u64)>,
    returns: HashSet<u64>,
    switch: Option<u64>,
    /// What [`Self::named`] has found.
    named: HashMap<String, Rc<[u64]>>,
    /// Sections that begin and end, by the place where they end.
    pub sections: Vec<Section>,
    /// What is wrong; each text once.
    pub problems: BTreeSet<Problem>,
    reported: HashSet<String>,
    /// Functions whose address was seen in code.
    pub pointers: BTreeSet<u64>,
    /// Functions that never return and were called with the CPU closed.
    pub left_out: BTreeSet<String>,
    /// Entries of the limits that were used.
    pub used: BTreeSet<String>,
}

impl<'a> Walker<'a> {
    /// An analysis of sections of one kind.
    #[must_use]
    pub fn new(
        code: &'a Code,
        names: &'a dyn Inlined,
        limits: &'a Limits,
        kind: Kind,
        returns: HashSet<u64>,
    ) -> Self {
        Self {
            code,
            names,
            limits,
            kind,
            known: HashMap::new(),
            calls: Vec::new(),
            returns,
            switch: code.symbol("cpu_switch_to"),
            named: HashMap::new(),
            sections: Vec::new(),
            problems: BTreeSet::new(),
            reported: HashSet::new(),
            pointers: BTreeSet::new(),
            left_out: BTreeSet::new(),
            used: BTreeSet::new(),
        }
    }

    fn problem(&mut self, text: String) {
        if self.reported.insert(text.clone()) {
            let calls = self.calls.iter().rev().map(|(_, at)| self.place(*at)).collect();
            self.problems.insert(Problem { text, calls });
        }
    }

    /// An address with everything that is inlined there.
    #[must_use]
    pub fn place(&self, address: u64) -> String {
        let frames = self.names.frames(address);
        let inlined: Vec<String> =
            frames.iter().map(|frame| format!("{} ({})", frame.function, frame.place)).collect();
        if inlined.is_empty() {
            return self.code.place(address);
        }
        format!("{address:#x}: {}", inlined.join(" < "))
    }

    /// Looks at a function that is begun by itself. It ends as it began: whoever calls it through a pointer relies on that.
    pub fn root(&mut self, entry: u64, machine: Machine) {
        let name = self.code.name(entry);
        if let Some(known) = self.limits.left_out(name) {
            self.used.insert(known.to_owned());
            return;
        }
        let summary = self.summary(entry, machine, &Registers::default());
        let left = summary.exits.keys().any(|exit| !exit.is_left_as(machine));
        // Called with interrupts masked alone, they open them in between.
        if left && self.limits.masked(name).is_none() {
            let text = format!("{} returns with the mask or the count changed", self.code.name(entry));
            self.problem(text);
        }
    }

    /// What the function at `entry` does, entered in `machine`.
    pub fn summary(&mut self, entry: u64, machine: Machine, arguments: &Registers) -> Rc<Summary> {
        let context = (entry, machine, masks(arguments));
        if let Some(known) = self.known.get(&context) {
            return known.clone();
        }
        let depth = self.calls.iter().filter(|((of, ..), _)| *of == entry).count() as u64;
        if depth > 0 {
            let limit = self.limits.recursion(self.code.name(entry));
            if let Some((name, most)) = limit {
                self.used.insert(name.to_owned());
                if depth < most {
                    return self.look(context, arguments);
                }
                // Nobody calls itself any deeper: there is no way back from here.
                return Rc::new(Summary {
                    entry,
                    exits: BTreeMap::new(),
                    heads: BTreeMap::new(),
                    body: Body::empty(),
                });
            }
            if self.kind.closed(machine) {
                let text = format!("recursion into {}", self.code.name(entry));
                self.problem(text);
            }
            return self.assumed(entry, machine);
        }
        let recursive = self.limits.recursion(self.code.name(entry)).is_some();
        let inside =
            self.calls.iter().any(|((of, ..), _)| self.limits.recursion(self.code.name(*of)).is_some());
        let summary = self.look(context, arguments);
        // What was found inside of a recursion holds for its depth alone.
        if recursive || !inside {
            self.known.insert(context, summary.clone());
        }
        summary
    }

    fn look(&mut self, context: Context, arguments: &Registers) -> Rc<Summary> {
        let (entry, machine, _) = context;
        self.calls.push((context, entry));
        let summary = self.explore(entry, machine, arguments);
        self.calls.pop();
        summary
    }

    /// What a function is taken to do that is not looked at: nothing to the state.
    fn assumed(&self, entry: u64, machine: Machine) -> Rc<Summary> {
        let through = self.kind.closed(machine).then_some(0);
        let exits = BTreeMap::from([(machine, Exit { through, ..Exit::default() })]);
        Rc::new(Summary { entry, exits, heads: BTreeMap::new(), body: Body::empty() })
    }

    /// As [`Self::assumed`], and costs so much.
    fn costing(&self, entry: u64, machine: Machine, cost: u64) -> Rc<Summary> {
        let through = self.kind.closed(machine).then_some(cost);
        let exits = BTreeMap::from([(machine, Exit { through, ..Exit::default() })]);
        Rc::new(Summary { entry, exits, heads: BTreeMap::new(), body: Body::empty() })
    }

    fn explore(&mut self, entry: u64, machine: Machine, arguments: &Registers) -> Rc<Summary> {
        let mut found = Found::default();
        found.meet(entry, machine, arguments);
        while let Some(node) = found.work.pop() {
            found.queued[node] = false;
            self.visit(node, entry, &mut found);
        }
        self.summarise(entry, machine, found)
    }

    /// Executes one node, and finds what follows.
    fn visit(&mut self, node: Node, entry: u64, found: &mut Found) {
        let (pc, machine) = found.nodes[node];
        let mut registers = found.registers[node].clone();
        let Some(word) = self.code.word(pc) else {
            self.problem(format!("the code runs out of the image at {}", self.code.place(pc)));
            return;
        };
        found.steps[node].clear();
        found.exits.remove(&node);
        if let Some(call) = self.calls.last_mut() {
            call.1 = pc;
        }
        let next = pc + 4;
        match flow(word, pc) {
            Flow::Next => {
                let mut after = machine;
                let what = op(word, pc);
                // The pair of `local_irq_save`: the old mask will be restored. A mask that is read alone is looked at.
                let saves = matches!(what, Op::ReadMask { .. })
                    && self
                        .code
                        .word(next)
                        .is_some_and(|word| matches!(op(word, next), Op::MaskImm { set: true, .. }));
                // Every site of preempt-stats changes the mask or the word of the running task, so a pointer that was kept
                // on the stack is known again.
                if let Op::Store { rn, .. } | Op::Load { rn, .. } = what
                    && self.word_of_task(pc, rn)
                {
                    registers.set(rn, Value::Task);
                }
                let effect = registers.step(what, &mut after, self.code);
                self.judge(effect, pc);
                if saves {
                    let saved = Registers::saves(&mut after);
                    self.judge(saved, pc);
                    if saved != Effect::Fine {
                        return;
                    }
                }
                if let Op::AddImm { rd, .. } | Op::Set { rd, .. } = what
                    && let Value::Const(value) = registers.get(rd)
                    && self.code.is_function(value)
                {
                    self.pointers.insert(value);
                }
                let gives_way =
                    self.code.gives_way(pc) && self.kind == Kind::Any && machine.serves_softirq_only();
                self.plain(node, next, after, &registers, gives_way, found);
            }
            Flow::Wait => {
                found.ends.insert((node, End::Open));
                let to = found.meet(next, machine, &registers);
                found.steps[node].push(Step {
                    to,
                    weight: None,
                    start: Some(0),
                    resumed: None,
                    via: Via::Plain,
                });
            }
            Flow::Trap => {}
            Flow::Branch(test, target) => {
                let taken = registers.decide(test);
                if taken != Some(true) {
                    self.plain(node, next, machine, &registers, false, found);
                }
                if taken != Some(false) {
                    self.plain(node, target, machine, &registers, false, found);
                }
            }
            Flow::Jump(target) => {
                let leaves =
                    self.code.is_function(target) && target != entry && !self.code.same_function(pc, target);
                if leaves {
                    self.call(node, &[target], None, &registers, found);
                } else {
                    self.plain(node, target, machine, &registers, false, found);
                }
            }
            Flow::Call(target) => self.call(node, &[target], Some(next), &registers, found),
            Flow::CallReg(register) => {
                let targets = self.targets(pc, registers.get(register), machine);
                self.call(node, &targets, Some(next), &registers, found);
            }
            Flow::JumpReg(register) => match self.jump_table(pc, register, &registers) {
                Some(targets) => {
                    for target in targets {
                        self.plain(node, target, machine, &registers, false, found);
                    }
                }
                None => {
                    let targets = self.targets(pc, registers.get(register), machine);
                    self.call(node, &targets, None, &registers, found);
                }
            },
            Flow::Return => {
                found.exits.insert(node, vec![(machine, Exit { through: Some(1), ..Exit::default() })]);
            }
            Flow::ExceptionReturn => {
                found.ends.insert((node, End::Return));
            }
        }
    }

    /// Whether the table of patch sites says that `base` is the running task: at the store of its word, and at the load and
    /// the addition in front of it.
    fn word_of_task(&self, pc: u64, base: u8) -> bool {
        (0..3).map(|ahead| pc + ahead * 4).any(|at| {
            self.code.is_hook(at)
                && self
                    .code
                    .word(at)
                    .is_some_and(|word| matches!(op(word, at), Op::Store { rn, .. } if rn == base))
        })
    }

    fn judge(&mut self, effect: Effect, pc: u64) {
        let what = match effect {
            Effect::Fine => return,
            Effect::UnknownCount => "a preempt count is stored that is not known",
            Effect::Disagrees => "a mask is restored that is not the one that was saved last",
            Effect::NothingSaved => return,
            Effect::TooDeep => "the preempt count, or the masks that are saved, grow without end",
        };
        let text = format!("{what}: {}", self.place(pc));
        self.problem(text);
    }

    /// An instruction that goes on to `to` in the state `after`.
    fn plain(
        &self,
        node: Node,
        to: u64,
        after: Machine,
        registers: &Registers,
        cut: bool,
        found: &mut Found,
    ) {
        let before = found.nodes[node].1;
        let (was, is) = (self.kind.closed(before), self.kind.closed(after));
        let to = found.meet(to, after, registers);
        let (mut weight, mut start) = match (was, is) {
            (true, true) => (Some(1), None),
            (false, true) => (None, Some(1)),
            (true, false) => {
                found.ends.insert((node, End::Open));
                (None, None)
            }
            (false, false) => (None, None),
        };
        if cut && was {
            found.ends.insert((node, End::GivesWay));
            (weight, start) = (None, is.then_some(0));
        }
        found.steps[node].push(Step { to, weight, start, resumed: None, via: Via::Plain });
    }

    /// A call of one of `targets`, which comes back to `back` or, for a jump, to this function's caller.
    fn call(
        &mut self,
        node: Node,
        targets: &[u64],
        back: Option<u64>,
        registers: &Registers,
        found: &mut Found,
    ) {
        let (pc, machine) = found.nodes[node];
        let closed = self.kind.closed(machine);
        found.calls.remove(&node);
        let mut after = registers.clone();
        after.call();
        for &target in targets {
            if self.switch == Some(target) {
                let cost = self.summary(target, machine, &Registers::default());
                let length = cost.exits.values().filter_map(|exit| exit.through).max().unwrap_or(0);
                found.switches.insert(node, 1 + length);
                if let Some(back) = back {
                    let to = found.meet(back, machine, &after);
                    found.steps[node].push(Step {
                        to,
                        weight: None,
                        start: None,
                        resumed: closed.then_some(0),
                        via: Via::Plain,
                    });
                }
                continue;
            }
            let Some(summary) = self.callee(target, machine, registers, pc) else { continue };
            if summary.exits.is_empty() {
                continue;
            }
            found.calls.entry(node).or_default().push(summary.clone());
            for (&exit, &length) in &summary.exits {
                match back {
                    Some(back) => {
                        let to = found.meet(back, exit, &after);
                        let weight = if closed { length.through.map(|through| 1 + through) } else { None };
                        let via = Via::Call(summary.clone(), exit);
                        found.steps[node].push(Step {
                            to,
                            weight,
                            start: length.tail,
                            resumed: length.resumed,
                            via,
                        });
                    }
                    None => {
                        let through = length.through.map(|through| 1 + through);
                        found.exits.entry(node).or_default().push((exit, Exit { through, ..length }));
                    }
                }
            }
        }
    }

    /// What a call of `target` does; nothing if it never comes back.
    fn callee(
        &mut self,
        target: u64,
        machine: Machine,
        registers: &Registers,
        pc: u64,
    ) -> Option<Rc<Summary>> {
        let closed = self.kind.closed(machine);
        if target == NOBODY {
            return Some(self.assumed(target, machine));
        }
        let name = self.code.name(target).to_owned();
        if !self.returns.contains(&target) {
            // A panic, or the end of a task, which is looked at by itself.
            self.left_out.insert(name);
            return None;
        }
        if let Some(entry) = self.limits.absent(&name) {
            self.used.insert(entry.to_owned());
            return None;
        }
        if closed || machine.masked || machine.counted() {
            // By its own name, or by that of a function that is inlined where it is called.
            let frames = self.names.frames(pc);
            let here = frames.iter().find_map(|frame| self.limits.left_out(&frame.function));
            if let Some(entry) = self.limits.left_out(&name).or(here) {
                self.used.insert(entry.to_owned());
                return Some(self.assumed(target, machine));
            }
        }
        if let Some((base, per_byte)) = self.limits.bytes(&name) {
            self.used.insert(name.clone());
            if !closed {
                return Some(self.assumed(target, machine));
            }
            let bytes = match registers.get(2) {
                Value::Const(bytes) => Some(bytes),
                _ => self.limits.copied(|pattern| self.is_within(pc, pattern)).map(|(entry, bytes)| {
                    self.used.insert(entry.to_owned());
                    bytes
                }),
            };
            let Some(bytes) = bytes else {
                let text = format!("{name} of an unknown number of bytes: {}", self.place(pc));
                self.problem(text);
                return Some(self.assumed(target, machine));
            };
            return Some(self.costing(target, machine, base + per_byte * bytes));
        }
        Some(self.summary(target, machine, &registers.arguments()))
    }

    /// What is called at a node.
    pub(super) fn callees(&self, summary: &Summary, node: Node) -> Vec<Rc<Summary>> {
        let steps = summary.body.steps[node].iter();
        let mut found: Vec<Rc<Summary>> = Vec::new();
        for step in steps {
            if let Via::Call(callee, _) = &step.via
                && !found.iter().any(|known| Rc::ptr_eq(known, callee))
            {
                found.push(callee.clone());
            }
        }
        found
    }
}

impl Body {
    fn empty() -> Self {
        let none = || Longest { length: Vec::new(), from: Vec::new() };
        Self { nodes: Vec::new(), steps: Vec::new(), entry: none(), local: none(), resumed: none() }
    }
}

fn masks(registers: &Registers) -> [u8; 8] {
    std::array::from_fn(|register| match registers.get(register as u8) {
        Value::Mask(masked) => 1 + u8::from(masked),
        _ => 0,
    })
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
