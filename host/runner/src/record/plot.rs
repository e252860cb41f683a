//! A series as a small SVG picture: a line over time, with what it was judged to be under it.

use std::fmt::Write as _;

use windlass_engine::Millis;

use super::series::Series;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 120.0;
/// Room for the figures at the left.
const LEFT: f64 = 64.0;
/// Room for the bands below.
const BELOW: f64 = 14.0;

/// The picture, or nothing where there is nothing to draw.
pub(super) fn svg(series: &Series) -> Option<String> {
    let first = series.values.first()?.0;
    let last = series.values.last()?.0.max(first + 1);
    let (low, high) = bounds(series);
    let x = |at: Millis| LEFT + (WIDTH - LEFT) * share(at - first, last - first);
    let y = |value: f64| (HEIGHT - BELOW) * (1.0 - (value - low) / (high - low));
    let mut svg = String::new();
    // Writing to a string can't fail.
    let _ok = (|| -> std::fmt::Result {
        write!(svg, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"samples over time\">")?;
        for value in [low, high] {
            let (at, text) = (y(value), figure(value));
            write!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>")?;
            let at = at.clamp(10.0, HEIGHT - BELOW);
            write!(svg, "<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0)?;
        }
        for (index, change) in series.bands.iter().enumerate() {
            let end = series.bands.get(index + 1).map_or(last, |next| next.at_ms);
            let (from, to) = (x(change.at_ms.clamp(first, last)), x(end.clamp(first, last)));
            write!(
                svg,
                "<rect class=\"{}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"8\"/>",
                change.band,
                HEIGHT - 8.0,
                (to - from).max(1.0)
            )?;
        }
        svg.push_str("<polyline points=\"");
        for (index, (at, value)) in series.values.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(svg, "{gap}{:.1},{:.1}", x(*at), y(*value))?;
        }
        svg.push_str("\"/></svg>");
        Ok(())
    })();
    Some(svg)
}

/// The least and the greatest value, never the same.
fn bounds(series: &Series) -> (f64, f64) {
    let finite = || series.values.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::MAX, f64::min), finite().fold(f64::MIN, f64::max));
    match (high - low) > f64::EPSILON {
        true => (low, high),
        false if low < f64::MAX => (low - 1.0, low + 1.0),
        false => (0.0, 1.0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "places in a picture of a few hundred points")]
fn share(part: Millis, whole: Millis) -> f64 {
    part as f64 / whole as f64
}

/// A figure that fits at the side.
fn figure(value: f64) -> String {
    if value.abs() >= 10_000.0 || (value != 0.0 && value.abs() < 0.001) {
        format!("{value:.1e}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}
