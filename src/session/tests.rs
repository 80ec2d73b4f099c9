use std::{
    cell::Cell,
    collections::HashMap,
    fmt,
    hint::black_box,
    net::IpAddr,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use proptest::prelude::*;

use super::{keys::DAY, table::Individual, *};
use crate::click::{ClientAddr, EventId, Flags, Protocol, Texts};

const NOON: u64 = 20_000 * DAY + DAY / 2;
const MINUTE: u64 = 60_000_000;
const IDLE: u64 = 30 * MINUTE;
const SCHEDULE: Schedule = Schedule { hour: 0, idle: IDLE };

/// Memory that accepts a number of stores, and then no more: its process has died.
#[derive(Clone)]
struct Mortal {
    words: Rc<[Cell<u64>]>,
    left: Rc<Cell<u64>>,
}

impl Mortal {
    fn new(buckets: u64) -> Self {
        let words = (0..table::words(buckets)).map(|_| Cell::new(0)).collect();
        Self { words, left: Rc::new(Cell::new(u64::MAX)) }
    }

    fn is_alive(&self) -> bool {
        self.left.get() > 0
    }

    fn words(&self) -> Vec<u64> {
        self.words.iter().map(Cell::get).collect()
    }
}

impl Memory for Mortal {
    fn load(&self, at: usize) -> u64 {
        self.words[at].get()
    }

    fn store(&self, at: usize, value: u64) {
        if self.is_alive() {
            self.left.set(self.left.get() - 1);
            self.words[at].set(value);
        }
    }
}

fn begin(memory: &Mortal, buckets: u64, schedule: Schedule, now: u64) -> Visits<Mortal> {
    let keyring = Keyring::begin(memory.clone(), schedule, None, now).unwrap();
    let table = VisitTable::new(memory.clone(), buckets, keyring.keys().places());
    Visits::new(keyring, table, schedule.idle)
}

fn take_over(memory: &Mortal, buckets: u64, schedule: Schedule, now: u64) -> Visits<Mortal> {
    let keyring = Keyring::take_over(memory.clone(), schedule, None, now).expect("the key is complete");
    let table = VisitTable::new(memory.clone(), buckets, keyring.keys().places());
    let visits = Visits::new(keyring, table, schedule.idle);
    visits.tick(now);
    visits
}

fn visits(visitors: usize) -> Visits<Mortal> {
    let buckets = table::buckets(visitors);
    begin(&Mortal::new(buckets), buckets, SCHEDULE, NOON)
}

fn facts<'a>(micros: u64, workspace: &'a str, address: IpAddr, agent: &'a str) -> Facts<'a> {
    let texts = Texts { workspace: workspace.as_bytes(), user_agent: agent.as_bytes(), ..Texts::default() };
    let (id, client) = (EventId::at(micros), ClientAddr::from_ip(address));
    Facts { id, micros, client, status: 302, protocol: Protocol::Http11, flags: Flags::default(), texts }
}

fn address(n: u32) -> IpAddr {
    n.to_be_bytes().into()
}

fn see<M: Memory>(visits: &Visits<M>, facts: &Facts<'_>, decided: Option<Visit>) -> Visit {
    visits.click(facts, facts.micros, &AgentDigest::of(facts.texts.user_agent), decided)
}

/// The start of the visit, and whether the click is its first.
fn click<M: Memory>(
    visits: &Visits<M>,
    at: u64,
    workspace: &str,
    address: impl fmt::Display,
    agent: &str,
) -> (u64, bool) {
    let visit = see(visits, &facts(at, workspace, address.to_string().parse().unwrap(), agent), None);
    (visit.started, visit.first)
}

#[test]
fn clicks_within_the_idle_time_are_one_visit() {
    let visits = visits(100);
    assert_eq!(click(&visits, NOON, "w", "192.0.2.1", "a"), (NOON, true));
    assert_eq!(click(&visits, NOON + 30 * MINUTE, "w", "192.0.2.1", "a"), (NOON, false));
    assert_eq!(click(&visits, NOON + 59 * MINUTE, "w", "192.0.2.1", "a"), (NOON, false));
    let later = NOON + 90 * MINUTE;
    assert_eq!(click(&visits, later, "w", "192.0.2.1", "a"), (later, true));
}

#[test]
fn a_clock_two_years_ahead_and_back_ends_no_visit_and_wipes_no_key_also_in_a_process_that_starts_meanwhile() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let now = clock::unix_micros();
    // The rotation is half a day away.
    let session_rotation_hour = ((now / (60 * MINUTE) + 12) % 24) as u8;
    let config = config::Enrich { session_rotation_hour, ..config::Enrich::default() };
    let open = |now| Sessions::open(dir.path(), &config, None, now).unwrap();
    let click = |sessions: &Sessions, at: u64, n: u32| {
        let visit = sessions.click(&facts(at, "w", address(n), "a"), &AgentDigest::of(b"a"), None);
        (visit.started, visit.first)
    };
    let sessions = open(now);
    let key = *sessions.visits.keys.load().current.bytes();
    assert_eq!(click(&sessions, now, 1), (now, true));
    let ahead = now + 730 * DAY;
    sessions.tick(ahead);
    assert_eq!(click(&sessions, ahead, 1), (now, false));
    let (started, first) = click(&sessions, ahead, 2);
    assert!(first && started < now + IDLE, "a visit that begins meanwhile begins now");
    drop(sessions);
    let sessions = open(ahead + 1_000_000);
    assert_eq!(sessions.restored(), 2);
    assert_eq!(click(&sessions, ahead + 1_000_000, 1), (now, false));
    sessions.tick(now + 2_000_000);
    assert_eq!(click(&sessions, now + 2_000_000, 1), (now, false));
    assert_eq!(click(&sessions, now + 2_000_000, 2), (started, false));
    assert_eq!(*sessions.visits.keys.load().current.bytes(), key);
}

