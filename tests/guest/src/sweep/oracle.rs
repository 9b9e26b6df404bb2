//! When H had to run: judged from the runs of all N together.
//!
//! A path does the same in every run until it is interrupted, so the runs together are a map of the path:
//! the run of N says what count and mask there are after N instructions. With the map, each run has one
//! right answer:
//!
//! * interrupted with count 0: the return from the interrupt must switch to H: `direct` instructions later;
//! * with a count: H runs when the path comes to the first later place where the map shows count 0 — not
//!   before, and then at once: `deferred` instructions, and the way there;
//! * in the idle loop: `idle` instructions later;
//! * with interrupts masked, the interrupt itself is late; where it is taken then counts as above.
//!
//! Context: any; arithmetic.
#![forbid(unsafe_code)]

use crate::calibrate::Constants;
use crate::path::Wrong;
use crate::run::{Point, Points};

/// How far a run may be from the right answer, in instructions, both ways.
///
/// The calibration is exact, but a handful of instructions between handler and H depend on what the
/// interrupted code was doing: the flag is already set (the exclusive pair is skipped), another lock's
/// guard has more to put back before it looks at the word, the idle loop is left at another place. A missed
/// preemption costs the way to the next one: hundreds of instructions, except in the last few of a path.
pub const SLACK: u64 = 16;

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
    /// The largest distance from the right answer.
    pub off_max: u64,
}

/// Judges the runs of a path; the wrong ones are marked.
pub fn judge(points: &mut Points, constants: &Constants) -> Verdict {
    let mut verdict = Verdict::default();
    // The nearest later place where a switch is allowed, coming from the end.
    let mut open: Option<u64> = None;
    let mut later = u64::MAX;
    for point in points.points.iter_mut().rev() {
        let at = point.at(constants);
        let mut wrong = None;
        if at < point.n || at > later {
            wrong = Some(Wrong { what: "place of the interrupt", found: at, right: point.n });
        }
        later = at;
        let masked = at.wrapping_sub(point.n);
        verdict.masked += u64::from(masked > 0);
        verdict.masked_max = verdict.masked_max.max(masked);
        let right = expected(point, at, open, constants, &mut verdict);
        let off = point.delay().abs_diff(right);
        if off > SLACK {
            wrong = wrong.or(Some(Wrong { what: "instructions from the interrupt to H", found: point.delay(), right }));
        } else {
            verdict.off_max = verdict.off_max.max(off);
        }
        if point.reading.count == 0 {
            open = Some(at);
        }
        // What the run itself found wrong explains more.
        point.wrong = point.wrong.or(wrong);
    }
    verdict
}

fn expected(point: &Point, at: u64, open: Option<u64>, constants: &Constants, verdict: &mut Verdict) -> u64 {
    if point.is_idle() {
        verdict.idle += 1;
        return constants.idle;
    }
    if point.reading.count == 0 {
        verdict.direct += 1;
        return constants.direct;
    }
    verdict.deferred += 1;
    // No later place: the path ends with preemption off, which another check reports.
    let wait = open.map_or(0, |open| open - at);
    verdict.deferred_max = verdict.deferred_max.max(wait);
    constants.deferred + wait
}
