//! The options of Linux's tool: short ones together or apart (`-Sp90`, `-l 1000`), long ones with `=` or apart.
//!
//! Those that this kernel has by nature are taken and change nothing: `-m` (all memory stays where it is), `-n` (there is
//! no other way to sleep), `-u` (the console keeps nothing back). One that it does not have is refused by its name. Of
//! our own is `load=`, with the loads of the `latency` command, since a shell runs one command at a time.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use crate::latency::params::Loads;
use crate::shell::command::Failure;
use crate::shell::units::parse_u64;
use crate::smp::CpuMask;
use core::ops::RangeInclusive;

/// Threads.
pub const THREADS: RangeInclusive<u64> = 1..=64;
/// Priorities; 0 is a fair task.
pub const PRIORITIES: RangeInclusive<u64> = 0..=99;
/// The interval of the first thread.
pub const INTERVAL_US: RangeInclusive<u64> = 10..=1_000_000_000;
/// What each next thread has more.
pub const DISTANCE_US: RangeInclusive<u64> = 0..=1_000_000_000;
/// Rows of the histogram, one for each microsecond (with `-N`, nanosecond).
pub const HISTOGRAM: RangeInclusive<u64> = 1..=100_000;
/// Cycles of each thread; 0 is endless.
pub const LOOPS: RangeInclusive<u64> = 0..=1_000_000_000_000;
/// The longest run.
const DURATION_MAX_S: u64 = 365 * 86_400;

/// Where the threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Wherever the scheduler puts them.
    Any,
    /// Each on one of these CPUs, in turn.
    EachOnOne(CpuMask),
}

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many.
    pub threads: usize,
    /// FIFO priority of all of them; 0: fair.
    pub prio: u32,
    /// Of the first thread.
    pub interval_us: u64,
    /// What each next one has more.
    pub distance_us: u64,
    /// Cycles of each thread, if there is an end to them.
    pub loops: Option<u64>,
    /// How long, if there is an end to it.
    pub duration_ns: Option<u64>,
    /// Rows of the histogram, if one is wanted.
    pub histogram: Option<usize>,
    /// Nothing is shown before the end.
    pub quiet: bool,
    /// Nanoseconds instead of microseconds.
    pub nsecs: bool,
    /// Where the threads run.
    pub places: Places,
    /// What runs beside.
    pub loads: Loads,
}

/// What an option wants behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    Nothing,
    Value,
    MayHaveValue,
}

/// Short name, long name, what it wants.
const KNOWN: [(char, &str, Wants); 14] = [
    ('t', "threads", Wants::MayHaveValue),
    ('p', "prio", Wants::Value),
    ('p', "priority", Wants::Value),
    ('i', "interval", Wants::Value),
    ('l', "loops", Wants::Value),
    ('d', "distance", Wants::Value),
    ('h', "histogram", Wants::Value),
    ('D', "duration", Wants::Value),
    ('a', "affinity", Wants::MayHaveValue),
    ('S', "smp", Wants::Nothing),
    ('q', "quiet", Wants::Nothing),
    ('N', "nsecs", Wants::Nothing),
    ('m', "mlockall", Wants::Nothing),
    ('u', "unbuffered", Wants::Nothing),
];
/// What older versions of the tool need to do what this one always does.
const NANOSLEEP: char = 'n';

/// What was given, before what follows from it.
struct Given {
    options: Options,
    threads: bool,
    distance: bool,
    smp: bool,
    online: CpuMask,
}

