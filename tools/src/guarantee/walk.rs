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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::code::Code;
use super::graph::{Bound, Graph, Longest, Node, Unbounded};
use super::insn::{Flow, Op, flow, op};
use super::limits::Limits;
use super::loops::Nest;
use super::names::Inlined;
use super::state::{Effect, Machine, Registers, Value};

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

    /// Whether the limits say that a function, or what is inlined at its start, is never executed.
    pub fn is_absent(&mut self, entry: u64) -> bool {
        let inlined = self.code.beginning(entry).flat_map(|at| self.names.frames(at).to_vec());
        let names =
            std::iter::once(self.code.name(entry).to_owned()).chain(inlined.map(|frame| frame.function));
        let found = names.into_iter().find_map(|name| self.limits.absent(&name).map(str::to_owned));
        found.is_some_and(|entry| {
            self.used.insert(entry);
            true
        })
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

    /// Whether an address lies in a function whose name contains `pattern`, inlined or not.
    pub(super) fn is_within(&self, address: u64, pattern: &str) -> bool {
        self.code.name(address).contains(pattern)
            || self.names.frames(address).iter().any(|frame| frame.function.contains(pattern))
    }

    /// What can be called through a register.
    fn targets(&mut self, pc: u64, value: Value, machine: Machine) -> Vec<u64> {
        if let Value::Const(target) = value
            && self.code.is_function(target)
        {
            return vec![target];
        }
        if !self.kind.closed(machine) {
            // Whoever is called is looked at by itself, and comes back as it was called.
            return vec![NOBODY];
        }
        let frames = self.names.frames(pc);
        if let Some(entry) = frames.iter().find_map(|frame| self.limits.left_out(&frame.function)) {
            self.used.insert(entry.to_owned());
            return vec![NOBODY];
        }
        let mut found = Vec::new();
        let mut known = false;
        for (site, target) in self.limits.calls() {
            if self.is_within(pc, site) {
                known = true;
                let named = self.named(target);
                if !named.is_empty() {
                    self.used.insert(format!("{site} -> {target}"));
                }
                found.extend(named.iter());
            }
        }
        if !known {
            let text = format!("an indirect call with unknown targets: {}", self.place(pc));
            self.problem(text);
            return vec![NOBODY];
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|start| !self.is_absent(*start));
        if found.is_empty() { vec![NOBODY] } else { found }
    }

    /// The functions whose name, or that of what is inlined at their start, contains `pattern`.
    fn named(&mut self, pattern: &str) -> Rc<[u64]> {
        if let Some(known) = self.named.get(pattern) {
            return known.clone();
        }
        let hit = |&(start, name): &(u64, &str)| {
            name.contains(pattern) || self.code.beginning(start).any(|at| self.is_within(at, pattern))
        };
        let found: Rc<[u64]> = self.code.functions().filter(hit).map(|(start, _)| start).collect();
        self.named.insert(pattern.to_owned(), found.clone());
        found
    }

    /// The targets of a jump through a table, if it is one: `base + entry * 4`, or `base + entry`.
    fn jump_table(&self, pc: u64, register: u8, registers: &Registers) -> Option<Vec<u64>> {
        super::table::targets(self.code, pc, register, registers)
    }

    fn summarise(&mut self, entry: u64, machine: Machine, mut found: Found) -> Rc<Summary> {
        let count = found.nodes.len();
        let useful = found.useful(|machine| self.kind.closed(machine));
        let mut graph = Graph::new(count, found.nest());
        let (mut starts, mut resumptions) = (Vec::new(), Vec::new());
        for node in (0..count).filter(|&node| useful[node]) {
            for step in found.steps[node].iter().filter(|step| useful[step.to]) {
                if let Some(weight) = step.weight {
                    graph.edge(node, step.to, weight);
                }
                starts.extend(step.start.map(|start| (step.to, start)));
                resumptions.extend(step.resumed.map(|start| (step.to, start)));
            }
            let pc = found.nodes[node].0;
            if let Some(mut bound) = self.code.bound(pc) {
                if let Some((entry, passes)) = self.limits.passes(|pattern| self.is_within(pc, pattern)) {
                    self.used.insert(entry.to_owned());
                    bound.passes = passes;
                }
                graph.bound(node, bound);
            }
        }
        for step in found.steps.iter_mut() {
            step.retain(|step| useful[step.to]);
        }
        self.bound_by_limits(&mut graph, &found);
        let from_entry: Vec<_> =
            (self.kind.closed(machine) && useful[0]).then_some((0, 0)).into_iter().collect();
        let none = || Longest { length: vec![None; count], from: vec![super::graph::From::Start; count] };
        let entry_paths = graph.longest(&from_entry).unwrap_or_else(|_| none());
        let local_paths = graph.longest(&starts).unwrap_or_else(|_| none());
        let resumed_paths = graph.longest(&resumptions).unwrap_or_else(|_| none());

        let mut exits: BTreeMap<Machine, Exit> = BTreeMap::new();
        for (&node, ways) in found.exits.iter().filter(|(node, _)| useful[**node]) {
            for (exit, way) in ways {
                let known = exits.entry(*exit).or_default();
                let through = entry_paths.length[node].zip(way.through).map(|(a, b)| a + b);
                let tail = local_paths.length[node].zip(way.through).map(|(a, b)| a + b).max(way.tail);
                let resumed =
                    resumed_paths.length[node].zip(way.through).map(|(a, b)| a + b).max(way.resumed);
                if self.kind.closed(*exit) {
                    known.through = known.through.max(through);
                    known.tail = known.tail.max(tail);
                    known.resumed = known.resumed.max(resumed);
                }
            }
        }
        // On one way the mask is restored, on another it is not, because it says "masked" and they are: the same.
        for exit in exits.keys().rev().copied().collect::<Vec<_>>() {
            if let Some(same) = exit.with_mask_dropped().filter(|same| exits.contains_key(same))
                && let Some(length) = exits.remove(&exit)
            {
                let known = exits.entry(same).or_default();
                known.through = known.through.max(length.through);
                known.tail = known.tail.max(length.tail);
                known.resumed = known.resumed.max(length.resumed);
            }
        }
        let mut summary = Summary {
            entry,
            exits,
            heads: BTreeMap::new(),
            body: Body {
                nodes: found.nodes.clone(),
                steps: found.steps.clone(),
                entry: entry_paths,
                local: local_paths,
                resumed: resumed_paths,
            },
        };
        let mut ended: Vec<(Node, End, u64, Option<Rc<Summary>>)> = Vec::new();
        ended.extend(found.ends.iter().map(|&(node, end)| (node, end, 0, None)));
        ended.extend(found.switches.iter().map(|(&node, &length)| (node, End::Switch, length, None)));
        for (&node, callees) in &found.calls {
            for callee in callees {
                for (&end, &(length, _)) in &callee.heads {
                    ended.push((node, end, 1 + length, Some(callee.clone())));
                }
            }
        }
        ended.retain(|(node, ..)| useful[*node]);
        for (node, end, more, _) in &ended {
            if let Some(length) = summary.body.entry.length[*node] {
                let head = summary.heads.entry(*end).or_insert((0, *node));
                *head = (*head).max((length + more, *node));
            }
        }
        let summary = Rc::new(summary);
        for (node, end, more, inside) in ended {
            for (begin, paths) in
                [(Begin::Closed, &summary.body.local), (Begin::Switch, &summary.body.resumed)]
            {
                if let Some(length) = paths.length[node] {
                    let (length, inside) = (length + more, inside.clone());
                    self.sections.push(Section {
                        length,
                        begin,
                        end,
                        summary: summary.clone(),
                        node,
                        inside,
                    });
                }
            }
        }
        summary
    }

    /// Bounds the loops that the code does not, by the table.
    fn bound_by_limits(&mut self, graph: &mut Graph, found: &Found) {
        // Each round bounds at least one loop; inner ones come to light when the outer ones are bounded.
        for _ in 0..64 {
            let mut changed = false;
            let mut open = Vec::new();
            for Unbounded(nodes) in graph.unbounded() {
                let chain = self.loop_functions(&nodes, found);
                // The innermost function that is named.
                let limit = chain.iter().find_map(|function| {
                    let left_out = self.limits.left_out(function).map(|name| (name, 1));
                    self.limits.loops().find(|(pattern, _)| function.contains(pattern)).or(left_out)
                });
                match limit {
                    Some((pattern, passes)) => {
                        self.used.insert(pattern.to_owned());
                        // The test in front of the body is passed once more.
                        let bound = Bound { name: u64::MAX - nodes[0] as u64, passes: passes + 1 };
                        graph.bound(nodes[0], bound);
                        changed = true;
                    }
                    None => open.push(nodes),
                }
            }
            if !changed {
                for nodes in open {
                    let pc = found.nodes[nodes[0]].0;
                    let chain = self.loop_functions(&nodes, found);
                    if let Some(call) = self.calls.last_mut() {
                        call.1 = pc;
                    }
                    let text =
                        format!("a loop without a bound at {}, in {}", self.place(pc), chain.join(" < "));
                    self.problem(text);
                    // So that the rest can be computed.
                    graph.bound(nodes[0], Bound { name: u64::MAX - nodes[0] as u64, passes: 1 });
                }
                if graph.unbounded().is_empty() {
                    return;
                }
            }
        }
    }

    /// The functions that a whole loop lies in, the innermost first.
    fn loop_functions(&self, nodes: &[Node], found: &Found) -> Vec<String> {
        let mut common: Option<Vec<String>> = None;
        for &node in nodes {
            let pc = found.nodes[node].0;
            let mut chain: Vec<String> =
                self.names.frames(pc).iter().map(|frame| frame.function.clone()).collect();
            if chain.is_empty() {
                chain.push(self.code.name(pc).to_owned());
            }
            common = Some(match common {
                None => chain,
                Some(before) => {
                    let same =
                        before.iter().rev().zip(chain.iter().rev()).take_while(|(a, b)| a == b).count();
                    chain.split_off(chain.len() - same)
                }
            });
        }
        common.unwrap_or_default()
    }
}

