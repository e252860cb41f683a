//! Hours of the day and times around T: when work may start, and what of a schedule can't be met.
//!
//! Pure: told the time, asks no clock; zones come from the database that jiff bundles, so that an answer is the same
//! on every machine. A window is open at every moment at which a clock on the wall in its zone shows a time of day
//! within it, which is what makes it right on the days when clocks are changed.

use std::sync::LazyLock;

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use windlass_runbook::model::{At, Day, Late, Runbook, Window};

use crate::failure::Span;
use crate::identity::Millis;

/// So late a schedule is still kept: what a machine needs to get from one thing to the next.
pub(crate) const ON_TIME_MS: Millis = 1_000;
/// So late a run with `late = "abort"` still starts; schedules are written in minutes.
pub(crate) const ABORT_MS: Millis = 60_000;

/// How far ahead an opening is looked for. A weekly window that falls out of the day clocks are set forward opens in
/// the week after.
const DAYS_AHEAD: i64 = 15;
const DAY_MS: Millis = 86_400_000;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Whether work may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Until this time at least.
    Closed(Millis),
}

/// How the window stands at that time.
pub(crate) fn door(window: &Window, at: Millis) -> Door {
    let Ok(now) = Timestamp::from_millisecond(at) else { return Door::Open };
    // `check` found the zone in the same database.
    let zone = ZONES.get(&window.zone).unwrap_or(TimeZone::UTC);
    if is_within(window, &zone, now) { Door::Open } else { Door::Closed(next_opening(window, &zone, now)) }
}

fn is_within(window: &Window, zone: &TimeZone, at: Timestamp) -> bool {
    let local = zone.to_datetime(at);
    let (hour, minute) = (u16::from(local.hour().unsigned_abs()), u16::from(local.minute().unsigned_abs()));
    let minute = hour * 60 + minute;
    let today = begins_on(window, local.date());
    if window.from_minute < window.to_minute {
        return today && (window.from_minute..window.to_minute).contains(&minute);
    }
    let yesterday = || local.date().yesterday().is_ok_and(|date| begins_on(window, date));
    (minute >= window.from_minute && today) || (minute < window.to_minute && yesterday())
}

fn begins_on(window: &Window, date: Date) -> bool {
    let day = match date.weekday() {
        Weekday::Monday => Day::Mon,
        Weekday::Tuesday => Day::Tue,
        Weekday::Wednesday => Day::Wed,
        Weekday::Thursday => Day::Thu,
        Weekday::Friday => Day::Fri,
        Weekday::Saturday => Day::Sat,
        Weekday::Sunday => Day::Sun,
    };
    window.days.is_empty() || window.days.contains(&day)
}

/// The first moment from `now` at which it is open: where it begins on one of the next days, on both sides of an hour
/// that comes twice, or where clocks are set over its beginning.
fn next_opening(window: &Window, zone: &TimeZone, now: Timestamp) -> Millis {
    let end = now.checked_add(SignedDuration::from_hours(24 * DAYS_AHEAD)).unwrap_or(Timestamp::MAX);
    let changes = zone.following(now).map(|change| change.timestamp()).take_while(|at| *at <= end);
    let today = zone.to_datetime(now).date();
    let hour = i8::try_from(window.from_minute / 60).unwrap_or(0);
    let minute = i8::try_from(window.from_minute % 60).unwrap_or(0);
    let begins = (-1..=DAYS_AHEAD).filter_map(|days| today.checked_add(days.days()).ok()).flat_map(|date| {
        let begin = zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
        [begin.earlier().ok(), begin.later().ok()].into_iter().flatten()
    });
    begins
        .chain(changes)
        .filter(|at| *at >= now && is_within(window, zone, *at))
        .min()
        .map_or(now.as_millisecond().saturating_add(DAY_MS), Timestamp::as_millisecond)
}

/// When a run's T is that starts now and names none: what comes before T starts now, and where nothing does, now is T.
/// None where the runbook has no times.
#[must_use]
pub fn default_t(runbook: &Runbook, now: Millis) -> Option<Millis> {
    entries(runbook).filter_map(|entry| entry.at).map(|at| at.offset_ms).min().map(|first| now - first.min(0))
}

/// What of the schedule would come when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The name of a stage, or the id of a step.
    pub name: String,
    /// Whether it is a stage.
    pub is_stage: bool,
    /// When it is to start: T and its offset; none where it has only a window.
    pub at: Option<Millis>,
    /// When it would start, if all before it took no time.
    pub starts: Millis,
    /// What can't be met, in one sentence.
    pub problem: Option<String>,
}

struct Entry<'r> {
    name: &'r str,
    is_stage: bool,
    at: Option<At>,
    window: Option<&'r Window>,
}

/// Stages with times, and steps with times of their own, in the order of the file.
fn entries(runbook: &Runbook) -> impl Iterator<Item = Entry<'_>> {
    let step = |index: usize| {
        let step = runbook.steps.get(index)?;
        Some(Entry { name: &step.id, is_stage: false, at: step.at, window: step.window.as_ref() })
    };
    let staged = runbook.stages.iter().flat_map(move |stage| {
        let own = Entry { name: &stage.name, is_stage: true, at: stage.at, window: stage.window.as_ref() };
        std::iter::once(own).chain(stage.steps.clone().filter_map(step))
    });
    let plain = if runbook.stages.is_empty() { 0..runbook.steps.len() } else { 0..0 };
    staged.chain(plain.filter_map(step)).filter(|entry| entry.at.is_some() || entry.window.is_some())
}

