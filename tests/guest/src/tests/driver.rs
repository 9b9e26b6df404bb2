//! K8: code that has never heard of preemption is preempted all the same.

use crate::framework::clock::is_exact;
use crate::framework::events::Events;
use crate::tests::HIGH;
use crate::{check, check_eq, ktest};
use alloc::vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use stint::locking::Semaphore;
use stint::task;
use stint::time::{Timer, now_ns};

/// What a driver's author would write: a long loop, no marker, no scheduling point.
fn checksum_and_copy(from: &[u8], to: &mut [u8]) -> u32 {
    let mut sum = 0u32;
    for (source, target) in from.iter().zip(to.iter_mut()) {
        *target = *source;
        sum = sum.rotate_left(3) ^ u32::from(*source);
    }
    sum
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_long_copy_without_scheduling_points_is_preempted_and_comes_out_right() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static WOKEN: AtomicU32 = AtomicU32::new(0);
        static WORST_NS: AtomicU64 = AtomicU64::new(0);
        static DUE_NS: AtomicU64 = AtomicU64::new(0);
        let from: vec::Vec<u8> = (0..400_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let mut to = vec![0; from.len()];
        let expected = checksum_and_copy(&from, &mut to);
        to.fill(0);

        let timer = Timer::new_hard(|| {
            DUE_NS.store(now_ns(), Ordering::Relaxed);
            let _ = GATE.give();
        });
        let high = task::build("high").fifo(HIGH).spawn(|| loop {
            GATE.take();
            let late = now_ns() - DUE_NS.load(Ordering::Relaxed);
            if WOKEN.fetch_add(1, Ordering::Relaxed) == 9 {
                return;
            }
            WORST_NS.fetch_max(late, Ordering::Relaxed);
        })?;
        LOG.mark('d');
        timer.start_periodic(20_000)?;
        let mut sum;
        // On a fast machine one pass may be over before the ten wake-ups are.
        loop {
            sum = checksum_and_copy(&from, &mut to);
            if WOKEN.load(Ordering::Relaxed) == 10 {
                break;
            }
        }
        timer.cancel();
        LOG.mark('D');
        high.join();
        check_eq!(sum, expected, "the checksum of the preempted copy");
        check!(to == from, "the preempted copy differs from its source");
        check_eq!(WOKEN.load(Ordering::Relaxed), 10, "wake-ups during the copy");
        if is_exact() {
            let worst = WORST_NS.load(Ordering::Relaxed);
            check!(worst < 5_000, "the copy held the high task off for {worst} instructions");
        }
    }
}
