//! An explanation in words, and as a result line.
//!
//! ```text
//!  1593 ns late (fragment 17): 402 interrupts masked by alloc/12 at stint::mm::heap::alloc+0x40, 36 entry, 120 handler
//!  arch_timer (27), 96 wake, 310 softirq TIMER, 211 switch, 30 return, 388 tracing
//! result latency.blame 1593 ns fragment=17 load=all preempt=full masked=402 … tracing=388 … by=alloc/12 at=stint::mm::heap::alloc+0x40
//! ```
//!
//! Invariant: in both forms the numbers add up to the first.
//!
//! Context: any; pure. Names are asked of a [`Lookup`].
#![forbid(unsafe_code)]

use super::blame::{Explanation, Part};
use crate::trace::event::Section;
use crate::trace::names::Comm;
use crate::trace::text::{Lookup, SOFTIRQS, reason};
use core::fmt::{self, Display, Formatter, Write};

/// An explanation for people, in one line.
pub struct Sentence<'a, L: Lookup>(pub &'a Explanation, pub &'a L);

impl<L: Lookup> Display for Sentence<'_, L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(explanation, lookup) = self;
        write!(f, "{} ns late (fragment {}):", explanation.whole_ns, explanation.fragment)?;
        for (at, (part, ns)) in explanation.parts.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma} {ns} {}", Cause(*part, *lookup))?;
        }
        Ok(())
    }
}

/// A cause, as the object of a sentence.
struct Cause<'a, L: Lookup>(Part, &'a L);

impl<L: Lookup> Display for Cause<'_, L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(part, lookup) = *self;
        let task = |task| Who(task, lookup);
        match part {
            Part::Masked { task: who, at } => {
                write!(f, "interrupts masked by {} at {}", task(who), Place(at, lookup))
            }
            Part::PreemptOff { task: who, at } => {
                write!(f, "preemption off by {} at {}", task(who), Place(at, lookup))
            }
            Part::Entry => f.write_str("entry"),
            Part::Handler { irq } => {
                f.write_str("handler ")?;
                lookup.irq(irq, f)?;
                write!(f, " ({irq})")
            }
            Part::Ipi { ipi } => write!(f, "request of another CPU ({})", reason(ipi)),
            Part::Timer { function } => {
                f.write_str("timer ")?;
                lookup.symbol(function, f)
            }
            Part::Softirq { vector } => {
                write!(f, "softirq {}", SOFTIRQS.get(vector as usize).unwrap_or(&"?"))
            }
            Part::Wake => f.write_str("wake"),
            Part::Behind { task: who } => write!(f, "behind {}", task(who)),
            Part::Other { task: who } => write!(f, "{} first", task(who)),
            Part::Lock { lock, owner: Some(owner) } => {
                write!(f, "for lock {lock:#x}, which {} had", task(owner))
            }
            Part::Lock { lock, owner: None } => write!(f, "for lock {lock:#x}"),
            Part::Switch => f.write_str("switch"),
            Part::Return => f.write_str("return"),
            Part::Own => f.write_str("the task's own"),
            Part::Tracing => f.write_str("tracing"),
            Part::Unrecorded => f.write_str("not recorded"),
            Part::Rest => f.write_str("other causes"),
        }
    }
}

/// `name/number`.
struct Who<'a, L: Lookup>(u32, &'a L);

impl<L: Lookup> Display for Who<'_, L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.0, self.1.task(self.0)) {
            (0, _) => f.write_str("idle"),
            (task, Some(name)) => write!(f, "{}/{task}", Comm(name.as_str())),
            (task, None) => write!(f, "(gone)/{task}"),
        }
    }
}

/// The instruction, and where its function was called from, if that is known.
struct Place<'a, L: Lookup>(Section, &'a L);

impl<L: Lookup> Display for Place<'_, L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.1.symbol(self.0.caller, f)?;
        if self.0.parent == 0 {
            return Ok(());
        }
        f.write_str(" from ")?;
        self.1.symbol(self.0.parent, f)
    }
}

/// The kinds of parts as fields of a result line, in their order.
pub const FIELDS: [&str; 16] = [
    "masked",
    "preempt_off",
    "entry",
    "handler",
    "ipi",
    "timer",
    "softirq",
    "wake",
    "behind",
    "other",
    "lock",
    "switch",
    "return",
    "own",
    "tracing",
    "unknown",
];

