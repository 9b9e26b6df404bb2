//! The stoppers: one thread per CPU, in the class before all others, that does what must come between whatever runs there.
//!
//! `stop_one_cpu` runs a function on a CPU in the place of its running task, which therefore is not `curr` meanwhile: that
//! is how a running task is moved. [`stop_machine`] brings all CPUs together with interrupts masked and runs a function on
//! one of them: nobody is in the middle of anything. What is to be done is left in a list of the CPU, and its stopper is
//! woken; it displaces even deadline tasks, at the next preemption point.
//!
//! Where there is one CPU for ever there are no stoppers: masking interrupts is all that is needed.
//!
//! **Functions**: run with preemption off, must not sleep or wait for another CPU, and are short: everybody waits.
//!
//! Invariants: a work is on at most one list; its function is not called after the caller of `stop_one_cpu` has returned. A
//! work on the caller's stack is not touched after its `done` is set, so the caller may go. Of two CPUs that `stop_machine`
//! brings together none waits for a work in front of it that waits for the other, because only one such call is made at a
//! time, and no other function waits.
//!
//! Context: threads that may sleep; `Request::post` any. Locks: the list, alone.

use super::core::schedule;
use super::wakeup::wake_up_process;
use crate::MAX_CPUS;
use crate::error::{Error, Result};
use crate::list::{Link, ListHead};
use crate::locking::{Mutex, SchedLock};
use crate::per_cpu;
use crate::smp::{self, CpuMask};
use crate::task::{self, Task, TaskRef, state};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// What a stopper is to do: the head of what says more.
#[repr(C)]
struct Work {
    link: Link,
    run: unsafe fn(&Work),
}

/// A CPU's stopper.
struct Stopper {
    works: SchedLock<Works>,
    task: AtomicPtr<Task>,
}

struct Works {
    list: ListHead,
    /// The CPU takes works.
    is_open: Cell<bool>,
}

// SAFETY: the links in the list are those of works, each of which is touched under the list's lock.
unsafe impl Send for Works {}

per_cpu! {
    static STOPPERS: Stopper = Stopper {
        works: SchedLock::new(Works { list: ListHead::new(), is_open: Cell::new(false) }),
        task: AtomicPtr::new(ptr::null_mut()),
    };
}

/// The stopper of `cpu`, whose per-CPU data is there.
fn stopper(cpu: usize) -> &'static Stopper {
    // SAFETY: by contract; what is in it is locked or atomic.
    unsafe { STOPPERS.of(cpu) }
}

/// How often the stopper of `cpu`, whose per-CPU data is there, has left it again. Any context.
pub(super) fn switches(cpu: usize) -> u64 {
    // SAFETY: a stopper lives for ever.
    unsafe { stopper(cpu).task.load(Ordering::Acquire).as_ref() }.map_or(0, Task::switches)
}

/// Gives `work` to the stopper of `cpu`. False if that takes none.
///
/// # Safety
/// The work is on no list, and stays where it is until it has been run.
unsafe fn queue(cpu: usize, work: &Work) -> bool {
    let stopper = stopper(cpu);
    let works = stopper.works.lock();
    let is_open = works.is_open.get();
    if is_open {
        // SAFETY: by contract.
        unsafe { works.list.add_tail(NonNull::from(&work.link)) };
    }
    works.unlock_no_resched();
    if is_open {
        // SAFETY: set before the list was opened, to a task that never ends.
        wake_up_process(unsafe { &*stopper.task.load(Ordering::Acquire) });
    }
    is_open
}

/// A work that somebody waits for.
#[repr(C)]
struct Waited {
    work: Work,
    /// Valid until `done` is set.
    function: Cell<*const (dyn Fn() + Sync)>,
    waiter: Cell<*const Task>,
    done: AtomicBool,
}

// SAFETY: written by whoever is about to queue it, read by one stopper until it sets `done`.
unsafe impl Sync for Waited {}

impl Waited {
    const fn new() -> Self {
        fn nothing() {}
        Self {
            work: Work { link: Link::new(), run: Self::run },
            function: Cell::new(&nothing),
            waiter: Cell::new(ptr::null()),
            done: AtomicBool::new(true),
        }
    }

