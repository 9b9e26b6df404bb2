//! Reads ftrace text out of a console.
//!
//! The kernel's command `trace show` prints what Linux's `trace` file has: a header of lines that begin with `#`, a line
//! for each event, and `# end of trace`. On a serial line the kernel's own messages may lie between them, and bytes may
//! be spoilt.
//!
//! ```text
//!           <idle>-0       [001] dNh1     1.234567890: sched_waking: comm=shell pid=7 prio=120 target_cpu=001
//! ```
//!
//! Invariants: no input is an error. A line that was meant to be an event and does not hold together is not used, and is
//! listed with its number and the reason; lines that are something else are counted. Entries are in the order of time; those of
//! one time are in the order of their CPUs, as viewers have them, and those of one CPU in that of the text.
#![forbid(unsafe_code)]

use crate::serial_log::{Damaged, clean};

/// The last line of a trace that is whole.
pub const END: &str = "# end of trace";
/// The header's first line, without the tracer's name.
const TRACER: &str = "# tracer: ";
/// In the header: how many entries there are, how many there were, how many CPUs.
const COUNTS: &str = "# entries-in-buffer/entries-written: ";
/// No machine has more CPUs than this; a number above it is a spoilt line.
const MOST_CPUS: u32 = 1024;
/// In one place, more than any run can lose: what is lost in all the lines of a file adds up.
const MOST_LOST: u64 = 1 << 40;
/// A payload longer than this is a line that has lost its end.
const LONGEST_PAYLOAD_BYTES: usize = 1024;
const NSEC_PER_SEC: u64 = 1_000_000_000;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of its line in the text, from 1.
    pub line: usize,
    /// Name of the task that ran.
    pub comm: String,
    /// Its number.
    pub pid: i32,
    /// Where it ran.
    pub cpu: u32,
    /// What the CPU was doing.
    pub flags: Flags,
    /// When.
    pub ns: u64,
    /// What happened: the event's name.
    pub event: String,
    /// Its fields, as text.
    pub payload: String,
    /// Events of this CPU that were lost before it.
    pub lost: u64,
}

/// The four characters before the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags([u8; 4]);

/// Bits that a binary record has for the first three characters.
pub mod flag {
    /// Interrupts are masked.
    pub const IRQS_OFF: u8 = 0x01;
    /// It is not known whether interrupts are masked.
    pub const UNKNOWN: u8 = 0x02;
    /// The task was asked to give way.
    pub const NEED_RESCHED: u8 = 0x04;
    /// In an interrupt.
    pub const HARDIRQ: u8 = 0x08;
    /// In a softirq.
    pub const SOFTIRQ: u8 = 0x10;
    /// The preempt word says that the task was asked.
    pub const FOLDED: u8 = 0x20;
    /// In an interrupt that cannot be masked.
    pub const NMI: u8 = 0x40;
}

/// A trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The tracer of its header; empty if the header is missing.
    pub tracer: String,
    /// The events.
    pub entries: Vec<Entry>,
    /// CPUs: those of the header, and at least those in the entries.
    pub cpus: u32,
    /// Entries that the header announces.
    pub announced: Option<u64>,
    /// Entries that were written, with those that have been overwritten since.
    pub written: Option<u64>,
    /// Lines that were not used.
    pub damaged: Vec<Damaged>,
    /// Lines between those of the trace that were never meant to be of it.
    pub foreign: usize,
    /// Entries that stood behind a later one.
    pub out_of_order: usize,
    /// Whether its last line came.
    pub is_whole: bool,
    /// Events that were lost behind the last one of their CPU.
    pub lost_behind: u64,
    /// Traces in the console; this is the last one.
    pub sections: usize,
}

