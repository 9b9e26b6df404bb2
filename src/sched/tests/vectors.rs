//! Golden vectors: numbers computed once, from the formulas, elsewhere.

use super::super::load::{LoadWeight, NICE_0_LOAD, calc_delta, calc_delta_fair};
use super::super::prio::*;
use super::super::tunables::Tunables;
use super::*;

const DELTA_FAIR_OF_1_MS: [u64; 40] = [
    11536, 14270, 18129, 22129, 28216, 35123, 44035, 54744, 68499, 85934, 107247, 134383, 167868, 208809,
    262160, 328099, 409436, 514314, 645649, 801879, 1000000, 1248780, 1563358, 1946768, 2420803, 3056716,
    3764705, 4762790, 5953488, 7474452, 9309090, 11770114, 14628571, 18285714, 22755555, 28444444, 35310344,
    44521739, 56888888, 68266666,
];

fn slices(attrs: &[(Policy, i32)]) -> Vec<u64> {
    let mut cpu = Cpu::new();
    let tasks: Vec<SchedRef> =
        attrs.iter().map(|&(p, n)| cpu.start(SchedAttr::new(p, 0, n).unwrap())).collect();
    tasks.into_iter().map(|p| cpu.rq.cfs.sched_slice(p)).collect()
}

fn normal(nices: &[i32]) -> Vec<u64> {
    slices(&nices.iter().map(|&n| (Policy::Normal, n)).collect::<Vec<_>>())
}

#[test]
fn one_millisecond_is_this_much_virtual_time_at_each_nice_value() {
    for (i, &expected) in DELTA_FAIR_OF_1_MS.iter().enumerate() {
        let nice = i as i32 - 20;
        assert_eq!(calc_delta_fair(1_000_000, &LoadWeight::of_nice(nice)), expected, "nice {nice}");
    }
    assert_eq!(calc_delta_fair(1_000_000, &LoadWeight::IDLE_POLICY), 341_333_333);
}

#[test]
fn nice_0_time_is_virtual_time_without_any_rounding() {
    for ns in [0, 1, 999_999_937, u64::MAX / 2] {
        assert_eq!(calc_delta_fair(ns, &LoadWeight::of_nice(0)), ns);
    }
}

#[test]
fn equal_tasks_share_the_latency_equally() {
    assert_eq!(normal(&[0; 2]), [2_999_998; 2]);
    assert_eq!(normal(&[0; 3]), [1_999_999; 3]);
    assert_eq!(normal(&[0; 8]), [749_998; 8]);
}

#[test]
fn from_nine_tasks_on_the_period_grows_by_a_minimum_granularity_each() {
    assert_eq!(normal(&[0; 9]), [749_998; 9]);
    let tunables = Tunables::for_cpus(1);
    assert_eq!(tunables.period_ns(8), 6_000_000);
    assert_eq!(tunables.period_ns(9), 6_750_000);
}

#[test]
fn unequal_tasks_share_by_weight() {
    assert_eq!(normal(&[0, 5]), [4_520_971, 1_479_028]);
    assert_eq!(normal(&[-20, 19]), [5_998_883, 1_013]);
}

#[test]
fn a_new_task_beside_one_of_nice_0_starts_one_slice_in_debt() {
    let mut cpu = Cpu::new();
    let parent = cpu.normal_at(0, 0);
    cpu.schedule();
    let child = cpu.task(SchedAttr::NORMAL);
    let _ = cpu.rq.task_fork(child);
    assert_eq!(child.se.vruntime.get(), 2_999_998, "relative to min_vruntime, where its parent is");
    assert_eq!(cpu.rq.cfs.min_vruntime, parent.se.vruntime.get());
}

#[test]
fn wakeup_granularity_is_scaled_by_the_weight_of_the_waking_task() {
    let gran = Tunables::for_cpus(1).sched_wakeup_granularity_ns;
    assert_eq!(calc_delta_fair(gran, &LoadWeight::of_nice(-5)), 328_099);
    assert_eq!(calc_delta_fair(gran, &LoadWeight::of_nice(5)), 3_056_716);
}

#[test]
fn weights_are_the_table_and_inverses_are_not_simply_rounded() {
    assert_eq!(SCHED_PRIO_TO_WEIGHT[0], 88761);
    assert_eq!(SCHED_PRIO_TO_WEIGHT[20], 1024);
    assert_eq!(SCHED_PRIO_TO_WEIGHT[39], 15);
    let (mut one_lower, mut above_floor) = (Vec::new(), 0);
    for (i, (&w, &inv)) in SCHED_PRIO_TO_WEIGHT.iter().zip(&SCHED_PRIO_TO_WMULT).enumerate() {
        let rounded = ((1u64 << 32) + w / 2) / w;
        match rounded - u64::from(inv) {
            0 => above_floor += u32::from(u64::from(inv) > (1 << 32) / w),
            1 => one_lower.push(i as i32 - 20),
            other => panic!("nice {}: {inv} is {other} off", i as i32 - 20),
        }
    }
    assert_eq!(one_lower, [13, 14, 16, 17]);
    assert_eq!(above_floor, 13);
    assert_eq!(WMULT_IDLEPRIO, 0x5555_5555);
}

