//! Time that the clock has said for long enough to close an hour by.
//!
//! Trusted time ([`super::trusted`]) follows the clock slowly after a machine was off, a day for each hour. What is
//! deleted later than it could be harms nothing. An hour that stays open for hours does: consumers wait for it. To
//! close one too early deletes nothing, as what comes later makes one more manifest. So the clock is believed about
//! an hour once it has said for [`STEADY`] that it is over. Trusted time believes a clock that is ahead about the
//! running hour sooner than that.
//!
//! This is the lowest time that the clock has said in the last one to two spans of [`STEADY`].

/// Uptime for which the clock must have said it, in microseconds.
const STEADY: u64 = 300_000_000;

/// See the module. All times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct SteadyTime {
    /// Lowest time in the span before.
    before: u64,
    /// Lowest time since.
    lowest: u64,
    /// Uptime at which the span began.
    since: u64,
}

impl SteadyTime {
    /// Believes nothing yet.
    pub fn new(wall: u64, up: u64) -> Self {
        Self { before: 0, lowest: wall, since: up }
    }

    /// What is believed of the time of day, at this uptime.
    pub fn read(&mut self, wall: u64, up: u64) -> u64 {
        if up.saturating_sub(self.since) >= STEADY {
            (self.before, self.lowest, self.since) = (self.lowest, wall, up);
        }
        self.lowest = self.lowest.min(wall);
        self.before.min(self.lowest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000_000;
    const NOW: u64 = 30_000_000 * MINUTE;

    #[test]
    fn what_was_over_at_the_start_is_believed_five_minutes_later_and_what_ends_then_ten_minutes_later() {
        let mut time = SteadyTime::new(NOW, MINUTE);
        for minute in 0..60 {
            let believed = time.read(NOW + minute * MINUTE, (minute + 1) * MINUTE);
            assert_eq!(believed >= NOW, minute >= 5, "minute {minute}");
            assert!(minute < 10 || believed + 10 * MINUTE >= NOW + minute * MINUTE, "minute {minute}");
        }
    }

    #[test]
    fn a_clock_that_is_ahead_for_less_than_five_minutes_is_not_believed() {
        for from in 0..10 {
            let mut time = SteadyTime::new(NOW, 0);
            for second in 0..1_200 {
                let up = second * 1_000_000;
                let ahead = if (from * MINUTE..from * MINUTE + 290_000_000).contains(&up) { 999 * MINUTE } else { 0 };
                assert!(time.read(NOW + up + ahead, up) <= NOW + up, "from minute {from}, second {second}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_believed_that_the_clock_denied_within_five_minutes(
            steps in proptest::collection::vec((0..4 * MINUTE, 0..100 * MINUTE), 1..50)
        ) {
            let (mut time, mut up, mut said) = (SteadyTime::new(NOW, 0), 0, vec![(0, NOW)]);
            for (passed, error) in steps {
                up += passed;
                said.push((up, NOW + up + error));
                let believed = time.read(NOW + up + error, up);
                let recent = said.iter().filter(|(at, _)| at + STEADY >= up);
                prop_assert!(recent.into_iter().all(|(_, wall)| believed <= *wall));
            }
        }
    }
}
