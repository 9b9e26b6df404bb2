//! The log: where `log::info!` and its like end up.
//!
//! A message is formatted on the stack of whoever logs, cut to a bounded length, and copied into a ring
//! of the CPU it runs on; interrupts are masked for the copy only. So logging is bounded work in any
//! context, a hard interrupt included. A thread drains the rings to the console ([`drain`]), the oldest message of
//! all CPUs first: what one CPU logs comes in its order, and what two log at about the same time in the order of their
//! times as far as it was there to be seen. A ring that is full drops the new message and counts it; the next drain
//! says how many are missing.
//!
//! Invariant: a ring is written by its own CPU only, with interrupts masked, and read by one drainer.
//! Context: logging: any. Draining: thread, or a panic. No locks.
#![deny(unsafe_code)]

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::locking::Mutex;

/// Longest message, target included.
pub const MESSAGE_BYTES: usize = 224;
/// Bytes of each CPU's ring.
pub const RING_BYTES: usize = 8 * 1024;
/// Time (8), level (1), length (1).
const HEADER_BYTES: usize = 10;

/// A ring of messages.
pub struct Ring {
    bytes: [AtomicU8; RING_BYTES],
    head: AtomicUsize,
    tail: AtomicUsize,
    lost: AtomicU32,
    lost_told: AtomicU32,
}

/// One message, as read back.
pub struct Message {
    /// Counter value when it was logged.
    pub ticks: u64,
    /// How important it is.
    pub level: Level,
    text: [u8; MESSAGE_BYTES],
    len: usize,
}

impl Message {
    /// The text.
    pub fn text(&self) -> &str {
        // The writer cuts at a character boundary, so this is the whole text.
        core::str::from_utf8(&self.text[..self.len]).unwrap_or("(message damaged)")
    }
}

impl Ring {
    /// An empty ring.
    pub const fn new() -> Self {
        Self {
            bytes: [const { AtomicU8::new(0) }; RING_BYTES],
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            lost: AtomicU32::new(0),
            lost_told: AtomicU32::new(0),
        }
    }

