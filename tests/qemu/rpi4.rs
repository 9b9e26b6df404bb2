//! The devices of a Raspberry Pi 4, as far as QEMU's `raspi4b` has them, asked at the shell.
//!
//! The tree (tests/data/rpi4-devices.dts) describes them as the board's own does. What the emulator does not model is said
//! in the phrases that are expected: it must be noticed, and not taken for an answer.
//!
//! Invariant: a trial is one boot; what the console says is expected in the order that is written here.

use std::process::Command;

use libtest_mimic::{Failed, Trial};
use stint_tools::bootargs::{self, Wishes};
use stint_tools::machine;
use stint_tools::qemu::{self, Captured, End};
use stint_tools::suite::excerpt;

use crate::boot::{SHORT, STINT, built, keep, message};

const TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rpi4-devices.dtb");

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
    for boot in BOOTS {
        followers.push(Trial::test(format!("rpi4::{}", boot.name), || {
            let captured = run(boot)?;
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

fn run(boot: &Boot) -> Result<Captured, Failed> {
    let wishes = Wishes { command: Some(boot.command), extra: boot.extra, interactive: false };
    let bootargs = bootargs::compose(&wishes).map_err(message)?;
    let image = &built(&STINT).map_err(message)?.image;
    let mut command = Command::new(machine::program());
    command.args(["-M", "raspi4b", "-cpu", "cortex-a72,cntfrq=54000000", "-dtb", TREE]);
    command.args(["-display", "none", "-no-reboot"]);
    command.args(["-semihosting-config", "enable=on,target=native", "-icount", "shift=0,sleep=off"]);
    command.args(["-append", &bootargs, "-kernel"]).arg(image);
    let captured = qemu::capture(command, SHORT).map_err(message)?;
    keep(&format!("rpi4-{}", boot.name), &captured.console).map_err(message)?;
    Ok(captured)
}
