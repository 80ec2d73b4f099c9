//! Case D: damage to the files of the spool and of the rings, done between a kill and the next start.
//!
//! The edge starts without help, moves what it cannot use to `quarantine/`, logs that, and loses at most what was in
//! the damaged bytes. Events stand in the journal as JSON, so their nonces show where they are.

use std::{
    collections::HashSet,
    fs,
    ops::Range,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aho_corasick::{AhoCorasick, MatchKind};

use super::{finish_with, outbox};
use crate::common::{
    Edge, Stopped,
    disk::SmallDisk,
    judge::{self, Bucket, Numbers, Verdict},
    load::{LIGHT, Ledger, Load},
    s3::{Fault, S3},
};

/// An event of these clicks is shorter than this: a nonce that stands this far before a damaged byte is of another.
const LONGEST: usize = 8 << 10;

/// A cut that is shorter than any event.
const CUT: usize = 100;

/// What holds for a damage, besides that the edge starts, that nothing comes twice and that a fresh click flows.
struct Damage {
    /// Clicks that may be lost.
    at_risk: HashSet<String>,
    /// How many of them.
    most: usize,
    /// What the operator must see.
    report: Report,
}

impl Damage {
    /// All of these may be lost.
    fn of(at_risk: HashSet<String>, report: Report) -> Self {
        Self { most: at_risk.len(), at_risk, report }
    }

    /// One of these may be lost: the damaged bytes are those of one event.
    fn of_one(at_risk: HashSet<String>, report: Report) -> Self {
        Self { most: 1, at_risk, report }
    }

    /// All of these are lost, and the log says how many.
    fn counted(lost: HashSet<String>) -> Self {
        let report = format!("\"events\":{},\"target\":\"clickedge::spool::recovery\"", lost.len());
        let report = Report::Logged(report);
        Self::of(lost, report)
    }

    fn harmless(report: Report) -> Self {
        Self::of(HashSet::new(), report)
    }
}

enum Report {
    /// The damaged part is in `quarantine/`, and the log reports it.
    Quarantined,
    /// The log has a line of level WARN or ERROR with this in it.
    Logged(String),
    /// It happens at every crash.
    Nothing,
}

/// The segments of the journal that hold something, in order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("spool/journal")).expect("a journal").map(|entry| entry.unwrap().path());
    let filled = |path: &PathBuf| path.extension().is_some_and(|end| end == "journal") && end_of(path) > 0;
    let mut segments: Vec<_> = entries.filter(filled).collect();
    segments.sort();
    assert!(!segments.is_empty(), "the journal holds events");
    segments
}

/// The segment in the middle.
fn middle(dir: &Path) -> PathBuf {
    let mut segments = segments(dir);
    segments.swap_remove(segments.len() / 2)
}

