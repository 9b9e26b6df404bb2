//! A thread's call on this CPU's interrupt stack.
//!
//! Soft interrupts that a thread runs at `local_bh_enable` need as much stack as those that run behind an
//! interrupt, and a thread's stack is sized for the thread. So they go to the interrupt stack in both cases.
//!
//! Invariant: the interrupt stack has one user at a time. An interrupt entry moves to its top unless bit 8 of
//! the count (a softirq is served) is set; whoever is on it otherwise has IRQs masked.

unsafe extern "C" {
    /// Calls `function` on the interrupt stack and returns on the caller's. A back-trace leads through.
    ///
    /// # Safety
    /// On a thread's own stack, IRQs masked. `function` opens IRQs only while bit 8 of the count is set, masks
    /// them before it takes the bit off, and does not switch.
    pub fn call_on_irq_stack(function: extern "C" fn());
}
