//! Who can be called, and who comes back: through a register, through a table, by what the limits say.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::rc::Rc;

use super::Walker;
use crate::guarantee::code::Code;
use crate::guarantee::insn::{Flow, flow};
use crate::guarantee::state::{Machine, Registers, Value};
use crate::guarantee::table;

/// A function that is somewhere, and nobody knows which.
pub(super) const NOBODY: u64 = 0;

impl Walker<'_> {
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

    /// Whether an address lies in a function whose name contains `pattern`, inlined or not.
    pub(super) fn is_within(&self, address: u64, pattern: &str) -> bool {
        self.code.name(address).contains(pattern)
            || self.names.frames(address).iter().any(|frame| frame.function.contains(pattern))
    }

    /// What can be called through a register.
    pub(super) fn targets(&mut self, pc: u64, value: Value, machine: Machine) -> Vec<u64> {
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
    pub(super) fn jump_table(&self, pc: u64, register: u8, registers: &Registers) -> Option<Vec<u64>> {
        table::targets(self.code, pc, register, registers)
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
