//! Steps of the wall clock: when somebody set it, or the machine was asleep.
//!
//! Runs count by a clock that never steps; what is due at a time of the day must hear of the difference. One look serves
//! all runs of a process.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use windlass_engine::Millis;

/// How often the two clocks are compared.
const LOOK: Duration = Duration::from_secs(1);
/// A smaller difference is no step: clocks are never quite the same.
const LEAST_MS: Millis = 1_000;

/// Tells a run of the steps since it last asked.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    total: watch::Receiver<Millis>,
    told: Millis,
}

impl Steps {
    /// Compares the clocks until nobody is left who wants to know.
    pub(crate) fn of_this_machine() -> Self {
        let (tell, total) = watch::channel(0);
        tokio::spawn(compare(tell));
        Self { total, told: 0 }
    }

    /// The same for a run that begins now: of the steps before it, its own clock knows.
    pub(crate) fn since_now(&self) -> Self {
        let mut total = self.total.clone();
        let told = *total.borrow_and_update();
        Self { total, told }
    }

    /// Waits for the next step and says by how much, milliseconds; below zero where the clock went back.
    pub(crate) async fn next(&mut self) -> Millis {
        if self.total.changed().await.is_err() {
            // Nobody compares any more; the process is about to end.
            std::future::pending::<()>().await;
        }
        let total = *self.total.borrow_and_update();
        total - std::mem::replace(&mut self.told, total)
    }
}

async fn compare(tell: watch::Sender<Millis>) {
    let began = (Instant::now(), SystemTime::now());
    while !tell.is_closed() {
        tokio::time::sleep(LOOK).await;
        let ahead = ahead_ms(began.0.elapsed(), began.1, wall());
        tell.send_if_modified(|told| {
            let stepped = (ahead - *told).abs() > LEAST_MS;
            if stepped {
                *told = ahead;
            }
            stepped
        });
    }
}

/// The wall clock, which a test can have stepped since the process began.
fn wall() -> SystemTime {
    #[cfg(feature = "kill-points")]
    let now = SystemTime::now() + windlass_journal::kill_points::clock_step();
    #[cfg(not(feature = "kill-points"))]
    let now = SystemTime::now();
    now
}

/// How far the wall clock is ahead of what it would be without steps.
fn ahead_ms(elapsed: Duration, began: SystemTime, now: SystemTime) -> Millis {
    let ms = |span: Duration| Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX);
    let wall = match now.duration_since(began) {
        Ok(forward) => ms(forward),
        Err(back) => -ms(back.duration()),
    };
    wall - ms(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_told_from_time_that_passed() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let minute = Duration::from_secs(60);
        assert_eq!(ahead_ms(minute, began, began + minute), 0);
        assert_eq!(ahead_ms(minute, began, began + minute + Duration::from_secs(7)), 7_000);
        assert_eq!(ahead_ms(minute, began, began - Duration::from_secs(3)), -63_000);
    }

    #[tokio::test]
    async fn a_run_hears_of_the_steps_since_it_began() {
        let (tell, total) = watch::channel(500);
        let of_process = Steps { total, told: 0 };
        let mut of_run = of_process.since_now();
        tell.send_replace(8_000);
        assert_eq!(of_run.next().await, 7_500);
        tell.send_replace(2_000);
        assert_eq!(of_run.next().await, -6_000);
    }
}