/// When each stage and step with a time or a window would start in a run that starts now and whose T is `t`, and
/// what of that can't be met. Takes for granted that all work between them takes no time.
#[must_use]
pub fn feasibility(runbook: &Runbook, t: Option<Millis>, now: Millis) -> Vec<Slot> {
    let Some(mut t) = t.or_else(|| default_t(runbook, now)).or(Some(now)) else { return Vec::new() };
    let mut ready = now;
    let mut slots = Vec::new();
    for entry in entries(runbook) {
        let at = entry.at.map(|at| t.saturating_add(at.offset_ms));
        let mut problems = Vec::new();
        if let Some(at) = at {
            problems.extend(overdue(runbook.late, at, ready));
            if runbook.late == Late::Shift && ready - at > ON_TIME_MS {
                t = t.saturating_add(ready - at);
            }
        }
        let mut starts = at.map_or(ready, |at| at.max(ready));
        if let Some(window) = entry.window
            && let Door::Closed(until) = door(window, starts)
        {
            if at.is_some() {
                problems.push(format!("its window opens {} after its time", span(until - starts)));
            }
            starts = until;
        }
        ready = ready.max(starts);
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        let name = entry.name.to_owned();
        slots.push(Slot { name, is_stage: entry.is_stage, at, starts, problem });
    }
    slots
}

fn overdue(late: Late, at: Millis, ready: Millis) -> Option<String> {
    let by = ready - at;
    match late {
        Late::Shift if by > ON_TIME_MS => {
            Some(format!("its time will have passed by {}: T would move by that", span(by)))
        }
        Late::Compress if by > ON_TIME_MS => {
            Some(format!("its time will have passed by {}: it would start at once", span(by)))
        }
        Late::Abort if by > ABORT_MS => {
            Some(format!("its time will have passed by {}: the run would not go on", span(by)))
        }
        _ => None,
    }
}

fn span(by: Millis) -> Span {
    Span(u64::try_from(by).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: u16, to: u16, zone: &str, days: &[Day]) -> Window {
        Window { from_minute: from, to_minute: to, zone: zone.into(), days: days.to_vec() }
    }

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// When it is open from that time on.
    fn opens(window: &Window, now: &str) -> String {
        match door(window, at(now)) {
            Door::Open => "open".to_owned(),
            Door::Closed(until) => Timestamp::from_millisecond(until).unwrap().to_string(),
        }
    }

    #[test]
    fn a_window_is_of_its_zone() {
        let night = window(120, 300, "Europe/Zurich", &[]);
        assert_eq!(opens(&night, "2026-11-22T00:59:59Z"), "2026-11-22T01:00:00Z", "02:00 in winter");
        assert_eq!(opens(&night, "2026-11-22T01:00:00Z"), "open");
        assert_eq!(opens(&night, "2026-11-22T03:59:59Z"), "open");
        assert_eq!(opens(&night, "2026-11-22T04:00:00Z"), "2026-11-23T01:00:00Z");
        assert_eq!(opens(&night, "2026-07-01T04:00:00Z"), "2026-07-02T00:00:00Z", "02:00 in summer");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let late = window(22 * 60, 4 * 60, "UTC", &[Day::Sat]);
        assert_eq!(opens(&late, "2026-11-21T23:00:00Z"), "open", "Saturday night");
        assert_eq!(opens(&late, "2026-11-22T03:59:00Z"), "open", "into Sunday");
        assert_eq!(opens(&late, "2026-11-22T04:00:00Z"), "2026-11-28T22:00:00Z");
        assert_eq!(opens(&late, "2026-11-21T03:00:00Z"), "2026-11-21T22:00:00Z", "not Friday's");
    }

    #[test]
    fn the_same_minute_twice_is_a_whole_day() {
        let day = window(480, 480, "UTC", &[Day::Mon]);
        assert_eq!(opens(&day, "2026-11-23T07:59:00Z"), "2026-11-23T08:00:00Z");
        assert_eq!(opens(&day, "2026-11-24T07:59:00Z"), "open");
        assert_eq!(opens(&day, "2026-11-24T08:00:00Z"), "2026-11-30T08:00:00Z");
    }

    #[test]
    fn a_window_is_right_when_clocks_go_forward() {
        // On 2026-03-29 Zurich goes from 02:00 to 03:00 at 01:00Z.
        let over = window(150, 300, "Europe/Zurich", &[]);
        assert_eq!(opens(&over, "2026-03-29T00:30:00Z"), "2026-03-29T01:00:00Z", "02:30 is 03:00 that day");
        let lost = window(130, 170, "Europe/Zurich", &[]);
        assert_eq!(opens(&lost, "2026-03-29T00:30:00Z"), "2026-03-30T00:10:00Z", "that day has no such hour");
        let sundays = window(130, 170, "Europe/Zurich", &[Day::Sun]);
        assert_eq!(opens(&sundays, "2026-03-29T00:30:00Z"), "2026-04-05T00:10:00Z");
    }

    #[test]
    fn a_window_is_right_when_clocks_go_back() {
        // On 2026-10-25 Zurich goes from 03:00 to 02:00 at 01:00Z: 02:00 to 03:00 comes twice.
        let twice = window(130, 170, "Europe/Zurich", &[]);
        assert_eq!(opens(&twice, "2026-10-25T00:00:00Z"), "2026-10-25T00:10:00Z");
        assert_eq!(opens(&twice, "2026-10-25T00:50:00Z"), "2026-10-25T01:10:00Z", "the second time");
        assert_eq!(opens(&twice, "2026-10-25T01:50:00Z"), "2026-10-26T01:10:00Z");
    }
}
