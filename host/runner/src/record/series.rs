//! What gates and guards measured, as series over time.

use serde::Serialize;
use windlass_engine::{Event, Measured, Millis, Samples};
use windlass_sandbox::plain_text;

use crate::clock::rfc3339;

/// The samples of one gate or guard.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// The step's path, or the guard's.
    pub of: String,
    /// The item's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// How many samples were taken.
    pub count: u64,
    /// How many of them gave no value.
    pub failed: u64,
    /// What was measured, where it is one number: milliseconds since 1970, and the number.
    pub values: Vec<(Millis, f64)>,
    /// Its changes: open and closed, or the band.
    pub bands: Vec<BandChange>,
}

/// From here on it was so.
#[derive(Debug, Clone, Serialize)]
pub struct BandChange {
    /// RFC 3339.
    pub at: String,
    /// Milliseconds since 1970.
    pub at_ms: Millis,
    /// `open`, `closed`, or the guard's band.
    pub band: &'static str,
    /// What the last sample had.
    pub measured: String,
}

pub(super) fn of(events: &[(Millis, Event)]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for (_, event) in events {
        match event {
            Event::GateSampled { step, item, open, since, samples, measured, .. } => {
                let band = if *open { "open" } else { "closed" };
                add(&mut all, step, item.as_deref(), band, *since, samples, measured);
            }
            Event::GuardSampled(sampled) => {
                let band = sampled.band.as_str();
                add(&mut all, &sampled.guard, None, band, sampled.since, &sampled.samples, &sampled.measured);
            }
            _ => (),
        }
    }
    all
}

fn add(
    all: &mut Vec<Series>,
    of: &str,
    item: Option<&str>,
    band: &'static str,
    since: Millis,
    samples: &Samples,
    measured: &[Measured],
) {
    let item = item.map(plain_text);
    let index = all.iter().position(|series| series.of == of && series.item == item).unwrap_or_else(|| {
        let (of, item) = (of.to_owned(), item.clone());
        all.push(Series { of, item, count: 0, failed: 0, values: Vec::new(), bands: Vec::new() });
        all.len() - 1
    });
    let Some(series) = all.get_mut(index) else { return };
    series.count += samples.count;
    series.failed += samples.failed;
    series.values.extend(samples.values.iter().filter_map(|(after, number)| {
        let at = samples.first_at.checked_add(Millis::try_from(*after).ok()?)?;
        Some((at, number.as_f64()?))
    }));
    if series.bands.last().is_none_or(|last| last.band != band) {
        series.bands.push(BandChange { at: rfc3339(since), at_ms: since, band, measured: told(measured) });
    }
}

/// What was measured, in one line.
pub(super) fn told(measured: &[Measured]) -> String {
    let told: Vec<String> = measured
        .iter()
        .map(|measured| match &measured.value {
            Some(value) => format!("{} = {value}", measured.name),
            None => format!("{} absent", measured.name),
        })
        .collect();
    plain_text(&told.join(", "))
}
