//! Time that is trusted enough to delete by.
//!
//! A clock that jumps two years ahead for ten seconds must not make everything too old. So trusted time is the time of
//! day up to a limit. The limit moves with the machine's uptime, which no setting of the clock changes, and follows the
//! time of day, a minute ahead of it, by at most 24 times the uptime that has passed:
//! - while the clock is right, trusted time is the time of day;
//! - a clock that goes ahead gains at most a day for each hour that it stays there. When it comes back, trusted time
//!   comes back with it at once: deleting later is never wrong;
//! - a clock that goes back is trusted at once, and again when it returns.
//!
//! The limit and the uptime are noted in the spool, and for sessions in their file, so that a restart during the jump
//! trusts the clock no more than the process before. The uptime counts time without a process, too. After a restart of
//! the machine it begins at zero: of the time that the machine was off, the uptime since is the part that is known to
//! have passed, and the limit follows the rest at its rate.

use serde::{Deserialize, Serialize};

/// How much faster than the uptime the limit follows the time of day.
const RATE: u64 = 24;

/// How far the limit is ahead of a clock that is right, in microseconds: corrections of the clock are trusted at once.
const SLACK: u64 = 60_000_000;

/// 2026-01-01T00:00:00Z. A machine without a battery starts with an earlier time, which is not one to continue from.
const EARLIEST: u64 = 1_767_225_600_000_000;

/// See the module. All times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct TrustedTime(Note);

/// The trusted time at one moment, for another process.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Note {
    /// The latest time that is trusted, since the Unix epoch.
    pub limit: u64,
    /// Since the machine was started.
    pub up: u64,
}

impl Note {
    /// Whether there is anything to continue from.
    pub fn is_plausible(&self) -> bool {
        self.limit >= EARLIEST
    }
}

impl TrustedTime {
    /// Trusts the time of day as it is.
    pub fn new(wall: u64, up: u64) -> Self {
        Self(Note { limit: wall.saturating_add(SLACK), up })
    }

    /// Continues from what another process has noted.
    pub fn resume(note: Note) -> Self {
        Self(note)
    }

    /// The trusted part of the time of day, at this uptime.
    pub fn read(&mut self, wall: u64, up: u64) -> u64 {
        let Note { limit, up: before } = &mut self.0;
        if *limit < EARLIEST && wall >= EARLIEST {
            // The clock was set for the first time.
            *limit = wall.saturating_add(SLACK);
        }
        let passed = up.saturating_sub(*before);
        let (moved, most) = (limit.saturating_add(passed), passed.saturating_mul(RATE));
        let wanted = wall.saturating_add(SLACK);
        *limit = wanted.clamp(moved.saturating_sub(most), moved.saturating_add(most));
        *before = up;
        wall.min(*limit)
    }

    /// What the next process continues from.
    pub fn note(&self) -> Note {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;
    const HOUR: u64 = 3_600 * SECOND;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    const NOW: u64 = EARLIEST + 300 * DAY;

    #[test]
    fn a_clock_two_years_ahead_for_ten_seconds_is_not_believed_also_by_a_process_that_starts_meanwhile() {
        let mut time = TrustedTime::new(NOW, HOUR);
        assert_eq!(time.read(NOW + SECOND, HOUR + SECOND), NOW + SECOND);
        for second in 2..12 {
            if second == 7 {
                time = TrustedTime::resume(time.note());
            }
            let trusted = time.read(NOW + 2 * YEAR + second * SECOND, HOUR + second * SECOND);
            assert!(trusted <= NOW + 6 * 60 * SECOND, "{}", trusted - NOW);
        }
        assert_eq!(time.read(NOW + 12 * SECOND, HOUR + 12 * SECOND), NOW + 12 * SECOND);
    }

    #[test]
    fn a_clock_that_goes_back_is_trusted_at_once_and_when_it_returns() {
        let mut time = TrustedTime::new(NOW, 0);
        assert_eq!(time.read(NOW - 2 * YEAR, SECOND), NOW - 2 * YEAR);
        assert_eq!(time.read(NOW + 2 * SECOND, 2 * SECOND), NOW + 2 * SECOND);
    }

    #[test]
    fn time_without_a_process_counts_and_time_without_the_machine_is_caught_up() {
        let mut time = TrustedTime::resume(TrustedTime::new(NOW, HOUR).note());
        assert_eq!(time.read(NOW + 3 * DAY, HOUR + 3 * DAY), NOW + 3 * DAY, "the machine was on");
        // It was off for ten days, and the process starts a minute after it.
        let mut time = TrustedTime::resume(TrustedTime::new(NOW, 5 * DAY).note());
        assert_eq!(time.read(NOW + 10 * DAY, 60 * SECOND), NOW + SLACK);
        let mut up = 60 * SECOND;
        while up < 11 * HOUR {
            up += SECOND;
            time.read(NOW + 10 * DAY + up, up);
        }
        assert_eq!(time.read(NOW + 10 * DAY + up, up), NOW + 10 * DAY + up);
    }

    #[test]
    fn a_machine_that_starts_in_1970_trusts_its_clock_once_it_is_set() {
        let mut time = TrustedTime::new(5 * SECOND, 5 * SECOND);
        assert!(!time.note().is_plausible());
        assert_eq!(time.read(NOW, 6 * SECOND), NOW);
        assert!(time.note().is_plausible());
    }

    proptest! {
        #[test]
        fn trusted_time_is_never_ahead_of_the_clock_and_gains_at_most_its_rate(
            steps in proptest::collection::vec((0..2 * HOUR, -3 * YEAR as i64..3 * YEAR as i64), 1..50)
        ) {
            let (mut time, mut real, mut up) = (TrustedTime::new(NOW, 0), NOW, 0);
            for (passed, error) in steps {
                (real, up) = (real + passed, up + passed);
                let wall = real.saturating_add_signed(error);
                let trusted = time.read(wall, up);
                prop_assert!(trusted <= wall && trusted <= real + SLACK + up * RATE);
            }
            // And it finds back to a clock that is right.
            for _ in 0..40 * 365 {
                (real, up) = (real + HOUR, up + HOUR);
                time.read(real, up);
            }
            prop_assert_eq!(time.read(real, up), real);
        }
    }
}
