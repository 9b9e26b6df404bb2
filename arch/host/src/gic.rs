//! No interrupt controller.

/// GICv2 in name.
pub mod v2 {
    /// Spurious.
    #[must_use]
    pub fn ack() -> u32 {
        1023
    }
    /// Nothing.
    pub fn eoi(_iar: u32) {}
}
/// GICv3 in name.
pub mod v3 {
    /// Spurious.
    #[must_use]
    pub fn ack() -> u32 {
        1023
    }
    /// Nothing.
    pub fn eoi(_iar: u32) {}
}
