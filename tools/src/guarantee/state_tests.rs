use super::*;

struct Nothing;

impl Constants for Nothing {
    fn load(&self, address: u64, _: u8) -> Option<u64> {
        (address == 0x100).then_some(42)
    }
}

/// Executes from `machine` on; the registers, the state and the last effect.
fn run(mut machine: Machine, ops: &[Op]) -> (Registers, Machine, Effect) {
    let mut registers = Registers::default();
    let mut effect = Effect::Fine;
    for &op in ops {
        if matches!(op, Op::ReadMask { .. }) {
            assert_eq!(Registers::saves(&mut machine), Effect::Fine);
        }
        effect = registers.step(op, &mut machine, &Nothing);
    }
    (registers, machine, effect)
}

const TASK: Op = Op::ReadTask { rt: 8 };
const LOAD: Op = Op::Load { rt: 9, rn: 8, offset: 8, bytes: 4 };
const LOAD_WORD: Op = Op::Load { rt: 9, rn: 8, offset: 8, bytes: 8 };
const STORE: Op = Op::Store { rt: 9, rn: 8, offset: 8, bytes: 4 };
const MASK: Op = Op::MaskImm { set: true, imm: 2 };
const OPEN: Op = Op::MaskImm { set: false, imm: 2 };

fn add(value: u64) -> Op {
    Op::AddImm { rd: 9, rn: 9, value, sub: false, flags: false, wide: false }
}

const ZERO: Test = Test::Zero { reg: 9, wide: true, nonzero: false };

#[test]
fn the_count_is_what_is_stored() {
    let (_, machine, effect) = run(Machine::OPEN, &[TASK, LOAD, add(0x201), STORE]);
    assert_eq!((machine.count, effect), (0x201, Effect::Fine));
    assert!(machine.counted() && !machine.masked);
    assert!(!Machine::IDLE.counted(), "the idle task's count of one is its zero");
}

#[test]
fn a_count_that_is_not_known_is_told() {
    assert_eq!(run(Machine::OPEN, &[TASK, STORE]).2, Effect::UnknownCount);
    assert_eq!(run(Machine::OPEN, &[TASK, LOAD, add(25), STORE]).2, Effect::TooDeep);
}

#[test]
fn the_word_is_not_zero_while_the_count_is_not() {
    let (counted, ..) = run(Machine::OPEN, &[TASK, LOAD, add(1), STORE, LOAD_WORD]);
    assert_eq!(counted.decide(ZERO), Some(false));
    let (open, ..) = run(Machine::OPEN, &[TASK, LOAD_WORD]);
    assert_eq!(open.decide(ZERO), None, "somebody may ask for a switch");
}

#[test]
fn a_request_that_was_taken_back_stays_away_while_interrupts_are_masked() {
    let withdraw =
        [TASK, MASK, Op::Set { rd: 9, value: 1 }, Op::Store { rt: 9, rn: 8, offset: 12, bytes: 4 }];
    let masked = [&withdraw[..], &[LOAD_WORD]].concat();
    assert_eq!(run(Machine::OPEN, &masked).0.decide(ZERO), Some(false));
    let opened = [&withdraw[..], &[OPEN, LOAD_WORD]].concat();
    assert_eq!(run(Machine::OPEN, &opened).0.decide(ZERO), None);
    let asked = [&masked[..], &[Op::Store { rt: 31, rn: 8, offset: 12, bytes: 4 }, LOAD_WORD]].concat();
    assert_eq!(run(Machine::OPEN, &asked).0.decide(ZERO), None);
}

