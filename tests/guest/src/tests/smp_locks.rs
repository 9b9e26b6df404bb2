//! K2 with several CPUs: one section at a time, first come first served, and a holder that sees who waits.

use crate::framework::cpus;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use arch::irqflags::{local_irq_restore, local_irq_save};
use arch::ticket::TicketLock;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use stint::locking::{RawSpinLock, RawSpinLockIrqSave, SchedLock, SeqLock, SpinLock};
use stint::preempt::{self, cond_resched_lock, preempt_disable};
use stint::smp;
use stint::task::{self, JoinHandle};

const ROUNDS: u32 = 500;

/// `f` on every CPU at once, in real-time tasks.
fn on_all(f: fn()) -> stint::Result<Vec<JoinHandle<()>>> {
    smp::online().iter().map(|cpu| cpus::on(cpu, task::build("contender")).fifo(20).spawn(f)).collect()
}

/// A number that only a lock keeps right: two steps, with a gap.
fn add_one(number: &mut u32) {
    let before = *number;
    for _ in 0..3 {
        arch::cpu::relax();
    }
    *number = core::hint::black_box(before) + 1;
}

ktest! {
    needs_cpus(2),
    fn every_kind_of_spin_lock_keeps_the_cpus_apart() {
        static SPIN: SpinLock<u32> = SpinLock::new(0);
        static RAW: RawSpinLock<u32> = RawSpinLock::new(0);
        static MASKING: RawSpinLockIrqSave<u32> = RawSpinLockIrqSave::new(0);
        static QUEUE: SchedLock<core::cell::Cell<u32>> = SchedLock::new(core::cell::Cell::new(0));
        *SPIN.lock() = 0;
        *RAW.lock() = 0;
        *MASKING.lock() = 0;
        QUEUE.lock().set(0);
        for task in on_all(|| {
            for _ in 0..ROUNDS {
                add_one(&mut SPIN.lock());
                add_one(&mut RAW.lock());
                add_one(&mut MASKING.lock());
                let queue = QUEUE.lock();
                let mut number = queue.get();
                add_one(&mut number);
                queue.set(number);
            }
        })? {
            task.join();
        }
        let all = cpus::online() as u32 * ROUNDS;
        check_eq!((*SPIN.lock(), *RAW.lock()), (all, all), "counted under SpinLock and RawSpinLock");
        check_eq!((*MASKING.lock(), QUEUE.lock().get()), (all, all), "counted under RawSpinLockIrqSave and SchedLock");
    }
}

/// A word as release builds use it, whatever this build is: debug builds wait by hand.
struct Word {
    lock: TicketLock,
    number: UnsafeCell<u32>,
}

// SAFETY: the number is reached under the lock.
unsafe impl Sync for Word {}

impl Word {
    const fn new() -> Self {
        Self { lock: TicketLock::new(), number: UnsafeCell::new(0) }
    }

    fn with(&self, f: impl FnOnce(&mut u32)) {
        let guard = preempt_disable();
        self.lock.lock();
        // SAFETY: locked.
        f(unsafe { &mut *self.number.get() });
        // SAFETY: taken above.
        unsafe { self.lock.unlock() };
        drop(guard);
    }
}

ktest! {
    needs_cpus(2),
    fn the_word_of_a_release_build_keeps_the_cpus_apart() {
        static WORD: Word = Word::new();
        WORD.with(|number| *number = 0);
        for task in on_all(|| {
            for round in 0..ROUNDS {
                if round % 8 != 0 {
                    WORD.with(add_one);
                    continue;
                }
                let guard = preempt_disable();
                while !WORD.lock.try_lock() {
                    arch::cpu::relax();
                }
                // SAFETY: locked.
                add_one(unsafe { &mut *WORD.number.get() });
                // SAFETY: taken above.
                unsafe { WORD.lock.unlock() };
                drop(guard);
            }
        })? {
            task.join();
        }
        WORD.with(|number| assert_eq!(*number, cpus::online() as u32 * ROUNDS, "counted under the word"));
    }
}

