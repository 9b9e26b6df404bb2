//! Pictures of latencies, as SVG that stands alone in a page.
//!
//! Latency is on a logarithmic axis everywhere, since the tail is what matters. Colours are classes and custom properties
//! of the page (see [`crate::page`]), and each picture has a text that says what it shows.
//!
//! Invariant: whatever the figures, no coordinate is outside of the picture, and no number is infinite.
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::lines::total;

mod curves;

pub use curves::{Curve, by_number};

/// How latencies are spread.
#[derive(Clone, Debug)]
pub struct Spread {
    /// What stands in the legend.
    pub label: String,
    /// Smallest and largest value of each bucket, and how many there were; rising.
    pub buckets: Vec<(u64, u64, u64)>,
    /// The largest value, exact.
    pub max: u64,
}

impl Spread {
    /// From what a kernel prints: a bucket's width follows from where it begins, one sixteenth of a power of two.
    #[must_use]
    pub fn of_points(label: impl Into<String>, points: &[(u64, u64)], max: u64) -> Self {
        let width = |low: u64| if low < 16 { 1 } else { 1 << (low.ilog2() - 4) };
        let bucket =
            |&(low, count): &(u64, u64)| (low, low.saturating_add(width(low) - 1).min(max).max(low), count);
        Self { label: label.into(), buckets: points.iter().map(bucket).collect(), max }
    }

    fn n(&self) -> u64 {
        total(self.buckets.iter().map(|(.., count)| *count)).max(1)
    }
}

/// Colours that are told apart by everybody, in the order in which they are given away.
pub const COLOURS: usize = 8;

/// A logarithmic axis from one round number to another, mapped to pixels.
#[derive(Clone, Debug)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(low: u64, high: u64, from: f64, to: f64) -> Self {
        let low = round_below(low.max(1));
        let mut high = round_below(high.max(low));
        // Above the highest value, and never empty.
        while high <= low || high < low.max(1) {
            high = next_round(high);
        }
        Self { low: low as f64, high: high as f64, from, to }
    }

    fn covering(low: u64, high: u64, from: f64, to: f64) -> Self {
        let top = round_below(high.max(1));
        Self::new(low, if top < high { next_round(top) } else { top }, from, to)
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + share.min(1.0) * (self.to - self.from)
    }

    /// Marks at 1, 2, 5 where there is room, otherwise at powers of ten; the flag says whether it is written.
    fn marks(&self) -> Vec<(u64, bool)> {
        let decades = (self.high / self.low).log10();
        let room = (self.to - self.from).abs() / decades.max(0.1);
        let mut marks = Vec::new();
        let mut mark = round_below(self.low as u64);
        // At most three marks in each of twenty powers of ten.
        while mark as f64 <= self.high && marks.len() < 60 {
            let power = power_of_ten(mark) == mark;
            marks.push((mark, power || room > 170.0 || decades < 1.0));
            mark = next_round(mark);
        }
        marks
    }
}

fn power_of_ten(value: u64) -> u64 {
    10u64.pow(value.max(1).ilog10())
}

/// The largest of 1, 2, 5 times a power of ten that is not above.
fn round_below(value: u64) -> u64 {
    let power = power_of_ten(value);
    power * [5, 2, 1].into_iter().find(|step| value / power >= *step).unwrap_or(1)
}

fn next_round(mark: u64) -> u64 {
    let power = power_of_ten(mark);
    let factor = match mark / power {
        1 => 2,
        2 => 5,
        _ => 10,
    };
    power.saturating_mul(factor)
}

/// `1 ms`, `20 µs`, `1,795 ns`: the unit that keeps the number short, and nanoseconds to the last one below 10 µs.
#[must_use]
pub fn time(ns: u64) -> String {
    if ns < 10_000 && !(ns > 0 && ns.is_multiple_of(1_000)) {
        return format!("{} ns", grouped(ns));
    }
    let (unit, name) = match ns {
        0..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let value = ns as f64 / unit as f64;
    let digits = if value.fract() == 0.0 {
        0
    } else if value < 10.0 {
        2
    } else {
        1
    };
    format!("{value:.digits$} {name}")
}

/// Text that is safe between tags and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut safe, c| {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
        safe
    })
}

/// A picture in the making.
struct Picture {
    text: String,
    width: f64,
    height: f64,
}

/// Where the plotted area lies in the picture.
const LEFT: f64 = 62.0;
const TOP: f64 = 14.0;
const BELOW: f64 = 42.0;
const RIGHT: f64 = 18.0;

