//! The rings: one per CPU, of the last events there.
//!
//! A ring is written by its own CPU alone, each record with interrupts masked: so nothing interrupts a record, and there is
//! no lock and no loop. The writer overwrites the oldest. Its memory comes from the page allocator when tracing is switched on
//! for the first time, 64 bytes for each of `trace_events=` records, and is kept; before that nothing is recorded.
//!
//! **Readers**, on any CPU, at any time: the writer says that it begins a record before it touches the record's words, and
//! that it is done after. A reader takes what was done, and looks behind its loads whether the writer has begun as much as
//! would touch them: then it leaves the record out. So it has whole records or none.
//!
//! Nothing is lost without being counted: what was written since it was cleared is `written`, what of that is there is
//! `kept`.
//!
//! Context: recording: any, not in a fault handler of the recorder itself. Reading: any. Allocating: threads and boot.
//! Locks: none.

use super::event::{Event, Kind};
use super::stamp::Stamp;
use crate::error::{Error, Result};
use crate::mm::frames;
use crate::preempt_stats::recorder;
use crate::{MAX_CPUS, per_cpu};
use arch::irqflags;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, fence};

/// Words of a record.
pub(super) const RECORD_WORDS: usize = 5;
/// Records of a ring, if nobody says how many.
pub const EVENTS_DEFAULT: usize = 4096;
/// The most that may be asked for.
pub const EVENTS_MAX: usize = 1 << 20;

/// An event with its time and what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counter ticks.
    pub ticks: u64,
    /// The task that ran (0: an idle task), and in what context.
    pub stamp: Stamp,
    /// What happened.
    pub event: Event,
}

/// An [`Entry`] in words that one CPU writes and another may read meanwhile: the time; the stamp and the kind; the event. A
/// cache line each, on every CPU with this architecture: a record touches one, and no other record does.
#[repr(align(64))]
struct Slot([AtomicU64; RECORD_WORDS]);

impl Slot {
    fn store(&self, ticks: u64, stamp: Stamp, kind: Kind, words: [u64; 3]) {
        self.0[0].store(ticks, Relaxed);
        self.0[1].store(stamp.pack() | (kind as u64) << 56, Relaxed);
        for (slot, word) in self.0[2..].iter().zip(words) {
            slot.store(word, Relaxed);
        }
    }

    fn load(&self) -> [u64; RECORD_WORDS] {
        core::array::from_fn(|at| self.0[at].load(Relaxed))
    }
}

/// From the words of a record, and the CPU that [`copy_window`] put into them.
pub(super) fn unpack([ticks, stamp, a, b, c]: [u64; RECORD_WORDS]) -> Option<(usize, Entry)> {
    let event = Event::unpack((stamp >> 56) as u8, [a, b, c])?;
    Some(((stamp >> 48) as u8 as usize, Entry { ticks, stamp: Stamp::unpack(stamp), event }))
}

/// Records per ring: a power of two. Set before the first ring gets its memory, and not changed.
static CAPACITY: AtomicUsize = AtomicUsize::new(EVENTS_DEFAULT);

struct Ring {
    /// [`CAPACITY`] slots; null before tracing was switched on.
    slots: AtomicPtr<Slot>,
    /// Records begun since boot.
    begun: AtomicUsize,
    /// Records done since boot.
    done: AtomicUsize,
    /// Those before this one have been cleared. The readers' side.
    cleared: AtomicUsize,
    /// Hooks since the last record that made none.
    silent_hooks: AtomicUsize,
}

per_cpu! {
    static RING: Ring = Ring {
        slots: AtomicPtr::new(ptr::null_mut()),
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        cleared: AtomicUsize::new(0),
        silent_hooks: AtomicUsize::new(0),
    };
}

impl Ring {
    /// Where the `at`-th record lies; none without memory.
    #[inline(always)]
    fn slot(&self, at: usize) -> Option<&Slot> {
        let slots = self.slots.load(Acquire);
        // SAFETY: null, or CAPACITY slots that are never freed; the index is below it.
        (!slots.is_null()).then(|| unsafe { &*slots.add(at & (CAPACITY.load(Relaxed) - 1)) })
    }

