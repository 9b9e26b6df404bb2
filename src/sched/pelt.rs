#![forbid(unsafe_code)]
//! Per-entity load tracking: how much a task, or a CPU's fair tasks together, have wanted of late.
//!
//! Time is cut into periods of 1024 units of 1024 ns, and what was wanted in a period counts half as much 32 periods
//! (about 33 ms) later. Kept as a sum that decays; the average is that sum by what it could be at most. Bit for bit
//! Linux 5.11's arithmetic (reference 4.6), so that its figures can be compared; without capacity and frequency, since
//! our CPUs are all alike.
//!
//! **Remembered state.** An average knows what has been true since it was last brought up to date, and
//! [`LoadAvg::advance`] counts the time in between under that. So it is told of a change after the change, at any time
//! before the next, and whoever forgets to tell it in time makes it late and not wrong.
//!
//! Contexts: any. Locks: none (values; those in run queues and tasks are under the run queue's lock). No loops.

/// Half of what was is forgotten in so many periods.
const LOAD_AVG_PERIOD: u64 = 32;
/// The sum of somebody who has always wanted everything: 1024 * (1 + y + y^2 + …).
pub const LOAD_AVG_MAX: u64 = 47742;
/// Units of a period, and the full scale of an average.
const PERIOD: u64 = 1024;
/// Bits of a nanosecond count that are below a unit.
const UNIT_SHIFT: u32 = 10;

/// y^n * 2^32, y^32 = 1/2.
const RUNNABLE_AVG_YN_INV: [u32; 32] = [
    0xffff_ffff,
    0xfa83_b2da,
    0xf525_7d14,
    0xefe4_b99a,
    0xeac0_c6e6,
    0xe5b9_06e6,
    0xe0cc_deeb,
    0xdbfb_b796,
    0xd744_fcc9,
    0xd2a8_1d91,
    0xce24_8c14,
    0xc9b9_bd85,
    0xc567_2a10,
    0xc12c_4cc9,
    0xbd08_a39e,
    0xb8fb_af46,
    0xb504_f333,
    0xb123_f581,
    0xad58_3ee9,
    0xa9a1_5ab4,
    0xa5fe_d6a9,
    0xa270_4302,
    0x9ef5_325f,
    0x9b8d_39b9,
    0x9837_f050,
    0x94f4_efa8,
    0x91c3_d373,
    0x8ea4_398a,
    0x8b95_c1e3,
    0x8898_0e80,
    0x85aa_c367,
    0x82cd_8698,
];

/// What is left of `value` after `periods`.
const fn decay(value: u64, periods: u64) -> u64 {
    if periods > LOAD_AVG_PERIOD * 63 {
        return 0;
    }
    let halved = value >> (periods / LOAD_AVG_PERIOD);
    let factor = RUNNABLE_AVG_YN_INV[(periods % LOAD_AVG_PERIOD) as usize];
    ((halved as u128 * factor as u128) >> 32) as u64
}

/// What `periods` have added: the rest of the first, the full ones between, the beginning of the last.
const fn segments(periods: u64, first: u64, last: u64) -> u64 {
    decay(first, periods) + (LOAD_AVG_MAX - decay(LOAD_AVG_MAX, periods) - PERIOD) + last
}

/// An average, and what has been true since it was brought up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadAvg {
    last_update_ns: u64,
    load_sum: u64,
    util_sum: u64,
    load_avg: u64,
    util_avg: u64,
    /// The weight that the average is multiplied by: a task's own; 1 for a CPU.
    weight: u64,
    /// What wants the CPU: 1 for a task that is queued or runs, the sum of the weights for a CPU.
    load: u64,
    period_contrib: u32,
    is_running: bool,
}

impl LoadAvg {
    /// Nothing wanted so far; averages are multiplied by `weight`.
    #[must_use]
    pub const fn new(weight: u64) -> Self {
        Self {
            last_update_ns: 0,
            load_sum: 0,
            util_sum: 0,
            load_avg: 0,
            util_avg: 0,
            weight,
            load: 0,
            period_contrib: 0,
            is_running: false,
        }
    }

    /// A new task on a CPU whose average is `cpu`: as if it had always wanted everything, because tasks are made to do
    /// something; and using half of what the CPU has to spare, or less.
    #[must_use]
    pub const fn of_new_task(weight: u64, cpu: &Self, now_ns: u64) -> Self {
        let spare = PERIOD.saturating_sub(cpu.util_avg) / 2;
        let share = cpu.util_avg * weight / (cpu.load_avg + 1);
        let util = if cpu.util_avg != 0 && share < spare { share } else { spare };
        let mut avg = Self::new(weight);
        avg.last_update_ns = now_ns;
        avg.load_avg = weight;
        avg.load_sum = avg.divider();
        avg.util_avg = util;
        avg.util_sum = util * avg.divider();
        avg
    }

    /// What is wanted, in units of weight.
    #[must_use]
    pub const fn load_avg(&self) -> u64 {
        self.load_avg
    }

    /// What is had, of 1024 for the whole of a CPU.
    #[must_use]
    pub const fn util_avg(&self) -> u64 {
        self.util_avg
    }

    /// The averages are multiplied by this weight.
    pub(super) const fn is_of_weight(&self, weight: u64) -> bool {
        self.weight == weight
    }

    const fn divider(&self) -> u64 {
        LOAD_AVG_MAX - PERIOD + self.period_contrib as u64
    }