impl Flags {
    /// Checks the four characters.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes: [u8; 4] = text
            .as_bytes()
            .try_into()
            .map_err(|_| format!("its flags `{text}` are {} characters and not 4", text.chars().count()))?;
        let known: [&[u8]; 4] = [b"dX.", b"Nnp.", b"ZzHhs.", b".0123456789abcdef"];
        match bytes.iter().zip(known).find(|(byte, known)| !known.contains(byte)) {
            Some((byte, _)) => Err(format!("`{}` in its flags `{text}` says nothing", char::from(*byte))),
            None => Ok(Self(bytes)),
        }
    }

    /// The bits of a binary record.
    #[must_use]
    pub fn bits(self) -> u8 {
        use flag::{FOLDED, HARDIRQ, IRQS_OFF, NEED_RESCHED, NMI, SOFTIRQ, UNKNOWN};
        let [irqs, resched, context, _] = self.0;
        let irqs = match irqs {
            b'd' => IRQS_OFF,
            b'X' => UNKNOWN,
            _ => 0,
        };
        let resched = match resched {
            b'N' => NEED_RESCHED | FOLDED,
            b'n' => NEED_RESCHED,
            b'p' => FOLDED,
            _ => 0,
        };
        let context = match context {
            b'Z' => NMI | HARDIRQ,
            b'z' => NMI,
            b'H' => HARDIRQ | SOFTIRQ,
            b'h' => HARDIRQ,
            b's' => SOFTIRQ,
            _ => 0,
        };
        irqs | resched | context
    }

    /// How often preemption was disabled.
    #[must_use]
    pub fn depth(self) -> u8 {
        match self.0[3] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'f' => digit - b'a' + 10,
            _ => 0,
        }
    }

    /// The characters.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("....")
    }
}

/// Reads the last trace of a console; nothing if there is none.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Trace> {
    let console = String::from_utf8_lossy(bytes);
    let mut sections = 0;
    let mut trace: Option<Trace> = None;
    let mut inside = false;
    let mut lost_of: Vec<(u32, u64)> = Vec::new();
    for (index, raw) in console.lines().enumerate() {
        let line = clean(raw);
        if let Some(tracer) = line.strip_prefix(TRACER) {
            sections += 1;
            trace = Some(Trace { tracer: tracer.trim().to_owned(), ..Trace::default() });
            inside = true;
            lost_of.clear();
            continue;
        }
        let Some(trace) = trace.as_mut().filter(|_| inside) else { continue };
        if line.trim_end() == END {
            trace.is_whole = true;
            inside = false;
            continue;
        }
        match understand(&line) {
            Line::Nothing => {}
            Line::Counts { announced, written, cpus } => {
                (trace.announced, trace.written) = (Some(announced), Some(written));
                trace.cpus = trace.cpus.max(cpus);
            }
            Line::Lost { cpu, count } => lost_of.push((cpu, count)),
            Line::Event(mut entry) => {
                entry.line = index + 1;
                lost_of.retain(|&(cpu, count)| {
                    if cpu == entry.cpu {
                        entry.lost += count;
                    }
                    cpu != entry.cpu
                });
                trace.cpus = trace.cpus.max(entry.cpu + 1);
                trace.entries.push(entry);
            }
            Line::Damaged(reason) => trace.damaged.push(Damaged { line: index + 1, reason }),
            Line::Foreign => trace.foreign += 1,
        }
        trace.lost_behind = lost_of.iter().map(|(_, count)| count).sum();
    }
    let mut trace = trace?;
    trace.sections = sections;
    trace.out_of_order = trace.entries.windows(2).filter(|pair| pair[1].ns < pair[0].ns).count();
    trace.entries.sort_by_key(|entry| (entry.ns, entry.cpu));
    Some(trace)
}

impl Trace {
    /// Events that were there and are not here: overwritten, or lost while they were written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let marked = self.entries.iter().map(|entry| entry.lost).sum::<u64>() + self.lost_behind;
        let overwritten =
            self.written.zip(self.announced).map_or(0, |(written, kept)| written.saturating_sub(kept));
        marked.max(overwritten)
    }

    /// What a reader of the figures must know of how the text came, in sentences.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.sections > 1 {
            remarks.push(format!("the console has {} traces; this is the last", self.sections));
        }
        if !self.is_whole {
            remarks.push(format!("the line `{END}` is missing: the text was cut off"));
        }
        let (read, damaged) = (self.entries.len() as u64, self.damaged.len());
        if let Some(announced) = self.announced.filter(|announced| *announced != read) {
            remarks.push(format!(
                "the header announces {announced} events; {read} were read, and {damaged} lines were damaged"
            ));
        }
        if self.foreign > 0 {
            remarks.push(format!("{} other lines of the console lay between", self.foreign));
        }
        if self.out_of_order > 0 {
            remarks
                .push(format!("{} lines stood behind a later one and were put in order", self.out_of_order));
        }
        remarks
    }
}

/// What a line is.
enum Line {
    /// Empty, or a comment.
    Nothing,
    Counts {
        announced: u64,
        written: u64,
        cpus: u32,
    },
    Lost {
        cpu: u32,
        count: u64,
    },
    Event(Entry),
    Damaged(String),
    Foreign,
}

