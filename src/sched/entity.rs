//! The part of a task that the scheduling classes see.
//!
//! [`SchedTask`] is embedded in the task; [`SchedRef`] is how run queues point
//! at it. Everything inside is a `Cell`, because many run-queue structures
//! refer to one task: **all of it is guarded by the lock of the run queue the
//! task belongs to** (its CPU's), which is part of the contract under which a
//! `SchedRef` is made. That is what keeps the classes free of unsafe code.
//!
//! Layout: what a real-time wake-up touches (list link, priority, `on_rq`,
//! policy, slice) shares the first cache line; CFS's bookkeeping follows.
//!
//! Contexts: any, under the run-queue lock, as said.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::{MaybeUninit, offset_of};
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use intrusive_collections::RBTreeLink;

use super::class::Class;
use super::deadline::{DlParams, SchedDlEntity};
use super::load::LoadWeight;
use super::pelt::LoadAvg;
use super::prio::{
    DEFAULT_PRIO, MAX_PRIO, Policy, STOP_PRIO, SchedAttr, is_rt_prio, nice_to_prio, prio_to_nice,
    rt_priority_to_prio,
};
use super::select::Wakees;
use crate::emplace::emplace;
use crate::list::Link;
use crate::smp::CpuMask;

/// A task's place with respect to run queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OnRq {
    /// On none: it sleeps, or was never woken.
    No = 0,
    /// On its CPU's run queue (running included).
    Queued = 1,
    /// On its way from one CPU's run queue to another's.
    Migrating = 2,
}

/// Real-time class: what it keeps in a task.
#[derive(Debug)]
#[repr(C)]
pub struct SchedRtEntity {
    pub(super) run_list: Link,
    /// Ticks left of a round-robin slice. Kept over preemption and sleep.
    pub(super) time_slice: Cell<u32>,
    /// Its place among the tasks that other CPUs may take: the priority and 1; 0 for none. (Here, so that a new task
    /// is cleared of all three in one store.)
    pub(super) pushable_at: Cell<u16>,
    /// How often the task has forbidden its migration. Written by the running task itself, without a lock.
    migrate_disabled: AtomicU16,
}

/// Fair class: what it keeps in a task.
#[derive(Debug)]
#[repr(C)]
pub struct SchedEntity {
    pub(super) vruntime: Cell<u64>,
    pub(super) load: Cell<LoadWeight>,
    pub(super) exec_start: Cell<u64>,
    pub(super) sum_exec_runtime: Cell<u64>,
    pub(super) prev_sum_exec_runtime: Cell<u64>,
    pub(super) run_node: RBTreeLink,
    /// Counted in a fair run queue's load (running or waiting).
    pub(super) on_rq: Cell<bool>,
    /// The task's deadline part has been written. (Here, so that a new task is cleared of both in one store.)
    has_dl: Cell<bool>,
    /// The part for several CPUs has been written. (Atomic: the running task looks without a lock.)
    has_smp: AtomicBool,
    /// The load it is has been counted in its run queue's.
    pub(super) is_counted: Cell<bool>,
}

impl SchedEntity {
    /// Virtual runtime in ns: absolute while queued or asleep under the fair
    /// class, relative to the queue's `min_vruntime` while new, migrating or
    /// under another class.
    #[inline(always)]
    pub fn vruntime(&self) -> u64 {
        self.vruntime.get()
    }

    /// CPU time the fair class has accounted to the task, in ns.
    #[inline(always)]
    pub fn sum_exec_runtime(&self) -> u64 {
        self.sum_exec_runtime.get()
    }

    /// The task's weight.
    #[inline(always)]
    pub fn load(&self) -> LoadWeight {
        self.load.get()
    }

    /// True while the task counts in a fair run queue.
    #[inline(always)]
    pub fn is_on_rq(&self) -> bool {
        self.on_rq.get()
    }
}

