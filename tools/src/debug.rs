//! `stint-tools debug`: QEMU, stopped at its first instruction, with gdb attached.
//!
//! Invariants: Ctrl-C in gdb interrupts the guest and nothing else, which is why QEMU gets a process group of
//! its own and this process becomes gdb; QEMU ends when gdb does. The console goes to a file, since gdb owns
//! the terminal.
#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::bootargs::{self, Wishes};
use crate::cargo;
use crate::qemu::{self, Payload};
use crate::run::MachineOptions;

/// Time for QEMU to open its socket.
const SOCKET_WAIT: Duration = Duration::from_secs(10);

/// Options of `debug`.
#[derive(Args, Clone, Debug)]
pub struct DebugOptions {
    /// What to boot: stint, ktest, bench, sweep, or the name of an example
    #[arg(default_value = "stint")]
    pub image: String,
    /// Shell commands separated by `;`; without them the shell waits for input that cannot come
    #[arg(long, env = "STINT_CMD", allow_hyphen_values = true)]
    pub cmd: Option<String>,
    /// The debugger
    #[arg(long, env = "GDB", default_value = "gdb-multiarch")]
    pub gdb: String,
    /// Run this gdb command; may be given several times
    #[arg(long = "ex", allow_hyphen_values = true)]
    pub commands: Vec<String>,
    /// The machine
    #[command(flatten)]
    pub machine: MachineOptions,
}

/// Builds, boots and becomes gdb; returns only if that fails.
///
/// # Errors
/// When the image does not build, or QEMU or gdb cannot be started.
pub fn debug(options: &DebugOptions) -> Result<()> {
    let wishes =
        Wishes { extra: &options.machine.bootargs, command: options.cmd.as_deref(), interactive: true };
    let bootargs = bootargs::compose(&wishes)?;
    let machine = options.machine.machine()?;
    let built = cargo::build(&options.image)?;
    let root = cargo::root()?;
    let console = cargo::target_dir()?.join("debug-console.log");
    // Socket paths are limited to about a hundred bytes, which a target directory may exceed.
    let socket = std::env::temp_dir().join(format!("stint-gdb-{}.sock", std::process::id()));

    let mut emulator = qemu::command(&machine, Payload::Image(&built.image), &bootargs);
    emulator
        .args(["-monitor", "none", "-serial"])
        .arg(format!("file:{}", console.display()))
        .args(["-S", "-gdb"])
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .stdin(Stdio::null())
        .process_group(0);
    let mut child = qemu::spawn_with_remarks(emulator)?;
    let start = Instant::now();
    while !socket.exists() {
        if let Some(status) = child.try_wait().context("cannot ask for QEMU's status")? {
            bail!("QEMU ended before gdb could attach ({status}); its message is above");
        }
        if start.elapsed() > SOCKET_WAIT {
            let _ = child.kill();
            bail!("QEMU did not open {} within {} s", socket.display(), SOCKET_WAIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }

    eprintln!("console: tail -f {}", console.display());
    eprintln!("gdb commands of this kernel: tasks, runq, preempt; `continue` starts it, Ctrl-C stops it");
    let mut gdb = Command::new(&options.gdb);
    gdb.args(["-q", "-ex", "set confirm off", "-ex", "set pagination off"])
        .arg("-x")
        .arg(root.join("tools/gdb/stint.py"))
        .arg("-ex")
        .arg(format!("target remote {}", socket.display()))
        // Both ends hold their connection now; the name is not needed any more.
        .arg("-ex")
        .arg(format!("python import os; os.unlink('{}')", socket.display()));
    for command in &options.commands {
        gdb.args(["-ex", command]);
    }
    let error = gdb.arg(&built.elf).current_dir(root).exec();
    let _ = child.kill();
    let _ = std::fs::remove_file(&socket);
    Err(error).with_context(|| {
        format!(
            "cannot start `{}`: run `tools/setup.sh gdb`, or install gdb with support for AArch64",
            options.gdb
        )
    })
}
