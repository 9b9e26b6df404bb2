//! What `cpu_switch_to` saves, and the head of every task.
//!
//! A voluntary switch is a function call, so only the callee-saved registers, the stack pointer and the
//! return address are kept. No PSTATE: every switch happens with IRQs masked and D, A, F open
//! (reference 2.7), so there is nothing to tell apart. No FP: the kernel is built without it.

use crate::thread_info::{FORK_PREEMPT_COUNT, ThreadInfo};
use core::cell::Cell;
use core::mem::{offset_of, size_of};

/// The head of a task: `sp_el0` points here. The kernel's `Task` has it as its first member.
#[repr(C)]
pub struct ArchTask {
    /// Must stay first: assembly and `current_thread_info` find it at `sp_el0 + 0`.
    pub thread_info: ThreadInfo,
    pub(crate) context: CpuContext,
}

/// x19–x28, the frame pointer, the return address and the stack pointer of a task that does not run.
#[repr(C)]
pub struct CpuContext {
    pub(crate) x19_x28: [Cell<u64>; 10],
    pub(crate) fp: Cell<u64>,
    pub(crate) pc: Cell<u64>,
    pub(crate) sp: Cell<u64>,
}

const _: () = {
    assert!(offset_of!(ArchTask, thread_info) == 0);
    // switch.S saves in pairs; the last register goes alone.
    assert!(offset_of!(CpuContext, fp) == 80);
    assert!(offset_of!(CpuContext, pc) == offset_of!(CpuContext, fp) + 8);
    assert!(size_of::<CpuContext>() == 104);
};

unsafe extern "C" {
    /// switch.S: where a new task starts.
    fn ret_from_fork();
}

impl CpuContext {
    const fn new() -> Self {
        Self { x19_x28: [const { Cell::new(0) }; 10], fp: Cell::new(0), pc: Cell::new(0), sp: Cell::new(0) }
    }

    /// The return address and frame pointer of a task that does not run: where its back-trace starts.
    #[must_use]
    pub fn pc_fp(&self) -> (u64, u64) {
        (self.pc.get(), self.fp.get())
    }

    /// The stack pointer of a task that does not run.
    #[must_use]
    pub fn sp(&self) -> u64 {
        self.sp.get()
    }
}

impl ArchTask {
    /// The head of a task that has not been set up yet.
    #[must_use]
    pub const fn new(preempt_word: u64) -> Self {
        Self { thread_info: ThreadInfo::new(preempt_word), context: CpuContext::new() }
    }

    /// The saved registers.
    #[must_use]
    pub fn context(&self) -> &CpuContext {
        &self.context
    }

    /// Makes the first switch to this task call `entry(arg)` on the given stack, behind `schedule_tail`.
    ///
    /// # Safety
    /// Nobody runs the task; `stack_top` is 16-byte aligned and the top of memory that is its alone.
    #[inline(always)]
    pub unsafe fn prepare(this: *mut Self, stack_top: usize, entry: extern "C" fn(usize) -> !, arg: usize) {
        // SAFETY: by contract `this` is valid for writes and not shared. Only what the first switch reads
        // is written: the other registers may hold anything.
        unsafe {
            (&raw mut (*this).thread_info).write(ThreadInfo::new(FORK_PREEMPT_COUNT));
            let context = &raw mut (*this).context;
            (*context).x19_x28[0].set(entry as *const () as u64);
            (*context).x19_x28[1].set(arg as u64);
            // A zero frame pointer ends every back-trace.
            (*context).fp.set(0);
            (*context).pc.set(ret_from_fork as *const () as u64);
            (*context).sp.set(stack_top as u64);
        }
    }
}

unsafe extern "C" {
    /// Switches from `prev` to `next` and returns, on `next`'s stack, the task that was left.
    ///
    /// # Safety
    /// IRQs masked, D, A and F open, the run-queue lock held and the count 2; both are valid tasks,
    /// `prev` is the running one and `next` was prepared or switched away from before. Called from one
    /// place: `context_switch`.
    pub fn cpu_switch_to(prev: *const ArchTask, next: *const ArchTask) -> *const ArchTask;
}
