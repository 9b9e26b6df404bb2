//! Functions called on other CPUs.

use super::Scene;
use super::cast::Cast;
use crate::framework::Outcome;

pub const SCENE: Scene = Scene { name: "calls", start, release: || (), check };

fn start(_: &mut Cast) -> stint::Result<()> {
    Ok(())
}

fn check() -> Outcome {
    Ok(())
}
