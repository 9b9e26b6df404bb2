//! Whether two pins are connected, and one round over the wire.
//!
//! Context: threads.

use core::fmt;

use embedded_hal::digital::InputPin;

use crate::drivers::bcm2711::gpio::{Edge, Pull};
use crate::drivers::bcm2711::gpio_pins::{Input, Level, Output};
use crate::drivers::mmio::Registers;
use crate::sched::wait::Timeout;

/// What an input shows while the output is driven against its pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is high while the output drives low, and the input is pulled up.
    pub high_at_low: bool,
    /// Whether it is high while the output drives high, and the input is pulled down.
    pub high_at_high: bool,
}

impl Seen {
    /// Whether the input follows the output.
    #[must_use]
    pub fn is_wired(self) -> bool {
        !self.high_at_low && self.high_at_high
    }
}

/// `the input follows the output`, or how it does not.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match (self.high_at_low, self.high_at_high) {
            (false, true) => "the input follows the output",
            (true, false) => "no wire: the input follows its own pull and not the output",
            (false, false) => "no wire: the input stays low whatever the output drives",
            (true, true) => "no wire: the input stays high whatever the output drives",
        })
    }
}

/// Drives both levels against the opposite pull, and looks. `settle` waits as long as a pull needs for a pin: some
/// microseconds. Leaves the output low and the input without a pull.
pub fn look<R: Registers>(
    output: &mut Output<'_, R>,
    input: &mut Input<'_, R>,
    mut settle: impl FnMut(),
) -> Seen {
    let mut at = |level, against| {
        output.drive(level);
        input.set_pull(against);
        settle();
        input.is_high() == Ok(true)
    };
    let high_at_low = at(Level::Low, Pull::Up);
    let high_at_high = at(Level::High, Pull::Down);
    at(Level::Low, Pull::None);
    Seen { high_at_low, high_at_high }
}

/// A moment of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the edge.
    Begin,
    /// The task runs again.
    Woken,
    /// The answering edge can be read at the input.
    Answered,
}

/// The parts of a round, in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// From before the edge to the interrupt's handler.
    pub to_handler: u64,
    /// From there to the task.
    pub to_task: u64,
    /// From there until its answer is at the input.
    pub to_answer: u64,
}

impl Round {
    /// From before the edge until the answer is at the input.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.to_handler + self.to_task + self.to_answer
    }
}

/// Why a round has no times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// No interrupt came.
    NoInterrupt,
    /// The handler ran on another CPU, whose counter is another one.
    OtherCpu(usize),
    /// The output was driven low and the input stayed high.
    NoAnswer,
}

/// Looks at the answer before it is given up: each is a read of a device, some 100 ns.
const ANSWER_LOOKS: u32 = 1000;