ktest! {
    needs_cpus(2),
    /// The tickets are 16 bits.
    fn the_tickets_of_a_word_come_round() {
        let lock = TicketLock::new();
        let flags = local_irq_save();
        let mut wrong = 0;
        for _ in 0..70_000 {
            lock.lock();
            wrong += u32::from(!lock.is_locked() || lock.is_contended() || lock.try_lock());
            // SAFETY: taken above.
            unsafe { lock.unlock() };
            wrong += u32::from(lock.is_locked());
        }
        local_irq_restore(flags);
        check_eq!(wrong, 0, "wrong answers in 70,000 rounds");
    }
}

ktest! {
    needs_cpus(3),
    fn who_came_first_has_the_lock_first() {
        static WORD: Word = Word::new();
        static ORDER: [AtomicU32; 64] = [const { AtomicU32::new(u32::MAX) }; 64];
        WORD.with(|number| *number = 0);
        // From the highest down, each when the one before stands in line.
        let mut waiting = Vec::new();
        for cpu in cpus::others().collect::<Vec<_>>().into_iter().rev() {
            let body = |cpu: usize| {
                WORD.with(|number| {
                    ORDER[*number as usize].store(cpu as u32, Ordering::Relaxed);
                    *number += 1;
                });
            };
            waiting.push((cpu, cpus::on(cpu, task::build("waiter")).fifo(20).create(body, cpu)?));
        }
        let guard = preempt_disable();
        WORD.lock.lock();
        for (place, (_, waiter)) in waiting.iter().enumerate() {
            waiter.start();
            while usize::from(WORD.lock.tickets_out()) < place + 2 {
                arch::cpu::relax();
            }
        }
        let contended = WORD.lock.is_contended();
        // SAFETY: taken above.
        unsafe { WORD.lock.unlock() };
        drop(guard);
        for (place, (cpu, waiter)) in waiting.into_iter().enumerate() {
            waiter.wait_exited();
            check_eq!(ORDER[place].load(Ordering::Relaxed), cpu as u32, "who had the lock as number {place}");
        }
        check!(contended, "the holder did not see who waits");
    }
}

ktest! {
    only_in(models::SPINNING, "it shows what a spin lock does that spins"),
    needs_cpus(2),
    fn cond_resched_lock_lets_go_for_a_cpu_that_waits() {
        static LOCK: SpinLock<u32> = SpinLock::new(0);
        static STARTED: AtomicBool = AtomicBool::new(false);
        STARTED.store(false, Ordering::Relaxed);
        let other = cpus::others().next().unwrap_or(0);
        *LOCK.lock() = 0;
        let waiter = cpus::on(other, task::build("waiter")).fifo(20).spawn(|| {
            while !STARTED.load(Ordering::Relaxed) {
                arch::cpu::relax();
            }
            *LOCK.lock() = 1;
        })?;
        let mut guard = LOCK.lock();
        STARTED.store(true, Ordering::Relaxed);
        // It cannot get the lock in any other way.
        while *guard == 0 {
            let broken = cond_resched_lock(&mut guard);
            assert!(broken || *guard == 0, "the lock changed hands and was not let go of");
            arch::cpu::relax();
        }
        drop(guard);
        waiter.join();
        check_eq!(preempt::preempt_count(), 0);
    }
}

ktest! {
    needs_cpus(2),
    fn readers_on_other_cpus_never_see_half_a_value_of_a_seqlock() {
        static VALUE: SeqLock<[u64; 4]> = SeqLock::new([0; 4]);
        static DONE: AtomicBool = AtomicBool::new(false);
        DONE.store(false, Ordering::Relaxed);
        let readers: Vec<_> = cpus::others()
            .map(|cpu| {
                cpus::on(cpu, task::build("reader")).fifo(20).spawn(|| {
                    let mut torn = 0;
                    while !DONE.load(Ordering::Acquire) {
                        let value = VALUE.read();
                        torn += u32::from(value.iter().any(|&word| word != value[0]));
                    }
                    torn
                })
            })
            .collect::<Result<_, _>>()?;
        for round in 0..2_000 {
            VALUE.write([round; 4]);
        }
        DONE.store(true, Ordering::Release);
        for reader in readers {
            check_eq!(reader.join(), Some(0), "torn values");
        }
    }
}
