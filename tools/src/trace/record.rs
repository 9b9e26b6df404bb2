//! From an event's text to its binary record.
//!
//! Invariants: a text is taken apart only if putting it together again gives the same text; whatever does not pass that
//! is kept as an event whose one field is the whole text, so nothing is lost and nothing is altered.
#![forbid(unsafe_code)]

use super::events::{self, COMM_BYTES, COMMON_BYTES, Kind, PREEMPTED, Piece, STATES};
use super::symbols::Symbols;
use super::text::Entry;

/// The pattern of an event that has no definition, or does not follow it.
pub const PLAIN_PATTERN: &str = "{text:string}";

/// Where there is no caller.
const NOWHERE: &str = "0x0";

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number; a negative one as its two's complement.
    Number(u64),
    /// An address in code.
    Place {
        /// The function.
        name: &'a str,
        /// Bytes from its start.
        offset: u64,
    },
    /// Text.
    Text(&'a str),
}

/// Takes a text apart; nothing if it does not follow the pattern to the letter.
#[must_use]
pub fn take_apart<'a>(pieces: &[Piece<'_>], text: &'a str) -> Option<Vec<Value<'a>>> {
    let mut values = Vec::new();
    let mut shown = String::new();
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        match *piece {
            Piece::Literal(literal) => {
                rest = rest.strip_prefix(literal)?;
                shown += literal;
            }
            Piece::Field { kind, .. } => {
                // Up to what must follow; what must end the text is looked for at its end.
                let length = match pieces.get(index + 1) {
                    Some(Piece::Literal(literal)) if index + 2 == pieces.len() => {
                        rest.strip_suffix(literal)?.len()
                    }
                    Some(Piece::Literal(literal)) => rest.find(literal)?,
                    _ => rest.len(),
                };
                let (field, behind) = rest.split_at(length);
                let value = understand(kind, field)?;
                shown += &show(kind, value);
                values.push(value);
                rest = behind;
            }
        }
    }
    (rest.is_empty() && shown == text).then_some(values)
}

fn understand(kind: Kind, text: &str) -> Option<Value<'_>> {
    let signed = || text.parse::<i32>().ok().map(|number| Value::Number(i64::from(number).cast_unsigned()));
    match kind {
        Kind::Comm => {
            (text.len() < COMM_BYTES && !text.is_empty() && !text.contains(' ')).then_some(Value::Text(text))
        }
        Kind::Int | Kind::Cpu => signed(),
        Kind::Uint => text.parse::<u32>().ok().map(|number| Value::Number(number.into())),
        Kind::Long => text.parse().ok().map(Value::Number),
        Kind::Pointer => u64::from_str_radix(text, 16).ok().map(Value::Number),
        Kind::Handled => Some(Value::Number(match text {
            "handled" => 1,
            "unhandled" => 0,
            _ => return None,
        })),
        Kind::Place if text == NOWHERE => Some(Value::Number(0)),
        Kind::Place => {
            let (name, offset) = text.rsplit_once("+0x").unwrap_or((text, "0"));
            // No function is longer.
            function(name, u32::from_str_radix(offset, 16).ok()?.into())
        }
        Kind::Function => function(text, 0),
        Kind::State => state(text).map(Value::Number),
        Kind::String => Some(Value::Text(text)),
    }
}

/// An address without a name would lead to whatever function lies before it.
fn function(name: &str, offset: u64) -> Option<Value<'_>> {
    (!name.is_empty() && !name.starts_with("0x")).then_some(Value::Place { name, offset })
}

fn state(text: &str) -> Option<u64> {
    let (letters, preempted) = match text.strip_suffix('+') {
        Some(letters) => (letters, PREEMPTED),
        None => (text, 0),
    };
    if letters == "R" {
        return Some(preempted);
    }
    letters.split('|').try_fold(preempted, |bits, letter| {
        let found = STATES.iter().find(|(_, known)| letter.chars().eq([*known]))?;
        Some(bits | found.0)
    })
}

fn show(kind: Kind, value: Value<'_>) -> String {
    match (kind, value) {
        (Kind::Int, Value::Number(number)) => number.cast_signed().to_string(),
        (Kind::Cpu, Value::Number(number)) => format!("{:03}", number.cast_signed()),
        (Kind::Pointer, Value::Number(number)) => format!("{number:016x}"),
        (Kind::Place, Value::Number(_)) => NOWHERE.to_owned(),
        (Kind::Handled, Value::Number(number)) => {
            if number == 0 { "unhandled" } else { "handled" }.to_owned()
        }
        (Kind::State, Value::Number(bits)) => {
            let letters: Vec<_> = STATES
                .iter()
                .filter(|(bit, _)| bits & bit != 0)
                .map(|(_, letter)| letter.to_string())
                .collect();
            let letters = if letters.is_empty() { "R".to_owned() } else { letters.join("|") };
            letters + if bits & PREEMPTED != 0 { "+" } else { "" }
        }
        (_, Value::Place { name, offset: 0 }) => name.to_owned(),
        (_, Value::Place { name, offset }) => format!("{name}+{offset:#x}"),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::Text(text)) => text.to_owned(),
    }
}

