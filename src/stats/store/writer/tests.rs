//! The store against a plain map as its model: commits, late events, retention and restarts, in any order.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::stats::{
    Counts, Key, SubjectKind,
    store::{MAX_ROWS, Order, Scope, Step, sql::hour},
};

const LIMIT: Duration = Duration::from_secs(60);
const KEEP: Retention = Retention { hours_days: 2, days: 5 };
/// 2026-11-23T00.
const DAY_ONE: u64 = 20_780;

fn key(kind: SubjectKind, scope: &str, name: &str) -> Key {
    Key { kind, scope: scope.into(), name: name.into() }
}

fn clicks(clicks: u64, at: u64) -> Counts {
    Counts {
        clicks,
        humans: clicks / 2,
        bots: clicks - clicks / 2,
        sessions: clicks / 3,
        first: at,
        last: at + clicks,
    }
}

fn open(dir: &Path) -> Store {
    Store::open(&dir.join("stats.sqlite")).unwrap()
}

/// The model: a plain map.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(u64, Key), Counts>,
    /// Hours before this one are summed.
    summed: u64,
}

impl Model {
    fn add(&mut self, delta: &Delta) {
        for ((hour, key), counts) in delta.iter().filter(|(_, counts)| counts.clicks > 0) {
            self.rows.entry((hour.since_epoch(), key.clone())).or_default().add(counts);
        }
    }

    fn retain(&mut self, today: u64) {
        self.rows.retain(|(hour, _), _| hour / 24 + KEEP.days >= today);
        self.summed = self.summed.max(today.saturating_sub(KEEP.hours_days) * 24);
    }

    /// Sums by group in these hours, and in the rest of each day that was summed up.
    fn sum<K: Ord>(&self, hours: &std::ops::Range<u64>, of: impl Fn(u64, &Key) -> Option<K>) -> BTreeMap<K, Counts> {
        let inside = |hour: u64| {
            let day = hour / 24 * 24;
            if hour < self.summed { day < hours.end && day + 24 > hours.start } else { hours.contains(&hour) }
        };
        let mut sums: BTreeMap<K, Counts> = BTreeMap::new();
        for ((hour, key), counts) in self.rows.iter().filter(|((hour, _), _)| inside(*hour)) {
            if let Some(group) = of(*hour, key) {
                sums.entry(group).or_default().add(counts);
            }
        }
        sums
    }
}

#[derive(Clone, Debug)]
enum Action {
    /// Counts: how many days ago, hour, kind, scope, name, clicks.
    Count(Vec<(u64, u64, u8, u8, u8, u64)>),
    /// Days pass.
    Wait(u64),
    /// Some steps of retention, of so many rows.
    Step {
        steps: usize,
        rows: i64,
    },
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let count = (0..4_u64, 0..24_u64, 0..3_u8, 0..3_u8, 0..4_u8, 0..50_u64);
    let action = prop_oneof![
        6 => proptest::collection::vec(count, 0..12).prop_map(Action::Count),
        2 => (0..3_u64).prop_map(Action::Wait),
        3 => (1..6_usize, 1..4_i64).prop_map(|(steps, rows)| Action::Step { steps, rows }),
        1 => Just(Action::Restart),
    ];
    proptest::collection::vec(action, 1..25)
}

fn key_of(which: u8, scope: u8, name: u8) -> Key {
    let (scope, name) = (format!("s{scope}"), format!("n{name}"));
    match which {
        0 => key(SubjectKind::Link, &scope, &name),
        1 => key(SubjectKind::Domain, &format!("w{name}"), &scope),
        _ => key(SubjectKind::Workspace, &format!("w{name}"), ""),
    }
}

