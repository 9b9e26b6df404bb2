//! Further CPUs' copies of the per-CPU section.
//!
//! The boot CPU uses the section in place. What it looked like at link time is copied aside by the first code of the
//! kernel ([`keep_initial`]), and every other CPU's copy is made from that: it begins with the initial values, and not
//! with what the boot CPU has made of them. (No initial value may hold the address of a per-CPU variable: in a copy
//! it would lead to the boot CPU's.)
//!
//! Copies are made once and kept, also while their CPU is off. Context: threads. Locks: none; one caller at a time.

use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::Ordering;

use super::{
    CPU_ID, IRQ_STACK_BYTES, IRQ_STACK_TOP, OFFSETS, OVERFLOW_STACK_BYTES, OVERFLOW_STACK_TOP, PerCpu,
};
use crate::error::{Error, Result};
use crate::mm::stack::Stack;

/// A cache line of its own for every copy's beginning and end, on every CPU with this architecture.
const ALIGN: usize = 128;

unsafe extern "C" {
    static __percpu_start: u8;
    static __percpu_end: u8;
    static mut __percpu_initial: u8;
}

fn section() -> (*const u8, usize) {
    let (start, end) = (&raw const __percpu_start, &raw const __percpu_end);
    (start, end as usize - start as usize)
}

/// Copies the section aside.
///
/// # Safety
/// Once, as the first thing: nothing has written to a per-CPU variable yet.
pub(crate) unsafe fn keep_initial() {
    let (start, bytes) = section();
    // SAFETY: the linker script reserves as much as the section has, outside of it.
    unsafe { ptr::copy_nonoverlapping(start, &raw mut __percpu_initial, bytes) };
}

/// Makes CPU `cpu`'s copy, with its number and exception stacks in it, or finds it; returns its offset.
///
/// # Errors
/// [`Error::NoMemory`].
pub(crate) fn make(cpu: usize) -> Result<usize> {
    let offset = OFFSETS[cpu].load(Ordering::Relaxed);
    if offset != 0 {
        return Ok(offset);
    }
    let stack = |bytes| Stack::new(bytes).map_err(|_| Error::NoMemory { bytes: bytes as u32 });
    let (irq, overflow) = (stack(IRQ_STACK_BYTES)?, stack(OVERFLOW_STACK_BYTES)?);
    let (start, bytes) = section();
    // Aligned by hand: the one caller that wanted more than 16 from the heap would make every allocation ask for it (nine
    // instructions, where the compiler now sees that nobody does). It is never given back.
    let layout = Layout::from_size_align(bytes.next_multiple_of(ALIGN) + ALIGN, 16);
    let no_memory = Error::NoMemory { bytes: bytes as u32 };
    let layout = layout.map_err(|_| no_memory)?;
    // SAFETY: the section is not empty.
    let copy = unsafe { alloc::alloc::alloc(layout) };
    if copy.is_null() {
        return Err(no_memory);
    }
    // SAFETY: less than ALIGN, which was asked for on top.
    let copy = unsafe { copy.add(copy.align_offset(ALIGN)) };
    // SAFETY: as many bytes as were kept, to memory that was just allocated.
    unsafe { ptr::copy_nonoverlapping(&raw const __percpu_initial, copy, bytes) };
    let offset = (copy as usize).wrapping_sub(start as usize);
    set(&CPU_ID, offset, cpu);
    set(&IRQ_STACK_TOP, offset, irq.into_top());
    set(&OVERFLOW_STACK_TOP, offset, overflow.into_top());
    OFFSETS[cpu].store(offset, Ordering::Release);
    Ok(offset)
}

/// Writes to a copy that no CPU uses yet.
fn set(variable: &'static PerCpu<core::cell::Cell<usize>>, offset: usize, value: usize) {
    let address = (variable.0.get() as usize).wrapping_add(offset);
    // SAFETY: the copy was made, and nobody else knows it.
    unsafe { &*(address as *const core::cell::Cell<usize>) }.set(value);
}
