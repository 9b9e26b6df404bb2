//! Switching tracing on and off, and choosing what is recorded.
//!
//! Three keys patch the hooks in (`arch::patch`): [`Key::Trace`] most of them, [`Key::IrqStats`] the entry of interrupts,
//! [`Key::PreemptStats`] the mask and the count; of the last two, tracing is one user beside the statistics
//! (`patching::set_key_for`). They are there when one of their events is chosen.
//!
//! Invariant: what is recorded is a subset of what has its hooks and its memory. While somebody prints a trace nothing is
//! recorded ([`pause`]): printing would make events of its own, and push those out that it is to print.
//!
//! Context: threads; `start_at_boot` boot. Lock: CONTROL, and inside it that of `patching`.

use super::event::KindSet;
use super::snapshot::{self, Taken};
use super::tracer::{self, Tracer};
use super::{WANTED, ring, sections};
use crate::bootargs::Bootargs;
use crate::error::Error;
use crate::locking::Mutex;
use crate::patching::{self, PatchFailure, User};
use arch::irqflags;
use arch::patch::Key;
use core::fmt;
use core::sync::atomic::Ordering;

struct Control {
    /// What is to be recorded; nothing: off, but for a tracer.
    chosen: KindSet,
    tracer: Tracer,
    /// The last one that was no [`Tracer::Nop`]: what was found is its.
    last: Tracer,
    /// How many are printing.
    paused: u32,
}

static CONTROL: Mutex<Control> =
    Mutex::new(Control { chosen: KindSet::NONE, tracer: Tracer::Nop, last: Tracer::Nop, paused: 0 });

impl Control {
    fn publish(&self) {
        let paused = self.paused != 0;
        // What happens meanwhile is not seen. Every CPU knows that before it sees what is wanted from now on.
        sections::begin();
        on_each(&|| {});
        WANTED.store(if paused { KindSet::NONE } else { self.chosen }.bits(), Ordering::Relaxed);
        let tracer = if paused { Tracer::Nop } else { self.tracer };
        if tracer != tracer::current() {
            // First: what has begun before is not known.
            on_each(&|| tracer::reset(false));
            tracer::set_current(tracer);
        }
    }

    /// Puts what was chosen in force; or nothing, if that cannot be.
    fn switch(&mut self) -> Result<(), TraceError> {
        let result = self.set_keys().map_err(TraceError::Patch);
        if result.is_err() {
            (self.chosen, self.tracer) = (KindSet::NONE, Tracer::Nop);
        }
        self.publish();
        result
    }

    /// Every CPU that has been started gets the memory that it needs; if there is not enough, all is off.
    fn allocate(&mut self, with_snapshots: bool) -> Result<(), TraceError> {
        let result =
            (0..crate::MAX_CPUS).filter(|&cpu| crate::percpu::has_instances(cpu)).try_for_each(|cpu| {
                ring::allocate(cpu)?;
                if with_snapshots { snapshot::allocate(cpu) } else { Ok(()) }
            });
        if let Err(error) = result {
            (self.chosen, self.tracer) = (KindSet::NONE, Tracer::Nop);
            self.switch()?;
            return Err(TraceError::Memory(error));
        }
        Ok(())
    }

    /// Has the hooks of what is chosen there, and those of nothing else but what others use.
    fn set_keys(&self) -> Result<(), PatchFailure> {
        let any = !self.chosen.is_empty() || self.tracer != Tracer::Nop;
        let sections = self.chosen.meets(KindSet::SECTIONS) || self.tracer.times_sections();
        patching::set_key_for(User::Owner, Key::Trace, any)?;
        patching::set_key_for(User::Trace, Key::IrqStats, self.chosen.meets(KindSet::INTERRUPTS))?;
        patching::set_key_for(User::Trace, Key::PreemptStats, sections)?;
        Ok(())
    }
}

/// Why tracing was not switched.
#[derive(Debug)]
pub enum TraceError {
    /// There is no memory for the rings: the bytes of one, and the CPUs.
    Memory(Error),
    /// The text cannot be patched.
    Patch(PatchFailure),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => {
                write!(
                    f,
                    "the rings of {} events per CPU: {error}; boot with a smaller trace_events=",
                    ring::capacity()
                )
            }
            Self::Patch(failure) => failure.fmt(f),
        }
    }
}

/// Records the events of `kinds` from now on, and no others. What is in the rings stays.
///
/// # Errors
/// See [`TraceError`]; then everything is off.
pub fn on(kinds: KindSet) -> Result<(), TraceError> {
    let mut control = CONTROL.lock();
    control.allocate(false)?;
    control.chosen = kinds;
    control.switch()
}