/// Where a file ends that may have been made longer in advance.
fn end_of(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

/// The nonces in a file.
fn nonces_in(path: &Path, ledger: &[String]) -> HashSet<String> {
    nonces_around(path, 0..usize::MAX, ledger)
}

/// The nonces of the events that have a byte in this range of a file, and of their neighbours.
fn nonces_around(path: &Path, range: Range<usize>, ledger: &[String]) -> HashSet<String> {
    let bytes = fs::read(path).unwrap();
    // The quotes: a nonce may begin with another.
    let quoted = ledger.iter().map(|nonce| format!("\"{nonce}\""));
    let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(quoted).unwrap();
    let around = range.start.saturating_sub(LONGEST)..range.end.saturating_add(LONGEST).min(bytes.len());
    search.find_iter(&bytes[around]).map(|found| ledger[found.pattern()].clone()).collect()
}

/// What is done to the files of a dead edge that these clicks were sent to.
type Surgery = fn(&Path, &[String]) -> Damage;

const JOURNAL: [(&str, Surgery); 9] = [
    ("a torn tail", |dir, clicks| {
        let last = segments(dir).pop().unwrap();
        let end = end_of(&last);
        let cut = end - CUT;
        let at_risk = nonces_around(&last, cut..end, clicks);
        fs::OpenOptions::new().write(true).open(&last).unwrap().set_len(cut as u64).unwrap();
        Damage::of_one(at_risk, Report::Nothing)
    }),
    ("a tail of zeros", |dir, clicks| {
        let last = segments(dir).pop().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        let end = end_of(&last);
        let at_risk = nonces_around(&last, end - CUT..end, clicks);
        bytes[end - CUT..end].fill(0);
        fs::write(&last, bytes).unwrap();
        Damage::of_one(at_risk, Report::Nothing)
    }),
    ("a flipped byte", |dir, clicks| {
        let segment = middle(dir);
        let mut bytes = fs::read(&segment).unwrap();
        let at = end_of(&segment) / 2;
        let at_risk = nonces_around(&segment, at..at + 1, clicks);
        bytes[at] ^= 0x55;
        fs::write(&segment, bytes).unwrap();
        Damage::of_one(at_risk, Report::Quarantined)
    }),
    ("an empty segment", |dir, clicks| {
        let segment = middle(dir);
        let at_risk = nonces_in(&segment, clicks);
        fs::write(&segment, "").unwrap();
        Damage::counted(at_risk)
    }),
    ("an empty last segment", |dir, clicks| {
        let segment = segments(dir).pop().unwrap();
        let at_risk = nonces_in(&segment, clicks);
        fs::write(&segment, "").unwrap();
        Damage::counted(at_risk)
    }),
    ("half of a segment", |dir, clicks| {
        let segment = middle(dir);
        let half = end_of(&segment) / 2;
        let at_risk = nonces_around(&segment, half..usize::MAX, clicks);
        fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(half as u64).unwrap();
        Damage::of(at_risk, Report::Logged("holds less than it did".into()))
    }),
    ("a missing segment", |dir, clicks| {
        let segment = middle(dir);
        let at_risk = nonces_in(&segment, clicks);
        fs::remove_file(&segment).unwrap();
        Damage::of(at_risk, Report::Logged("missing".into()))
    }),
    ("foreign files in the journal", |dir, _| {
        let journal = dir.join("spool/journal");
        fs::write(journal.join("notes.txt"), "a colleague was here").unwrap();
        fs::create_dir(journal.join("folder")).unwrap();
        Damage::harmless(Report::Logged("notes.txt".into()))
    }),
    ("a segment of noise", |dir, _| {
        let noise: Vec<u8> = (0..100_000).map(|_| fastrand::u8(..)).collect();
        fs::write(dir.join("spool/journal/0000009999.journal"), noise).unwrap();
        Damage::harmless(Report::Quarantined)
    }),
];

/// The object in the middle of those in the outbox, and what it holds.
fn object(dir: &Path) -> (PathBuf, HashSet<String>) {
    let mut objects = outbox(dir);
    assert!(!objects.is_empty(), "the outbox holds objects");
    let object = objects.swap_remove(objects.len() / 2);
    let nonces = judge::nonces_of(&object);
    assert!(!nonces.is_empty());
    (object, nonces)
}

const OUTBOX: [(&str, Surgery); 6] = [
    ("a truncated object", |dir, _| {
        let (object, at_risk) = object(dir);
        let length = fs::metadata(&object).unwrap().len();
        fs::OpenOptions::new().write(true).open(&object).unwrap().set_len(length / 2).unwrap();
        Damage::of(at_risk, Report::Quarantined)
    }),
    ("an empty object", |dir, _| {
        let (object, at_risk) = object(dir);
        fs::write(&object, "").unwrap();
        Damage::of(at_risk, Report::Quarantined)
    }),
    ("an object with a flipped byte", |dir, _| {
        let (object, at_risk) = object(dir);
        let mut bytes = fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(&object, bytes).unwrap();
        Damage::of(at_risk, Report::Quarantined)
    }),
    ("a missing object", |dir, _| {
        let (object, at_risk) = object(dir);
        fs::remove_file(&object).unwrap();
        Damage::of(at_risk, Report::Nothing)
    }),
    ("foreign files in the outbox", |dir, _| {
        let outbox = dir.join("spool/outbox");
        fs::write(outbox.join("notes.txt"), "a colleague was here").unwrap();
        fs::write(outbox.join("all/notes.txt"), "a colleague was here, too").unwrap();
        fs::create_dir_all(outbox.join("of-no-feed")).unwrap();
        fs::write(outbox.join("of-no-feed/a.txt"), "of a feed that is gone").unwrap();
        Damage::harmless(Report::Logged("notes.txt".into()))
    }),
    ("a foreign object", |dir, _| {
        let (object, _) = object(dir);
        // It has the name of an object, and no events in it.
        let name = object.file_name().unwrap().to_str().unwrap().replace("00000", "00007");
        fs::write(object.with_file_name(name), "no object").unwrap();
        Damage::harmless(Report::Quarantined)
    }),
];

/// The files of the rings.
fn rings(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("rings") {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rings(&path));
        } else if fs::metadata(&path).unwrap().len() >= 1 << 20 {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "there are rings in {}", dir.display());
    found
}

