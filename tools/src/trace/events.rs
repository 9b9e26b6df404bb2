//! The events that have a binary form, and what it looks like.
//!
//! Each event is one line of [`DEFINITIONS`]: its text as ftrace prints it, with a name and a kind for each field. Everything
//! else follows from that: how a text is taken apart, where the fields lie in a record, and the description by which a reader
//! of `trace.dat` knows the same. The names, kinds and order of the fields are those of Linux 5.11, since viewers look for them.
//!
//! Invariant: a record that was made from a text prints as that text again; only the start of a function, where it is a
//! [`Kind::Place`], is printed with `+0x0` behind it by the readers.
#![forbid(unsafe_code)]

/// Bytes that every record begins with: event, flags, depth, task.
pub const COMMON_BYTES: usize = 8;
/// A task's name in a record, with the zero behind it.
pub const COMM_BYTES: usize = 16;
/// The system of events that have no definition here.
pub const OTHER_SYSTEM: &str = "other";

/// An event by its text.
pub struct Definition {
    /// The group it is listed in.
    pub system: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its text; a field is `{name:kind}`.
    pub pattern: &'static str,
}

const fn event(system: &'static str, name: &'static str, pattern: &'static str) -> Definition {
    Definition { system, name, pattern }
}

const WAKEUP: &str = "comm={comm:comm} pid={pid:int} prio={prio:int} target_cpu={target_cpu:cpu}";
const ABOUT_A_TASK: &str = "comm={comm:comm} pid={pid:int} prio={prio:int}";
const SOFTIRQ: &str = "vec={vec:uint} [action={action:string}]";
const PLACES: &str = "caller={caller:place} parent={parent:place}";

/// All events that are known.
pub const DEFINITIONS: &[Definition] = &[
    event(
        "sched",
        "sched_switch",
        "prev_comm={prev_comm:comm} prev_pid={prev_pid:int} prev_prio={prev_prio:int} prev_state={prev_state:state} ==> \
         next_comm={next_comm:comm} next_pid={next_pid:int} next_prio={next_prio:int}",
    ),
    event("sched", "sched_waking", WAKEUP),
    event("sched", "sched_wakeup", WAKEUP),
    event("sched", "sched_wakeup_new", WAKEUP),
    event(
        "sched",
        "sched_migrate_task",
        "comm={comm:comm} pid={pid:int} prio={prio:int} orig_cpu={orig_cpu:int} dest_cpu={dest_cpu:int}",
    ),
    event(
        "sched",
        "sched_process_fork",
        "comm={parent_comm:comm} pid={parent_pid:int} child_comm={child_comm:comm} child_pid={child_pid:int}",
    ),
    event("sched", "sched_process_exit", ABOUT_A_TASK),
    event("sched", "sched_process_free", ABOUT_A_TASK),
    event("sched", "sched_process_wait", ABOUT_A_TASK),
    event(
        "sched",
        "sched_pi_setprio",
        "comm={comm:comm} pid={pid:int} oldprio={oldprio:int} newprio={newprio:int}",
    ),
    event("irq", "irq_handler_entry", "irq={irq:int} name={name:string}"),
    event("irq", "irq_handler_exit", "irq={irq:int} ret={ret:handled}"),
    event("irq", "softirq_raise", SOFTIRQ),
    event("irq", "softirq_entry", SOFTIRQ),
    event("irq", "softirq_exit", SOFTIRQ),
    event("ipi", "ipi_raise", "target_mask={target_cpus:string} ({reason:string})"),
    event("ipi", "ipi_entry", "({reason:string})"),
    event("ipi", "ipi_exit", "({reason:string})"),
    event("timer", "hrtimer_init", "hrtimer={hrtimer:pointer} clockid={clockid:string} mode={mode:string}"),
    event(
        "timer",
        "hrtimer_start",
        "hrtimer={hrtimer:pointer} function={function:function} expires={expires:long} softexpires={softexpires:long} \
         mode={mode:string}",
    ),
    event(
        "timer",
        "hrtimer_expire_entry",
        "hrtimer={hrtimer:pointer} function={function:function} now={now:long}",
    ),
    event("timer", "hrtimer_expire_exit", "hrtimer={hrtimer:pointer}"),
    event("timer", "hrtimer_cancel", "hrtimer={hrtimer:pointer}"),
    event("timer", "tick_stop", "success={success:int} dependency={dependency:string}"),
    event("preemptirq", "irq_disable", PLACES),
    event("preemptirq", "irq_enable", PLACES),
    event("preemptirq", "preempt_disable", PLACES),
    event("preemptirq", "preempt_enable", PLACES),
    event("lock", "contention_begin", "{lock_addr:pointer} (flags={flags:string})"),
    event("lock", "contention_end", "{lock_addr:pointer} (ret={ret:int})"),
    event("power", "cpu_idle", "state={state:uint} cpu_id={cpu_id:uint}"),
];

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A task's name of up to 15 bytes, without blanks.
    Comm,
    /// A signed number.
    Int,
    /// A number.
    Uint,
    /// A CPU in three digits.
    Cpu,
    /// A long number.
    Long,
    /// An address in sixteen digits.
    Pointer,
    /// An address in code: `function+0x40`, `function` for its start, `0x0` for none.
    Place,
    /// The start of a function: `function`.
    Function,
    /// Why a task gave way: `R`, `R+`, or letters.
    State,
    /// `handled` or `unhandled`.
    Handled,
    /// Any text.
    String,
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Stands there as it is.
    Literal(&'a str),
    /// A field.
    Field {
        /// Its name.
        name: &'a str,
        /// What it is.
        kind: Kind,
    },
}

