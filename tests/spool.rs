//! `clickedge spool`: what an operator sees of a spool, and sends again, while an edge runs on it and when none does.

mod unclaimed;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::common::{
    Builder, Edge, Stopped,
    cli::{Outcome, clickedge, spool},
    clicks::{Visitor, assert_exactly_once, click, nonces, of_feed, wait_until_delivered},
    damage::World,
    events_below,
    feed::{Files, Series, hour},
    objects_below,
    s3::{Fault, S3},
};

/// Keeps what was delivered.
const KEEP: &str = "retain_secs = 3600";

/// A feed whose events stay in the journal.
fn held(builder: Builder) -> Builder {
    let path = builder.bucket("held");
    builder.section(&format!(
        "[[feeds]]\nname = \"held\"\nworkspaces = [\"*\"]\nmax_age_secs = 3600\nsink.dir.path = '{}'",
        path.display()
    ))
}

/// An edge with events in every place: `held` in the journal, `stuck` in the outbox, `local` delivered and kept.
fn everywhere(s3: &S3, clicks: usize) -> (Edge, Vec<String>) {
    s3.set(Fault::Unavailable);
    let edge = held(Edge::builder())
        .feed_into("stuck", &["*"], &s3.sink_toml("clicks", ""))
        .feed("local", &["*"])
        .spool(KEEP)
        .start();
    let clicks = click(&edge, "a", clicks);
    settled(&edge, clicks.len());
    (edge, clicks)
}

/// Waits until so many clicks are where they belong.
fn settled(edge: &Edge, clicks: usize) {
    wait_until_delivered(edge, "local", clicks);
    edge.wait_until("packed", |edge| edge.metric(&of_feed("events_spooled_total", "stuck")) == clicks as i64);
    edge.wait_until("the delivered object is kept", |edge| {
        edge.metric(&of_feed("outbox_objects", "local")) == 0
            && !objects_below(&edge.dir().join("spool/delivered")).is_empty()
    });
}

fn ls(dir: &Path) -> Value {
    spool(dir, "ls", &["--json"]).json()
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("spool/journal/0000000001.journal")
}

