//! Values by a number that doubles, such as throughput by clients: a line for each curve, from zero.

use super::{COLOURS, LEFT, Picture, TOP, escape, grouped, next_round, round_below};
use std::fmt::Write;

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What stands at its end.
    pub label: String,
    /// Number and value, the numbers rising and none of them 0.
    pub points: Vec<(u64, f64)>,
}

/// So many labels need room to the right.
const LABELS: f64 = 70.0;
/// Lines of the scale.
const STEPS: u64 = 4;

/// Draws the curves: the number to the right in powers of two, the value upwards from zero.
#[must_use]
pub fn by_number(curves: &[Curve], what: &str, number: &str) -> String {
    let mut picture = Picture::new(880.0, 260.0, &format!("{what} by {number}"));
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (low, high) =
        (points().map(|p| p.0).min().unwrap_or(1).max(1), points().map(|p| p.0).max().unwrap_or(1));
    let most = points().map(|p| p.1).fold(1.0, f64::max);
    let mut top = round_below(most as u64).max(1);
    while (top as f64) < most {
        top = next_round(top);
    }
    let (right, bottom) = (picture.right() - LABELS, picture.bottom());
    let doublings = (high as f64 / low as f64).log2().max(1.0);
    let x = |number: u64| {
        LEFT + (number.max(1) as f64 / low as f64).log2().clamp(0.0, doublings) / doublings * (right - LEFT)
    };
    let y = |value: f64| bottom - (value / top as f64).clamp(0.0, 1.0) * (bottom - TOP);
    for step in 0..=STEPS {
        let mark = top as f64 * step as f64 / STEPS as f64;
        picture.y_mark(y(mark), Some(&grouped(mark as u64)));
    }
    let mut numbers: Vec<u64> = points().map(|p| p.0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for &mark in &numbers {
        picture.label("tick", (x(mark), bottom + 16.0), "middle", &grouped(mark));
    }
    picture.line("axis", (LEFT, bottom), (picture.right(), bottom));
    let mut labels: Vec<(f64, usize)> = Vec::new();
    for (index, curve) in curves.iter().enumerate() {
        let (colour, turn) = (index % COLOURS, index / COLOURS);
        let path: Vec<_> =
            curve.points.iter().map(|&(n, value)| format!("{:.1},{:.1}", x(n), y(value))).collect();
        let _ =
            writeln!(picture.text, "<path class=\"curve c{colour} turn{turn}\" d=\"M{}\"/>", path.join("L"));
        for &(n, value) in &curve.points {
            let says = format!("{}, {} {number}: {}", curve.label, grouped(n), grouped(value as u64));
            let _ = writeln!(
                picture.text,
                "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}</title></circle>",
                x(n),
                y(value),
                escape(&says)
            );
        }
        labels.push((curve.points.last().map_or(bottom, |p| y(p.1)), index));
    }
    // Ends that lie together are written below each other.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = TOP;
    let left_over = |position: usize| 13.0 * (labels.len() - 1 - position) as f64;
    for (position, &(at, index)) in labels.iter().enumerate() {
        let at = (at + 3.5).max(free).min(bottom - left_over(position));
        let class = format!("tick t{}", index % COLOURS);
        picture.label(&class, (right + 8.0, at), "start", &curves[index].label);
        free = at + 13.0;
    }
    picture.x_title(number);
    picture.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn curve(label: &str, points: &[(u64, f64)]) -> Curve {
        Curve { label: label.into(), points: points.to_vec() }
    }

    #[test]
    fn every_point_is_there_and_numbers_that_double_are_equally_far_apart() {
        let text = by_number(&[curve("none", &[(1, 100.0), (2, 90.0), (4, 50.0)])], "work", "clients");
        assert_eq!(text.matches("<circle").count(), 3);
        let x: Vec<f64> = text
            .split("cx=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap_or_default().parse().unwrap())
            .collect();
        assert!((x[1] - x[0] - (x[2] - x[1])).abs() < 0.2, "{x:?}");
        assert!(
            text.contains(">none</text>") && text.contains(">4</text>") && text.contains(">100</text>"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_curve_leaves_the_picture(
            curves in proptest::collection::vec(proptest::collection::btree_map(0u64..1000, 0.0f64..1e15, 1..6), 1..10)
        ) {
            let curves: Vec<_> = curves.into_iter().map(|p| curve("<m>", &p.into_iter().collect::<Vec<_>>())).collect();
            let text = by_number(&curves, "x", "y");
            prop_assert!(!text.contains("NaN") && !text.contains("inf") && !text.contains("<m>"));
            for part in text.split("cy=\"").skip(1) {
                let y: f64 = part.split('"').next().unwrap_or_default().parse().unwrap();
                prop_assert!((0.0..=260.0).contains(&y));
            }
        }
    }
}