/// What is done to the state of a spool, and what the log must say, if anything.
type StateSurgery = (&'static str, fn(&Path), Option<&'static str>);

const ASIDE: Option<&str> = Some("moved aside");
const REBUILT: Option<&str> = Some("rebuilt from records");

fn for_each_state(dir: &Path, change: impl Fn(&Path)) {
    for name in ["state", "state.previous"] {
        change(&dir.join("spool").join(name));
    }
}

const STATE: [StateSurgery; 9] = [
    ("no state", |dir| fs::remove_file(dir.join("spool/state")).unwrap(), None),
    ("no state of any generation", |dir| for_each_state(dir, |path| fs::remove_file(path).unwrap()), REBUILT),
    ("an empty state", |dir| fs::write(dir.join("spool/state"), "").unwrap(), ASIDE),
    ("a state of zeros", |dir| fs::write(dir.join("spool/state"), [0; 300]).unwrap(), ASIDE),
    (
        "a truncated state",
        |dir| {
            let state = fs::read(dir.join("spool/state")).unwrap();
            fs::write(dir.join("spool/state"), &state[..state.len() / 2]).unwrap();
        },
        ASIDE,
    ),
    (
        "a flipped state",
        |dir| {
            let mut state = fs::read(dir.join("spool/state")).unwrap();
            let middle = state.len() / 2;
            state[middle] ^= 0x55;
            fs::write(dir.join("spool/state"), state).unwrap();
        },
        ASIDE,
    ),
    ("two empty states", |dir| for_each_state(dir, |path| fs::write(path, "").unwrap()), ASIDE),
    (
        "a folder in place of the state",
        |dir| {
            fs::remove_file(dir.join("spool/state")).unwrap();
            fs::create_dir(dir.join("spool/state")).unwrap();
        },
        ASIDE,
    ),
    (
        "the state of an earlier round",
        |dir| _ = fs::copy(dir.join("spool/state.previous"), dir.join("spool/state")).unwrap(),
        None,
    ),
];

/// All that waited there may be lost; the clicks are those that did.
const RINGS: [(&str, Surgery); 5] = [
    ("no rings, as after a reboot", |dir, clicks| {
        fs::remove_dir_all(dir).unwrap();
        fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
        Damage::of(clicks.iter().cloned().collect(), Report::Nothing)
    }),
    ("rings cut in half", |dir, clicks| {
        for ring in rings(dir) {
            let ring = fs::OpenOptions::new().write(true).open(ring).unwrap();
            ring.set_len(ring.metadata().unwrap().len() / 2).unwrap();
        }
        Damage::of(clicks.iter().cloned().collect(), Report::Nothing)
    }),
    ("empty rings", |dir, clicks| {
        for ring in rings(dir) {
            fs::write(ring, "").unwrap();
        }
        Damage::of(clicks.iter().cloned().collect(), Report::Nothing)
    }),
    ("rings that begin with noise", |dir, clicks| {
        for ring in rings(dir) {
            let noise: Vec<u8> = (0..4_096).map(|_| fastrand::u8(..)).collect();
            let ring = fs::OpenOptions::new().write(true).open(ring).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&ring, &noise, 0).unwrap();
        }
        Damage::of(clicks.iter().cloned().collect(), Report::Nothing)
    }),
    ("foreign files among the rings", |dir, _| {
        fs::write(dir.join("notes.txt"), "a colleague was here").unwrap();
        fs::create_dir(dir.join("folder")).unwrap();
        Damage::harmless(Report::Nothing)
    }),
];

