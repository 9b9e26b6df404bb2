//! The few facts about an A64 instruction that the analysis needs: where control goes, which registers it writes, and
//! the arithmetic by which the kernel keeps its preempt count.
//!
//! Everything that is not named here is [`Op::Other`], with a *superset* of the registers it can write: a register that
//! is said to be written without being so only makes a value unknown.
//!
//! Encodings: Arm Architecture Reference Manual, C4.1. Pure.
#![forbid(unsafe_code)]

/// Where control goes behind an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next one.
    Next,
    /// `b`.
    Jump(u64),
    /// To the target or to the next one.
    Branch(Test, u64),
    /// `bl`.
    Call(u64),
    /// `blr`.
    CallReg(u8),
    /// `br`.
    JumpReg(u8),
    /// `ret`.
    Return,
    /// `eret`.
    ExceptionReturn,
    /// `wfi`: goes on when an interrupt is pending.
    Wait,
    /// `brk`, `udf`, `hlt`: ends in an exception.
    Trap,
}

/// What a conditional branch asks. Taken if it holds.
#[allow(missing_docs, reason = "the fields have the names of the manual, and the text above says the rest")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// `b.cond`.
    Flags(u8),
    /// `cbz`, `cbnz`: register, 64 bits wide, taken if not zero.
    Zero { reg: u8, wide: bool, nonzero: bool },
    /// `tbz`, `tbnz`: register, bit, taken if set.
    Bit { reg: u8, bit: u8, set: bool },
}

/// What an instruction does to the registers. Register 31 is the zero register, or `sp` where it is a base.
#[allow(missing_docs, reason = "the fields have the names of the manual, and the text above says the rest")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `movz`, `movn`, `adr`, `adrp`, a logical immediate to `xzr`.
    Set { rd: u8, value: u64 },
    /// `movk`: 16 bits of the register.
    Keep { rd: u8, bits: u64, shift: u8, wide: bool },
    /// `add`, `sub` of an immediate; `flags`: `adds`, `subs`, `cmp`.
    AddImm { rd: u8, rn: u8, value: u64, sub: bool, flags: bool, wide: bool },
    /// `add`, `sub` of a register that is shifted left.
    AddReg { rd: u8, rn: u8, rm: u8, shift: u8, sub: bool, flags: bool, wide: bool },
    /// `and`, `ands`, `tst` of an immediate.
    AndImm { rd: u8, rn: u8, mask: u64, flags: bool, wide: bool },
    /// `orr`, `and`, `ands` of two registers, not shifted.
    Logic { rd: u8, rn: u8, rm: u8, and: bool, flags: bool, wide: bool },
    /// `ldr`: `bytes` at `[rn, #offset]`, zero-extended.
    Load { rt: u8, rn: u8, offset: u64, bytes: u8 },
    /// `ldp` of 64-bit registers at `[rn, #offset]`.
    LoadPair { rt: u8, rt2: u8, rn: u8, offset: i64 },
    /// `str`: `bytes` at `[rn, #offset]`.
    Store { rt: u8, rn: u8, offset: u64, bytes: u8 },
    /// A store-exclusive, with its status register.
    StoreExclusive { rs: u8 },
    /// `mrs rt, sp_el0`: the running task.
    ReadTask { rt: u8 },
    /// `mrs rt, daif`.
    ReadMask { rt: u8 },
    /// `msr daifset, #imm` or `daifclr`.
    MaskImm { set: bool, imm: u8 },
    /// `msr daif, rt`.
    MaskReg { rt: u8 },
    /// Anything else: registers it may write, a bit each, and whether it may write the flags.
    Other { writes: u32, flags: bool },
}

fn bits(word: u32, high: u32, low: u32) -> u32 {
    word >> low & ((1 << (high - low + 1)) - 1)
}

fn signed(value: u32, width: u32) -> i64 {
    i64::from((value << (32 - width)) as i32 >> (32 - width))
}

fn target(pc: u64, offset_words: i64) -> u64 {
    pc.wrapping_add_signed(offset_words * 4)
}

