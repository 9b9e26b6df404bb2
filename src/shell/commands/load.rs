//! `latency`, `hog`: measuring, and something to measure against.
#![forbid(unsafe_code)]

use crate::latency::{self, params::Params};
use crate::locking::Mutex;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::parse_u64;
use crate::start::boot_info;
use crate::task::{self, JoinHandle};
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

/// The most hogs at a time.
const HOGS_MAX: usize = 16;

static HOGS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());
static STOP: AtomicBool = AtomicBool::new(false);

pub(super) fn measure(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if let ["save", rest @ ..] = args {
        return super::card::save_latency(rest, terminal);
    }
    let params = Params::parse(args).map_err(|message| Failure::new(format_args!("{message}")))?;
    latency::command(&params, boot_info().bootargs.preempt.name(), terminal)
}

pub(super) fn hog(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut hogs = HOGS.lock();
    if args == ["stop"] {
        STOP.store(true, Ordering::Relaxed);
        let count = hogs.len();
        for hog in hogs.drain(..) {
            hog.join();
        }
        writeln!(terminal, "{count} stopped")?;
        return Ok(());
    }
    let (count, nice) = hog_arguments(args)?;
    if hogs.len() + count > HOGS_MAX {
        return Err(Failure::new(format_args!(
            "{count}: {} run already, and {HOGS_MAX} are the most; `hog stop` ends them",
            hogs.len()
        )));
    }
    STOP.store(false, Ordering::Relaxed);
    for _ in 0..count {
        hogs.push(task::build("hog").nice(nice).spawn(burn)?);
    }
    writeln!(terminal, "{} run; `ps` shows them, `hog stop` ends them", hogs.len())?;
    Ok(())
}

fn hog_arguments(args: &[&str]) -> Result<(usize, i32), Failure> {
    let (mut count, mut nice) = (1, 0);
    for arg in args {
        if let Some(value) = arg.strip_prefix("nice=") {
            let level = value.parse().ok().filter(|level| (-20..=19).contains(level));
            nice = level.ok_or_else(|| {
                Failure::new(format_args!("{arg}: a nice level from -20 to 19 was expected"))
            })?;
        } else {
            let number = parse_u64(arg).filter(|n| (1..=HOGS_MAX as u64).contains(n));
            count = number.ok_or_else(|| {
                Failure::new(format_args!(
                    "{arg}: a number from 1 to {HOGS_MAX}, nice=… or stop was expected"
                ))
            })? as usize;
        }
    }
    Ok((count, nice))
}

fn burn() {
    let mut round = 0u64;
    while !STOP.load(Ordering::Relaxed) {
        round = black_box(round.wrapping_add(1));
        // Free where the kernel is preemptible; without it `preempt=none` would not get its shell back.
        crate::preempt::cond_resched();
    }
}