/// What the scheduling classes know about a task.
#[derive(Debug)]
#[repr(C)]
pub struct SchedTask {
    pub(super) rt: SchedRtEntity,
    pub(super) prio: Cell<i32>,
    pub(super) on_rq: Cell<OnRq>,
    pub(super) policy: Cell<Policy>,
    pub(super) rt_priority: Cell<u8>,
    /// Never woken so far: `vruntime` is still relative.
    pub(super) is_new: Cell<bool>,
    pub(super) static_prio: Cell<i32>,
    pub(super) normal_prio: Cell<i32>,
    pub(super) se: SchedEntity,
    /// Where the task may run.
    cpus_allowed: Cell<CpuMask>,
    /// The deadline class's part. Making a task does not write it: few tasks ever need it.
    dl: UnsafeCell<MaybeUninit<SchedDlEntity>>,
    /// What run queues of several CPUs keep in the task. One CPU never writes or reads it.
    smp: UnsafeCell<MaybeUninit<SchedSmp>>,
}

/// What is kept in a task where there are several CPUs.
#[derive(Debug)]
pub(super) struct SchedSmp {
    /// In the list of those that other CPUs may take.
    pushable: Link,
    pub(super) avg: Cell<LoadAvg>,
    /// `avg` has been begun.
    pub(super) has_avg: Cell<bool>,
    /// Where it last slept before it was woken elsewhere.
    pub(super) recent_cpu: Cell<u8>,
    /// Whom it wakes.
    pub(super) wakees: Cell<Wakees>,
}

const _: () = assert!(offset_of!(SchedTask, se) <= 64, "the real-time part fits one cache line");

impl SchedSmp {
    const fn new() -> Self {
        Self {
            pushable: Link::new(),
            avg: Cell::new(LoadAvg::new(0)),
            has_avg: Cell::new(false),
            recent_cpu: Cell::new(u8::MAX),
            wakees: Cell::new(Wakees::new()),
        }
    }
}

impl Default for SchedTask {
    fn default() -> Self {
        Self::new()
    }
}

impl SchedTask {
    /// Writes a new task with these parameters to `at`, off every queue, to run on `cpus_allowed`.
    ///
    /// # Safety
    /// `at` is valid for writes.
    ///
    /// # Panics
    /// For a deadline policy: that is not to be had without being admitted.
    #[inline(always)]
    pub unsafe fn emplace(at: *mut Self, attr: SchedAttr, cpus_allowed: CpuMask) {
        let prio = if attr.policy().is_rt() {
            rt_priority_to_prio(u32::from(attr.rt_priority()))
        } else if attr.policy() == Policy::Deadline {
            born_with_a_deadline()
        } else {
            nice_to_prio(attr.nice())
        };
        let load = match attr.policy() {
            Policy::Idle => LoadWeight::IDLE_POLICY,
            _ => LoadWeight::of_nice(attr.nice()),
        };
        // SAFETY: by contract; every field is inside `at`.
        unsafe {
            emplace!(&raw mut (*at).rt => SchedRtEntity {
                run_list: Link::new(),
                time_slice: Cell::new(0),
                pushable_at: Cell::new(0),
                migrate_disabled: AtomicU16::new(0),
            } except);
            emplace!(&raw mut (*at).se => SchedEntity {
                vruntime: Cell::new(0),
                load: Cell::new(load),
                exec_start: Cell::new(0),
                sum_exec_runtime: Cell::new(0),
                prev_sum_exec_runtime: Cell::new(0),
                run_node: RBTreeLink::new(),
                on_rq: Cell::new(false),
                has_dl: Cell::new(false),
                has_smp: AtomicBool::new(false),
                is_counted: Cell::new(false),
            } except);
            emplace!(at => SchedTask {
                prio: Cell::new(prio),
                on_rq: Cell::new(OnRq::No),
                policy: Cell::new(attr.policy()),
                rt_priority: Cell::new(attr.rt_priority()),
                is_new: Cell::new(true),
                static_prio: Cell::new(nice_to_prio(attr.nice())),
                normal_prio: Cell::new(prio),
                cpus_allowed: Cell::new(cpus_allowed),
            } except rt, se, dl, smp);
        }
    }

