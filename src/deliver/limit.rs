//! The number of uploads of a feed that may be under way at a time.
//!
//! Additive increase, multiplicative decrease: from one upload up to the configured number, one more after as many
//! successes as the limit is; half as many when the store asks to slow down. All uploads that were under way at that
//! moment may fail for the same reason: together they halve the limit once.

/// The limit.
pub struct Limit {
    now: usize,
    most: usize,
    /// Successes since the last change.
    successes: usize,
    /// First round whose failures halve the limit again.
    from: u64,
}

impl Limit {
    pub fn new(most: usize) -> Self {
        Self { now: 1, most: most.max(1), successes: 0, from: 0 }
    }

    pub fn now(&self) -> usize {
        self.now
    }

    /// Records that an upload which began in `round` was acknowledged.
    pub fn succeeded(&mut self, round: u64) {
        if round < self.from {
            return;
        }
        self.successes += 1;
        if self.successes >= self.now && self.now < self.most {
            self.now += 1;
            self.successes = 0;
        }
    }

    /// Records that the store asked to slow down, answering an upload which began in `round`. Uploads from round `next`
    /// on begin under the new limit.
    pub fn slow_down(&mut self, round: u64, next: u64) {
        if round < self.from {
            return;
        }
        self.now = (self.now / 2).max(1);
        self.successes = 0;
        self.from = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_grows_by_one_after_as_many_successes_as_it_is() {
        let mut limit = Limit::new(4);
        let mut seen = vec![limit.now()];
        for _ in 0..10 {
            limit.succeeded(0);
            seen.push(limit.now());
        }
        assert_eq!(seen, [1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn the_limit_halves_once_for_all_uploads_that_were_under_way() {
        let mut limit = Limit::new(8);
        for _ in 0..100 {
            limit.succeeded(0);
        }
        for _ in 0..8 {
            limit.slow_down(0, 1);
        }
        assert_eq!(limit.now(), 4);
        for _ in 0..100 {
            limit.succeeded(0);
        }
        assert_eq!(limit.now(), 4, "uploads that began before say nothing about the present");
        limit.slow_down(1, 2);
        limit.slow_down(2, 3);
        limit.slow_down(3, 4);
        assert_eq!(limit.now(), 1);
        limit.succeeded(4);
        assert_eq!(limit.now(), 2);
    }

    #[test]
    fn a_limit_of_one_stays_one() {
        for most in [0, 1] {
            let mut limit = Limit::new(most);
            limit.succeeded(0);
            assert_eq!(limit.now(), 1);
        }
    }
}