/// Where control goes behind the instruction `word` at `pc`.
#[must_use]
pub fn flow(word: u32, pc: u64) -> Flow {
    let rt = bits(word, 4, 0) as u8;
    if word & 0x7c00_0000 == 0x1400_0000 {
        let to = target(pc, signed(bits(word, 25, 0), 26));
        return if word >> 31 == 1 { Flow::Call(to) } else { Flow::Jump(to) };
    }
    if word & 0xff00_0010 == 0x5400_0000 {
        return Flow::Branch(Test::Flags(bits(word, 3, 0) as u8), target(pc, signed(bits(word, 23, 5), 19)));
    }
    if word & 0x7e00_0000 == 0x3400_0000 {
        let test = Test::Zero { reg: rt, wide: word >> 31 == 1, nonzero: bits(word, 24, 24) == 1 };
        return Flow::Branch(test, target(pc, signed(bits(word, 23, 5), 19)));
    }
    if word & 0x7e00_0000 == 0x3600_0000 {
        let bit = (word >> 31 << 5 | bits(word, 23, 19)) as u8;
        let test = Test::Bit { reg: rt, bit, set: bits(word, 24, 24) == 1 };
        return Flow::Branch(test, target(pc, signed(bits(word, 18, 5), 14)));
    }
    let rn = bits(word, 9, 5) as u8;
    match word & 0xffff_fc1f {
        0xd61f_0000 => return Flow::JumpReg(rn),
        0xd63f_0000 => return Flow::CallReg(rn),
        0xd65f_0000 => return Flow::Return,
        _ => {}
    }
    match word {
        0xd69f_03e0 => Flow::ExceptionReturn,
        0xd503_207f => Flow::Wait,
        _ if word & 0xffe0_001f == 0xd420_0000 || word & 0xffe0_001f == 0xd440_0000 => Flow::Trap,
        _ if word >> 16 == 0 => Flow::Trap,
        _ => Flow::Next,
    }
}

/// What the instruction `word` at `pc` does to the registers.
#[must_use]
pub fn op(word: u32, pc: u64) -> Op {
    let (rd, rn, rm) = (bits(word, 4, 0) as u8, bits(word, 9, 5) as u8, bits(word, 20, 16) as u8);
    let wide = word >> 31 == 1;
    match bits(word, 28, 25) {
        0b1000 | 0b1001 => immediate(word, pc, rd, rn, wide),
        0b1010 | 0b1011 => system(word, rd),
        op if op & 0b0101 == 0b0100 => memory(word, rd, rn, rm),
        0b0101 | 0b1101 => registers(word, rd, rn, rm, wide),
        // Nothing of SIMD and FP is in the kernel; if it were, general registers could be written.
        _ => Op::Other { writes: 1 << rd, flags: true },
    }
}

fn narrow(value: u64, wide: bool) -> u64 {
    if wide { value } else { value & 0xffff_ffff }
}

fn immediate(word: u32, pc: u64, rd: u8, rn: u8, wide: bool) -> Op {
    match bits(word, 25, 23) {
        // adr, adrp
        0b000 | 0b001 => {
            let offset = signed(bits(word, 23, 5) << 2 | bits(word, 30, 29), 21);
            let value = if wide {
                (pc & !0xfff).wrapping_add_signed(offset << 12)
            } else {
                pc.wrapping_add_signed(offset)
            };
            Op::Set { rd, value }
        }
        0b010 => Op::AddImm {
            rd,
            rn,
            value: u64::from(bits(word, 21, 10)) << if bits(word, 22, 22) == 1 { 12 } else { 0 },
            sub: bits(word, 30, 30) == 1,
            flags: bits(word, 29, 29) == 1,
            wide,
        },
        0b100 => {
            let Some(mask) = logical_mask(bits(word, 22, 22), bits(word, 21, 16), bits(word, 15, 10)) else {
                return Op::Other { writes: 1 << rd, flags: true };
            };
            let mask = narrow(mask, wide);
            match bits(word, 30, 29) {
                0b00 => Op::AndImm { rd, rn, mask, flags: false, wide },
                0b11 => Op::AndImm { rd, rn, mask, flags: true, wide },
                0b01 if rn == 31 => Op::Set { rd, value: mask },
                _ => Op::Other { writes: 1 << rd, flags: false },
            }
        }
        0b101 => {
            let shift = (bits(word, 22, 21) * 16) as u8;
            let value = u64::from(bits(word, 20, 5)) << shift;
            match bits(word, 30, 29) {
                0b00 => Op::Set { rd, value: narrow(!value, wide) },
                0b10 => Op::Set { rd, value },
                _ => Op::Keep { rd, bits: value, shift, wide },
            }
        }
        // bitfield, extract
        _ => Op::Other { writes: 1 << rd, flags: false },
    }
}

/// The value of a logical immediate (DecodeBitMasks), replicated to 64 bits.
fn logical_mask(n: u32, immr: u32, imms: u32) -> Option<u64> {
    let pattern = n << 6 | (!imms & 0x3f);
    if pattern == 0 {
        return None;
    }
    let length = 31 - pattern.leading_zeros();
    if length == 0 {
        return None;
    }
    let size = 1u32 << length;
    let (s, r) = (imms & (size - 1), immr & (size - 1));
    if s == size - 1 {
        return None;
    }
    let ones = (1u64 << (s + 1)) - 1;
    let element_mask = if size == 64 { u64::MAX } else { (1u64 << size) - 1 };
    let element = if r == 0 { ones } else { (ones >> r | ones << (size - r)) & element_mask };
    let mut value = 0;
    let mut at = 0;
    while at < 64 {
        value |= element << at;
        at += size;
    }
    Some(value)
}

