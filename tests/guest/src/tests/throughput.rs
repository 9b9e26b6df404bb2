//! The jobs of `dbench` and `hackbench`: they do what they were told, all of it and nothing more.

use crate::{check, ktest};
use stint::throughput::params::{Amount, Hackbench};
use stint::throughput::table::{BLOCKS, Census, PLACES, Table, Tally};
use stint::throughput::{dbench, hackbench};

ktest! {
    fn the_clients_of_dbench_share_its_operations_and_lose_none() {
        // Not a multiple of the clients. The table itself is compared with the operations at the end of a run.
        let report = dbench::run(3, Amount::Ops(1000), || true)?;
        check!(report.outcome.done == 1000, "{} operations were done; expected 1000", report.outcome.done);
        check!(report.tally.ops() == 1000, "{:?} are {} operations; expected 1000", report.tally, report.tally.ops());
        check!(!report.outcome.stopped && report.outcome.ns > 0, "{:?}", report.outcome);
        let tally = report.tally;
        check!(tally.made > 0 && tally.written > 0 && tally.read > 0, "{tally:?}: expected some of each");
        check!(tally.idle < 500, "{tally:?}: half of the operations had nothing to do");
    }
}

ktest! {
    fn fewer_operations_than_clients_are_done_all_the_same() {
        let report = dbench::run(5, Amount::Ops(2), || true)?;
        check!(report.outcome.done == 2, "{} operations were done; expected 2", report.outcome.done);
    }
}

ktest! {
    fn dbench_ends_when_its_time_is_up() {
        let report = dbench::run(2, Amount::For(20_000_000), || true)?;
        let ns = report.outcome.ns;
        check!((20_000_000..200_000_000).contains(&ns), "it took {ns} ns; expected 20 ms and a little");
        check!(report.outcome.done > 0, "no operation was done in {ns} ns");
    }
}

ktest! {
    fn a_table_does_not_grow_without_end_and_forgets_nothing() {
        let table = Table::new();
        let (mut tally, mut state) = (Tally::default(), 1);
        for _ in 0..20_000 {
            table.operate(&mut state, &mut tally);
        }
        let Census { files, blocks } = table.census();
        check!(Census { files, blocks } == tally.leaves(), "{files} files, {blocks} blocks; the operations leave {:?}", tally.leaves());
        check!(files <= PLACES as u64 && blocks <= files * BLOCKS as u64, "{files} files, {blocks} blocks are too many");
    }
}

ktest! {
    fn every_message_of_hackbench_arrives() {
        let params = Hackbench { groups: 2, pairs: 4, loops: 5 };
        let outcome = hackbench::run(params, || true)?;
        check!(outcome.done == 160 && !outcome.stopped, "{} messages came; expected 2 * 4 * 4 * 5", outcome.done);
    }
}

ktest! {
    fn hackbench_can_be_stopped_and_leaves_nobody_behind() {
        let tasks = || {
            let mut count = 0;
            stint::task::for_each(|_| count += 1);
            count
        };
        let before = tasks();
        let params = Hackbench { groups: 1, pairs: 4, loops: 10_000_000 };
        let outcome = hackbench::run(params, || false)?;
        check!(outcome.stopped && outcome.done < params.messages(), "{outcome:?}; expected it to have been stopped");
        // Each sender's last message went to each receiver.
        check!(outcome.done >= 16, "{} messages came; expected each sender's last one at least", outcome.done);
        check!(tasks() == before, "{} tasks are left; {before} were there before", tasks());
    }
}
