//! The loads that do not come from a long path: softirqs, interrupt threads, and boosted owners of mutexes.
//!
//! Each of them makes others than the task that asks for it run: the end of an interrupt, ksoftirqd, the thread of a
//! line, whoever owns a lock. What they may hold up: `softirq` the time from an interrupt to the switch behind it;
//! `irqthread` the interrupt itself, and wake-ups out of it; `pi` the walk over the chain, with interrupts masked at
//! each step.
//!
//! Context: threads, but for the functions of tasklets. Every loop is bounded.
#![forbid(unsafe_code)]

use crate::drivers::irqchip;
use crate::error::{Error, Result};
use crate::irq::softirq::local_bh_disable;
use crate::irq::tasklet::Tasklet;
use crate::irq::{self, ActionId, IrqFlags, IrqReturn};
use crate::locking::Mutex;
use crate::percpu::raw_smp_processor_id;
use crate::task;
use crate::time::Timer;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::array;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};

/// So many times the loop that stands for a driver's work; three instructions each.
fn work(rounds: u64) {
    (0..rounds).for_each(|round| {
        black_box(round);
    });
}

const TASKLETS: usize = 16;
/// So many are scheduled in one section.
const BATCH: usize = 4;
/// The batch of urgent ones.
const URGENT: usize = 3;
const SOFT_TIMERS: usize = 8;
const TIMER_DELAY_NS: u64 = 5_000;
const BURSTS_PER_PATH: usize = 32;
/// What a tasklet or a soft timer does: that of a driver that takes a packet.
const SOFTIRQ_WORK: u64 = 50;

/// A tasklet outlives whoever scheduled it, so they are statics; a second run of the load finds some of them waiting.
static STORM: [Tasklet; TASKLETS] = [const { Tasklet::new(|_| work(SOFTIRQ_WORK), 0) }; TASKLETS];

/// The `softirq` load.
pub(super) struct Softirqs {
    timers: Vec<Timer>,
}

impl Softirqs {
    pub(super) fn new() -> Self {
        let timer = |_| Timer::new(|| work(SOFTIRQ_WORK));
        Self { timers: (0..SOFT_TIMERS).map(timer).collect() }
    }

    /// The timers are all due at once; the tasklets are scheduled in batches, as a driver schedules its own: each batch
    /// is due at the end of a section. (All of them in one section would measure the section: preemption is off in it.)
    pub(super) fn storm(&self) {
        for _ in 0..BURSTS_PER_PATH {
            let due_ns = crate::time::now_ns() + TIMER_DELAY_NS;
            self.timers.iter().for_each(|timer| timer.start_at(due_ns));
            for (number, batch) in STORM.chunks(BATCH).enumerate() {
                let schedule = if number == URGENT { Tasklet::hi_schedule } else { Tasklet::schedule };
                let section = local_bh_disable();
                batch.iter().for_each(schedule);
                drop(section);
            }
        }
    }
}

/// Shared interrupts that are asked for, the first that nobody has.
const SPIS: core::ops::RangeInclusive<u32> = 201..=216;
const INTERRUPTS_PER_PATH: usize = 200;
const THREAD_WORK: u64 = 100;
/// How long a line is given to show that software can raise it.
const TRIAL_NS: u64 = 5_000_000;

/// The `irqthread` load: a line that no device has, made pending by software, with a driver in a thread.
pub(super) struct Line {
    action: ActionId,
    served: Arc<AtomicU64>,
}

impl Line {
    /// Takes a free line. `None`, and a message, where there is none that software can raise.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn find() -> Result<Option<Self>> {
        for spi in SPIS.rev() {
            let served = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&served);
            let driver = move |_| {
                work(THREAD_WORK);
                count.fetch_add(1, Ordering::Relaxed);
                IrqReturn::Handled
            };
            let flags = IrqFlags::ONESHOT | IrqFlags::EDGE;
            let line = match irq::request_threaded_irq(spi, None, driver, flags, "storm") {
                Ok(action) => Self { action, served },
                Err(error @ Error::NoMemory { .. }) => return Err(error),
                Err(_) => continue,
            };
            line.raise();
            task::sleep_ns(TRIAL_NS);
            if line.served.load(Ordering::Relaxed) != 0 {
                return Ok(Some(line));
            }
        }
        log::warn!(
            "load irqthread: left out; expected one of the interrupts {} to {} to be free and to be raised by software",
            SPIS.start(),
            SPIS.end()
        );
        Ok(None)
    }

    fn raise(&self) {
        irqchip::set_pending(raw_smp_processor_id(), self.action.irq());
    }

    pub(super) fn storm(&self) {
        for _ in 0..INTERRUPTS_PER_PATH {
            self.raise();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Err(error) = irq::free_irq(self.action) {
            log::error!("load irqthread: interrupt {} stays requested: {error}", self.action.irq());
        }
    }
}

/// Tasks that lend their priority, and mutexes they want.
const BOOSTERS: usize = 5;
/// The fair task's time under the lock that all of them end at, in rounds of [`work`].
const OWNER_WORK: u64 = 10_000;
const BOOSTER_WORK: u64 = 50;
/// A booster comes back after this, and a little later than the one before it, so that they meet in all orders.
const PAUSE_NS: u64 = 300_000;
const PAUSE_STEP_NS: u64 = 37_000;

/// The `pi` load: a fair task has the first mutex; booster `n` has mutex `n` and wants the one before.
///
/// Everybody takes them from the top downwards, so there is no cycle. The priorities rise with the number: each that
/// comes boosts the whole chain again.
pub(super) struct Chain {
    mutexes: [Mutex<u64>; BOOSTERS + 1],
}

impl Chain {
    pub(super) fn new() -> Self {
        Self { mutexes: array::from_fn(|_| Mutex::new(0)) }
    }

    /// The boosters' numbers.
    pub(super) fn boosters() -> impl Iterator<Item = usize> {
        1..=BOOSTERS
    }

    /// The real-time priority of booster `number`: below that of interrupts, and of what is measured.
    pub(super) fn priority(number: usize) -> i32 {
        10 + number as i32
    }

    /// The fair task's path.
    pub(super) fn own(&self) {
        let mut owned = self.mutexes[0].lock();
        work(OWNER_WORK);
        *owned += 1;
    }

    /// The path of booster `number`.
    pub(super) fn boost(&self, number: usize) {
        task::sleep_ns(PAUSE_NS + number as u64 * PAUSE_STEP_NS);
        let mut upper = self.mutexes[number].lock();
        let mut lower = self.mutexes[number - 1].lock();
        work(BOOSTER_WORK);
        *lower += 1;
        *upper += 1;
    }
}