impl Picture {
    fn new(width: f64, height: f64, says: &str) -> Self {
        let says = escape(says);
        let text = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{says}\" xmlns=\"http://www.w3.org/2000/svg\">\n"
        );
        Self { text, width, height }
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = writeln!(
            self.text,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn label(&mut self, class: &str, at: (f64, f64), anchor: &str, text: &str) {
        let _ = writeln!(
            self.text,
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            at.0,
            at.1,
            escape(text)
        );
    }

    fn bar(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, says: &str) {
        let _ = writeln!(
            self.text,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
            escape(says)
        );
    }

    fn bottom(&self) -> f64 {
        self.height - BELOW
    }

    fn right(&self) -> f64 {
        self.width - RIGHT
    }

    /// Latency to the right.
    fn x_axis(&mut self, axis: &Axis) {
        let (top, bottom) = (TOP, self.bottom());
        for (mark, written) in axis.marks() {
            let x = axis.at(mark as f64);
            self.line("grid", (x, top), (x, bottom));
            if written {
                self.label("tick", (x, bottom + 16.0), "middle", &time(mark));
            }
        }
        self.line("axis", (LEFT, bottom), (self.right(), bottom));
    }

    fn y_mark(&mut self, y: f64, text: Option<&str>) {
        self.line("grid", (LEFT, y), (self.right(), y));
        if let Some(text) = text {
            self.label("tick", (LEFT - 7.0, y + 3.5), "end", text);
        }
    }

    fn x_title(&mut self, text: &str) {
        let middle = f64::midpoint(LEFT, self.right());
        self.label("title", (middle, self.height - 6.0), "middle", text);
    }

    fn finish(self) -> String {
        self.text + "</svg>\n"
    }
}

/// The share of wake-ups that came later than a latency, one line for each: where a line ends is the worst.
#[must_use]
pub fn later_than(spreads: &[Spread], deadline_ns: u64) -> String {
    let mut picture = Picture::new(880.0, 330.0, "Share of wake-ups that came later than a latency");
    let low = spreads.iter().filter_map(|spread| Some(spread.buckets.first()?.0)).min().unwrap_or(1);
    let high = spreads.iter().map(|spread| spread.max).max().unwrap_or(1);
    let x = Axis::covering(low, high, LEFT, picture.right());
    picture.x_axis(&x);
    let most = spreads.iter().map(Spread::n).max().unwrap_or(1);
    let decades = f64::from(most.max(10).ilog10() + u32::from(power_of_ten(most) < most));
    let y =
        |share: f64| TOP + (-share.log10()).clamp(0.0, decades) / decades * (picture.height - BELOW - TOP);
    let marks: Vec<_> = (0..=decades as i32).map(|power| (power, y(10f64.powi(-power)))).collect();
    let paths: Vec<_> = spreads.iter().map(|spread| later_path(spread, &x, y)).collect();
    for (power, at) in marks {
        let text = match power {
            0 => "all".to_owned(),
            1 | 2 => format!("{} %", 100 / 10i32.pow(power as u32)),
            _ => format!("1 in {}", grouped(10u64.pow(power as u32))),
        };
        picture.y_mark(at, Some(&text));
    }
    deadline(&mut picture, &x, deadline_ns);
    for (index, (path, end)) in paths.iter().enumerate() {
        let (colour, turn) = (index % COLOURS, index / COLOURS);
        let _ = writeln!(picture.text, "<path class=\"curve c{colour} turn{turn}\" d=\"{path}\"/>");
        let _ = writeln!(
            picture.text,
            "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}: worst {}</title></circle>",
            end.0,
            end.1,
            escape(&spreads[index].label),
            time(spreads[index].max)
        );
    }
    picture.x_title("later than");
    picture.finish()
}

/// The steps of one line, and where it ends.
fn later_path(spread: &Spread, x: &Axis, y: impl Fn(f64) -> f64) -> (String, (f64, f64)) {
    let n = spread.n();
    let mut left = n;
    let mut path = format!("M{:.1},{:.1}", x.from, y(1.0));
    let mut end = (x.from, y(1.0));
    for &(_, high, count) in &spread.buckets {
        let at = x.at(high.min(spread.max) as f64);
        let _ = write!(path, "H{at:.1}");
        end = (at, y(left as f64 / n as f64));
        left -= count.min(left);
        if left > 0 {
            let _ = write!(path, "V{:.1}", y(left as f64 / n as f64));
        }
    }
    (path, end)
}

/// How many wake-ups took how long: a bar for each bucket, its height logarithmic.
#[must_use]
pub fn histogram(spread: &Spread, range_ns: (u64, u64), deadline_ns: u64) -> String {
    let mut picture = Picture::new(430.0, 210.0, &format!("Histogram of wake-up latency, {}", spread.label));
    let x = Axis::covering(range_ns.0, range_ns.1, LEFT, picture.right());
    picture.x_axis(&x);
    let most = spread.buckets.iter().map(|(.., count)| *count).max().unwrap_or(1).max(10);
    let bottom = picture.bottom();
    // One is visible: the axis begins at a half.
    let y = |count: f64| bottom - (count * 2.0).ln() / (most as f64 * 2.0).ln() * (bottom - TOP);
    for power in 0..=most.ilog10() {
        let mark = 10u64.pow(power);
        picture.y_mark(y(mark as f64), Some(&grouped(mark)));
    }
    for &(low, high, count) in &spread.buckets {
        let (from, to) = (x.at(low as f64), x.at((high + 1) as f64));
        let class = if low >= deadline_ns { "bar late" } else { "bar" };
        let top = y(count as f64);
        let says = format!("{} to {}: {}", time(low), time(high), grouped(count));
        picture.bar(class, from, top, (to - from - 0.4).max(1.2), bottom - top, &says);
    }
    deadline(&mut picture, &x, deadline_ns);
    let at = x.at(spread.max as f64);
    let anchor = if at > picture.width * 0.7 { "end" } else { "start" };
    let beside = if anchor == "end" { at - 4.0 } else { at + 4.0 };
    picture.line("worst", (at, TOP + 2.0), (at, bottom));
    picture.label("worst-label", (beside, TOP + 10.0), anchor, &format!("worst {}", time(spread.max)));
    picture.x_title("wake-up latency");
    picture.finish()
}

/// The worst latencies in the order in which they came, and the line where a fragment is lost.
#[must_use]
pub fn over_time(
    label: &str,
    worst_ns: &[u64],
    fragments: u64,
    range_ns: (u64, u64),
    deadline_ns: u64,
) -> String {
    let mut picture = Picture::new(430.0, 210.0, &format!("Worst latency over time, {label}"));
    let bottom = picture.bottom();
    let top_ns = range_ns.1.max(deadline_ns);
    let y = Axis::covering(range_ns.0, top_ns, bottom, TOP);
    for (mark, _) in y.marks() {
        let written = power_of_ten(mark) == mark || y.high / y.low < 200.0;
        picture.y_mark(y.at(mark as f64), written.then(|| time(mark)).as_deref());
    }
    let step = (picture.right() - LEFT) / worst_ns.len().max(1) as f64;
    for (index, &worst) in worst_ns.iter().enumerate().filter(|(_, worst)| **worst > 0) {
        let top = y.at(worst as f64);
        let class = if worst >= deadline_ns { "bar late" } else { "bar" };
        // What lies at the axis' foot is still seen.
        let height = (bottom - top).max(1.0);
        picture.bar(
            class,
            LEFT + step * index as f64,
            bottom - height,
            (step - 0.6).max(0.8),
            height,
            &time(worst),
        );
    }
    if deadline_ns > 0 {
        let at = y.at(deadline_ns as f64);
        // Seen before bars of its own colour too.
        picture.line("halo", (LEFT, at), (picture.right(), at));
        picture.line("deadline", (LEFT, at), (picture.right(), at));
        picture.label("deadline-label", (picture.right() - 3.0, at + 12.0), "end", "a fragment is lost");
    }
    picture.line("axis", (LEFT, bottom), (picture.right(), bottom));
    picture.label("tick", (LEFT, bottom + 16.0), "start", "0");
    picture.label("tick", (picture.right(), bottom + 16.0), "end", &grouped(fragments));
    picture.x_title("fragment");
    picture.finish()
}

/// The line where a fragment is lost, if the axis reaches it.
fn deadline(picture: &mut Picture, x: &Axis, deadline_ns: u64) {
    if deadline_ns as f64 > x.low && deadline_ns as f64 <= x.high {
        let at = x.at(deadline_ns as f64);
        picture.line("deadline", (at, TOP), (at, picture.bottom()));
        picture.label("deadline-label", (at - 4.0, picture.bottom() - 6.0), "end", "a fragment is lost");
    }
}

/// `1,234,567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
#[path = "svg_tests.rs"]
mod tests;
