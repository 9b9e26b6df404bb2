//! The log: bounded in any context, in order, drained by a thread.
//!
//! The test's own task is above the thread that drains, so it can look at what was logged before that one does.

use crate::framework::Failure;
use crate::framework::clock::{is_exact, tick_ns};
use crate::framework::interrupt::Interrupt;
use crate::{check, check_eq, ktest};
use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::drivers::console;
use stint::{klog, kprintln, task};

/// Takes everything out of the log.
fn drained() -> String {
    let mut text = String::new();
    klog::drain_to(&mut |arguments| {
        // Writing to a string does not fail.
        let _ = text.write_fmt(arguments);
    });
    text
}

/// Waits until the log is empty.
fn wait_for_the_drain() -> Result<(), Failure> {
    for _ in 0..100 {
        if !klog::pending() {
            return Ok(());
        }
        task::sleep_ns(tick_ns());
    }
    Err(Failure::new(format_args!("after a hundred ticks the log is not drained")))
}

ktest! {
    fn messages_from_an_interrupt_arrive_whole_and_in_order() {
        wait_for_the_drain()?;
        let interrupt = Interrupt::request(8, || log::warn!("from the handler"))?;
        log::info!("before {}", 1);
        interrupt.raise();
        log::error!("after {}", 2);
        let text = drained();
        let lines: alloc::vec::Vec<&str> = text.lines().collect();
        check_eq!(lines.len(), 3, "lines in {text:?}");
        for (line, (level, message)) in lines.iter().zip([("INFO", "before 1"), ("WARN", "from the handler"), ("ERROR", "after 2")]) {
            check!(line.contains(level) && line.ends_with(message), "found {line:?}, expected {level} and {message:?}");
        }
    }
}

ktest! {
    fn the_log_is_drained_by_itself() {
        wait_for_the_drain()?;
        log::info!("this line is drained by klogd");
        check!(klog::pending());
        wait_for_the_drain()?;
    }
}

ktest! {
    fn a_message_is_cut_at_its_limit_and_a_full_log_counts_what_it_loses() {
        wait_for_the_drain()?;
        let long = "x".repeat(10_000);
        log::info!("{long}");
        let text = drained();
        check!(text.len() < klog::MESSAGE_BYTES + 64 && text.contains("xxxx"), "a message of 10,000 bytes made {} bytes", text.len());
        for n in 0..1000 {
            log::info!("filling the ring, message {n} of a thousand");
        }
        let text = drained();
        check!(text.contains("message 0 of") && !text.contains("message 999 of"), "a full ring must keep the old and lose the new");
        check!(text.contains("messages lost"), "nothing says that messages were lost: {}", &text[text.len().saturating_sub(200)..]);
        log::info!("room again");
        check!(drained().ends_with("room again\n"));
    }
}

ktest! {
    /// With an exact clock: the time in a handler does not depend on how full the log is or how long the text would be.
    fn logging_in_a_handler_takes_a_bounded_time() {
        static WORST: AtomicU64 = AtomicU64::new(0);
        wait_for_the_drain()?;
        let long = "y".repeat(5_000);
        let interrupt = Interrupt::request(8, move || {
            let begun = arch::pmu::cycles();
            log::info!("{long}");
            WORST.fetch_max(arch::pmu::cycles().wrapping_sub(begun), Ordering::Relaxed);
        })?;
        for _ in 0..200 {
            interrupt.raise();
        }
        drop(drained());
        let worst = WORST.load(Ordering::Relaxed);
        check!(worst > 0);
        check!(!is_exact() || worst < 20_000, "a message from a handler took {worst} instructions");
    }
}

ktest! {
    fn messages_below_the_level_are_left_out() {
        wait_for_the_drain()?;
        let level = log::max_level();
        log::set_max_level(log::LevelFilter::Warn);
        log::info!("not this one");
        log::warn!("but this one");
        log::set_max_level(level);
        let text = drained();
        check!(!text.contains("not this one") && text.contains("but this one"), "found {text:?}");
    }
}

/// Prints 40 lines, some 3,400 bytes, and returns how many pieces of them the UART's interrupt has sent.
fn sent_by_interrupt() -> Option<u32> {
    let before = console::refills();
    for line in 0..40 {
        kprintln!(
            "line {line:2} of output that waits in a queue for the interrupt of the UART to take it away"
        );
    }
    embedded_io::Write::flush(&mut console::Console).ok()?;
    Some(console::refills().wrapping_sub(before))
}

ktest! {
    fn output_that_the_uart_has_no_room_for_is_sent_by_its_interrupt() {
        let mut pieces = sent_by_interrupt();
        if pieces == Some(0) {
            // An emulated UART's FIFO is never full: then all but the first byte of a piece is left to the interrupt.
            console::prefer_interrupt(true);
            pieces = sent_by_interrupt();
            console::prefer_interrupt(false);
        }
        check!(pieces.is_some_and(|pieces| pieces > 100), "{pieces:?} pieces were sent by the interrupt");
    }
}
