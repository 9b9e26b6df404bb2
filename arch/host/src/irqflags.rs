//! The interrupt mask of the calling thread: a flag.

use std::cell::Cell;

/// The I bit as it stands in DAIF.
pub const PSR_I_BIT: u64 = 1 << 7;
/// A saved mask.
pub type Flags = u64;

thread_local! {
    static DAIF: Cell<u64> = const { Cell::new(0) };
}

/// Masks and returns what was before.
#[must_use]
pub fn local_irq_save() -> Flags {
    DAIF.replace(PSR_I_BIT)
}
/// Puts back.
pub fn local_irq_restore(flags: Flags) {
    DAIF.set(flags);
}
/// Masks.
pub fn local_irq_disable() {
    DAIF.set(PSR_I_BIT);
}
/// Unmasks.
pub fn local_irq_enable() {
    DAIF.set(0);
}
/// As [`local_irq_save`].
#[must_use]
pub fn raw_local_irq_save() -> Flags {
    local_irq_save()
}
/// As [`local_irq_restore`].
pub fn raw_local_irq_restore(flags: Flags) {
    local_irq_restore(flags);
}
/// Nothing to open.
pub fn open_daf() {}
/// Masks.
pub fn mask_all() {
    local_irq_disable();
}
/// The mask.
#[must_use]
pub fn local_save_flags() -> Flags {
    DAIF.get()
}
/// Whether `flags` is masked.
#[must_use]
pub const fn irqs_disabled_flags(flags: Flags) -> bool {
    flags & PSR_I_BIT != 0
}
/// Whether masked.
#[must_use]
pub fn irqs_disabled() -> bool {
    irqs_disabled_flags(local_save_flags())
}
