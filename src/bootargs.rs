//! The boot arguments: `key=value` words from the device tree's `/chosen` node.
//!
//! Words are separated by blanks; a value may be put in double quotes. A key that is unknown or a value
//! that is wrong never stops the boot: the default is used and a message says what was found and what
//! would be right. The messages are kept in the result, because the parser runs before there is a log.
//!
//! Context: any, pure; borrows the text, allocates nothing. Bound: linear in the text.
#![forbid(unsafe_code)]

use core::fmt::Write;

use heapless::{String, Vec};
use log::LevelFilter;

use crate::smp::CpuMask;
use crate::trace;
use crate::trace::event::KindSet;

/// How eagerly the kernel gives up the CPU (`preempt=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreemptModel {
    /// Kernel code runs until it blocks: the interrupt-exit and enable points are inert.
    None,
    /// As `None`, and every call that may sleep is a scheduling point.
    Voluntary,
    /// Kernel code is preempted wherever its count allows.
    Full,
    /// As `Full`, and `SpinLock` sections, softirqs and interrupt handlers are preempted too.
    Rt,
}

impl PreemptModel {
    /// The word used in bootargs and by `uname -a`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Voluntary => "voluntary",
            Self::Full => "full",
            Self::Rt => "rt",
        }
    }
}

/// How short sections are protected (`preempt_style=`, docs/adr/0006).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreemptStyle {
    /// They count, and their end looks for a request.
    Count,
    /// They mask interrupts, and a request interrupts behind their end.
    Event,
}

/// How the machine is left (`exit=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitMethod {
    /// The firmware turns it off; there is no exit status.
    Psci,
    /// The emulator ends with an exit status.
    Semihosting,
}

/// Longest message kept.
pub const MESSAGE_BYTES: usize = 320;
/// Number of messages kept; more are counted.
pub const MESSAGES_MAX: usize = 8;
/// Largest number of CPUs.
const CPUS_MAX: u32 = crate::MAX_CPUS as u32;

/// The parsed boot arguments.
#[derive(Clone, Debug)]
pub struct Bootargs<'a> {
    /// The text they were parsed from.
    pub raw: &'a str,
    /// Scheduler ticks per second: 100, 250, 300 or 1000.
    pub hz: u32,
    /// Preemption model.
    pub preempt: PreemptModel,
    /// How short sections are protected.
    pub preempt_style: PreemptStyle,
    /// Run interrupt handlers as threads in every model; `rt` does anyway.
    pub threadirqs: bool,
    /// A non-preemptible section longer than this is reported; `None`: no budget.
    pub latency_budget_us: Option<u32>,
    /// Real-time tasks may run this long in each period; `None`: without limit.
    pub rt_runtime_us: Option<u32>,
    /// The period of `rt_runtime_us`.
    pub rt_period_us: u32,
    /// Shell commands to run, separated by `;`.
    pub cmd: Option<&'a str>,
    /// Power off after the commands or the demonstration instead of starting a shell.
    pub noshell: bool,
    /// Whether to run the latency demonstration; `None`: as the image likes.
    pub demo: Option<bool>,
    /// How to leave the machine.
    pub exit: ExitMethod,
    /// The UART to be the console, by its path or alias in the device tree; `None`: as that says.
    pub console: Option<&'a str>,
    /// What is traced from the boot on; `None`: nothing.
    pub trace: Option<KindSet>,
    /// Records of each CPU's trace ring.
    pub trace_events: usize,
    /// Least important messages to log.
    pub loglevel: LevelFilter,
    /// Test aid: keep lock words live on one CPU.
    pub smp_locks: bool,
    /// CPUs that only get tasks whose affinity names them.
    pub isolcpus: CpuMask,
    /// Isolated CPUs that take no tick while they have one task.
    pub nohz_full: CpuMask,
    /// Where device interrupts go; `None`: to the CPUs that are not isolated.
    pub irqaffinity: Option<CpuMask>,
    /// Seconds after which a CPU that gets nowhere is reported, 0: never; `None`: as the image likes.
    pub watchdog_thresh: Option<u32>,
    /// Seconds after which a task that waits for a lock is reported, 0: never; `None`: as the image likes.
    pub hung_task_timeout: Option<u32>,
    /// CPUs that may ever run, the boot CPU included; `None`: all of them.
    pub nr_cpus: Option<u32>,
    /// CPUs that the boot starts, the boot CPU included; `None`: all of them.
    pub maxcpus: Option<u32>,
    /// For the test images, not interpreted here.
    pub test: Option<&'a str>,
    /// For the test images, not interpreted here.
    pub skip: Option<&'a str>,
    /// For the bench image, not interpreted here.
    pub bench: Option<&'a str>,
    /// What was wrong, in words.
    pub messages: Vec<String<MESSAGE_BYTES>, MESSAGES_MAX>,
    /// Messages that did not fit.
    pub messages_lost: u32,
}

