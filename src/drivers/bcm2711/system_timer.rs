//! The system timer: a free-running 64-bit counter of microseconds, and compare channels on its lower half.
//!
//! It runs on the crystal and whatever the CPUs do, so it is what the generic timer's frequency is checked against. Of the
//! four channels 0 and 2 are the firmware's; 1 and 3 are ours. A channel matches when the lower half of the counter
//! **equals** its compare register: a time that has passed when it is written comes around after 71 minutes, which is why
//! [`SystemTimer::arm`] looks again behind the write. QEMU matches and raises no interrupt.
//!
//! Context: reading from any; a channel has one user at a time.
//! Facts: BCM2711 ARM peripherals, chapter 10.
#![cfg_attr(not(target_os = "none"), forbid(unsafe_code))]

use crate::drivers::mmio::Registers;

/// Control and status: bit n is channel n's match; written with 1 it is cleared.
const CS: usize = 0x00;
const CLO: usize = 0x04;
const CHI: usize = 0x08;
const C0: usize = 0x0c;

/// A compare channel that is not the firmware's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Channel 1.
    One = 1,
    /// Channel 3.
    Three = 3,
}

impl Channel {
    const fn bit(self) -> u32 {
        1 << self as u32
    }

    const fn register(self) -> usize {
        C0 + 4 * self as usize
    }
}

/// The timer.
#[derive(Debug)]
pub struct SystemTimer<R> {
    regs: R,
}

impl<R: Registers> SystemTimer<R> {
    /// The timer behind `regs`.
    pub const fn new(regs: R) -> Self {
        Self { regs }
    }

    /// Microseconds since the board was switched on. The halves are of one moment: if the upper one moved between its two
    /// readings, the lower one is read again, and cannot go around before that.
    pub fn now_us(&self) -> u64 {
        let (before, low, after) = (self.regs.read(CHI), self.regs.read(CLO), self.regs.read(CHI));
        let low = if before == after { low } else { self.regs.read(CLO) };
        u64::from(after) << 32 | u64::from(low)
    }

    /// Lets a channel match in `us` microseconds. Returns `false` if that has passed without a match: so short a time is
    /// over, and no match will come. At most half of the counter's 71 minutes.
    #[must_use]
    pub fn arm(&self, channel: Channel, us: u32) -> bool {
        assert!(us <= i32::MAX as u32, "{us} us; the counter goes around and half of it is the most");
        self.clear(channel);
        let due = self.regs.read(CLO).wrapping_add(us);
        self.regs.write(channel.register(), due);
        let left = due.wrapping_sub(self.regs.read(CLO)) as i32;
        left > 0 || self.matched(channel)
    }

    /// Whether the channel has matched since it was armed or cleared.
    pub fn matched(&self, channel: Channel) -> bool {
        self.regs.read(CS) & channel.bit() != 0
    }

    /// Forgets a match, which lets the channel's interrupt line fall. The other channels keep theirs.
    pub fn clear(&self, channel: Channel) {
        self.regs.write(CS, channel.bit());
    }
}

#[cfg(target_os = "none")]
pub use device::{AlarmError, DRIVER, now_us, sleep_us};

/// The timer of this machine.
#[cfg(target_os = "none")]
mod device {
    use super::{Channel, SystemTimer};
    use crate::drivers::mmio::Mmio;
    use crate::drivers::platform::{Device, Driver, ProbeError};
    use crate::irq::{self, IrqFlags, IrqReturn};
    use crate::locking::{Mutex, Semaphore};
    use crate::sched::wait::Timeout;
    use core::fmt;

    /// The driver's row.
    pub const DRIVER: Driver =
        Driver { name: "system timer", compatible: &["brcm,bcm2835-system-timer"], probe };

