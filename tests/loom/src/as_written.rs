//! The orderings as they are in the kernel.

mod sync {
    crate::sync!(|order| order);
}

#[path = "../../../src/smp/llist.rs"]
mod llist;
#[path = "../../../arch/host/src/ticket.rs"]
mod ticket;

#[path = "models/mod.rs"]
mod models;

/// Every model holds.
macro_rules! holds {
    ($($name:ident = $model:path;)*) => {$(
        #[test]
        fn $name() {
            crate::model($model);
        }
    )*};
}

holds! {
    lock_keeps_sections_apart = models::lock::sections;
    lock_that_was_tried_keeps_sections_apart = models::lock::tries;
    call_is_over_before_the_caller_goes_on = models::call::two_callers;
    call_to_a_cpu_that_goes_is_run_or_refused = models::call::one_goes;
    wake_list_loses_nobody = models::wake_list::two_wakers;
    handoff_wakes_who_sleeps = models::handoff::sleeper_and_waker;
    handoff_finds_asleep_who_is_filed = models::handoff::waiter_and_granter;
    handoff_is_not_disturbed_by_a_third = models::handoff::with_a_third;
}
