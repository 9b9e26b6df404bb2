//! The default image: the demonstration and the shell.
#![no_std]
#![no_main]

stint_board::entry!(main);

fn main() {}
