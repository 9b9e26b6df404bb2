//! Waiting for a device, and not for ever.
//!
//! Deadlines are taken from the generic timer. Between two looks the task sleeps: a device that needs longer than a few
//! microseconds is not worth a CPU.
//!
//! Context: threads that may sleep.
#![forbid(unsafe_code)]

/// Looks before the first pause: what is ready at once costs no sleep.
const EAGER_LOOKS: u32 = 16;

/// Asks `done` until it says yes, with pauses of `pause_us`; at most for `timeout_us`. Returns whether it said yes. It is
/// asked once more behind the end of the time, so a task that was kept from running does not give up unlooked.
pub fn poll(timeout_us: u32, pause_us: u32, mut done: impl FnMut() -> bool) -> bool {
    let begin = arch::timer::counter();
    let ticks = (u128::from(timeout_us) * u128::from(arch::timer::freq_hz()) / 1_000_000) as u64;
    let mut looks = 0;
    loop {
        let over = arch::timer::counter() - begin > ticks;
        if done() {
            return true;
        }
        if over {
            return false;
        }
        looks += 1;
        if looks > EAGER_LOOKS {
            pause(pause_us);
        }
    }
}

#[cfg(target_os = "none")]
fn pause(us: u32) {
    crate::task::sleep_ns(u64::from(us) * 1000);
}

/// On a PC nothing sleeps: tests are quick.
#[cfg(not(target_os = "none"))]
fn pause(_us: u32) {
    arch::cpu::relax();
}

#[cfg(test)]
mod tests {
    use super::poll;

    #[test]
    fn a_device_that_never_answers_is_given_up_and_looked_at_once_more_at_the_end() {
        let mut looks = 0;
        assert!(!poll(50, 10, || {
            looks += 1;
            false
        }));
        assert!(looks >= 2, "{looks}");
        // No time at all: one look is made all the same.
        assert!(poll(0, 10, || true));
    }

    #[test]
    fn the_first_yes_ends_the_wait() {
        let mut looks = 0;
        assert!(poll(1_000_000, 10, || {
            looks += 1;
            looks == 40
        }));
        assert_eq!(looks, 40);
    }
}
