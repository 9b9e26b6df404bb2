//! Cross-CPU calls: a function runs on another CPU, in its next interrupt.
//!
//! | | waits | from |
//! |---|---|---|
//! | [`call_function_single`], [`call_function_many`] | until the function has returned everywhere | threads, interrupts open |
//! | [`post`] | no | any context |
//!
//! Each CPU has a list of what others have left for it (`llist`); who finds the list empty sends the interrupt
//! ([`Ipi::CallFunction`]). Its handler takes the whole list and runs it, first come, first served, as a hard interrupt: so
//! the functions are short, do not sleep, and take raw locks that mask interrupts, if any.
//!
//! **Who waits may be called.** Two CPUs that call each other both wait, and each runs the other's function in its own
//! interrupt; with interrupts masked they would wait for ever. So waiting demands open interrupts, and debug builds
//! panic otherwise. Preemption may be off.
//!
//! **What waits is on the caller's stack**, the function too. It is gone when the caller has seen the count at zero; so the
//! count is the last that the other CPU touches, with a release that the caller's load acquires.
//!
//! **A CPU that goes** closes its list as the last thing, and runs what it has found there: from then on it is refused
//! ([`Error::CpuOffline`]), and nobody waits for a CPU that does not come.
//!
//! Bound of a handler: the calls that were left since the last one; each CPU leaves at most one that it waits for per
//! thread, and a posted one is on a list at most once.
//!
//! Locks: none. Modelled by tests/loom.

use super::ipi::{self, Ipi};
use super::llist::{LlistHead, LlistNode};
use super::{CpuMask, online};
use crate::MAX_CPUS;
use crate::error::{Error, Result};
use crate::percpu::{raw_smp_processor_id, smp_processor_id};
use crate::preempt;
use arch::irqflags;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What is on a list: a node, and who knows the rest.
#[repr(C)]
struct Item {
    node: LlistNode,
    /// Runs what this is the first member of; it may be gone when it returns.
    run: unsafe fn(*const Item),
}

/// The lists, a cache line each: a CPU's is written by others.
#[repr(align(64))]
struct Calls(LlistHead);

static CALLS: [Calls; MAX_CPUS] = [const { Calls(LlistHead::new_closed()) }; MAX_CPUS];

/// One call that is waited for: what all its CPUs share.
struct Call<'a> {
    function: &'a (dyn Fn() + Sync),
    /// CPUs that have not returned.
    left: AtomicU32,
}

/// Its place on one CPU's list.
#[repr(C)]
struct Waited {
    item: Item,
    call: *const Call<'static>,
}

impl Call<'_> {
    fn place(&self) -> Waited {
        let call: *const Self = self;
        // (A cast of the lifetime: who looks does so before the caller goes on.)
        Waited { item: Item { node: LlistNode::new(), run: run_waited }, call: call.cast() }
    }
}

/// What is posted: a function that needs nobody's stack. A static; whoever finds it posted and not yet run need not post it
/// again.
#[repr(C)]
pub struct CallData {
    item: Item,
    function: fn(),
    posted: AtomicBool,
}

// SAFETY: the node is atomic, and its owner is whoever has set `posted`; the rest does not change.
unsafe impl Sync for CallData {}

impl CallData {
    /// To run `function`.
    #[must_use]
    pub const fn new(function: fn()) -> Self {
        Self {
            item: Item { node: LlistNode::new(), run: run_posted },
            function,
            posted: AtomicBool::new(false),
        }
    }

    /// Whether it waits to be run.
    #[must_use]
    pub fn is_posted(&self) -> bool {
        self.posted.load(Ordering::Acquire)
    }
}

/// Runs `function` on `cpu` and waits until it has returned. On this CPU it runs at once; everywhere with interrupts
/// masked.
///
/// # Errors
/// [`Error::CpuOffline`].
#[cfg_attr(debug_assertions, track_caller)]
pub fn call_function_single(cpu: usize, function: &(dyn Fn() + Sync)) -> Result<()> {
    assert_may_wait();
    let offline = Error::CpuOffline { cpu: cpu as u32 };
    if cpu >= MAX_CPUS {
        return Err(offline);
    }
    // This CPU stays this one until the function has run here, or the other one is told.
    let guard = preempt::preempt_disable();
    if cpu == smp_processor_id(&guard) {
        arch::cpu::with_irqs_masked(function);
        return Ok(());
    }
    let call = Call { function, left: AtomicU32::new(1) };
    let place = call.place();
    // SAFETY: the place stays until `left` is zero, which is waited for.
    match unsafe { leave(cpu, &place.item) } {
        Ok(true) => ipi::send(CpuMask::of(cpu), Ipi::CallFunction),
        Ok(false) => {}
        Err(_) => return Err(offline),
    }
    drop(guard);
    wait_until_zero(&call.left);
    Ok(())
}

/// Runs `function` on every CPU of `cpus` at the same time and waits until it has returned on all of them: on this one too,
/// if it is among them. Answers those that are offline, where it did not run.
#[cfg_attr(debug_assertions, track_caller)]
pub fn call_function_many(cpus: CpuMask, function: &(dyn Fn() + Sync)) -> CpuMask {
    assert_may_wait();
    let call = Call { function, left: AtomicU32::new(0) };
    let places: [Waited; MAX_CPUS] = core::array::from_fn(|_| call.place());
    let guard = preempt::preempt_disable();
    let here = smp_processor_id(&guard);
    let mut refused = CpuMask::NONE;
    let mut told = CpuMask::NONE;
    for cpu in cpus.without(here).iter() {
        call.left.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the place stays until `left` is zero, which is waited for.
        match unsafe { leave(cpu, &places[cpu].item) } {
            Ok(true) => told = told.with(cpu),
            Ok(false) => {}
            Err(_) => {
                call.left.fetch_sub(1, Ordering::Relaxed);
                refused = refused.with(cpu);
            }
        }
    }
    ipi::send(told, Ipi::CallFunction);
    if cpus.contains(here) {
        arch::cpu::with_irqs_masked(function);
    }
    drop(guard);
    wait_until_zero(&call.left);
    refused
}