impl<'a> Bootargs<'a> {
    /// Everything at its default.
    pub const fn new() -> Self {
        Self {
            raw: "",
            hz: 250,
            preempt: PreemptModel::Full,
            preempt_style: PreemptStyle::Count,
            threadirqs: false,
            latency_budget_us: None,
            rt_runtime_us: Some(950_000),
            rt_period_us: 1_000_000,
            cmd: None,
            noshell: false,
            demo: None,
            console: None,
            exit: ExitMethod::Psci,
            trace: None,
            trace_events: trace::ring::EVENTS_DEFAULT,
            loglevel: LevelFilter::Info,
            smp_locks: false,
            isolcpus: CpuMask::NONE,
            nohz_full: CpuMask::NONE,
            irqaffinity: None,
            watchdog_thresh: None,
            hung_task_timeout: None,
            nr_cpus: None,
            maxcpus: None,
            test: None,
            skip: None,
            bench: None,
            messages: Vec::new(),
            messages_lost: 0,
        }
    }

    /// Parses `text`. Never fails: see the module description.
    pub fn parse(text: &'a str) -> Self {
        let mut args = Self { raw: text, ..Self::new() };
        for word in Words(text) {
            args.word(word);
        }
        args
    }

    /// The value of any `key=value` word, the last one if it is repeated.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        Words(self.raw).filter(|w| w.key == key).filter_map(|w| w.value).last()
    }

    fn word(&mut self, word: Word<'a>) {
        if !word.closed {
            self.complain(format_args!("{}: the quote is not closed; expected \"", word.text));
        }
        match (word.key, word.value) {
            ("hz", value) => match value {
                Some("100") => self.hz = 100,
                Some("250") => self.hz = 250,
                Some("300") => self.hz = 300,
                Some("1000") => self.hz = 1000,
                _ => self.wrong(&word, "100, 250, 300 or 1000", "250"),
            },
            ("preempt", Some("none")) => self.preempt = PreemptModel::None,
            ("preempt", Some("full")) => self.preempt = PreemptModel::Full,
            ("preempt", Some("voluntary")) => self.preempt = PreemptModel::Voluntary,
            ("preempt", Some("rt")) => self.preempt = PreemptModel::Rt,
            ("preempt", _) => self.wrong(&word, "none, voluntary, full or rt", "full"),
            ("preempt_style", Some("count")) => self.preempt_style = PreemptStyle::Count,
            ("preempt_style", Some("event")) => self.preempt_style = PreemptStyle::Event,
            ("preempt_style", _) => self.wrong(&word, "count or event", "count"),
            ("threadirqs", None | Some("1")) => self.threadirqs = true,
            ("threadirqs", Some("0")) => self.threadirqs = false,
            ("threadirqs", _) => self.wrong(&word, "threadirqs alone, 0 or 1", "0"),
            ("latency_budget_us", Some("0")) => self.latency_budget_us = None,
            ("latency_budget_us", value) => match number(value, 1..=1_000_000) {
                Some(us) => self.latency_budget_us = Some(us),
                None => self.wrong(&word, "1 to 1000000 (microseconds), or 0 for none", "none"),
            },
            ("rt_runtime_us", Some("0")) => self.rt_runtime_us = None,
            ("rt_runtime_us", value) => match number(value, 1..=1_000_000) {
                Some(us) => self.rt_runtime_us = Some(us),
                None => self.wrong(&word, "1 to 1000000 (microseconds), or 0 for no limit", "950000"),
            },
            ("rt_period_us", value) => match number(value, 1_000..=1_000_000) {
                Some(us) => self.rt_period_us = us,
                None => self.wrong(&word, "1000 to 1000000 (microseconds)", "1000000"),
            },
            ("cmd", Some(value)) => self.cmd = Some(value),
            ("cmd", None) => self.wrong(&word, "cmd=\"command; command\"", "no command"),
            ("noshell", None | Some("1")) => self.noshell = true,
            ("noshell", Some("0")) => self.noshell = false,
            ("noshell", _) => self.wrong(&word, "noshell alone, 0 or 1", "a shell"),
            ("demo", _) => {
                if let Some(on) = self.switch(&word, "the image's own choice") {
                    self.demo = Some(on);
                }
            }
            ("exit", Some("psci")) => self.exit = ExitMethod::Psci,
            ("exit", Some("semihosting")) => self.exit = ExitMethod::Semihosting,
            ("exit", _) => self.wrong(&word, "psci or semihosting", "psci"),
            ("trace", _) => {
                self.trace = match word.value.unwrap_or("") {
                    "0" => None,
                    "1" => Some(KindSet::DEFAULT),
                    words => match KindSet::of_words(words.split(',')) {
                        Ok(kinds) => Some(kinds),
                        Err(_) => {
                            self.wrong(&word, "0, 1, or events such as sched,irq,cpu_idle", "0");
                            None
                        }
                    },
                };
            }
            ("trace_events", value) => match number(value, 2..=trace::ring::EVENTS_MAX as u32) {
                Some(events) => self.trace_events = (events as usize).next_power_of_two(),
                None => self.wrong(&word, "2 to 1048576 (events per CPU)", "4096"),
            },
            ("smp_locks", _) => {
                if let Some(on) = self.switch(&word, "0") {
                    self.smp_locks = on;
                }
            }
            ("isolcpus", _) => self.isolcpus = self.isolated(&word),
            ("nohz_full", _) => self.nohz_full = self.isolated(&word),
            ("irqaffinity", _) => {
                self.irqaffinity = self.cpu_list(&word, "the CPUs that are not isolated");
            }
            ("watchdog_thresh", value) => match number(value, 0..=60) {
                Some(seconds) => self.watchdog_thresh = Some(seconds),
                None => self.wrong(&word, "1 to 60 (seconds), or 0 for no watching", "the image's own choice"),
            },
            ("hung_task_timeout", value) => match number(value, 0..=86_400) {
                Some(seconds) => self.hung_task_timeout = Some(seconds),
                None => self.wrong(&word, "1 to 86400 (seconds), or 0 for no watching", "the image's own choice"),
            },
            ("nr_cpus", value) => match number(value, 1..=CPUS_MAX) {
                Some(cpus) => self.nr_cpus = Some(cpus),
                None => self.wrong(&word, "1 to 64 (CPUs that may ever run)", "all"),
            },
            ("maxcpus", value) => match number(value, 1..=CPUS_MAX) {
                Some(cpus) => self.maxcpus = Some(cpus),
                None => self.wrong(&word, "1 to 64 (CPUs that the boot starts)", "all"),
            },
            ("loglevel", value) => match value {
                Some("error") => self.loglevel = LevelFilter::Error,
                Some("warn") => self.loglevel = LevelFilter::Warn,
                Some("info") => self.loglevel = LevelFilter::Info,
                Some("debug") => self.loglevel = LevelFilter::Debug,
                Some("trace") => self.loglevel = LevelFilter::Trace,
                _ => self.wrong(&word, "error, warn, info, debug or trace", "info"),
            },
            ("console", value) => self.console = Some(value.unwrap_or("")),
            ("test", value) => self.test = Some(value.unwrap_or("")),
            ("skip", value) => self.skip = Some(value.unwrap_or("")),
            ("bench", value) => self.bench = Some(value.unwrap_or("")),
            _ => self.complain(format_args!(
                "{}: unknown; known are hz, preempt, preempt_style, threadirqs, latency_budget_us, rt_runtime_us, \
                 rt_period_us, cmd, noshell, demo, exit, console, trace, trace_events, loglevel, smp_locks, nr_cpus, maxcpus, isolcpus, nohz_full, \
                 irqaffinity, watchdog_thresh, hung_task_timeout, test, skip, bench",
                word.text
            )),
        }
    }

    fn switch(&mut self, word: &Word<'a>, default: &str) -> Option<bool> {
        match word.value {
            Some("0") => Some(false),
            Some("1") => Some(true),
            _ => {
                self.wrong(word, "0 or 1", default);
                None
            }
        }
    }

    fn cpu_list(&mut self, word: &Word<'a>, default: &str) -> Option<CpuMask> {
        let list = CpuMask::parse_list(word.value.unwrap_or(""));
        list.map_err(|expected| {
            self.complain(format_args!("{}: expected {expected}; using {default}", word.text))
        })
        .ok()
    }

    /// A list of CPUs to be isolated, which cannot be the one that boots.
    fn isolated(&mut self, word: &Word<'a>) -> CpuMask {
        let list = self.cpu_list(word, "none").unwrap_or(CpuMask::NONE);
        let allowed = list.without(0);
        if list.contains(0) {
            let using = if allowed.is_empty() { "none" } else { "the others" };
            self.complain(format_args!(
                "{}: CPU 0 keeps house and cannot be isolated; expected CPUs from 1 on; using {using}",
                word.text
            ));
        }
        allowed
    }

    fn wrong(&mut self, word: &Word<'a>, expected: &str, default: &str) {
        self.complain(format_args!("{}: expected {expected}; using {default}", word.text));
    }

    fn complain(&mut self, what: core::fmt::Arguments) {
        let mut text = Clipped(String::new());
        // Clipped never reports an error.
        let _ = text.write_fmt(what);
        if self.messages.push(text.0).is_err() {
            self.messages_lost += 1;
        }
    }
}

