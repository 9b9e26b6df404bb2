//! Starts QEMU and never leaves one behind.
//!
//! Invariants: a captured run ends, whatever the guest does: it exits, or it is killed because it took too
//! long, said nothing for too long, said too much, or can never wake again. QEMU is killed by SIGKILL, since
//! it has been seen to ignore SIGTERM, and where `setpriv` exists the system kills it when this process dies.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::machine::{self, Machine};

/// QEMU's remark when every processor sleeps and no timer will ever wake one.
const DEADLOCK_REMARK: &str = "icount sleep disabled and no active timers";
/// The kernel's last line when it can neither go on nor switch the machine off.
const HALTED_LINE: &str = "stint: halted";
/// How long a guest that is as good as dead may still print.
const GRACE: Duration = Duration::from_millis(300);
/// More console text than this is a guest running wild.
const FLOOD_BYTES: usize = 16 << 20;
/// In QEMU's remarks, before the guest starts, on every device in a Raspberry Pi's tree that it does not emulate.
const EXPECTED_REMARK: &str = "warning: bcm2711 dtc: ";
/// How often the limits are looked at.
const POLL: Duration = Duration::from_millis(100);

/// When to lose patience.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whole run.
    pub total: Duration,
    /// Time without a single byte on the console.
    pub silence: Duration,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest ended it with this status.
    Exited(i32),
    /// QEMU itself died of a signal.
    Signal(String),
    /// Killed: the whole run took too long.
    TooLong(Duration),
    /// Killed: no output for too long.
    Silent(Duration),
    /// Killed: every CPU sleeps and no timer is armed.
    Deadlock,
    /// Killed: the kernel said that it halts.
    Halted,
    /// Killed: too much output.
    Flood,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(101) => write!(f, "the guest panicked (exit status 101)"),
            Self::Exited(status) => write!(f, "the guest exited with status {status}"),
            Self::Signal(signal) => write!(f, "QEMU was killed by {signal}"),
            Self::TooLong(limit) => write!(f, "killed: still running after {} s", limit.as_secs()),
            Self::Silent(limit) => write!(f, "killed: no output for {} s", limit.as_secs()),
            Self::Deadlock => {
                write!(f, "killed: every CPU sleeps and no timer is armed, so nothing can happen any more")
            }
            Self::Halted => write!(f, "the kernel halted"),
            Self::Flood => write!(f, "killed: more than {} MiB of output", FLOOD_BYTES >> 20),
        }
    }
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Everything that the console and QEMU printed.
    pub console: String,
    /// How it ended.
    pub end: End,
}

impl Captured {
    /// Whether the guest ended the run itself and reported success.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.end == End::Exited(0)
    }
}

/// What QEMU starts.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// A flat image, the way a boot loader starts it: with the device tree in x0.
    Image(&'a Path),
    /// Nothing by itself: the arguments in [`Machine::extra`] load what there is.
    None,
}

/// A command that starts `machine`; the console is not connected yet.
#[must_use]
pub fn command(machine: &Machine, payload: Payload<'_>, bootargs: &str) -> Command {
    let mut command = guarded();
    command.args(machine.arguments());
    if let Payload::Image(image) = payload {
        command.arg("-kernel").arg(image).args(["-append", bootargs]);
    }
    command
}

/// QEMU under `setpriv`, so that it cannot outlive us.
fn guarded() -> Command {
    let setpriv = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join("setpriv")).find(|file| file.is_file())
    });
    match setpriv {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(machine::program());
            command
        }
        None => Command::new(machine::program()),
    }
}

/// Runs a command from [`command`] to its end and keeps what it prints.
///
/// # Errors
/// When QEMU cannot be started or watched; a guest that dies is not an error.
pub fn capture(command: Command, limits: Limits) -> Result<Captured> {
    capture_and_look(command, limits, |_| {})
}