#[test]
fn another_workspace_address_or_agent_is_another_visitor() {
    let visits = visits(100);
    assert!(click(&visits, NOON, "w", "192.0.2.1", "a").1);
    assert!(click(&visits, NOON, "v", "192.0.2.1", "a").1);
    assert!(click(&visits, NOON, "w", "192.0.2.2", "a").1);
    assert!(click(&visits, NOON, "w", "192.0.2.1", "b").1);
    assert!(click(&visits, NOON, "w", "192.0.2.1", "a\0").1, "padding differs from text");
    assert!(click(&visits, NOON, "wa", "192.0.2.1", "").1, "and texts from each other");
    assert!(click(&visits, NOON, "w", "2001:db8::1", "a").1);
    // Later: one pair of 2,048 clicks of the same microsecond is the same click.
    assert!(!click(&visits, NOON + 1, "w", "2001:db8::2", "a").1, "one household in IPv6");
    for length in [0, 15, 24, 25, 484, 2_048] {
        assert!(click(&visits, NOON, "w", "192.0.2.1", &"a".repeat(length)).1);
        assert!(!click(&visits, NOON + 1, "w", "192.0.2.1", &"a".repeat(length)).1, "{length}");
    }
}

#[test]
fn the_rotation_splits_no_visit_and_leaves_nothing_of_the_old_key() {
    for hour in [0, 1, 12, 23] {
        let schedule = Schedule { hour, ..SCHEDULE };
        let memory = Mortal::new(50);
        let rotation = (NOON / DAY + 1) * DAY + u64::from(hour) * 60 * MINUTE;
        let before = rotation - 10 * MINUTE;
        let visits = begin(&memory, 50, schedule, before);
        assert_eq!(click(&visits, before, "w", "192.0.2.1", "a"), (before, true));
        assert_eq!(click(&visits, before, "w", "192.0.2.2", "a"), (before, true));
        let old = *visits.keys.load().current.bytes();
        let words = |memory: &Mortal| memory.words().iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let has = |memory: &Mortal, bytes: &[u8]| words(memory).windows(bytes.len()).any(|window| window == bytes);
        let one = visits.keys.load().current.individual(
            b"w",
            &ClientAddr::from_ip(address(0xc000_0202)),
            &AgentDigest::of(b"a"),
        );
        let one = one.hash[0].to_le_bytes();

        assert_eq!(click(&visits, rotation + MINUTE, "w", "192.0.2.1", "a"), (before, false));
        assert_ne!(*visits.keys.load().current.bytes(), old);
        assert!(has(&memory, &old) && has(&memory, &one));
        visits.tick(rotation + IDLE);
        assert!(visits.keys.load().previous.is_some() && has(&memory, &old));
        visits.tick(rotation + IDLE + 1);
        assert!(visits.keys.load().previous.is_none() && !has(&memory, &old) && !has(&memory, &one));
        assert_eq!(visits.table.used(), 1);
        assert_eq!(click(&visits, rotation + 31 * MINUTE, "w", "192.0.2.1", "a"), (before, false));
    }
}

