//! Boots of the default image with 1 to 64 CPUs: all of them come, or those that the boot arguments allow.
//!
//! Invariant: the number stands in the log before the shell runs, and a number that cannot be is named and not used.

use libtest_mimic::Trial;
use stint_tools::bootargs::{self, Wishes};
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, End, Payload};
use stint_tools::suite::excerpt;

use crate::boot::{LIMITS, STINT, built, keep, message};

/// The command that shows the CPUs.
const COMMAND: &str = "uname -a";

/// CPUs of the machine, version of its GIC, boot arguments, CPUs that must be said to be online, what else must be
/// said. Where there can be only one, nobody speaks of it: 0.
type Row = (u32, u8, &'static str, u32, &'static str);

const BOOTS: &[Row] = &[
    (1, 2, "", 0, ""),
    (1, 3, "", 0, ""),
    (2, 2, "", 2, ""),
    (2, 3, "", 2, ""),
    (3, 2, "", 3, ""),
    (3, 3, "", 3, ""),
    (4, 2, "", 4, ""),
    (4, 3, "", 4, ""),
    (8, 2, "", 8, ""),
    (8, 3, "", 8, ""),
    (16, 3, "", 16, ""),
    (64, 3, "", 64, ""),
    (4, 3, "maxcpus=2", 2, ""),
    (4, 2, "nr_cpus=3", 3, ""),
    (4, 3, "nr_cpus=1", 0, ""),
    (4, 3, "maxcpus=1", 0, ""),
    (2, 3, "nr_cpus=8 maxcpus=9", 2, ""),
    (2, 3, "nr_cpus=0", 2, "nr_cpus=0: expected 1 to 64"),
    (2, 3, "maxcpus=65", 2, "maxcpus=65: expected 1 to 64"),
    (2, 3, "maxcpus=some", 2, "maxcpus=some: expected 1 to 64"),
    (4, 3, "preempt=none", 4, ""),
    (4, 3, "preempt=rt", 4, ""),
    (4, 3, "preempt_style=event", 4, ""),
];

/// One trial per boot.
pub fn trials(followers: &mut Vec<Trial>) {
    for (cpus, gic, told, online, phrase) in BOOTS {
        let mut name = format!("cpus::{cpus}_gicv{gic}");
        if !told.is_empty() {
            name += &format!("_{}", told.replace([' ', '='], "_"));
        }
        let log = name.replace("::", "-");
        followers.push(Trial::test(name, move || {
            let machine = Machine { cpus: *cpus, gic: *gic, ..Machine::measuring() };
            let wishes = Wishes { command: Some(COMMAND), extra: told, interactive: false };
            let bootargs = bootargs::compose(&wishes).map_err(message)?;
            let image = &built(&STINT).map_err(message)?.image;
            let command = qemu::command(&machine, Payload::Image(image), &bootargs);
            let captured = qemu::capture(command, LIMITS).map_err(message)?;
            keep(&log, &captured.console).map_err(message)?;
            let expected = match online {
                0 => "nothing of smp".to_owned(),
                1 => "smp: 1 CPU online".to_owned(),
                n => format!("smp: {n} CPUs online"),
            };
            let says = captured.console.contains(&expected);
            let is_silent = !captured.console.contains("smp: ");
            if captured.end == End::Exited(0)
                && (if *online == 0 { is_silent } else { says })
                && captured.console.contains(phrase)
            {
                return Ok(());
            }
            let (end, console) = (&captured.end, excerpt(&captured.console));
            Err(format!("{end}; expected: status 0, `{expected}` and `{phrase}`\n{console}").into())
        }));
    }
}