#[test]
fn each_nice_step_is_about_a_quarter() {
    for w in SCHED_PRIO_TO_WEIGHT.windows(2) {
        let ratio = w[0] as f64 / w[1] as f64;
        assert!((1.15..1.35).contains(&ratio), "{} to {}", w[0], w[1]);
    }
}

#[test]
fn a_load_sum_forgets_its_inverse_when_it_changes() {
    let mut sum = LoadWeight::ZERO;
    sum.add(NICE_0_LOAD);
    sum.update_inv_weight();
    assert_eq!(calc_delta(6_000_000, NICE_0_LOAD, &sum), 5_999_998);
    sum.add(NICE_0_LOAD);
    assert_eq!(calc_delta(6_000_000, NICE_0_LOAD, &sum), 2_999_998);
    sum.sub(NICE_0_LOAD);
    assert_eq!(calc_delta(6_000_000, NICE_0_LOAD, &sum), 5_999_998);
}

#[test]
fn empty_and_tiny_loads_do_not_divide_by_zero() {
    assert_eq!(calc_delta(0, NICE_0_LOAD, &LoadWeight::ZERO), 0);
    // A stored weight of 1 counts as 2: a quarter of 2048 nanoseconds' worth.
    let mut tiny = LoadWeight::ZERO;
    tiny.add(1);
    assert_eq!(calc_delta(2, NICE_0_LOAD, &tiny), 1023);
}

#[test]
fn factors_wider_than_32_bits_lose_low_bits_and_nothing_else() {
    // The definition, shift by shift.
    fn slowly(delta: u64, weight: u64, lw: u64) -> u64 {
        let down = |w: u64| if w == 0 { 0 } else { (w >> 10).max(2) };
        let inv = match down(lw) {
            0 => u32::MAX as u64,
            w if w >= u32::MAX as u64 => 1,
            w => u32::MAX as u64 / w,
        };
        let (mut fact, mut shift) = (down(weight), 32);
        while fact >> 32 != 0 {
            fact >>= 1;
            shift -= 1;
        }
        fact *= inv;
        while fact >> 32 != 0 {
            fact >>= 1;
            shift -= 1;
        }
        ((u128::from(delta) * u128::from(fact)) >> shift) as u64
    }
    for weight in [3 << 10, 15 << 10, 1024 << 10, 88761 << 10, 5_000_000 << 10] {
        for total in [3 << 10, 1024 << 10, 90_000 << 10, 88_761_000u64 << 10] {
            let mut sum = LoadWeight::ZERO;
            sum.add(total);
            for delta in [1, 999, 750_000, 6_000_000, 10_000_000_000] {
                assert_eq!(
                    calc_delta(delta, weight, &sum),
                    slowly(delta, weight, total),
                    "{delta} {weight} {total}"
                );
            }
        }
    }
}

#[test]
fn tunables_grow_with_the_logarithm_of_the_cpus() {
    for (cpus, factor) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (64, 4)] {
        let t = Tunables::for_cpus(cpus);
        assert_eq!(t.sched_latency_ns, 6_000_000 * factor, "{cpus} cpus");
        assert_eq!(t.sched_min_granularity_ns, 750_000 * factor, "{cpus} cpus");
        assert_eq!(t.sched_wakeup_granularity_ns, 1_000_000 * factor, "{cpus} cpus");
        assert_eq!(t.sched_nr_latency, 8);
    }
}

#[test]
fn priorities_map_as_users_know_them() {
    assert_eq!((rt_priority_to_prio(1), rt_priority_to_prio(99)), (98, 0));
    assert_eq!((nice_to_prio(-20), nice_to_prio(0), nice_to_prio(19)), (100, 120, 139));
    assert_eq!((prio_to_nice(100), prio_to_nice(139)), (-20, 19));
    assert_eq!(SchedAttr::fifo(50).unwrap().normal_prio(), 49);
    for (number, policy) in
        [(0, Policy::Normal), (1, Policy::Fifo), (2, Policy::Rr), (3, Policy::Batch), (5, Policy::Idle)]
    {
        assert_eq!(Policy::from_number(number), Ok(policy));
        assert_eq!(policy as u32, number);
    }
}

#[test]
fn a_bad_priority_is_refused_with_the_value_and_the_range() {
    let bad = [
        (SchedAttr::fifo(0), "real-time priority 0 is out of range: use 1..=99"),
        (SchedAttr::rr(100), "real-time priority 100 is out of range: use 1..=99"),
        (SchedAttr::normal(20), "nice 20 is out of range: use -20..=19"),
        (SchedAttr::normal(-21), "nice -21 is out of range: use -20..=19"),
        (
            SchedAttr::new(Policy::Batch, 7, 0),
            "a time-sharing policy has no real-time priority, but 7 was given: use 0",
        ),
    ];
    for (result, message) in bad {
        assert_eq!(std::format!("{}", result.unwrap_err()), message);
    }
    let message = std::format!("{}", Policy::from_number(4).unwrap_err());
    assert_eq!(
        message,
        "no scheduling policy 4: use 0 (normal), 1 (fifo), 2 (rr), 3 (batch), 5 (idle) or 6 (deadline)"
    );
    assert!(SchedAttr::fifo(1).is_ok() && SchedAttr::fifo(99).is_ok());
    assert!(SchedAttr::normal(-20).is_ok() && SchedAttr::normal(19).is_ok());
}