#[test]
fn a_key_that_no_process_has_replaced_in_time_is_wiped_by_the_next() {
    let memory = Mortal::new(50);
    let visits = begin(&memory, 50, SCHEDULE, NOON);
    click(&visits, NOON, "w", "192.0.2.1", "a");
    let old = *visits.keys.load().current.bytes();
    let visits = take_over(&memory, 50, SCHEDULE, NOON + 3 * DAY);
    assert!(visits.keys.load().previous.is_none());
    assert_ne!(*visits.keys.load().current.bytes(), old);
    assert_eq!(visits.table.used(), 0);
    assert!(memory.words[512..].iter().all(|word| word.get() == 0));
}

#[test]
fn a_clock_that_was_ahead_for_years_leaves_no_key_for_years() {
    let memory = Mortal::new(50);
    let visits = begin(&memory, 50, SCHEDULE, NOON);
    visits.tick(NOON + 3_650 * DAY);
    let key = |visits: &Visits<Mortal>| *visits.keys.load().current.bytes();
    let ahead = key(&visits);
    visits.tick(NOON);
    assert_eq!(key(&visits), ahead);
    for visits in [take_over(&memory, 50, SCHEDULE, NOON + 1), visits] {
        visits.tick(NOON + DAY / 2);
        assert_ne!(key(&visits), ahead);
    }
}

#[test]
fn another_hour_of_rotation_holds_from_the_next_start() {
    let memory = Mortal::new(50);
    let visits = begin(&memory, 50, SCHEDULE, NOON);
    let old = *visits.keys.load().current.bytes();
    let visits = take_over(&memory, 50, Schedule { hour: 13, ..SCHEDULE }, NOON);
    assert_eq!(*visits.keys.load().current.bytes(), old);
    visits.tick(NOON + 60 * MINUTE);
    assert_ne!(*visits.keys.load().current.bytes(), old);
}

#[test]
fn the_longest_idle_are_evicted_first_and_evicted_visits_are_counted() {
    let memory = Mortal::new(1);
    let visits = begin(&memory, 1, SCHEDULE, NOON);
    for n in 0..8 {
        click(&visits, NOON + u64::from(n), "w", address(n), "a");
    }
    assert_eq!((visits.table.used(), visits.table.evicted()), (8, 0));
    assert!(!click(&visits, NOON + 10, "w", address(0), "a").1);
    assert!(click(&visits, NOON + 11, "w", address(8), "a").1, "takes the place of 1");
    assert_eq!((visits.table.used(), visits.table.evicted()), (8, 1));
    assert!(!click(&visits, NOON + 12, "w", address(0), "a").1, "a visitor who keeps clicking is kept");
    assert!(click(&visits, NOON + 13, "w", address(1), "a").1);
    assert_eq!(visits.table.evicted(), 2);
    assert!(click(&visits, NOON + 40 * MINUTE, "w", address(9), "a").1);
    assert_eq!(visits.table.evicted(), 2, "whose visit has ended is forgotten without loss");
}