    /// Counts the time up to `now_ns` under what was true, and remembers what is true from now on: what is wanted
    /// (`load`), whether something runs, and the weight.
    pub const fn advance(&mut self, now_ns: u64, load: u64, is_running: bool, weight: u64) {
        self.accumulate(now_ns);
        self.load = load;
        self.is_running = is_running;
        if weight != self.weight {
            self.weight = weight;
            self.average();
        }
    }

    const fn accumulate(&mut self, now_ns: u64) {
        let delta_ns = now_ns.wrapping_sub(self.last_update_ns);
        if (delta_ns as i64) < 0 {
            self.last_update_ns = now_ns;
            return;
        }
        let delta = delta_ns >> UNIT_SHIFT;
        if delta == 0 {
            return;
        }
        self.last_update_ns += delta << UNIT_SHIFT;
        let begun = self.period_contrib as u64;
        let periods = (delta + begun) / PERIOD;
        let mut contribution = delta;
        self.period_contrib = ((delta + begun) % PERIOD) as u32;
        if periods != 0 {
            self.load_sum = decay(self.load_sum, periods);
            self.util_sum = decay(self.util_sum, periods);
            contribution = segments(periods, PERIOD - begun, self.period_contrib as u64);
        }
        if self.load != 0 {
            self.load_sum += self.load * contribution;
            if self.is_running {
                self.util_sum += contribution << UNIT_SHIFT;
            }
        }
        if periods != 0 {
            self.average();
        }
    }

    const fn average(&mut self) {
        self.load_avg = self.weight * self.load_sum / self.divider();
        self.util_avg = self.util_sum / self.divider();
    }

    /// A task with this average has come to this CPU.
    pub const fn add(&mut self, task: &Self) {
        self.load_avg += task.load_avg;
        self.util_avg += task.util_avg;
        self.sums_from_averages();
    }

    /// A task with this average has left this CPU.
    pub const fn remove(&mut self, task: &Self) {
        self.load_avg = self.load_avg.saturating_sub(task.load_avg);
        self.util_avg = self.util_avg.saturating_sub(task.util_avg);
        self.sums_from_averages();
    }

    const fn sums_from_averages(&mut self) {
        self.load_sum = self.load_avg * self.divider();
        self.util_sum = self.util_avg * self.divider();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task of weight 1024 that runs from the beginning, brought up to date every millisecond.
    fn hog(ms: u64) -> LoadAvg {
        let mut avg = LoadAvg::new(1024);
        avg.advance(0, 1, true, 1024);
        for i in 1..=ms {
            avg.advance(i * 1_000_000, 1, true, 1024);
        }
        avg
    }

    #[test]
    fn a_hog_rises_by_the_golden_vectors() {
        let golden = [(1, 0), (2, 41), (4, 81), (8, 156), (16, 288), (32, 495), (64, 751), (100, 894)];
        for (ms, util) in golden.into_iter().chain([(200, 1008), (345, 1023), (400, 1024)]) {
            assert_eq!(hog(ms).util_avg(), util, "after {ms} ms");
        }
    }

    #[test]
    fn a_sleeper_decays_by_the_golden_vectors() {
        for (periods, util) in [(8, 861), (16, 724), (32, 511), (64, 255), (128, 63), (345, 0)] {
            let mut avg = LoadAvg::new(1024);
            avg.util_avg = 1024;
            avg.sums_from_averages();
            avg.advance(periods << 20, 0, false, 1024);
            assert_eq!(avg.util_avg(), util, "after {periods} periods");
        }
    }

    #[test]
    fn a_change_is_counted_from_when_it_is_told() {
        let mut avg = hog(400);
        // Told late that it sleeps: the time up to then counts as run.
        avg.advance(410_000_000, 0, false, 1024);
        assert_eq!(avg.util_avg(), 1024);
        avg.advance(410_000_000 + (32 << 20), 0, false, 1024);
        assert_eq!(avg.util_avg(), 512);
    }

    #[test]
    fn load_is_weight_times_presence_and_needs_no_cpu() {
        let mut avg = LoadAvg::new(335);
        avg.advance(0, 1, false, 335);
        avg.advance(1_000_000_000, 1, false, 335);
        assert_eq!((avg.load_avg(), avg.util_avg()), (335, 0));
        avg.advance(1_000_000_000, 1, false, 820);
        assert_eq!(avg.load_avg(), 820, "a new nice value counts at once");
    }

    #[test]
    fn a_cpu_is_the_sum_of_its_tasks_when_they_come_and_go() {
        let mut cpu = LoadAvg::new(1);
        let task = hog(100);
        cpu.add(&task);
        cpu.add(&task);
        assert_eq!(cpu.load_avg(), 2 * task.load_avg());
        cpu.remove(&task);
        assert_eq!((cpu.load_avg(), cpu.util_avg()), (task.load_avg(), task.util_avg()));
    }

    #[test]
    fn a_new_task_wants_its_weight_and_uses_half_of_what_is_spare_at_most() {
        let idle = LoadAvg::new(1);
        assert_eq!(LoadAvg::of_new_task(1024, &idle, 0).util_avg(), 512);
        let mut busy = LoadAvg::new(1);
        busy.add(&hog(400));
        let new = LoadAvg::of_new_task(1024, &busy, 0);
        assert_eq!((new.load_avg(), new.util_avg()), (1024, 0));
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing_but_the_time() {
        let mut avg = hog(50);
        let before = (avg.load_sum, avg.util_sum);
        avg.advance(40_000_000, 1, true, 1024);
        assert_eq!((avg.load_sum, avg.util_sum), before);
    }
}