/// The record of an event: the part that all have, then the fields, then the texts.
#[must_use]
pub fn encode(
    entry: &Entry,
    id: u16,
    pieces: &[Piece<'_>],
    values: &[Value<'_>],
    symbols: &Symbols,
) -> Vec<u8> {
    let (fields, fixed_bytes) = events::layout(pieces);
    let mut record = Vec::with_capacity(fixed_bytes);
    record.extend(id.to_le_bytes());
    record.extend([entry.flags.bits(), entry.flags.depth()]);
    record.extend(entry.pid.to_le_bytes());
    debug_assert_eq!(record.len(), COMMON_BYTES);
    record.resize(fixed_bytes, 0);
    for (&(_, kind, at), &value) in fields.iter().zip(values) {
        let bytes = match value {
            Value::Number(number) => number.to_le_bytes(),
            Value::Place { name, offset } => (symbols.address(name).wrapping_add(offset)).to_le_bytes(),
            Value::Text(text) if kind == Kind::Comm => {
                record[at..at + text.len()].copy_from_slice(text.as_bytes());
                continue;
            }
            Value::Text(text) => {
                // Where the text is, and above that how long, with its zero. A text is shorter than a page.
                let (start, length) = (record.len() as u64, text.len() as u64 + 1);
                record.extend(text.bytes().chain([0]));
                (length << 16 | start).to_le_bytes()
            }
        };
        record[at..at + kind.bytes()].copy_from_slice(&bytes[..kind.bytes()]);
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::events::{find, pieces};
    use proptest::prelude::*;

    fn apart<'a>(event: &str, text: &'a str) -> Option<Vec<Value<'a>>> {
        take_apart(&pieces(find(event).unwrap().pattern), text)
    }

    #[test]
    fn a_switch_is_taken_apart() {
        let text = "prev_comm=a=b prev_pid=3 prev_prio=-1 prev_state=R+ ==> next_comm=swapper/0 next_pid=0 next_prio=120";
        let values = apart("sched_switch", text).unwrap();
        assert_eq!(values[0], Value::Text("a=b"));
        assert_eq!(values[2], Value::Number(u64::MAX));
        assert_eq!(values[3], Value::Number(PREEMPTED));
        assert_eq!(values[4], Value::Text("swapper/0"));
    }

    #[test]
    fn a_text_that_would_print_otherwise_is_not_taken_apart() {
        let good = "comm=shell pid=7 prio=120 target_cpu=001";
        assert!(apart("sched_waking", good).is_some());
        for (from, to) in [
            ("001", "1"),
            ("prio=120", "prio=+120"),
            ("comm=shell", "comm="),
            ("comm=shell", "comm=two words"),
            ("comm=shell", "comm=longer_than_15_bytes"),
            ("pid=7", "pid=07"),
            ("target_cpu=001", "target_cpu=001 more"),
        ] {
            assert_eq!(apart("sched_waking", &good.replace(from, to)), None, "{from} -> {to}");
        }
        assert_eq!(apart("irq_disable", "caller=0xffff0000 parent=f+0x4"), None);
        assert_eq!(apart("irq_disable", "caller=f+0x0 parent=f+0x4"), None);
    }

    #[test]
    fn a_place_is_a_function_an_offset_in_it_or_none() {
        let values = apart("irq_disable", "caller=f::<a+b> parent=0x0").unwrap();
        assert_eq!(values, [Value::Place { name: "f::<a+b>", offset: 0 }, Value::Number(0)]);
        let values = apart("irq_disable", "caller=f+0x40 parent=g").unwrap();
        assert_eq!(values[0], Value::Place { name: "f", offset: 0x40 });
        assert_eq!(apart("irq_disable", "caller=f+0x100000000 parent=g"), None);
    }

    #[test]
    fn a_text_in_brackets_may_hold_brackets() {
        let values = apart("ipi_entry", "(call (two))").unwrap();
        assert_eq!(values, [Value::Text("call (two)")]);
    }

    #[test]
    fn every_state_is_told_by_its_letters() {
        for (text, bits) in [("R", 0), ("R+", 0x100), ("S", 1), ("D|t", 0xa), ("S+", 0x101), ("I", 0x80)] {
            assert_eq!(state(text), Some(bits), "{text}");
            assert_eq!(show(Kind::State, Value::Number(bits)), text);
        }
        assert_eq!(state("Q"), None);
        assert_eq!(state(""), None);
    }

    #[test]
    fn a_text_is_put_behind_the_fields_with_its_place_and_its_length() {
        let entry = crate::trace::text::read(
            b"# tracer: nop\n  a-9 [000] d.h2 1.0: irq_handler_entry: irq=27 name=timer x\n",
        );
        let entry = entry.unwrap().entries.remove(0);
        let pieces = pieces(find("irq_handler_entry").unwrap().pattern);
        let values = take_apart(&pieces, &entry.payload).unwrap();
        let record = encode(&entry, 0x1234, &pieces, &values, &Symbols::default());
        let mut wanted = vec![0x34, 0x12, 0x09, 2, 9, 0, 0, 0, 27, 0, 0, 0, 16, 0, 8, 0];
        wanted.extend(b"timer x\0");
        assert_eq!(record, wanted);
    }

    proptest! {
        #[test]
        fn whatever_is_taken_apart_is_shown_as_it_was(
            which in 0..events::DEFINITIONS.len(),
            fields in proptest::collection::vec("[a-zA-Z0-9+|x=() -]{0,12}", 8),
        ) {
            let pieces = pieces(events::DEFINITIONS[which].pattern);
            let mut fields = fields.iter();
            let text: String = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Literal(literal) => (*literal).to_owned(),
                    Piece::Field { .. } => fields.next().unwrap().clone(),
                })
                .collect();
            if let Some(values) = take_apart(&pieces, &text) {
                let mut values = values.into_iter();
                let shown: String = pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Literal(literal) => (*literal).to_owned(),
                        Piece::Field { kind, .. } => show(*kind, values.next().unwrap()),
                    })
                    .collect();
                prop_assert_eq!(shown, text);
            }
        }
    }
}
