//! What Perfetto asks of ftrace text.
//!
//! Its importer finds the start of a trace and then takes each line apart by fixed rules; what does not follow them is
//! dropped, or shown wrongly, without a word. So they are looked at here. They are written as its importer has them, and on
//! purpose not by way of our own reader, which is a different judge.
//!
//! A `sched_waking` is shown as a wake-up, a `sched_wakeup` is not looked at; interrupts and softirqs are not shown from text.
#![forbid(unsafe_code)]

/// Its text importer is chosen by what a file begins with.
pub const START: &str = "# tracer";
/// Its flags are at most so many letters, digits and points.
const MOST_FLAGS: usize = 4;

/// Judges a line of the text; comments are not judged.
///
/// # Errors
/// Which rule it breaks.
pub fn check(line: &str) -> Result<(), String> {
    if line.starts_with('#') || line.trim().is_empty() {
        return Ok(());
    }
    let (task, rest) = line.split_once('[').ok_or("there is no `[`")?;
    let (cpu, rest) = rest.split_once(']').ok_or("there is no `]`")?;
    number(cpu).ok_or_else(|| format!("`{cpu}` is no CPU"))?;
    let (comm, pid) = task.trim().rsplit_once('-').ok_or("there is no `-` between task and number")?;
    number(pid).ok_or_else(|| format!("`{pid}` is no task's number"))?;
    if comm.is_empty() || comm.contains(['=', ' ']) {
        return Err(format!("the name `{comm}` is empty, or has a blank or `=`"));
    }
    let mut words = rest.split_ascii_whitespace();
    let mut word = words.next().ok_or("nothing follows the CPU")?;
    if !word.ends_with(':') {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '.';
        if word.len() > MOST_FLAGS || !word.chars().all(known) {
            return Err(format!("`{word}` is not {MOST_FLAGS} flags"));
        }
        word = words.next().ok_or("nothing follows the flags")?;
    }
    let stamp = word.strip_suffix(':').and_then(|stamp| stamp.split_once('.'));
    stamp
        .filter(|(seconds, fraction)| number(seconds).is_some() && number(fraction).is_some())
        .ok_or_else(|| format!("`{word}` is no time"))?;
    let event = words.next().ok_or("nothing follows the time")?;
    let event = event.strip_suffix(':').ok_or_else(|| format!("`{event}` is no event"))?;
    match event {
        "sched_switch" => {
            let wanted =
                ["prev_comm", "prev_pid", "prev_prio", "prev_state", "next_comm", "next_pid", "next_prio"];
            arguments(words, &wanted)
        }
        "sched_waking" | "sched_wakeup" | "sched_wakeup_new" => {
            arguments(words, &["comm", "pid", "prio", "target_cpu"])
        }
        "cpu_idle" => arguments(words, &["state", "cpu_id"]),
        _ => Ok(()),
    }
}

/// Each of `wanted` must be there as `key=value`, once, and a word that is not of this form is only the arrow.
fn arguments<'a>(words: impl Iterator<Item = &'a str>, wanted: &[&str]) -> Result<(), String> {
    let mut found = Vec::new();
    for word in words.filter(|word| *word != "==>") {
        match word.split_once('=') {
            Some((key, value)) if !value.contains('=') && !value.is_empty() => found.push(key),
            _ => return Err(format!("`{word}` is not one key, `=` and one value")),
        }
    }
    let lacks = wanted.iter().find(|key| found.iter().filter(|found| found == key).count() != 1);
    lacks.map_or(Ok(()), |key| Err(format!("{key}= is not there once")))
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Judges a whole text: how many lines break a rule, and the first that does, with its number and the rule.
#[must_use]
pub fn check_all(text: &str) -> Option<(usize, String)> {
    let broken: Vec<_> = text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| check(line).err().map(|rule| format!("line {}: {rule}", at + 1)))
        .collect();
    let start = (!text.starts_with(START)).then(|| format!("the text does not begin with `{START}`"));
    let count = broken.len() + usize::from(start.is_some());
    start.or(broken.into_iter().next()).map(|first| (count, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "          <idle>-0       [001] dNh1     1.234567890: sched_waking: comm=a pid=7 prio=120 target_cpu=001";

    #[test]
    fn lines_that_it_reads_pass_and_each_rule_is_asked_for() {
        assert_eq!(check(GOOD), Ok(()));
        assert_eq!(check("# a comment"), Ok(()));
        for (from, to) in [
            ("-0", " 0"),
            ("<idle>", "two words"),
            ("<idle>", "a=b"),
            ("[001]", "[x01]"),
            ("[001]", "001"),
            ("dNh1", "dNh10"),
            ("dNh1", "dN-1"),
            ("1.234567890:", "1:"),
            ("sched_waking:", "sched_waking"),
            ("comm=a", "comm=a b"),
            ("comm=a", "comm=a=b"),
            ("pid=7 ", ""),
            ("prio=120", "pid=120"),
        ] {
            assert!(check(&GOOD.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn the_example_and_what_we_write_of_it_follow_the_rules() {
        let trace =
            crate::trace::text::read(include_bytes!("../../../tests/data/trace-example.txt")).unwrap();
        assert_eq!(check_all(&crate::trace::write_text(&trace)), None);
        let (count, first) = check_all("x\n").unwrap();
        assert_eq!((count, first.contains("does not begin")), (2, true));
    }
}
