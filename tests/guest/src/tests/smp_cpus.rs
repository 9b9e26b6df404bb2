//! K2: every CPU of the machine runs, on data of its own, can be interrupted, goes and comes back.

use crate::framework::cpus;
use crate::{check, check_eq, ktest};
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use stint::smp::bringup::CpuError;
use stint::smp::hotplug::{self, cpu_down, cpu_up};
use stint::smp::{self, CpuMask};
use stint::{irq, per_cpu, preempt, task, time};

ktest! {
    fn every_cpu_that_is_present_is_online() {
        let wanted = stint::start::boot_info().bootargs.maxcpus.map_or(64, |count| count as usize);
        check_eq!(smp::online(), smp::present() & CpuMask::first_n(wanted), "the CPUs that are online");
        check_eq!(smp::present(), CpuMask::first_n(smp::present().count()), "the numbers of the CPUs");
        let known = stint::cpus::get().map_or(0, |cpus| cpus.cpus.len());
        check!(smp::present().count() <= known, "{known} CPUs are known, present are {}", smp::present());
    }
}

ktest! {
    fn each_cpu_has_the_affinity_that_its_number_says() {
        for cpu in smp::online().iter() {
            let found = cpus::on(cpu, task::build("who")).spawn(arch_affinity)?.join();
            check_eq!(found.flatten(), stint::cpus::affinity(cpu), "MPIDR_EL1 of CPU {cpu}");
        }
    }
}

fn arch_affinity() -> Option<u64> {
    Some(arch::cpu::mpidr())
}

per_cpu! {
    static MARK: Cell<u64> = Cell::new(17);
}

ktest! {
    fn each_cpu_begins_with_the_initial_values_and_changes_its_own() {
        let visit = |to: u64| move || {
            let guard = preempt::preempt_disable();
            MARK.get(&guard).replace(to)
        };
        for (round, expected) in [(0, None), (1, Some(100)), (2, None)] {
            for cpu in smp::online().iter() {
                let to = if round == 1 { 17 } else { 100 + cpu as u64 };
                let found = cpus::on(cpu, task::build("mark")).spawn(visit(to))?.join().unwrap_or(0);
                let wanted = expected.map_or(17, |base| base + cpu as u64);
                check_eq!(found, wanted, "CPU {cpu}'s variable in round {round}");
            }
        }
        for cpu in smp::online().iter() {
            cpus::on(cpu, task::build("mark")).spawn(visit(17))?.join();
        }
    }
}

/// A number that no other test uses.
const SGI: u32 = 9;
static TAKEN: AtomicU64 = AtomicU64::new(0);
static TAKEN_COUNT: AtomicUsize = AtomicUsize::new(0);

fn note_cpu(_: usize) {
    TAKEN.fetch_or(1 << cpus::here(), Ordering::Relaxed);
    TAKEN_COUNT.fetch_add(1, Ordering::Release);
}

/// Sends the test's interrupt and waits until it has been taken as often as there are CPUs in `mask`.
fn interrupt(mask: CpuMask) -> u64 {
    TAKEN.store(0, Ordering::Relaxed);
    TAKEN_COUNT.store(0, Ordering::Release);
    arch::gic::send_sgi_mask(mask.bits(), SGI);
    let limit = time::now_ns() + 1_000_000_000;
    while TAKEN_COUNT.load(Ordering::Acquire) < mask.count() && time::now_ns() < limit {
        arch::cpu::relax();
    }
    // Nobody else comes behind.
    task::sleep_ms(1);
    TAKEN.load(Ordering::Relaxed)
}

ktest! {
    fn an_interrupt_reaches_those_it_is_sent_to_and_nobody_else() {
        irq::request(SGI, note_cpu, 0)?;
        let online = smp::online();
        for cpu in online.iter() {
            check_eq!(interrupt(CpuMask::of(cpu)), 1 << cpu, "who took the interrupt for CPU {cpu}");
            check_eq!(TAKEN_COUNT.load(Ordering::Relaxed), 1, "how often");
        }
        check_eq!(interrupt(online), online.bits(), "who took the interrupt for all");
        let odd = CpuMask::from_bits(online.bits() & 0xaaaa_aaaa_aaaa_aaaa);
        check_eq!(interrupt(odd), odd.bits(), "who took the interrupt for the odd ones");
        irq::free(SGI);
    }
}