/// Flips a bit in the middle of a text in a file. Returns its place.
fn flip(path: &Path, text: &str) -> u64 {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("the text is there");
    bytes[at + 1] ^= 1;
    fs::write(path, bytes).unwrap();
    at as u64 + 1
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A whole replay of a feed.
fn replay(dir: &Path, arguments: &[&str]) -> Outcome {
    let all = ["--from", "2020-01-01T00:00:00Z", "--to", "2200-01-01T00:00:00Z"];
    spool(dir, "replay", &[arguments, &all].concat())
}

/// Now, between two clicks.
fn moment() -> String {
    thread::sleep(Duration::from_millis(5));
    let now = jiff::Timestamp::now().to_string();
    thread::sleep(Duration::from_millis(5));
    now
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn ls_shows_what_waits_where_while_the_edge_runs_and_after_a_kill() {
    let s3 = S3::start();
    let (edge, _) = everywhere(&s3, 10);
    let check = |dir: &Path| {
        let survey = ls(dir);
        let feed = |name: &str| survey["feeds"][name].clone();
        assert_eq!(feed("held")["journal_events"], 10, "{survey:#}");
        assert_eq!((&feed("held")["objects"], &feed("held")["kept_objects"]), (&json!(0), &json!(0)));
        assert_eq!((&feed("stuck")["journal_events"], &feed("stuck")["object_events"]), (&json!(0), &json!(10)));
        let waiting = objects_below(&dir.join("spool/outbox/stuck"));
        let bytes: u64 = waiting.iter().map(|path| path.metadata().unwrap().len()).sum();
        assert_eq!(
            (&feed("stuck")["objects"], &feed("stuck")["object_bytes"]),
            (&json!(waiting.len()), &json!(bytes))
        );
        assert!(feed("stuck")["oldest_secs"].as_u64().unwrap() < 60);
        assert_eq!((&feed("local")["objects"], &feed("local")["object_events"]), (&json!(0), &json!(0)));
        assert!(feed("local")["oldest_secs"].is_null(), "nothing waits");
        assert!(
            feed("local")["kept_objects"].as_u64().unwrap() > 0 && feed("local")["kept_bytes"].as_u64().unwrap() > 0
        );
        assert_eq!((&survey["journal"]["segments"], &survey["journal"]["damages"]), (&json!(1), &json!([])));
        assert_eq!(survey["journal"]["bytes"], segment(dir).metadata().unwrap().len());
        assert_eq!(survey["quarantined_files"], 0);

        let table = spool(dir, "ls", &[]).ok();
        let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["FEED", "IN", "JOURNAL", "OBJECTS", "EVENTS", "BYTES", "OLDEST", "KEPT"]);
        assert_eq!(lines[1][..5], ["held", "10", "0", "0", "0"]);
        assert_eq!((lines[2][0], lines[3][0], lines.len()), ("local", "stuck", 6));
        let (objects, bytes) = (waiting.len().to_string(), bytes.to_string());
        assert_eq!(lines[3][..5], ["stuck", "0", objects.as_str(), "10", bytes.as_str()]);
        assert_eq!(lines[4][..3], ["journal:", "1", "segment,"]);
        assert_eq!(lines[5][..2], ["identity:", &format!("{},", survey["identity"].as_str().unwrap())]);
    };
    check(edge.dir());
    let stopped = edge.kill();
    check(stopped.dir());
}

#[test]
fn a_spool_without_anything_lists_the_feeds_of_the_configuration() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let survey = ls(edge.dir());
    assert_eq!(survey["feeds"]["all"]["journal_events"], 0);
    assert_eq!(spool(edge.dir(), "export", &["--feed", "all"]).ok(), "");
}

#[test]
fn what_was_committed_and_not_moved_at_a_kill_is_listed_and_exported() {
    let builder = Edge::builder().feed("all", &["*"]).env("CLICKEDGE_DIE_AT", "sealed");
    let mut edge = builder.start();
    let clicks = click(&edge, "a", 20);
    while !edge.has_ended() {
        thread::sleep(Duration::from_millis(20));
    }
    let stopped = edge.wait();
    let survey = ls(stopped.dir());
    let all = &survey["feeds"]["all"];
    assert_eq!((&all["journal_events"], &all["object_events"], &all["objects"]), (&json!(0), &json!(20), &json!(1)));
    assert_exactly_once(&spool(stopped.dir(), "export", &["--feed", "all"]).events(), &clicks);
}

#[test]
fn a_flipped_byte_in_the_journal_is_found_and_costs_one_event() {
    let edge = held(Edge::builder()).start();
    let clicks = click(&edge, "a", 10);
    edge.wait_until("on the disk", |edge| edge.metric("clickedge_clicks_journaled_total") == 10);
    let whole = clickedge(&["spool", "inspect", segment(edge.dir()).to_str().unwrap()]).ok();
    let text: Vec<_> = whole.lines().collect();
    assert!(text[0].contains("0000000001.journal: segment, ") && text[0].ends_with(" bytes, 10 events"), "{whole}");
    assert_eq!(text[3], "feed    held: 10 events");

    let stopped = edge.kill();
    let at = flip(&segment(stopped.dir()), "a-4");
    let said = clickedge(&["spool", "inspect", "--json", segment(stopped.dir()).to_str().unwrap()]);
    assert_eq!((said.code, said.stderr.as_str()), (65, ""));
    let contents: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&contents["events"], &contents["feeds"]["held"]), (&json!(9), &json!(9)));
    let [damage] = &contents["damages"].as_array().unwrap()[..] else { panic!("{contents:#}") };
    let (start, end) = (damage[0].as_u64().unwrap(), damage[1].as_u64().unwrap());
    assert!((start..end).contains(&at) && end - start < 4_096, "{start}..{end} and {at}");
    let said = clickedge(&["spool", "inspect", segment(stopped.dir()).to_str().unwrap()]);
    assert!(said.stdout.ends_with(&format!("damage  bytes {start} to {end} hold no event\n")), "{}", said.stdout);

    let survey = ls(stopped.dir());
    assert_eq!(survey["feeds"]["held"]["journal_events"], 9);
    let damage = &survey["journal"]["damages"][0];
    assert_eq!((&damage["start"], &damage["end"], &damage["torn"]), (&json!(start), &json!(end), &json!(false)));
    assert!(spool(stopped.dir(), "ls", &[]).ok().contains(" bytes, 1 damaged place ("));
    let left: Vec<_> = clicks.into_iter().filter(|nonce| nonce != "a-4").collect();
    assert_exactly_once(&spool(stopped.dir(), "export", &["--feed", "held"]).events(), &left);

    // The next start keeps a copy of the damage.
    let edge = stopped.restart();
    assert_eq!(ls(edge.dir())["quarantined_files"], 1);
    assert!(spool(edge.dir(), "ls", &[]).ok().contains("quarantine: 1 file in "));
}