    /// The `at`-th record, which was done; none if it has been overwritten, or is about to be.
    fn get(&self, at: usize) -> Option<Entry> {
        self.words(at).and_then(unpack).map(|(_, entry)| entry)
    }

    /// Its words.
    fn words(&self, at: usize) -> Option<[u64; RECORD_WORDS]> {
        let words = self.slot(at)?.load();
        // The words before the count: if it has not gone so far since, they belong together.
        fence(Acquire);
        if self.begun.load(Relaxed) > at + CAPACITY.load(Relaxed) {
            return None;
        }
        Some(words)
    }

    /// The records that are there: from, and up to.
    fn range(&self) -> (usize, usize) {
        let done = self.done.load(Acquire);
        let oldest = done.saturating_sub(CAPACITY.load(Relaxed));
        (oldest.max(self.cleared.load(Relaxed)).min(done), done)
    }
}

/// Writes a record to this CPU's ring, if somebody wants such ones. `stamp` is told the mask. Any context.
#[inline(always)]
pub(super) fn record(stamp: impl FnOnce(irqflags::Flags) -> Stamp, event: Event) {
    let (kind, words) = event.pack();
    if super::wants(kind.set()) {
        let flags = irqflags::raw_local_irq_save();
        let begin = arch::pmu::cycles();
        write(stamp(flags), kind, words);
        // So that no section is longer for it.
        recorder::add_hook_cycles(arch::pmu::cycles().wrapping_sub(begin));
        irqflags::raw_local_irq_restore(flags);
    }
}

/// A hook of the mask or the count that makes no record: the next record says how many there were. IRQs masked.
pub(super) fn silent_hook() {
    // SAFETY: IRQs masked; and shared: atomics alone.
    let hooks = unsafe { &RING.this_cpu().silent_hooks };
    hooks.store(hooks.load(Relaxed) + 1, Relaxed);
}

/// [`record`] from a site of preempt-stats, where IRQs are masked and the cycles are counted already.
pub(super) fn record_in_site(stamp: Stamp, event: Event) {
    let (kind, words) = event.pack();
    if super::wants(kind.set()) {
        write(stamp, kind, words);
    }
}

/// IRQs masked.
#[inline(never)]
fn write(stamp: Stamp, kind: Kind, words: [u64; 3]) {
    // SAFETY: IRQs masked; and shared: atomics alone.
    let ring = unsafe { RING.this_cpu() };
    let at = ring.done.load(Relaxed);
    let Some(slot) = ring.slot(at) else { return };
    // Before the words: a reader that finds a new word finds that the old record is gone.
    ring.begun.store(at + 1, Relaxed);
    fence(Release);
    let hooks = ring.silent_hooks.load(Relaxed);
    ring.silent_hooks.store(0, Relaxed);
    let stamp = stamp.with_silent_hooks(u8::try_from(hooks).unwrap_or(u8::MAX));
    slot.store(arch::timer::counter(), stamp, kind, words);
    ring.done.store(at + 1, Release);
}

/// Copies the records of `cpu` with a time in `window`, the newest of them, to `to`. Returns how many, and whether there were more.
/// Any CPU. Bound: the records of `to`, twice, and those that came behind the window.
pub(super) fn copy_window(cpu: usize, window: &Range<u64>, to: &mut [[u64; RECORD_WORDS]]) -> (usize, bool) {
    let ring = RING.shared(cpu);
    let (oldest, end) = ring.range();
    let mut from = end;
    while from > oldest && end - from < to.len() {
        match ring.words(from - 1) {
            Some(words) if words[0] >= window.start => from -= 1,
            _ => break,
        }
    }
    let mut kept = 0;
    for at in from..end {
        if let Some(words) = ring.words(at)
            && words[0] < window.end
        {
            to[kept] = words;
            // In the place of the hooks, which nobody asks for there.
            to[kept][1] = words[1] & !(0xff << 48) | (cpu as u64) << 48;
            kept += 1;
        }
    }
    let is_cut = from > oldest && ring.words(from - 1).is_some_and(|words| words[0] >= window.start);
    (kept, is_cut)
}

/// How many records this CPU has written since boot.
#[must_use]
pub fn written_here() -> usize {
    RING.shared(crate::percpu::raw_smp_processor_id()).done.load(Relaxed)
}

