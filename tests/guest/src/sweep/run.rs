//! One run of a path with one interrupt, and what must be true of the kernel after it.
//!
//! A run begins and ends with everybody asleep but the victim, so runs do not know of each other. A run
//! that never ends is ended by a timer, which says where everybody is.
//!
//! Context: the victim.

use crate::calibrate::Constants;
use crate::cast;
use crate::others;
use crate::path::{Check, Path, Wrong, expect, expect_true};
use crate::probe::{self, Reading};
use alloc::vec::Vec;
use arch::irqflags;
use arch::thread_info::{self, PREEMPT_ENABLED};
use spin::Once;
use stint::early_println;
use stint::locking::RawSpinLock;
use stint::sched::core::with_rq;
use stint::task;
use stint::time::Timer;

/// The sweep goes on until interrupts of so many instructions in a row came behind the end of the path.
const BEHIND_THE_END: usize = 50;
/// A path longer than this is not a path.
const POINTS_MAX: usize = 80_000;
/// Every so many points, the run is repeated and must be the same to the last figure.
const REPEATED: usize = 16;
/// Long enough for every task to get to where it waits.
const SETTLE_NS: u64 = 20_000;
/// Longer than any run: time that only passes when everybody waits for ever.
const WATCHDOG_NS: u64 = 5_000_000;
/// Runs to find two that agree.
const ATTEMPTS: u32 = 6;
/// The count of a softirq's function.
const SERVING_SOFTIRQ: u32 = 0x100;
/// An interrupt that never comes: for measuring a path's length.
const NEVER: u64 = 1 << 40;

static WATCHDOG: Once<Timer> = Once::new();
static RUNNING: RawSpinLock<(&str, u64)> = RawSpinLock::new(("", 0));
static IDLE: Once<u64> = Once::new();
static STOPPER: Once<u64> = Once::new();

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The interrupt was due after this many instructions.
    pub n: u64,
    /// What handler and H wrote down.
    pub reading: Reading,
    /// The path had ended when the interrupt came.
    pub is_behind: bool,
    /// What is wrong, if something is.
    pub wrong: Option<Wrong>,
}

impl Point {
    /// Where in the path the interrupt was taken: as many instructions behind its start. That is `n`,
    /// unless interrupts were masked there.
    pub fn at(&self, constants: &Constants) -> u64 {
        let entry = if self.is_in_softirq() { constants.softirq_entry } else { constants.entry };
        self.n.wrapping_add(self.reading.taken_at).wrapping_sub(entry)
    }

    /// Whether the function of a softirq was interrupted, with nothing disabled by itself.
    pub fn is_in_softirq(&self) -> bool {
        self.reading.count == SERVING_SOFTIRQ
    }

    /// Instructions from the handler's last step, the wake-up, to H.
    pub fn delay(&self) -> u64 {
        self.reading.woken_at.wrapping_sub(self.reading.handled_at)
    }

    /// Whether the CPU had nothing to do.
    pub fn is_idle(&self) -> bool {
        IDLE.get() == Some(&self.reading.task)
    }

    /// Whether the CPU's stopper was interrupted, which is more important than H.
    pub fn is_stopper(&self) -> bool {
        STOPPER.get() == Some(&self.reading.task)
    }

    /// Whether the interrupted task was of the fair class.
    pub fn is_fair(&self) -> bool {
        cast::FAIR.thread_info() == self.reading.task
    }
}

/// Finds out what the runs need to know.
pub fn init() -> Result<(), &'static str> {
    WATCHDOG.call_once(|| Timer::new_hard(nothing_runs_any_more));
    task::for_each(|task| {
        let address = core::ptr::from_ref(task).addr() as u64;
        if task.id() == 0 {
            IDLE.call_once(|| address);
        } else if task.name() == "migration/0" {
            STOPPER.call_once(|| address);
        }
    });
    if IDLE.get().is_some() { Ok(()) } else { Err("there is no idle task on the list of tasks") }
}

fn nothing_runs_any_more() {
    let (path, n) = *RUNNING.lock();
    early_println!(
        "sweep-fail {path} n={n}: the run never ends: a wake-up was lost, or somebody waits for ever"
    );
    panic!("sweep: path {path} does not end when interrupted after {n} instructions");
}

/// The path's length in instructions, undisturbed, and what is wrong with it even so.
pub fn length(path: &Path) -> (u64, Check) {
    let mut length = 0;
    let check = play(path, NEVER, |end| {
        length = end.wrapping_add(NEVER);
        probe::disarm();
        Ok(())
    });
    (length, check)
}

/// One run with the interrupt due after `n` instructions.
pub fn once(path: &Path, n: u64) -> Point {
    let mut is_behind = false;
    let check = play(path, n, |_| {
        let (irqs, woken) = probe::counts();
        is_behind = irqs == 0;
        expect_true("the interrupt came", probe::wait())?;
        expect_true("H had run by the end of the path, if the interrupt had come", woken >= irqs)
    })
    .and_then(|()| after_interrupt());
    Point { n, reading: probe::reading(), is_behind, wrong: check.err() }
}

/// One run, or as many as it takes for two to agree if the CPU idles in the path.
///
/// When a CPU halts, QEMU (seen with 10.0.2, `-icount …,sleep=off`) may advance the clock to the next timer
/// before it has added the instructions that the CPU executed last: then these come on top, and whatever
/// follows is late by some tens. It happens once in ten thousand times on a busy host, never twice alike. A
/// kernel's mistake is the same each time.
pub fn certain(path: &Path, n: u64) -> Point {
    let mut point = once(path, n);
    if path.idles {
        for _ in 0..ATTEMPTS {
            let again = once(path, n);
            if again.reading == point.reading || again.wrong.is_none() && others::online() > 1 {
                break;
            }
            point = again;
        }
    }
    point
}

