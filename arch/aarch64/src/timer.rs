//! The virtual generic timer of the CPU we run on.
//!
//! The compare value is absolute and 64 bits wide, so there is no range to clamp. The interrupt is level
//! triggered: it stays asserted until the compare value moves or the timer stops, so a handler does one of
//! the two before it ends the interrupt. Architecture: Arm ARM D12.
//!
//! Context: any. State: registers of this CPU only.

use core::arch::asm;

/// Private interrupt of the virtual timer where the device tree does not say otherwise.
pub const INTID_VIRT: u32 = 27;

/// The virtual count. Ordered after everything before it in program order.
#[inline(always)]
pub fn counter() -> u64 {
    let value: u64;
    // SAFETY: reading the counter has no effect. No `nomem`, so that the compiler keeps it in its place.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) value, options(nostack, preserves_flags)) };
    value
}

/// Ticks per second, as the firmware set it; 0 if it did not.
pub fn freq_hz() -> u64 {
    let value: u64;
    // SAFETY: reading a constant register.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Interrupts once the count reaches `cval` (at once if it has).
#[inline(always)]
pub fn set_compare(cval: u64) {
    // SAFETY: programs this CPU's timer; its interrupt is dealt with by whoever asked for it.
    unsafe {
        asm!(
            "msr cntv_cval_el0, {cval}",
            "msr cntv_ctl_el0, {enable}",
            "isb",
            cval = in(reg) cval,
            enable = in(reg) 1u64,
            options(nostack, preserves_flags),
        );
    }
}

/// [`set_compare`] where the timer is known to be on: in its own interrupt.
#[inline(always)]
pub fn move_compare(cval: u64) {
    // SAFETY: as in `set_compare`.
    unsafe { asm!("msr cntv_cval_el0, {}", "isb", in(reg) cval, options(nostack, preserves_flags)) };
}

/// No interrupt until the next [`set_compare`].
#[inline(always)]
pub fn stop() {
    // SAFETY: turns this CPU's timer off.
    unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack, preserves_flags)) };
}

/// Brings this CPU's timer into a known state: stopped; user mode may read the virtual count; an event
/// about every 100 us wakes `wfe`, so that a missed event costs a delay and not a hang.
pub fn init_cpu() {
    stop();
    let period_log2 = (freq_hz() / 10_000).max(2).ilog2().clamp(1, 16) as u64;
    // An event is made each time counter bit EVNTI falls or rises as EVNTDIR says: the period is
    // 2^(EVNTI + 1) ticks.
    let evnti = period_log2 - 1;
    let (el0_vct, evnten) = (1 << 1, 1 << 2);
    // SAFETY: event stream and user access to the counter; no interrupt comes of it.
    unsafe {
        asm!("msr cntkctl_el1, {}", "isb", in(reg) el0_vct | evnten | (evnti << 4), options(nostack, preserves_flags));
    }
}
