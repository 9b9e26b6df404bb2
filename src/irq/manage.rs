//! Requesting lines and giving them back: Linux's `request_threaded_irq` and its neighbours.
//!
//! Everything is allocated, and the thread made, before the lock is taken; under it an action is only linked, with
//! IRQs masked. Freeing is the reverse: unlinked under the lock, then waited for, then freed.
//!
//! **Forced threading** (`threadirqs`, and always in `rt`): a primary handler becomes the function of a thread and
//! the line one-shot, but for lines that say `NO_THREAD`, `PERCPU` or `ONESHOT`. A driver that had a thread of its
//! own has both functions run in one thread, one after the other (Linux makes a second thread).
//!
//! Context: requesting and freeing from threads (and boot); the rest as it says. Locks: LINES, which masks IRQs; inside
//! of it the line's, which its handler takes too; inside of that the interrupt controller's.

use super::action::{Action, IrqFlags, Line};
use super::{IrqHandler, IrqReturn, affinity, flow, line, thread};
use crate::drivers::irqchip;
use crate::error::{Error, Result};
use crate::locking::SchedLock;
use crate::percpu::raw_smp_processor_id;
use crate::sched::core as sched;
use crate::task;
use alloc::boxed::Box;
use arch::patch::{RT, static_branch};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Orders all changes of lines against each other.
pub(super) static LINES: SchedLock<()> = SchedLock::new(());
/// `threadirqs`.
static FORCED: AtomicBool = AtomicBool::new(false);
static NEXT_ID: AtomicU32 = AtomicU32::new(1);
/// How often a waiter for handlers and threads looks.
const LOOK_NS: u64 = 50_000;

/// An action on a line, to be given back by [`free_irq`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the line can only be freed with it"]
pub struct ActionId {
    irq: u32,
    id: u32,
}

impl ActionId {
    /// The interrupt's number.
    #[must_use]
    pub fn irq(self) -> u32 {
        self.irq
    }
}

/// Makes all handlers that are requested from now on threads, if they may be: `threadirqs`, and tests. `rt` does anyway.
pub fn force_threads(on: bool) {
    FORCED.store(on, Ordering::Relaxed);
}

/// Registers `handler` for interrupt `irq` and enables the line. The handler runs in hard-interrupt context, or in
/// a thread where interrupts are threads.
///
/// # Errors
/// As [`request_threaded_irq`].
pub fn request_irq(
    irq: u32,
    flags: IrqFlags,
    name: &'static str,
    handler: impl Fn(u32) -> IrqReturn + Send + Sync + 'static,
) -> Result<ActionId> {
    request(irq, Some(Box::new(handler)), None, flags, name)
}

/// Registers `thread_fn` for interrupt `irq`, to be run by a thread when `primary` says [`IrqReturn::WakeThread`],
/// or at each interrupt if there is no `primary`; then the line must be `ONESHOT`, because nobody quietens the
/// device before the thread runs. Enables the line.
///
/// # Errors
/// [`Error::BadIrq`] for a number there is not, [`Error::Busy`] if somebody has it and the two do not agree to share
/// it, [`Error::NeedsOneshot`], [`Error::NoMemory`], [`Error::Full`] for more than 64 threads on one line.
pub fn request_threaded_irq(
    irq: u32,
    primary: Option<IrqHandler>,
    thread_fn: impl Fn(u32) -> IrqReturn + Send + Sync + 'static,
    flags: IrqFlags,
    name: &'static str,
) -> Result<ActionId> {
    request(irq, primary, Some(Box::new(thread_fn)), flags, name)
}

fn request(
    irq: u32,
    primary: Option<IrqHandler>,
    thread_fn: Option<IrqHandler>,
    mut flags: IrqFlags,
    name: &'static str,
) -> Result<ActionId> {
    line::desc(irq)?;
    if irq < 16 {
        flags |= IrqFlags::PERCPU;
    }
    let exempt = IrqFlags::NO_THREAD | IrqFlags::PERCPU | IrqFlags::ONESHOT;
    let forced = (static_branch::<RT>() || FORCED.load(Ordering::Relaxed))
        && primary.is_some()
        && !flags.intersects(exempt);
    let (primary, thread_fn, forced_thread_fn) =
        if forced { (None, primary, thread_fn) } else { (primary, thread_fn, None) };
    if forced {
        flags |= IrqFlags::ONESHOT;
    }
    if primary.is_none() && !flags.contains(IrqFlags::ONESHOT) {
        return Err(Error::NeedsOneshot { irq });
    }
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let mut action = Box::new(Action {
        next: AtomicPtr::new(ptr::null_mut()),
        line: Cell::new(ptr::null()),
        irq,
        id,
        name,
        flags,
        primary,
        thread_fn,
        forced_thread_fn,
        forced,
        thread: None,
        thread_mask: Cell::new(0),
        run: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        moved: AtomicBool::new(false),
        woken_at: AtomicU64::new(0),
        longest_wait: AtomicU64::new(0),
        longest: AtomicU64::new(0),
    });
    if action.thread_fn.is_some() {
        action.thread = Some(thread::create(&action)?);
    }
    let thread = action.thread.clone();
    link(action, Box::new(Line::new(irq, flags)))?;
    if let Some(thread) = thread {
        thread.start();
    }
    Ok(ActionId { irq, id })
}

