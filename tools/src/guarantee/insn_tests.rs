//! Each word was assembled by an assembler other than this decoder's author.
use super::*;

const PC: u64 = 0x1000;

#[test]
fn branches_know_their_targets() {
    assert_eq!(flow(0x1400_0002, PC), Flow::Jump(0x1008));
    assert_eq!(flow(0x97ff_ffff, PC), Flow::Call(0xffc));
    assert_eq!(flow(0x5400_0041, PC), Flow::Branch(Test::Flags(1), 0x1008));
    assert_eq!(flow(0xb4ff_ffe1, PC), Flow::Branch(Test::Zero { reg: 1, wide: true, nonzero: false }, 0xffc));
    assert_eq!(
        flow(0x3500_0040, PC),
        Flow::Branch(Test::Zero { reg: 0, wide: false, nonzero: true }, 0x1008)
    );
    // tbnz x0, #33, +8
    assert_eq!(flow(0xb708_0040, PC), Flow::Branch(Test::Bit { reg: 0, bit: 33, set: true }, 0x1008));
    assert_eq!(flow(0xd61f_0060, PC), Flow::JumpReg(3));
    assert_eq!(flow(0xd63f_0100, PC), Flow::CallReg(8));
    assert_eq!(flow(0xd65f_03c0, PC), Flow::Return);
    assert_eq!(flow(0xd69f_03e0, PC), Flow::ExceptionReturn);
    assert_eq!(flow(0xd503_207f, PC), Flow::Wait);
    assert_eq!(flow(0xd420_0020, PC), Flow::Trap);
    assert_eq!(flow(0x0000_0000, PC), Flow::Trap);
    assert_eq!(flow(0xd503_201f, PC), Flow::Next);
}

#[test]
fn what_changes_the_mask_is_recognised() {
    assert_eq!(op(0xd503_42df, PC), Op::MaskImm { set: true, imm: 2 });
    assert_eq!(op(0xd503_42ff, PC), Op::MaskImm { set: false, imm: 2 });
    assert_eq!(op(0xd51b_4228, PC), Op::MaskReg { rt: 8 });
    assert_eq!(op(0xd53b_4229, PC), Op::ReadMask { rt: 9 });
    assert_eq!(op(0xd538_4101, PC), Op::ReadTask { rt: 1 });
}

#[test]
fn the_arithmetic_of_the_count_is_recognised() {
    // ldr w9, [x8, #8]; add w9, w9, #1; str w9, [x8, #8]
    assert_eq!(op(0xb940_0909, PC), Op::Load { rt: 9, rn: 8, offset: 8, bytes: 4 });
    assert_eq!(
        op(0x1100_0529, PC),
        Op::AddImm { rd: 9, rn: 9, value: 1, sub: false, flags: false, wide: false }
    );
    assert_eq!(op(0xb900_0909, PC), Op::Store { rt: 9, rn: 8, offset: 8, bytes: 4 });
    // add w4, w3, #0x10, lsl #12
    assert_eq!(
        op(0x1140_4064, PC),
        Op::AddImm { rd: 4, rn: 3, value: 0x10000, sub: false, flags: false, wide: false }
    );
    // ldp x1, x2, [x0, #8]; mov w2, #2; mov x1, x8; tst w1, #0xffff00
    assert_eq!(op(0xa940_8801, PC), Op::LoadPair { rt: 1, rt2: 2, rn: 0, offset: 8 });
    assert_eq!(op(0x5280_0042, PC), Op::Set { rd: 2, value: 2 });
    assert_eq!(op(0xaa08_03e1, PC), Op::Logic { rd: 1, rn: 31, rm: 8, and: false, flags: false, wide: true });
    assert_eq!(
        op(0x7218_3c3f, PC),
        Op::AndImm { rd: 31, rn: 1, mask: 0x00ff_ff00, flags: true, wide: false }
    );
}

#[test]
fn a_load_is_said_to_write_what_it_writes() {
    // ldp x29, x30, [sp], #16: the pair and the base
    assert_eq!(op(0xa8c1_7bfd, PC), Op::Other { writes: 1 << 29 | 1 << 30 | 1 << 31, flags: false });
    // stp x29, x30, [sp, #-16]!: the base alone
    assert_eq!(op(0xa9bf_7bfd, PC), Op::Other { writes: 1 << 31, flags: false });
    // ldrb w13, [x12], #1
    assert_eq!(op(0x3840_158d, PC), Op::Other { writes: 1 << 13 | 1 << 12, flags: false });
    // stxr w9, x8, [x10]
    assert_eq!(op(0xc809_7d48, PC), Op::StoreExclusive { rs: 9 });
    // ldaxr x8, [x10]
    assert_eq!(op(0xc85f_fd48, PC), Op::Other { writes: 1 << 8, flags: false });
}