#[test]
fn as_many_visitors_are_remembered_as_are_configured_but_for_a_few() {
    const VISITORS: u32 = 60_000;
    let visits = visits(VISITORS as usize);
    (0..VISITORS).for_each(|n| _ = click(&visits, NOON, "w", address(n), "a"));
    let lost = visits.table.evicted();
    println!("{lost} of {VISITORS}");
    assert!(lost < u64::from(VISITORS) * 3 / 100, "{lost}");
    let visits = self::visits(VISITORS as usize);
    let three_quarters = VISITORS / 4 * 3;
    (0..three_quarters).for_each(|n| _ = click(&visits, NOON, "w", address(n), "a"));
    let lost = visits.table.evicted();
    println!("{lost} of {three_quarters}");
    // Six in a thousand on average; the key of the hash is random, and this is four standard deviations above.
    assert!(lost < u64::from(three_quarters) * 8 / 1_000, "{lost}");
    let bytes = table::words(table::buckets(1_000_000)) * 8;
    assert_eq!(bytes, 51_204_096, "51 bytes a visitor");
}

#[test]
fn a_secret_gives_the_same_key_to_every_edge() {
    let secret = |byte: u8| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), [byte; 32]).unwrap();
        Arc::new(Secret::read(&dir.path().join("key")).unwrap())
    };
    let memory = Mortal::new(1);
    let begin = |memory: &Mortal, secret: &Arc<Secret>, now| {
        Keyring::begin(memory.clone(), SCHEDULE, Some(Arc::clone(secret)), now).unwrap()
    };
    let (one, other) = (secret(1), secret(2));
    let key = |ring: &Keyring<Mortal>| *ring.keys().current.bytes();
    let mut here = begin(&memory, &one, NOON);
    let there = begin(&Mortal::new(1), &one, NOON + DAY / 2 - 1);
    assert_eq!(key(&here), key(&there));
    assert_ne!(key(&here), key(&begin(&Mortal::new(1), &other, NOON)));
    let tomorrow = begin(&Mortal::new(1), &one, NOON + DAY / 2);
    assert_ne!(key(&here), key(&tomorrow));
    here.replace(NOON + DAY / 2).unwrap();
    assert_eq!(key(&here), key(&tomorrow), "and the rotation needs no communication");

    // A start finds its own key again, and one that is not of this secret is replaced, but kept for a while.
    let later = NOON + DAY / 2 + 40 * MINUTE;
    here.retire(later);
    let mut same = Keyring::take_over(memory.clone(), SCHEDULE, Some(Arc::clone(&one)), later).unwrap();
    same.replace(later).unwrap();
    assert!(same.keys().previous.is_none() && key(&same) == key(&tomorrow));
    for secret in [Some(other), None] {
        let copy = Mortal { words: memory.words().into_iter().map(Cell::new).collect(), ..Mortal::new(1) };
        let mut ring = Keyring::take_over(copy, SCHEDULE, secret, later).unwrap();
        ring.replace(later).unwrap();
        assert_ne!(key(&ring), key(&tomorrow));
        assert_eq!(ring.keys().previous.map(|key| *key.bytes()), Some(key(&tomorrow)));
        assert_eq!((ring.retire(later + IDLE), ring.retire(later + IDLE + 1).is_some()), (None, true));
    }
}

/// What a map without bounds, keys and deaths makes of a click.
#[derive(Default)]
struct Model(HashMap<u32, (u64, u64)>);