fn compare(store: &Store, model: &Model, today: u64) {
    let mut reader = store.reader().unwrap();
    let snapshot = reader.snapshot(LIMIT).unwrap();
    let hours = |from: u64, until: u64| (today * 24).saturating_sub(from)..(today * 24).saturating_sub(until);
    for range in [hours(200, 0), hours(0, 0).start..today * 24 + 24, hours(75, 30), hours(53, 50), hours(20, 3)] {
        let covered = snapshot.cover(range.clone());
        let is_summed = range.start < model.summed;
        assert_eq!(covered.whole_days_before.is_some(), is_summed);

        let sums = model
            .sum(&range, |_, key| (key.kind == SubjectKind::Link).then(|| (key.scope.clone(), key.name.clone())));
        for scope in ["s0", "s1", "s2"] {
            let mut expected: Vec<_> =
                sums.iter().filter(|((of, _), counts)| &**of == scope && counts.clicks > 0).collect();
            expected.sort_by(|a, b| (b.1.humans, &a.0).cmp(&(a.1.humans, &b.0)));
            let expected: Vec<_> =
                expected.into_iter().take(3).map(|((_, name), counts)| (name.to_string(), *counts)).collect();
            let top = snapshot.top(Scope::All(SubjectKind::Link, scope), &covered, Order::Humans, 3).unwrap();
            assert_eq!(top.into_iter().map(|row| (row.name, row.counts)).collect::<Vec<_>>(), expected);
        }
        let link = Scope::Link { domain: "s1", names: ["n2", "n2"] };
        let expected = sums.get(&("s1".into(), "n2".into())).copied().unwrap_or_default();
        assert_eq!(snapshot.totals(link, &covered).unwrap(), expected);

        let sums = model.sum(&range, |_, key| (key.kind == SubjectKind::Domain).then(|| key.name.clone()));
        let expected = sums.get("s2").copied().unwrap_or_default();
        assert_eq!(snapshot.totals(Scope::Domain("s2"), &covered).unwrap(), expected);

        let sums = model.sum(&range, |hour, key| {
            (key.kind == SubjectKind::Workspace && &*key.scope == "wn1").then_some(hour / 24)
        });
        let expected: Vec<_> = sums
            .into_iter()
            .filter(|(_, counts)| counts.clicks > 0)
            .map(|(day, counts)| (hour(day * 24), counts))
            .collect();
        assert_eq!(snapshot.series(Scope::Workspace("wn1"), &covered, Step::Day).unwrap(), expected);
    }
    let known = model.rows.iter().any(|((_, of), counts)| *of == key_of(2, 0, 3) && counts.clicks > 0);
    assert_eq!(snapshot.knows(Scope::Workspace("wn3")).unwrap(), known);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn queries_answer_as_a_plain_map_does(actions in actions()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut model) = (open(dir.path()), Model::default());
        let (mut today, mut place) = (DAY_ONE, 0);
        for action in actions {
            match action {
                Action::Count(rows) => {
                    let mut delta = Delta::default();
                    for (ago, of_day, kind, scope, name, count) in rows {
                        let at = (today - ago) * 24 + of_day;
                        let counts = clicks(count, at * 3_600_000_000);
                        delta.entry((hour(at), key_of(kind, scope, name))).or_default().add(&counts);
                    }
                    place += 1;
                    store.commit(&delta, (7, place)).unwrap();
                    model.add(&delta);
                }
                Action::Wait(days) => today += days,
                Action::Step { steps, rows } => {
                    let mut more = true;
                    for _ in 0..steps {
                        more = retention::step(&mut store.connection, KEEP, today, rows).unwrap();
                    }
                    // Partial retention changes no answer but those on summed days; the rest is done before comparing.
                    while more {
                        more = retention::step(&mut store.connection, KEEP, today, 1_000).unwrap();
                    }
                    model.retain(today);
                }
                Action::Restart => {
                    drop(store);
                    store = open(dir.path());
                }
            }
            prop_assert_eq!(store.counted().unwrap(), (place > 0).then_some((7, place)));
            compare(&store, &model, today);
        }
    }
}

#[test]
fn a_day_that_is_partly_summed_is_neither_missed_nor_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut delta = Delta::default();
    for n in 0..40 {
        delta.insert(
            (hour(DAY_ONE * 24 + n % 24), key(SubjectKind::Link, "go.brand.com", &n.to_string())),
            clicks(10, 1),
        );
    }
    store.commit(&delta, (1, 1)).unwrap();
    let mut steps = 0;
    loop {
        let mut reader = store.reader().unwrap();
        let snapshot = reader.snapshot(LIMIT).unwrap();
        let covered = snapshot.cover(DAY_ONE * 24..DAY_ONE * 24 + 24);
        let top = snapshot.top(Scope::All(SubjectKind::Link, "go.brand.com"), &covered, Order::Clicks, 99).unwrap();
        assert_eq!((top.len(), top.iter().map(|row| row.counts.clicks).sum::<u64>()), (40, 400));
        drop(snapshot);
        if !retention::step(&mut store.connection, KEEP, DAY_ONE + 3, 1).unwrap() {
            break;
        }
        steps += 1;
    }
    assert_eq!(steps, 41, "a row a step");
    while retention::step(&mut store.connection, KEEP, DAY_ONE + 9, 7).unwrap() {}
    let left = ["hours", "days"].map(|table| {
        store.connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    });
    assert_eq!(left, [0, 0]);
}

#[test]
fn a_snapshot_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let one = Delta::from_iter([((hour(480_000), key(SubjectKind::Workspace, "w", "")), clicks(1, 5))]);
    store.commit(&one, (1, 10)).unwrap();
    let mut reader = store.reader().unwrap();
    let snapshot = reader.snapshot(LIMIT).unwrap();
    store.commit(&one, (1, 20)).unwrap();
    let covered = snapshot.cover(480_000..480_001);
    assert_eq!(snapshot.counted().unwrap().unwrap().position, (1, 10));
    assert_eq!(snapshot.totals(Scope::Workspace("w"), &covered).unwrap().clicks, 1);
    drop(snapshot);
    let snapshot = reader.snapshot(LIMIT).unwrap();
    assert_eq!(snapshot.counted().unwrap().unwrap().position, (1, 20));
    assert_eq!(snapshot.totals(Scope::Workspace("w"), &covered).unwrap().clicks, 2);
}

