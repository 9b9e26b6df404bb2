//! Per-CPU data (K6): every CPU has its own instance, and only code that cannot be moved away or
//! interleaved with another task of the same CPU may look at it.
//!
//! A per-CPU variable is a static in the `.percpu` section; this CPU's instance lies at its address plus
//! the per-CPU offset. [`PerCpu::get`] asks for a proof: any guard that keeps preemption off. Without a
//! guard there is no reference, so the rule does not compile away into a comment.
//!
//! Interrupt handlers of this CPU may still come in between: what they share is changed with interrupts
//! masked, which is what the guards of `RawSpinLockIrqSave` and [`crate::locking::SchedLock`] do.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A value per CPU. Declare it with [`per_cpu!`](crate::per_cpu).
///
/// ```
/// use core::cell::Cell;
/// stint::per_cpu! { static HITS: Cell<u64> = Cell::new(0); }
/// let guard = stint::preempt::preempt_disable();
/// HITS.get(&guard).set(1);
/// ```
///
/// Without the proof there is no reference, and it does not outlive the proof:
///
/// ```compile_fail,E0061
/// # use core::cell::Cell;
/// # stint::per_cpu! { static HITS: Cell<u64> = Cell::new(0); }
/// HITS.get().set(1);
/// ```
///
/// ```compile_fail,E0505
/// # use core::cell::Cell;
/// # stint::per_cpu! { static HITS: Cell<u64> = Cell::new(0); }
/// let guard = stint::preempt::preempt_disable();
/// let hits = HITS.get(&guard);
/// drop(guard);
/// hits.set(1);
/// ```
#[repr(transparent)]
pub struct PerCpu<T: 'static>(UnsafeCell<T>);

// SAFETY: an instance is reached only by its own CPU with preemption off (`get`), or under the conditions
// that the unsafe accessors state. `Send`: one task after the other may have it.
unsafe impl<T: Send> Sync for PerCpu<T> {}

/// Proof that the running code cannot be preempted.
///
/// # Safety
/// While a value of the type exists, preemption is off on this CPU, and the value cannot be sent to
/// another task (`!Send`).
pub unsafe trait NonPreemptible {}

/// Proof that the running code stays on its CPU. It may be preempted, so what another task of the CPU may touch is not its
/// own: it can only know where it is.
///
/// # Safety
/// While a value of the type exists, the task is not moved to another CPU, and the value cannot be sent to another task.
pub unsafe trait StaysOnCpu {}

// SAFETY: who is not preempted is not moved.
unsafe impl<P: NonPreemptible + ?Sized> StaysOnCpu for P {}

impl<T> PerCpu<T> {
    /// The initial value of every CPU's instance.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// This CPU's instance, for as long as the proof lives.
    #[inline(always)]
    pub fn get<'a, P: NonPreemptible + ?Sized>(&'static self, _proof: &'a P) -> &'a T {
        // SAFETY: preemption is off for 'a, so the CPU does not change under the reference.
        unsafe { self.this_cpu() }
    }

