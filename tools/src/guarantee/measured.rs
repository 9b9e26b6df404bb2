//! What was measured, beside what was computed: a bound that a run exceeds is none.
//!
//! Each model that preempts is booted under icount. `latency` runs all loads at once with preempt-stats off and gives the
//! worst wake-up; then each load runs with preempt-stats on, which gives the longest time with interrupts masked, and the
//! longest wait of a request to switch. (Sections as preempt-stats has them are not compared: one that serves softirqs is
//! as long as nobody waits for its end.)
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::bound::Bounds;
use crate::bootargs::{self, Wishes};
use crate::lines;
use crate::machine::Machine;
use crate::qemu::{self, End, Limits, Payload};
use crate::suite;

/// Until a guest is given up.
const LIMITS: Limits = Limits { total: Duration::from_secs(900), silence: Duration::from_secs(300) };
/// The loads of `latency`; all at once by the last.
const LOADS: [&str; 10] =
    ["memcpy", "alloc", "console", "timer", "message", "task", "softirq", "irqthread", "pi", "all"];

/// The worst that runs of one model showed, in instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Interrupts masked.
    pub irqs: u64,
    /// A request to switch waited for a scheduling point.
    pub request: u64,
    /// From the expiry of a timer to the first instruction of the highest task.
    pub wake: u64,
}

/// Boots `image` in a model and measures. `fragments`: wake-ups for each load.
///
/// # Errors
/// When the guest does not end by itself, or a result is missing.
pub fn measure(image: &Path, model: &str, fragments: u32) -> Result<Measured> {
    let mut command = format!("latency period=1013us fragments={fragments} load=all; preempt-stats on");
    for load in LOADS {
        command += &format!("; latency period=1013us fragments={fragments} load={load}");
    }
    command += "; preempt-stats";
    let extra = format!("preempt={model}");
    let bootargs = bootargs::compose(&Wishes { command: Some(&command), extra: &extra, interactive: false })?;
    let captured =
        qemu::capture(qemu::command(&Machine::measuring(), Payload::Image(image), &bootargs), LIMITS)?;
    let results = lines::results(&captured.console);
    if captured.end != End::Exited(0) {
        bail!("{} in the model {model}\n{}", captured.end, suite::excerpt(&captured.console));
    }
    let first =
        |name: &str| results.iter().find(|result| result.name == name).map(|result| result.value as u64);
    let found = |name: &str| {
        first(name).ok_or_else(|| {
            anyhow::anyhow!(
                "no line `result {name} …` in the model {model}\n{}",
                suite::excerpt(&captured.console)
            )
        })
    };
    Ok(Measured {
        irqs: found("preempt_stats.irqsoff")?,
        request: found("preempt_stats.request")?,
        wake: found("latency.wakeup")?,
    })
}

/// Judges a measurement by the bounds of its model.
///
/// # Errors
/// When it exceeds one, with both numbers.
pub fn check(model: &str, bounds: &Bounds, measured: &Measured) -> Result<()> {
    let of = |name: &str| bounds.value(name).unwrap_or(0);
    // It is made in an interrupt, and waits for the end of that and of the section that was interrupted.
    let request = of("section") + of("softirq") + of("irq_to_task");
    for (what, measured, bound) in [
        ("interrupts were masked for", measured.irqs, of("irqs")),
        ("a request to switch waited for", measured.request, request),
        ("a wake-up took", measured.wake, of("wake")),
    ] {
        ensure!(
            measured <= bound,
            "in the model {model} {what} {measured} instructions, and the bound that was computed is {bound}: the \
             analysis has missed a path"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::bound::Figure;
    use super::*;

    fn bounds() -> Bounds {
        let figure = |name, value| Figure { name, value, path: Vec::new() };
        let figures =
            ["irqs", "section", "softirq", "irq_to_task", "wake"].map(|name| figure(name, 100)).to_vec();
        Bounds { figures, ..Bounds::default() }
    }

    #[test]
    fn a_measurement_above_its_bound_is_an_error_with_both_numbers() {
        let fine = Measured { irqs: 100, request: 300, wake: 100 };
        assert!(check("full", &bounds(), &fine).is_ok());
        for (worse, number) in [
            (Measured { irqs: 101, ..fine }, "101"),
            (Measured { request: 301, ..fine }, "301"),
            (Measured { wake: 102, ..fine }, "102"),
        ] {
            let message = check("full", &bounds(), &worse).unwrap_err().to_string();
            assert!(message.contains(number) && message.contains("computed is"), "{message}");
        }
    }
}
