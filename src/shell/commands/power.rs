//! `poweroff`, `exit`, `reboot`, `panic`: the ways out.
#![forbid(unsafe_code)]

use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::parse_u64;
use crate::{klog, power};

pub(super) fn poweroff(args: &[&str], _: &mut dyn Terminal) -> Result<(), Failure> {
    let status = match args {
        [] => 0,
        [arg] => parse_u64(arg)
            .filter(|&status| status <= 255)
            .ok_or_else(|| Failure::new(format_args!("{arg}: an exit status from 0 to 255 was expected")))?,
        _ => return Err(Failure::new(format_args!("one exit status was expected"))),
    };
    klog::drain();
    power::exit(status as u32)
}

pub(super) fn reboot(args: &[&str], _: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    klog::drain();
    power::restart();
    Err(Failure::new(format_args!(
        "this machine has neither firmware nor watchdog that could restart it (no psci node)"
    )))
}

pub(super) fn panic_on_purpose(args: &[&str], _: &mut dyn Terminal) -> Result<(), Failure> {
    let mut words: heapless::String<128> = heapless::String::new();
    for word in args {
        // What does not fit is left out.
        let _ = words.push_str(word).and_then(|()| words.push(' '));
    }
    match words.trim_end() {
        "" => panic!("asked for at the shell"),
        words => panic!("{words}"),
    }
}