    /// Has `cpu` run `function`; the running task is woken when that is done. False if the CPU takes no works.
    ///
    /// # Safety
    /// This and `function` stay until [`Self::is_done`].
    unsafe fn queue(&self, cpu: usize, function: *const (dyn Fn() + Sync + '_)) -> bool {
        // SAFETY: only the lifetime is forgotten, and the contract puts another bound in its place.
        let function = unsafe {
            core::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync + 'static)>(
                function,
            )
        };
        self.function.set(function);
        self.waiter.set(task::current());
        self.done.store(false, Ordering::Relaxed);
        // SAFETY: it was done, so it is on no list; and by contract.
        let queued = unsafe { queue(cpu, &self.work) };
        if !queued {
            self.done.store(true, Ordering::Relaxed);
        }
        queued
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// # Safety
    /// `work` is that of a `Waited`, queued.
    unsafe fn run(work: &Work) {
        // SAFETY: by contract, and `work` is its first field.
        let waited = unsafe { &*ptr::from_ref(work).cast::<Self>() };
        // SAFETY: valid until `done` is set; the waiter waits, so it lives.
        let waiter = unsafe {
            (*waited.function.get())();
            TaskRef::clone_from_task(&*waited.waiter.get())
        };
        // From here on the waiter may return, and end.
        waited.done.store(true, Ordering::Release);
        wake_up_process(&waiter);
        waiter.put_from_any_context();
    }
}

/// Runs `function` on `cpu` in the place of what runs there, and waits for its end. May be this CPU.
///
/// # Errors
/// [`Error::BadAffinity`] if the CPU is not online.
pub(crate) fn stop_one_cpu(cpu: usize, function: &(dyn Fn() + Sync)) -> Result<()> {
    crate::preempt::might_sleep();
    if !static_branch::<SMP_LOCKS>() {
        with_irqs_masked(function);
        return Ok(());
    }
    let waited = Waited::new();
    // SAFETY: this function does not return before it is done.
    if !unsafe { waited.queue(cpu, function) } {
        return Err(Error::BadAffinity);
    }
    sleep_until(|| waited.is_done());
    Ok(())
}

fn with_irqs_masked<R>(function: impl FnOnce() -> R) -> R {
    let flags = irqflags::local_irq_save();
    let result = function();
    irqflags::local_irq_restore(flags);
    result
}

/// Sleeps until `is_done`, whose last step wakes the caller.
fn sleep_until(is_done: impl Fn() -> bool) {
    loop {
        task::set_current_state(state::INTERRUPTIBLE);
        if is_done() {
            break;
        }
        schedule();
    }
    task::set_current_state(state::RUNNING);
}

/// A work that nobody waits for, as a static. Asked for again before its turn, it is done once.
#[repr(C)]
pub(crate) struct Request {
    work: Work,
    is_pending: AtomicBool,
    function: fn(),
}

// SAFETY: the link is touched under a list's lock, and `is_pending` lets it on one list at a time.
unsafe impl Sync for Request {}

impl Request {
    /// A request for `function`.
    pub(crate) const fn new(function: fn()) -> Self {
        Self {
            work: Work { link: Link::new(), run: Self::run },
            is_pending: AtomicBool::new(false),
            function,
        }
    }

    /// Has the stopper of `cpu` run it. False if that is so already, or the CPU takes no works. Any context in which tasks
    /// may be woken; no run queue locked.
    pub(crate) fn post(&'static self, cpu: usize) -> bool {
        if self.is_pending.swap(true, Ordering::Acquire) {
            return false;
        }
        // SAFETY: static, and not pending: on no list.
        let queued = unsafe { queue(cpu, &self.work) };
        if !queued {
            self.is_pending.store(false, Ordering::Release);
        }
        queued
    }

    /// # Safety
    /// `work` is that of a `Request`.
    unsafe fn run(work: &Work) {
        // SAFETY: by contract, and `work` is its first field.
        let request = unsafe { &*ptr::from_ref(work).cast::<Self>() };
        // First: whoever asks from here on asks for what is to come.
        request.is_pending.store(false, Ordering::Release);
        (request.function)();
    }
}

/// How far the CPUs that `stop_machine` has brought together are. Each step begins when all have taken the one before.
struct Gathering {
    step: AtomicU32,
    /// CPUs that have not taken the present step.
    missing: AtomicU32,
    cpus: AtomicU32,
}

/// It is not known yet how many come.
const WAIT: u32 = 0;
/// All stoppers run.
const COME: u32 = 1;
/// All have interrupts masked.
const MASK: u32 = 2;
/// One of them runs the function.
const RUN: u32 = 3;
/// All go.
const GO: u32 = 4;

impl Gathering {
    const fn new() -> Self {
        Self { step: AtomicU32::new(WAIT), missing: AtomicU32::new(0), cpus: AtomicU32::new(0) }
    }

    /// So many come: the first step.
    fn begin(&self, cpus: u32) {
        self.cpus.store(cpus, Ordering::Relaxed);
        self.missing.store(cpus, Ordering::Relaxed);
        self.step.store(COME, Ordering::Release);
    }

