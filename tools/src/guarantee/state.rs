//! What is known in front of an instruction: whether the CPU is closed to others, and the registers that decide it.
//!
//! [`Machine`] is exact: two paths on which it differs are never joined. [`Registers`] are joined, and hold the few kinds
//! of value with which the kernel decides about its own preemption: the running task, its preempt word, a saved mask, and
//! constants. So `preempt_enable` inside of a section is known not to switch, and a mask that is restored is known to stay.
//!
//! A mask is restored in the order in which masks were saved, last first; where the register is known as well, both must
//! agree ([`Effect::Disagrees`]).
//!
//! Pure.
#![forbid(unsafe_code)]

use super::insn::{Op, Test};

/// Offset of the preempt word in `ThreadInfo`: the count, and behind it the inverted request. `thread_info.rs` has
/// assertions for both.
const COUNT: u64 = 8;
const REQUEST: u64 = 12;
/// The I bit, as it stands in DAIF.
const I_BIT: u64 = 1 << 7;
/// The I bit, as it stands in the immediate of `daifset`.
const I_IMM: u8 = 2;
/// A count deeper than this is a loop that the analysis does not understand.
const DEEPEST: u32 = 24;
/// So many masks are saved within one another only where one is saved in a loop and never restored.
const MOST_SAVED: u8 = 5;

/// What decides whether somebody else can run on this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Machine {
    /// IRQs are masked.
    pub masked: bool,
    /// The preempt count.
    pub count: u32,
    /// It is the idle task, whose count of 1 is its zero.
    pub idle: bool,
    /// Nobody asks for a switch: the request was taken back with IRQs masked, and they have been since.
    quiet: bool,
    /// The saved masks, the last one in bit 0; a bit is set for "masked".
    saved: u32,
    saved_len: u8,
}

impl Machine {
    /// A thread between its sections.
    pub const OPEN: Self =
        Self { masked: false, count: 0, idle: false, quiet: false, saved: 0, saved_len: 0 };

    /// What is interrupted by an interrupt that just came, with this count.
    #[must_use]
    pub const fn interrupted(count: u32) -> Self {
        Self { masked: true, count, idle: false, quiet: false, saved: 0, saved_len: 0 }
    }

    /// The idle task.
    pub const IDLE: Self = Self { masked: false, count: 1, idle: true, quiet: false, saved: 0, saved_len: 0 };

    /// Whether preemption is off by the count.
    #[must_use]
    pub const fn counted(self) -> bool {
        self.count > self.idle as u32
    }

    /// A softirq is being served, and nothing but that keeps a switch off once it is over: at the end of an interrupt, or of
    /// a section without softirqs, which has one count left.
    #[must_use]
    pub const fn serves_softirq_only(self) -> bool {
        self.count & !1 == 0x100
    }

    /// Whether it is left as it was entered.
    #[must_use]
    pub fn is_left_as(self, entry: Self) -> bool {
        Self { quiet: entry.quiet, ..self } == entry
    }

    /// With a saved mask dropped that says "masked", while they are: nothing is lost with it.
    #[must_use]
    pub fn with_mask_dropped(self) -> Option<Self> {
        (self.masked && self.saved_len > 0 && self.saved & 1 == 1).then(|| self.without_last())
    }

    const fn without_last(self) -> Self {
        Self { saved: self.saved >> 1, saved_len: self.saved_len - 1, ..self }
    }

    fn mask(&mut self, masked: bool) {
        self.masked = masked;
        self.quiet &= masked;
    }

    fn save(&mut self) -> Effect {
        if self.saved_len == MOST_SAVED {
            return Effect::TooDeep;
        }
        self.saved = self.saved << 1 | u32::from(self.masked);
        self.saved_len += 1;
        Effect::Fine
    }
}

/// A register's value, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing is known.
    Any,
    /// This number.
    Const(u64),
    /// The running task.
    Task,
    /// 64 bits whose low half is this, and whose high half is not zero if so said.
    Low(u32, bool),
    /// DAIF, with IRQs masked or not.
    Mask(bool),
}

/// The flags: N, Z, C, V from bit 3 down, and which of them are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags {
    known: u8,
    bits: u8,
}

/// The Z flag.
const Z: u8 = 4;

impl Flags {
    const NONE: Self = Self { known: 0, bits: 0 };

