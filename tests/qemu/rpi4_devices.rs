//! The devices of a Raspberry Pi 4, as far as QEMU's `raspi4b` has them, asked at the shell.
//!
//! The tree (tests/data/rpi4-devices.dts) describes them as the board's own does. What the emulator does not model is said
//! in the phrases that are expected: it must be noticed, and not taken for an answer.
//!
//! Invariant: a trial is one boot; what the console says is expected in the order that is written here.

use libtest_mimic::Trial;
use stint_tools::bootargs::{self, Wishes};
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, End, Payload};
use stint_tools::suite::excerpt;

use crate::boot::{DEVICES_TREE, SHORT, STINT, boot_rpi4, built, message};

/// A boot: its name, boot arguments, what is typed, what is said, what is not, and with which status it ends.
struct Boot {
    name: &'static str,
    extra: &'static str,
    command: &'static str,
    says: &'static [&'static str],
    never: &'static str,
    status: i32,
}

/// Said by a machine that is still there.
const STILL_THERE: &str = "\nnot gone";

const BOOTS: &[Boot] = &[
    Boot {
        name: "the_firmware_answers_and_what_it_does_not_know_is_said",
        extra: "",
        command: "firmware",
        says: &[
            "board       Raspberry Pi 4 Model B, 2 GiB, revision 1.5 (b03115)",
            "mac         ",
            "arm memory  960 MiB from 0x0",
            "vc memory   64.0 MiB from 0x3c000000",
            "temperature 25.0 C",
            "throttled   no",
            "arm              700 MHz      700 MHz  (the firmware does not know tag 0x30047)",
            "uart               3 MHz",
        ],
        never: "no answer",
        status: 0,
    },
    Boot {
        name: "pins_are_read_and_set_and_edges_that_are_not_modelled_are_missed",
        extra: "",
        command: "gpio set 17 high; gpio read 17; gpio 17; gpio set 17 low; gpio read 17; gpio input 17 up; gpio 17; \
                  gpio pull 17 sideways; gpio read 58; gpio watch 17 rising",
        says: &[
            "\n1\r\n",
            " 17 output  high  ",
            "\n0\r\n",
            " 17 input   ",
            "up    -",
            "sideways: none, up or down was expected",
            "58: a pin from 0 to 57 was expected",
            "no edge interrupt: the enable of pin 17 does not stay set",
        ],
        never: "no answer",
        status: 1,
    },
    // Two failures are the emulator's: ticks of whole nanoseconds, and no line from the timer to the GIC.
    Boot {
        name: "the_selftest_finds_what_the_emulator_does_otherwise",
        extra: "",
        command: "selftest",
        says: &[
            "| board         | ok        | Raspberry Pi 4 Model B (devices); Cortex-A72, GICv2; Raspberry Pi 4 Model B, 2 GiB",
            "| counter       | FAILED    | CNTFRQ 54000000 Hz, 5555",
            "not compared: the firmware does not know tag 0x30047",
            "| CPUs          | ok        | 4 of 4 online",
            "| GIC SGIs      | ok        | 0, 1 and 3 from each to each of CPUs 0-3",
            "| GIC timer PPI | ok        | PPI 11 (INTID 27) on CPUs 0-3",
            "| GIC SPI       | ok        | SPI 184 (INTID 216) routed to each of CPUs 0-3",
            "| system timer  | FAILED    | the compare channel matched and no interrupt came",
            "| caches        | ok        |",
            "| memory split  | ok        | ARM 0x0+0x3c000000, firmware 0x3c000000+0x4000000",
            "| heat, supply  | ok        | 25.0 C",
            "result selftest.failed 2 checks ok=10 absent=0 failed=2",
        ],
        never: "no answer",
        status: 1,
    },
    Boot {
        name: "a_latency_run_says_its_clock_and_temperature",
        extra: "",
        command: "latency fragments=50 load=none",
        says: &[
            "load none, before: 9",
            " MHz by the cycle counters (measured by the firmware: not), 25.0 C, lowered clock: no",
            "load none, behind: 9",
            "result latency.wakeup ",
            " cpu_hz=9",
            " temp_mc=25000",
        ],
        never: "no result",
        status: 0,
    },
    Boot {
        name: "a_loopback_says_what_there_is_not",
        extra: "",
        command: "loopback out=17 in=17; loopback out=17 in=27; gpio 17",
        says: &[
            "out=17 in=17: two pins were expected, with a wire between them",
            "wire   pin 17 to pin 27: no wire: the input stays low whatever the output drives",
            "edges  no edge interrupt: the enable of pin 27 does not stay set",
            "loopback: no edge interrupt",
            " 17 input   low   none  -",
        ],
        never: "result loopback",
        status: 1,
    },
    // The emulator resets at once, and ends then (-no-reboot).
    Boot {
        name: "the_watchdog_resets_the_board",
        extra: "",
        command: "wdog; wdog start 16s; wdog start 9s; sleep 10s; echo not gone; poweroff 3",
        says: &["stopped", "16s: a time from 1ms to 15s was expected"],
        never: STILL_THERE,
        status: 0,
    },
    Boot {
        name: "a_board_without_psci_reboots_by_its_watchdog",
        extra: "",
        command: "reboot; echo not gone; poweroff 3",
        says: &["Ctrl-A X"],
        never: STILL_THERE,
        status: 0,
    },
    Boot {
        name: "a_board_without_psci_is_halted_by_its_watchdog",
        extra: "exit=psci",
        command: "poweroff; echo not gone",
        says: &["stint: halted"],
        never: STILL_THERE,
        status: 0,
    },
];

/// One trial per boot.
pub fn trials(followers: &mut Vec<Trial>) {
    followers.push(Trial::test(
        "selftest::a_machine_without_the_devices_passes_and_says_what_is_not_there",
        || {
            let wishes = Wishes { command: Some("selftest"), extra: "", interactive: false };
            let bootargs = bootargs::compose(&wishes).map_err(message)?;
            let image = &built(&STINT).map_err(message)?.image;
            let machine = Machine { cpus: 4, ..Machine::measuring() };
            let captured = qemu::capture(qemu::command(&machine, Payload::Image(image), &bootargs), SHORT);
            let captured = captured.map_err(message)?;
            let result = "result selftest.failed 0 checks ok=8 absent=4 failed=0";
            if captured.end == End::Exited(0) && captured.console.contains(result) {
                return Ok(());
            }
            Err(format!("{}; expected `{result}`\n{}", captured.end, excerpt(&captured.console)).into())
        },
    ));
    for boot in BOOTS {
        followers.push(Trial::test(format!("rpi4::{}", boot.name), || {
            let name = format!("rpi4-{}", boot.name);
            let captured = boot_rpi4(&name, DEVICES_TREE, boot.command, boot.extra, &[]).map_err(message)?;
            let mut rest = &*captured.console;
            for phrase in boot.says {
                let Some((_, behind)) = rest.split_once(phrase) else {
                    let console = excerpt(&captured.console);
                    return Err(format!("{}; expected `{phrase}`\n{console}", captured.end).into());
                };
                rest = behind;
            }
            if captured.console.contains(boot.never) {
                return Err(format!("`{}` was said\n{}", boot.never, excerpt(&captured.console)).into());
            }
            if captured.end == End::Exited(boot.status) {
                Ok(())
            } else {
                Err(captured.end.to_string().into())
            }
        }));
    }
}
