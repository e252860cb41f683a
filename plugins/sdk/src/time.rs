//! Time, from the host's clocks. Durations are `std::time::Duration`, which works in a guest; `Instant` and
//! `SystemTime` of `std` don't.

use std::time::Duration;

/// A point of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(target_arch = "wasm32")]
        {
            Self(crate::bindings::wasi::clocks::monotonic_clock::now())
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
            let start = START.get_or_init(std::time::Instant::now);
            Self(nanoseconds(start.elapsed()))
        }
    }

    /// The time since then.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(Self::now().0.saturating_sub(self.0))
    }

    /// The nanoseconds of the host's clock, for `subscribe-instant`.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

/// A duration in nanoseconds, at most `u64::MAX`.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Now, as RFC 3339 in UTC with milliseconds: `2026-01-16T02:00:00.000Z`.
#[must_use]
pub fn now() -> String {
    #[cfg(target_arch = "wasm32")]
    {
        let now = crate::bindings::wasi::clocks::wall_clock::now();
        rfc3339(now.seconds, now.nanoseconds)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        rfc3339(now.as_secs(), now.subsec_nanos())
    }
}

/// Do nothing for so long. The host cuts the call off at its deadline, asleep or not; waiting for something to come
/// true is the engine's work (`until`), not a plugin's.
pub fn sleep(duration: Duration) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration(nanoseconds(duration)).block();
    #[cfg(not(target_arch = "wasm32"))]
    std::thread::sleep(duration);
}

/// Seconds and nanoseconds since 1970 as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(seconds: u64, nanoseconds: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the proleptic Gregorian calendar, counted in 400-year eras that begin on a 1st of March, so
    // that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        nanoseconds / 1_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_709_251_199, 999_000_000), "2024-02-29T23:59:59.999Z");
        assert_eq!(rfc3339(1_768_528_800, 5_000_000), "2026-01-16T02:00:00.005Z");
        assert_eq!(rfc3339(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }
}