/// Records per ring.
#[must_use]
pub fn capacity() -> usize {
    CAPACITY.load(Relaxed)
}

/// Has the rings hold `events` records from when they get their memory; the next power of two. Before that.
pub(super) fn set_capacity(events: usize) {
    debug_assert!(RING.shared(0).slots.load(Relaxed).is_null(), "the rings have their memory");
    CAPACITY.store(events.clamp(2, EVENTS_MAX).next_power_of_two(), Relaxed);
}

/// Whether `cpu`'s ring has its memory.
pub(super) fn has_memory(cpu: usize) -> bool {
    !RING.shared(cpu).slots.load(Relaxed).is_null()
}

/// Gives the ring of `cpu` its memory, if it has none. The CPU has its per-CPU data. Threads and boot, one at a time.
///
/// # Errors
/// [`Error::NoMemory`].
pub(super) fn allocate(cpu: usize) -> Result<()> {
    let ring = RING.shared(cpu);
    if !ring.slots.load(Relaxed).is_null() {
        return Ok(());
    }
    let bytes = capacity() * size_of::<Slot>();
    let no_memory = Error::NoMemory { bytes: bytes as u32 };
    let order = frames::order_for(bytes).ok_or(no_memory)?;
    let slots = frames::alloc_pages(order).map_err(|_| no_memory)?.cast::<Slot>();
    // SAFETY: at least as many bytes, aligned to a page, and nobody else's. Zeroes are slots.
    unsafe { slots.write_bytes(0, capacity()) };
    ring.slots.store(slots.as_ptr(), Release);
    Ok(())
}

/// Forgets what is in the rings; what is written meanwhile may be left.
pub(super) fn clear() {
    for (_, ring) in RING.each() {
        ring.cleared.store(ring.done.load(Relaxed), Relaxed);
    }
}

/// The records in all rings, and those written since they were cleared: the difference was overwritten.
#[must_use]
pub fn counts() -> (usize, usize) {
    RING.each().fold((0, 0), |(kept, written), (_, ring)| {
        let (from, end) = ring.range();
        (kept + end - from, written + end - ring.cleared.load(Relaxed).min(end))
    })
}

/// The last `limit` events of all CPUs with the CPU of each, by their times, oldest first. New ones may take the place of
/// the oldest meanwhile. Bound: the number of CPUs for each event.
pub fn for_each_last(limit: usize, mut f: impl FnMut(usize, &Entry)) {
    let mut ends = [0; MAX_CPUS];
    let mut froms = [0; MAX_CPUS];
    let mut starts = [0; MAX_CPUS];
    let mut kept = 0;
    for (cpu, ring) in RING.each() {
        (froms[cpu], ends[cpu]) = ring.range();
        kept += ends[cpu] - froms[cpu];
        starts[cpu] = ends[cpu];
    }
    if limit >= kept {
        starts = froms;
    } else {
        // Backwards from the ends, the newest of all first, to find where to begin.
        for _ in 0..limit {
            let newest = RING.each().filter_map(|(cpu, ring)| {
                let at = starts[cpu].checked_sub(1).filter(|&at| at >= froms[cpu])?;
                ring.get(at).map(|entry| (entry.ticks, cpu))
            });
            let Some((_, cpu)) = newest.max_by_key(|&(ticks, _)| ticks) else { break };
            starts[cpu] -= 1;
        }
    }
    loop {
        let oldest = RING.each().filter_map(|(cpu, ring)| {
            // Those that have been overwritten since are left out.
            while starts[cpu] < ends[cpu] {
                if let Some(entry) = ring.get(starts[cpu]) {
                    return Some((entry, cpu));
                }
                starts[cpu] += 1;
            }
            None
        });
        let Some((entry, cpu)) = oldest.min_by_key(|(entry, _)| entry.ticks) else { return };
        starts[cpu] += 1;
        f(cpu, &entry);
    }
}

/// The last `limit` events of `cpu`, oldest first.
pub fn for_each_last_of(cpu: usize, limit: usize, mut f: impl FnMut(&Entry)) {
    let ring = RING.shared(cpu);
    let (from, end) = ring.range();
    (from.max(end.saturating_sub(limit))..end).filter_map(|at| ring.get(at)).for_each(|entry| f(&entry));
}
