//! What is wrong with a call comes back as a value that names it.

use crate::{check, check_eq, ktest};
use alloc::format;
use stint::sched::prio::{Policy, PrioError, SchedAttr};
use stint::smp::{self, CpuMask};
use stint::task::{self, Builder};
use stint::{Error, mm};

/// Both ways of making a task refuse alike, and leave nothing behind.
fn refusal(builder: Builder) -> Result<Error, crate::framework::Failure> {
    let before = mm::stats().heap.used_bytes;
    let spawned = builder.clone().spawn(|| ()).map(|_| ()).err();
    let created = builder.create(|_| {}, 0).map(|_| ()).err();
    check_eq!(spawned, created, "spawn and create");
    check_eq!(mm::stats().heap.used_bytes, before, "bytes of heap in use after a refusal");
    spawned.ok_or_else(|| crate::framework::Failure::new(format_args!("it was not refused")))
}

ktest! {
    fn priorities_outside_1_to_99_are_refused() {
        for priority in [0, 100, -1, i32::MIN, i32::MAX] {
            check_eq!(refusal(task::build("bad").fifo(priority))?, Error::BadPriority { priority });
            check_eq!(refusal(task::build("bad").rr(priority))?, Error::BadPriority { priority });
        }
        check!(format!("{}", Error::BadPriority { priority: 100 }).contains("100 is not in 1..=99"));
    }
}

ktest! {
    fn nice_levels_outside_their_range_are_refused() {
        for nice in [-21, 20, i32::MIN, i32::MAX] {
            check_eq!(refusal(task::build("bad").nice(nice))?, Error::BadNice { nice });
        }
        check!(format!("{}", Error::BadNice { nice: 20 }).contains("20 is not in -20..=19"));
    }
}

ktest! {
    fn stacks_too_small_or_too_big_are_refused() {
        let too_big = mm::stack::STACK_BYTES_MAX + 1;
        // The message keeps 32 bits of a size; what does not fit must not look small in it.
        for (asked, named) in [(0, 0), (4095, 4095), (too_big, too_big as u32), (1 << 33, u32::MAX), (usize::MAX, u32::MAX)] {
            check_eq!(refusal(task::build("bad").stack_bytes(asked))?, Error::BadStackSize { bytes: named });
        }
        let text = format!("{}", Error::BadStackSize { bytes: 17 });
        check!(text.contains("17") && text.contains("4096") && text.contains(&format!("{}", mm::stack::STACK_BYTES_MAX)), "the message is {text:?}");
    }
}

ktest! {
    fn a_cpu_set_without_a_cpu_is_refused() {
        for cpus in [CpuMask::NONE, CpuMask::of(63)] {
            check_eq!(refusal(task::build("bad").affinity(cpus))?, Error::BadAffinity);
        }
        let text = format!("{}", Error::BadAffinity);
        check!(text.contains(&format!("{} are", smp::online())), "the message is {text:?}");
    }
}

ktest! {
    fn scheduling_attributes_are_checked_when_they_are_made() {
        check_eq!(SchedAttr::fifo(0), Err(PrioError::RtPriority(0)));
        check_eq!(SchedAttr::rr(100), Err(PrioError::RtPriority(100)));
        check_eq!(SchedAttr::normal(-21), Err(PrioError::Nice(-21)));
        check_eq!(SchedAttr::new(Policy::Batch, 5, 0), Err(PrioError::RtPriorityOfFair(5)));
        check_eq!(Policy::from_number(4), Err(PrioError::Policy(4)));
        check_eq!(Policy::from_number(7), Err(PrioError::Policy(7)));
        check_eq!(SchedAttr::deadline(1023, 1_000_000, 0), Err(PrioError::DlRuntime(1023)));
        check_eq!(
            SchedAttr::deadline(2_000_000, 1_000_000, 0),
            Err(PrioError::DlDeadline { runtime_ns: 2_000_000, deadline_ns: 1_000_000 })
        );
        check_eq!(
            SchedAttr::deadline(1_000_000, 3_000_000, 2_000_000),
            Err(PrioError::DlDeadlineBehindPeriod { deadline_ns: 3_000_000, period_ns: 2_000_000 })
        );
        check_eq!(SchedAttr::deadline(2000, 99_999, 0), Err(PrioError::DlPeriod(99_999)));
        check_eq!(SchedAttr::deadline(2000, 2000, 4_194_304_001), Err(PrioError::DlPeriod(4_194_304_001)));
        check_eq!(SchedAttr::new(Policy::Deadline, 0, 0), Err(PrioError::DeadlineWithoutTimes));
        check!(format!("{}", PrioError::DlRuntime(1023)).contains("1023 ns is too short: use 1024 ns or more"));
        check!(format!("{}", PrioError::RtPriority(100)).contains("100 is out of range: use 1..=99"));
    }
}

ktest! {
    fn every_error_says_what_happened() {
        for (error, text) in [
            (Error::NoMemory { bytes: 12 }, "no memory for 12 bytes"),
            (Error::WouldBlock, "would have to wait"),
            (Error::TimedOut, "timed out"),
            (Error::Full, "full"),
            (Error::Busy, "in use"),
            (Error::BadIrq { irq: 1020 }, "no interrupt 1020"),
            (Error::BadTimerPeriod { ns: 7 }, "a timer period of 7 ns is below 1000 ns"),
            (Error::Deadlock, "wait for itself"),
            (Error::BadPeriod { ns: 99_999 }, "99999 ns is not between 100000 and 4194304000 ns"),
            (
                Error::NoBandwidth { asked: 1001, in_use: 9000, limit: 9500 },
                "10.01 % of the CPU cannot be reserved: 90.00 % is, and 95.00 % is the limit",
            ),
        ] {
            check!(format!("{error}").contains(text), "{error:?} says {error}");
        }
    }
}