#[test]
fn a_torn_end_is_reported_and_does_not_count_as_damage() {
    let edge = held(Edge::builder()).start();
    click(&edge, "a", 5);
    edge.wait_until("on the disk", |edge| edge.metric("clickedge_clicks_journaled_total") == 5);
    let stopped = edge.kill();
    let segment = segment(stopped.dir());
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 100]).unwrap();
    let said = clickedge(&["spool", "inspect", segment.to_str().unwrap()]);
    assert_eq!(said.code, 65);
    assert!(said.stdout.ends_with("hold no event; the end is torn\n"), "{}", said.stdout);
    assert_eq!(ls(stopped.dir())["journal"]["damages"][0]["torn"], true);
    assert!(!spool(stopped.dir(), "ls", &[]).ok().contains("damaged"));
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(3));
    std::io::Write::write_all(&mut encoder, text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn inspect_reads_every_format_and_finds_what_is_not_whole() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new();
    world.files.write_to(dir.path());
    let inspect = |key: &str| clickedge(&["spool", "inspect", "--json", dir.path().join(key).to_str().unwrap()]);
    for key in &world.objects {
        let contents = inspect(key).json();
        assert_eq!((&contents["kind"], &contents["events"]), (&json!("object"), &json!(3)), "{key}");
        let first = contents["first"].as_str().unwrap();
        assert!(key.contains(first) && contents["last"].as_str().unwrap() > first, "{key}");
        assert_eq!(contents["bytes"], world.files.0[key].len(), "{key}");
        assert_eq!(contents["sha256"].as_str().unwrap().len(), 64, "{key}");
    }
    let manifest = inspect(&world.manifests[1]).json();
    assert_eq!((&manifest["kind"], &manifest["events"]), (&json!("manifest"), &json!(15)));

    let rollup = "_rollups/dt=2026-11-23/hour=09/all-fra1-k3j9x0ab-v1.ndjson.gz";
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rollup.ndjson")).unwrap();
    fs::create_dir_all(dir.path().join(rollup).parent().unwrap()).unwrap();
    fs::write(dir.path().join(rollup), gzip(&text)).unwrap();
    let contents = inspect(rollup).json();
    assert_eq!((&contents["kind"], &contents["events"]), (&json!("rollup"), &json!(0)));
    fs::write(dir.path().join(rollup), &gzip(&text)[..99]).unwrap();
    inspect(rollup).fails(65, "not a whole object");

    for key in &world.objects {
        let body = &world.files.0[key];
        fs::write(dir.path().join(key), &body[..body.len() - 9]).unwrap();
        inspect(key).fails(65, "not a whole object");
    }
    fs::write(dir.path().join(&world.manifests[0]), "{}").unwrap();
    inspect(&world.manifests[0]).fails(65, "missing field");
    fs::write(dir.path().join("notes.txt"), "nothing\n").unwrap();
    inspect("notes.txt").fails(65, "it holds no event");
    inspect("none.ndjson.gz").fails(66, "No such file");
    inspect("").fails(66, "");
}

