//! The snapshot of a tracer's maximum: a copy of what the rings have of the window.
//!
//! One per CPU, written by that CPU with interrupts masked, in the hook that found the maximum. **Bound** of a copy: at most
//! [`RECORDS`] of this CPU's records and [`WAKER_RECORDS`] of the waker's, if that is another CPU; each is looked at once and copied
//! once, some 20 instructions: 5,000 in all. It is made only for a new maximum of the CPU. Of a longer window the newest
//! are kept, and the snapshot says that there were more.
//!
//! Reading: when no hook of a tracer works (`control`).
//!
//! Context: as said. Locks: none.

use super::ring::{self, Entry, RECORD_WORDS};
use super::tracer::Tracer;
use crate::error::{Error, Result};
use crate::mm::frames;
use crate::per_cpu;
use crate::percpu::{has_instances, raw_smp_processor_id};
use crate::preempt_stats::section::Section;
use crate::sched::prio::Policy;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Records of its CPU in a snapshot.
pub const RECORDS: usize = 192;
/// Records of the CPU that woke, in a snapshot.
pub const WAKER_RECORDS: usize = 64;

type Record = [u64; RECORD_WORDS];

/// A maximum.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Whose.
    pub tracer: Tracer,
    /// Cycles of a section, ticks of a wake-up.
    pub length: u64,
    /// The section, with the task in which it began; of a wake-up only who was woken.
    pub section: Section,
    /// The kernel priority of that task.
    pub prio: i32,
    /// Its policy.
    pub policy: Policy,
    /// The window, by the counter: its records, those of its end included.
    pub from_ticks: u64,
    /// See there.
    pub to_ticks: u64,
    /// The CPU that woke the task; the section's own.
    pub waker: usize,
}

struct Snapshot {
    /// RECORDS and WAKER_RECORDS of them; null before a tracer was chosen.
    records: AtomicPtr<Record>,
    /// How many are there, and whether there were more.
    count: Cell<(usize, bool)>,
    found: Cell<Option<Found>>,
}

// SAFETY: the cells are their CPU's own, with IRQs masked, or looked at when no hook works any more (`of`).
unsafe impl Send for Snapshot {}

per_cpu! {
    static SNAPSHOT: Snapshot =
        Snapshot { records: AtomicPtr::new(ptr::null_mut()), count: Cell::new((0, false)), found: Cell::new(None) };
}

/// Copies the window of a new maximum of this CPU. IRQs masked.
#[cold]
#[inline(never)]
pub(super) fn take(found: &Found) {
    // SAFETY: IRQs masked by contract.
    let this = unsafe { SNAPSHOT.this_cpu() };
    this.found.set(Some(*found));
    this.count.set((0, false));
    let records = this.records.load(Acquire);
    if records.is_null() {
        return;
    }
    let here = raw_smp_processor_id();
    let window = found.from_ticks..found.to_ticks.saturating_add(1);
    // SAFETY: so many records, which this CPU alone writes to, with IRQs masked.
    let own = unsafe { core::slice::from_raw_parts_mut(records, RECORDS) };
    let (mut kept, mut is_cut) = ring::copy_window(here, &window, own);
    if found.waker != here {
        // SAFETY: as above, behind the first, which are as many as were kept or more.
        let rest = unsafe { core::slice::from_raw_parts_mut(records.add(kept), WAKER_RECORDS) };
        let wakers = ring::copy_window(found.waker, &window, rest);
        (kept, is_cut) = (kept + wakers.0, is_cut || wakers.1);
    }
    this.count.set((kept, is_cut));
}

/// Forgets what this CPU has. IRQs masked.
pub(super) fn forget() {
    // SAFETY: IRQs masked by contract.
    unsafe { SNAPSHOT.this_cpu() }.found.set(None);
}

/// Gives `cpu`, which has its per-CPU data, memory for its snapshot, if it has none. Threads, one at a time.
///
/// # Errors
/// [`Error::NoMemory`].
pub(super) fn allocate(cpu: usize) -> Result<()> {
    // SAFETY: there is an instance; of what other CPUs use, the pointer alone is touched.
    let records = unsafe { &SNAPSHOT.of(cpu).records };
    if !records.load(Relaxed).is_null() {
        return Ok(());
    }
    let bytes = (RECORDS + WAKER_RECORDS) * size_of::<Record>();
    let no_memory = Error::NoMemory { bytes: bytes as u32 };
    let order = frames::order_for(bytes).ok_or(no_memory)?;
    let memory = frames::alloc_pages(order).map_err(|_| no_memory)?;
    // SAFETY: at least as many bytes, and nobody else's. Zeroes are records.
    unsafe { memory.write_bytes(0, bytes) };
    records.store(memory.cast().as_ptr(), Release);
    Ok(())
}

/// A snapshot, to be printed.
#[derive(Debug)]
pub struct Taken {
    /// The maximum.
    pub found: Found,
    /// The CPU on which it was.
    pub cpu: usize,
    /// There were more, before these.
    pub is_cut: bool,
    /// What was copied, with the CPU of each, by their times.
    pub entries: Vec<(usize, Entry)>,
}

impl Taken {
    #[cfg(target_os = "none")]
    /// How long it was. Threads: the first time it measures how fast the CPU is.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        if self.found.tracer.times_sections() {
            crate::shell::cpu_clock::cycles_to_ns(self.found.length)
        } else {
            crate::time::ticks_to_ns(self.found.length)
        }
    }
}

/// The tracer that has found the snapshot of `cpu`.
///
/// # Safety
/// As for [`of`].
pub(super) unsafe fn tracer_of(cpu: usize) -> Option<Tracer> {
    if !has_instances(cpu) {
        return None;
    }
    // SAFETY: there is an instance; nobody writes, by contract.
    unsafe { SNAPSHOT.of(cpu) }.found.get().map(|found| found.tracer)
}

/// The snapshot of `cpu`. Allocates; threads.
///
/// # Safety
/// No hook of a tracer works, and every CPU has been seen outside of one since.
pub(super) unsafe fn of(cpu: usize) -> Option<Taken> {
    if !has_instances(cpu) {
        return None;
    }
    // SAFETY: there is an instance; nobody writes, by contract.
    let snapshot = unsafe { SNAPSHOT.of(cpu) };
    let found = snapshot.found.get()?;
    let (kept, is_cut) = snapshot.count.get();
    let records = snapshot.records.load(Acquire);
    let mut entries = Vec::with_capacity(kept);
    for at in 0..kept {
        // SAFETY: so many were written.
        let record = unsafe { records.add(at).read() };
        entries.extend(ring::unpack(record));
    }
    // Stable: records of one CPU and time stay as they were written.
    entries.sort_by_key(|(_, entry)| entry.ticks);
    Some(Taken { found, cpu, is_cut, entries })
}
