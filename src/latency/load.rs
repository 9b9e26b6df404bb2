//! The loads: tasks, all but one kind of them fair, that run long kernel paths, each in one of the ways in which kernels are late.
//!
//! A path is what a system call or a driver would do in one go: it takes and releases locks as such code
//! does, and it does not think of scheduling. At its end it calls `cond_resched`, as Linux's long paths do,
//! so that `preempt=none` shows an honest kernel without preemption and not one that never lets go.
//!
//! What each may hold up: `memcpy` the length of a path, with a sleeping lock held; `alloc` the heap's spin
//! lock; `console` a slow device; `timer` the timer interrupt and the softirq behind it; `message` the queue's lock and
//! the scheduler; `task` stacks, page tables and the reaper. Those that need other contexts are in `storms`.
//!
//! Context: threads. Every loop is bounded, and every path looks at `stop` when it is through.
#![forbid(unsafe_code)]

use super::params::Load;
use super::storms::{Chain, Line, Softirqs};
use crate::error::Result;
use crate::ipc::MsgQueue;
use crate::locking::{Mutex, SpinLock};
use crate::preempt::{cond_resched, cond_resched_lock};
use crate::sched::wait::Timeout;
use crate::shell::terminal::Console;
use crate::task::{self, Builder, JoinHandle};
use crate::time::Timer;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a load and whoever started it share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Paths that were run.
    paths: AtomicU64,
}

/// Loads that run. They end with [`Running::stop`], or when this is dropped.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts the tasks of `loads`.
    ///
    /// # Errors
    /// [`crate::Error::NoMemory`]; then those that had been started have been stopped again.
    pub fn start(loads: impl Iterator<Item = Load>) -> Result<Self> {
        let mut running = Self { shared: Arc::default(), tasks: Vec::new() };
        for load in loads {
            running.add(load)?;
        }
        Ok(running)
    }

    fn add(&mut self, load: Load) -> Result<()> {
        match load {
            Load::Memcpy => {
                let buffer = Arc::new(Buffer::new()?);
                for _ in 0..2 {
                    let buffer = Arc::clone(&buffer);
                    self.spawn(load, move |_| buffer.copy())?;
                }
            }
            Load::Alloc => {
                let mut heap = Churn::new();
                self.spawn(load, move |_| heap.churn())?;
            }
            Load::Console => self.spawn(load, write_line)?,
            Load::Timer => {
                let timers = Timers::new();
                self.spawn(load, move |_| timers.storm())?;
            }
            Load::Message => {
                let queue: Arc<Queue> = Arc::default();
                let receiver = Arc::clone(&queue);
                self.spawn(load, move |_| send(&queue))?;
                self.spawn(load, move |_| receive(&receiver))?;
            }
            Load::Task => self.spawn(load, |_| make_tasks())?,
            Load::Softirq => {
                let softirqs = Softirqs::new();
                self.spawn(load, move |_| softirqs.storm())?;
            }
            Load::Irqthread => {
                if let Some(line) = Line::find()? {
                    self.spawn(load, move |_| line.storm())?;
                }
            }
            Load::Pi => {
                let chain = Arc::new(Chain::new());
                for number in Chain::boosters() {
                    let chain = Arc::clone(&chain);
                    let task = task::build(load.name()).fifo(Chain::priority(number));
                    self.spawn_as(task, move |_| chain.boost(number))?;
                }
                self.spawn(load, move |_| chain.own())?;
            }
        }
        Ok(())
    }

    /// A fair task that runs `path`, which gets its number, until it is stopped.
    fn spawn(&mut self, load: Load, path: impl FnMut(u64) + Send + 'static) -> Result<()> {
        self.spawn_as(task::build(load.name()), path)
    }

    fn spawn_as(&mut self, task: Builder, mut path: impl FnMut(u64) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let task = task.spawn(move || {
            let mut paths = 0;
            while !shared.stop.load(Ordering::Relaxed) {
                path(paths);
                paths += 1;
                shared.paths.fetch_add(1, Ordering::Relaxed);
                cond_resched();
            }
        })?;
        self.tasks.push(task);
        Ok(())
    }

    /// Ends the tasks, waits for them, and returns how many paths they have run.
    pub fn stop(mut self) -> u64 {
        self.end();
        self.shared.paths.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

const COPY_BYTES: usize = 1 << 20;
const COPIES_PER_PATH: usize = 4;
const SECTIONS_PER_PATH: usize = 256;

/// The memory of the `memcpy` load.
struct Buffer {
    from: Vec<u8>,
    to: Mutex<Vec<u8>>,
    sum: SpinLock<u64>,
}

impl Buffer {
    fn new() -> Result<Self> {
        Ok(Self { from: bytes(COPY_BYTES)?, to: Mutex::new(bytes(COPY_BYTES)?), sum: SpinLock::new(0) })
    }

    fn copy(&self) {
        let mut to = self.to.lock();
        for _ in 0..COPIES_PER_PATH {
            to.copy_from_slice(black_box(&self.from));
            cond_resched_lock(&mut to);
        }
        let last = to.last().copied().unwrap_or_default();
        drop(to);
        for _ in 0..SECTIONS_PER_PATH {
            *self.sum.lock() += u64::from(black_box(last));
        }
    }
}

fn bytes(len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| crate::Error::NoMemory { bytes: len as u32 })?;
    bytes.resize(len, 0x5a);
    Ok(bytes)
}