/// Starts the damaged edge, and checks the ledger.
#[track_caller]
fn judge_after(name: &str, stopped: Stopped, ledger: Ledger, damage: &Damage, s3: &S3) {
    let logged = stopped.log().len();
    s3.set(Fault::Healthy);
    let edge = stopped.restart();
    edge.note(&format!("restarted after {name}"));
    let load = Load::start(edge.address, "after", LIGHT);
    load.wait_for(20);
    let mut after = load.stop();
    after.extend(ledger);
    let buckets = [Bucket::new("all", s3.bucket("clicks"))];
    let verdict = finish_with(name, edge, &mut after, &buckets);
    verdict.assert_at_most_once();
    let beyond: Vec<_> = verdict.lost["all"].difference(&damage.at_risk).collect();
    let at_risk = damage.at_risk.len();
    assert!(beyond.is_empty(), "{name}: {} lost clicks were elsewhere: {beyond:.200?}\n{verdict}", beyond.len());
    println!("  {name}: {at_risk} clicks at risk, {} lost", verdict.lost());
    assert!(verdict.lost() <= damage.most, "{name}: more than {} clicks are lost\n{verdict}", damage.most);
    assert_reported(name, &damage.report, &verdict, logged);
}

#[track_caller]
fn assert_reported(name: &str, report: &Report, verdict: &Verdict, from: usize) {
    let stopped = verdict.evidence.as_ref().unwrap();
    let log = stopped.log();
    let problems: Vec<_> = log[from..]
        .lines()
        .filter(|line| line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\""))
        .collect();
    let logged = |of: &str| problems.iter().any(|line| line.contains(of));
    match report {
        Report::Quarantined => {
            let moved =
                fs::read_dir(stopped.dir().join("spool/quarantine")).is_ok_and(|mut dir| dir.next().is_some());
            assert!(moved, "{name}: nothing is in quarantine: {problems:#?}");
            assert!(
                ["quarantine", "damage", "torn"].iter().any(|word| logged(word)),
                "{name}: the log does not report it: {problems:#?}"
            );
        }
        Report::Logged(what) => assert!(logged(what), "{name}: the log does not report {what}: {problems:#?}"),
        Report::Nothing => {}
    }
}