    /// A new task, off every queue, nice 0 under the normal policy.
    pub const fn new() -> Self {
        Self {
            rt: SchedRtEntity {
                run_list: Link::new(),
                time_slice: Cell::new(0),
                pushable_at: Cell::new(0),
                migrate_disabled: AtomicU16::new(0),
            },
            prio: Cell::new(DEFAULT_PRIO),
            on_rq: Cell::new(OnRq::No),
            policy: Cell::new(Policy::Normal),
            rt_priority: Cell::new(0),
            is_new: Cell::new(true),
            static_prio: Cell::new(DEFAULT_PRIO),
            normal_prio: Cell::new(DEFAULT_PRIO),
            cpus_allowed: Cell::new(CpuMask::ALL),
            dl: UnsafeCell::new(MaybeUninit::uninit()),
            smp: UnsafeCell::new(MaybeUninit::uninit()),
            se: SchedEntity {
                vruntime: Cell::new(0),
                load: Cell::new(LoadWeight::of_nice(0)),
                exec_start: Cell::new(0),
                sum_exec_runtime: Cell::new(0),
                prev_sum_exec_runtime: Cell::new(0),
                run_node: RBTreeLink::new(),
                on_rq: Cell::new(false),
                has_dl: Cell::new(false),
                has_smp: AtomicBool::new(false),
                is_counted: Cell::new(false),
            },
        }
    }

    /// Makes it a CPU's stopper: before everything, for ever. Before it is first woken.
    pub fn make_stopper(&self) {
        debug_assert!(
            !self.is_queued() && self.is_new.get(),
            "a stopper is made of a task that has been woken"
        );
        self.prio.set(STOP_PRIO);
        self.normal_prio.set(STOP_PRIO);
    }

    /// A CPU's idle task: behind everything, in no queue, always runnable.
    pub const fn new_idle() -> Self {
        let mut task = Self::new();
        task.prio = Cell::new(MAX_PRIO);
        task.normal_prio = Cell::new(MAX_PRIO);
        task.on_rq = Cell::new(OnRq::Queued);
        task.is_new = Cell::new(false);
        task
    }

    /// Effective kernel priority, inheritance included.
    #[inline(always)]
    pub fn prio(&self) -> i32 {
        self.prio.get()
    }

    /// Kernel priority of the nice value, kept under real-time policies too.
    #[inline(always)]
    pub fn static_prio(&self) -> i32 {
        self.static_prio.get()
    }

    /// Kernel priority of policy and parameters, without inheritance.
    #[inline(always)]
    pub fn normal_prio(&self) -> i32 {
        self.normal_prio.get()
    }

    /// The user's real-time priority, 0 under fair policies.
    #[inline(always)]
    pub fn rt_priority(&self) -> u8 {
        self.rt_priority.get()
    }

    /// The nice value.
    #[inline(always)]
    pub fn nice(&self) -> i32 {
        prio_to_nice(self.static_prio.get())
    }

    /// The policy.
    #[inline(always)]
    pub fn policy(&self) -> Policy {
        self.policy.get()
    }

    /// Whether the task is on a run queue.
    #[inline(always)]
    pub fn on_rq(&self) -> OnRq {
        self.on_rq.get()
    }

    /// True while the task is on its CPU's run queue.
    #[inline(always)]
    pub fn is_queued(&self) -> bool {
        matches!(self.on_rq.get(), OnRq::Queued)
    }

    /// True while the task is on its way from one CPU's run queue to another's.
    #[inline(always)]
    pub fn is_migrating(&self) -> bool {
        matches!(self.on_rq.get(), OnRq::Migrating)
    }

    /// On its way, or off every queue again: of a task that sleeps or is new.
    #[inline(always)]
    pub(super) fn set_migrating(&self, is_migrating: bool) {
        self.on_rq.set(if is_migrating { OnRq::Migrating } else { OnRq::No });
    }

