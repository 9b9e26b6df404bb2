//! Tests of reading serial logs, good and spoilt.

use super::*;
use proptest::prelude::*;

const BOOT: &str = "\r\nMESS:00:00:01: firmware\r\n\
    Stint 0.1.0, a preemptible kernel for AArch64 that measures what it claims\r\n\
    \x20 board    raspberrypi,4-model-b, entered at EL2\r\n\
    \x20 cpu      Cortex-A72, number 0 of 4, 1500 MHz\r\n\
    \x20 clocks   counter 54 MHz, tick 250 Hz\r\n\
    Ctrl-A X leaves QEMU\r\n\r\n";
const WAKEUP_LINE: &str = "result latency.wakeup 1795 ns min=383 avg=657 p50=607 p99=1535 p999=1727 max=1795 n=3 \
    missed=0 load=all period_ns=1000000 burn=0 preempt=full";
const HIST_LINE: &str = "hist latency.wakeup ns n=3 load=all 383:2 1792:1";
const PLOT_LINE: &str = "plot latency.wakeup ns fragments=3 load=all 383 1795 600";

fn log(lines: &[&str]) -> Log {
    read(format!("{BOOT}{}\r\n", lines.join("\r\n")).as_bytes())
}

#[test]
fn a_run_has_its_figures_its_pictures_and_its_board() {
    let log = log(&[WAKEUP_LINE, HIST_LINE, PLOT_LINE, "result bench.yield 9 insn min=9 max=9 n=5"]);
    assert_eq!((log.boots.len(), log.banners, log.damaged.as_slice()), (1, 1, &[][..]));
    let boot = &log.boots[0];
    assert_eq!(boot.fact("cpu"), Some("Cortex-A72, number 0 of 4, 1500 MHz"));
    assert!(boot.conditions().starts_with("raspberrypi,4-model-b, entered at EL2 · Cortex-A72"));
    assert_eq!(boot.runs[0].number("max"), 1795);
    assert_eq!(boot.runs[0].histogram.as_ref().unwrap().points, [(383, 2), (1792, 1)]);
    assert_eq!(boot.runs[0].plot.as_ref().unwrap().points, [383, 1795, 600]);
    assert_eq!(boot.others[0].name, "bench.yield");
}

#[test]
fn every_boot_keeps_its_own_figures_and_one_without_any_is_only_counted() {
    let text = format!("{BOOT}{WAKEUP_LINE}\n{BOOT}nothing\n{BOOT}{WAKEUP_LINE}\n{WAKEUP_LINE}\n");
    let log = read(text.as_bytes());
    assert_eq!(log.banners, 3);
    assert_eq!(log.boots.iter().map(|boot| boot.runs.len()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn figures_without_a_banner_are_kept_and_say_that_the_board_is_unknown() {
    let log = read(WAKEUP_LINE.as_bytes());
    assert!(log.boots[0].conditions().contains("unknown"));
}

#[test]
fn what_was_written_over_or_coloured_is_read_as_it_was_seen() {
    let over = format!("  fragment 10 of 1000\r                  \r\x1b[1m{WAKEUP_LINE}\x1b[0m");
    assert_eq!(log(&[&over]).boots[0].runs.len(), 1);
    assert_eq!(log(&[&format!("\0\0{WAKEUP_LINE}")]).boots[0].runs.len(), 1);
}

#[test]
fn a_line_that_was_cut_or_spoilt_is_named_and_not_used() {
    let reason = |line: &str| {
        let log = log(&["x", line]);
        assert!(log.boots.is_empty(), "{line} was used");
        assert_eq!(log.damaged.len(), 1, "{line}");
        assert_eq!(log.damaged[0].line, 10);
        log.damaged[0].reason.clone()
    };
    assert_eq!(reason(&WAKEUP_LINE[..80]), "it lacks n=");
    assert_eq!(reason("result latency.wakeup 17"), "it is not complete");
    assert_eq!(reason(&WAKEUP_LINE.replace("=full", "=fu")), "preempt=fu is cut off");
    assert_eq!(
        reason(&WAKEUP_LINE.replace("max=1795", "max=17\u{7}5")),
        "it has bytes that no such line has"
    );
    assert!(reason(&WAKEUP_LINE.replace("max=1795", "max=179")).contains("contradict"));
    assert!(reason(&WAKEUP_LINE.replace("p99=1535", "p99=x")).contains("p99=x is no number"));
    assert!(reason(HIST_LINE).contains("follows no run"));
    assert_eq!(reason("hist latency.wakeup ns n=3 load=all 383:2 17"), "it is not complete");
}

#[test]
fn pictures_that_do_not_fit_the_figures_are_not_drawn() {
    let log = log(&[WAKEUP_LINE, &HIST_LINE.replace("383:2", "383:1"), &PLOT_LINE.replace("1795", "1796")]);
    assert_eq!((&log.boots[0].runs[0].histogram, &log.boots[0].runs[0].plot), (&None, &None));
    assert_eq!(log.damaged[0].reason, "its buckets hold 2 values of 3");
    assert_eq!(log.damaged[1].reason, "its worst value is 1796, that of the run 1795");
    let log = self::log(&[WAKEUP_LINE, &HIST_LINE.replace("383:2", "383:18446744073709551615")]);
    assert_eq!(log.damaged[0].reason, "its buckets hold 18446744073709551615 values of 3");
}

#[test]
fn the_end_of_a_log_may_be_in_the_middle_of_a_line() {
    let log = read(format!("{WAKEUP_LINE}\nresult bench.yield 9 insn min=9 ma").as_bytes());
    assert_eq!((log.boots[0].runs.len(), log.boots[0].others.len()), (1, 0));
    assert!(log.damaged[0].reason.contains("ends in the middle"));
}

#[test]
fn sentences_are_no_damage() {
    assert!(log(&["result of the day", "plot twists", "a hist latency.wakeup"]).damaged.is_empty());
}

proptest! {
    #[test]
    fn no_log_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..900) {
        let good = format!("{BOOT}{WAKEUP_LINE}\n{HIST_LINE}\n{PLOT_LINE}\n");
        let mut spoilt = good.as_bytes()[..cut.min(good.len())].to_vec();
        spoilt.extend(&bytes);
        spoilt.extend(good.as_bytes());
        let log = read(&spoilt);
        // Whatever came before, a whole boot behind it is read.
        prop_assert_eq!(log.boots.last().map(|boot| boot.runs.last().unwrap().number("max")), Some(1795));
    }
}

#[test]
fn an_explanation_must_have_all_its_parts_and_they_must_add_up() {
    let parts: String = PARTS.iter().map(|part| format!(" {part}=2")).collect();
    let good = format!("result latency.blame 32 ns fragment=3 load=all preempt=full{parts} by=a/1 at=f\n");
    let log = read(good.as_bytes());
    assert_eq!((log.damaged.len(), log.boots[0].others[0].value), (0, 32.0));
    for (from, to, reason) in [
        (" wake=2", "", "it lacks wake="),
        (" wake=2", " wake=3", "its parts add up to 33, and it is 32"),
        (" wake=2", " wake=2x", "wake=2x is no number"),
    ] {
        let log = read(good.replace(from, to).as_bytes());
        assert_eq!((log.boots.len(), log.damaged[0].reason.as_str()), (0, reason));
    }
}
