//! Describes the machine that QEMU emulates, and turns the description into its arguments.
//!
//! Invariant: nothing about a run comes from the host. The device tree carries no random seeds, the real-time
//! clock starts on a fixed day, there is no network card, and under `icount` one instruction takes one
//! nanosecond, so two runs of one machine print the same bytes. Without `icount` time is the host's.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Under `-icount shift=0` with this counter frequency one tick is one instruction.
pub const ONE_TICK_PER_INSTRUCTION_HZ: u64 = 1_000_000_000;

/// The most CPUs that the kernel knows.
pub const CPUS_MAX: u32 = 64;
/// The most CPUs that a GICv2 can serve.
pub const CPUS_MAX_GICV2: u32 = 8;

/// The frequency that the firmware of a Raspberry Pi 4 gives the generic timer. QEMU counts in whole nanoseconds, here
/// 18 of them, so its counter is 2.9 % faster than this says.
pub const PI_TIMER_HZ: u64 = 54_000_000;
/// CPUs of a Raspberry Pi 4.
pub const PI_CPUS: u32 = 4;

/// Which board is emulated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Board {
    /// `-M virt`, which is what the other fields of a [`Machine`] say.
    #[default]
    Virt,
    /// `-M raspi4b`: four CPUs, a GICv2, 2 GiB, entered at EL2, none of which can be chosen.
    RaspberryPi4 {
        /// The device tree to hand over: without one QEMU passes no tree at all.
        tree: PathBuf,
    },
}

/// An emulated machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Which board.
    pub board: Board,
    /// Version of the interrupt controller: 2 or 3.
    pub gic: u8,
    /// QEMU's name of the processor, without properties.
    pub cpu: String,
    /// How many of it.
    pub cpus: u32,
    /// Enter at EL2.
    pub el2: bool,
    /// An interrupt controller with Security Extensions, seen from the non-secure side, as on silicon.
    pub secure: bool,
    /// Frequency of the generic timer; `None` leaves QEMU's default (62.5 MHz).
    pub timer_hz: Option<u64>,
    /// Deterministic time: one instruction is one nanosecond.
    pub icount: bool,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Arguments appended as they are; a second `-M` adds to the first.
    pub extra: Vec<String>,
}

impl Default for Machine {
    /// What `make run` boots.
    fn default() -> Self {
        Self {
            board: Board::Virt,
            gic: 3,
            cpu: "cortex-a72".into(),
            cpus: 1,
            el2: false,
            secure: false,
            timer_hz: None,
            icount: false,
            memory_mib: 256,
            extra: Vec::new(),
        }
    }
}

impl Machine {
    /// The machine every figure is measured on: deterministic, one tick per instruction.
    #[must_use]
    pub fn measuring() -> Self {
        Self { icount: true, timer_hz: Some(ONE_TICK_PER_INSTRUCTION_HZ), ..Self::default() }
    }

    /// A Raspberry Pi 4 with this device tree.
    #[must_use]
    pub fn raspberry_pi4(tree: PathBuf) -> Self {
        Self {
            board: Board::RaspberryPi4 { tree },
            gic: 2,
            cpus: PI_CPUS,
            el2: true,
            timer_hz: Some(PI_TIMER_HZ),
            memory_mib: 2048,
            ..Self::default()
        }
    }

    /// What is wrong with the number of CPUs, if anything is: the kernel knows 64, a GICv2 can serve 8.
    ///
    /// # Errors
    /// With the number and what would be right.
    pub fn check_cpus(&self) -> Result<()> {
        if let Board::RaspberryPi4 { .. } = self.board {
            ensure!(
                self.cpus == PI_CPUS,
                "SMP is {}; a Raspberry Pi 4 has {PI_CPUS} CPUs; BOOTARGS=nr_cpus={} uses fewer of them",
                self.cpus,
                self.cpus.clamp(1, PI_CPUS)
            );
        }
        let most = if self.gic == 2 { CPUS_MAX_GICV2 } else { CPUS_MAX };
        ensure!(
            (1..=most).contains(&self.cpus),
            "SMP is {}; 1 to {most} would be right with a GICv{}",
            self.cpus,
            self.gic
        );
        Ok(())
    }

    /// Value of `-M`.
    #[must_use]
    pub fn machine_option(&self) -> String {
        if let Board::RaspberryPi4 { .. } = self.board {
            return "raspi4b".into();
        }
        let mut option = format!("virt,gic-version={},dtb-randomness=off", self.gic);
        if self.el2 {
            option += ",virtualization=on";
        }
        if self.secure {
            option += ",secure=on";
        }
        option
    }