/// One round: an edge, the wait for it, and the answer. The input listens for rising edges; the output is low, and low
/// again behind. `now` is asked for the cycle counter of the CPU with the number `cpu`; `sent` is called when the edge is
/// on its way.
///
/// # Errors
/// See [`Missed`].
pub fn round<R: Registers>(
    output: &mut Output<'_, R>,
    input: &mut Input<'_, R>,
    cpu: usize,
    timeout: Timeout,
    mut now: impl FnMut(Moment) -> u64,
    sent: impl FnOnce(),
) -> Result<Round, Missed> {
    let begin = now(Moment::Begin);
    output.drive(Level::High);
    sent();
    let edge = input.wait(timeout);
    let woken = now(Moment::Woken);
    output.drive(Level::Low);
    let answered = (0..ANSWER_LOOKS).any(|_| input.is_low() == Ok(true));
    let end = now(Moment::Answered);
    let Edge { handler_cycles, cpu: handler_cpu, .. } = edge.map_err(|_| Missed::NoInterrupt)?;
    if handler_cpu != cpu {
        return Err(Missed::OtherCpu(handler_cpu));
    }
    if !answered {
        return Err(Missed::NoAnswer);
    }
    Ok(Round {
        to_handler: handler_cycles.saturating_sub(begin),
        to_task: woken.saturating_sub(handler_cycles),
        to_answer: end.saturating_sub(woken),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::bcm2711::gpio::{Edges, Gpio};
    use crate::drivers::bcm2711::gpio_fake::Fake;
    use std::string::ToString;

    const OUT: usize = 17;
    const IN: usize = 27;

    fn pins(wires: &[(usize, usize)]) -> Gpio<Fake> {
        let fake = Fake::new();
        fake.wires.borrow_mut().extend_from_slice(wires);
        Gpio::new(fake)
    }

    fn seen(gpio: &Gpio<Fake>) -> Seen {
        let mut output = gpio.claim(OUT as u8).unwrap().into_output(Level::Low);
        let mut input = gpio.claim(IN as u8).unwrap().into_input(Pull::None);
        let seen = look(&mut output, &mut input, || {});
        assert_eq!(gpio.pull(IN as u8), Some(Pull::None));
        assert!(!gpio.is_high(OUT as u8));
        seen
    }

    #[test]
    fn a_wire_is_seen_against_both_pulls() {
        assert!(seen(&pins(&[(OUT, IN)])).is_wired());
    }

    #[test]
    fn without_a_wire_the_input_follows_its_pull() {
        let seen = seen(&pins(&[(OUT, 5)]));
        assert!(!seen.is_wired());
        assert!(seen.to_string().contains("follows its own pull"), "{seen}");
    }

    #[test]
    fn an_input_that_somebody_else_holds_is_not_wired() {
        for (level, says) in [(Level::Low, "stays low"), (Level::High, "stays high")] {
            let gpio = pins(&[(6, IN)]);
            let _holder = gpio.claim(6).unwrap().into_output(level);
            let seen = seen(&gpio);
            assert!(!seen.is_wired() && seen.to_string().contains(says), "{seen}");
        }
    }

    /// A round on a CPU whose handler runs on `handler_cpu`, if at all.
    fn one(wires: &[(usize, usize)], handler_cpu: Option<usize>) -> Result<Round, Missed> {
        let gpio = pins(wires);
        let mut output = gpio.claim(OUT as u8).unwrap().into_output(Level::Low);
        let mut input = gpio.claim(IN as u8).unwrap().into_input(Pull::Down);
        input.listen(Edges::Rising).unwrap();
        let result = round(
            &mut output,
            &mut input,
            2,
            Timeout::Now,
            |moment| match moment {
                Moment::Begin => 1000,
                Moment::Woken => 1750,
                Moment::Answered => 1800,
            },
            || {
                if let Some(cpu) = handler_cpu {
                    gpio.handle(0, 1300, 0, cpu);
                }
            },
        );
        assert!(!gpio.is_high(OUT as u8), "the output is low behind a round");
        result
    }

    #[test]
    fn a_round_is_the_edge_the_handler_the_task_and_the_answer() {
        let round = one(&[(OUT, IN)], Some(2)).unwrap();
        assert_eq!(round, Round { to_handler: 300, to_task: 450, to_answer: 50 });
        assert_eq!(round.whole(), 800);
    }

    #[test]
    fn a_round_without_its_interrupt_or_with_another_cpus_has_no_times() {
        assert_eq!(one(&[(OUT, IN)], None), Err(Missed::NoInterrupt));
        assert_eq!(one(&[], Some(2)), Err(Missed::NoInterrupt));
        assert_eq!(one(&[(OUT, IN)], Some(3)), Err(Missed::OtherCpu(3)));
    }

    #[test]
    fn an_answer_that_does_not_arrive_is_none() {
        let gpio = pins(&[(OUT, IN)]);
        let mut output = gpio.claim(OUT as u8).unwrap().into_output(Level::Low);
        let mut input = gpio.claim(IN as u8).unwrap().into_input(Pull::Up);
        input.listen(Edges::Rising).unwrap();
        // The wire comes off behind the edge, and the pull holds the input up.
        let result = round(
            &mut output,
            &mut input,
            0,
            Timeout::Now,
            |_| 0,
            || {
                gpio.handle(0, 0, 0, 0);
                gpio.unwire();
            },
        );
        assert_eq!(result, Err(Missed::NoAnswer));
    }
}