const CHURN_SLOTS: usize = 256;
const CHURN_PER_PATH: usize = 4000;
const CHURN_BYTES_MAX: u64 = 8192;

/// The `alloc` load: blocks that come and go in no order.
struct Churn {
    slots: Vec<Vec<u8>>,
    random: u64,
}

impl Churn {
    fn new() -> Self {
        let mut slots = Vec::new();
        slots.resize_with(CHURN_SLOTS, Vec::new);
        Self { slots, random: 0x2545_f491_4f6c_dd1d }
    }

    fn churn(&mut self) {
        for _ in 0..CHURN_PER_PATH {
            let random = self.random();
            let slot = &mut self.slots[random as usize % CHURN_SLOTS];
            // Frees what was there; no memory is no failure here, only one block less.
            *slot = Vec::new();
            let _ = slot.try_reserve_exact((random >> 32) as usize % CHURN_BYTES_MAX as usize + 1);
        }
    }

    /// Marsaglia's xorshift: the same blocks in every run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// What a path of the `console` load writes: carriage returns, which leave a terminal and a log as they were.
const CONSOLE_TEXT: &str = match core::str::from_utf8(&[b'\r'; 512]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};
/// It pauses, so that a terminal or a log file on the other side is not flooded.
const CONSOLE_PAUSE_NS: u64 = 20_000_000;
/// Every so many paths it says something.
const CONSOLE_QUIET_PATHS: u64 = 10;

/// The `console` load: what it says is written over again and again.
fn write_line(path: u64) {
    let mut console = Console;
    if path.is_multiple_of(CONSOLE_QUIET_PATHS) {
        // The console takes everything.
        let _ = write!(console, "\r  measuring ({path} writes by the console load)\r");
    }
    let _ = console.write_str(CONSOLE_TEXT);
    task::sleep_ns(CONSOLE_PAUSE_NS);
}

const TIMERS: usize = 32;
const STORMS_PER_PATH: usize = 16;
const TIMER_DELAY_NS: u64 = 150_000;

/// The `timer` load.
struct Timers {
    timers: Vec<Timer>,
    fired: Arc<AtomicU64>,
}

impl Timers {
    fn new() -> Self {
        let fired = Arc::new(AtomicU64::new(0));
        let timer = |_| {
            let fired = Arc::clone(&fired);
            Timer::new(move || {
                fired.fetch_add(1, Ordering::Relaxed);
            })
        };
        Self { timers: (0..TIMERS).map(timer).collect(), fired }
    }

    /// All timers are started for the same time, moved, and half of them cancelled; the others fire together.
    fn storm(&self) {
        for _ in 0..STORMS_PER_PATH {
            let due_ns = crate::time::now_ns() + TIMER_DELAY_NS;
            for timer in &self.timers {
                timer.start_at(due_ns + TIMER_DELAY_NS);
                timer.start_at(due_ns);
            }
            for timer in self.timers.iter().step_by(2) {
                timer.cancel();
            }
        }
        black_box(self.fired.load(Ordering::Relaxed));
    }
}

type Message = [u64; 2];
type Queue = MsgQueue<Message, 8>;
const MESSAGES_PER_PATH: u64 = 500;
/// A partner that was stopped first is not waited for longer than this.
const MESSAGE_PATIENCE: Timeout = Timeout::In(2_000_000);

fn send(queue: &Queue) {
    for number in 0..MESSAGES_PER_PATH {
        if queue.put_timeout([number, !number], MESSAGE_PATIENCE).is_err() {
            return;
        }
    }
}

fn receive(queue: &Queue) {
    for _ in 0..MESSAGES_PER_PATH {
        match queue.get_timeout(MESSAGE_PATIENCE) {
            Ok([number, check]) => assert_eq!(number, !check, "a message was damaged"),
            Err(_) => return,
        }
    }
}

const TASKS_PER_PATH: usize = 8;
/// What a path that found no memory waits before it tries again.
const TASK_PAUSE_NS: u64 = 1_000_000;

fn make_tasks() {
    let mut tasks: heapless::Vec<JoinHandle<usize>, TASKS_PER_PATH> = heapless::Vec::new();
    for number in 0..TASKS_PER_PATH {
        match task::build("brief").spawn(move || number) {
            Ok(task) => {
                // There is room for each of them.
                let _ = tasks.push(task);
            }
            Err(_) => task::sleep_ns(TASK_PAUSE_NS),
        }
    }
    for task in tasks {
        task.join();
    }
}
