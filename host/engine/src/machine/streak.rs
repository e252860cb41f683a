//! For how long a guard's samples have said the same, without a break.
//!
//! Pure. A break is a sample that says otherwise, or more than two periods without any: nobody saw what was in it.

use crate::identity::Millis;

/// What a sample asks for; each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Good,
    Hold,
    Rollback,
}

/// Since when the samples have been good, at least as bad as a hold, and as bad as a rollback.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Streaks {
    good: Option<Millis>,
    bad: Option<Millis>,
    worst: Option<Millis>,
    last_at: Option<Millis>,
}

impl Streaks {
    /// Takes a sample in; none for one that counts as not taken. True where what was before it is broken off.
    pub(super) fn take(&mut self, now: Millis, period: Millis, severity: Option<Severity>) -> bool {
        let Some(severity) = severity else { return false };
        let broken = self.last_at.is_some_and(|last| now - last > period.saturating_mul(2));
        if broken {
            *self = Self::default();
        }
        let since = |goes_on: bool, before: Option<Millis>| goes_on.then(|| before.unwrap_or(now));
        self.good = since(severity == Severity::Good, self.good);
        self.bad = since(severity >= Severity::Hold, self.bad);
        self.worst = since(severity == Severity::Rollback, self.worst);
        self.last_at = Some(now);
        broken
    }

    /// The worst that has lasted that long.
    pub(super) fn lasting(&self, now: Millis, span: Millis) -> Severity {
        let lasts = |since: Option<Millis>| since.is_some_and(|since| now - since >= span);
        if lasts(self.worst) {
            Severity::Rollback
        } else if lasts(self.bad) {
            Severity::Hold
        } else {
            Severity::Good
        }
    }

    pub(super) fn is_good_for(&self, now: Millis, span: Millis) -> bool {
        self.good.is_some_and(|since| now - since >= span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_more_than_two_periods_breaks_a_streak() {
        let mut streaks = Streaks::default();
        for now in [0, 10, 20, 40] {
            assert!(!streaks.take(now, 10, Some(Severity::Hold)), "{now}");
        }
        assert_eq!(streaks.lasting(40, 40), Severity::Hold);
        assert!(streaks.take(61, 10, Some(Severity::Hold)));
        assert_eq!(streaks.lasting(61, 1), Severity::Good);
    }

    #[test]
    fn rollback_is_a_hold_too_but_not_the_other_way_round() {
        let mut streaks = Streaks::default();
        streaks.take(0, 10, Some(Severity::Hold));
        streaks.take(10, 10, Some(Severity::Rollback));
        assert_eq!(streaks.lasting(10, 10), Severity::Hold);
        streaks.take(20, 10, Some(Severity::Rollback));
        assert_eq!(streaks.lasting(20, 10), Severity::Rollback);
    }

    #[test]
    fn an_ignored_sample_is_like_none() {
        let mut streaks = Streaks::default();
        streaks.take(0, 10, Some(Severity::Good));
        streaks.take(10, 10, None);
        streaks.take(20, 10, Some(Severity::Good));
        assert!(streaks.is_good_for(20, 20));
        streaks.take(30, 10, None);
        streaks.take(41, 10, Some(Severity::Good));
        assert!(!streaks.is_good_for(41, 20));
    }
}
