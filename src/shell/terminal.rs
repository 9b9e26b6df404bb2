//! What a command talks to: something to write on, and somebody who may press Ctrl-C.
//!
//! Context: threads; a write may take as long as the device does, with preemption on.
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
use crate::drivers::console;
use crate::task;
use crate::time;
use core::fmt::{self, Write};

/// Ctrl-C.
const INTERRUPT: u8 = 0x03;
/// How often a sleep looks for Ctrl-C.
const POLL_NS: u64 = 20_000_000;

/// A terminal.
pub trait Terminal: Write {
    /// A byte that was typed, if there is one.
    fn try_read(&mut self) -> Option<u8>;

    /// Whether Ctrl-C was pressed. What else was typed meanwhile is gone.
    fn interrupted(&mut self) -> bool {
        while let Some(byte) = self.try_read() {
            if byte == INTERRUPT {
                return true;
            }
        }
        false
    }

    /// Sleeps for `ns`; returns early, and `true`, if Ctrl-C was pressed.
    fn sleep_interruptibly(&mut self, ns: u64) -> bool {
        let end_ns = time::now_ns().saturating_add(ns);
        loop {
            if self.interrupted() {
                return true;
            }
            let now_ns = time::now_ns();
            if now_ns >= end_ns {
                return false;
            }
            task::sleep_until(end_ns.min(now_ns + POLL_NS));
        }
    }
}

/// The machine's console.
#[cfg(target_os = "none")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

#[cfg(target_os = "none")]
impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::print(format_args!("{text}"));
        Ok(())
    }

    /// One call is one piece: what other tasks print does not come in between.
    fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> fmt::Result {
        console::print(args);
        Ok(())
    }
}

#[cfg(target_os = "none")]
impl Terminal for Console {
    fn try_read(&mut self) -> Option<u8> {
        console::read_byte()
    }
}

#[cfg(target_os = "none")]
impl Console {
    /// Waits for a byte.
    pub fn read(&mut self) -> u8 {
        console::read()
    }
}
