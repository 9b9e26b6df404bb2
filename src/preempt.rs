//! Stand-in for the preempt word (written elsewhere).
#![forbid(unsafe_code)]

/// Whether a hard interrupt is being handled.
pub fn in_hardirq() -> bool {
    false
}

/// Whether this is thread context.
pub fn in_task() -> bool {
    true
}

/// Whether the current task may be preempted here.
pub fn preemptible() -> bool {
    true
}
