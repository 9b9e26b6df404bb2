//! The in-kernel test image. `test=list`, `test=all skip=<K>`, `test=only:<name>`, `test=stress[:…]` in the boot
//! arguments.
#![no_std]
#![no_main]

extern crate alloc;

mod framework;
mod stress;
mod tests;

stint_board::entry!(framework::main);