    static TIMER: spin::Once<SystemTimer<Mmio>> = spin::Once::new();
    /// Given by the handlers of channel 1 and 3.
    static MATCHED: [Semaphore; 2] = [const { Semaphore::with_limit(0, 1) }; 2];
    /// Held while a channel is used.
    static USED: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2];

    /// A match that no interrupt came of is noticed so late.
    const GRACE_US: u32 = 10_000;

    const fn index(channel: Channel) -> usize {
        channel as usize / 2
    }

    fn probe(device: &Device) -> Result<(), ProbeError> {
        if TIMER.get().is_some() {
            return Err(ProbeError::new("there is a system timer already"));
        }
        let interrupts = [device.interrupt(1)?, device.interrupt(3)?];
        let timer = SystemTimer::new(device.map_block(0, 0x1c)?);
        [Channel::One, Channel::Three].iter().for_each(|&channel| timer.clear(channel));
        let timer = TIMER.call_once(|| timer);
        for (channel, interrupt) in [Channel::One, Channel::Three].into_iter().zip(interrupts) {
            // For as long as the machine runs.
            let _ = irq::request_irq(interrupt.intid, IrqFlags::LEVEL, "system timer", move |_| {
                if !timer.matched(channel) {
                    return IrqReturn::None;
                }
                timer.clear(channel);
                // Full: whoever waits has one already.
                let _ = MATCHED[index(channel)].give();
                IrqReturn::Handled
            })?;
        }
        Ok(())
    }

    /// Microseconds since the board was switched on; `None` on a machine without this timer.
    pub fn now_us() -> Option<u64> {
        TIMER.get().map(SystemTimer::now_us)
    }

    /// Why a sleep on a channel was none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum AlarmError {
        /// There is no such timer.
        Absent,
        /// The time has come, and the channel has not matched.
        NoMatch,
        /// The channel has matched, and no interrupt came.
        NoInterrupt,
    }

    impl fmt::Display for AlarmError {
        fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str(match self {
                Self::Absent => "this machine has no system timer",
                Self::NoMatch => "the compare channel did not match",
                Self::NoInterrupt => "the compare channel matched and no interrupt came",
            })
        }
    }

    /// Sleeps until a channel's interrupt, `us` from now; returns how late the task was. Waits for others that use the
    /// channel. Thread context.
    ///
    /// # Errors
    /// There is no timer, or it did not do what it should.
    pub fn sleep_us(channel: Channel, us: u32) -> Result<u64, AlarmError> {
        let timer = TIMER.get().ok_or(AlarmError::Absent)?;
        let _mine = USED[index(channel)].lock();
        let matched = &MATCHED[index(channel)];
        // What is left of a sleep that was given up.
        let _ = matched.try_take();
        let due_us = timer.now_us() + u64::from(us);
        if timer.arm(channel, us) {
            let limit_ns = (u64::from(us) + u64::from(GRACE_US)) * 1000;
            if matched.take_timeout(Timeout::In(limit_ns)).is_err() {
                let error =
                    if timer.matched(channel) { AlarmError::NoInterrupt } else { AlarmError::NoMatch };
                timer.clear(channel);
                return Err(error);
            }
        }
        Ok(timer.now_us().saturating_sub(due_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// A counter that moves by a step at each access.
    struct Fake {
        counter: Cell<u64>,
        step: u64,
        compare: RefCell<[Option<u32>; 4]>,
        cs: Cell<u32>,
    }

    impl Fake {
        fn timer(counter: u64, step: u64) -> SystemTimer<Self> {
            SystemTimer::new(Self {
                counter: Cell::new(counter),
                step,
                compare: RefCell::new([None; 4]),
                cs: Cell::new(0b0101),
            })
        }

        fn advance(&self, by: u64) {
            for _ in 0..by {
                self.counter.set(self.counter.get() + 1);
                for (channel, compare) in self.compare.borrow().iter().enumerate() {
                    if *compare == Some(self.counter.get() as u32) {
                        self.cs.set(self.cs.get() | 1 << channel);
                    }
                }
            }
        }
    }

    impl Registers for Fake {
        fn read(&self, offset: usize) -> u32 {
            let value = match offset {
                CS => self.cs.get(),
                CLO => self.counter.get() as u32,
                CHI => (self.counter.get() >> 32) as u32,
                _ => panic!("{offset:#x} is not read"),
            };
            self.advance(self.step);
            value
        }

        fn write(&self, offset: usize, value: u32) {
            match offset {
                CS => self.cs.set(self.cs.get() & !value),
                0x10 | 0x18 => self.compare.borrow_mut()[(offset - C0) / 4] = Some(value),
                _ => panic!("{offset:#x} is the firmware's, or not to be written"),
            }
            self.advance(self.step);
        }
    }

    #[test]
    fn the_halves_of_the_counter_are_of_one_moment() {
        // The carry comes before, between and behind the readings.
        for start in 0x1_ffff_fff8u64..0x2_0000_0002 {
            let timer = Fake::timer(start, 1);
            let now = timer.now_us();
            let end = timer.regs.counter.get();
            assert!((start..=end).contains(&now), "{now:#x} is not between {start:#x} and {end:#x}");
        }
    }

    #[test]
    fn a_channel_matches_at_its_time_and_leaves_the_firmwares_alone() {
        let timer = Fake::timer(0xffff_fff0, 0);
        assert!(timer.arm(Channel::Three, 0x20));
        timer.regs.advance(0x1f);
        assert!(!timer.matched(Channel::Three));
        timer.regs.advance(1);
        assert!(timer.matched(Channel::Three) && !timer.matched(Channel::One));
        timer.clear(Channel::Three);
        assert_eq!(timer.regs.cs.get(), 0b0101, "the matches of channels 0 and 2 stay");
    }

    #[test]
    fn a_time_that_passes_while_it_is_written_is_told_from_one_that_will_come() {
        // Ten microseconds an access: two is over before the register is written.
        assert!(!Fake::timer(1000, 10).arm(Channel::One, 2));
        // Over when it is looked at, but it has matched: that counts.
        assert!(Fake::timer(1000, 10).arm(Channel::One, 15));
        assert!(Fake::timer(1000, 10).arm(Channel::One, 1000));
    }
}
