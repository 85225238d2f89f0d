//! Plots over time as self-contained inline SVG, without scripts, fonts or pictures.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::format::day;

/// Width and height of the drawing, and the margins of the plot: at the left for the scale, below for the dates.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 120.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 20.0;

/// Most points that can be distinguished; of more, each drawn one represents several.
const POINTS: usize = 240;

/// Fewer points than this are drawn as dots.
const DOTS: usize = 45;

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The time.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
    /// Whether it is that of a good backup.
    pub good: bool,
}

/// A plot of these points, the oldest first, from zero to their largest value; none without points. `title` and a description are
/// for screen readers. `words` formats a value.
pub fn draw(points: &[Point], zone: &TimeZone, title: &str, words: impl Fn(f64) -> String) -> Option<String> {
    let date = |at: Timestamp| day(at, zone);
    let summary = summary(points, date, &words)?;
    let points = thinned(points);
    let (first, last) = (points.first()?, points.last()?);
    let largest = points.iter().map(|point| point.value).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let span = (last.at.as_second() - first.at.as_second()).max(1) as f64;
    let x = |point: &Point| LEFT + (WIDTH - LEFT - RIGHT) * (point.at.as_second() - first.at.as_second()) as f64 / span;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / largest);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" width=\"100%\" \
         style=\"max-width:480px;height:auto;display:block\"><title>{title}: {summary}</title>"
    );
    for (value, words) in [(largest, words(largest)), (largest / 2.0, words(largest / 2.0)), (0.0, "0".to_owned())] {
        line(&mut svg, y(value));
        write(&mut svg, LEFT - 5.0, y(value) + 3.5, "end", &words);
    }
    write(&mut svg, LEFT, HEIGHT - 5.0, "start", &date(first.at));
    if date(first.at) != date(last.at) {
        write(&mut svg, WIDTH - RIGHT, HEIGHT - 5.0, "end", &date(last.at));
    }
    let path: Vec<String> = points.iter().map(|point| format!("{:.1},{:.1}", x(point), y(point.value))).collect();
    if path.len() > 1 {
        let _ = write!(
            svg,
            "<polyline class=\"line\" points=\"{}\" fill=\"none\" stroke=\"#1d6fb8\" stroke-width=\"1.5\" \
             stroke-linejoin=\"round\"/>",
            path.join(" ")
        );
    }
    for point in points.iter().filter(|point| !point.good || points.len() <= DOTS) {
        let (class, colour, radius) = if point.good { ("dot", "#1d6fb8", 2.0) } else { ("bad", "#b3261e", 3.0) };
        let (x, y) = (x(point), y(point.value));
        let _ = write!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>");
    }
    Some(svg + "</svg>")
}

/// The description: the number of values, their days, and the smallest, the largest and the last of them.
fn summary(points: &[Point], date: impl Fn(Timestamp) -> String, words: impl Fn(f64) -> String) -> Option<String> {
    let (first, last) = (points.first()?, points.last()?);
    if points.len() == 1 {
        return Some(format!("{} on {}", words(last.value), date(last.at)));
    }
    let smallest = points.iter().map(|point| point.value).fold(f64::INFINITY, f64::min);
    let largest = points.iter().map(|point| point.value).fold(0.0, f64::max);
    Some(format!(
        "{} from {} to {}, {} to {}, the last {}",
        points.len(),
        date(first.at),
        date(last.at),
        words(smallest),
        words(largest),
        words(last.value)
    ))
}

fn line(svg: &mut String, y: f64) {
    let end = WIDTH - RIGHT;
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{end}\" y2=\"{y:.1}\" stroke=\"#d5dae0\" \
         stroke-width=\"0.6\"/>"
    );
}

fn write(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = write!(
        svg,
        "<text class=\"scale\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"9\" fill=\"#5b6672\">{text}</text>"
    );
}

/// The points that can be distinguished: of neighbours, a bad one, or else the largest.
fn thinned(points: &[Point]) -> Vec<Point> {
    let size = points.len().div_ceil(POINTS).max(1);
    let of = |group: &[Point]| {
        group.iter().copied().max_by(|a, b| (!a.good).cmp(&!b.good).then(a.value.total_cmp(&b.value)))
    };
    points.chunks(size).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(number: i64) -> Vec<Point> {
        let point =
            |n: i64| Point { at: Timestamp::from_second(n * 86_400).unwrap(), value: (n % 7) as f64, good: true };
        (0..number).map(point).collect()
    }

    #[test]
    fn many_points_are_thinned_and_bad_ones_stay() {
        assert_eq!(thinned(&points(240)).len(), 240);
        let mut many = points(10_000);
        many[4711].good = false;
        let thin = thinned(&many);
        assert!(thin.len() <= POINTS, "{}", thin.len());
        assert_eq!(thin.iter().filter(|point| !point.good).count(), 1);
        assert_eq!(
            draw(&many, &TimeZone::UTC, "size", |value| value.to_string()).unwrap().matches("class=\"bad\"").count(),
            1
        );
    }

    #[test]
    fn one_point_and_equal_values_can_be_drawn() {
        assert_eq!(draw(&[], &TimeZone::UTC, "size", |value| value.to_string()), None);
        let zero = Point { value: 0.0, ..points(1)[0] };
        for points in [points(1), vec![zero], vec![zero, zero]] {
            let svg = draw(&points, &TimeZone::UTC, "size", |value| format!("{value:.0}")).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(
                svg.contains("<title>size: 0 on 1970-01-01<") || svg.contains("<title>size: 2 from 1970-01-01"),
                "{svg}"
            );
        }
    }
}
