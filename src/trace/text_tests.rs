//! The lines of a trace, to the character.

use super::super::event::{Left, NOT_IDLE};
use super::super::stamp::Stamp;
use super::*;
use alloc::format;
use alloc::string::String;

pub(in crate::trace) struct Fake;

impl Lookup for Fake {
    fn task(&self, id: u32) -> Option<Name> {
        match id {
            9 => Some(Name::new("alpha")),
            10 => Some(Name::new("a b=c")),
            123_456 => Some(Name::new("0123456789abcde")),
            _ => None,
        }
    }

    fn irq(&self, irq: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line{irq}")
    }

    fn symbol(&self, address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f+{address:#x}")
    }

    fn ns(&self, ticks: u64) -> u64 {
        ticks * 10
    }

    fn cpus(&self) -> usize {
        4
    }
}

/// In task `task` with these flags (as they lie in a stamp) and depth, at 136.676906120 s on CPU 3.
fn line(task: u32, flags: u64, depth: u64, event: Event) -> String {
    let stamp = Stamp::unpack(u64::from(task) | flags << 32 | depth << 40);
    let entry = Entry { ticks: 13_667_690_612, stamp, event };
    format!("{}", Line { cpu: 3, entry: &entry, lookup: &Fake })
}

#[test]
fn a_line_is_ftraces_with_nine_digits() {
    assert_eq!(
        line(0, 15, 4, Event::SchedWakeup { task: 9, prio: 120, cpu: 3 }),
        "          <idle>-0       [003] dNh4   136.676906120: sched_wakeup: comm=alpha pid=9 prio=120 target_cpu=003"
    );
    assert_eq!(
        line(123_456, 0, 0, Event::SoftirqRaise { vector: 8 }),
        " 0123456789abcde-123456  [003] ....   136.676906120: softirq_raise: vec=8 [action=HRTIMER]"
    );
}

#[test]
fn a_switch_names_both_tasks_and_no_name_has_a_blank_or_an_equals_sign() {
    let switch = |prev, left, next| Event::SchedSwitch { prev, prev_prio: -1, left, next, next_prio: 98 };
    assert_eq!(
        line(10, 1, 2, switch(10, Left::Preempted, 0)),
        "           a_b_c-10      [003] d..2   136.676906120: sched_switch: prev_comm=a_b_c prev_pid=10 prev_prio=-1 \
         prev_state=R+ ==> next_comm=swapper/3 next_pid=0 next_prio=98"
    );
    assert!(
        line(77, 1, 2, switch(77, Left::Dead, 9)).starts_with("           <...>-77      [003] d..2   136")
    );
    assert!(
        line(77, 1, 2, switch(77, Left::Dead, 9))
            .contains("prev_comm=<...> prev_pid=77 prev_prio=-1 prev_state=X ==>")
    );
}

/// What stands behind the time.
fn payload(event: Event) -> String {
    String::from(line(9, 0, 0, event).split_once("906120: ").expect("a time").1)
}

#[test]
fn every_event_has_linuxs_fields() {
    let section = Section { caller: 0x10, parent: 0x20 };
    let cases = [
        (
            Event::SchedWaking { task: 10, prio: 1, cpu: 12 },
            "sched_waking: comm=a_b_c pid=10 prio=1 target_cpu=012",
        ),
        (
            Event::SchedWakeupNew { task: 9, prio: 1, cpu: 0 },
            "sched_wakeup_new: comm=alpha pid=9 prio=1 target_cpu=000",
        ),
        (
            Event::SchedMigrateTask { task: 9, prio: 120, from: 1, to: 2 },
            "sched_migrate_task: comm=alpha pid=9 prio=120 orig_cpu=1 dest_cpu=2",
        ),
        (
            Event::SchedPiSetprio { task: 9, old_prio: 120, new_prio: 50 },
            "sched_pi_setprio: comm=alpha pid=9 oldprio=120 newprio=50",
        ),
        (
            Event::SchedProcessFork { child: 10 },
            "sched_process_fork: comm=alpha pid=9 child_comm=a_b_c child_pid=10",
        ),
        (Event::SchedProcessExit { prio: 50 }, "sched_process_exit: comm=alpha pid=9 prio=50"),
        (Event::IrqHandlerEntry { irq: 27 }, "irq_handler_entry: irq=27 name=line27"),
        (Event::IrqHandlerExit { irq: 27, handled: true }, "irq_handler_exit: irq=27 ret=handled"),
        (Event::IrqHandlerExit { irq: 27, handled: false }, "irq_handler_exit: irq=27 ret=unhandled"),
        (Event::SoftirqEntry { vector: 0 }, "softirq_entry: vec=0 [action=HI]"),
        (Event::SoftirqExit { vector: 6 }, "softirq_exit: vec=6 [action=TASKLET]"),
        (Event::IpiRaise { cpus: 10, ipi: 0 }, "ipi_raise: target_mask=0000000a (Rescheduling interrupts)"),
        (Event::IpiEntry { ipi: 1 }, "ipi_entry: (Function call interrupts)"),
        (Event::IpiExit { ipi: 2 }, "ipi_exit: (CPU stop interrupts)"),
        (
            Event::HrtimerStart { timer: 0xabc, function: 0x40, expires_ns: 5, soft: true },
            "hrtimer_start: hrtimer=0000000000000abc function=f+0x40 expires=5 softexpires=5 mode=ABS|SOFT",
        ),
        (Event::HrtimerCancel { timer: 0xabc }, "hrtimer_cancel: hrtimer=0000000000000abc"),
        (
            Event::HrtimerExpireEntry { timer: 0xabc, function: 0x40, now_ns: 6 },
            "hrtimer_expire_entry: hrtimer=0000000000000abc function=f+0x40 now=6",
        ),
        (Event::HrtimerExpireExit { timer: 0xabc }, "hrtimer_expire_exit: hrtimer=0000000000000abc"),
        (Event::IrqDisable(section), "irq_disable: caller=f+0x10 parent=f+0x20"),
        (Event::IrqEnable(section), "irq_enable: caller=f+0x10 parent=f+0x20"),
        (Event::PreemptDisable(section), "preempt_disable: caller=f+0x10 parent=f+0x20"),
        (Event::PreemptEnable(section), "preempt_enable: caller=f+0x10 parent=f+0x20"),
        (
            Event::ContentionBegin { lock: 0xabc, flags: LCB_F_RT | LCB_F_MUTEX },
            "contention_begin: 0000000000000abc (flags=RT|MUTEX)",
        ),
        (Event::ContentionEnd { lock: 0xabc, ret: -110 }, "contention_end: 0000000000000abc (ret=-110)"),
        (Event::CpuIdle { state: 1 }, "cpu_idle: state=1 cpu_id=3"),
        (Event::CpuIdle { state: NOT_IDLE }, "cpu_idle: state=4294967295 cpu_id=3"),
    ];
    for (event, text) in cases {
        assert_eq!(payload(event), text);
    }
}

#[test]
fn a_mask_of_many_cpus_is_in_groups_of_eight_digits() {
    struct Many;
    impl Lookup for Many {
        fn task(&self, id: u32) -> Option<Name> {
            Fake.task(id)
        }
        fn irq(&self, irq: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Fake.irq(irq, f)
        }
        fn symbol(&self, address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Fake.symbol(address, f)
        }
        fn ns(&self, ticks: u64) -> u64 {
            ticks
        }
        fn cpus(&self) -> usize {
            64
        }
    }
    let event = Event::IpiRaise { cpus: 1 << 63 | 2, ipi: 1 };
    let entry = Entry { ticks: 0, stamp: Stamp::unpack(9), event };
    let line = Line { cpu: 0, entry: &entry, lookup: &Many };
    assert_eq!(
        format!("{}", Payload(&line)),
        "ipi_raise: target_mask=80000000,00000002 (Function call interrupts)"
    );
}

#[test]
fn the_header_begins_as_viewers_expect_it_and_is_all_comments() {
    let header = format!("{}", Header { kept: 5, written: 9, cpus: 4 });
    assert!(header.starts_with("# tracer: nop\n#\n# entries-in-buffer/entries-written: 5/9   #P:4\n#\n"));
    assert!(header.lines().all(|line| line.starts_with('#')));
}
