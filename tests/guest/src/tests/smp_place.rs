//! K6: a task runs on the CPUs it is for, and nowhere else.

use crate::framework::cpus;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use stint::smp::{self, CpuMask};
use stint::task;

ktest! {
    fn tests_run_on_the_boot_cpu() {
        check_eq!(cpus::here(), 0, "the CPU of the task that runs the tests");
        check!(smp::online().contains(0), "CPU 0 runs this and is not online: {}", smp::online());
    }
}

ktest! {
    needs_cpus(2),
    fn a_task_for_another_cpu_runs_there() {
        for cpu in cpus::others() {
            let found = cpus::on(cpu, task::build("there")).spawn(cpus::here)?.join();
            check_eq!(found, Some(cpu), "the CPU of a task that is for it alone");
            let found = cpus::on(cpu, task::build("there")).fifo(20).spawn(cpus::here)?.join();
            check_eq!(found, Some(cpu), "the CPU of a real-time task that is for it alone");
        }
    }
}

ktest! {
    needs_cpus(2),
    fn a_task_that_is_made_there_stays_there() {
        for cpu in cpus::others() {
            let found = cpus::on(cpu, task::build("maker"))
                .spawn(|| task::build("made").spawn(cpus::here).ok().and_then(|made| made.join()))?
                .join();
            check_eq!(found.flatten(), Some(cpu), "the CPU of a task whose maker is for CPU {cpu} alone");
        }
    }
}

ktest! {
    needs_cpus(2),
    fn a_task_for_some_cpus_runs_on_one_of_them() {
        let mask = smp::online() & !CpuMask::of(0);
        let tasks: Vec<_> = (0..16)
            .map(|_| cpus::among(mask, task::build("some")).spawn(cpus::here))
            .collect::<Result<_, _>>()?;
        for task in tasks {
            let cpu = task.join().unwrap_or(0);
            check!(mask.contains(cpu), "a task for the CPUs {mask} ran on CPU {cpu}");
        }
    }
}