    /// This CPU's instance, on the caller's word.
    ///
    /// # Safety
    /// Preemption is off or interrupts are masked for as long as the reference is used.
    #[inline(always)]
    pub(crate) unsafe fn this_cpu(&'static self) -> &'static T {
        let address = (self.0.get() as usize).wrapping_add(arch::percpu::this_cpu_offset());
        // SAFETY: the offset leads from the section to this CPU's initialised copy of it.
        unsafe { &*(address as *const T) }
    }

    /// The instance of `cpu`, which may be another CPU's.
    ///
    /// # Safety
    /// `cpu` is present and its copy has been made; what is done with the reference is safe while that CPU, or any
    /// other, uses it too: a lock inside guards it, or it is atomic.
    #[inline(always)]
    pub(crate) unsafe fn of(&'static self, cpu: usize) -> &'static T {
        let address = (self.0.get() as usize).wrapping_add(offset_of_cpu(cpu));
        // SAFETY: as above, and by contract.
        unsafe { &*(address as *const T) }
    }
}

impl<T: Sync> PerCpu<T> {
    /// The instance of `cpu`, of a kind that all CPUs may use at once; the boot CPU's for one that has none yet.
    #[inline(always)]
    pub(crate) fn shared(&'static self, cpu: usize) -> &'static T {
        // SAFETY: there is an instance at either address, for ever, and it may be shared.
        unsafe { self.of(cpu) }
    }

    /// All instances that there are, with their CPUs.
    pub(crate) fn each(&'static self) -> impl Iterator<Item = (usize, &'static T)> {
        (0..crate::MAX_CPUS).filter(|&cpu| has_instances(cpu)).map(|cpu| (cpu, self.shared(cpu)))
    }
}

/// Whether `cpu` has instances of its own: it has been started, or is the boot CPU.
pub(crate) fn has_instances(cpu: usize) -> bool {
    cpu == 0 || offset_of_cpu(cpu) != 0
}

/// From the section to each CPU's copy; 0 for the boot CPU, which uses the section itself, and for one whose copy
/// has not been made.
static OFFSETS: [AtomicUsize; crate::MAX_CPUS] = [const { AtomicUsize::new(0) }; crate::MAX_CPUS];

#[inline(always)]
fn offset_of_cpu(cpu: usize) -> usize {
    OFFSETS[cpu].load(Ordering::Relaxed)
}

#[cfg(target_os = "none")]
mod area;
#[cfg(target_os = "none")]
pub(crate) use area::{keep_initial, make};

/// Linux's sizes.
pub(crate) const IRQ_STACK_BYTES: usize = 16 * 1024;
/// See [`IRQ_STACK_BYTES`].
pub(crate) const OVERFLOW_STACK_BYTES: usize = 8 * 1024;

/// Declares per-CPU variables: `per_cpu! { static NAME: Type = value; }`.
#[macro_export]
macro_rules! per_cpu {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $ty:ty = $value:expr;)*) => {$(
        $(#[$meta])*
        #[cfg_attr(target_os = "none", unsafe(link_section = ".percpu"))]
        $vis static $name: $crate::percpu::PerCpu<$ty> = $crate::percpu::PerCpu::new($value);
    )*};
}

/// The lowest address that an interrupt's first push may not pass; read by entry.S (upcall.rs).
#[cfg_attr(target_os = "none", unsafe(link_section = ".percpu"), unsafe(export_name = "irq_stack_top"))]
pub(crate) static IRQ_STACK_TOP: PerCpu<core::cell::Cell<usize>> = PerCpu::new(core::cell::Cell::new(0));

/// The stack on which a stack overflow is reported; read by entry.S (upcall.rs).
#[cfg_attr(target_os = "none", unsafe(link_section = ".percpu"), unsafe(export_name = "overflow_stack_top"))]
pub(crate) static OVERFLOW_STACK_TOP: PerCpu<core::cell::Cell<usize>> = PerCpu::new(core::cell::Cell::new(0));

/// Tells entry.S where this CPU's interrupt and overflow stacks are.
///
/// # Safety
/// Once per CPU before its vectors are set; both are tops (16-byte aligned) of mapped stacks that nothing
/// else uses, each with a guard page below.
pub unsafe fn set_exception_stacks(irq_top: usize, overflow_top: usize) {
    debug_assert!(irq_top.is_multiple_of(16) && overflow_top.is_multiple_of(16));
    // SAFETY: by contract no interrupt and no other task exists on this CPU yet.
    unsafe {
        IRQ_STACK_TOP.this_cpu().set(irq_top);
        OVERFLOW_STACK_TOP.this_cpu().set(overflow_top);
    }
}

per_cpu! {
    static CPU_ID: core::cell::Cell<usize> = core::cell::Cell::new(0);
}

/// The logical number of this CPU: its place among the DTB's `cpu` nodes, 0 for the boot CPU.
#[inline(always)]
pub fn smp_processor_id<P: StaysOnCpu + ?Sized>(_proof: &P) -> usize {
    // SAFETY: written once per CPU, before others run there; the task stays on this one.
    unsafe { CPU_ID.this_cpu().get() }
}

/// The number of this CPU as a hint, for messages: it may have changed by the time it is read.
#[must_use]
pub fn raw_smp_processor_id() -> usize {
    // SAFETY: a `usize` that is written once per CPU; a stale answer is allowed here.
    unsafe { CPU_ID.this_cpu().get() }
}