impl Default for Bootargs<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps what fits and drops the rest.
struct Clipped(String<MESSAGE_BYTES>);

impl Write for Clipped {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for c in s.chars() {
            if self.0.push(c).is_err() {
                break;
            }
        }
        Ok(())
    }
}

struct Word<'a> {
    text: &'a str,
    key: &'a str,
    value: Option<&'a str>,
    closed: bool,
}

/// Splits text into words at blanks outside double quotes.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let text = self.0.trim_start();
        if text.is_empty() {
            self.0 = text;
            return None;
        }
        let mut quoted = false;
        let end = text
            .find(|c: char| {
                quoted ^= c == '"';
                c.is_whitespace() && !quoted
            })
            .unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        Some(Word { text: word, key, value: value.map(unquote), closed: !quoted })
    }
}

/// A decimal number within bounds.
fn number(value: Option<&str>, range: core::ops::RangeInclusive<u32>) -> Option<u32> {
    value?.parse().ok().filter(|n| range.contains(n))
}

/// Takes one pair of quotes off, also where the closing one is missing.
fn unquote(value: &str) -> &str {
    match value.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only_message(text: &str) -> std::string::String {
        let args = Bootargs::parse(text);
        assert_eq!(args.messages.len(), 1, "{:?}", args.messages);
        args.messages[0].as_str().into()
    }

    #[test]
    fn no_arguments_are_the_defaults() {
        let args = Bootargs::parse("  ");
        assert_eq!(args.hz, 250);
        assert_eq!(args.preempt, PreemptModel::Full);
        assert_eq!(args.exit, ExitMethod::Psci);
        assert_eq!(args.loglevel, LevelFilter::Info);
        assert!(!args.noshell && args.trace.is_none() && !args.smp_locks);
        assert!(args.cmd.is_none() && args.demo.is_none() && args.test.is_none());
        assert!(args.messages.is_empty());
    }

    #[test]
    fn every_argument_is_understood() {
        let args = Bootargs::parse(
            "hz=1000 preempt=none preempt_style=event threadirqs latency_budget_us=50 rt_runtime_us=0 rt_period_us=5000 cmd=\"uname -a; ps\" noshell demo=0 exit=semihosting trace=1 \
             loglevel=debug smp_locks=1 nr_cpus=4 maxcpus=2 test=only:a::b skip=3 bench=sem",
        );
        assert_eq!(args.hz, 1000);
        assert_eq!(args.preempt, PreemptModel::None);
        assert_eq!((args.preempt_style, args.threadirqs), (PreemptStyle::Event, true));
        assert_eq!((args.latency_budget_us, args.rt_runtime_us, args.rt_period_us), (Some(50), None, 5000));
        assert_eq!(args.cmd, Some("uname -a; ps"));
        assert!(args.noshell && args.trace == Some(KindSet::DEFAULT) && args.smp_locks);
        assert_eq!(args.demo, Some(false));
        assert_eq!(args.exit, ExitMethod::Semihosting);
        assert_eq!(args.loglevel, LevelFilter::Debug);
        assert_eq!((args.nr_cpus, args.maxcpus), (Some(4), Some(2)));
        assert_eq!((args.test, args.skip, args.bench), (Some("only:a::b"), Some("3"), Some("sem")));
        assert!(args.messages.is_empty(), "{:?}", args.messages);
    }

    #[test]
    fn a_wrong_value_names_itself_and_what_would_be_right() {
        assert_eq!(only_message("hz=7"), "hz=7: expected 100, 250, 300 or 1000; using 250");
        assert_eq!(only_message("hz"), "hz: expected 100, 250, 300 or 1000; using 250");
        assert_eq!(
            only_message("preempt=banana"),
            "preempt=banana: expected none, voluntary, full or rt; using full"
        );
        assert_eq!(only_message("preempt_style=x"), "preempt_style=x: expected count or event; using count");
        assert_eq!(
            only_message("rt_period_us=5"),
            "rt_period_us=5: expected 1000 to 1000000 (microseconds); using 1000000"
        );
        assert_eq!(only_message("demo=yes"), "demo=yes: expected 0 or 1; using the image's own choice");
        assert_eq!(
            only_message("nr_cpus=0"),
            "nr_cpus=0: expected 1 to 64 (CPUs that may ever run); using all"
        );
        assert_eq!(
            only_message("maxcpus=65"),
            "maxcpus=65: expected 1 to 64 (CPUs that the boot starts); using all"
        );
        assert_eq!(only_message("exit="), "exit=: expected psci or semihosting; using psci");
    }

    #[test]
    fn lists_of_cpus_are_understood() {
        let args = Bootargs::parse(
            "isolcpus=1-3,5 nohz_full=3 irqaffinity=0,1 watchdog_thresh=2 hung_task_timeout=0",
        );
        assert_eq!(args.isolcpus.bits(), 0b10_1110);
        assert_eq!(args.nohz_full.bits(), 0b1000);
        assert_eq!(args.irqaffinity.map(CpuMask::bits), Some(3));
        assert_eq!((args.watchdog_thresh, args.hung_task_timeout), (Some(2), Some(0)));
        assert!(args.messages.is_empty(), "{:?}", args.messages);
    }

    #[test]
    fn a_wrong_list_of_cpus_names_itself_and_what_would_be_right() {
        assert_eq!(
            only_message("isolcpus=1-x"),
            "isolcpus=1-x: expected CPU numbers and ranges from 0 to 63, such as 1-3,5; using none"
        );
        assert_eq!(
            only_message("irqaffinity"),
            "irqaffinity: expected CPU numbers and ranges from 0 to 63, such as 1-3,5; using the CPUs that are not isolated"
        );
        assert_eq!(
            only_message("nohz_full=0-2"),
            "nohz_full=0-2: CPU 0 keeps house and cannot be isolated; expected CPUs from 1 on; using the others"
        );
        assert_eq!(Bootargs::parse("nohz_full=0-2").nohz_full.bits(), 0b110);
        assert_eq!(
            only_message("watchdog_thresh=61"),
            "watchdog_thresh=61: expected 1 to 60 (seconds), or 0 for no watching; using the image's own choice"
        );
        assert_eq!(
            only_message("hung_task_timeout"),
            "hung_task_timeout: expected 1 to 86400 (seconds), or 0 for no watching; using the image's own choice"
        );
    }

    #[test]
    fn a_wrong_value_leaves_the_default() {
        let args = Bootargs::parse("hz=7 preempt=r trace=maybe loglevel=loud");
        assert_eq!((args.hz, args.preempt, args.trace), (250, PreemptModel::Full, None));
        assert_eq!(args.loglevel, LevelFilter::Info);
        assert_eq!(args.messages.len(), 4);
    }

    #[test]
    fn an_unknown_key_is_named() {
        assert!(only_message("foo=1").starts_with("foo=1: unknown; known are hz, preempt"));
    }

    #[test]
    fn the_last_of_a_repeated_key_wins() {
        assert_eq!(Bootargs::parse("hz=100 hz=300").hz, 300);
        assert_eq!(Bootargs::parse("x=1 x=2").get("x"), Some("2"));
    }

    #[test]
    fn an_open_quote_is_reported_and_the_rest_taken() {
        let args = Bootargs::parse("cmd=\"ps; uname");
        assert_eq!(args.cmd, Some("ps; uname"));
        assert!(args.messages[0].contains("quote is not closed"));
    }

    #[test]
    fn more_messages_than_fit_are_counted() {
        let args = Bootargs::parse("a b c d e f g h i j");
        assert_eq!(args.messages.len(), MESSAGES_MAX);
        assert_eq!(args.messages_lost, 2);
    }

    #[test]
    fn a_long_wrong_word_is_clipped() {
        let text = std::format!("hz={}", "9".repeat(1000));
        assert_eq!(Bootargs::parse(&text).messages[0].len(), MESSAGE_BYTES);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let args = Bootargs::parse(&text);
            prop_assert!([100, 250, 300, 1000].contains(&args.hz));
        }

        #[test]
        fn no_arrangement_of_known_pieces_makes_it_panic(
            pieces in proptest::collection::vec("(hz|cmd|preempt|test|noshell|=|\"| |;|100|full|\t|é){1}", 0..40)
        ) {
            let text = pieces.concat();
            let args = Bootargs::parse(&text);
            let _ = args.get("hz");
        }
    }
}