/// All kinds of damage of a table, each on an edge of its own; every one that fails is reported, not only the first.
fn all(table: &[(&str, Surgery)], case: fn(&str, Surgery)) {
    let failed: Vec<_> = table
        .iter()
        .filter(|(name, surgery)| std::panic::catch_unwind(|| case(name, *surgery)).is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(failed.is_empty(), "{} of {} kinds of damage: {failed:?}", failed.len(), table.len());
}

/// A feed that keeps all its events in the journal; [`hasty`] ends that.
fn slow_feed(s3: &S3) -> String {
    let sink = s3.sink_toml("clicks", "");
    format!("[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nmax_age_secs = 3600\nhold_back_secs = 3600\n{sink}")
}

fn hasty(config: &str) -> String {
    config.replace("_secs = 3600", "_secs = 1")
}

/// An edge that died for the third time, with clicks of each of its lives in the journal, and their ledger.
fn with_a_journal(s3: &S3) -> (Stopped, Ledger) {
    let mut edge = Edge::builder().section(&slow_feed(s3)).start();
    let load = Load::start(edge.address, "held", LIGHT);
    for round in 1..=2 {
        load.round(round);
        load.wait_for(60);
        // Each has a segment of its own.
        edge.wait_until("some are in the journal", |edge| edge.metric("clickedge_clicks_journaled_total") > 0);
        edge = edge.kill().restart();
    }
    load.round(3);
    load.wait_for(60);
    load.rest();
    edge.wait_until("they are in the journal", |edge| Numbers::of(edge).in_rings() == 0);
    (edge.kill(), load.stop())
}

#[test]
fn damage_to_the_journal_costs_no_more_than_it_held() {
    all(&JOURNAL, |name, surgery| {
        let s3 = S3::start();
        let (stopped, ledger) = with_a_journal(&s3);
        let clicks: Vec<_> = ledger.clicks.keys().cloned().collect();
        let held: HashSet<_> =
            segments(stopped.dir()).iter().flat_map(|segment| nonces_in(segment, &clicks)).collect();
        let read = |nonce: &&String| ledger.clicks[*nonce].micros.is_some();
        let missing: Vec<_> = clicks.iter().filter(read).filter(|nonce| !held.contains(*nonce)).collect();
        assert!(missing.is_empty(), "the journal has every answered click as text: not {missing:.200?}");
        let damage = surgery(stopped.dir(), &clicks);
        stopped.reconfigure(hasty);
        judge_after(name, stopped, ledger, &damage, &s3);
    });
}

/// An edge that died with events of one feed in its journal, which the other feed has delivered long ago.
fn with_delivered_events(s3: &S3) -> (Stopped, Ledger, [Bucket; 2]) {
    let builder = Edge::builder().section(&slow_feed(s3));
    let fast = format!("sink.dir.path = '{}'", builder.bucket("fast").display());
    let edge = builder.feed_into("fast", &["*"], &fast).start();
    let buckets = [Bucket::new("all", s3.bucket("clicks")), Bucket::new("fast", edge.dir().join("bucket/fast"))];
    let load = Load::start(edge.address, "state", LIGHT);
    for _ in 0..3 {
        let objects = judge::objects(&buckets[1].path).len();
        load.wait_for(40);
        edge.wait_until("a round is packed", |_| judge::objects(&buckets[1].path).len() > objects);
    }
    (edge.kill(), load.stop(), buckets)
}

#[test]
fn damage_to_the_state_stops_no_start_costs_nothing_and_doubles_nothing() {
    let failed: Vec<_> = STATE
        .iter()
        .filter(|(name, surgery, report)| {
            let case = || {
                let s3 = S3::start();
                let (stopped, mut ledger, buckets) = with_delivered_events(&s3);
                surgery(stopped.dir());
                stopped.reconfigure(hasty);
                let logged = stopped.log().len();
                let edge = stopped.restart();
                let verdict = finish_with(name, edge, &mut ledger, &buckets);
                verdict.assert_exactly_once();
                let report = report.map_or(Report::Nothing, |report| Report::Logged(report.into()));
                assert_reported(name, &report, &verdict, logged);
                let aside = verdict.evidence.as_ref().unwrap().dir().join("spool/quarantine/state");
                assert_eq!(aside.exists(), report_is_aside(&report), "{name}: what cannot be used is in quarantine");
            };
            std::panic::catch_unwind(case).is_err()
        })
        .map(|(name, ..)| name)
        .collect();
    assert!(failed.is_empty(), "{} of {} kinds of damage: {failed:?}", failed.len(), STATE.len());
}

fn report_is_aside(report: &Report) -> bool {
    matches!(report, Report::Logged(what) if Some(what.as_str()) == ASIDE)
}

#[test]
fn without_state_and_records_the_start_says_exactly_what_may_be_doubled() {
    let s3 = S3::start();
    let (stopped, mut ledger, buckets) = with_delivered_events(&s3);
    for_each_state(stopped.dir(), |path| fs::remove_file(path).unwrap());
    fs::remove_dir_all(stopped.dir().join("spool/records")).unwrap();
    stopped.reconfigure(hasty);
    let edge = stopped.restart();
    let doubtful = |feed: &str| edge.metric(&format!("clickedge_events_doubtful_total{{feed=\"{feed}\"}}")) as usize;
    let (all, fast) = (doubtful("all"), doubtful("fast"));
    assert!(all > 0 && fast >= all, "{all} events of the feed `all`, {fast} of `fast`");
    let log = edge.log();
    let line = log.lines().find(|line| line.contains("may be delivered twice")).expect("a line in the log");
    assert!(line.contains(&format!("all: {all}, fast: {fast}")) && line.contains("\"level\":\"ERROR\""), "{line}");
    let verdict = finish_with("no state and no records", edge, &mut ledger, &buckets);
    assert_eq!((verdict.lost(), verdict.invented, verdict.broken), (0, 0, 0), "{verdict}");
    assert!(verdict.duplicated <= fast, "no more than was said\n{verdict}");
}

#[test]
fn damage_to_the_outbox_costs_no_more_than_it_held() {
    all(&OUTBOX, |name, surgery| {
        let s3 = S3::start();
        s3.set(Fault::Unavailable);
        let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).start();
        let load = Load::start(edge.address, "waiting", LIGHT);
        edge.wait_until("objects wait", |edge| outbox(edge.dir()).len() >= 3);
        let ledger = load.stop();
        let stopped = edge.kill();
        let clicks: Vec<_> = ledger.clicks.keys().cloned().collect();
        let damage = surgery(stopped.dir(), &clicks);
        judge_after(name, stopped, ledger, &damage, &s3);
    });
}

