//! The block against a model of itself and of the clock manager.

use core::cell::{Cell, RefCell};
use std::string::ToString;

use super::*;
use crate::drivers::pace::fake::FakePace;

#[derive(Default)]
struct FakePwm {
    words: RefCell<[u32; 10]>,
}

impl Registers for &FakePwm {
    fn read(&self, offset: usize) -> u32 {
        self.words.borrow()[offset / 4]
    }

    fn write(&self, offset: usize, value: u32) {
        self.words.borrow_mut()[offset / 4] = value;
    }
}

/// The clock goes on for some looks after it was told to stop.
#[derive(Default)]
struct FakeClocks {
    control: Cell<u32>,
    divisor: Cell<u32>,
    busy: Cell<u32>,
    looks_to_stop: Cell<u32>,
}

impl Registers for &FakeClocks {
    fn read(&self, offset: usize) -> u32 {
        assert_eq!(offset, CLOCK_CONTROL);
        if self.control.get() & CLOCK_ENABLE == 0 {
            self.busy.set(self.busy.get().saturating_sub(1));
        }
        self.control.get() | if self.busy.get() > 0 { CLOCK_BUSY } else { 0 }
    }

    fn write(&self, offset: usize, value: u32) {
        if value >> 24 != 0x5a {
            return;
        }
        let value = value & 0xff_ffff;
        match offset {
            CLOCK_CONTROL => {
                if self.busy.get() > 0 {
                    assert_eq!(
                        self.control.get() & 0xf,
                        value & 0xf,
                        "the source changes under a running clock"
                    );
                }
                self.control.set(value);
                if value & CLOCK_ENABLE != 0 {
                    self.busy.set(self.looks_to_stop.get().max(1));
                }
            }
            CLOCK_DIVISOR => {
                assert_eq!(self.busy.get(), 0, "the divisor changes under a running clock");
                assert_eq!(value & 0xfff, 0, "a fraction makes periods of different lengths");
                self.divisor.set(value >> 12);
            }
            _ => panic!("{offset:#x} is another device's"),
        }
    }
}

fn with_pwm(test: impl FnOnce(&FakePwm, &FakeClocks, &mut Pwm<&FakePwm, &FakeClocks, &FakePace>)) {
    let (block, clocks, pace) = (FakePwm::default(), FakeClocks::default(), FakePace::default());
    clocks.looks_to_stop.set(30);
    let mut pwm = Pwm::new(&block, &clocks, &pace);
    test(&block, &clocks, &mut pwm);
}

#[test]
fn frequencies_are_made_as_finely_as_they_can_be() {
    let of = |hz| Timing::of(hz).unwrap();
    assert_eq!(of(50), Timing { divisor: 17, ticks: 63529 });
    assert_eq!(of(1_000), Timing { divisor: 2, ticks: 27_000 });
    assert_eq!(of(20_000), Timing { divisor: 2, ticks: 1_350 });
    assert_eq!(of(HZ_MAX), Timing { divisor: 2, ticks: 100 });
    assert_eq!([50, 1_000].map(of).map(|timing| (timing.hz(), timing.tick_ns())), [(50, 314), (1_000, 37)]);
    for hz in [0, HZ_MAX + 1, u32::MAX] {
        assert_eq!(Timing::of(hz), Err(PwmError::Frequency(hz)));
    }
    assert_eq!(PwmError::Frequency(0).to_string(), "0 Hz cannot be made; 1 to 270000 can");
    for hz in (HZ_MIN..2000).chain((2000..=HZ_MAX).step_by(77)) {
        let Timing { divisor, ticks } = of(hz);
        // Off by half a tick at most, and by what the division of the oscillator leaves.
        let made_mhz = u64::from(OSCILLATOR_HZ) * 1000 / u64::from(divisor) / u64::from(ticks);
        let off = made_mhz.abs_diff(u64::from(hz) * 1000);
        assert!(
            off <= u64::from(hz) * 1000 / u64::from(ticks) + 1,
            "{hz}: {divisor} {ticks}, off by {off} mHz"
        );
        assert!((2..=4095).contains(&divisor) && ticks >= 100, "{hz}");
    }
}

#[test]
fn a_pulse_is_set_on_its_channel_alone_and_in_one_piece() {
    with_pwm(|block, clocks, pwm| {
        assert_eq!(pwm.start(1_000).unwrap().ticks, 27_000);
        assert_eq!((clocks.divisor.get(), clocks.control.get()), (2, OSCILLATOR | CLOCK_ENABLE));
        let mut channel = pwm.channel(1).unwrap();
        channel.set_duty_cycle_percent(25).unwrap();
        assert_eq!(*block.words.borrow(), [0x8100, 0, 0, 0, 0, 0, 0, 0, 27_000, 6_750]);
        pwm.channel(0).unwrap().set_duty_cycle_fully_on().unwrap();
        assert_eq!(block.words.borrow()[..6], [0x8181, 0, 0, 0, 27_000, 27_000]);
        assert!(pwm.channel(2).is_none());
    });
}

#[test]
fn a_new_frequency_stops_the_clock_and_silences_both_channels() {
    with_pwm(|block, clocks, pwm| {
        pwm.start(1_000).unwrap();
        pwm.channel(0).unwrap().set_duty_cycle(100).unwrap();
        // The other channel at the same frequency.
        pwm.start(1_000).unwrap();
        assert_eq!(block.words.borrow()[0], 0x81);
        pwm.start(50).unwrap();
        assert_eq!((block.words.borrow()[0], clocks.divisor.get()), (0, 17));
        assert_eq!(pwm.channel(0).unwrap().max_duty_cycle(), 63_529);
        pwm.stop().unwrap();
        assert_eq!(clocks.control.get() & CLOCK_ENABLE, 0);
    });
}

#[test]
fn a_pulse_longer_than_its_period_and_one_before_the_start_are_refused() {
    with_pwm(|block, _, pwm| {
        let mut early = pwm.channel(0).unwrap();
        assert_eq!(early.set_duty_cycle(0), Err(PwmError::Duty { duty: 0, max: 0 }));
        pwm.start(20_000).unwrap();
        let mut channel = pwm.channel(0).unwrap();
        assert_eq!(channel.set_duty_cycle(1_351), Err(PwmError::Duty { duty: 1_351, max: 1_350 }));
        assert_eq!(block.words.borrow()[0], 0);
    });
}

#[test]
fn a_clock_that_does_not_stop_is_reported() {
    with_pwm(|block, clocks, pwm| {
        clocks.looks_to_stop.set(u32::MAX);
        pwm.start(50).unwrap();
        assert_eq!(pwm.start(60), Err(PwmError::Clock(OSCILLATOR | CLOCK_BUSY)));
        assert_eq!(block.words.borrow()[0], 0);
        // A channel has no clock then.
        assert_eq!(pwm.channel(0).unwrap().max_duty_cycle(), 0);
    });
}