/// Hints, barriers, `msr`, `mrs`. Branches are [`flow`]'s, and write nothing but x30.
fn system(word: u32, rt: u8) -> Op {
    const SP_EL0: u32 = 0xd538_4100;
    const READ_DAIF: u32 = 0xd53b_4220;
    const WRITE_DAIF: u32 = 0xd51b_4220;
    match word & 0xffff_ffe0 {
        SP_EL0 => return Op::ReadTask { rt },
        READ_DAIF => return Op::ReadMask { rt },
        WRITE_DAIF => return Op::MaskReg { rt },
        _ => {}
    }
    let imm = bits(word, 11, 8) as u8;
    match word & 0xffff_f0ff {
        0xd503_40df => return Op::MaskImm { set: true, imm },
        0xd503_40ff => return Op::MaskImm { set: false, imm },
        _ => {}
    }
    // mrs, and msr to the flags.
    if word & 0xffe0_0000 == 0xd520_0000 {
        return Op::Other { writes: 1 << rt, flags: false };
    }
    Op::Other { writes: 0, flags: word & 0xffff_ffe0 == 0xd51b_4200 }
}

fn memory(word: u32, rt: u8, rn: u8, rm: u8) -> Op {
    let pair = bits(word, 29, 27) == 0b101;
    let rt2 = bits(word, 14, 10) as u8;
    if pair {
        let writeback = bits(word, 23, 23) == 1 && bits(word, 24, 24) == 0 || bits(word, 24, 23) == 0b11;
        let load = bits(word, 22, 22) == 1;
        if load && bits(word, 31, 30) == 0b10 && bits(word, 24, 23) == 0b10 && bits(word, 26, 26) == 0 {
            return Op::LoadPair { rt, rt2, rn, offset: signed(bits(word, 21, 15), 7) * 8 };
        }
        let data = if load { 1 << rt | 1 << rt2 } else { 0 };
        return Op::Other { writes: data | u32::from(writeback) << rn, flags: false };
    }
    // Exclusives and ordered.
    if word & 0x3f00_0000 == 0x0800_0000 {
        let (o2, load, o1) = (bits(word, 23, 23), bits(word, 22, 22), bits(word, 21, 21));
        if o2 == 0 && load == 0 {
            return Op::StoreExclusive { rs: rm };
        }
        let second = if o1 == 1 { 1 << rt2 } else { 0 };
        return if load == 1 {
            Op::Other { writes: 1 << rt | second, flags: false }
        } else {
            Op::Other { writes: 0, flags: false }
        };
    }
    let general = bits(word, 26, 26) == 0;
    if general && bits(word, 29, 27) == 0b111 {
        let size = bits(word, 31, 30);
        let bytes = 1u8 << size;
        // Unsigned offset.
        if bits(word, 25, 24) == 0b01 {
            let offset = u64::from(bits(word, 21, 10)) << size;
            return match bits(word, 23, 22) {
                0b00 => Op::Store { rt, rn, offset, bytes },
                0b01 => Op::Load { rt, rn, offset, bytes },
                _ => Op::Other { writes: 1 << rt, flags: false },
            };
        }
        // Unscaled, pre- and post-indexed, by register.
        let writeback = bits(word, 21, 21) == 0 && bits(word, 10, 10) == 1;
        let stores = bits(word, 23, 22) == 0 && (bits(word, 21, 21) == 0 || bits(word, 11, 10) == 0b10);
        let data = if stores { 0 } else { 1 << rt };
        return Op::Other { writes: data | u32::from(writeback) << rn, flags: false };
    }
    Op::Other { writes: 1 << rt | 1 << rn | 1 << rt2 | 1 << rm, flags: false }
}

fn registers(word: u32, rd: u8, rn: u8, rm: u8, wide: bool) -> Op {
    let amount = bits(word, 15, 10) as u8;
    // Logical, shifted register.
    if bits(word, 28, 24) == 0b01010 {
        let opcode = bits(word, 30, 29);
        let plain = amount == 0 && bits(word, 23, 21) == 0;
        let flags = opcode == 0b11;
        if plain && opcode != 0b10 {
            return Op::Logic { rd, rn, rm, and: opcode != 0b01, flags, wide };
        }
        return Op::Other { writes: 1 << rd, flags };
    }
    // Add and subtract.
    if bits(word, 28, 24) == 0b01011 {
        let flags = bits(word, 29, 29) == 1;
        if bits(word, 23, 21) == 0 {
            let sub = bits(word, 30, 30) == 1;
            return Op::AddReg { rd, rn, rm, shift: amount, sub, flags, wide };
        }
        return Op::Other { writes: 1 << rd, flags };
    }
    // Conditional select, and those of one, two and three sources, leave the flags alone.
    let select = bits(word, 28, 21) == 0b1101_0100;
    let sources =
        bits(word, 28, 21) == 0b1101_0110 && bits(word, 29, 29) == 0 || bits(word, 28, 24) == 0b11011;
    Op::Other { writes: 1 << rd, flags: !(select || sources) }
}

#[cfg(test)]
#[path = "insn_tests.rs"]
mod tests;