#[test]
fn damage_to_the_rings_costs_no_more_than_they_held() {
    all(&RINGS, |name, surgery| {
        let s3 = S3::start();
        let builder = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", ""));
        // A full disk keeps clicks in the rings.
        let disk = match SmallDisk::mount(&builder.dir().join("spool"), 64 << 10) {
            Ok(disk) => disk,
            Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
        };
        let edge = builder.spool("journal_max_bytes = 16777216").start();
        let load = Load::start(edge.address, "ring", LIGHT);
        load.wait_for(60);
        load.rest();
        edge.wait_until("the first are in the journal", |edge| Numbers::of(edge).in_rings() == 0);
        // And synced.
        thread::sleep(Duration::from_millis(300));
        disk.fill();
        load.round(2);
        load.resume();
        load.wait_for(100);
        let stopped = edge.kill();
        disk.free();
        let ledger = load.stop();
        let in_rings = ledger.clicks.iter().filter(|(_, click)| click.round == 2);
        let damage = surgery(stopped.rings(), &in_rings.map(|(nonce, _)| nonce.clone()).collect::<Vec<_>>());
        judge_after(name, stopped, ledger, &damage, &s3);
    });
}

/// Without damage the same setup loses nothing: what the tables find is of the damage.
#[test]
fn a_held_back_journal_is_delivered_by_a_later_start() {
    let s3 = S3::start();
    let (stopped, mut ledger) = with_a_journal(&s3);
    stopped.reconfigure(hasty);
    let buckets = [Bucket::new("all", s3.bucket("clicks"))];
    finish_with("a held back journal", stopped.restart(), &mut ledger, &buckets).assert_exactly_once();
}

#[test]
fn what_is_at_risk_is_what_stood_in_the_damaged_bytes_and_a_margin() {
    let dir = tempfile::tempdir().unwrap();
    let clicks: Vec<_> = (0..30).map(|number| format!("n-{number}")).collect();
    let records =
        clicks.iter().map(|nonce| format!("\u{7}[{{\"name\":\"n\",\"value\":\"{nonce}\"{}}}]", " ".repeat(4_000)));
    let journal = dir.path().join("spool/journal");
    fs::create_dir_all(&journal).unwrap();
    let segment = journal.join("0000000001.journal");
    let text = records.collect::<String>();
    // Made longer in advance, as a journal may do.
    fs::write(&segment, text.clone() + &"\0".repeat(50_000)).unwrap();
    assert_eq!(middle(dir.path()), segment);
    assert_eq!(end_of(&segment), text.len());
    assert_eq!(nonces_in(&segment, &clicks).len(), 30);
    let at_risk = nonces_around(&segment, text.len() - CUT..text.len(), &clicks);
    assert_eq!(at_risk, clicks[28..].iter().cloned().collect());
}