#[test]
fn export_prints_what_waits_and_what_was_delivered_of_a_time() {
    let s3 = S3::start();
    let (edge, first) = everywhere(&s3, 20);
    let between = moment();
    let second = click(&edge, "b", 10);
    settled(&edge, 30);
    let all = [first.clone(), second.clone()].concat();
    let check = |dir: &Path| {
        for (feed, part) in [("held", &[][..]), ("stuck", &[]), ("local", &["--delivered"])] {
            let export = |range: &[&str]| spool(dir, "export", &[&["--feed", feed], part, range].concat()).events();
            assert_exactly_once(&export(&[]), &all);
            assert_exactly_once(&export(&["--to", &between]), &first);
            assert_exactly_once(&export(&["--from", &between]), &second);
            assert_eq!(export(&["--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z"]).len(), 0);
            let other: &[&str] = if part.is_empty() { &["--delivered"] } else { &[] };
            assert_eq!(spool(dir, "export", &[&["--feed", feed], other].concat()).ok(), "", "{feed} elsewhere");
        }
    };
    check(edge.dir());
    let stopped = edge.kill();
    check(stopped.dir());
}

#[test]
fn an_export_during_packing_misses_nothing_and_prints_nothing_twice() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (address, stop) = (edge.address, &done);
        scope.spawn(move || {
            let mut visitor = Visitor::connect(address);
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                assert!(visitor.click(&format!("background-{n}"), ""));
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut mine = Vec::new();
        let outbox = edge.dir().join("spool/outbox");
        for round in 0.. {
            if objects_below(&outbox).len() >= 6 {
                break;
            }
            mine.extend(click(&edge, &format!("mine-{round}"), 20));
            let answered = edge.metric("clickedge_clicks_answered_total");
            edge.wait_until("on the disk", |edge| edge.metric("clickedge_clicks_journaled_total") >= answered);
            let events = spool(edge.dir(), "export", &["--feed", "all"]).events();
            assert_eq!(ids(&events).len(), events.len(), "each once");
            let there: BTreeSet<_> = nonces(&events).into_iter().collect();
            let missed: Vec<_> = mine.iter().filter(|nonce| !there.contains(*nonce)).collect();
            assert!(missed.is_empty(), "round {round}: {missed:?}");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_damaged_object_is_reported_and_hides_no_other() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).start();
    let clicks: Vec<_> = (0..2)
        .map(|n| {
            let clicks = click(&edge, &format!("o{n}"), 5);
            edge.wait_until("packed", |edge| edge.metric(&of_feed("outbox_objects", "all")) == n + 1);
            clicks
        })
        .collect();
    let mut objects = objects_below(&edge.dir().join("spool/outbox"));
    objects.sort_by_key(|path| path.file_name().unwrap().to_owned());
    flip_byte(&objects[0], 60);
    let said = spool(edge.dir(), "export", &["--feed", "all"]);
    assert_eq!(said.code, 65);
    assert!(
        said.stderr.starts_with(&format!("error: {}: not a whole object", objects[0].display())),
        "{}",
        said.stderr
    );
    let whole: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_exactly_once(&whole, &clicks[1]);

    s3.set(Fault::Healthy);
    edge.wait_until("it is moved aside", |edge| ls(edge.dir())["quarantined_files"] == 1);
}

/// Two feeds of the same clicks, one into a folder and one into a bucket, delivered and kept.
fn two_sinks(s3: &S3) -> (Edge, Vec<String>) {
    let builder = Edge::builder();
    let local = format!("manifest_secs = 1\nsink.dir.path = '{}'", builder.bucket("local").display());
    let edge = builder
        .feed_into("local", &["*"], &local)
        .feed_into("cloud", &["*"], &format!("manifest_secs = 1\n{}", s3.sink_toml("clicks", "")))
        .spool(KEEP)
        .start();
    let clicks = click(&edge, "a", 25);
    wait_until_delivered(&edge, "local", 25);
    wait_until_delivered(&edge, "cloud", 25);
    (edge, clicks)
}

/// The account of a feed when so many events of this process and so many replayed ones have been delivered.
#[track_caller]
fn assert_account(edge: &Edge, feed: &str, events: i64, replayed: i64) {
    edge.wait_until("all is delivered", |edge| {
        edge.metric(&of_feed("events_delivered_total", feed)) >= events + replayed
            && edge.metric(&of_feed("outbox_objects", feed)) == 0
    });
    assert_eq!(edge.metric(&of_feed("events_routed_total", feed)), events);
    assert_eq!(edge.metric(&of_feed("events_recovered_total", feed)), replayed);
    assert_eq!(edge.metric(&of_feed("events_delivered_total", feed)), events + replayed);
    assert_eq!(edge.metric(&of_feed("events_pending", feed)), 0);
}

fn verified(edge: &Edge, s3: &S3) {
    clickedge(&["feed", "verify", edge.dir().join("bucket/local").to_str().unwrap()]).ok();
    let (endpoint, credentials) = (s3.endpoint(), s3.credentials_file());
    let access = ["--endpoint", &endpoint, "--path-style", "--credentials-file", credentials.to_str().unwrap()];
    clickedge(&[&["feed", "verify", "s3://clicks"], &access[..]].concat()).ok();
}

#[test]
fn a_replay_sends_the_same_events_under_new_keys_and_the_account_balances() {
    let s3 = S3::start();
    let (edge, clicks) = two_sinks(&s3);
    let before = s3.events("clicks");
    assert_exactly_once(&before, &clicks);
    for feed in ["local", "cloud"] {
        let replayed = replay(edge.dir(), &["--feed", feed, "--json"]).json();
        assert_eq!(replayed["events"], 25);
        let id = replayed["id"].as_str().unwrap();
        assert_account(&edge, feed, 25, 25);
        let root = if feed == "local" { edge.dir().join("bucket/local") } else { s3.bucket("clicks") };
        for key in replayed["keys"].as_array().unwrap() {
            let key = key.as_str().unwrap();
            assert!(key.starts_with(&format!("_replay/{id}/dt=")), "{key}");
            assert!(root.join(key).is_file(), "{key}");
        }
        assert_eq!(ids(&events_below(&root.join("_replay"))), ids(&before));
        assert_exactly_once(&events_below(&root.join("_replay")), &clicks);
    }
    let puts = s3.puts();
    let replays: Vec<_> = puts.iter().filter(|put| put.path.starts_with("/clicks/_replay/")).collect();
    assert!(!replays.is_empty() && replays.iter().all(|put| put.header("x-amz-meta-replay") == Some("true")));
    assert!(
        puts.iter().all(|put| put.path.starts_with("/clicks/_replay/") || put.header("x-amz-meta-replay").is_none())
    );
    verified(&edge, &s3);
    let replay = edge.dir().join("spool/replay");
    assert_eq!(replay.read_dir().unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_replay_of_a_time_sends_its_events_alone_and_goes_to_any_feed() {
    let s3 = S3::start();
    let (edge, _) = two_sinks(&s3);
    let between = moment();
    let later = click(&edge, "b", 10);
    wait_until_delivered(&edge, "local", 35);
    wait_until_delivered(&edge, "cloud", 35);
    let arguments = ["--feed", "local", "--into", "cloud", "--from", &between, "--to", "2200-01-01T00:00:00Z"];
    let said = spool(edge.dir(), "replay", &arguments).ok();
    assert!(said.starts_with("10 events in 1 object go to cloud, below _replay/"), "{said}");
    assert_account(&edge, "cloud", 35, 10);
    assert_exactly_once(&events_below(&s3.bucket("clicks").join("_replay")), &later);
    assert!(!edge.dir().join("bucket/local/_replay").exists());
    verified(&edge, &s3);
}

#[test]
fn a_replay_from_a_folder_takes_the_objects_of_that_feed_and_of_no_other() {
    let builder = Edge::builder().feed("all", &["*"]).feed("all-more", &["*"]);
    let edge = builder.start();
    let source = edge.dir().join("source");
    let (mut files, mut all, mut more) =
        (Files::default(), Series::new("all", "fra1"), Series::new("all-more", "fra1"));
    for (hour, shape) in [(9, "ndjson.gz"), (9, "json.zst"), (10, "envelope.json"), (11, "ndjson")] {
        all.object(&mut files, hour, 4, shape);
        all.manifest(&mut files, hour);
        more.object(&mut files, hour, 3, shape);
    }
    let copied: Vec<_> = files.0.keys().filter(|key| key.starts_with("dt=")).cloned().collect();
    for key in copied {
        files.0.insert(format!("_replay/earlier/{key}"), files.0[&key].clone());
    }
    files.write_to(&source);
    let from = |feed: &str, from: u64, to: u64| {
        let time = |at: u64| {
            let hour = hour(at).to_string();
            format!("{hour}:00:00Z")
        };
        let (from, to) = (time(from), time(to));
        let arguments =
            ["--feed", feed, "--source", source.to_str().unwrap(), "--from", &from, "--to", &to, "--json"];
        spool(edge.dir(), "replay", &arguments)
    };
    assert_eq!(from("all", 9, 11).json()["events"], 12);
    assert_eq!(from("all", 9, 10).json()["events"], 8);
    assert_eq!(from("all-more", 9, 12).json()["events"], 12);
    from("all", 12, 13)
        .fails(66, &format!("there are no events of \"all\" of that time range in {}", source.display()));
    assert_account(&edge, "all", 0, 20);
    assert_account(&edge, "all-more", 0, 12);
    assert_eq!(ids(&events_below(&edge.dir().join("bucket/all/_replay"))).len(), 12);

    let nowhere = source.join("none");
    replay(edge.dir(), &["--feed", "all", "--source", nowhere.to_str().unwrap()])
        .fails(66, "is not a readable folder");
}

#[test]
fn a_replay_without_a_running_edge_is_sent_by_the_next_start() {
    let edge = Edge::builder().feed("all", &["*"]).spool(KEEP).start();
    let clicks = click(&edge, "a", 10);
    wait_until_delivered(&edge, "all", 10);
    let stopped = edge.stop();
    replay(stopped.dir(), &["--feed", "all"]).ok();
    let edge = stopped.restart();
    assert_account(&edge, "all", 0, 10);
    assert_exactly_once(&events_below(&edge.dir().join("bucket/all/_replay")), &clicks);
}

#[test]
fn a_replay_that_waits_in_the_outbox_survives_a_kill() {
    let s3 = S3::start();
    let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).spool(KEEP).start();
    let clicks = click(&edge, "a", 10);
    wait_until_delivered(&edge, "all", 10);
    s3.set(Fault::Unavailable);
    replay(edge.dir(), &["--feed", "all"]).ok();
    edge.wait_until("taken up", |edge| edge.metric(&of_feed("outbox_objects", "all")) == 1);
    let stopped = edge.kill();
    assert_eq!(ls(stopped.dir())["feeds"]["all"]["object_events"], 10);
    s3.set(Fault::Healthy);
    let edge = stopped.restart();
    assert_account(&edge, "all", 0, 10);
    assert_exactly_once(&events_below(&s3.bucket("clicks").join("_replay")), &clicks);
}

#[test]
fn a_damaged_kept_object_sends_nothing() {
    let edge = Edge::builder().feed("all", &["*"]).spool(KEEP).start();
    for n in 1..=2 {
        click(&edge, &format!("o{n}"), 5);
        wait_until_delivered(&edge, "all", 5 * n);
    }
    let kept = edge.dir().join("spool/delivered");
    edge.wait_until("kept", |_| objects_below(&kept).len() == 2);
    let mut objects = objects_below(&kept);
    objects.sort_by_key(|path| path.file_name().unwrap().to_owned());
    flip_byte(&objects[1], 60);
    let said = replay(edge.dir(), &["--feed", "all"]);
    said.fails(65, &format!("nothing was sent: {}: not a whole object", objects[1].display()));
    assert!(edge.dir().join("spool/replay").read_dir().unwrap().next().is_none(), "nothing is left behind");
    assert_account(&edge, "all", 10, 0);
}

#[test]
fn an_object_that_was_sent_twice_is_replayed_once() {
    let edge = Edge::builder().feed("all", &["*"]).spool(KEEP).start();
    let clicks = click(&edge, "a", 5);
    wait_until_delivered(&edge, "all", 5);
    let kept = edge.dir().join("spool/delivered");
    edge.wait_until("kept", |_| objects_below(&kept).len() == 1);
    // As after a loss of power: it came back, and was delivered again in another hour.
    let object = objects_below(&kept).remove(0);
    let below = object.strip_prefix(&kept).unwrap().iter().skip(1).collect::<PathBuf>();
    let again = kept.join("2026-01-01T00").join(below);
    fs::create_dir_all(again.parent().unwrap()).unwrap();
    fs::copy(&object, &again).unwrap();
    assert_exactly_once(&spool(edge.dir(), "export", &["--feed", "all", "--delivered"]).events(), &clicks);
    assert_eq!(replay(edge.dir(), &["--feed", "all", "--json"]).json()["events"], 5);
}

#[test]
fn usage_errors_are_reported_with_their_exit_codes() {
    let edge = Edge::builder().feed("all", &["*"]).feed("brand", &["w-1"]).spool(KEEP).start();
    click(&edge, "a", 1);
    let stopped: Stopped = edge.stop();
    let dir = stopped.dir();
    let names = "error: there is no feed \"alll\"; there are: all, brand\n";
    replay(dir, &["--feed", "alll"]).fails(64, names);
    replay(dir, &["--feed", "all", "--into", "alll"]).fails(64, names);
    replay(dir, &["--feed", "alll", "--into", "all"]).fails(64, names);
    spool(dir, "export", &["--feed", "alll"]).fails(64, names);
    let long_ago = ["--feed", "all", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z"];
    let none = "there are no events of \"all\" of that time range among the delivered objects";
    spool(dir, "replay", &long_ago).fails(66, none);
    let backwards = ["--feed", "all", "--from", "2026-11-23T10:00:00Z", "--to", "2026-11-23T10:00:00Z"];
    for what in ["replay", "export"] {
        spool(dir, what, &backwards).fails(64, "--from must be before --to");
    }
    spool(dir, "replay", &["--feed", "all", "--from", "yesterday", "--to", "today"]).fails(64, "yesterday");

    // The same is shown with a damaged state: the next start rebuilds it.
    let before = spool(dir, "ls", &[]).ok();
    flip_byte(&dir.join("spool/state"), 30);
    assert_eq!(spool(dir, "ls", &[]).ok(), before + "state: 1 damaged file; the next start rebuilds it\n");
    fs::remove_dir_all(dir.join("spool")).unwrap();
    for (what, feed) in [("ls", &[][..]), ("export", &["--feed", "all"])] {
        spool(dir, what, feed).fails(66, "cannot open the spool ");
    }
    replay(dir, &["--feed", "all"]).fails(66, "cannot open the spool ");
    stopped.reconfigure(|config| config.replace("threads = 2", "threads = -1"));
    spool(dir, "ls", &[]).fails(78, "`edge.threads` must be a whole number from 0");
    fs::remove_file(dir.join("clickedge.toml")).unwrap();
    spool(dir, "ls", &[]).fails(66, "No such file");
}