impl Options {
    /// Reads the words behind `cyclictest`.
    ///
    /// # Errors
    /// Names the first wrong option, and what would be right.
    pub fn parse(args: &[&str], online: CpuMask) -> Result<Self, Failure> {
        let options = Self {
            threads: 1,
            prio: 0,
            interval_us: 1000,
            distance_us: 500,
            loops: None,
            duration_ns: None,
            histogram: None,
            quiet: false,
            nsecs: false,
            places: Places::Any,
            loads: Loads::NONE,
        };
        let mut given = Given { options, threads: false, distance: false, smp: false, online };
        let mut args = args.iter().copied().peekable();
        while let Some(arg) = args.next() {
            if let Some(long) = arg.strip_prefix("--") {
                given.take_long(arg, long, &mut args)?;
            } else if let Some(cluster) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                given.take_cluster(arg, cluster, &mut args)?;
            } else if let Some(loads) = arg.strip_prefix("load=") {
                given.options.loads =
                    Loads::parse(loads).map_err(|says| Failure::new(format_args!("{says}")))?;
            } else {
                return Err(Failure::new(format_args!(
                    "{arg}: an option such as -p99 -l1000, or load=, was expected"
                )));
            }
        }
        given.finish()
    }

    /// The interval of thread `number`.
    #[must_use]
    pub fn interval_us_of(&self, number: usize) -> u64 {
        self.interval_us + self.distance_us * number as u64
    }
}

type Rest<'a, I> = core::iter::Peekable<I>;

impl Given {
    fn take_long<'a>(
        &mut self,
        arg: &str,
        long: &'a str,
        rest: &mut Rest<'a, impl Iterator<Item = &'a str>>,
    ) -> Result<(), Failure> {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let Some(&(short, _, wants)) = KNOWN.iter().find(|(_, known, _)| *known == name) else {
            return Err(unknown(arg));
        };
        let value = match (wants, value) {
            (Wants::Nothing, Some(_)) => {
                return Err(Failure::new(format_args!("{arg}: --{name} takes no value")));
            }
            (Wants::Value, None) => Some(next(arg, rest)?),
            (Wants::MayHaveValue, None) => rest.next_if(|next| begins_with_digit(next)),
            (_, value) => value,
        };
        self.take(arg, short, value)
    }

    fn take_cluster<'a>(
        &mut self,
        arg: &str,
        cluster: &'a str,
        rest: &mut Rest<'a, impl Iterator<Item = &'a str>>,
    ) -> Result<(), Failure> {
        for (at, short) in cluster.char_indices() {
            let behind = &cluster[at + short.len_utf8()..];
            let wants = match KNOWN.iter().find(|(known, ..)| *known == short) {
                Some(&(.., wants)) => wants,
                None if short == NANOSLEEP => continue,
                None => return Err(unknown(arg)),
            };
            let value = match wants {
                Wants::Nothing => None,
                Wants::Value if behind.is_empty() => Some(next(arg, rest)?),
                Wants::Value => Some(behind),
                Wants::MayHaveValue if behind.is_empty() => rest.next_if(|next| begins_with_digit(next)),
                Wants::MayHaveValue => begins_with_digit(behind).then_some(behind),
            };
            self.take(arg, short, value)?;
            if value.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, arg: &str, short: char, value: Option<&str>) -> Result<(), Failure> {
        let wrong = |what: &str, range: &RangeInclusive<u64>| {
            let text = value.unwrap_or_default();
            let (low, high) = (range.start(), range.end());
            Failure::new(format_args!("{arg}: `{text}`: {what} from {low} to {high} was expected"))
        };
        let number = |what: &str, range: RangeInclusive<u64>| {
            value.and_then(parse_u64).filter(|n| range.contains(n)).ok_or_else(|| wrong(what, &range))
        };
        let options = &mut self.options;
        match short {
            't' => {
                self.threads = true;
                options.threads = match value {
                    None => self.online.count(),
                    Some(_) => number("a number of threads", THREADS)? as usize,
                };
            }
            'p' => options.prio = number("a priority", PRIORITIES)? as u32,
            'i' => options.interval_us = number("an interval in microseconds", INTERVAL_US)?,
            'l' => options.loops = Some(number("a number of cycles", LOOPS)?).filter(|&loops| loops > 0),
            'd' => {
                self.distance = true;
                options.distance_us = number("a distance in microseconds", DISTANCE_US)?;
            }
            'h' => options.histogram = Some(number("a number of rows", HISTOGRAM)? as usize),
            'D' => options.duration_ns = Some(duration(arg, value.unwrap_or_default())?),
            'a' => options.places = Places::EachOnOne(cpus(arg, value, self.online)?),
            'S' => self.smp = true,
            'q' => options.quiet = true,
            'N' => options.nsecs = true,
            _ => {}
        }
        Ok(())
    }

    /// `-S`: a thread on each CPU, all with one interval, unless something else was asked for.
    fn finish(self) -> Result<Options, Failure> {
        let mut options = self.options;
        if self.smp {
            if !self.threads {
                options.threads = self.online.count();
            }
            if !self.distance {
                options.distance_us = 0;
            }
            if options.places == Places::Any {
                options.places = Places::EachOnOne(self.online);
            }
        }
        Ok(options)
    }
}

