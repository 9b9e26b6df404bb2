//! Who holds a spin lock, in debug builds: finds the lock that is taken twice on one CPU, and the one that is not
//! released.
//!
//! Where there are lock words, the first is a standstill without a word and the second makes all the other CPUs wait; here
//! both are panics that name the lock by the place where it was made. On one CPU there is no word to stand still on: a
//! lock that is taken twice gives two exclusive references, so the same note is looked at instead.
//!
//! The wait here turns and looks at the clock, where a release build waits for the word alone (`arch::ticket`); the
//! tickets are the same, so is the order.
//!
//! Context: as the lock's. Locks: none.

use arch::patch::{SMP_LOCKS, static_branch};
use arch::ticket::TicketLock;
use core::panic::Location;
use core::sync::atomic::{AtomicU32, Ordering};

/// A section is a few hundred instructions; a virtual CPU that its host does not run is away for tens of milliseconds. No
/// lock is held for this long and given back.
const HELD_TOO_LONG_NS: u64 = 4_000_000_000;

/// The CPU that holds a lock, plus one; or 0.
pub(super) struct Holder(AtomicU32);

impl Holder {
    pub(super) const fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes `word` if there are lock words, and notes who has it.
    #[inline(never)]
    pub(super) fn lock(&self, word: &TicketLock, made_at: &'static Location<'static>) {
        let me = this_cpu();
        if !static_branch::<SMP_LOCKS>() {
            let before = self.0.swap(me, Ordering::Relaxed);
            assert!(before == 0, "{}", TakenTwice { made_at, cpu: me - 1 });
            return;
        }
        // Only this CPU can have written its own number. (The threads of a PC all have one number.)
        if cfg!(target_os = "none") && self.0.load(Ordering::Relaxed) == me {
            panic!("{}", TakenTwice { made_at, cpu: me - 1 });
        }
        if !word.try_lock() {
            self.wait(word, made_at);
        }
        self.0.store(me, Ordering::Relaxed);
    }

    /// Takes `word` if it is free, or there are no words.
    #[inline(never)]
    pub(super) fn try_lock(&self, word: &TicketLock, made_at: &'static Location<'static>) -> bool {
        if !static_branch::<SMP_LOCKS>() {
            self.lock(word, made_at);
            return true;
        }
        let taken = word.try_lock();
        if taken {
            self.0.store(this_cpu(), Ordering::Relaxed);
        }
        taken
    }

    /// The lock is about to be released.
    #[inline(always)]
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    #[cold]
    fn wait(&self, word: &TicketLock, made_at: &'static Location<'static>) {
        let ticket = word.take_ticket();
        let since = crate::time::now_ns();
        while !word.is_served(ticket) {
            arch::cpu::relax();
            let waited_ns = crate::time::now_ns().saturating_sub(since);
            if waited_ns > HELD_TOO_LONG_NS {
                // Between a release and the next note of its holder it is nobody, for an instant.
                let holder = self.0.load(Ordering::Relaxed);
                panic!(
                    "the spin lock made at {made_at} is held too long: CPU {} waits for {} ms, the holder is CPU {} \
                     (-1: nobody); expected a section of microseconds",
                    this_cpu() - 1,
                    waited_ns / 1_000_000,
                    i64::from(holder) - 1
                );
            }
        }
    }
}

fn this_cpu() -> u32 {
    crate::percpu::raw_smp_processor_id() as u32 + 1
}

struct TakenTwice {
    made_at: &'static Location<'static>,
    cpu: u32,
}

impl core::fmt::Display for TakenTwice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "the spin lock made at {} is taken twice on CPU {}: by its holder, or by an interrupt that its section \
             does not mask",
            self.made_at, self.cpu
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::locking::RawLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::vec::Vec;

    #[test]
    fn sections_of_one_lock_exclude_each_other() {
        static LOCK: RawLock = RawLock::new();
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        let rounds = if cfg!(miri) { 20 } else { 5_000 };
        let threads: Vec<_> = (0..3)
            .map(|_| {
                thread::spawn(move || {
                    for _ in 0..rounds {
                        LOCK.lock();
                        assert_eq!(INSIDE.fetch_add(1, Ordering::Relaxed), 0, "two are inside");
                        INSIDE.fetch_sub(1, Ordering::Relaxed);
                        // SAFETY: taken above.
                        unsafe { LOCK.unlock() };
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_lock_is_contended_while_another_ticket_is_out() {
        static LOCK: RawLock = RawLock::new();
        assert!(!LOCK.is_contended());
        LOCK.lock();
        assert!(!LOCK.is_contended() && !LOCK.try_lock());
        let waiter = thread::spawn(|| {
            LOCK.lock();
            // SAFETY: taken above.
            unsafe { LOCK.unlock() };
        });
        while !LOCK.is_contended() {
            thread::yield_now();
        }
        // SAFETY: taken above.
        unsafe { LOCK.unlock() };
        waiter.join().unwrap();
        assert!(!LOCK.is_contended() && LOCK.try_lock());
    }
}