/// Puts `action` on its line, which is `fresh` if there is none yet.
fn link(action: Box<Action>, fresh: Box<Line>) -> Result<()> {
    let desc = line::desc(action.irq)?;
    let guard = LINES.lock();
    let answer = if desc.is_free() {
        let line = Box::into_raw(fresh);
        // SAFETY: made just now; it stays until the last action is freed.
        let line = unsafe { &*line };
        desc.set_line(line);
        desc.set(flow::handler(), ptr::from_ref(line).expose_provenance());
        append(line, action, ptr::null());
        start(line);
        Ok(())
    } else {
        // SAFETY: null for a direct handler, otherwise alive while it is there and the lock is held.
        match unsafe { desc.line().as_ref() } {
            Some(line) => join(line, action),
            None => Err(Error::Busy),
        }
    };
    guard.unlock_no_resched();
    answer
}

/// Puts `action` behind the others of a line that exists, if they agree. LINES is held.
fn join(line: &Line, action: Box<Action>) -> Result<()> {
    let alike = IrqFlags::SHARED | IrqFlags::ONESHOT | IrqFlags::PERCPU | IrqFlags::EDGE | IrqFlags::LEVEL;
    let (theirs, ours) = (line.flags & alike, action.flags & alike);
    // SAFETY: LINES is held.
    let Some(last) = (unsafe { line.actions() }).last() else { return Err(Error::Busy) };
    if theirs != ours || !ours.contains(IrqFlags::SHARED) {
        log::error!(
            "irq {}: {} wants it as {ours:?}, but {} has it as {theirs:?}; to share it both must say SHARED and agree",
            line.irq,
            action.name,
            last.name
        );
        return Err(Error::Busy);
    }
    // SAFETY: as above.
    let used = unsafe { line.actions() }.fold(0, |used, other| used | other.thread_mask.get());
    if used == u64::MAX {
        return Err(Error::Full);
    }
    append(line, action, last);
    Ok(())
}

/// LINES is held; `last` is the line's last action, or null.
fn append(line: &Line, action: Box<Action>, last: *const Action) {
    // SAFETY: LINES is held.
    let used = unsafe { line.actions() }.fold(0, |used, other| used | other.thread_mask.get());
    if action.flags.contains(IrqFlags::ONESHOT) && action.thread.is_some() {
        action.thread_mask.set(1 << (!used).trailing_zeros());
    }
    action.line.set(line);
    let action = Box::into_raw(action);
    // The handler of the line walks the list meanwhile: it finds the action whole, or not yet.
    // SAFETY: linked actions are alive while LINES is held.
    match unsafe { last.as_ref() } {
        Some(last) => last.next.store(action, Ordering::Release),
        None => line.first.store(action, Ordering::Release),
    }
}

/// Enables a new line, unless it is to stay disabled. LINES is held.
fn start(line: &Line) {
    let cpu = affinity::choose_target(line.irq);
    if line.flags.intersects(IrqFlags::EDGE | IrqFlags::LEVEL) {
        irqchip::set_trigger(cpu, line.irq, line.flags.contains(IrqFlags::EDGE));
    }
    // An edge from before is nobody's.
    irqchip::clear_pending(cpu, line.irq);
    line.locked(|line| {
        if line.depth.get() == 0 {
            irqchip::enable(cpu, line.irq, irqchip::PRIORITY_DEFAULT);
        }
    });
}

