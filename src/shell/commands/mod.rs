//! The commands of the default shell: what they are called. What they do is in the modules, grouped by what
//! they look at; only here is the linker asked to collect them, which counts as unsafe.

mod card;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod firmware;
#[cfg(target_os = "none")]
pub(crate) mod gpio;
mod i2c;
mod irqs;
mod load;
#[cfg(debug_assertions)]
mod lockdep;
mod machine;
mod params;
mod power;
mod preempt_stats;
mod pwm;
mod spi;
mod tasks;
mod text;
mod top;
mod trace;
mod watch;
#[cfg(target_os = "none")]
mod wdog;

use crate::shell_command;

shell_command!("help", "[command]", "list the commands, or show one", text::help);
shell_command!("echo", "[word…]", "print the words", text::echo);
shell_command!("sleep", "time", "wait, for example 500ms or 2s", text::sleep);
shell_command!("dmesg", "", "show the log", text::dmesg);
shell_command!(
    "trace",
    "[count] | on [event…|group…|all] | off | clear | show [count] | events | tracer [nop|wakeup_rt|irqsoff|preemptoff|preemptirqsoff] | snapshot",
    "record what the CPUs do, and show it; show: as ftrace writes it",
    trace::trace
);
shell_command!("uname", "[-a]", "name the kernel; -a: and all about it", machine::uname);
shell_command!("uptime", "", "how long the machine has been up, and how busy it is", machine::uptime);
shell_command!("free", "", "how memory is used", machine::free);
shell_command!("ps", "", "list the tasks, with the CPU time they have had", tasks::ps);
shell_command!(
    "irqs",
    "[on | off | cpus]",
    "list the interrupts: how often, how long (on: direct handlers too), their threads; and softirqs",
    irqs::irqs
);
shell_command!(
    "chrt",
    "-p task | task fifo 1..99 | rr 1..99 | other | batch | idle | deadline runtime deadline [period]",
    "show or change how a task is scheduled",
    params::chrt
);
shell_command!(
    "taskset",
    "[cpus] task",
    "show or set the CPUs on which a task may run, such as 0-2,5",
    params::taskset
);
shell_command!("nice", "level task", "change a task's nice level", params::nice);
shell_command!(
    "sched",
    "[rt_runtime_us=950000] [rt_period_us=1000000]",
    "show or set the share of real-time tasks",
    params::sched_command
);
shell_command!("runq", "", "show what is ready to run, in the order of the classes", tasks::runq);
shell_command!(
    "latency",
    "[period=1ms] [fragments=1000] [load=all|none|each|memcpy,alloc,console,timer,message,task,softirq,irqthread,pi] [burn=0%] [blame] | save [name]",
    "measure wake-up latency under load; save: write the last report to the memory card",
    load::measure
);
shell_command!(
    "preempt-stats",
    "[top] | on | off | reset | budget <us>|off",
    "time the sections in which nobody else can run",
    preempt_stats::preempt_stats
);
shell_command!(
    "jitter",
    "[cpu=N] [for=10s] [threshold=…] [prio=90]",
    "measure what disturbs a task that has a CPU for itself, and say what it was",
    crate::jitter::command
);
shell_command!(
    "dbench",
    "[clients=8|1,2,4…] [ops=20000 | for=1s]",
    "measure throughput: clients doing small operations on a table they share",
    crate::throughput::dbench_command
);
shell_command!(
    "hackbench",
    "[groups=1] [pairs=20] [loops=50]",
    "measure throughput: in each group every sender writes to every receiver",
    crate::throughput::hackbench_command
);
shell_command!(
    "cyclictest",
    "[-t[n]] [-p prio] [-i us] [-l loops] [-d us] [-h us] [-D time] [-a[cpus]] [-S] [-q] [-N] [load=none]",
    "measure wake-up latency with the options and the output of Linux's tool",
    crate::cyclictest::command
);
shell_command!("top", "[for=2s] [times=1]", "show what CPUs and tasks do", top::top);
shell_command!(
    "watchdog",
    "[thresh=10] [hung=120] | off",
    "show or set after how many seconds a CPU that gets nowhere, or a task that waits for a lock, is reported",
    watch::watchdog
);
shell_command!("hog", "[count] [nice=0] | stop", "start tasks that use all the CPU they get", load::hog);
#[cfg(debug_assertions)]
shell_command!("lockdep", "[classes | order]", "show what is known of the order of locks", lockdep::lockdep);
#[cfg(target_os = "none")]
shell_command!("cpu", "[on number | off number]", "list the CPUs, or turn one on or off", cpu::cpu);
shell_command!("card", "", "show which memory card is in the slot", card::card);
shell_command!("ls", "[directory]", "list the files on the memory card", card::ls);
shell_command!("cat", "file", "show a text file of the memory card", card::cat);
#[cfg(target_os = "none")]
shell_command!(
    "firmware",
    "",
    "ask the firmware of a Raspberry Pi for clocks, temperature, memory",
    firmware::firmware
);
#[cfg(target_os = "none")]
shell_command!(
    "gpio",
    "[pin] | read pin | set pin low|high | input pin [none|up|down] | pull pin none|up|down | alt pin 0..5 | \
     watch pin [rising|falling|both] [for=10s]",
    "show, set and watch the pins of a Raspberry Pi",
    gpio::gpio
);
#[cfg(target_os = "none")]
shell_command!(
    "selftest",
    "",
    "check clocks, interrupts, caches, CPUs, memory and heat; prints a table",
    crate::selftest::command
);
#[cfg(target_os = "none")]
shell_command!(
    "loopback",
    "out=17 in=27 [times=1000] [period=1ms] [load=none]",
    "measure an edge that goes over a wire to a task and back, in cycles",
    crate::loopback::command
);
#[cfg(target_os = "none")]
shell_command!(
    "wdog",
    "[start [15s] | kick | stop]",
    "show, start, kick or stop the watchdog that resets the board",
    wdog::wdog
);
shell_command!(
    "i2c",
    "| [bus=0] scan | read address count [from register] | write address byte…",
    "list the I2C buses, find who is on one, read and write there",
    i2c::i2c
);
shell_command!(
    "spi",
    "[chip=0] [mode=0] [hz=1000000] loop | byte…",
    "send bytes to an SPI chip and show what comes back; loop: test the bus with a wire from its output to its input",
    spi::spi
);
shell_command!(
    "pwm",
    "pin hz percent | off",
    "pulses at one of the pins 12, 13, 18 and 19; a new frequency silences the other channel",
    pwm::pwm
);
shell_command!("poweroff", "[status]", "turn the machine off; the status is the emulator's", power::poweroff);
shell_command!("exit", "[status]", "as poweroff", power::poweroff);
shell_command!("reboot", "", "start the machine again", power::reboot);
shell_command!("panic", "[word…]", "panic on purpose, to see the report", power::panic_on_purpose);