/// A function that is somewhere, and nobody knows which.
const NOBODY: u64 = 0;

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

/// What an exploration has met.
#[derive(Default)]
pub(super) struct Found {
    nodes: Vec<(u64, Machine)>,
    registers: Vec<Registers>,
    steps: Vec<Vec<Step>>,
    queued: Vec<bool>,
    index: HashMap<(u64, Machine), Node>,
    work: Vec<Node>,
    exits: BTreeMap<Node, Vec<(Machine, Exit)>>,
    ends: BTreeSet<(Node, End)>,
    switches: BTreeMap<Node, u64>,
    calls: BTreeMap<Node, Vec<Rc<Summary>>>,
}

impl Found {
    /// A path arrives at an instruction in a state.
    fn meet(&mut self, pc: u64, machine: Machine, registers: &Registers) -> Node {
        if let Some(&node) = self.index.get(&(pc, machine)) {
            if self.registers[node].join(registers) && !self.queued[node] {
                self.queued[node] = true;
                self.work.push(node);
            }
            return node;
        }
        let node = self.nodes.len();
        self.nodes.push((pc, machine));
        self.registers.push(registers.clone());
        self.steps.push(Vec::new());
        self.queued.push(true);
        self.index.insert((pc, machine), node);
        self.work.push(node);
        node
    }