/// Takes an action off its line and frees it, when its handler and its thread are done; disables the line if it was
/// the last. An interrupt that the thread was woken for is served first. Thread context.
///
/// # Errors
/// [`Error::BadIrq`] if the action is not there (any more), [`Error::Deadlock`] from the action's own thread.
pub fn free_irq(id: ActionId) -> Result<()> {
    crate::preempt::might_sleep();
    let desc = line::desc(id.irq)?;
    let guard = LINES.lock();
    // SAFETY: LINES is held: alive while it is there.
    let found = unsafe { desc.line().as_ref() }.map(|line| unlink(line, id));
    let (line, action) = match found {
        Some(Ok(found)) => found,
        other => {
            guard.unlock_no_resched();
            return Err(other.and_then(|found| found.err()).unwrap_or(Error::BadIrq { irq: id.irq }));
        }
    };
    let last = line.first.load(Ordering::Relaxed).is_null();
    if last {
        line.locked(|line| {
            // Its handler, if it is on its way, lets nothing through.
            line.depth.set(line.depth.get() + 1);
            irqchip::disable(raw_smp_processor_id(), id.irq);
        });
    }
    guard.unlock_no_resched();
    // The handlers that another CPU is asking, which may have found the action before it was taken off.
    line::wait_until_ended(id.irq);
    debug_assert!(!last || !line.in_progress.load(Ordering::Relaxed));
    if last {
        let guard = LINES.lock();
        desc.clear(id.irq);
        guard.unlock_no_resched();
    }
    if let Some(thread) = &action.thread {
        action.stop.store(true, Ordering::Relaxed);
        sched::wake_up_process(thread);
        thread.wait_exited();
    }
    // SAFETY: made by `request`; unlinked, and its thread has ended: nobody knows it any more.
    drop(unsafe { Box::from_raw(ptr::from_ref(action).cast_mut()) });
    if last {
        // SAFETY: as above; the table has forgotten it, and it had no other action.
        drop(unsafe { Box::from_raw(ptr::from_ref(line).cast_mut()) });
    }
    Ok(())
}

/// LINES is held.
fn unlink(line: &'static Line, id: ActionId) -> Result<(&'static Line, &'static Action)> {
    let mut place = &line.first;
    loop {
        // SAFETY: linked actions are alive while LINES is held, and this one until `free_irq` frees it.
        let Some(action) = (unsafe { place.load(Ordering::Relaxed).as_ref() }) else {
            return Err(Error::BadIrq { irq: id.irq });
        };
        if action.id == id.id {
            if action.thread.as_ref().is_some_and(|thread| ptr::eq(&raw const **thread, task::current())) {
                return Err(Error::Deadlock);
            }
            // What is taken off still leads on: a handler may stand on it.
            place.store(action.next.load(Ordering::Relaxed), Ordering::Release);
            return Ok((line, action));
        }
        place = &action.next;
    }
}

/// Runs `f` on a requested line, under LINES and the line's lock.
pub(super) fn with_line<R>(irq: u32, f: impl FnOnce(&Line) -> R) -> Result<R> {
    let desc = line::desc(irq)?;
    let guard = LINES.lock();
    // SAFETY: alive while it is there and LINES is held.
    let answer = unsafe { desc.line().as_ref() }.map(|line| line.locked(f));
    guard.unlock_no_resched();
    answer.ok_or(Error::BadIrq { irq })
}

/// Holds the line back until as many [`enable_irq`]. A handler or thread may still be running. Any context.
///
/// # Errors
/// [`Error::BadIrq`] for a line that was not requested by [`request_irq`].
pub fn disable_irq_nosync(irq: u32) -> Result<()> {
    with_line(irq, |line| {
        if line.depth.get() == 0 {
            irqchip::mask(raw_smp_processor_id(), irq);
        }
        line.depth.set(line.depth.get() + 1);
    })
}

/// [`disable_irq_nosync`], and waits until no handler and no thread of the line is running. Thread context, not the
/// line's own thread.
///
/// # Errors
/// As [`disable_irq_nosync`].
pub fn disable_irq(irq: u32) -> Result<()> {
    disable_irq_nosync(irq)?;
    synchronize_irq(irq)
}

/// Waits until no handler and no thread of the line is running that was when this was called. Thread context.
///
/// # Errors
/// As [`disable_irq_nosync`].
pub fn synchronize_irq(irq: u32) -> Result<()> {
    while with_line(irq, |line| line.in_progress.load(Ordering::Relaxed) || line.threads_active.get() != 0)? {
        task::sleep_ns(LOOK_NS);
    }
    Ok(())
}

/// Takes back one [`disable_irq`]; the last lets the line through again. Also revives a line that was shut off because
/// nobody handled it. Any context.
///
/// # Errors
/// As [`disable_irq_nosync`], and [`Error::NotDisabled`].
pub fn enable_irq(irq: u32) -> Result<()> {
    with_line(irq, |line| {
        match line.depth.get() {
            0 => return Err(Error::NotDisabled { irq }),
            1 => {
                line.depth.set(0);
                line.stuck.set(false);
                if !line.masked.get() {
                    irqchip::enable(affinity::choose_target(irq), irq, irqchip::PRIORITY_DEFAULT);
                }
                if line.pending.replace(false) {
                    irqchip::set_pending(raw_smp_processor_id(), irq);
                }
            }
            depth => line.depth.set(depth - 1),
        }
        Ok(())
    })?
}
