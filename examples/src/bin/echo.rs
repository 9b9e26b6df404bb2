//! Serial echo: what is typed comes back, a line at a time, in capitals.
//!
//! Input arrives by interrupt; the task that reads it sleeps until there is some. An empty line ends it.
#![no_std]
#![no_main]

use stint::drivers::console;
use stint::start::boot_info;
use stint::{kprint, kprintln, power};

stint_board::entry!(main);

fn main() {
    if boot_info().bootargs.noshell {
        kprintln!("echo: nobody can type here; run it at a terminal: make run IMAGE=echo");
        power::exit(0);
    }
    kprintln!("Type something; an empty line ends it.");
    loop {
        let mut line = [0; 80];
        let len = read_line(&mut line);
        if len == 0 {
            power::exit(0);
        }
        line[..len].make_ascii_uppercase();
        // Only ASCII was let in.
        kprintln!("{}", core::str::from_utf8(&line[..len]).unwrap_or("?"));
    }
}

/// Reads up to Enter, with echo; returns the length. What does not fit is dropped.
fn read_line(line: &mut [u8]) -> usize {
    let mut len = 0;
    loop {
        match console::read() {
            b'\r' | b'\n' => {
                kprintln!();
                return len;
            }
            byte @ b' '..=b'~' if len < line.len() => {
                kprint!("{}", byte as char);
                line[len] = byte;
                len += 1;
            }
            // Backspace.
            0x08 | 0x7f if len > 0 => {
                kprint!("\x08 \x08");
                len -= 1;
            }
            _ => {}
        }
    }
}