fn understand(line: &str) -> Line {
    if line.trim().is_empty() {
        return Line::Nothing;
    }
    if line.starts_with('#') {
        return match line.strip_prefix(COUNTS) {
            None => Line::Nothing,
            Some(rest) => counts(rest).unwrap_or_else(|| Line::Damaged("its counts cannot be read".into())),
        };
    }
    if let Some(lost) = line.strip_prefix("CPU:").and_then(lost) {
        return lost;
    }
    match event(line) {
        Ok(entry) => Line::Event(entry),
        Err(reason) if has_cpu(line) => Line::Damaged(reason),
        Err(_) => Line::Foreign,
    }
}

/// `E/W   #P:N`.
fn counts(rest: &str) -> Option<Line> {
    let (entries, cpus) = rest.split_once("#P:")?;
    let (announced, written) = entries.trim().split_once('/')?;
    let cpus = cpus.trim().parse().ok().filter(|cpus| *cpus <= MOST_CPUS)?;
    Some(Line::Counts { announced: announced.parse().ok()?, written: written.parse().ok()?, cpus })
}

/// `2 [LOST 17 EVENTS]`.
fn lost(rest: &str) -> Option<Line> {
    let (cpu, rest) = rest.split_once(" [LOST ")?;
    let count = rest.strip_suffix(" EVENTS]")?.parse().ok().filter(|count| *count < MOST_LOST)?;
    Some(Line::Lost { cpu: cpu.trim().parse().ok().filter(|cpu| *cpu < MOST_CPUS)?, count })
}

/// Whether the line has a CPU's number in brackets, which only lines of a trace have: the kernel's messages have a time in
/// theirs.
fn has_cpu(line: &str) -> bool {
    line.match_indices('[').any(|(at, _)| bracketed(&line[at..]).is_some())
}

/// `[012]` at the start: the number, and what follows.
fn bracketed(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.strip_prefix('[')?.split_once(']')?;
    let cpu = (digits.len() >= 3 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)?;
    Some((cpu.parse().ok()?, rest))
}

/// An event's line.
fn event(line: &str) -> Result<Entry, String> {
    if line.contains(|c: char| c.is_control() || c == '\u{fffd}') {
        return Err("it has bytes that no such line has".into());
    }
    // A name may contain what follows it, so the first place where everything fits is the right one.
    let head = line.match_indices('-').find_map(|(at, _)| {
        let rest = &line[at + 1..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|length| *length > 0)?;
        let pid = rest[..digits].parse().ok()?;
        let rest = rest[digits..].strip_prefix(' ')?.trim_start();
        let (cpu, rest) = bracketed(rest)?;
        Some((line[..at].trim(), pid, cpu, rest))
    });
    let (comm, pid, cpu, rest) = head.ok_or("it does not begin with a task, its number and a CPU")?;
    if comm.is_empty() {
        return Err("its task has no name".into());
    }
    if cpu >= MOST_CPUS {
        return Err(format!("it names CPU {cpu}"));
    }
    let mut words = rest.strip_prefix(' ').ok_or("nothing follows its CPU")?.splitn(2, ' ');
    let flags = Flags::parse(words.next().unwrap_or_default())?;
    let rest = words.next().unwrap_or_default().trim_start();
    let (stamp, rest) = rest.split_once(": ").ok_or("it has no time, or nothing behind it")?;
    let ns = nanoseconds(stamp).ok_or_else(|| format!("its time `{stamp}` is no number of seconds"))?;
    let (event, payload) = rest.split_once(':').ok_or("its event has no name")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if event.is_empty() || !event.chars().all(is_name) {
        return Err(format!("`{event}` is not the name of an event"));
    }
    if payload.len() > LONGEST_PAYLOAD_BYTES {
        return Err(format!("it is {} bytes long", line.len()));
    }
    let payload = payload.strip_prefix(' ').unwrap_or(payload).trim_end();
    Ok(Entry {
        line: 0,
        comm: comm.to_owned(),
        pid,
        cpu,
        flags,
        ns,
        event: event.to_owned(),
        payload: payload.to_owned(),
        lost: 0,
    })
}

/// `1.234567890`, with up to nine digits behind the point.
fn nanoseconds(stamp: &str) -> Option<u64> {
    let (seconds, fraction) = stamp.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    let ns = fraction.parse::<u64>().ok()? * scale;
    seconds.parse::<u64>().ok()?.checked_mul(NSEC_PER_SEC)?.checked_add(ns)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