    /// What each stopper does. Bound: the slowest CPU, three times, and the function.
    fn attend(&self, run: &dyn Fn()) {
        let flags = irqflags::local_irq_save();
        irqflags::local_irq_restore(flags);
        let mut taken = WAIT;
        while taken != GO {
            arch::cpu::relax();
            let step = self.step.load(Ordering::Acquire);
            if step == taken {
                continue;
            }
            taken = step;
            match step {
                MASK => irqflags::local_irq_disable(),
                RUN => run(),
                _ => {}
            }
            if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 && step != GO {
                self.missing.store(self.cpus.load(Ordering::Relaxed), Ordering::Relaxed);
                self.step.store(step + 1, Ordering::Release);
            }
        }
        // The function may have changed the text of the kernel, and the next line is a place where it does (`patching`).
        arch::cpu::synchronize();
        irqflags::local_irq_restore(flags);
    }
}

/// The works of `stop_machine`, one per CPU, and the turn to make one.
static MACHINE: Mutex<()> = Mutex::new(());
static WORKS: [Waited; MAX_CPUS] = [const { Waited::new() }; MAX_CPUS];

/// What one CPU takes or leaves, and no other at the same time.
struct Handed<T>(UnsafeCell<Option<T>>);
// SAFETY: as said; the gathering orders the uses.
unsafe impl<T: Send> Sync for Handed<T> {}

/// Runs `function` while every online CPU stands still in its stopper with interrupts masked; by which of them is not said.
/// Threads that may sleep. Bound: the slowest CPU's way to its next preemption point, three exchanges, and the function.
pub fn stop_machine<R: Send>(function: impl FnOnce() -> R + Send) -> R {
    crate::preempt::might_sleep();
    if !static_branch::<SMP_LOCKS>() {
        return with_irqs_masked(function);
    }
    let turn = MACHINE.lock();
    let (function, result) = (Handed(UnsafeCell::new(Some(function))), Handed(UnsafeCell::new(None)));
    let (gathering, is_run) = (Gathering::new(), AtomicBool::new(false));
    let attend = || {
        // Whole, and not their parts, which are nobody's to share.
        let (function, result) = (&function, &result);
        gathering.attend(&|| {
            if !is_run.swap(true, Ordering::Relaxed) {
                // SAFETY: the first to come here, and the caller waits for all.
                unsafe { *result.0.get() = (*function.0.get()).take().map(|function| function()) };
            }
        });
    };
    let mut cpus = CpuMask::NONE;
    // So that this CPU's stopper does not begin to wait before all the others are told.
    let alone = crate::preempt::preempt_disable();
    for cpu in smp::online().iter() {
        // SAFETY: `attend` and what it uses stay until all are done, below; the turn is ours.
        if unsafe { WORKS[cpu].queue(cpu, &attend) } {
            cpus = cpus.with(cpu);
        }
    }
    gathering.begin(cpus.count() as u32);
    drop(alone);
    sleep_until(|| cpus.iter().all(|cpu| WORKS[cpu].is_done()));
    drop(turn);
    // SAFETY: all are done.
    let result = unsafe { (*result.0.get()).take() };
    result.unwrap_or_else(|| unreachable!("no CPU of {cpus} has run the function of stop_machine"))
}

/// Makes the stopper of `cpu`, whose per-CPU data is there; it takes works once the CPU is online and [`open`] is said. Again
/// for a CPU that comes back: nothing. Threads.
///
/// # Errors
/// [`Error::NoMemory`].
pub(crate) fn prepare(cpu: usize) -> Result<()> {
    let stopper = stopper(cpu);
    if !stopper.task.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    let mut name = heapless::String::<16>::new();
    // Fits: a CPU's number has two digits.
    let _ = core::fmt::Write::write_fmt(&mut name, format_args!("migration/{cpu}"));
    let task = task::build(&name).bound_to(cpu).create(serve, cpu)?;
    task.sched.make_stopper();
    stopper.task.store(TaskRef::into_slot(Some(task)).cast(), Ordering::Release);
    Ok(())
}

/// `cpu` takes works from now on: it is online.
pub(crate) fn open(cpu: usize) {
    let stopper = stopper(cpu);
    // SAFETY: `prepare` has set it; a stopper lives for ever.
    let task = unsafe { &*stopper.task.load(Ordering::Acquire) };
    let works = stopper.works.lock();
    works.is_open.set(true);
    works.unlock_no_resched();
    if task.state() == state::NEW {
        super::core::wake_up_new_task(task);
    }
}

/// `cpu` takes no works any more; those that it has are still done. On that CPU, in its stopper.
pub(crate) fn close(cpu: usize) {
    let works = stopper(cpu).works.lock();
    works.is_open.set(false);
    works.unlock_no_resched();
}

/// The stopper's life: the works one after the other.
fn serve(cpu: usize) {
    let stopper = stopper(cpu);
    // It is here, and stays, also while its CPU is on its way out and nobody else is woken there any more.
    task::current().sched.set_migrate_disabled(1);
    loop {
        task::set_current_state(state::INTERRUPTIBLE);
        let works = stopper.works.lock();
        let first = works.list.first();
        if let Some(link) = first {
            // SAFETY: on the list, and the lock is held.
            unsafe { works.list.del(link) };
        }
        works.unlock_no_resched();
        let Some(link) = first else {
            schedule();
            continue;
        };
        task::set_current_state(state::RUNNING);
        let _guard = crate::preempt::preempt_disable();
        // SAFETY: the link of a work, which stays until it has been run.
        unsafe {
            let work = link.byte_sub(offset_of!(Work, link)).cast::<Work>().as_ref();
            (work.run)(work);
        }
    }
}
