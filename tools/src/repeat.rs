//! Whether two runs have measured the same.
//!
//! Under `icount` they do, to the last digit, or something that is not the guest's has got into a figure. So the lines are
//! compared as they are, and in their order; what the guest says beside them does not count.
#![forbid(unsafe_code)]

/// A line's beginning, if it is a figure.
const FIGURE: &str = "result ";

/// Compares the figures of two consoles.
///
/// # Errors
/// With the lines that differ, or when there is no line at all.
pub fn same_figures(first: &str, second: &str) -> Result<(), String> {
    let figures = |console: &str| -> Vec<String> {
        console
            .lines()
            .map(str::trim_end)
            .filter(|line| line.starts_with(FIGURE))
            .map(str::to_owned)
            .collect()
    };
    let (first, second) = (figures(first), figures(second));
    if first.is_empty() || second.is_empty() {
        return Err(format!("{} and {} figures were printed: nothing to compare", first.len(), second.len()));
    }
    let absent = String::from("(no line)");
    let differing: Vec<String> = (0..first.len().max(second.len()))
        .map(|index| (first.get(index).unwrap_or(&absent), second.get(index).unwrap_or(&absent)))
        .filter(|(one, other)| one != other)
        .map(|(one, other)| format!("  first:  {one}\n  second: {other}"))
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} of {} lines differ between two runs of one image:\n{}",
        differing.len(),
        first.len().max(second.len()),
        differing.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "hello\r\nresult bench.a 1 insn min=1 max=1 n=9\r\nresult bench.b 2 insn\r\n";

    #[test]
    fn what_is_no_figure_does_not_count() {
        let other = RUN.replace("hello", "good day").replace('\r', "");
        assert_eq!(same_figures(RUN, &other), Ok(()));
    }

    #[test]
    fn a_digit_anywhere_in_a_line_is_a_difference_and_is_shown() {
        let why = same_figures(RUN, &RUN.replace("max=1", "max=2")).unwrap_err();
        assert!(
            why.contains("1 of 2 lines differ") && why.contains("first:  result bench.a 1 insn min=1 max=1"),
            "{why}"
        );
        assert!(
            why.contains("second: result bench.a 1 insn min=1 max=2") && !why.contains("bench.b"),
            "{why}"
        );
    }

    #[test]
    fn a_line_more_is_a_difference_and_no_line_at_all_is_no_agreement() {
        let why = same_figures(RUN, &format!("{RUN}result bench.c 3 insn\n")).unwrap_err();
        assert!(why.contains("first:  (no line)\n  second: result bench.c 3 insn"), "{why}");
        assert!(same_figures("", "").unwrap_err().contains("0 and 0 figures"));
        assert!(same_figures(RUN, "panic").unwrap_err().contains("2 and 0 figures"));
    }
}
