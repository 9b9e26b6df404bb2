//! There is no interrupt stack on a PC.

/// Calls `function`.
///
/// # Safety
/// None needed here.
pub unsafe fn call_on_irq_stack(function: extern "C" fn()) {
    function();
}
