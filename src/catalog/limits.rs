//! Limits how far a reload may change the size of the catalog.
//!
//! A file that is suddenly much smaller is probably truncated, one that is suddenly much larger probably a broken
//! export. Shrinking counts against the largest catalog of the last day, so that several small steps do not pass where
//! one large step fails. A catalog as large as the current one has not shrunk. Growth counts against the current
//! catalog. A start has no history, and accepts any size; an upgrade counts as a reload.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::config;

/// How long a replaced catalog counts when the next one shrinks.
const WINDOW: Duration = Duration::from_hours(24);

/// Links below which a catalog may grow without limit, so that a first fill, or a small customer's second campaign,
/// needs no restart. Doubling a catalog of this size costs no memory worth limiting.
const GROWTH_EXEMPT: usize = 1_000;

/// Links that a reload may take away as long as half of them stay, so that a small catalog can lose one.
const SHRINK_EXEMPT: usize = 10;

/// The sizes of the catalogs that were replaced within the last day.
///
/// Only those that can still be the largest are kept: from old to new, each is smaller than the one before.
#[derive(Debug, Default)]
pub struct History {
    replaced: VecDeque<(Instant, usize)>,
}

/// A change of size beyond a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Excess {
    /// Fewer links than `max_shrink_ratio` allows, compared with the largest catalog of the last day.
    Shrunk { largest: usize },
    /// More links than `max_growth_ratio` allows, compared with the current catalog.
    Grown { current: usize },
}

impl History {
    /// Notes that a catalog of so many links was replaced.
    pub fn add(&mut self, now: Instant, links: usize) {
        while self.replaced.back().is_some_and(|&(_, older)| older <= links) {
            self.replaced.pop_back();
        }
        self.replaced.push_back((now, links));
        self.forget(now);
    }

    /// Checks a catalog of `new` links that is to replace one of `current` links.
    pub fn check(
        &mut self,
        now: Instant,
        current: usize,
        new: usize,
        config: &config::Catalog,
    ) -> Result<(), Excess> {
        self.forget(now);
        let largest = self.replaced.front().map_or(current, |&(_, links)| links.max(current));
        let is_small_step = largest.saturating_sub(new) <= SHRINK_EXEMPT && 2 * new >= largest;
        // One that is no smaller than the current one was approved with that.
        if new < current && !is_small_step && (new as f64) < largest as f64 * (1.0 - config.max_shrink_ratio) {
            return Err(Excess::Shrunk { largest });
        }
        if current >= GROWTH_EXEMPT && new as f64 > current as f64 * (1.0 + config.max_growth_ratio) {
            return Err(Excess::Grown { current });
        }
        Ok(())
    }

    fn forget(&mut self, now: Instant) {
        while self.replaced.front().is_some_and(|&(at, _)| now.duration_since(at) >= WINDOW) {
            self.replaced.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// Loads catalogs of these sizes, one an hour; returns the result of each reload.
    fn reloads(first: usize, sizes: &[usize]) -> Vec<Result<(), Excess>> {
        let (mut history, mut now, mut current) = (History::default(), Instant::now(), first);
        let mut reload = |&new: &usize| {
            now += HOUR;
            let result = history.check(now, current, new, &config::Catalog::default());
            if result.is_ok() {
                history.add(now, current);
                current = new;
            }
            result
        };
        sizes.iter().map(&mut reload).collect()
    }

    #[test]
    fn a_catalog_may_shrink_by_a_tenth_and_not_further() {
        assert_eq!(reloads(1_000, &[900]), [Ok(())]);
        assert_eq!(reloads(1_000, &[899]), [Err(Excess::Shrunk { largest: 1_000 })]);
        assert_eq!(reloads(1_000, &[0]), [Err(Excess::Shrunk { largest: 1_000 })]);
        assert_eq!(reloads(0, &[0, 5]), [Ok(()), Ok(())]);
    }

    #[test]
    fn a_small_catalog_may_lose_a_link() {
        assert_eq!(reloads(5, &[4, 3]), [Ok(()), Ok(())]);
        assert_eq!(reloads(30, &[20, 19]), [Ok(()), Err(Excess::Shrunk { largest: 30 })]);
        assert_eq!(reloads(11, &[5]), [Err(Excess::Shrunk { largest: 11 })]);
    }

    #[test]
    fn small_steps_add_up_within_a_day() {
        let shrunk = Err(Excess::Shrunk { largest: 1_000 });
        assert_eq!(reloads(1_000, &[950, 910, 880, 905]), [Ok(()), Ok(()), shrunk, Ok(())]);
        assert_eq!(reloads(1_000, &[510, 260, 130]), [shrunk; 3]);
    }

    #[test]
    fn a_shrink_that_was_approved_is_no_excess_at_the_next_reload() {
        let (mut history, now, config) = (History::default(), Instant::now(), config::Catalog::default());
        let approving = config::Catalog { max_shrink_ratio: 1.0, ..config::Catalog::default() };
        assert_eq!(history.check(now, 1_000, 100, &approving), Ok(()));
        history.add(now, 1_000);
        assert_eq!(history.check(now, 100, 100, &config), Ok(()));
        assert_eq!(history.check(now, 100, 80, &config), Err(Excess::Shrunk { largest: 1_000 }));
    }

    #[test]
    fn a_larger_catalog_is_forgotten_a_day_after_it_was_replaced() {
        let (mut history, start) = (History::default(), Instant::now());
        let config = config::Catalog::default();
        history.add(start, 1_000);
        history.add(start + HOUR, 950);
        history.add(start + 2 * HOUR, 920);
        let mut at = |hours: u32| history.check(start + hours * HOUR, 910, 830, &config);
        assert_eq!(at(23), Err(Excess::Shrunk { largest: 1_000 }));
        assert_eq!(at(24), Err(Excess::Shrunk { largest: 950 }));
        assert_eq!(at(25), Ok(()));
    }

    #[test]
    fn a_catalog_may_double_and_a_small_one_may_grow_without_limit() {
        assert_eq!(reloads(1_000, &[2_000, 4_001]), [Ok(()), Err(Excess::Grown { current: 2_000 })]);
        assert_eq!(reloads(999, &[1_000_000]), [Ok(())]);
        assert_eq!(reloads(0, &[1_000_000]), [Ok(())]);
    }

    #[test]
    fn only_catalogs_that_can_be_the_largest_are_kept() {
        let (mut history, now) = (History::default(), Instant::now());
        for links in (1_000..2_000).chain([1_500, 1_400, 1_450]) {
            history.add(now, links);
        }
        assert_eq!(history.replaced.iter().map(|&(_, links)| links).collect::<Vec<_>>(), [1_999, 1_500, 1_450]);
    }
}