    /// The class the task is under at present.
    #[inline(always)]
    pub fn class(&self) -> Class {
        Class::of_prio(self.prio.get())
    }

    /// True under the real-time class, and not for a deadline task: hot paths are about 0..100, and
    /// everybody else takes the long way.
    #[inline(always)]
    pub fn is_rt(&self) -> bool {
        is_rt_prio(self.prio.get())
    }

    /// A real-time task whose turn does not end: the tick is of no consequence to it.
    #[inline(always)]
    pub(super) fn is_rt_without_turn(&self) -> bool {
        self.is_rt() && self.policy() != Policy::Rr
    }

    /// True before the real-time class: for a deadline task, and for a stopper.
    #[inline(always)]
    pub(super) fn is_above_rt(&self) -> bool {
        self.prio.get() < 0
    }

    /// True under the deadline class.
    #[inline(always)]
    pub fn is_deadline(&self) -> bool {
        matches!(self.class(), Class::Deadline)
    }

    /// The deadline class's part of a task that is, or was, in it.
    ///
    /// # Panics
    /// If it never was.
    pub fn dl(&self) -> &SchedDlEntity {
        match self.try_dl() {
            Some(dl) => dl,
            None => panic!("deadline: a task of prio {} was never in the class", self.prio()),
        }
    }

    /// The deadline class's part, if there is one.
    pub fn try_dl(&self) -> Option<&SchedDlEntity> {
        // SAFETY: `has_dl` says that it has been written, and after that nobody writes to it but through its
        // cells (`make_dl` does only once).
        self.se.has_dl.get().then(|| unsafe { (*self.dl.get()).assume_init_ref() })
    }

    /// Writes the deadline class's part if there is none yet.
    pub(super) fn make_dl(&self) -> &SchedDlEntity {
        if !self.se.has_dl.get() {
            // SAFETY: nobody has a reference to it, because `try_dl` gives none out so far.
            unsafe { (*self.dl.get()).write(SchedDlEntity::new()) };
            self.se.has_dl.set(true);
        }
        self.dl()
    }

    /// The part for several CPUs; written when it is first asked for, by who holds the run queue's lock.
    pub(super) fn smp(&self) -> &SchedSmp {
        if !self.se.has_smp.load(Ordering::Relaxed) {
            // SAFETY: nobody has a reference to it, because nobody has come past this line so far.
            unsafe { (*self.smp.get()).write(SchedSmp::new()) };
            self.se.has_smp.store(true, Ordering::Release);
        }
        // SAFETY: written above, or earlier; since then only its cells change.
        unsafe { (*self.smp.get()).assume_init_ref() }
    }

    /// The part for several CPUs, if there is one.
    #[inline(always)]
    pub(super) fn try_smp(&self) -> Option<&SchedSmp> {
        // SAFETY: the flag, read with acquire, says that it has been written; since then only its cells change.
        self.se.has_smp.load(Ordering::Acquire).then(|| unsafe { (*self.smp.get()).assume_init_ref() })
    }

    /// Its load is part of its run queue's.
    #[inline(always)]
    pub(super) fn is_counted(&self) -> bool {
        self.se.is_counted.get()
    }

    /// What the task has wanted of late, its weight while nobody has counted it. Approximate when asked without the lock
    /// of its run queue.
    pub fn load_avg(&self) -> u64 {
        match self.try_smp().filter(|smp| smp.has_avg.get()) {
            Some(smp) => smp.avg.get().load_avg(),
            None => self.se.load.get().unshifted(),
        }
    }

    /// Where the task may run.
    #[inline(always)]
    pub fn cpus_allowed(&self) -> CpuMask {
        self.cpus_allowed.get()
    }

    /// Says where the task may run. If it is queued, [`super::Rq::sync_task`] is to follow; moving it from where it may
    /// not be any more is the caller's business.
    pub fn set_cpus_allowed(&self, mask: CpuMask) {
        self.cpus_allowed.set(mask);
    }

