//! Stint.
fn main() {}
