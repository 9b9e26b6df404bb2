//! The threads of `cyclictest`: as many cycles as were asked for, on a grid, and an end.

use crate::{check, ktest};
use stint::cyclictest::options::Options;
use stint::cyclictest::run;
use stint::smp;
use stint::task;
use stint::time::now_ns;

ktest! {
    fn threads_of_cyclictest_do_their_cycles_on_their_grids() {
        let options = Options::parse(&["-t2", "-p95", "-i500", "-d250", "-l20", "-h1000", "-q", "-N"], smp::online())
            .expect("these options are right");
        let begin_ns = now_ns();
        let reports = run(&options, |_| true)?;
        let took_ns = now_ns() - begin_ns;
        check!(reports.len() == 2, "{} reports; expected 2", reports.len());
        for report in &reports {
            let figures = report.figures;
            check!(figures.cycles == 20, "thread {} did {} cycles; expected 20", report.id, figures.cycles);
            check!(figures.min_ns <= figures.avg_ns() && figures.avg_ns() <= figures.max_ns, "{figures:?}");
            check!(report.rows.total() + report.rows.overflows == 20, "{:?} does not hold 20 cycles", report.rows);
        }
        // The second thread's grid is the longer one: 20 intervals of 750 us.
        check!(took_ns >= 15_000_000, "20 cycles of 750 us took {took_ns} ns");
    }
}

ktest! {
    fn a_thread_that_is_late_skips_to_the_future() {
        let options = Options::parse(&["-p10", "-i1000", "-l10", "-h900", "-q"], smp::online()).expect("these options are right");
        // Somebody more important holds the thread up for more than three of its intervals, once.
        let hog = task::build("hog").fifo(90).spawn(|| {
            task::sleep_ns(2_500_000);
            let end_ns = now_ns() + 3_600_000;
            while now_ns() < end_ns {}
        })?;
        let reports = run(&options, |_| true)?;
        hog.join();
        let (figures, rows) = (reports[0].figures, &reports[0].rows);
        check!(figures.cycles == 10, "{figures:?}; expected 10 cycles");
        check!(figures.overruns >= 2, "{figures:?}; expected at least two points to have been skipped");
        check!(figures.max_ns > 2_000_000, "{figures:?}; expected one wake-up to be late by what it was held up");
        check!(rows.overflows == 1, "{} wake-ups were later than 900 us; expected the one that was held up", rows.overflows);
    }
}

ktest! {
    fn cyclictest_without_an_end_is_stopped_from_outside() {
        let options = Options::parse(&["-p80", "-q"], smp::online()).expect("these options are right");
        let mut seen = 0;
        let reports = run(&options, |threads| {
            seen = threads[0].1.figures().cycles;
            seen < 50
        })?;
        check!(reports[0].figures.cycles >= seen && seen >= 50, "{} cycles, {seen} seen", reports[0].figures.cycles);
    }
}

ktest! {
    fn cyclictest_is_stopped_in_the_middle_of_a_long_cycle() {
        let options = Options::parse(&["-p80", "-q", "-i60000000"], smp::online()).expect("these options are right");
        let begin_ns = now_ns();
        let mut looks = 0;
        let reports = run(&options, |_| {
            looks += 1;
            looks < 3
        })?;
        let took_ns = now_ns() - begin_ns;
        check!(took_ns < 10_000_000_000, "stopped after {took_ns} ns of a cycle of a minute");
        check!(reports[0].figures.cycles == 0, "{} cycles; expected none", reports[0].figures.cycles);
    }
}