    /// How often the task has forbidden its migration and not allowed it again.
    #[inline(always)]
    pub fn migrate_disabled(&self) -> u16 {
        self.rt.migrate_disabled.load(Ordering::Relaxed)
    }

    /// Sets that number: by the running task, of itself. A task is moved only while it does not run, by somebody who has
    /// locked the run queue after it last did, so a plain store is seen in time.
    #[inline(always)]
    pub fn set_migrate_disabled(&self, depth: u16) {
        self.rt.migrate_disabled.store(depth, Ordering::Relaxed);
    }

    /// May another CPU take it? Whether one of those it may run on is there is not looked at.
    #[inline(always)]
    pub fn is_migratable(&self) -> bool {
        let mask = self.cpus_allowed.get().bits();
        mask & mask.wrapping_sub(1) != 0 && self.migrate_disabled() == 0
    }

    /// May it be moved to `cpu`?
    #[inline(always)]
    pub fn may_move_to(&self, cpu: usize) -> bool {
        self.cpus_allowed.get().contains(cpu) && self.migrate_disabled() == 0
    }

    /// Policy and parameters as they were given.
    pub fn attr(&self) -> SchedAttr {
        let dl = if self.policy() == Policy::Deadline { self.dl().params() } else { DlParams::NONE };
        SchedAttr::known(self.policy(), self.rt_priority(), self.nice(), dl)
    }

    /// True under the fair class.
    #[inline(always)]
    pub fn is_fair(&self) -> bool {
        matches!(self.class(), Class::Fair)
    }

    /// The fair class's part.
    #[inline(always)]
    pub fn se(&self) -> &SchedEntity {
        &self.se
    }

    /// Ticks left of the round-robin slice.
    #[inline(always)]
    pub fn time_slice(&self) -> u32 {
        self.rt.time_slice.get()
    }

    /// A new real-time task has so many ticks.
    #[inline(always)]
    pub(super) fn begin_turn(&self, ticks: u32) {
        self.rt.time_slice.set(ticks);
    }

    /// Gives a task that was never woken its first policy and parameters.
    pub fn init(&self, attr: SchedAttr) {
        debug_assert!(!self.is_queued() && self.is_new.get(), "init: the task has already been woken");
        self.static_prio.set(nice_to_prio(attr.nice()));
        self.set_params(attr);
        self.prio.set(self.normal_prio.get());
    }

    /// Gives a new task its parent's policy and parameters. A priority the
    /// parent has only inherited is not passed on.
    pub fn inherit(&self, parent: &Self) {
        debug_assert!(!self.is_queued() && self.is_new.get(), "inherit: the task has already been woken");
        self.policy.set(parent.policy.get());
        self.rt_priority.set(parent.rt_priority.get());
        self.static_prio.set(parent.static_prio.get());
        self.normal_prio.set(parent.normal_prio.get());
        self.prio.set(parent.normal_prio.get());
        self.set_load_weight();
    }

    /// Stores policy and parameters; a real-time policy leaves the nice value
    /// for the day the task comes back. `prio` is the caller's business.
    pub(super) fn set_params(&self, attr: SchedAttr) {
        self.policy.set(attr.policy());
        self.rt_priority.set(attr.rt_priority());
        self.normal_prio.set(attr.normal_prio());
        if attr.policy().is_fair() {
            self.static_prio.set(nice_to_prio(attr.nice()));
        }
        if attr.policy() == Policy::Deadline {
            self.make_dl().set_params(attr.dl());
        }
        self.set_load_weight();
    }

    /// Weight by policy and nice value. Only while the task is out of every
    /// fair queue's load sum.
    pub(super) fn set_load_weight(&self) {
        debug_assert!(!self.se.on_rq.get(), "load: the old weight is still part of a queue's sum");
        self.se.load.set(match self.policy.get() {
            Policy::Idle => LoadWeight::IDLE_POLICY,
            _ => LoadWeight::of_nice(self.nice()),
        });
    }
}

#[cold]
#[inline(never)]
fn born_with_a_deadline() -> ! {
    panic!("a task is made with a deadline policy; make it under another one, and set_scheduler before start")
}

