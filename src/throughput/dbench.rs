//! `dbench`: many clients, small operations, one table.
//!
//! Every client has random numbers of its own with a fixed seed. The operations of a run are dealt out evenly beforehand
//! (or the clients stop when the time is up), so a run does the same in every model and, under icount, in every boot.
//! Behind each operation comes the scheduling point that the end of a system call would be.

use super::crew::{Crew, Outcome};
use super::params::Amount;
use super::table::{Table, Tally};
use crate::error::Result;
use crate::locking::Mutex;
use crate::preempt::cond_resched;
use crate::time;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

/// In a run that ends by the clock a client looks at it every so many operations.
const LOOK_OPS: u64 = 16;

/// What a run did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Time, operations, whether it was cut short.
    pub outcome: Outcome,
    /// What the operations were.
    pub tally: Tally,
}

impl Report {
    /// Operations in a second.
    #[must_use]
    pub fn ops_per_s(&self) -> u64 {
        (u128::from(self.outcome.done) * u128::from(time::NSEC_PER_SEC) / u128::from(self.outcome.ns.max(1)))
            as u64
    }
}

/// Runs so many clients. `go_on` is asked now and then; `false` ends the run early.
///
/// # Errors
/// No memory for the clients.
pub fn run(clients: usize, amount: Amount, go_on: impl FnMut() -> bool) -> Result<Report> {
    let table = Arc::new(Table::new());
    let total = Arc::new(Mutex::new(Tally::default()));
    let mut crew = Crew::new();
    for client in 0..clients {
        let (table, total) = (Arc::clone(&table), Arc::clone(&total));
        crew.add("dbench", move |stop| {
            let tally = operate(&table, client, share(amount, clients, client), stop);
            let mut total = total.lock();
            *total = total.plus(&tally);
            tally.ops()
        })?;
    }
    let outcome = crew.run(go_on);
    let tally = *total.lock();
    let (left, expected) = (table.census(), tally.leaves());
    assert_eq!(left, expected, "the table has {left:?}, the operations leave {expected:?}");
    Ok(Report { outcome, tally })
}

/// What one client does of it all.
fn share(amount: Amount, clients: usize, client: usize) -> Amount {
    match amount {
        Amount::For(_) => amount,
        Amount::Ops(ops) => {
            let (each, rest) = (ops / clients as u64, ops % clients as u64);
            Amount::Ops(each + u64::from((client as u64) < rest))
        }
    }
}

fn operate(table: &Table, client: usize, amount: Amount, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(client as u64 + 1);
    let (ops, until_ns) = match amount {
        Amount::Ops(ops) => (ops, u64::MAX),
        Amount::For(ns) => (u64::MAX, time::now_ns().saturating_add(ns)),
    };
    for op in 0..ops {
        let is_over = until_ns != u64::MAX && op.is_multiple_of(LOOK_OPS) && time::now_ns() >= until_ns;
        if is_over || stop.load(Ordering::Relaxed) {
            break;
        }
        table.operate(&mut state, &mut tally);
        cond_resched();
    }
    tally
}
