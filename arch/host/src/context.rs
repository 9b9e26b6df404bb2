//! The head of a task. Nothing can be switched to on a PC.

use crate::thread_info::ThreadInfo;

/// The head of a task.
#[repr(C)]
pub struct ArchTask {
    /// First, as on the CPU.
    pub thread_info: ThreadInfo,
    context: CpuContext,
}

/// Saved registers: none.
#[repr(C)]
pub struct CpuContext;

impl CpuContext {
    /// Nothing is saved.
    #[must_use]
    pub fn pc_fp(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Nothing is saved.
    #[must_use]
    pub fn sp(&self) -> u64 {
        0
    }
}

impl ArchTask {
    /// The head of a task.
    #[must_use]
    pub const fn new(preempt_word: u64) -> Self {
        Self { thread_info: ThreadInfo::new(preempt_word), context: CpuContext }
    }

    /// The saved registers.
    #[must_use]
    pub fn context(&self) -> &CpuContext {
        &self.context
    }

    /// A task cannot be started on a PC; its head can be made.
    ///
    /// # Safety
    /// `this` is valid for writes.
    pub unsafe fn prepare(
        this: *mut Self,
        _stack_top: usize,
        _entry: extern "C" fn(usize) -> !,
        _arg: usize,
    ) {
        // SAFETY: by contract.
        unsafe { this.write(Self::new(crate::thread_info::FORK_PREEMPT_COUNT)) };
    }
}

/// Not on a PC.
///
/// # Safety
/// Never called: the simulator drives the classes, not the switch.
pub unsafe fn cpu_switch_to(_prev: *const ArchTask, _next: *const ArchTask) -> *const ArchTask {
    unimplemented!("a PC test cannot switch kernel tasks; drive `sched::Rq` instead")
}