/// A run queue's pointer to a task. Two are equal when they mean the same task.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct SchedRef(NonNull<SchedTask>);

// SAFETY: whoever holds a `SchedRef` may use it only under the lock of the
// task's run queue (contract of `new`); it may travel with that lock.
unsafe impl Send for SchedRef {}

impl SchedRef {
    /// Makes a run-queue pointer from a pointer to the task's part.
    ///
    /// # Safety
    /// The task is initialised, does not move and is not freed while this or
    /// any copy of it may be used (a queued or running task is never freed),
    /// and everything done through it happens under the lock of the task's run
    /// queue, or before the task is known to anybody else. No `&mut` to the
    /// task's part exists meanwhile. The provenance of `task` must cover
    /// whatever the caller casts [`Self::as_ptr`] back to.
    #[inline(always)]
    pub const unsafe fn new(task: NonNull<SchedTask>) -> Self {
        Self(task)
    }

    /// Stands for a task where there is none yet: idle, in no queue. Only to
    /// be replaced, in a run queue before its `init`.
    pub(super) const fn nobody() -> Self {
        /// Shared by all CPUs, hence never written.
        struct Nobody(SchedTask);
        // SAFETY: nothing writes to it: it is in no queue, and what the run
        // queue does to `curr` or `idle` before `init` only reads priorities.
        unsafe impl Sync for Nobody {}
        static NOBODY: Nobody = Nobody(SchedTask::new_idle());
        Self(NonNull::from_ref(&NOBODY.0))
    }

    /// The pointer it was made from.
    #[inline(always)]
    pub const fn as_ptr(self) -> NonNull<SchedTask> {
        self.0
    }

    /// The link of the real-time queues, with the whole task's provenance.
    #[inline(always)]
    pub(super) fn run_list(self) -> NonNull<Link> {
        // SAFETY: the task is valid (contract of `new`), so the field's
        // address is inside it and not null.
        unsafe { NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).rt.run_list) }
    }

    /// The link of the lists of tasks that other CPUs may take, with the whole task's provenance.
    pub(super) fn pushable_link(self) -> NonNull<Link> {
        self.smp();
        // SAFETY: the task is valid (contract of `new`), `smp()` has seen to it that the part is written, and cell and
        // `MaybeUninit` are transparent: the address is inside the task and not null.
        unsafe {
            let smp = (&raw mut (*self.0.as_ptr()).smp).cast::<SchedSmp>();
            NonNull::new_unchecked(&raw mut (*smp).pushable)
        }
    }

    /// The task whose `pushable_link` this is.
    ///
    /// # Safety
    /// `link` came from [`Self::pushable_link`] of a task that is still valid.
    pub(super) unsafe fn of_pushable_link(link: NonNull<Link>) -> Self {
        const OFFSET: usize = offset_of!(SchedTask, smp) + offset_of!(SchedSmp, pushable);
        // SAFETY: `pushable_link` added the same offset inside one object.
        Self(unsafe { link.byte_sub(OFFSET) }.cast())
    }

    /// The task whose `run_list` this is.
    ///
    /// # Safety
    /// `link` came from [`Self::run_list`] of a task that is still valid.
    #[inline(always)]
    pub(super) unsafe fn of_run_list(link: NonNull<Link>) -> Self {
        const OFFSET: usize = offset_of!(SchedTask, rt) + offset_of!(SchedRtEntity, run_list);
        // SAFETY: `run_list` added the same offset inside one object.
        Self(unsafe { link.byte_sub(OFFSET) }.cast())
    }
}

impl Deref for SchedRef {
    type Target = SchedTask;

    #[inline(always)]
    fn deref(&self) -> &SchedTask {
        // SAFETY: the task is valid and never mutably borrowed (contract of
        // `new`).
        unsafe { self.0.as_ref() }
    }
}

impl fmt::Debug for SchedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task@{:p}(prio {}, {:?})", self.0, self.prio(), self.policy())
    }
}