fn next<'a>(arg: &str, rest: &mut Rest<'a, impl Iterator<Item = &'a str>>) -> Result<&'a str, Failure> {
    rest.next().ok_or_else(|| Failure::new(format_args!("{arg}: a value was expected behind it")))
}

fn begins_with_digit(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

fn unknown(arg: &str) -> Failure {
    Failure::new(format_args!(
        "{arg}: there is no such option here; -t -p -i -l -d -h -D -a -S -q -N and load= are known (-m -n -u change nothing)"
    ))
}

/// `10`, `10s`, `5m`, `1h`, `1d`.
fn duration(arg: &str, text: &str) -> Result<u64, Failure> {
    let (number, seconds) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let seconds =
        parse_u64(number).and_then(|n| n.checked_mul(seconds)).filter(|s| (1..=DURATION_MAX_S).contains(s));
    seconds.map(|seconds| seconds * crate::time::NSEC_PER_SEC).ok_or_else(|| {
        Failure::new(format_args!("{arg}: `{text}`: a time such as 10 (seconds), 5m, 1h or 1d was expected"))
    })
}

fn cpus(arg: &str, value: Option<&str>, online: CpuMask) -> Result<CpuMask, Failure> {
    let Some(list) = value else { return Ok(online) };
    let cpus = CpuMask::parse_list(list).ok().filter(|&cpus| !cpus.is_empty() && (cpus & online) == cpus);
    cpus.ok_or_else(|| {
        Failure::new(format_args!("{arg}: `{list}`: CPUs that are online were expected: {online}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    const FOUR: CpuMask = CpuMask::first_n(4);

    fn parse(line: &str) -> Result<Options, String> {
        let args: std::vec::Vec<&str> = line.split_ascii_whitespace().collect();
        Options::parse(&args, FOUR).map_err(|failure| failure.to_string())
    }

    #[test]
    fn without_options_it_is_one_fair_thread_every_millisecond_for_ever() {
        let options = parse("").unwrap();
        assert_eq!(
            (options.threads, options.prio, options.interval_us, options.distance_us),
            (1, 0, 1000, 500)
        );
        assert_eq!((options.loops, options.duration_ns, options.histogram), (None, None, None));
        assert!(
            !options.quiet && !options.nsecs && options.places == Places::Any && options.loads == Loads::NONE
        );
    }

    #[test]
    fn options_are_read_together_and_apart_short_and_long() {
        for line in [
            "-t2 -p99 -i200 -l1000 -d50 -h400 -q -N",
            "-t 2 -p 99 -i 200 -l 1000 -d 50 -h 400 -qN",
            "--threads=2 --prio=99 --interval=200 --loops=1000 --distance=50 --histogram=400 --quiet --nsecs",
            "--threads 2 --priority 99 --interval 200 --loops 1000 --distance 50 --histogram 400 -Nq",
            "-mnNqt2 -up99 -i200 -l1000 -d50 -h400 --mlockall --unbuffered",
        ] {
            let options = parse(line).unwrap();
            assert_eq!((options.threads, options.prio, options.interval_us), (2, 99, 200), "{line}");
            assert_eq!(
                (options.loops, options.distance_us, options.histogram),
                (Some(1000), 50, Some(400)),
                "{line}"
            );
            assert!(options.quiet && options.nsecs, "{line}");
            assert_eq!((options.interval_us_of(0), options.interval_us_of(1)), (200, 250));
        }
    }

    #[test]
    fn the_usual_line_of_the_plotting_scripts_is_understood() {
        let options = parse("-l100000 -m -Sp90 -i200 -h400 -q").unwrap();
        assert_eq!((options.threads, options.prio, options.distance_us), (4, 90, 0));
        assert_eq!(options.places, Places::EachOnOne(FOUR));
        let options = parse("--smp -t2 -d10 -a1-2").unwrap();
        assert_eq!((options.threads, options.distance_us), (2, 10));
        assert_eq!(options.places, Places::EachOnOne(CpuMask::from_bits(0b110)));
    }

    #[test]
    fn threads_without_a_number_are_as_many_as_cpus() {
        assert_eq!(parse("-t -p5").unwrap().threads, 4);
        assert_eq!(parse("-tq").unwrap().threads, 4);
        assert!(parse("-tq").unwrap().quiet);
        assert_eq!(parse("-a -t").unwrap().places, Places::EachOnOne(FOUR));
    }

    #[test]
    fn durations_have_a_unit_and_no_loops_are_endless() {
        let seconds = |line: &str| parse(line).unwrap().duration_ns.map(|ns| ns / 1_000_000_000);
        assert_eq!(
            ["-D10", "-D 10s", "-D5m", "--duration=1h", "-D1d"].map(seconds),
            [10, 10, 300, 3600, 86_400].map(Some)
        );
        assert_eq!(parse("-l0").unwrap().loops, None);
        assert_eq!(parse("load=memcpy,pi").unwrap().loads.to_string(), "memcpy,pi");
    }

    #[test]
    fn a_wrong_option_is_named_with_what_would_be_right() {
        for (line, says) in [
            ("-p100", "-p100: `100`: a priority from 0 to 99 was expected"),
            ("-Sp", "-Sp: a value was expected behind it"),
            ("--prio", "--prio: a value was expected behind it"),
            ("-i 5", "-i: `5`: an interval in microseconds from 10 to 1000000000 was expected"),
            ("-t0", "-t0: `0`: a number of threads from 1 to 64 was expected"),
            ("-h0", "-h0: `0`: a number of rows from 1 to 100000 was expected"),
            ("-D5w", "-D5w: `5w`: a time such as 10 (seconds), 5m, 1h or 1d was expected"),
            ("-a7", "-a7: `7`: CPUs that are online were expected: 0-3"),
            ("--quiet=1", "--quiet=1: --quiet takes no value"),
            ("99", "99: an option such as -p99 -l1000, or load=, was expected"),
            ("load=tsk", "load=tsk: there is no load `tsk`; did you mean task?"),
        ] {
            assert_eq!(parse(line).unwrap_err(), says);
        }
        for line in ["-b400", "--breaktrace=400", "-qX", "--", "-€"] {
            let says = parse(line).unwrap_err();
            assert!(says.starts_with(line) && says.contains("-t -p -i -l -d -h -D -a -S -q -N"), "{says}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_in_range(line in "(-[tpildhDaSqNmnu]{1,3}[0-9smhd,-]{0,4} ?){0,4}") {
            if let Ok(options) = parse(&line) {
                prop_assert!(THREADS.contains(&(options.threads as u64)) && PRIORITIES.contains(&u64::from(options.prio)));
                prop_assert!(options.histogram.is_none_or(|rows| HISTOGRAM.contains(&(rows as u64))));
            }
        }
    }
}
