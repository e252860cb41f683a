//! `at` and `window`: when things may start.

use jiff::tz::TimeZoneDatabase;

use crate::model::{At, Day, Window};
use crate::reader::Reader;
use crate::source::Located;
use crate::{suggest, units};

const DAYS: [(&str, Day); 7] = [
    ("mon", Day::Mon),
    ("tue", Day::Tue),
    ("wed", Day::Wed),
    ("thu", Day::Thu),
    ("fri", Day::Fri),
    ("sat", Day::Sat),
    ("sun", Day::Sun),
];

/// When something starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimesDecl {
    pub(crate) at: Option<Located<At>>,
    pub(crate) window: Option<Window>,
}

/// Reads `at` and `window` of a step or a stage.
pub(super) fn read_times(reader: &mut Reader<'_>) -> TimesDecl {
    let at = reader.string("at").and_then(|text| {
        let at = parse_at(&text.value);
        if at.is_none() {
            let message = format!("`{}` is no time of a run", text.value);
            let help = "write \"T-30m\", \"T\" or \"T+1d\"; T is the time that the run is about".to_owned();
            reader.report.error("wrong-value", text.span, message, Some(help));
        }
        Some(Located::new(at?, text.span))
    });
    TimesDecl { at, window: read_window(reader) }
}

fn parse_at(text: &str) -> Option<At> {
    let rest = text.strip_prefix('T')?;
    let duration = |text| i64::try_from(units::parse_duration(text).ok()?).ok();
    let offset_ms = match (rest, rest.strip_prefix('+'), rest.strip_prefix('-')) {
        ("", _, _) => 0,
        (_, Some(after), _) => duration(after)?,
        (_, _, Some(before)) => duration(before)?.checked_neg()?,
        _ => return None,
    };
    Some(At { offset_ms })
}

fn read_window(reader: &mut Reader<'_>) -> Option<Window> {
    let node = reader.node("window")?;
    let mut reader = Reader::of(node, "`window`", reader.report)?;
    let from_minute = read_time_of_day(&mut reader, "from");
    let to_minute = read_time_of_day(&mut reader, "to");
    let zone = reader.required_string("zone").filter(|zone| {
        // The database that is built in: a runbook means the same on every machine.
        let database = TimeZoneDatabase::bundled();
        let known = database.get(&zone.value).is_ok();
        if !known {
            let names: Vec<_> = database.available().map(|name| name.as_str().to_owned()).collect();
            let near = suggest::nearest(&zone.value, names.iter().map(String::as_str));
            let help = near.map_or_else(
                || "write a name of the IANA database, such as \"Europe/Zurich\" or \"UTC\"".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            let message = format!("there is no time zone `{}`", zone.value);
            reader.report.error("unknown-zone", zone.span, message, Some(help));
        }
        known
    });
    let mut days = Vec::new();
    for word in reader.strings("days").map(|days| days.value).unwrap_or_default() {
        let Some((_, day)) = DAYS.iter().find(|(name, _)| *name == word.value) else {
            let names = DAYS.iter().map(|(name, _)| *name);
            let message = format!("there is no day `{}`", word.value);
            reader.report.error("wrong-value", word.span, message, suggest::help(&word.value, names));
            continue;
        };
        days.push(*day);
    }
    days.sort_unstable();
    days.dedup();
    reader.finish();
    Some(Window { from_minute: from_minute?, to_minute: to_minute?, zone: zone?.value, days })
}

/// Minutes of the day of "02:00".
fn read_time_of_day(reader: &mut Reader<'_>, key: &'static str) -> Option<u16> {
    let text = reader.required_string(key)?;
    let minutes = parse_time_of_day(&text.value);
    if minutes.is_none() {
        let message = format!("`{}` is no time of the day", text.value);
        let help = "write hours and minutes from \"00:00\" to \"23:59\"".to_owned();
        reader.report.error("wrong-value", text.span, message, Some(help));
    }
    minutes
}

fn parse_time_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |text: &str, below: u16| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| plain && *number < below)
    };
    Some(two_digits(hours, 24)? * 60 + two_digits(minutes, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_offsets_from_t() {
        let offset = |text| parse_at(text).map(|at| at.offset_ms);
        assert_eq!(offset("T"), Some(0));
        assert_eq!(offset("T-30m"), Some(-1_800_000));
        assert_eq!(offset("T+7d"), Some(604_800_000));
        assert_eq!(offset("T+1h30m"), Some(5_400_000));
        for text in ["", "t", "T-", "T+", "30m", "T 30m", "T--5m", "T+5", "Tä", "T+999999999999999d"] {
            assert_eq!(offset(text), None, "{text}");
        }
    }

    #[test]
    fn times_of_the_day_have_two_digits_each() {
        assert_eq!(parse_time_of_day("00:00"), Some(0));
        assert_eq!(parse_time_of_day("02:05"), Some(125));
        assert_eq!(parse_time_of_day("23:59"), Some(1439));
        for text in ["", "2:00", "24:00", "12:60", "12", "12:5", "+1:00", "ä:00", "12:00:00"] {
            assert_eq!(parse_time_of_day(text), None, "{text}");
        }
    }
}
