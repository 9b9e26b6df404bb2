//! The default image: a banner, the latency demonstration, then commands or the shell.
#![no_std]
#![no_main]

use stint::shell::terminal::Console;
use stint::shell::{self, banner};
use stint::start::boot_info;
use stint::{latency, power, watchdog};

stint_board::entry!(main);

fn main() {
    let args = &boot_info().bootargs;
    let mut console = Console;
    watchdog::start_from_bootargs(args, true);
    // The console takes everything.
    let _ = banner::write(&mut console);
    let mut status = 0;
    // With commands given they are what is wanted; `demo=` says otherwise.
    if args.demo.unwrap_or(args.cmd.is_none()) {
        status |= shell::status(latency::demonstrate(args.preempt.name(), &mut console), &mut console);
    }
    if let Some(commands) = args.cmd {
        status |= shell::run_line(commands, &mut console);
    }
    if args.noshell {
        power::exit(status);
    }
    shell::interactive()
}