/// Letters of a sleeping task's state, and the bits of a record for them.
pub const STATES: [(u64, char); 8] =
    [(0x1, 'S'), (0x2, 'D'), (0x4, 'T'), (0x8, 't'), (0x10, 'X'), (0x20, 'Z'), (0x40, 'P'), (0x80, 'I')];
/// The bit for a task that did not want to give way.
pub const PREEMPTED: u64 = 0x100;

/// The parts of a pattern.
///
/// # Panics
/// When the pattern is not one; patterns are constants of this file, and a test reads them all.
#[must_use]
pub fn pieces(pattern: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((literal, behind)) = rest.split_once('{') {
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        let (field, behind) = behind.split_once('}').expect("a field has an end");
        let (name, kind) = field.split_once(':').expect("a field has a kind");
        pieces.push(Piece::Field { name, kind: Kind::named(kind) });
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    pieces
}

/// The definition of an event.
#[must_use]
pub fn find(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

impl Kind {
    fn named(word: &str) -> Self {
        match word {
            "comm" => Self::Comm,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "cpu" => Self::Cpu,
            "long" => Self::Long,
            "pointer" => Self::Pointer,
            "place" => Self::Place,
            "function" => Self::Function,
            "state" => Self::State,
            "handled" => Self::Handled,
            "string" => Self::String,
            other => panic!("{other} is no kind of field"),
        }
    }

    /// Bytes in the fixed part of a record; also what its place there is a multiple of, up to 8.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Comm => COMM_BYTES,
            Self::Int | Self::Uint | Self::Cpu | Self::Handled | Self::String => 4,
            Self::Long | Self::Pointer | Self::Place | Self::Function | Self::State => 8,
        }
    }

    fn alignment(self) -> usize {
        if self == Self::Comm { 1 } else { self.bytes() }
    }

    /// The field's type and name in C, and whether it has a sign.
    fn declared(self, name: &str) -> (String, u8) {
        match self {
            Self::Comm => (format!("char {name}[{COMM_BYTES}]"), 1),
            Self::Int | Self::Cpu | Self::Handled => (format!("int {name}"), 1),
            Self::Uint => (format!("unsigned int {name}"), 0),
            Self::Long => (format!("u64 {name}"), 0),
            Self::Pointer | Self::Function => (format!("void * {name}"), 0),
            Self::Place => (format!("unsigned long {name}"), 0),
            Self::State => (format!("long {name}"), 1),
            Self::String => (format!("__data_loc char[] {name}"), 1),
        }
    }

    /// How `printf` shows it, and the arguments that it takes for that.
    fn printed(self, name: &str) -> (&'static str, String) {
        match self {
            Self::Comm => ("%s", format!("REC->{name}")),
            Self::Int => ("%d", format!("REC->{name}")),
            Self::Uint => ("%u", format!("REC->{name}")),
            Self::Cpu => ("%03d", format!("REC->{name}")),
            Self::Long => ("%llu", format!("REC->{name}")),
            Self::Pointer => ("%016llx", format!("(unsigned long long)REC->{name}")),
            Self::Place => ("%pS", format!("(void *)REC->{name}")),
            Self::Function => ("%ps", format!("REC->{name}")),
            Self::Handled => ("%s", format!("REC->{name} ? \"handled\" : \"unhandled\"")),
            Self::String => ("%s", format!("__get_str({name})")),
            Self::State => {
                let letters: Vec<_> =
                    STATES.iter().map(|(bit, letter)| format!("{{ {bit:#x}, \"{letter}\" }}")).collect();
                let letters = letters.join(", ");
                let mask = PREEMPTED - 1;
                (
                    "%s%s",
                    format!(
                        "(REC->{name} & {mask:#x}) ? __print_flags(REC->{name} & {mask:#x}, \"|\", {letters}) : \"R\", \
                         REC->{name} & {PREEMPTED:#x} ? \"+\" : \"\""
                    ),
                )
            }
        }
    }
}

