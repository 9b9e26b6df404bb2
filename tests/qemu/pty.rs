//! A guest whose serial line is a pseudo-terminal, and a person at a terminal who answers what is said.
//!
//! Invariants: the guest does not start before somebody has its line, so nothing that it says is lost; it is killed
//! when it is dropped; a conversation that does not get on ends with what was heard so far.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stint_tools::serial;

/// QEMU, and the line.
pub struct Guest {
    child: Child,
    monitor: ChildStdin,
    /// Name of the line's end for us.
    pub dev: String,
}

impl Guest {
    /// Starts QEMU with its CPUs stopped.
    pub fn start(mut command: Command) -> Result<Self> {
        let (mut reader, writer) = std::io::pipe()?;
        command.args(["-serial", "pty", "-monitor", "stdio", "-S"]);
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn().context("cannot start QEMU")?;
        drop(command);
        let monitor = child.stdin.take().context("QEMU has no standard input")?;
        let mut said = String::new();
        let mut byte = [0];
        // QEMU says the name before anything else of length, or ends.
        let dev = loop {
            if reader.read(&mut byte)? == 0 {
                let _ = child.kill();
                let _ = child.wait();
                bail!("QEMU ended without a line: {said}");
            }
            said.push(char::from(byte[0]));
            if let Some((_, rest)) = said.split_once("redirected to ")
                && let Some((dev, _)) = rest.split_once(' ')
            {
                break dev.to_owned();
            }
        };
        // What the monitor says is nobody's business, but it must not block.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok(Self { child, monitor, dev })
    }

    /// Lets the CPUs run.
    pub fn go(&mut self) -> Result<()> {
        self.monitor
            .write_all(b"cont\n")
            .and_then(|()| self.monitor.flush())
            .context("QEMU's monitor is gone")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What to wait for, and the keys to press then.
pub type Step = (&'static str, &'static str);

/// Leaves the terminal.
pub const LEAVE: &str = "\u{1}x";

/// Has a conversation by the terminal that people use; returns what the log of it has.
pub fn converse(line: File, steps: &[Step], limit: Duration) -> Result<String> {
    let (press, keys) = mpsc::channel();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let person = Person { steps: steps.iter().copied().collect(), unread: String::new(), press };
    let (done, ended) = mpsc::channel();
    let log = Log(Arc::clone(&heard));
    std::thread::spawn(move || done.send(serial::converse(line, Fingers(keys), person, log)));
    let result = ended.recv_timeout(limit);
    let text = String::from_utf8_lossy(&heard.lock().map_err(|_| anyhow::anyhow!("the log is broken"))?)
        .into_owned();
    match result {
        Ok(Ok(())) => Ok(text),
        Ok(Err(error)) => bail!("{error:#}; heard until then:\n{text}"),
        Err(_) => bail!("nothing came of it within {} s; heard until then:\n{text}", limit.as_secs()),
    }
}

/// Reads the screen and presses keys.
struct Person {
    steps: VecDeque<Step>,
    unread: String,
    press: mpsc::Sender<u8>,
}

impl Write for Person {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.unread += &String::from_utf8_lossy(bytes);
        while let Some((waits, keys)) = self.steps.front()
            && let Some((_, rest)) = self.unread.split_once(waits)
        {
            for key in keys.bytes() {
                let _ = self.press.send(key);
            }
            self.unread = rest.to_owned();
            self.steps.pop_front();
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Fingers(mpsc::Receiver<u8>);

impl Read for Fingers {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Ok(key) = self.0.recv() else { return Ok(0) };
        buffer[0] = key;
        Ok(1)
    }
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Ok(mut log) = self.0.lock() {
            log.extend(bytes);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
