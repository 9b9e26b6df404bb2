//! The ticket lock (`arch/host/src/ticket.rs`, line by line that of `arch/aarch64`).

use super::ticket::TicketLock;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Locked {
    lock: TicketLock,
    /// loom fails where two reach it that no lock keeps apart, or one does not see what the other did.
    number: UnsafeCell<u32>,
}

impl Locked {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: TicketLock::new(), number: UnsafeCell::new(0) })
    }

    fn section(&self) {
        // SAFETY: in the model: loom checks it.
        self.number.with_mut(|number| unsafe { *number += 1 });
        // SAFETY: the callers have it.
        unsafe { self.lock.unlock() };
    }
}

/// Two CPUs, two sections each.
pub fn sections() {
    let locked = Locked::new();
    let twice = |locked: &Locked| {
        for _ in 0..2 {
            locked.lock.lock();
            locked.section();
        }
    };
    let other = locked.clone();
    let cpu = thread::spawn(move || twice(&other));
    twice(&locked);
    cpu.join().unwrap();
    // SAFETY: all are gone.
    assert_eq!(locked.number.with(|number| unsafe { *number }), 4);
    assert!(!locked.lock.is_locked());
}

/// One takes the lock, the other tries and goes away if it is refused.
pub fn tries() {
    let locked = Locked::new();
    let other = locked.clone();
    let cpu = thread::spawn(move || {
        let taken = other.lock.try_lock();
        if taken {
            other.section();
        }
        u32::from(taken)
    });
    locked.lock.lock();
    locked.section();
    let sections = 1 + cpu.join().unwrap();
    // SAFETY: all are gone.
    assert_eq!(locked.number.with(|number| unsafe { *number }), sections);
    assert!(!locked.lock.is_locked(), "a refused try has taken a ticket");
}
