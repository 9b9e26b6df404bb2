//! Frames exist in name.

/// An interrupt's frame.
#[derive(Debug)]
pub struct IrqFrame;
/// A fault's frame.
#[derive(Debug)]
pub struct PtRegs;
