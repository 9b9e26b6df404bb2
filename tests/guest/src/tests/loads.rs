//! The loads of the `latency` command: each does something, and leaves nothing behind.

use crate::{check, ktest};
use core::iter::once;
use stint::irq::info::line_info;
use stint::latency::load::Running;
use stint::latency::params::Load;
use stint::task;

ktest! {
    fn every_load_runs_paths_until_it_is_stopped() {
        for load in Load::ALL {
            let running = Running::start(once(load))?;
            task::sleep_ms(20);
            let paths = running.stop();
            // The console load has left its cursor in a line, and the result of this test needs one of its own.
            stint::kprintln!();
            check!(paths > 0, "load {} ran {paths} paths in 20 ms; expected one at least", load.name());
        }
    }
}

ktest! {
    fn the_load_of_interrupt_threads_gives_its_line_back() {
        let lines = || (32..stint::irq::NR_IRQS as u32).filter_map(line_info).filter(|line| !line.unclaimed).count();
        let before = lines();
        let running = Running::start(once(Load::Irqthread))?;
        check!(lines() == before + 1, "{} lines are claimed under the load; expected {}", lines(), before + 1);
        task::sleep_ms(5);
        let _ = running.stop();
        check!(lines() == before, "{} lines are claimed after the load; expected {before}", lines());
    }
}
