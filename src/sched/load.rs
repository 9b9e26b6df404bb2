#![forbid(unsafe_code)]
//! Fixed-point weights: how nanoseconds of CPU become virtual runtime.
//!
//! A stored weight is the table value shifted left by ten bits. Division by a
//! weight is multiplication by a 32-bit inverse, cached beside the weight;
//! whoever changes the weight invalidates the inverse, which is why both are
//! private to this type. The result is an approximation with exactly defined
//! rounding: the golden vectors of the tests depend on every bit.
//!
//! Contexts: any. Locks: none (values); no loops.

use super::prio::{SCHED_PRIO_TO_WEIGHT, SCHED_PRIO_TO_WMULT, WEIGHT_IDLEPRIO, WMULT_IDLEPRIO};

/// Extra bits of a stored weight.
const FIXED_SHIFT: u32 = 10;
/// Bits of the inverse.
const WMULT_SHIFT: u32 = 32;

/// Stored weight of nice 0.
pub const NICE_0_LOAD: u64 = 1024 << FIXED_SHIFT;

/// A weight and its inverse (0: not computed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadWeight {
    weight: u64,
    inv_weight: u32,
}

impl LoadWeight {
    /// No load: what an empty run queue has.
    pub const ZERO: Self = Self { weight: 0, inv_weight: 0 };
    /// Of a task under the idle policy.
    pub const IDLE_POLICY: Self = Self { weight: WEIGHT_IDLEPRIO << FIXED_SHIFT, inv_weight: WMULT_IDLEPRIO };

    /// Of a nice value; values outside -20..=19 count as the nearest inside.
    pub const fn of_nice(nice: i32) -> Self {
        let index = if nice < -20 {
            0
        } else if nice > 19 {
            39
        } else {
            (nice + 20) as usize
        };
        Self { weight: SCHED_PRIO_TO_WEIGHT[index] << FIXED_SHIFT, inv_weight: SCHED_PRIO_TO_WMULT[index] }
    }

    /// The stored (shifted) weight.
    #[inline(always)]
    pub const fn weight(&self) -> u64 {
        self.weight
    }

    /// Without the extra bits: what load tracking counts in, and people read.
    pub const fn unshifted(&self) -> u64 {
        scale_load_down(self.weight)
    }

    /// Adds another weight to this sum.
    #[inline(always)]
    pub const fn add(&mut self, weight: u64) {
        self.weight += weight;
        self.inv_weight = 0;
    }

    /// Takes another weight out of this sum.
    #[inline(always)]
    pub const fn sub(&mut self, weight: u64) {
        self.weight -= weight;
        self.inv_weight = 0;
    }

    /// Computes the inverse if a change has invalidated it.
    #[inline]
    pub const fn update_inv_weight(&mut self) {
        self.inv_weight = self.inv();
    }

    #[inline(always)]
    const fn inv(&self) -> u32 {
        if self.inv_weight != 0 { self.inv_weight } else { inverse(scale_load_down(self.weight)) }
    }
}

/// Without the extra bits; any load at all counts as 2 at least, so that a
/// tiny weight becomes neither a division by zero nor a huge factor.
const fn scale_load_down(weight: u64) -> u64 {
    if weight == 0 {
        return 0;
    }
    let down = weight >> FIXED_SHIFT;
    if down < 2 { 2 } else { down }
}

const fn inverse(weight: u64) -> u32 {
    if weight >= u32::MAX as u64 {
        return 1;
    }
    match u32::MAX.checked_div(weight as u32) {
        Some(inv) => inv,
        None => u32::MAX,
    }
}

/// Shifts `value` right until it fits 32 bits; returns it and the bits lost.
const fn fit_u32(value: u64) -> (u64, u32) {
    // One shift by n equals n shifts by one: truncation composes.
    let over = 32u32.saturating_sub(value.leading_zeros());
    (value >> over, over)
}

/// `delta * weight / lw.weight`, in the kernel's fixed-point arithmetic.
///
/// `weight` is a stored weight. The factor keeps as many bits as fit 32.
#[inline]
pub const fn calc_delta(delta: u64, weight: u64, lw: &LoadWeight) -> u64 {
    let (fact, lost) = fit_u32(scale_load_down(weight));
    let (fact, lost_again) = fit_u32(fact * lw.inv() as u64);
    // `weight` is part of `lw` or of its order of magnitude, so the factor is
    // at most about 2^32 and no more bits are lost than there are.
    let shift = WMULT_SHIFT.saturating_sub(lost + lost_again);
    ((delta as u128 * fact as u128) >> shift) as u64
}

/// The virtual time that `delta_ns` of CPU is to an entity of this weight:
/// `delta_ns * 1024 / weight`.
#[inline]
pub const fn calc_delta_fair(delta_ns: u64, load: &LoadWeight) -> u64 {
    if load.weight == NICE_0_LOAD { delta_ns } else { calc_delta(delta_ns, NICE_0_LOAD, load) }
}