/// Has `tracer` look for the longest from now on, on all CPUs, from nothing. [`Tracer::Nop`] ends it, and what was found stays.
/// What is recorded beside it stays as it is.
///
/// # Errors
/// See [`TraceError`]; then everything is off.
pub fn set_tracer(tracer: Tracer) -> Result<(), TraceError> {
    let mut control = CONTROL.lock();
    control.allocate(true)?;
    control.tracer = Tracer::Nop;
    control.publish();
    if tracer != Tracer::Nop {
        control.last = tracer;
        on_each(&|| tracer::reset(true));
    }
    control.tracer = tracer;
    control.switch()
}

/// The tracer that was chosen.
#[must_use]
pub fn tracer() -> Tracer {
    CONTROL.lock().tracer
}

/// The snapshot of the longest so far, of all CPUs. The tracer goes on.
#[must_use]
pub fn snapshot() -> Option<Taken> {
    let _pause = pause();
    // While it is held no tracer is chosen, which would begin from nothing.
    let control = CONTROL.lock();
    // Who is in a hook has entered it before the tracer was paused, and leaves it before it answers.
    on_each(&|| {});
    // A CPU that was off when the tracer was chosen still has what another one found.
    // SAFETY: paused, and every CPU has been seen, by the above.
    let of_this_tracer =
        (0..crate::MAX_CPUS).filter(|&cpu| unsafe { snapshot::tracer_of(cpu) } == Some(control.last));
    // SAFETY: as above.
    let longest = of_this_tracer.max_by_key(|&cpu| unsafe { tracer::max_of(cpu) })?;
    // SAFETY: as above.
    unsafe { snapshot::of(longest) }
}

/// Runs `f` on every CPU that is online, there, with interrupts masked.
fn on_each(f: &(dyn Fn() + Sync)) {
    let masked = || {
        let flags = irqflags::raw_local_irq_save();
        f();
        irqflags::raw_local_irq_restore(flags);
    };
    #[cfg(target_os = "none")]
    crate::smp::call::on_each_cpu(&masked);
    #[cfg(not(target_os = "none"))]
    masked();
}

/// Records nothing from now on, and no tracer works. What is in the rings, and a tracer's snapshot, stays.
///
/// # Errors
/// The text cannot be patched; nothing is recorded all the same.
pub fn off() -> Result<(), TraceError> {
    let mut control = CONTROL.lock();
    (control.chosen, control.tracer) = (KindSet::NONE, Tracer::Nop);
    // Before the hooks go.
    control.publish();
    control.set_keys().map_err(TraceError::Patch)
}

/// Forgets what was recorded.
pub fn clear() {
    let _control = CONTROL.lock();
    ring::clear();
}

/// What is recorded, whether or not somebody is printing.
#[must_use]
pub fn chosen() -> KindSet {
    CONTROL.lock().chosen
}

/// Nothing is recorded while it exists.
#[derive(Debug)]
#[must_use = "events are recorded again as soon as it is dropped"]
pub struct Pause(());

/// Stops recording for as long as the result lives. Threads.
pub fn pause() -> Pause {
    let mut control = CONTROL.lock();
    control.paused += 1;
    control.publish();
    Pause(())
}

impl Drop for Pause {
    fn drop(&mut self) {
        let mut control = CONTROL.lock();
        control.paused -= 1;
        control.publish();
    }
}

/// The ring of a CPU that is about to be started, if the others have theirs. Threads.
pub(crate) fn prepare_cpu(cpu: usize) -> Result<(), Error> {
    let _control = CONTROL.lock();
    if !ring::has_memory(0) || ring::allocate(cpu).and_then(|()| snapshot::allocate(cpu)).is_ok() {
        return Ok(());
    }
    // Better without its trace than without the CPU.
    log::warn!(target: "trace", "CPU {cpu}: no memory for {} events; it is not traced", ring::capacity());
    Ok(())
}

/// What the boot arguments say, on the boot CPU, before there are threads: the hooks of [`Key::Trace`] are there if they are
/// to be.
pub(crate) fn start_at_boot(bootargs: &Bootargs) {
    ring::set_capacity(bootargs.trace_events);
    let Some(kinds) = bootargs.trace else { return };
    match ring::allocate(0) {
        Ok(()) => WANTED.store(kinds.bits(), Ordering::Relaxed),
        Err(error) => log::error!(target: "trace", "trace=: {}", TraceError::Memory(error)),
    }
}

/// The rest, where there is a thread, and the other CPUs are there to stand still for it.
pub(crate) fn start_from_bootargs(bootargs: &Bootargs) {
    if let Some(kinds) = bootargs.trace
        && let Err(error) = on(kinds)
    {
        log::error!(target: "trace", "trace=: {error}");
    }
}
