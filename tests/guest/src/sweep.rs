//! The sweep: a kernel path is interrupted after its first instruction, in another run after its second,
//! and so on past its end, and every time the interrupt wakes a more important task.
//!
//! That a kernel is preemptible is usually shown by running it for a long time. Here it is shown by running
//! out of cases: under `-icount shift=0,sleep=off` an instruction is a cycle is a nanosecond, the cycle
//! counter's overflow interrupt comes after exactly N of them, and two equal runs are equal. docs/sweep.md
//! says what is demanded of each run and which mistakes are known to be caught.
//!
//! | module | what |
//! |---|---|
//! | `probe` | the interrupt after N instructions, and H, the task it wakes |
//! | `cast` | the other tasks, and the order of what they did |
//! | `others` | the other CPUs, if there are any: at rest before a path and after it |
//! | `path` | the description of a path; `paths` has all of them |
//! | `run` | one run of a path, and what must be true after it |
//! | `calibrate` | what the way from interrupt to H costs where nothing is in the way |
//! | `oracle` | when H had to run, from the runs of all N together |
//! | `report` | the lines that the host reads |
//!
//! Boot arguments: `test=list` lists the paths, `test=<text>` takes those with the text in their name, `test=<text>:step=7`
//! (or `all:step=7`) interrupts them at every seventh instruction alone.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "sweep/calibrate.rs"]
mod calibrate;
#[path = "sweep/cast.rs"]
mod cast;
#[path = "sweep/oracle.rs"]
mod oracle;
#[path = "sweep/others.rs"]
mod others;
#[path = "sweep/path.rs"]
mod path;
#[path = "sweep/paths/mod.rs"]
mod paths;
#[path = "sweep/probe.rs"]
mod probe;
#[path = "sweep/report.rs"]
mod report;
#[path = "sweep/run.rs"]
mod run;

use calibrate::Constants;
use path::Path;
use report::Totals;
use stint::smp::CpuMask;
use stint::{early_println, power, sched, start, task, time};

/// The task that walks the paths: between the actors `LOW` and `HIGH`.
pub const VICTIM_PRIO: i32 = 50;

/// The most instructions from one point to the next: less than most paths have.
const STEP_MAX: u64 = 100;

stint_board::entry!(main);

fn main() {
    // Where there are more CPUs, they idle: all that a path makes stays here too.
    let victim = task::build("victim").fifo(VICTIM_PRIO).affinity(CpuMask::of(0));
    match victim.stack_bytes(64 * 1024).spawn(sweep) {
        Ok(victim) => drop(victim.join()),
        Err(error) => early_println!("sweep: cannot make the task that walks the paths: {error}"),
    }
    power::exit(1)
}

fn sweep() {
    let told = start::boot_info().bootargs.test.unwrap_or("all");
    let Some((filter, step)) = told.split_once(":step=").map_or(Some((told, 1)), |(filter, step)| {
        Some((filter, step.parse().ok().filter(|step| (1..=STEP_MAX).contains(step))?))
    }) else {
        early_println!(
            "sweep: test={told}: behind `:step=` a number of instructions from 1 to {STEP_MAX} would be right"
        );
        power::exit(1)
    };
    if filter == "list" {
        paths::all()
            .filter(|path| path.cpus <= others::online())
            .for_each(|path| early_println!("test-list {}", path.name));
        power::exit(0)
    }
    // What it would find, it finds in the tests; here it would be most of every path.
    #[cfg(debug_assertions)]
    let _pause = stint::lockdep::pause();
    // From here on nothing interrupts but the probe and the timers that paths start.
    time::tick::stop_this_cpu();
    others::bring_to_rest();
    // Its timer is at another distance in every run.
    sched::core::set_rt_bandwidth(None, 1_000_000).expect("no limit is a limit");
    let ready = others::watchers_off()
        .and_then(|()| probe::init())
        .and_then(|()| cast::init())
        .and_then(|()| paths::init())
        .and_then(|()| run::init());
    let constants = match ready.and_then(|()| calibrate::measure()) {
        Ok(constants) => constants,
        Err(reason) => {
            early_println!("sweep: {reason}");
            power::exit(1)
        }
    };
    let mut totals = Totals::default();
    for path in paths::all()
        .filter(|path| path.cpus <= others::online())
        .filter(|path| filter == "all" || path.name.contains(filter))
    {
        one_path(path, step, &constants, &mut totals);
    }
    report::closing(&totals);
    power::exit(u32::from(totals.failures > 0 || totals.paths == 0))
}

/// Interrupts one path at every so many instructions and reports.
fn one_path(path: &Path, step: u64, constants: &Constants, totals: &mut Totals) {
    early_println!("run {}", path.name);
    let mut points = run::everywhere(path, step);
    let verdict = oracle::judge(path, &mut points, constants);
    let repeated = run::again(path, &mut points);
    report::path(path, &points, &verdict, repeated, totals);
}