/// As [`capture`]; `look` sees everything that was printed until then, whenever there is more.
///
/// # Errors
/// As [`capture`].
pub fn capture_and_look(mut command: Command, limits: Limits, look: impl FnMut(&[u8])) -> Result<Captured> {
    let (mut reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command
        .args(["-monitor", "none", "-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("cannot share a pipe")?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`: run tools/setup.sh", machine::program()))?;
    // The command holds the write ends of the pipe; the reader sees the end only when they are closed.
    drop(command);
    let (sender, chunks) = mpsc::channel();
    let pump = std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count) = reader.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let watched = watch(&mut child, &chunks, limits, look);
    // Whatever happened: nothing is left running, and nothing said last is lost.
    let _ = child.kill();
    let _ = child.wait();
    let (mut console, end) = watched?;
    console.extend(chunks.iter().flatten());
    let _ = pump.join();
    Ok(Captured { console: without_expected_remarks(&String::from_utf8_lossy(&console)), end })
}

/// The text without the lines that say nothing of this run.
fn without_expected_remarks(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.contains(EXPECTED_REMARK)).collect()
}

/// Starts a command from [`command`] whose console goes somewhere already. QEMU's own remarks go on to standard error,
/// but for those that say nothing of this run.
///
/// # Errors
/// When QEMU cannot be started.
pub fn spawn_with_remarks(mut command: Command) -> Result<Child> {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`: run tools/setup.sh", machine::program()))?;
    if let Some(remarks) = child.stderr.take() {
        // Ends with QEMU, and at the latest with this process.
        let _ = std::thread::spawn(move || {
            for line in BufReader::new(remarks).lines().map_while(Result::ok) {
                if !line.contains(EXPECTED_REMARK) {
                    eprintln!("{line}");
                }
            }
        });
    }
    Ok(child)
}

fn watch(
    child: &mut Child,
    chunks: &mpsc::Receiver<Vec<u8>>,
    limits: Limits,
    mut look: impl FnMut(&[u8]),
) -> Result<(Vec<u8>, End)> {
    let start = Instant::now();
    let mut last_heard = start;
    let mut console: Vec<u8> = Vec::new();
    let mut dying: Option<(Instant, End)> = None;
    loop {
        match chunks.recv_timeout(POLL) {
            Ok(chunk) => {
                let seen = console.len();
                console.extend(chunk);
                last_heard = Instant::now();
                look(&console);
                if dying.is_none() {
                    dying = last_words(&console, seen).map(|end| (last_heard, end));
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // The console is closed: QEMU is exiting and only its status is missing.
            Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(2)),
        }
        if let Some(status) = child.try_wait().context("cannot ask for QEMU's status")? {
            return Ok((console, ended(status)));
        }
        if console.len() > FLOOD_BYTES {
            return Ok((console, End::Flood));
        }
        if let Some((since, end)) = &dying
            && since.elapsed() >= GRACE
        {
            return Ok((console, end.clone()));
        }
        if start.elapsed() >= limits.total {
            return Ok((console, End::TooLong(limits.total)));
        }
        if last_heard.elapsed() >= limits.silence {
            return Ok((console, End::Silent(limits.silence)));
        }
    }
}

/// Looks for a sign, in what was printed since `seen`, that nothing more will come.
fn last_words(console: &[u8], seen: usize) -> Option<End> {
    // A sign may lie across two chunks.
    let from = seen.saturating_sub(DEADLOCK_REMARK.len());
    let recent = String::from_utf8_lossy(&console[from..]);
    // A kernel that halts lets QEMU remark that nothing can happen any more; it has said so itself first.
    if recent.contains(HALTED_LINE) {
        Some(End::Halted)
    } else if recent.contains(DEADLOCK_REMARK) {
        Some(End::Deadlock)
    } else {
        None
    }
}

fn ended(status: ExitStatus) -> End {
    match status.code() {
        Some(code) => End::Exited(code),
        None => End::Signal(status.to_string()),
    }
}

/// Waits for a child whose output goes straight to the terminal, and kills it after `limit`.
///
/// # Errors
/// When the child cannot be asked for its status.
pub fn wait(child: &mut Child, limit: Option<Duration>) -> Result<End> {
    let Some(limit) = limit else {
        return Ok(ended(child.wait().context("cannot wait for QEMU")?));
    };
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot ask for QEMU's status")? {
            return Ok(ended(status));
        }
        if start.elapsed() >= limit {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(End::TooLong(limit));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_death_is_found_across_chunks() {
        let text = b"boot\nqemu-system-aarch64: warning: icount sleep disabled and no active timers\n";
        assert_eq!(last_words(text, 60), Some(End::Deadlock));
        assert_eq!(last_words(&text[..40], 0), None);
        assert_eq!(last_words(b"stint: no device tree\nstint: halted\n", 30), Some(End::Halted));
    }

    #[test]
    fn every_end_says_what_happened() {
        assert!(End::Exited(101).to_string().contains("panicked"));
        assert!(End::Silent(Duration::from_secs(9)).to_string().contains("no output for 9 s"));
    }

    /// A program that takes QEMU's arguments and does what `script` says.
    fn pretend(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn run(script: &str, silence_ms: u64, total_ms: u64) -> Captured {
        let limits =
            Limits { total: Duration::from_millis(total_ms), silence: Duration::from_millis(silence_ms) };
        capture(pretend(script), limits).unwrap()
    }

    const AGES_MS: u64 = 60_000;

    #[test]
    fn the_last_words_and_the_status_of_a_guest_are_kept() {
        let captured = run("echo first; echo last >&2; exit 7", AGES_MS, AGES_MS);
        assert_eq!((captured.console.as_str(), captured.end), ("first\nlast\n", End::Exited(7)));
    }

    #[test]
    fn whoever_looks_sees_what_was_said_while_the_guest_runs() {
        let limits =
            Limits { total: Duration::from_millis(AGES_MS), silence: Duration::from_millis(AGES_MS) };
        let mut seen = Vec::new();
        let script = "echo one; sleep 0.3; echo two; sleep 0.3; exit 0";
        capture_and_look(pretend(script), limits, |console| seen.push(console.to_vec())).unwrap();
        assert_eq!(seen.first().map(Vec::as_slice), Some(&b"one\n"[..]));
        assert_eq!(seen.last().map(Vec::as_slice), Some(&b"one\ntwo\n"[..]));
    }

    #[test]
    fn what_qemu_says_of_every_raspberry_pi_is_not_part_of_the_console() {
        let captured = run(
            "echo 'qemu: warning: bcm2711 dtc: x has been disabled!' >&2; echo 'qemu: warning: y' >&2; exit 0",
            AGES_MS,
            AGES_MS,
        );
        assert_eq!(captured.console, "qemu: warning: y\n");
    }

    #[test]
    fn a_silent_guest_is_killed_with_what_it_said() {
        let captured = run("echo hello; exec sleep 60", 300, AGES_MS);
        assert_eq!(captured.end, End::Silent(Duration::from_millis(300)));
        assert_eq!(captured.console, "hello\n");
    }

    #[test]
    fn a_guest_that_talks_for_ever_is_killed() {
        assert_eq!(
            run("while :; do echo x; sleep 0.05; done", AGES_MS, 500).end,
            End::TooLong(Duration::from_millis(500))
        );
        assert_eq!(run("exec yes", AGES_MS, AGES_MS).end, End::Flood);
    }

    #[test]
    fn a_guest_that_cannot_wake_again_is_not_waited_for() {
        let script = format!("echo 'warning: {DEADLOCK_REMARK}'; exec sleep 60");
        assert_eq!(run(&script, AGES_MS, AGES_MS).end, End::Deadlock);
        let script = format!("echo '{HALTED_LINE}\n{DEADLOCK_REMARK}'; exec sleep 60");
        assert_eq!(run(&script, AGES_MS, AGES_MS).end, End::Halted);
    }
}
