//! No store releases.

mod sync {
    crate::sync!(|order| match order {
        Ordering::Release => Ordering::Relaxed,
        Ordering::AcqRel => Ordering::Acquire,
        other => other,
    });
}

#[path = "../../../src/smp/llist.rs"]
mod llist;
#[path = "../../../arch/host/src/ticket.rs"]
mod ticket;

#[path = "models/mod.rs"]
mod models;

/// Every model fails.
macro_rules! fails {
    ($($name:ident = $model:path;)*) => {$(
        #[test]
        #[should_panic(expected = "")]
        fn $name() {
            crate::model($model);
        }
    )*};
}

fails! {
    lock_needs_the_release = models::lock::sections;
    lock_that_was_tried_needs_the_release = models::lock::tries;
    call_needs_the_release = models::call::two_callers;
    wake_list_needs_the_release = models::wake_list::two_wakers;
    handoff_needs_the_release = models::handoff::sleeper_and_waker;
    filing_needs_the_release = models::handoff::waiter_and_granter;
}