/// Where the fields of a pattern lie in a record, and the size of the part that has a fixed size.
#[must_use]
pub fn layout<'a>(pieces: &[Piece<'a>]) -> (Vec<(&'a str, Kind, usize)>, usize) {
    let mut at = COMMON_BYTES;
    let mut fields = Vec::new();
    for piece in pieces {
        let Piece::Field { name, kind } = *piece else { continue };
        at = at.next_multiple_of(kind.alignment());
        fields.push((name, kind, at));
        at += kind.bytes();
    }
    (fields, at)
}

/// The description of an event for readers of `trace.dat`.
#[must_use]
pub fn description(name: &str, id: u16, pattern: &str) -> String {
    let pieces = pieces(pattern);
    let (fields, _) = layout(&pieces);
    let mut text = format!("name: {name}\nID: {id}\nformat:\n");
    let field = |declared: &str, offset: usize, size: usize, sign: u8| {
        format!("\tfield:{declared};\toffset:{offset};\tsize:{size};\tsigned:{sign};\n")
    };
    text += &field("unsigned short common_type", 0, 2, 0);
    text += &field("unsigned char common_flags", 2, 1, 0);
    text += &field("unsigned char common_preempt_count", 3, 1, 0);
    text += &field("int common_pid", 4, 4, 1);
    // The empty line ends what all events have in common.
    text.push('\n');
    for (name, kind, offset) in fields {
        let (declared, sign) = kind.declared(name);
        text += &field(&declared, offset, kind.bytes(), sign);
    }
    let (mut shown, mut arguments) = (String::new(), String::new());
    for piece in &pieces {
        match piece {
            Piece::Literal(literal) => shown += literal,
            Piece::Field { name, kind } => {
                let (conversion, argument) = kind.printed(name);
                shown += conversion;
                arguments += &format!(", {argument}");
            }
        }
    }
    text + &format!("\nprint fmt: \"{shown}\"{arguments}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_switch_lie_where_linux_has_them() {
        let pieces = pieces(find("sched_switch").unwrap().pattern);
        let (fields, bytes) = layout(&pieces);
        let places: Vec<_> = fields.iter().map(|(name, _, at)| (*name, *at)).collect();
        assert_eq!(
            places,
            [
                ("prev_comm", 8),
                ("prev_pid", 24),
                ("prev_prio", 28),
                ("prev_state", 32),
                ("next_comm", 40),
                ("next_pid", 56),
                ("next_prio", 60)
            ]
        );
        assert_eq!(bytes, 64);
    }

    #[test]
    fn every_pattern_can_be_read_and_every_event_is_there_once() {
        for (index, definition) in DEFINITIONS.iter().enumerate() {
            assert!(!pieces(definition.pattern).is_empty(), "{}", definition.name);
            assert!(DEFINITIONS[..index].iter().all(|other| other.name != definition.name));
        }
    }

    #[test]
    fn no_two_fields_of_a_pattern_touch() {
        for definition in DEFINITIONS {
            let pieces = pieces(definition.pattern);
            let touch = pieces.windows(2).any(|pair| pair.iter().all(|p| matches!(p, Piece::Field { .. })));
            assert!(!touch, "nothing tells where a field of {} ends", definition.name);
        }
    }

    #[test]
    fn a_description_says_where_a_field_is_and_how_it_is_shown() {
        let text = description("irq_handler_entry", 111, find("irq_handler_entry").unwrap().pattern);
        assert!(text.starts_with("name: irq_handler_entry\nID: 111\nformat:\n"), "{text}");
        assert!(text.contains("\tfield:int irq;\toffset:8;\tsize:4;\tsigned:1;\n"), "{text}");
        assert!(text.contains("\tfield:__data_loc char[] name;\toffset:12;\tsize:4;\tsigned:1;\n"), "{text}");
        assert!(text.ends_with("print fmt: \"irq=%d name=%s\", REC->irq, __get_str(name)\n"), "{text}");
    }
}
