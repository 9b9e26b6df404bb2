//! The guarantee (docs/latency.md): it can be computed from the image, it has not grown, and no run exceeds it.

use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::Trial;
use stint_tools::cargo;
use stint_tools::guarantee::limits::Limits;
use stint_tools::guarantee::{self, Computed, measured};

use crate::boot::{STINT, Shared, built, message, shared};

/// Wake-ups for each load: enough for every path to be met, since the runs are the same every time.
const FRAGMENTS: u32 = 100;

/// One trial for the bound, and one for each model that has one.
pub fn trials(followers: &mut Vec<Trial>) {
    let cell: Shared<Arc<Vec<Computed>>> = Arc::default();
    let compute = move || {
        shared(&cell, || {
            let limits = limits()?;
            let computed = guarantee::compute(&built(&STINT)?.elf, &limits)?;
            guarantee::check(&computed, &limits)?;
            Ok(Arc::new(computed))
        })
    };
    let of_bound = compute.clone();
    followers.push(Trial::test("guarantee::the_bound_is_computed_and_has_not_grown", move || {
        let computed = of_bound()?;
        limits().and_then(|limits| guarantee::check_committed(&computed, &limits)).map_err(message)
    }));
    for model in ["full", "rt"] {
        let compute = compute.clone();
        followers.push(Trial::test(format!("guarantee::no_run_exceeds_the_bound_of_{model}"), move || {
            let computed = compute()?;
            judge(&computed, model).map_err(message)
        }));
    }
}

fn limits() -> Result<Limits> {
    Limits::read(&cargo::root()?)
}

fn judge(computed: &[Computed], model: &str) -> Result<()> {
    let one = computed.iter().find(|one| one.model.name == model).context("no such model")?;
    let measured = measured::measure(&built(&STINT)?.image, model, FRAGMENTS)?;
    measured::check(model, &one.bounds, &measured)
}