/// Stage, path, and everything that can be said without knowing the other runs. `end` is called as soon as
/// the path has ended, with the counter.
fn play(path: &Path, n: u64, end: impl FnOnce(u64) -> Check) -> Check {
    *RUNNING.lock() = (path.name, n);
    cast::reset();
    probe::reset(path.intrude, path.in_irq);
    (path.setup)();
    task::sleep_ns(SETTLE_NS);
    watchdog(true);
    (path.ready)();

    let ended = end(probe::timed(n, path.run));
    let state = nothing_is_held();

    (path.after)();
    task::sleep_ns(SETTLE_NS);
    watchdog(false);
    ended?;
    state?;
    everybody_waits()?;
    diary_is(path.diary)?;
    (path.check)()
}

fn watchdog(on: bool) {
    let timer = WATCHDOG.get().expect("made by init");
    if on {
        timer.start_once(WATCHDOG_NS);
    } else {
        timer.cancel();
    }
}

/// Counts and flags of the victim are back.
fn nothing_is_held() -> Check {
    expect("preempt word after the path", thread_info::preempt_word(), PREEMPT_ENABLED)?;
    expect_true("TIF_NEED_RESCHED is clear after the path", !thread_info::need_resched())?;
    expect("DAIF after the path", irqflags::local_save_flags(), 0)
}

/// The run queue has the victim on it and nobody else, and every actor is through with its script.
fn everybody_waits() -> Check {
    let (running, consistent) = with_rq(|rq| (rq.nr_running() as u64, rq.rt().is_consistent()));
    expect_true("the run queue is consistent", consistent)?;
    cast::all_have_finished()?;
    expect("tasks on the run queue", running, 1)?;
    others::are_idle()?;
    expect("preempt word of a task that looked at its own", cast::word_of_actors(), PREEMPT_ENABLED)
}

/// H ran once and completed.
fn after_interrupt() -> Check {
    let reading = probe::reading();
    expect("interrupts", reading.irqs.into(), 1)?;
    expect("runs of H", reading.woken.into(), 1)?;
    expect("intrusions that H completed", reading.intrusions.into(), 1)
}

fn diary_is(right: &str) -> Check {
    let (letters, written) = cast::diary();
    let found = letters.get(..written).unwrap_or(&letters);
    if found == right.as_bytes() {
        return Ok(());
    }
    // Eight letters fit into a number, and are printed as text by the report.
    Err(Wrong {
        what: "order of events",
        found: letters_as_number(found),
        right: letters_as_number(right.as_bytes()),
    })
}

fn letters_as_number(letters: &[u8]) -> u64 {
    letters.iter().take(8).fold(0, |number, &letter| number << 8 | u64::from(letter))
}

/// Runs the path with the interrupt after its first instruction, `step` later, and so on until it comes behind the end
/// of the path.
pub fn everywhere(path: &Path, step: u64) -> Points {
    // The first run of all may find a cache empty that it leaves filled: that of stacks, for example.
    let (_, first) = length(path);
    let (mut length, second) = self::length(path);
    let (mut again, third) = self::length(path);
    for _ in 0..if path.idles { ATTEMPTS } else { 0 } {
        if again == length {
            break;
        }
        (length, (again, _)) = (again, self::length(path));
    }
    // (On several CPUs what fades with the time of day makes it longer, now and then.)
    let same = if others::online() > 1 { length } else { again };
    let wrong =
        first.and(second).and(third).and(expect("length of the path, measured again", same, length)).err();
    let mut points = Vec::with_capacity(1024);
    let mut behind = 0;
    let step = step * path.step;
    let enough = BEHIND_THE_END.div_ceil(step as usize);
    while behind < enough && points.len() < POINTS_MAX {
        let point = certain(path, points.len() as u64 * step + 1);
        behind = if point.is_behind { behind + 1 } else { 0 };
        points.push(point);
    }
    let wrong = wrong.or(expect_true("the path has an end", behind >= enough).err());
    Points { length, step, wrong, points }
}

/// All runs of a path.
pub struct Points {
    /// Instructions of the undisturbed path.
    pub length: u64,
    /// Instructions from one point to the next.
    pub step: u64,
    /// What is wrong without any interrupt.
    pub wrong: Option<Wrong>,
    /// The runs, in the order of `n`.
    pub points: Vec<Point>,
}

/// The two are the same.
fn same(second: &Reading, first: &Reading) -> Check {
    expect("runs of H, in a second run", second.woken.into(), first.woken.into())?;
    if others::online() > 1 {
        // What fades with the time of day makes a way longer, now and then.
        return Ok(());
    }
    expect("counter at the handler, in a second run", second.taken_at, first.taken_at)?;
    expect("interrupted instruction, in a second run", second.pc, first.pc)?;
    expect("interrupted count, in a second run", second.count.into(), first.count.into())?;
    expect("counter at H, in a second run", second.woken_at, first.woken_at)?;
    expect_true("the second run is the same", second == first)
}

/// Repeats some of the runs: equal runs must give equal figures, or none of the others means anything.
pub fn again(path: &Path, points: &mut Points) -> usize {
    let mut repeated = 0;
    for point in points.points.iter_mut().step_by(REPEATED) {
        let second = certain(path, point.n);
        repeated += 1;
        point.wrong = point.wrong.or(same(&second.reading, &point.reading).err());
    }
    repeated
}