    const fn all(bits: u8) -> Self {
        Self { known: 0xf, bits }
    }
}

/// The registers and the flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    values: [Value; 31],
    flags: Flags,
}

/// What an instruction did to the [`Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The mask and the count are what they were, or were changed as it should be.
    Fine,
    /// A count was stored that is not known.
    UnknownCount,
    /// The register says another mask than the order of saving.
    Disagrees,
    /// A mask was restored that nobody has saved.
    NothingSaved,
    /// The count grows without end.
    TooDeep,
}

/// Memory that does not change: what a load from a known address yields.
pub trait Constants {
    /// The `bytes` at `address`, little-endian, if they are read-only.
    fn load(&self, address: u64, bytes: u8) -> Option<u64>;
}

impl Default for Registers {
    fn default() -> Self {
        Self { values: [Value::Any; 31], flags: Flags::NONE }
    }
}

impl Registers {
    /// A register; 31 is zero.
    #[must_use]
    pub fn get(&self, register: u8) -> Value {
        self.values.get(usize::from(register)).copied().unwrap_or(Value::Const(0))
    }

    /// A register as a base: 31 is `sp`, of which nothing is known.
    fn base(&self, register: u8) -> Value {
        self.values.get(usize::from(register)).copied().unwrap_or(Value::Any)
    }

    /// Sets a register; 31 takes nothing.
    pub fn set(&mut self, register: u8, value: Value) {
        if let Some(place) = self.values.get_mut(usize::from(register)) {
            *place = value;
        }
    }

    /// Keeps what is the same in both. Whether anything was lost.
    pub fn join(&mut self, other: &Self) -> bool {
        let mut lost = false;
        for (mine, other) in self.values.iter_mut().zip(&other.values) {
            if mine != other && *mine != Value::Any {
                (*mine, lost) = (Value::Any, true);
            }
        }
        let known = self.flags.known & other.flags.known & !(self.flags.bits ^ other.flags.bits);
        if known != self.flags.known {
            self.flags.known = known;
            lost = true;
        }
        lost
    }

    /// A function was called that keeps what the AAPCS says.
    pub fn call(&mut self) {
        for register in (0..=18).chain([30]) {
            self.set(register, Value::Any);
        }
        self.flags = Flags::NONE;
    }

    /// What a function finds: what its caller has in the first eight registers.
    #[must_use]
    pub fn arguments(&self) -> Self {
        let mut found = Self::default();
        for register in 0..8 {
            // Constants would make a context of every caller; a mask or a task is what the callee decides by.
            if matches!(self.get(register), Value::Mask(_)) {
                found.set(register, self.get(register));
            }
        }
        found
    }

    /// Whether the test holds, if that is known.
    #[must_use]
    pub fn decide(&self, test: Test) -> Option<bool> {
        match test {
            Test::Flags(condition) => holds(condition, self.flags),
            Test::Zero { reg, wide, nonzero } => match self.get(reg) {
                Value::Const(value) => Some((narrow(value, wide) != 0) == nonzero),
                Value::Low(low, high) if !wide || high || low != 0 => {
                    Some((low != 0 || wide && high) == nonzero)
                }
                // A task is somewhere.
                Value::Task => Some(nonzero),
                _ => None,
            },
            Test::Bit { reg, bit, set } => match self.get(reg) {
                Value::Const(value) => Some((value >> bit & 1 == 1) == set),
                Value::Low(low, _) if bit < 32 => Some((low >> bit & 1 == 1) == set),
                Value::Mask(masked) if 1 << bit == I_BIT => Some(masked == set),
                _ => None,
            },
        }
    }

