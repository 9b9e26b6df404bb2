//! Tests of the pictures: what they show, and that nothing leaves them.

use super::*;
use proptest::prelude::*;

#[test]
fn times_have_the_unit_that_keeps_them_short() {
    let times = [0, 383, 1_000, 1_795, 20_000, 1_500_000, 2_000_000_000].map(time);
    assert_eq!(times, ["0 ns", "383 ns", "1 µs", "1,795 ns", "20 µs", "1.50 ms", "2 s"]);
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(grouped(7), "7");
}

#[test]
fn an_axis_goes_from_one_round_number_to_another() {
    let axis = Axis::covering(383, 1795, 0.0, 100.0);
    assert_eq!((axis.low, axis.high), (200.0, 2000.0));
    assert_eq!((axis.at(200.0), axis.at(2000.0), axis.at(1.0), axis.at(1e9)), (0.0, 100.0, 0.0, 100.0));
    assert_eq!(axis.marks().iter().map(|(mark, _)| *mark).collect::<Vec<_>>(), [200, 500, 1000, 2000]);
}

#[test]
fn buckets_are_as_wide_as_the_kernels() {
    let spread = Spread::of_points("x", &[(3, 1), (16, 1), (352, 1), (1792, 1)], 1795);
    assert_eq!(spread.buckets, [(3, 3, 1), (16, 16, 1), (352, 367, 1), (1792, 1795, 1)]);
    let last = Spread::of_points("x", &[(u64::MAX, 1)], u64::MAX);
    assert_eq!(last.buckets, [(u64::MAX, u64::MAX, 1)]);
}

#[test]
fn a_bar_that_is_too_late_is_marked_and_so_is_the_worst() {
    let spread = Spread::of_points("all", &[(352, 9), (2_000_000, 1)], 2_000_000);
    let text = histogram(&spread, (352, 2_000_000), 1_000_000);
    assert_eq!(text.matches("class=\"bar late\"").count(), 1);
    assert_eq!(text.matches("class=\"bar\"").count(), 1);
    assert!(text.contains("worst 2 ms") && text.contains("a fragment is lost"), "{text}");
}

#[test]
fn a_line_of_the_share_falls_and_ends_at_the_worst() {
    let spread = Spread::of_points("all", &[(100, 90), (200, 10)], 205);
    let axis = Axis::covering(100, 205, 0.0, 100.0);
    let (path, end) = later_path(&spread, &axis, |share| 10.0 - 10.0 * share);
    assert!(path.starts_with("M0.0,0.0H") && path.matches('V').count() == 1, "{path}");
    assert!((end.0 - axis.at(205.0)).abs() < 0.1 && (end.1 - 9.0).abs() < 0.1, "{end:?}");
}

#[test]
fn text_cannot_leave_its_place() {
    assert_eq!(escape("<b a=\"1\">&\u{7}"), "&lt;b a=&quot;1&quot;&gt;&amp; ");
}

proptest! {
    #[test]
    fn no_figure_leaves_the_picture(
        values in proptest::collection::btree_map(0u64..1 << 40, 1u64..1_000_000, 1..30),
        deadline in 0u64..1 << 40,
    ) {
        let points: Vec<_> = values.into_iter().collect();
        let (low, max) = (points[0].0, points[points.len() - 1].0);
        let spread = Spread::of_points("<x>", &points, max);
        let worst: Vec<_> = points.iter().map(|(low, _)| *low).collect();
        for text in [
            later_than(&[spread.clone(), spread.clone()], deadline),
            histogram(&spread, (low, max), deadline),
            over_time("x", &worst, 1000, (low, max), deadline),
        ] {
            prop_assert!(!text.contains("NaN") && !text.contains("inf"), "{}", text);
            let places = [" x=\"", " y=\"", " x1=\"", " y1=\"", " x2=\"", " y2=\"", " cx=\"", " cy=\""];
            let numbers = places.iter().flat_map(|place| text.split(place).skip(1)).chain(text.split(['H', 'V']).skip(1));
            for number in numbers.filter_map(|rest| rest.split(['"', 'H', 'V']).next()?.parse::<f64>().ok()) {
                prop_assert!((0.0..=880.0).contains(&number), "{number} in {}", text);
            }
        }
    }
}
