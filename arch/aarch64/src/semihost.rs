//! Leaving the emulator with an exit status.
//!
//! Context: any. Only for machines started with semihosting on: elsewhere the instruction is undefined.

/// Ends the emulator with `code` as its exit status.
pub fn exit(code: u32) -> ! {
    semihosting::process::exit(code as i32)
}