    /// Executes one instruction that goes on to the next.
    pub fn step(&mut self, op: Op, machine: &mut Machine, constants: &dyn Constants) -> Effect {
        match op {
            Op::Set { rd, value } => self.set(rd, Value::Const(value)),
            Op::Keep { rd, bits, shift, wide } => {
                let value = match self.get(rd) {
                    Value::Const(old) => Value::Const(narrow(old & !(0xffff << shift) | bits, wide)),
                    _ => Value::Any,
                };
                self.set(rd, value);
            }
            Op::AddImm { rd, rn, value, sub, flags, wide } => {
                let left = if flags { self.get(rn) } else { self.base(rn) };
                self.add(rd, left, Value::Const(value), sub, flags, wide);
            }
            Op::AddReg { rd, rn, rm, shift, sub, flags, wide } => {
                let right = match self.get(rm) {
                    Value::Const(value) => Value::Const(narrow(value << shift, wide)),
                    other if shift == 0 => other,
                    _ => Value::Any,
                };
                self.add(rd, self.get(rn), right, sub, flags, wide);
            }
            Op::AndImm { rd, rn, mask, flags, wide } => self.and(rd, self.get(rn), mask, flags, wide),
            Op::Logic { rd, rn, rm, and, flags, wide } => {
                let (left, right) = (self.get(rn), self.get(rm));
                match (and, left, right) {
                    (true, value, Value::Const(mask)) | (true, Value::Const(mask), value) => {
                        self.and(rd, value, narrow(mask, wide), flags, wide);
                    }
                    (false, Value::Const(0), value) if wide => self.set(rd, value),
                    (false, Value::Const(0), Value::Low(low, _)) => {
                        self.set(rd, Value::Const(u64::from(low)))
                    }
                    (false, Value::Const(a), Value::Const(b)) => {
                        self.set(rd, Value::Const(narrow(a | b, wide)));
                    }
                    _ => {
                        self.set(rd, Value::Any);
                        self.flags = if flags { Flags::NONE } else { self.flags };
                    }
                }
            }
            Op::Load { rt, rn, offset, bytes } => {
                let value = match self.base(rn) {
                    Value::Task if offset == COUNT && bytes == 4 => Value::Const(u64::from(machine.count)),
                    Value::Task if offset == COUNT && bytes == 8 => Value::Low(machine.count, machine.quiet),
                    Value::Const(base) => {
                        constants.load(base.wrapping_add(offset), bytes).map_or(Value::Any, Value::Const)
                    }
                    _ => Value::Any,
                };
                self.set(rt, value);
            }
            Op::LoadPair { rt, rt2, rn, offset } => {
                let first = match self.base(rn) {
                    Value::Task if offset == COUNT as i64 => Value::Low(machine.count, machine.quiet),
                    _ => Value::Any,
                };
                self.set(rt, first);
                self.set(rt2, Value::Any);
            }
            Op::Store { rt, rn, offset, bytes } => {
                if self.base(rn) == Value::Task && offset == REQUEST {
                    machine.quiet =
                        machine.masked && matches!(self.get(rt), Value::Const(value) if value != 0);
                }
                if self.base(rn) == Value::Task && offset == COUNT && bytes >= 4 {
                    machine.count = match self.get(rt) {
                        Value::Const(count) => count as u32,
                        Value::Low(count, _) => count,
                        _ => return Effect::UnknownCount,
                    };
                    if machine.count & 0xff > DEEPEST {
                        return Effect::TooDeep;
                    }
                }
            }
            // The CPU is alone: nobody takes the reservation away but an interrupt, whose time holds another pass.
            Op::StoreExclusive { rs } => self.set(rs, Value::Const(0)),
            Op::ReadTask { rt } => self.set(rt, Value::Task),
            Op::ReadMask { rt } => self.set(rt, Value::Mask(machine.masked)),
            Op::MaskImm { set, imm } => {
                if imm & I_IMM != 0 {
                    machine.mask(set);
                }
            }
            Op::MaskReg { rt } => return self.restore(rt, machine),
            Op::Other { writes, flags } => {
                for register in (0..31).filter(|register| writes >> register & 1 == 1) {
                    self.set(register, Value::Any);
                }
                if flags {
                    self.flags = Flags::NONE;
                }
            }
        }
        Effect::Fine
    }

    /// `mrs` and `daifset` together: a mask that will be restored.
    pub fn saves(machine: &mut Machine) -> Effect {
        machine.save()
    }

    fn restore(&self, rt: u8, machine: &mut Machine) -> Effect {
        let known = match self.get(rt) {
            Value::Mask(masked) => Some(masked),
            _ => None,
        };
        if machine.saved_len == 0 {
            machine.mask(known.unwrap_or(false));
            return if known.is_some() { Effect::Fine } else { Effect::NothingSaved };
        }
        // A mask that was saved while interrupts were masked may be dropped: to restore it is to do nothing.
        while known == Some(false) && machine.saved & 1 == 1 && machine.saved_len > 1 {
            *machine = machine.without_last();
        }
        let last = machine.saved & 1 == 1;
        if known == Some(true) && !last {
            return Effect::Fine;
        }
        *machine = machine.without_last();
        machine.mask(known.unwrap_or(last));
        if machine.masked == last { Effect::Fine } else { Effect::Disagrees }
    }