impl Model {
    fn click(&mut self, visitor: u32, now: u64) -> (u64, bool) {
        let known = self.0.get(&visitor).copied().filter(|(_, last)| now.saturating_sub(*last) <= IDLE);
        let (started, last) = known.unwrap_or((now, now));
        let overtaken = last > now && last - now <= IDLE;
        self.0.insert(visitor, (started, if overtaken { last } else { now }));
        (started, known.is_none())
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Click(u32),
    Tick,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![8 => (0..5_u32).prop_map(Step::Click), 2 => Just(Step::Tick), 1 => Just(Step::Restart)]
}

/// How far the clock moves, in microseconds: a little, about an idle time, back by up to that much, hours, or days.
fn moves() -> impl Strategy<Value = i64> {
    let (idle, day) = (IDLE as i64, DAY as i64);
    prop_oneof![
        6 => 0..idle / 3,
        2 => idle - 2..idle + 3,
        2 => -idle..0,
        1 => 0..day / 4,
        1 => 0..5 * day,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// At any hour, the rotation of keys is not visible in the visits. When a clock has stepped back, a visit may be
    /// split until the clock is an idle time ahead of where it was: its key may be wiped.
    #[test]
    fn visits_are_those_of_a_map_without_bounds(
        hour in 0_u8..24,
        start in 0..DAY,
        may_step_back: bool,
        steps in prop::collection::vec((moves(), step()), 1..60),
    ) {
        let schedule = Schedule { hour, idle: IDLE };
        let memory = Mortal::new(50);
        let mut now = NOON + start;
        let mut visits = begin(&memory, 50, schedule, now);
        let (mut model, mut latest, mut confused) = (Model::default(), now, 0);
        for (moved, step) in steps {
            now = now.saturating_add_signed(if may_step_back { moved } else { moved.abs() });
            if now < latest {
                confused = latest + IDLE;
            }
            latest = latest.max(now);
            match step {
                Step::Click(visitor) => {
                    let expected = model.click(visitor, now);
                    let visit = click(&visits, now, "w", address(visitor), "a");
                    if now <= confused && visit == (now, true) {
                        model.0.insert(visitor, (now, now));
                    } else {
                        prop_assert_eq!(visit, expected);
                    }
                }
                Step::Tick => visits.tick(now),
                Step::Restart => visits = take_over(&memory, 50, schedule, now),
            }
        }
    }

    /// The clock goes anywhere: a visit may be split, but visitors are never taken for others, and no key lives on.
    #[test]
    fn no_clock_joins_what_is_apart_or_keeps_a_key(
        hour in 0_u8..24,
        steps in prop::collection::vec((-400 * DAY as i64..400 * DAY as i64, 0..3_u32), 1..40),
    ) {
        let memory = Mortal::new(50);
        let visits = begin(&memory, 50, Schedule { hour, idle: IDLE }, NOON);
        let mut starts: HashMap<u64, u32> = HashMap::new();
        for (n, (moved, visitor)) in (1..).zip(steps) {
            // Each click at a time of its own.
            let now = (NOON.saturating_add_signed(moved) & !0xff) + n;
            visits.tick(now);
            let (started, first) = click(&visits, now, "w", address(visitor), "a");
            prop_assert_eq!(first, started == now);
            prop_assert_eq!(*starts.entry(started).or_insert(visitor), visitor);
            prop_assert!(!visits.keys.load().are_from_the_future(now, IDLE));
            prop_assert!(!visits.keys.load().are_due(now));
        }
    }

    /// The process dies between any two stores, clicks are seen again, and yet each click gets the visit that it would
    /// have got without a crash.
    #[test]
    fn crashes_are_not_visible_in_the_visits(
        hour in 0_u8..24,
        start in 0..DAY,
        clicks in prop::collection::vec((0..IDLE * 5 / 4, 0..4_u32), 1..60),
        lives in prop::collection::vec((0..60_u64, 0..20_usize), 0..20),
    ) {
        let schedule = Schedule { hour, idle: IDLE };
        let memory = Mortal::new(20);
        let mut visits = begin(&memory, 20, schedule, NOON + start);
        let (mut now, mut model) = (NOON + start, Model::default());
        let clicks: Vec<_> = clicks.into_iter().map(|(moved, visitor)| {
            now += moved;
            (facts(now, "w", address(visitor), "a"), visitor)
        }).collect();
        let mut notes = vec![None; clicks.len()];
        let mut lives = lives.into_iter();
        let (mut life, mut next, mut latest) = (lives.next(), 0, 0);
        memory.left.set(life.map_or(u64::MAX, |(stores, _)| stores));
        while next < clicks.len() {
            let facts = &clicks[next].0;
            latest = latest.max(facts.micros);
            let visit = see(&visits, facts, notes[next]);
            if memory.is_alive() {
                notes[next] = Some(visit);
                next += 1;
            } else {
                // Some of the last clicks are not in the journal; and the next process may die while it starts, too.
                next = next.saturating_sub(life.map_or(0, |(_, unsafe_clicks)| unsafe_clicks));
                life = lives.next();
                memory.left.set(life.map_or(u64::MAX, |(stores, _)| stores));
                visits = take_over(&memory, 20, schedule, latest);
            }
        }
        for ((facts, visitor), visit) in clicks.iter().zip(notes) {
            let expected = model.click(*visitor, facts.micros);
            prop_assert_eq!(visit.map(|visit| (visit.started, visit.first)), Some(expected));
        }
    }
}

#[test]
fn a_click_that_is_seen_again_without_a_note_is_still_the_first_of_its_visit() {
    let visits = visits(100);
    let (first, second) = (facts(NOON, "w", address(1), "a"), facts(NOON + 1, "w", address(1), "a"));
    // Two clicks of one microsecond are two clicks: their ids differ. (One pair of 2,048 does not.)
    let mut other = facts(NOON, "w", address(1), "a");
    while Moment::of(NOON, &other.id) == Moment::of(NOON, &first.id) {
        other = facts(NOON, "w", address(1), "a");
    }
    for _ in 0..2 {
        assert_eq!(see(&visits, &first, None), Visit { started: NOON, first: true });
        assert_eq!(see(&visits, &other, None), Visit { started: NOON, first: false });
        assert_eq!(see(&visits, &second, None), Visit { started: NOON, first: false });
    }
}

#[test]
fn a_noted_visit_holds_even_when_the_table_has_lost_it() {
    let visits = visits(100);
    let noted = Visit { started: NOON - 5, first: false };
    assert_eq!(see(&visits, &facts(NOON, "w", address(1), "a"), Some(noted)), noted);
    assert_eq!(click(&visits, NOON + 1, "w", address(1), "a"), (NOON - 5, false), "and goes on");
    assert_eq!(see(&visits, &facts(NOON - 1, "w", address(1), "a"), Some(noted)), noted);
    assert_eq!(click(&visits, NOON + IDLE, "w", address(1), "a"), (NOON - 5, false), "an older one changes nothing");
}

#[test]
fn a_table_of_another_size_holds_the_same_visitors() {
    let small = visits(4_000);
    (0..500).for_each(|n| _ = click(&small, NOON + u64::from(n), "w", address(n), "a"));
    let kept = |buckets: u64| {
        let memory = Mortal::new(buckets);
        let table = VisitTable::new(memory, buckets, [true; 2]);
        small.table.copy_to(&table);
        let keys = small.keys.load();
        let is_kept = |n: &u32| {
            let who = keys.current.individual(b"w", &ClientAddr::from_ip(address(*n)), &AgentDigest::of(b"a"));
            let id = EventId::at(NOON + 600);
            !table.click(Moment::of(NOON + 600, &id), IDLE, who, || None).first
        };
        // Those who are not kept displace others: from the latest on.
        (table.used(), (0..500).rev().filter(is_kept).collect::<Vec<_>>())
    };
    assert_eq!(kept(2_000), (500, (0..500).rev().collect()));
    assert_eq!(kept(1).0, 8);
    assert_eq!(kept(1).1, (492..500).rev().collect::<Vec<_>>(), "those who clicked last");
}

/// Memory that threads share.
struct Shared(Box<[AtomicU64]>);

impl Memory for Shared {
    fn load(&self, at: usize) -> u64 {
        self.0[at].load(Ordering::Acquire)
    }

    fn store(&self, at: usize, value: u64) {
        self.0[at].store(value, Ordering::Release);
    }
}

#[test]
fn workers_that_meet_in_a_bucket_do_not_disturb_each_other() {
    const THREADS: u64 = 4;
    const VISITORS: u64 = 12;
    const BUCKETS: u64 = 8;
    let memory = Shared((0..table::words(BUCKETS)).map(|_| AtomicU64::new(0)).collect());
    let table = VisitTable::new(memory, BUCKETS, [true; 2]);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let table = &table;
            scope.spawn(move || {
                let mut model = Model::default();
                for n in 0..20_000 {
                    let now = NOON + n * MINUTE / 4;
                    // Six visitors for each bucket, spread over the threads.
                    let visitor = fastrand::u64(..VISITORS);
                    let number = thread * VISITORS + visitor;
                    let bucket = number % BUCKETS;
                    let hash = [bucket * (u64::MAX / BUCKETS) + (1 << 50) + number, number];
                    let who = |place| Individual { hash, place };
                    let place = n / 5_000 % 2;
                    let click = Moment::of(now, &EventId::at(now));
                    let visit = table.click(click, IDLE, who(place), || Some(who(1 - place)));
                    assert_eq!((visit.started, visit.first), model.click(visitor as u32, now), "{thread} {n}");
                }
            });
        }
    });
    assert_eq!((table.used(), table.evicted()), (THREADS * VISITORS, 0));
    (0..2).for_each(|place| table.sweep(place));
    assert_eq!((table.used(), table.clicked_since(0)), (0, 0));
}

