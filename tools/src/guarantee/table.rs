//! Jump tables: the targets of a `br` that a `match` became.
//!
//! The compiler writes
//!
//! ```text
//! cmp   wI, #last;  b.hi default
//! adrp  xT, table;  add xT, xT, …;  adr xB, base
//! ldrb  wE, [xT, xI]               (or ldrh …, lsl #1; ldrsw …, lsl #2)
//! add   xD, xB, wE, lsl #2         (without the shift for ldrsw)
//! br    xD
//! ```
//!
//! with other instructions in between. What does not look like this is no table for us, and then an indirect call.
#![forbid(unsafe_code)]

use super::code::Code;
use super::insn::{Flow, Op, Test, flow, op};
use super::state::{Constants, Registers, Value};

/// Instructions between the comparison and the jump, at most.
const WINDOW: u64 = 24;
/// Entries of a table without a comparison, at most.
const MOST: u64 = 256;
/// Conditions `hi` and `hs`.
const HIGHER: u8 = 8;
const HIGHER_OR_SAME: u8 = 2;

/// The targets of the jump at `pc` through `register`, if it goes through a table.
#[must_use]
pub fn targets(code: &Code, pc: u64, register: u8, registers: &Registers) -> Option<Vec<u64>> {
    // The addition, its base and its entry.
    let (mut base, mut entry, mut shift) = (None, None, 0);
    let mut at = pc - 4;
    while at + WINDOW * 4 > pc {
        match op(code.word(at)?, at) {
            Op::AddReg { rd, rn, rm, shift: by, sub: false, .. } if rd == register => {
                (base, entry, shift) = (Some(rn), Some(rm), by);
                break;
            }
            _ => at -= 4,
        }
    }
    let (base, entry) = (base?, entry?);
    // The base may be the register that the sum is in: then its `adr` is looked for.
    let base = constant_before(code, at, base).or(match registers.get(base) {
        Value::Const(value) => Some(value),
        _ => None,
    })?;
    let (bytes, table) = entry_load(code, at, entry, registers)?;
    // Of a `match` that names all there is there is no comparison: then all that leads into the function is taken for its
    // table, which at worst adds ways that nobody goes.
    let last = last_index(code, at);
    let mut found = Vec::new();
    for index in 0..=last.unwrap_or(MOST - 1) {
        let value = code.load(table + index * u64::from(bytes), bytes)?;
        let offset = if bytes == 4 { i64::from(value as u32 as i32) } else { value as i64 };
        let target = base.wrapping_add_signed(offset << shift);
        if last.is_none() && !(target.is_multiple_of(4) && code.same_function(pc, target)) {
            break;
        }
        found.push(target);
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// The load of `entry` before `from`: its width, and the table.
fn entry_load(code: &Code, from: u64, entry: u8, registers: &Registers) -> Option<(u8, u64)> {
    let mut at = from - 4;
    while at + WINDOW * 4 > from {
        let word = code.word(at)?;
        // ldrb, ldrh, ldrsw with a register as the offset.
        let bytes = match word & 0xffe0_0c00 {
            0x3860_0800 => 1,
            0x7860_0800 => 2,
            0xb8a0_0800 => 4,
            _ => 0,
        };
        if bytes != 0 && (word & 31) as u8 == entry {
            let base = (word >> 5 & 31) as u8;
            let table = constant_before(code, at, base).or(match registers.get(base) {
                Value::Const(value) => Some(value),
                _ => None,
            })?;
            return Some((bytes, table));
        }
        at -= 4;
    }
    None
}

/// The constant that is put into `register` before `from`, in a straight line.
fn constant_before(code: &Code, from: u64, register: u8) -> Option<u64> {
    let mut at = from - 4;
    let mut added = 0;
    while at + WINDOW * 4 > from {
        match op(code.word(at)?, at) {
            Op::Set { rd, value } if rd == register => return Some(value + added),
            Op::AddImm { rd, rn, value, sub: false, .. } if rd == register && rn == register => {
                added += value
            }
            Op::Other { writes, .. } if writes >> register & 1 == 1 => return None,
            Op::Load { rt, .. } if rt == register => return None,
            Op::AddReg { rd, .. } | Op::Logic { rd, .. } | Op::AndImm { rd, .. } | Op::AddImm { rd, .. }
                if rd == register =>
            {
                return None;
            }
            _ => {}
        }
        at -= 4;
    }
    None
}

/// The last index that the comparison before `from` lets through.
fn last_index(code: &Code, from: u64) -> Option<u64> {
    let mut at = from;
    while at + WINDOW * 4 > from {
        if let Flow::Branch(Test::Flags(condition), _) = flow(code.word(at)?, at)
            && matches!(condition, HIGHER | HIGHER_OR_SAME)
        {
            let mut compare = at - 4;
            while compare + WINDOW * 4 > at {
                if let Op::AddImm { rd: 31, value, sub: true, flags: true, .. } =
                    op(code.word(compare)?, compare)
                {
                    return Some(if condition == HIGHER { value } else { value.checked_sub(1)? });
                }
                compare -= 4;
            }
        }
        at -= 4;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_a_comparison_ends_where_it_leads_out_of_the_function() {
        let f = [
            0x1000_00ea, // adr x10, table
            0x1000_008b, // adr x11, base
            0x3869_694c, // ldrb w12, [x10, x9]
            0x8b0c_096d, // add x13, x11, x12, lsl #2
            0xd61f_01a0, // br x13
            0xd65f_03c0, // base: ret
            0xd65f_03c0, // ret
        ];
        // Bytes 0, 1, and one that leads out.
        let code = Code::by_hand(0x1000, &[("f", &f), ("table", &[0x00ff_0100])], &[]);
        let found = targets(&code, 0x1010, 13, &Registers::default());
        assert_eq!(found, Some(vec![0x1014, 0x1018]));
    }
}