/// Which of [`FIELDS`] a part counts in.
fn field(part: &Part) -> usize {
    match part {
        Part::Masked { .. } => 0,
        Part::PreemptOff { .. } => 1,
        Part::Entry => 2,
        Part::Handler { .. } => 3,
        Part::Ipi { .. } => 4,
        Part::Timer { .. } => 5,
        Part::Softirq { .. } => 6,
        Part::Wake => 7,
        Part::Behind { .. } => 8,
        Part::Other { .. } => 9,
        Part::Lock { .. } => 10,
        Part::Switch => 11,
        Part::Return => 12,
        Part::Own => 13,
        Part::Tracing => 14,
        Part::Unrecorded | Part::Rest => 15,
    }
}

/// Writes the result line of an explanation; `conditions` are the fields that all results of the run have.
///
/// # Errors
/// Those of `out`.
pub fn result_line<L: Lookup>(
    out: &mut dyn Write,
    explanation: &Explanation,
    conditions: &dyn Display,
    lookup: &L,
) -> fmt::Result {
    let mut sums = [0; FIELDS.len()];
    for (part, ns) in &explanation.parts {
        sums[field(part)] += ns;
    }
    write!(
        out,
        "result latency.blame {} ns fragment={} {conditions}",
        explanation.whole_ns, explanation.fragment
    )?;
    for (name, sum) in FIELDS.iter().zip(sums) {
        write!(out, " {name}={sum}")?;
    }
    // Whoever held it up longest.
    let longest = explanation.parts.iter().filter_map(|(part, ns)| match *part {
        Part::Masked { task, at } | Part::PreemptOff { task, at } => Some((*ns, task, at)),
        _ => None,
    });
    if let Some((_, task, at)) = longest.max_by_key(|&(ns, ..)| ns) {
        write!(out, " by={} at={}", Who(task, lookup), Site(at.caller, lookup))?;
    }
    writeln!(out)
}

struct Site<'a, L: Lookup>(u64, &'a L);

impl<L: Lookup> Display for Site<'_, L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.1.symbol(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::blame::Parts;
    use crate::task::Name;
    use std::format;
    use std::string::String;

    struct Names;

    impl Lookup for Names {
        fn task(&self, id: u32) -> Option<Name> {
            (id == 12).then(|| Name::new("al loc"))
        }
        fn irq(&self, irq: u32, f: &mut Formatter<'_>) -> fmt::Result {
            write!(f, "line{irq}")
        }
        fn symbol(&self, address: u64, f: &mut Formatter<'_>) -> fmt::Result {
            write!(f, "f+{address:#x}")
        }
        fn ns(&self, ticks: u64) -> u64 {
            ticks
        }
        fn cpus(&self) -> usize {
            1
        }
    }

    fn explanation() -> Explanation {
        let at = Section { caller: 0x40, parent: 0x80 };
        let parts: Parts = [
            (Part::Masked { task: 12, at }, 400),
            (Part::Masked { task: 13, at: Section { caller: 0x44, parent: 0 } }, 30),
            (Part::Entry, 36),
            (Part::Handler { irq: 27 }, 120),
            (Part::Softirq { vector: 1 }, 310),
            (Part::Lock { lock: 0xabc, owner: Some(12) }, 5),
            (Part::Other { task: 0 }, 7),
            (Part::Rest, 2),
        ]
        .into_iter()
        .collect();
        Explanation { fragment: 17, whole_ns: 910, parts }
    }

    #[test]
    fn a_person_reads_who_where_and_how_long() {
        assert_eq!(
            format!("{}", Sentence(&explanation(), &Names)),
            "910 ns late (fragment 17): 400 interrupts masked by al_loc/12 at f+0x40 from f+0x80, 30 interrupts masked by \
             (gone)/13 at f+0x44, 36 entry, 120 handler line27 (27), 310 softirq TIMER, 5 for lock 0xabc, which al_loc/12 \
             had, 7 idle first, 2 other causes"
        );
    }

    #[test]
    fn a_program_reads_fields_that_add_up_and_the_one_to_blame() {
        let mut line = String::new();
        result_line(&mut line, &explanation(), &"load=all preempt=full", &Names).unwrap();
        assert!(line.starts_with(
            "result latency.blame 910 ns fragment=17 load=all preempt=full masked=430 preempt_off=0 "
        ));
        assert!(line.ends_with(" unknown=2 by=al_loc/12 at=f+0x40\n"), "{line}");
        let fields = line.split(' ').filter_map(|word| word.split_once('='));
        let sum: u64 = fields
            .filter(|(key, _)| FIELDS.contains(key))
            .map(|(_, value)| value.parse::<u64>().unwrap())
            .sum();
        assert_eq!(sum, 910);
    }
}
