//! What a command talks to: something to write on, and somebody who may press Ctrl-C.
//!
//! Context: threads; a write may take as long as the device does, with preemption on.
#![forbid(unsafe_code)]

use crate::drivers::console;
use crate::locking::Semaphore;
use crate::sched::wait::Timeout;
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

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

impl Terminal for Console {
    fn try_read(&mut self) -> Option<u8> {
        console::read_byte()
    }
}

/// Given when a byte has arrived.
static INPUT: Semaphore = Semaphore::with_limit(0, 1);
/// A console that cannot interrupt is looked at this often.
const LOOK_NS: u64 = 50_000_000;

impl Console {
    /// Makes input wake whoever is in [`Console::read`]. Once, before the first read.
    pub fn begin_input() {
        console::on_input(|| {
            // Full: somebody is being woken already.
            let _ = INPUT.give();
        });
    }

    /// Waits for a byte.
    pub fn read(&mut self) -> u8 {
        loop {
            if let Some(byte) = self.try_read() {
                return byte;
            }
            // Input or time: either way it looks again.
            let _ = INPUT.take_timeout(Timeout::In(LOOK_NS));
        }
    }
}
