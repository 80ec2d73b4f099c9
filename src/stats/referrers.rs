//! Bounds the referrers that are counted by name: at most [`MAX_NAMES`] for each workspace and hour.
//!
//! Any client can send any `Referer`. Without a bound, one client could fill the store with invented names. Names
//! beyond the bound count under [`OTHER`].
//!
//! Only hashes are kept, of the last [`MAX_HOURS`] hours and at most [`MAX_ALL`] in total: about 16 MB. A new process
//! starts without them, so an hour with a restart in it may have twice as many names.

use ahash::RandomState;
use hashbrown::{HashMap, HashSet, hash_map::EntryRef};

use crate::runtime::Hour;

/// Limit of names for each workspace and hour.
pub const MAX_NAMES: usize = 1_000;

/// Name under which all other referrers count.
pub const OTHER: &str = "(other)";

/// Hours in memory.
const MAX_HOURS: usize = 4;

/// Names in memory, of all workspaces and hours.
const MAX_ALL: usize = 1 << 20;

/// See the module.
#[derive(Default)]
pub struct Referrers {
    hours: HashMap<Hour, Workspaces, RandomState>,
    names: usize,
    hasher: RandomState,
}

type Workspaces = HashMap<Box<str>, HashSet<u64, RandomState>, RandomState>;

impl Referrers {
    /// The name under which a referrer is counted.
    pub fn name<'a>(&mut self, hour: Hour, workspace: &str, name: &'a str) -> &'a str {
        if name.is_empty() {
            return name;
        }
        if !self.hours.contains_key(&hour) {
            self.make_room();
        }
        let workspaces = self.hours.entry(hour).or_default();
        let known = match workspaces.entry_ref(workspace) {
            EntryRef::Occupied(known) => known.into_mut(),
            EntryRef::Vacant(new) => new.insert_with_key(workspace.into(), HashSet::default()),
        };
        let hash = self.hasher.hash_one(name);
        if known.contains(&hash) {
            return name;
        }
        if known.len() >= MAX_NAMES {
            return OTHER;
        }
        known.insert(hash);
        self.names += 1;
        if self.names > MAX_ALL {
            (self.hours, self.names) = (HashMap::default(), 0);
        }
        name
    }

    fn make_room(&mut self) {
        while self.hours.len() >= MAX_HOURS
            && let Some(oldest) = self.hours.keys().min().copied()
        {
            let forgotten = self.hours.remove(&oldest).unwrap_or_default();
            self.names -= forgotten.values().map(HashSet::len).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: u64) -> Hour {
        Hour::of_micros(hour * 3_600_000_000)
    }

    #[test]
    fn a_thousand_names_are_kept_and_the_rest_is_other() {
        let mut referrers = Referrers::default();
        let names: Vec<String> = (0..MAX_NAMES + 50).map(|n| format!("{n}.example")).collect();
        for _ in 0..2 {
            for (n, name) in names.iter().enumerate() {
                let expected = if n < MAX_NAMES { name } else { OTHER };
                assert_eq!(referrers.name(hour(1), "w", name), expected);
            }
        }
        assert_eq!(referrers.name(hour(1), "w", ""), "", "direct clicks always keep their name");
        assert_eq!(referrers.name(hour(1), "v", "new.example"), "new.example");
        assert_eq!(referrers.name(hour(2), "w", "new.example"), "new.example");
        assert_eq!(referrers.names, MAX_NAMES + 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut referrers = Referrers::default();
        for n in 0..100 {
            referrers.name(hour(n % 50), "w", &format!("{n}.example"));
            assert!(referrers.hours.len() <= MAX_HOURS && referrers.names <= 2 * MAX_HOURS);
        }
        for n in 0..2_000 {
            for name in 0..MAX_NAMES {
                referrers.name(hour(7), &format!("w-{n}"), &format!("{name}"));
            }
            let held: usize = referrers.hours.values().flat_map(HashMap::values).map(HashSet::len).sum();
            assert!(held == referrers.names && held <= MAX_ALL);
        }
    }
}
