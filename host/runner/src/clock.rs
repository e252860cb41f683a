//! The time of a run: the wall clock when the process began, and a clock that never steps from there on.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use windlass_engine::Millis;

/// Tells the time in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    began_at: Millis,
}

impl Clock {
    /// A clock that begins now, or at `not_before` where the wall clock is behind that: a run's time never goes back.
    #[must_use]
    pub fn starting(not_before: Millis) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began_at = Millis::try_from(wall.as_millis()).unwrap_or(Millis::MAX).max(not_before);
        Self { began: Instant::now(), began_at }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Millis {
        let elapsed = Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX);
        self.began_at.saturating_add(elapsed)
    }

    /// When that time is, on the clock that tokio sleeps by.
    #[must_use]
    pub fn instant(&self, at: Millis) -> Instant {
        let after = u64::try_from(at.saturating_sub(self.began_at)).unwrap_or(0);
        self.began.checked_add(Duration::from_millis(after)).unwrap_or(self.began)
    }
}

/// The time as RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |time| format!("{time:.3}"))
}

/// Reads a time in RFC 3339, with its offset.
#[must_use]
pub fn parse_time(text: &str) -> Option<Millis> {
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}
