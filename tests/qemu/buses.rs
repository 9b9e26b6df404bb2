//! The buses of a Raspberry Pi 4, with QEMU's devices on them.
//!
//! Invariant: what the shell shows is what the device is known to answer. The emulator ends an I2C transfer with the last
//! byte and knows no repeated start: that there is one is shown on a model (src/drivers/bcm2711/i2c_tests.rs).

use libtest_mimic::Trial;
use stint_tools::qemu::End;
use stint_tools::suite::excerpt;

use crate::boot::{DEVICES_TREE, boot_rpi4, message};

/// A thermometer with registers of two bytes: 2 and 3 are limits of 75 and 80 degrees, which can be written.
const THERMOMETER: &str = "tmp105,bus=i2c-bus.1,address=0x48";

/// A boot: name, devices, what is typed, what is said in this order, what is never said, and the status.
type Boot = (&'static str, &'static [&'static str], &'static str, &'static [&'static str], &'static str, i32);

const BOOTS: &[Boot] = &[
    (
        "i2c_finds_reads_and_writes_a_thermometer",
        &["-device", THERMOMETER],
        "i2c; i2c scan; i2c read 0x48 2 from 2; i2c write 0x48 3 0x12 0x30; i2c read 0x48 2 from 3; i2c read 72 1",
        &["0  i2c@7e804000  100 kHz", "0x48", "1 found on i2c@7e804000", "4b 00", "12 30", "12"],
        "0x49",
        0,
    ),
    (
        "i2c_says_what_was_wrong",
        &[],
        "i2c scan; i2c read 0x20 1; i2c read 128 1; i2c read 0x48 99; i2c bus=7 scan; i2c write 0x48 256; i2c frob",
        &[
            "0 found on i2c@7e804000",
            "i2c: 0x20 does not acknowledge",
            "i2c: 128: an address from 0 to 0x7f was expected, in decimal or with 0x",
            "i2c: 99: a number of bytes from 1 to 64 was expected",
            "i2c: bus=7: there is no such bus",
            "i2c: 256: a byte from 0 to 0xff was expected",
            "i2c: [bus=0] and then scan, ",
        ],
        "panic",
        1,
    ),
    // The emulator does not move the select lines, so the first command of a boot is the only one that the chip takes.
    (
        "spi_reads_the_identity_of_a_flash_chip",
        &["-device", "w25q80bl,bus=spi"],
        "spi hz=20000000 0x9f 0 0 0",
        &["00 ef 40 14"],
        "spi:",
        0,
    ),
    (
        "spi_says_what_was_wrong",
        &[],
        "spi; spi loop; spi mode=4 1; spi hz=0 1; spi chip=2 1; spi 1 frob",
        &[
            "spi: [chip=0] [mode=0] [hz=1000000] and then loop, or bytes were expected",
            "spi: 100 of 100 bytes came back wrong; GPIO 10 (header pin 19) is to be wired to GPIO 9 (pin 21)",
            "spi: 4: a mode from 0 to 0x3 was expected",
            "spi: hz=0: a number from 1 to 125000000 was expected",
            "spi: 2: a chip from 0 to 0x1 was expected",
            "spi: frob: a byte from 0 to 0xff was expected",
        ],
        "panic",
        1,
    ),
    // The emulator has neither the block nor its clock, which must be noticed.
    (
        "pwm_says_what_was_wrong",
        &[],
        "pwm; pwm 17 50 7; pwm 18 0 7; pwm 18 50 101; pwm 18 50 7",
        &[
            "pwm: pin hz percent, or off, was expected",
            "pwm: 17: one of the pins 12, 13, 18 and 19 was expected",
            "pwm: 0 Hz cannot be made; 1 to 270000 can",
            "pwm: 101: a share from 0 to 0x64 was expected",
            "pwm: the clock of the PWM does not obey, control ",
        ],
        "panic",
        1,
    ),
];

/// One trial per boot.
pub fn trials(followers: &mut Vec<Trial>) {
    for &(name, devices, command, says, never, status) in BOOTS {
        followers.push(Trial::test(format!("buses::{name}"), move || {
            let devices: Vec<String> = devices.iter().map(ToString::to_string).collect();
            let captured =
                boot_rpi4(&format!("buses-{name}"), DEVICES_TREE, command, "", &devices).map_err(message)?;
            // The banner repeats what was typed.
            let console = captured.console.replace('\r', "");
            let said = console.split_once("help lists the commands").map_or(&*console, |(_, said)| said);
            let mut rest = said;
            for phrase in says {
                let Some((_, behind)) = rest.split_once(phrase) else {
                    return Err(
                        format!("{}; expected `{phrase}`\n{}", captured.end, excerpt(&console)).into()
                    );
                };
                rest = behind;
            }
            if said.contains(never) {
                return Err(format!("`{never}` was said\n{}", excerpt(&console)).into());
            }
            if captured.end == End::Exited(status) { Ok(()) } else { Err(captured.end.to_string().into()) }
        }));
    }
}
