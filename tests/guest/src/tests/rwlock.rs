//! The reader-writer lock, and the priority of its writers.

use crate::framework::events::Events;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use stint::locking::{RwLock, Semaphore};
use stint::sched::wait::Timeout;
use stint::{Error, task};

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn readers_share_and_a_writer_is_alone() {
        static LOCK: RwLock<u32> = RwLock::new(7);
        let (first, second) = (LOCK.read(), LOCK.read_timeout(Timeout::Now)?);
        check_eq!((*first, *second, LOCK.readers()), (7, 7, 2));
        let writer = task::build("writer").fifo(HIGH).spawn(|| *LOCK.write() = 8)?;
        check!(LOCK.has_writer(), "it does not wait for the readers");
        drop(first);
        check_eq!(*second, 7, "written beside a reader");
        drop(second);
        writer.join();
        check_eq!(*LOCK.read(), 8);
        check_eq!((LOCK.readers(), LOCK.has_writer()), (0, false));
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_writer_that_waits_stops_new_readers_and_goes_before_them() {
        static LOCK: RwLock<()> = RwLock::new(());
        static LOG: Events = Events::new();
        let reading = LOCK.read();
        let writer = task::build("writer").fifo(LOW).spawn(|| {
            let _guard = LOCK.write();
            LOG.mark('w');
        })?;
        let reader = task::build("reader").fifo(HIGH).spawn(|| {
            let _guard = LOCK.read();
            LOG.mark('r');
        })?;
        check_eq!(LOCK.read_timeout(Timeout::Now).map(drop), Err(Error::WouldBlock), "a reader that may not wait");
        drop(reading);
        writer.join();
        reader.join();
        check_eq!(LOG.text(), "wr");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_writer_runs_with_the_priority_of_the_readers_and_writers_it_keeps_waiting() {
        static LOCK: RwLock<()> = RwLock::new(());
        static GO: Semaphore = Semaphore::new(0);
        let writer = task::build("writer").fifo(LOW).spawn(|| {
            let _guard = LOCK.write();
            GO.take();
        })?;
        let prio = || 99 - writer.task().info().prio;
        let reader = task::build("reader").fifo(MIDDLE).spawn(|| drop(LOCK.read()))?;
        check_eq!(prio(), MIDDLE, "with a reader waiting");
        let second = task::build("second").fifo(HIGH).spawn(|| drop(LOCK.write()))?;
        check_eq!(prio(), HIGH, "with a writer waiting");
        GO.give()?;
        for task in [writer, reader, second] {
            task.join();
        }
        check!(LOCK.readers() == 0 && !LOCK.has_writer());
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_writer_that_gives_up_lets_the_readers_in_again() {
        static LOCK: RwLock<()> = RwLock::new(());
        let reading = LOCK.read();
        let writer = task::build("writer").fifo(HIGH).spawn(|| LOCK.write_timeout(Timeout::In(100_000)).map(drop))?;
        let reader = task::build("reader").fifo(MIDDLE).spawn(|| LOCK.read_timeout(Timeout::In(5_000_000)).map(drop))?;
        check_eq!(writer.join(), Some(Err(Error::TimedOut)));
        check_eq!(reader.join(), Some(Ok(())), "a reader behind the writer that gave up");
        drop(reading);
        check!(LOCK.write_timeout(Timeout::Now).is_ok(), "nobody is left");
    }
}

ktest! {
    panics = "ends while it holds 1 sleeping lock(s)",
    fn a_task_that_ends_while_it_reads_panics() {
        static LOCK: RwLock<()> = RwLock::new(());
        task::build("reader").fifo(HIGH).spawn(|| {
            let _guard = LOCK.read();
            task::exit()
        })?.join();
        Ok(())
    }
}