    fn and(&mut self, rd: u8, value: Value, mask: u64, flags: bool, wide: bool) {
        let result = match value {
            Value::Const(value) => Some(value & mask),
            Value::Low(low, _) if mask >> 32 == 0 => Some(u64::from(low) & mask),
            Value::Mask(masked) if mask & !I_BIT == 0 => Some(if masked { mask } else { 0 }),
            _ if mask == 0 => Some(0),
            _ => None,
        };
        self.set(rd, result.map_or(Value::Any, Value::Const));
        if flags {
            let sign = if wide { 63 } else { 31 };
            self.flags = result.map_or(Flags::NONE, |r| {
                Flags::all(u8::from(r >> sign & 1 == 1) << 3 | u8::from(r == 0) << 2)
            });
        }
    }

    fn add(&mut self, rd: u8, left: Value, right: Value, sub: bool, flags: bool, wide: bool) {
        let result = match (left, right) {
            (Value::Const(a), Value::Const(b)) => {
                let (a, b) = (narrow(a, wide), narrow(b, wide));
                let result = narrow(if sub { a.wrapping_sub(b) } else { a.wrapping_add(b) }, wide);
                if flags {
                    self.flags = Flags::all(flags_of(a, b, sub, wide));
                }
                self.set(rd, Value::Const(result));
                return;
            }
            (value, Value::Const(0)) | (Value::Const(0), value) if !sub && wide => value,
            (Value::Low(low, _), Value::Const(b)) if !wide => {
                let b = b as u32;
                Value::Const(u64::from(if sub { low.wrapping_sub(b) } else { low.wrapping_add(b) }))
            }
            // Neither carry nor borrow reaches the other half.
            (Value::Low(low, high), Value::Const(b)) if sub && b <= u64::from(low) => {
                Value::Low(low - b as u32, high)
            }
            (Value::Low(low, high), Value::Const(b)) if !sub && u64::from(low) + b < 1 << 32 => {
                Value::Low(low + b as u32, high)
            }
            _ => Value::Any,
        };
        // Equal they can be only if their low halves are.
        let differ = match (left, right) {
            (Value::Low(low, _), Value::Const(b)) | (Value::Const(b), Value::Low(low, _)) => {
                sub && low != b as u32
            }
            _ => false,
        };
        self.set(rd, result);
        if flags {
            self.flags = if differ { Flags { known: Z, bits: 0 } } else { Flags::NONE };
        }
    }
}

fn narrow(value: u64, wide: bool) -> u64 {
    if wide { value } else { value & 0xffff_ffff }
}

fn flags_of(a: u64, b: u64, sub: bool, wide: bool) -> u8 {
    let width = if wide { 64 } else { 32 };
    let sign = |value: u64| value >> (width - 1) & 1 == 1;
    let result = narrow(if sub { a.wrapping_sub(b) } else { a.wrapping_add(b) }, wide);
    let carry = if sub { a >= b } else { (u128::from(a) + u128::from(b)) >> width != 0 };
    let overflow = if sub {
        sign(a) != sign(b) && sign(result) != sign(a)
    } else {
        sign(a) == sign(b) && sign(result) != sign(a)
    };
    u8::from(sign(result)) << 3 | u8::from(result == 0) << 2 | u8::from(carry) << 1 | u8::from(overflow)
}

/// ConditionHolds of the Arm ARM, if the flags that it asks for are known.
fn holds(condition: u8, flags: Flags) -> Option<bool> {
    let (n, z, c, v) = (flags.bits & 8 != 0, flags.bits & Z != 0, flags.bits & 2 != 0, flags.bits & 1 != 0);
    let (asks, result) = match condition >> 1 {
        0 => (Z, z),
        1 => (2, c),
        2 => (8, n),
        3 => (1, v),
        4 => (2 | Z, c && !z),
        5 => (8 | 1, n == v),
        6 => (8 | Z | 1, n == v && !z),
        _ => return Some(true),
    };
    (flags.known & asks == asks).then_some(result != (condition & 1 == 1))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