/// [`call_function_many`] for all CPUs that are online.
#[cfg_attr(debug_assertions, track_caller)]
pub fn on_each_cpu(function: &(dyn Fn() + Sync)) {
    // Who went away meanwhile is not online any more.
    let _ = call_function_many(online(), function);
}

/// Has `cpu` run `data`'s function, soon, and does not wait. Answers false if it was posted already (to whichever CPU) and
/// has not been run. Any context; on this CPU it comes by interrupt too.
///
/// # Errors
/// [`Error::CpuOffline`].
pub fn post(cpu: usize, data: &'static CallData) -> Result<bool> {
    // Acquire: the last run is over with the node. Release: that run's successor sees what the caller has written.
    if data.posted.swap(true, Ordering::AcqRel) {
        return Ok(false);
    }
    let offline = Error::CpuOffline { cpu: cpu as u32 };
    if cpu >= MAX_CPUS {
        data.posted.store(false, Ordering::Release);
        return Err(offline);
    }
    // SAFETY: static, and `posted` was not set: nobody else pushes it until it has been run.
    match unsafe { leave(cpu, &data.item) } {
        Ok(true) => ipi::send(CpuMask::of(cpu), Ipi::CallFunction),
        Ok(false) => {}
        Err(_) => {
            data.posted.store(false, Ordering::Release);
            return Err(offline);
        }
    }
    Ok(true)
}

/// The handler of [`Ipi::CallFunction`]: runs what was left for this CPU. Hard interrupt.
pub(crate) fn run_this_cpu() {
    run(CALLS[raw_smp_processor_id()].0.take_all());
}

/// From here on this CPU is called. By itself, before it is online; interrupts masked.
pub(crate) fn open_this_cpu() {
    CALLS[raw_smp_processor_id()].0.open();
}

/// From here on this CPU is not called any more; what was left for it runs now. By itself, when it goes offline, interrupts
/// masked.
pub(crate) fn close_this_cpu() {
    debug_assert!(irqflags::irqs_disabled(), "a CPU closes its calls with interrupts masked");
    run(CALLS[raw_smp_processor_id()].0.close());
}

fn run(items: impl Iterator<Item = *const LlistNode>) {
    for node in items {
        let item = node.cast::<Item>();
        // SAFETY: only items are pushed, their node is their first member, and they stay until they have run. The iterator
        // is past the node.
        unsafe { ((*item).run)(item) };
    }
}

/// # Safety
/// As [`LlistHead::push`].
unsafe fn leave(cpu: usize, item: &Item) -> core::result::Result<bool, super::llist::Closed> {
    // SAFETY: passed on.
    unsafe { CALLS[cpu].0.push(&raw const item.node) }
}

/// # Safety
/// `item` is that of a [`Waited`] that is waited for.
unsafe fn run_waited(item: *const Item) {
    // SAFETY: by contract; the caller waits until `left` says that this one has returned.
    let call = unsafe { &*(*item.cast::<Waited>()).call };
    (call.function)();
    // Release: what the function did, and that nobody looks at the place, before the caller goes on. Behind this the
    // caller's stack may be something else.
    call.left.fetch_sub(1, Ordering::Release);
}

/// # Safety
/// `item` is that of a [`CallData`].
unsafe fn run_posted(item: *const Item) {
    // SAFETY: by contract; it is static.
    let data = unsafe { &*item.cast::<CallData>() };
    // Before it runs: what is posted from here on is posted anew, and not lost on a run that has begun.
    data.posted.store(false, Ordering::Release);
    (data.function)();
}

/// Bound: the longest section with interrupts masked of the CPUs that were called, and what they were left before.
fn wait_until_zero(left: &AtomicU32) {
    loop {
        let now = left.load(Ordering::Acquire);
        if now == 0 {
            return;
        }
        arch::cpu::wait_while(left, now);
    }
}

#[cfg_attr(debug_assertions, track_caller)]
fn assert_may_wait() {
    debug_assert!(
        preempt::in_task() && !irqflags::irqs_disabled(),
        "a cross-CPU call that waits, with preempt count {:#x} and IRQs {}: expected a thread with open IRQs, or `post`",
        preempt::preempt_count(),
        if irqflags::irqs_disabled() { "masked" } else { "open" }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_never_came_is_named() {
        static POSTED: CallData = CallData::new(|| ());
        let error = call_function_single(5, &|| ()).unwrap_err();
        assert_eq!(error, Error::CpuOffline { cpu: 5 });
        assert_eq!(post(7, &POSTED), Err(Error::CpuOffline { cpu: 7 }));
        assert_eq!(post(MAX_CPUS, &POSTED), Err(Error::CpuOffline { cpu: MAX_CPUS as u32 }));
        assert!(!POSTED.is_posted(), "refused, and still posted");
    }

    #[test]
    fn a_call_on_this_cpu_runs_at_once_and_masked() {
        let ran = AtomicBool::new(false);
        let called = call_function_single(0, &|| ran.store(irqflags::irqs_disabled(), Ordering::Relaxed));
        assert_eq!((called, ran.into_inner(), irqflags::irqs_disabled()), (Ok(()), true, false));
    }
}