    /// The loops of the function. Those of its instructions, whatever the state: a state that is met in the middle of a
    /// loop is no entry of it.
    fn nest(&self) -> Nest {
        let mut index: BTreeMap<u64, Node> = BTreeMap::new();
        for &(pc, _) in &self.nodes {
            let next = index.len();
            index.entry(pc).or_insert(next);
        }
        let mut edges: Vec<Vec<Node>> = vec![Vec::new(); index.len()];
        for (node, steps) in self.steps.iter().enumerate() {
            let from = index[&self.nodes[node].0];
            for step in steps {
                let to = index[&self.nodes[step.to].0];
                if !edges[from].contains(&to) {
                    edges[from].push(to);
                }
            }
        }
        // The first node is the entry.
        Nest::of(&edges, 0).spread(self.nodes.iter().map(|(pc, _)| index[pc]))
    }

    /// The nodes from which a path leads out, or to an opening.
    fn useful(&self, closed: impl Fn(Machine) -> bool) -> Vec<bool> {
        let count = self.nodes.len();
        let mut before: Vec<Vec<Node>> = vec![Vec::new(); count];
        for (node, steps) in self.steps.iter().enumerate() {
            steps.iter().for_each(|step| before[step.to].push(node));
        }
        let mut useful = vec![false; count];
        let mut work: Vec<Node> = (0..count).filter(|&node| !closed(self.nodes[node].1)).collect();
        work.extend(self.exits.keys().chain(self.switches.keys()));
        work.extend(self.ends.iter().map(|(node, _)| node));
        while let Some(node) = work.pop() {
            if !std::mem::replace(&mut useful[node], true) {
                work.extend(&before[node]);
            }
        }
        useful
    }
}

/// The functions that can return: to these a call comes back.
#[must_use]
pub fn returning(code: &Code) -> HashSet<u64> {
    let mut returns = HashSet::from([NOBODY]);
    loop {
        let mut changed = false;
        for start in code.labels() {
            if !returns.contains(&start) && comes_back(code, start, &returns) {
                returns.insert(start);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    returns
}

fn comes_back(code: &Code, start: u64, returns: &HashSet<u64>) -> bool {
    let mut seen = HashSet::new();
    let mut work = vec![start];
    let known = |target: u64| returns.contains(&target);
    while let Some(pc) = work.pop() {
        if !seen.insert(pc) {
            continue;
        }
        let Some(word) = code.word(pc) else { continue };
        match flow(word, pc) {
            Flow::Return | Flow::ExceptionReturn => return true,
            Flow::Trap => {}
            Flow::Next | Flow::Wait | Flow::CallReg(_) => work.push(pc + 4),
            Flow::Branch(_, target) => work.extend([target, pc + 4]),
            Flow::Jump(target) if code.is_function(target) && !code.same_function(pc, target) => {
                if returns.contains(&target) {
                    return true;
                }
            }
            Flow::Jump(target) => work.push(target),
            Flow::Call(target) => {
                if known(target) {
                    work.push(pc + 4);
                }
            }
            // A jump table or a call in the place of a return.
            Flow::JumpReg(_) => return true,
        }
    }
    false
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
