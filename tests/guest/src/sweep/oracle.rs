//! When H had to run: judged from the runs of all N together.
//!
//! A path does the same in every run until it is interrupted, so the runs together are a map of the path:
//! the run of N says what count and mask there are after N instructions. With the map, each run has one
//! right answer:
//!
//! * interrupted with count 0: the return from the interrupt must switch to H: `direct` instructions later;
//! * with a count: H runs when the path comes to the first later place where the map shows count 0 — not
//!   before, and then at once: `deferred` instructions, and the way there;
//! * in a softirq: likewise, but it is the return from the interrupt that the softirq ends: `softirq` instructions
//!   and the way to the first place behind that return; if the path itself switches there, H comes in the other
//!   task's stead, which must make the same difference at every such point of a path;
//! * in the idle loop: `idle` instructions later;
//! * with interrupts masked, the interrupt itself is late; where it is taken then counts as above.
//!
//! In all these paths, a task that was interrupted with count 0 must still be within the interrupt when H runs. Where other CPUs
//! take part that is all that can be said of the way to H: how far they are when the interrupt comes depends on when it is due.
//!
//! A timer that goes off between handler and H is served before H, by a CPU that knows no order among
//! interrupts. What it costs must be the same at every such point of a path.
//!
//! Context: any; arithmetic.
#![forbid(unsafe_code)]

use crate::calibrate::Constants;
use crate::others;
use crate::path::{Path, Wrong};
use crate::run::{Point, Points};

/// How far a run may be from the right answer, in instructions, both ways.
///
/// The calibration is exact, but a handful of instructions between handler and H depend on what the
/// interrupted code was doing: a second request finds the flag set and skips the exclusive pair and the
/// store (and, in a debug build, their checks); a lock's guard has more to put back before it looks at the
/// word than a bare `preempt_enable`; the idle loop is left at another place. A missed preemption costs the
/// way to the next one: more than that everywhere but in the last instructions of a path.
pub const SLACK: u64 = if cfg!(debug_assertions) { 24 } else { 16 };

/// What the runs of a path have shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    /// Switched at the return from the interrupt.
    pub direct: u64,
    /// Had to wait for the count.
    pub deferred: u64,
    /// Came into the idle loop.
    pub idle: u64,
    /// Were due with interrupts masked.
    pub masked: u64,
    /// The longest wait for the mask, in instructions.
    pub masked_max: u64,
    /// The longest wait for the count.
    pub deferred_max: u64,
    /// A timer went off between handler and H.
    pub timer: u64,
    /// What that cost.
    pub timer_insns: u64,
    /// From a softirq to the switch at its end: what H's way differs by from that of the path's own task.
    pub switch_insns: Option<u64>,
    /// The largest distance from the right answer.
    pub off_max: u64,
}

/// Judges the runs of a path; the wrong ones are marked.
pub fn judge(path: &Path, points: &mut Points, constants: &Constants) -> Verdict {
    let mut verdict = Verdict::default();
    // The nearest later place where a switch is allowed, coming from the end, and the place of the run before.
    let mut open = None;
    let mut later = u64::MAX;
    // Where there are several CPUs a path is now and then some hundred instructions longer or shorter: whether a switch has
    // something to tell the others, what fair tasks have used of late, and when it is time to look around for load all depend
    // on the time of day. Then the places of its points are no map.
    let is_map = others::online() == 1;
    // The place that ends a wait may be between two points.
    let slack = SLACK + points.step - 1;
    for point in points.points.iter_mut().rev() {
        let at = point.at(constants);
        let place = place_is_possible(point.n, at, later, constants);
        later = at;
        let masked = at.saturating_sub(point.n);
        verdict.masked += u64::from(masked > 0);
        verdict.masked_max = verdict.masked_max.max(masked);
        let right = expected(point, at, open, constants, &mut verdict);
        let place = if is_map { place } else { Ok(()) };
        let delay = if path.reroutes || !is_map { Ok(()) } else { delay(point, right, slack, &mut verdict) };
        let delay = delay.and(if path.reroutes { Ok(()) } else { has_not_gone_on(point) });
        if point.reading.count == 0 {
            open = Some((at, point.reading.task));
        }
        // What the run itself found wrong explains more.
        point.wrong = point.wrong.or(place.err()).or(delay.err());
    }
    verdict
}

/// The place where the interrupt was taken is not before the place where it was due, and not behind that
/// of a later one. One exception: if it comes while the vector has begun to serve another interrupt and not
/// yet asked the controller which, it is served in its stead.
fn place_is_possible(n: u64, at: u64, later: u64, constants: &Constants) -> Result<(), Wrong> {
    if at + constants.entry <= n {
        return Err(Wrong { what: "place of the interrupt, before it is due", found: at, right: n });
    }
    if at > later {
        return Err(Wrong {
            what: "place of the interrupt, behind that of a later one",
            found: at,
            right: later,
        });
    }
    Ok(())
}

/// The right way from handler to H.
fn expected(
    point: &Point,
    at: u64,
    open: Option<(u64, u64)>,
    constants: &Constants,
    verdict: &mut Verdict,
) -> u64 {
    if point.is_idle() {
        verdict.idle += 1;
        return constants.idle;
    }
    let class = if point.is_fair() { constants.fair - constants.direct } else { 0 };
    if point.reading.count == 0 {
        verdict.direct += 1;
        return constants.direct + class;
    }
    verdict.deferred += 1;
    // No later place: the path ends with preemption off, which another check reports.
    let wait = open.map_or(0, |(open, _)| open.saturating_sub(at));
    verdict.deferred_max = verdict.deferred_max.max(wait);
    if point.is_in_softirq() {
        if open.is_some_and(|(_, task)| task != point.reading.task) {
            let own = verdict.switch_insns.get_or_insert(point.delay().wrapping_sub(wait));
            return own.wrapping_add(wait);
        }
        return constants.softirq.wrapping_add(class + wait);
    }
    // Where somebody was to be switched to all the same, H comes in his place, and none is left behind the count where one
    // could be interrupted: the next is on the far side of that switch.
    let at_once = constants.deferred + class;
    if point.delay().abs_diff(at_once) <= SLACK { at_once } else { at_once + wait }
}

/// Where the word allowed it, H ran in the interrupt's return: the interrupted task has not gone on before.
fn has_not_gone_on(point: &Point) -> Result<(), Wrong> {
    let must = point.reading.count == 0 && !point.is_idle() && !point.is_stopper();
    let holds = !must || point.reading.within;
    if holds {
        Ok(())
    } else {
        Err(Wrong { what: "H before the interrupted task goes on", found: 0, right: 1 })
    }
}

/// Compares.
fn delay(point: &Point, right: u64, slack: u64, verdict: &mut Verdict) -> Result<(), Wrong> {
    let mut right = right;
    if point.reading.timer_between {
        verdict.timer += 1;
        if verdict.timer == 1 {
            verdict.timer_insns = point.delay().saturating_sub(right);
        }
        right += verdict.timer_insns;
    }
    let off = point.delay().abs_diff(right);
    if off > slack {
        return Err(Wrong { what: "instructions from the interrupt to H", found: point.delay(), right });
    }
    verdict.off_max = verdict.off_max.max(off);
    Ok(())
}
