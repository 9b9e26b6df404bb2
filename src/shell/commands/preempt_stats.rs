//! `preempt-stats`: sections in which nobody else can run.
#![forbid(unsafe_code)]

use crate::preempt_stats::order::Order;
use crate::preempt_stats::{self, report};
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;

pub(super) fn preempt_stats(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let done = match Order::parse(args)? {
        Order::Top => return Ok(report::top(terminal)?),
        Order::Reset => {
            preempt_stats::reset();
            return Ok(());
        }
        Order::On => preempt_stats::on(),
        Order::Off => preempt_stats::off(),
        Order::Budget(us) => preempt_stats::set_budget(us),
    };
    done.map_err(|failure| Failure::new(format_args!("{failure}")))
}