ktest! {
    fn the_boot_cpu_and_those_that_are_not_there_cannot_be_turned_off_or_on() {
        check_eq!(cpu_down(0), Err(CpuError::BootCpu), "turning CPU 0 off");
        check_eq!(cpu_up(0), Err(CpuError::Online), "turning CPU 0 on");
        let none = smp::present().count();
        if none < 64 {
            check_eq!(cpu_down(none), Err(CpuError::NotPresent), "turning off CPU {none}, which is not there");
            check_eq!(cpu_up(none), Err(CpuError::NotPresent), "turning on CPU {none}, which is not there");
        }
        check_eq!(cpu_down(1000), Err(CpuError::NotPresent), "turning off CPU 1000");
    }
}

ktest! {
    needs_cpus(2),
    fn a_cpu_goes_and_comes_back_with_its_data() {
        let last = smp::online().count() - 1;
        let before = smp::online();
        let visit = || {
            let guard = preempt::preempt_disable();
            MARK.get(&guard).replace(17)
        };
        cpus::on(last, task::build("mark")).spawn(|| {
            let guard = preempt::preempt_disable();
            MARK.get(&guard).set(4711);
        })?.join();
        check_eq!(cpu_down(last), Ok(()), "turning CPU {last} off");
        check_eq!(smp::online(), before.without(last), "who is online without it");
        check_eq!(cpu_down(last), Err(CpuError::Offline), "turning it off again");
        check!(cpus::on(last, task::build("nowhere")).spawn(|| {}).is_err(), "a task for a CPU that is off was made");
        let mut state = "";
        hotplug::for_each_cpu(|info| if info.cpu == last { state = info.state });
        check_eq!(state, "off", "what is said of CPU {last}");
        check_eq!(cpu_up(last), Ok(()), "turning CPU {last} on");
        check_eq!(smp::online(), before, "who is online again");
        let found = cpus::on(last, task::build("mark")).spawn(visit)?.join();
        check_eq!(found, Some(4711), "its variable, which it left behind");
    }
}

ktest! {
    needs_cpus(2),
    fn tasks_and_their_timers_leave_a_cpu_that_goes() {
        let last = smp::online().count() - 1;
        let either = CpuMask::of(0).with(last);
        static ROUNDS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
        static STOP: AtomicU64 = AtomicU64::new(0);
        STOP.store(0, Ordering::Relaxed);
        let sleeper = |number: usize| move || {
            while STOP.load(Ordering::Relaxed) == 0 {
                task::sleep_ns(200_000);
                ROUNDS[number].fetch_add(1, Ordering::Relaxed);
            }
            cpus::here()
        };
        let spinner = || {
            while STOP.load(Ordering::Relaxed) == 0 {
                ROUNDS[2].fetch_add(1, Ordering::Relaxed);
                arch::cpu::relax();
            }
            cpus::here()
        };
        let tasks = [
            cpus::on(last, task::build("alone")).spawn(sleeper(0))?,
            cpus::on(last, task::build("either")).spawn(sleeper(1))?,
            cpus::on(last, task::build("spins")).spawn(spinner)?,
        ];
        tasks[1].task().set_affinity(either)?;
        task::sleep_ms(3);
        check_eq!(cpu_down(last), Ok(()), "turning CPU {last} off");
        let seen = ROUNDS.each_ref().map(|rounds| rounds.load(Ordering::Relaxed));
        task::sleep_ms(20);
        for (number, before) in seen.iter().enumerate() {
            let now = ROUNDS[number].load(Ordering::Relaxed);
            check!(now > *before, "task {number} stands still at {now} since its CPU has gone");
        }
        check_eq!(cpu_up(last), Ok(()), "turning CPU {last} on");
        task::sleep_ms(3);
        STOP.store(1, Ordering::Relaxed);
        for task in tasks {
            check!(task.join().is_some(), "a task of CPU {last} did not end");
        }
    }
}

ktest! {
    needs_cpus(2),
    fn cpus_go_and_come_a_thousand_times() {
        let online = smp::online();
        // A thousand times in virtual time; with real threads on a busy PC as often as there is time for.
        let limit = time::now_ns() + 8_000_000_000;
        let rounds = if online.count() <= 8 { 1000 } else { 100 };
        for round in (0..rounds).take_while(|&round| round < 10 || time::now_ns() < limit) {
            let cpu = 1 + round % (online.count() - 1);
            check_eq!(cpu_down(cpu), Ok(()), "round {round}: turning CPU {cpu} off");
            check_eq!(cpu_up(cpu), Ok(()), "round {round}: turning CPU {cpu} on");
        }
        check_eq!(smp::online(), online, "who is online");
    }
}
