//! Values that are made once, and values that are read without a lock.

use crate::framework::clock::{TickOff, work};
use crate::framework::events::Events;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicU32, Ordering};
use stint::locking::{Lazy, Once, Semaphore, SeqLock};
use stint::task;
use stint::time::Timer;

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_value_is_made_once_by_the_first_and_the_others_wait_for_it() {
        static ONCE: Once<u32> = Once::new();
        static MADE: AtomicU32 = AtomicU32::new(0);
        static LOG: Events = Events::new();
        static GO: Semaphore = Semaphore::new(0);
        let make = || {
            GO.take();
            LOG.mark('m');
            MADE.fetch_add(1, Ordering::Relaxed) + 41
        };
        let first = task::build("first").fifo(LOW).spawn(move || *ONCE.get_or_init(make))?;
        let second = task::build("second").fifo(HIGH).spawn(move || *ONCE.get_or_init(make))?;
        check!(ONCE.get().is_none(), "there before it is made");
        check_eq!(99 - first.task().info().prio, HIGH, "the priority of the one who makes it");
        GO.give()?;
        check_eq!((first.join(), second.join(), ONCE.get()), (Some(41), Some(41), Some(&41)));
        check_eq!(LOG.text(), "m");
    }
}

ktest! {
    fn a_lazy_value_is_made_at_its_first_use() {
        static MADE: AtomicU32 = AtomicU32::new(0);
        static LAZY: Lazy<u32> = Lazy::new(|| MADE.fetch_add(1, Ordering::Relaxed) + 1);
        check_eq!(MADE.load(Ordering::Relaxed), 0);
        check_eq!((*LAZY, *LAZY), (1, 1));
    }
}

ktest! {
    panics = "deadlock: task init locks a mutex that it holds",
    fn a_lazy_value_that_needs_itself_panics() {
        static LAZY: Lazy<u32> = Lazy::new(|| *LAZY + 1);
        check_eq!(*LAZY, 0);
        Ok(())
    }
}

ktest! {
    fn a_sequence_lock_is_read_whole_by_interrupts_that_come_anywhere() {
        static LOCK: SeqLock<[u64; 6]> = SeqLock::new([0; 6]);
        static TORN: AtomicU32 = AtomicU32::new(0);
        static READ: AtomicU32 = AtomicU32::new(0);
        let look = || {
            let value = LOCK.read();
            READ.fetch_add(1, Ordering::Relaxed);
            if value.iter().any(|&word| word != value[0]) {
                TORN.fetch_add(1, Ordering::Relaxed);
            }
        };
        let _tick = TickOff::new();
        let timer = Timer::new_hard(look);
        timer.start_periodic(1_777)?;
        let writer = task::build("writer").fifo(MIDDLE).spawn(|| {
            for round in 0..2_000 {
                if round % 2 == 0 {
                    LOCK.write([round; 6]);
                } else {
                    LOCK.update(|value| value.fill(round));
                }
                work(3);
            }
        })?;
        writer.join();
        timer.cancel();
        check!(READ.load(Ordering::Relaxed) > 20, "only {} interrupts", READ.load(Ordering::Relaxed));
        check_eq!(TORN.load(Ordering::Relaxed), 0, "torn copies");
        check_eq!(LOCK.read(), [1_999; 6]);
    }
}