    /// All arguments but the kernel, the console and the command line.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let cpu = match self.timer_hz {
            Some(hz) => format!("{},cntfrq={hz}", self.cpu),
            None => self.cpu.clone(),
        };
        let mut arguments: Vec<String> = vec!["-M".into(), self.machine_option(), "-cpu".into(), cpu];
        match &self.board {
            Board::Virt => {
                arguments.extend(["-m".into(), self.memory_mib.to_string()]);
                if self.cpus > 1 {
                    arguments.extend(["-smp".into(), self.cpus.to_string()]);
                }
            }
            // Memory and CPUs cannot be chosen.
            Board::RaspberryPi4 { tree } => arguments.extend(["-dtb".into(), tree.display().to_string()]),
        }
        let fixed = "-display none -nic none -no-reboot -semihosting-config enable=on,target=native";
        arguments.extend(fixed.split(' ').map(str::to_owned));
        if self.icount {
            // `sleep=off`: an idle machine jumps to its next timer instead of waiting for the host's clock.
            let icount = "-icount shift=0,sleep=off -rtc base=2020-01-01,clock=vm";
            arguments.extend(icount.split(' ').map(str::to_owned));
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// The emulator to call; `QEMU` in the environment overrides the name.
#[must_use]
pub fn program() -> String {
    std::env::var("QEMU").ok().filter(|q| !q.is_empty()).unwrap_or_else(|| "qemu-system-aarch64".into())
}

/// First line of `qemu-system-aarch64 --version`.
///
/// # Errors
/// When QEMU cannot be started; the message says how to get it.
pub fn version() -> Result<String> {
    let output = Command::new(program()).arg("--version").output().with_context(|| {
        format!(
            "cannot start `{}`: run tools/setup.sh, or install QEMU 9 or newer (Debian: qemu-system-arm)",
            program()
        )
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => bail!("`{} --version` failed: {}", program(), String::from_utf8_lossy(&output.stderr).trim()),
    }
}

/// Splits `QEMU_ARGS` as a shell would: at blanks, with quotes keeping words together.
///
/// # Errors
/// When a quote is not closed.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed in {text:?}");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_machine_is_the_one_the_readme_names() {
        let line = Machine::default().arguments().join(" ");
        assert!(
            line.starts_with("-M virt,gic-version=3,dtb-randomness=off -cpu cortex-a72 -m 256 "),
            "{line}"
        );
        assert!(!line.contains("icount"));
    }

    #[test]
    fn measuring_makes_one_tick_one_instruction() {
        let line = Machine::measuring().arguments().join(" ");
        assert!(line.contains("-cpu cortex-a72,cntfrq=1000000000"), "{line}");
        assert!(line.contains("-icount shift=0,sleep=off"), "{line}");
    }

    #[test]
    fn a_silicon_like_machine_has_el2_and_a_secure_gic() {
        let machine = Machine { gic: 2, el2: true, secure: true, ..Machine::default() };
        assert_eq!(
            machine.machine_option(),
            "virt,gic-version=2,dtb-randomness=off,virtualization=on,secure=on"
        );
    }

    #[test]
    fn a_second_cpu_is_asked_for_and_the_only_one_is_not() {
        assert!(!Machine::default().arguments().contains(&"-smp".to_owned()));
        let line = Machine { cpus: 4, ..Machine::default() }.arguments().join(" ");
        assert!(line.contains("-m 256 -smp 4 "), "{line}");
    }

    #[test]
    fn the_number_of_cpus_has_the_limits_of_the_kernel_and_of_the_interrupt_controller() {
        let check = |gic, cpus| Machine { gic, cpus, ..Machine::default() }.check_cpus();
        assert!(check(3, 1).is_ok() && check(3, 64).is_ok() && check(2, 8).is_ok());
        let message = |gic, cpus| check(gic, cpus).unwrap_err().to_string();
        assert_eq!(message(3, 0), "SMP is 0; 1 to 64 would be right with a GICv3");
        assert_eq!(message(3, 65), "SMP is 65; 1 to 64 would be right with a GICv3");
        assert_eq!(message(2, 9), "SMP is 9; 1 to 8 would be right with a GICv2");
    }

    #[test]
    fn a_raspberry_pi_has_a_tree_and_nothing_that_cannot_be_chosen() {
        let machine = Machine { icount: true, ..Machine::raspberry_pi4("a.dtb".into()) };
        let line = machine.arguments().join(" ");
        assert!(
            line.starts_with("-M raspi4b -cpu cortex-a72,cntfrq=54000000 -dtb a.dtb -display none "),
            "{line}"
        );
        assert!(
            line.contains("-icount shift=0") && !line.contains("-smp") && !line.contains("-m 2"),
            "{line}"
        );
        assert!(machine.check_cpus().is_ok());
        let message = Machine { cpus: 2, ..machine }.check_cpus().unwrap_err().to_string();
        assert!(message.contains("SMP is 2; a Raspberry Pi 4 has 4 CPUs; BOOTARGS=nr_cpus=2"), "{message}");
    }

    #[test]
    fn words_split_as_in_a_shell() {
        assert_eq!(split_words(" -d int  -D 'a b' \"\" ").unwrap(), ["-d", "int", "-D", "a b", ""]);
        assert!(split_words("").unwrap().is_empty());
        assert!(split_words("-D 'a").unwrap_err().to_string().contains("not closed"));
    }
}