#[test]
fn a_query_ends_at_its_time_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let links =
        (0..20_000).map(|n| ((hour(480_000), key(SubjectKind::Link, "go.brand.com", &format!("{n}"))), clicks(1, 5)));
    store.commit(&links.collect(), (1, 10)).unwrap();
    let mut reader = store.reader().unwrap();
    let snapshot = reader.snapshot(Duration::ZERO).unwrap();
    let covered = snapshot.cover(480_000..480_001);
    let late = snapshot.top(Scope::All(SubjectKind::Link, "go.brand.com"), &covered, Order::Clicks, 10);
    assert!(matches!(late, Err(StoreError::TooLong)), "{late:?}");
    drop(snapshot);
    let snapshot = reader.snapshot(LIMIT).unwrap();
    let top =
        snapshot.top(Scope::All(SubjectKind::Link, "go.brand.com"), &covered, Order::Clicks, usize::MAX).unwrap();
    assert_eq!(top.len(), MAX_ROWS);
}

#[test]
fn the_catalog_decides_who_owns_a_link_on_a_shared_domain() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let at = hour(480_000);
    let rows = [
        (key(SubjectKind::Domain, "w-1", "own.example"), 5),
        (key(SubjectKind::Link, "own.example", "a"), 5),
        (key(SubjectKind::Domain, "w-1", "shared.example"), 3),
        (key(SubjectKind::Domain, "w-2", "shared.example"), 9),
        (key(SubjectKind::Link, "shared.example", "mine"), 3),
        (key(SubjectKind::Link, "shared.example", "theirs"), 8),
        (key(SubjectKind::Link, "shared.example", "unknown"), 1),
    ];
    store.commit(&rows.into_iter().map(|(key, count)| ((at, key), clicks(count, 1))).collect(), (1, 1)).unwrap();
    let owner = |_: &str, slashtag: &str| match slashtag {
        "mine" => Some("w-1".into()),
        "theirs" | "a" => Some("w-2".into()),
        _ => None,
    };
    let mut reader = store.reader().unwrap();
    let snapshot = reader.snapshot(LIMIT).unwrap();
    let covered = snapshot.cover(480_000..480_001);
    let links = |workspace| {
        let top = snapshot.top_links_of(workspace, &covered, Order::Clicks, 10, &owner).unwrap();
        top.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    // A domain of one workspace identifies the owner, even if the link has moved since.
    assert_eq!(links("w-1"), ["a", "mine"]);
    assert_eq!(links("w-2"), ["theirs"]);
    assert_eq!(snapshot.workspaces_of("shared.example", at).unwrap(), ["w-1", "w-2"]);
}

#[test]
fn the_file_is_private_and_a_foreign_later_or_damaged_one_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stats.sqlite");
    let mut store = open(dir.path());
    store.commit(&Delta::default(), (1, 1)).unwrap();
    for name in ["stats.sqlite", "stats.sqlite-wal", "stats.sqlite-shm"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    store.connection.pragma_update(None, "user_version", 2).unwrap();
    drop(store);
    assert!(matches!(Store::open(&file), Err(StoreError::Version { found: 2, .. })));

    fs::write(&file, b"this is no database, and longer than its header would be: ".repeat(20)).unwrap();
    assert!(matches!(Store::open(&file), Err(StoreError::Damaged { .. })));
    assert!(matches!(
        Reader::open(&file).and_then(|mut reader| reader.snapshot(LIMIT).map(drop)),
        Err(StoreError::Damaged { .. })
    ));

    fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    assert!(Store::open(&file).is_err());
    assert!(matches!(Reader::open(&dir.path().join("none")), Err(StoreError::Failed { .. })));
}

#[test]
fn a_damaged_page_is_an_error_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stats.sqlite");
    let mut store = open(dir.path());
    let links = (0..2_000)
        .map(|n| ((hour(480_000), key(SubjectKind::Link, "go.brand.com", &format!("{n:032}"))), clicks(1, 5)));
    store.commit(&links.collect(), (1, 10)).unwrap();
    drop(store);
    let whole = fs::read(&file).unwrap();
    let mut reported = 0;
    for page in 0..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096..page * 4096 + 600].fill(0x5a);
        fs::write(&file, &damaged).unwrap();
        let result = Store::open(&file).and_then(|store| {
            let mut reader = store.reader()?;
            let snapshot = reader.snapshot(LIMIT)?;
            let covered = snapshot.cover(480_000..480_001);
            snapshot.top(Scope::All(SubjectKind::Link, "go.brand.com"), &covered, Order::Clicks, 1)
        });
        reported += usize::from(matches!(result, Err(StoreError::Damaged { .. })));
    }
    assert!(reported > 10, "{reported}");
}

#[test]
fn a_store_is_complete_since_it_was_made_or_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let since = |store: &Store| store.reader().unwrap().snapshot(LIMIT).unwrap().since();
    let age = clock::unix_micros() - since(&store);
    assert!(age < 60_000_000, "{age}");
    store.mark_complete().unwrap();
    assert_eq!(since(&store), 0);
}