#[test]
fn masks_are_restored_last_first() {
    let save = [Op::ReadMask { rt: 1 }, MASK];
    let inner = [Op::ReadMask { rt: 2 }, MASK];
    let both = [&save[..], &inner[..]].concat();
    let (_, machine, effect) = run(Machine::OPEN, &[&both[..], &[Op::MaskReg { rt: 2 }]].concat());
    assert!(machine.masked && effect == Effect::Fine);
    // The register is lost: the order of saving says what it was.
    let lost = [&both[..], &[Op::MaskReg { rt: 5 }, Op::MaskReg { rt: 5 }]].concat();
    assert!(!run(Machine::OPEN, &lost).1.masked);
    // The inner one may be dropped: it says "masked".
    let (_, machine, effect) = run(Machine::OPEN, &[&both[..], &[Op::MaskReg { rt: 1 }]].concat());
    assert_eq!((machine, effect), (Machine::OPEN, Effect::Fine));
    assert_eq!(run(Machine::OPEN, &[Op::MaskReg { rt: 5 }]).2, Effect::NothingSaved);
}

#[test]
fn a_saved_mask_decides_the_branch_that_asks_for_it() {
    let test = Test::Bit { reg: 1, bit: 7, set: true };
    assert_eq!(run(Machine::OPEN, &[Op::ReadMask { rt: 1 }, MASK]).0.decide(test), Some(false));
    assert_eq!(run(Machine::interrupted(0), &[Op::ReadMask { rt: 1 }]).0.decide(test), Some(true));
}

#[test]
fn comparisons_of_what_is_known_are_decided() {
    let compare = |a, b| {
        let set = Op::Set { rd: 1, value: a };
        let compare = Op::AddImm { rd: 31, rn: 1, value: b, sub: true, flags: true, wide: true };
        run(Machine::OPEN, &[set, compare]).0
    };
    let holds = |a, b, condition| compare(a, b).decide(Test::Flags(condition)).unwrap();
    let [eq, ne, hs, lo, hi, ls, ge, lt] = [0, 1, 2, 3, 8, 9, 10, 11];
    assert!(holds(5, 5, eq) && holds(5, 4, ne) && holds(5, 5, hs) && holds(4, 5, lo));
    assert!(holds(6, 5, hi) && holds(5, 5, ls) && holds(u64::MAX, 5, hi));
    assert!(holds(u64::MAX, 5, lt) && holds(5, u64::MAX, ge), "signed");
    assert_eq!(run(Machine::OPEN, &[]).0.decide(Test::Flags(eq)), None);
}

#[test]
fn a_word_with_a_count_differs_from_one_without() {
    let enabled = Op::Set { rd: 10, value: 1 << 32 };
    let compare = Op::AddReg { rd: 31, rn: 9, rm: 10, shift: 0, sub: true, flags: true, wide: true };
    let of = |machine| run(machine, &[TASK, LOAD_WORD, enabled, compare]).0.decide(Test::Flags(0));
    assert_eq!(of(Machine::interrupted(0x10000)), Some(false));
    assert_eq!(of(Machine::OPEN), None);
}

#[test]
fn a_join_keeps_what_is_the_same() {
    let (mut one, ..) = run(Machine::OPEN, &[Op::Set { rd: 1, value: 1 }, Op::Set { rd: 2, value: 2 }]);
    let (other, ..) = run(Machine::OPEN, &[Op::Set { rd: 1, value: 1 }, Op::Set { rd: 2, value: 3 }]);
    assert!(one.join(&other));
    assert_eq!((one.get(1), one.get(2)), (Value::Const(1), Value::Any));
    assert!(!one.join(&other), "nothing more is lost");
}

#[test]
fn a_call_destroys_what_the_aapcs_says() {
    let (mut registers, ..) =
        run(Machine::OPEN, &[Op::Set { rd: 9, value: 1 }, Op::Set { rd: 19, value: 2 }]);
    registers.call();
    assert_eq!((registers.get(9), registers.get(19)), (Value::Any, Value::Const(2)));
}

#[test]
fn memory_that_cannot_change_is_read() {
    let base = Op::Set { rd: 1, value: 0xf0 };
    let load = |offset| Op::Load { rt: 2, rn: 1, offset, bytes: 8 };
    assert_eq!(run(Machine::OPEN, &[base, load(0x10)]).0.get(2), Value::Const(42));
    assert_eq!(run(Machine::OPEN, &[base, load(0x18)]).0.get(2), Value::Any);
}