/// Nanoseconds that this thread has been on a processor: what others do there meanwhile does not count.
fn on_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn the_cost_of_a_click() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let sessions = Sessions::open(dir.path(), &config::Enrich::default(), None, NOON).unwrap();
    let agent = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
    let time = |what: &str, count: u32, act: &dyn Fn(u32)| {
        let began = on_cpu();
        (0..count).for_each(act);
        println!("{what}: {} ns", (on_cpu() - began) / u64::from(count));
    };
    let (keys, digest) = (sessions.visits.keys.load(), AgentDigest::of(agent.as_bytes()));
    let client = ClientAddr::from_ip(address(1));
    for _ in 0..3 {
        time("hash alone", 1_000_000, &|_| {
            black_box(keys.current.individual(b"w-42", &client, &digest));
        });
        // The way that keeps some of the input in a hasher, which is 1.9 kB to wipe.
        time("hash in parts", 1_000_000, &|_| {
            let mut hasher = blake3::Hasher::new_keyed(keys.current.bytes());
            for part in [b"w-42", client.hash_input(), agent.as_bytes()] {
                hasher.update(&(part.len() as u32).to_le_bytes()).update(part);
            }
            black_box(hasher.finalize());
            zeroize::Zeroize::zeroize(&mut hasher);
        });
    }
    for visitors in [1_000, 400_000] {
        for round in 0..4 {
            time(&format!("{visitors} visitors, round {round}"), 1_000_000, &|n| {
                let mut facts = facts(NOON + round, "w-42", address(n.wrapping_mul(2_654_435_761) % visitors), agent);
                facts.id = EventId::at(NOON);
                black_box(sessions.click(&facts, &digest, None));
            });
        }
    }
    for round in 0..3 {
        time(&format!("table alone, 1000, round {round}"), 1_000_000, &|n| {
            let hash = [u64::from(n % 1_000) << 50 | 0xff, 3];
            let click = Moment::of(NOON + u64::from(n), &EventId::at(NOON));
            black_box(sessions.visits.table.click(click, IDLE, Individual { hash, place: 0 }, || None));
        });
        time(&format!("table alone, 400000, round {round}"), 1_000_000, &|n| {
            let hash = [u64::from(n % 400_000).wrapping_mul(0x9e37_79b9_7f4a_7c15), 3];
            let click = Moment::of(NOON + u64::from(n), &EventId::at(NOON));
            black_box(sessions.visits.table.click(click, IDLE, Individual { hash, place: 0 }, || None));
        });
    }
    println!("{} remembered, {} evicted", sessions.visitors(), sessions.evictions());
}