    /// Appends a message, or counts it as lost if there is no room. Interrupts masked, own CPU.
    pub fn push(&self, ticks: u64, level: Level, text: &str) {
        let text = &text.as_bytes()[..text.len().min(MESSAGE_BYTES)];
        let head = self.head.load(Ordering::Relaxed);
        let used = head.wrapping_sub(self.tail.load(Ordering::Acquire));
        let bytes = HEADER_BYTES + text.len();
        if used + bytes > RING_BYTES {
            self.lost.store(self.lost.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            return;
        }
        let header = ticks.to_le_bytes().into_iter().chain([level as u8, text.len() as u8]);
        for (i, byte) in header.chain(text.iter().copied()).enumerate() {
            arch::bound!(HEADER_BYTES + MESSAGE_BYTES);
            self.bytes[(head + i) % RING_BYTES].store(byte, Ordering::Relaxed);
        }
        self.head.store(head.wrapping_add(bytes), Ordering::Release);
    }

    /// When the oldest message was logged.
    pub fn oldest_ticks(&self) -> Option<u64> {
        let tail = self.tail.load(Ordering::Relaxed);
        (self.head.load(Ordering::Acquire) != tail).then(|| self.ticks_at(tail))
    }

    fn byte_at(&self, at: usize) -> u8 {
        self.bytes[at % RING_BYTES].load(Ordering::Relaxed)
    }

    fn ticks_at(&self, at: usize) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|i| self.byte_at(at + i)))
    }

    /// Takes the oldest message out.
    pub fn pop(&self) -> Option<Message> {
        let tail = self.tail.load(Ordering::Relaxed);
        let ticks = self.oldest_ticks()?;
        let level =
            Level::iter().nth(usize::from(self.byte_at(tail + 8)).wrapping_sub(1)).unwrap_or(Level::Error);
        let len = usize::from(self.byte_at(tail + 9)).min(MESSAGE_BYTES);
        let mut text = [0; MESSAGE_BYTES];
        for (i, byte) in text[..len].iter_mut().enumerate() {
            *byte = self.byte_at(tail + HEADER_BYTES + i);
        }
        self.tail.store(tail.wrapping_add(HEADER_BYTES + len), Ordering::Release);
        Some(Message { ticks, level, text, len })
    }

    /// Messages lost since this was last asked.
    pub fn take_lost(&self) -> u32 {
        let lost = self.lost.load(Ordering::Relaxed);
        lost.wrapping_sub(self.lost_told.swap(lost, Ordering::Relaxed))
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

/// Text of bounded length; what does not fit is cut off at a character boundary.
pub struct Clipped {
    bytes: [u8; MESSAGE_BYTES],
    len: usize,
}

impl Clipped {
    /// No text.
    pub const fn new() -> Self {
        Self { bytes: [0; MESSAGE_BYTES], len: 0 }
    }

    /// What fitted.
    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl Default for Clipped {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Clipped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut room = (MESSAGE_BYTES - self.len).min(text.len());
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        self.bytes[self.len..self.len + room].copy_from_slice(&text.as_bytes()[..room]);
        self.len += room;
        // Stop a formatter that has much more to say; the message is complete as it is.
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

crate::per_cpu! {
    #[cfg_attr(target_os = "none", expect(unsafe_code, reason = "it is in a section of its own"))]
    static RING: Ring = Ring::new();
}

/// A drained message with its time and level.
type Line = heapless::String<{ MESSAGE_BYTES + 32 }>;
/// Drained lines that are kept.
const KEPT_LINES: usize = 128;
/// What was drained last.
static KEPT: Mutex<heapless::Deque<Line, KEPT_LINES>> = Mutex::new(heapless::Deque::new());
/// Taken by whoever drains.
#[cfg(target_os = "none")]
static DRAINING: AtomicBool = AtomicBool::new(false);

/// Something was logged since the drain thread looked.
static UNDRAINED: AtomicBool = AtomicBool::new(false);
/// Wakes the drain thread.
#[cfg(target_os = "none")]
static WORK: crate::locking::Semaphore = crate::locking::Semaphore::with_limit(0, 1);

/// Has the drain thread look soon, for what is to be logged by a thread. Any context, wakes nobody.
#[inline(always)]
pub(crate) fn ask_for_drain() {
    UNDRAINED.store(true, Ordering::Relaxed);
}

/// From the tick, and before the CPU idles, which stops the tick: wakes the drain thread if there is something.
/// Logging itself wakes nobody, so it may be done under any lock.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn tick() {
    if is_undrained() {
        wake_drainer();
    }
}

/// Whether [`tick`] has something to do.
#[inline(always)]
pub(crate) fn is_undrained() -> bool {
    UNDRAINED.load(Ordering::Relaxed)
}

#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
fn wake_drainer() {
    UNDRAINED.store(false, Ordering::Relaxed);
    // Full: it is awake already.
    let _ = WORK.give();
}

/// Starts the thread that writes the log to the console. Once, at boot.
#[cfg(target_os = "none")]
pub(crate) fn start_drain() {
    let drainer = crate::task::build("klogd").spawn(|| {
        loop {
            crate::preempt_stats::report::tell_violations();
            crate::sched::notice::tell();
            drain();
            WORK.take();
        }
    });
    if let Err(error) = drainer {
        panic!("cannot start klogd: {error}");
    }
}

/// A CPU that takes no tick cannot have it wake the drain thread: the boot CPU is asked to, by an interrupt, which any
/// context may send.
#[cfg(target_os = "none")]
fn ask_from_afar() {
    static ASK: crate::smp::call::CallData = crate::smp::call::CallData::new(tick);
    if crate::smp::isolation::is_nohz_full(crate::percpu::raw_smp_processor_id()) {
        // The boot CPU is never offline.
        let _ = crate::smp::call::post(0, &ASK);
    }
}

struct Klog;

impl Log for Klog {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut message = Clipped::new();
        // An error means that it was cut.
        let _ = write!(message, "{}: {}", record.target(), record.args());
        // Looked at before interrupts are masked: it takes as long as the text is.
        let text = message.text();
        // The time inside, so that a ring is in the order of time whatever interrupts here.
        arch::cpu::with_irqs_masked(|| {
            let ring = RING.shared(crate::percpu::raw_smp_processor_id());
            ring.push(arch::timer::counter(), record.level(), text);
        });
        UNDRAINED.store(true, Ordering::Relaxed);
        #[cfg(target_os = "none")]
        ask_from_afar();
    }

    fn flush(&self) {}
}

/// Makes this the sink of the `log` crate.
pub fn init(level: LevelFilter) {
    // An error says that it is one already.
    let _ = log::set_logger(&Klog);
    log::set_max_level(level);
}

/// Whether there is something to drain.
pub fn pending() -> bool {
    RING.each().any(|(_, ring)| ring.oldest_ticks().is_some())
}

/// Writes what has been logged to the console, oldest first, and keeps it for `dmesg`. Does nothing if
/// another thread is at it.
#[cfg(target_os = "none")]
pub fn drain() {
    if DRAINING.swap(true, Ordering::Acquire) {
        return;
    }
    drain_to(&mut |args| {
        crate::drivers::console::print(args);
        let mut line = Line::new();
        // A message with its time fits; the line feed is not kept.
        let _ = line.write_fmt(args);
        let mut kept = KEPT.lock();
        if kept.is_full() {
            kept.pop_front();
        }
        // There is room now.
        let _ = kept.push_back(line);
        drop(kept);
        crate::preempt::cond_resched();
    });
    DRAINING.store(false, Ordering::Release);
}

/// Calls `f` with the last lines that were drained, oldest first. Thread context.
pub fn for_each_kept(mut f: impl FnMut(&str)) {
    let mut at = 0;
    // One line at a time: `f` may print, and whoever drains waits no longer than for a copy.
    loop {
        let line = KEPT.lock().iter().nth(at).cloned();
        let Some(line) = line else { return };
        f(line.trim_end());
        at += 1;
        crate::preempt::cond_resched();
    }
}

/// The same from a panic: directly, whoever else was draining.
#[cfg(target_os = "none")]
pub fn drain_panic() {
    drain_to(&mut |args| {
        // The early console never reports an error.
        let _ = crate::drivers::early::Early.write_fmt(args);
    });
}

/// Writes what has been logged to the console from where the caller is, for one who knows that the drain thread cannot
/// run. Does nothing if somebody is at it. It takes as long as the console does. Any context.
#[cfg(target_os = "none")]
pub(crate) fn drain_here() {
    if !DRAINING.swap(true, Ordering::Acquire) {
        drain_to(&mut |args| crate::drivers::console::print(args));
        // What would leave it to an interrupt is not to be relied on either.
        crate::drivers::console::hand_over();
        DRAINING.store(false, Ordering::Release);
    }
}

/// Hands every message to `print`, oldest first over all CPUs. Bound per message: the number of CPUs.
pub fn drain_to(print: &mut dyn FnMut(fmt::Arguments)) {
    let freq_hz = arch::timer::freq_hz().max(1);
    loop {
        let oldest = RING.each().filter_map(|(_, r)| Some((r.oldest_ticks()?, r))).min_by_key(|&(t, _)| t);
        let Some(message) = oldest.and_then(|(_, ring)| ring.pop()) else { break };
        let us = (u128::from(message.ticks) * 1_000_000 / u128::from(freq_hz)) as u64;
        let (s, us) = (us / 1_000_000, us % 1_000_000);
        print(format_args!("[{s:5}.{us:06}] {:5} {}\n", message.level, message.text()));
    }
    let lost: u32 = RING.each().map(|(_, ring)| ring.take_lost()).sum();
    if lost > 0 {
        print(format_args!("klog: {lost} messages lost; the log was not drained in time\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let ring = Ring::new();
        for i in 0..2000u64 {
            let text = std::format!("message {i} {}", "é".repeat(i as usize % 50));
            ring.push(i, Level::Warn, &text);
            ring.push(i + 1, Level::Trace, "");
            let first = ring.pop().unwrap();
            assert_eq!((first.ticks, first.level, first.text()), (i, Level::Warn, &*text));
            let second = ring.pop().unwrap();
            assert_eq!((second.ticks, second.level, second.text()), (i + 1, Level::Trace, ""));
            assert!(ring.pop().is_none());
        }
        assert_eq!(ring.take_lost(), 0);
    }

    #[test]
    fn a_full_ring_keeps_the_old_messages_and_counts_the_new() {
        let ring = Ring::new();
        for i in 0..1000 {
            ring.push(i, Level::Info, "0123456789");
        }
        let kept = RING_BYTES / (HEADER_BYTES + 10);
        assert_eq!(ring.take_lost(), 1000 - kept as u32);
        assert_eq!(ring.take_lost(), 0);
        assert_eq!(
            std::iter::from_fn(|| ring.pop()).map(|m| m.ticks).collect::<std::vec::Vec<_>>(),
            (0..kept as u64).collect::<std::vec::Vec<_>>()
        );
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let mut text = Clipped::new();
        assert!(write!(text, "x{}", "é".repeat(300)).is_err());
        assert_eq!(text.text().len(), MESSAGE_BYTES - 1);
        assert!(text.text().ends_with('é'));
        assert!(write!(text, "more").is_err());
    }
}
