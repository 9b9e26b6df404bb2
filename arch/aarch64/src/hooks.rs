//! Hooks that are not there: the sites of preempt-stats.
//!
//! A site is an instruction that the kernel needs anyway: `msr daifset`, the store of the count, `eret`, `wfi`.
//! While the statistics are off it is just that, and the hook costs nothing. Switched on ([`crate::patch::set`]), it
//! is a branch to its *thunk* in `.text.hooks`, which calls the recorder and then executes the instruction itself:
//!
//! ```text
//! site:  msr daifset, #2     →    site:  b thunk
//!        …                        …
//!                                 thunk: mask, say what the state will be, bl preempt_hook_…  (hooks.S)
//!                                        msr daifset, #2
//!                                        b site + 4
//! ```
//!
//! Invariants:
//! * a thunk changes no register, no flag and nothing above `sp`: the compiler does not know that there is a call. What
//!   lies below `sp` is free, because an interrupt could push there at the same instruction; so the `nostack` of the
//!   asm blocks stays true;
//! * the recorder runs before the instruction, with interrupts masked until the instruction is done: no interrupt sees
//!   a state that the recorder does not know;
//! * hooks.S counts the cycles of the whole detour, so that it can be taken off every measured time.
//!
//! Context: any in which the site's instruction may stand. Locks: none.

use crate::thread_info::PREEMPT;
use core::arch::global_asm;

/// What the recorder is told ([`crate::upcall`]). The numbers are those of hooks.S.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HookEvent {
    /// The mask or the count is about to change.
    State = 0,
    /// An interrupt was taken.
    IrqEntry = 6,
    /// The return from an interrupt; the program counter is the interrupted one.
    IrqExit = 1,
    /// `wfi` comes next.
    IdleEnter = 2,
    /// `wfi` is over.
    IdleLeave = 3,
    /// A switch is asked for.
    Request = 4,
    /// The request is taken back: a scheduling point was reached.
    Served = 5,
}

impl HookEvent {
    /// From the number in hooks.S.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::IrqExit,
            2 => Self::IdleEnter,
            3 => Self::IdleLeave,
            4 => Self::Request,
            5 => Self::Served,
            6 => Self::IrqEntry,
            _ => Self::State,
        }
    }
}

/// Bytes a thunk pushes: x29, x30, and two words for hooks.S (the saved DAIF, and the new DAIF or count).
const THUNK_FRAME: usize = 32;
/// Bytes hooks.S pushes: x0 to x18, x30, the time of entry, the flags.
const HOOK_FRAME: usize = 176;

global_asm!(
    include_str!("hooks.S"),
    THUNK_FRAME = const THUNK_FRAME,
    HOOK_FRAME = const HOOK_FRAME,
    THUNK_FP = const HOOK_FRAME,
    THUNK_DAIF = const HOOK_FRAME + 16,
    THUNK_VALUE = const HOOK_FRAME + 24,
    TI_PREEMPT = const PREEMPT,
    IRQ_FRAME_SIZE = const size_of::<crate::frame::IrqFrame>(),
    HARDIRQ_OFFSET = const crate::HARDIRQ_OFFSET,
    PSR_I_BIT = const crate::irqflags::PSR_I_BIT,
    EVENT_STATE = const HookEvent::State as u32,
    EVENT_IRQ_ENTRY = const HookEvent::IrqEntry as u32,
    EVENT_IRQ_EXIT = const HookEvent::IrqExit as u32,
    EVENT_IDLE_ENTER = const HookEvent::IdleEnter as u32,
    EVENT_IDLE_LEAVE = const HookEvent::IdleLeave as u32,
    EVENT_REQUEST = const HookEvent::Request as u32,
    EVENT_SERVED = const HookEvent::Served as u32,
);

/// The `.patch` entry of the site `2:` with its thunk `3:`. The asm block names the key as `key`.
macro_rules! hook_entry {
    ($instruction:expr) => {
        concat!(
            ".pushsection .patch, \"a\"\n.balign 4\n.long 2b - .\n.long 3b - .\n.long {key}\n",
            $instruction,
            "\n.popsection"
        )
    };
}

/// An instruction that changes the mask to `$daif`, as a site. One asm line that needs the operand `key`.
macro_rules! irq_site {
    ($instruction:literal, $daif:literal) => {
        concat!(
            "2: ",
            $instruction,
            "\n.pushsection .text.hooks, \"ax\"\n.balign 4\n",
            "3: stp x29, x30, [sp, #-32]!\nmsr daifset, #2\nmov x29, ",
            $daif,
            "\nstr x29, [sp, #24]\nadrp x29, 2b\nadd x29, x29, :lo12:2b\nbl preempt_hook_irqs\nldr x29, [sp], #32\n",
            $instruction,
            "\nb 2b + 4\n.popsection\n",
            hook_entry!($instruction)
        )
    };
}

/// A store to the preempt word as a site of `$hook`, which is told `$value`: the count that is about to be there, if
/// it stores the count.
macro_rules! word_site {
    ($instruction:literal, $value:literal, $hook:literal) => {
        concat!(
            "2: ",
            $instruction,
            "\n.pushsection .text.hooks, \"ax\"\n.balign 4\n",
            "3: stp x29, x30, [sp, #-32]!\nmrs x29, daif\nmsr daifset, #2\nstp x29, ",
            $value,
            ", [sp, #16]\nadrp x29, 2b\nadd x29, x29, :lo12:2b\nbl ",
            $hook,
            "\n",
            $instruction,
            "\nldr x29, [sp, #16]\nmsr daif, x29\nldr x29, [sp], #32\nb 2b + 4\n.popsection\n",
            hook_entry!($instruction)
        )
    };
}
