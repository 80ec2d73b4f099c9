//! Case I: the catalog changes all the time, by the API and by reloads of its file, while the edge is killed and
//! restarted. Each version of a link has its number in everything that an event shows of it.
//!
//! Every answered click is delivered exactly once, and its event has the link as it was at the click. A request that
//! follows an accepted change sees it. What was accepted survives; what was not answered is there wholly or not at all.
//!
//! `CHANGE_KILLS` sets the rounds, `JUDGE_SEED` repeats the moments of the kills.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use serde_json::{Value, json};

use super::{finish_with, kills::death, setting, two_feeds};
use crate::common::{
    Answer, Builder, Edge,
    clicks::parameter,
    events_of,
    judge::{Bucket, objects},
    link,
    load::{Click, Client, Ledger},
    s3::{Fault, S3},
};
use crate::links_api::{STATE, ask, ask_at, with_tokens};

const HOST: &str = "go.brand.com";

/// Links that are changed by the API.
const CHANGED: [&str; 3] = ["spring", "busy/one", "busy/two"];

/// A link that only the file changes.
const FILED: &str = "filed";

/// A link of the file that the API deletes.
const DROPPED: &str = "dropped";

const VISITORS: usize = 3;

/// A version of a link: all that an event shows of it has the number.
fn version(slashtag: &str, number: u64) -> Value {
    let mut link = link(HOST, slashtag, &format!("https://www.example.com/{slashtag}?v={number}"));
    link["id"] = format!("l-{number}").into();
    link["creator"] = json!({"id": format!("u-{number}"), "fullName": format!("Ana {number}")});
    link["tags"] = json!([{"id": format!("t-{number}"), "name": format!("Tag {number}")}]);
    link["scripts"] = json!([{"id": format!("s-{number}"), "name": format!("Pixel {number}")}]);
    link
}

/// The number in a destination.
fn number_of(destination: &str) -> Option<u64> {
    destination.split_once("?v=")?.1.split('&').next()?.parse().ok()
}

/// Which versions of a link may be seen.
struct Watched {
    slashtag: &'static str,
    /// The last that was accepted, and the last that was asked for.
    accepted: AtomicU64,
    asked: AtomicU64,
}

/// What visitors, the one who changes links, and the test know.
struct Board {
    clicks: SocketAddr,
    admin: SocketAddr,
    token: String,
    watched: Vec<Watched>,
    is_dropped: AtomicBool,
    stop: AtomicBool,
    /// Answered changes and reloads.
    changes: AtomicU64,
    reloads: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// Clicks, and where the answered ones were led to.
#[derive(Default)]
struct Seen {
    ledger: Ledger,
    locations: HashMap<String, String>,
}

impl Board {
    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// What was done wrong so far.
    #[track_caller]
    fn assert_right(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} are wrong: {wrong:#.12?}", wrong.len());
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
        let answer = ask_at(self.admin, &self.token, method, path, headers, body)?;
        // An edge that stops takes no change, and says when to try again.
        if answer.status == 503 && answer.header("retry-after").is_some() {
            return None;
        }
        if answer.status >= 400 {
            self.wrong(format!("{method} {path} got {answer:?}"));
        }
        Some(answer)
    }

    /// Whether the link was accepted.
    fn put(&self, slashtag: &str, number: u64) -> bool {
        let answer =
            self.ask("PUT", &format!("/v1/links/{HOST}/{slashtag}"), &[], &version(slashtag, number).to_string());
        answer.is_some_and(|answer| answer.status < 300)
    }
}

impl Seen {
    /// Clicks. The status and where it leads to, if an answer came.
    fn click(
        &mut self,
        client: &mut Option<Client>,
        address: SocketAddr,
        slashtag: &str,
        nonce: &str,
    ) -> Option<(u16, String)> {
        let mut open = client.take().or_else(|| Client::connect(address).ok())?;
        self.ledger.clicks.insert(nonce.to_owned(), Click { round: 0, micros: None });
        let status = open.get(HOST, &format!("/{slashtag}?n={nonce}"), "").ok()?;
        let location = open.location().unwrap_or_default().to_owned();
        if status == 302 {
            self.ledger.clicks.insert(nonce.to_owned(), Click { round: 0, micros: Some(0) });
            self.locations.insert(nonce.to_owned(), location.clone());
            *client = Some(open);
        } else {
            // No click.
            self.ledger.clicks.remove(nonce);
        }
        Some((status, location))
    }

    fn extend(&mut self, other: Self) {
        self.ledger.extend(other.ledger);
        self.locations.extend(other.locations);
    }
}

/// Clicks on all links, until it ends.
fn visit(board: &Board, visitor: usize) -> Seen {
    let (mut seen, mut client) = (Seen::default(), None);
    // No visitor ever sees an earlier version again.
    let mut newest = vec![0; board.watched.len()];
    for number in 0_usize.. {
        if board.stop.load(SeqCst) {
            break;
        }
        let nonce = format!("visit-{visitor}-{number}");
        let choice = fastrand::usize(..=board.watched.len());
        if let Some(watched) = board.watched.get(choice) {
            let least = watched.accepted.load(SeqCst).max(newest[choice]);
            let answer = seen.click(&mut client, board.clicks, watched.slashtag, &nonce);
            let most = watched.asked.load(SeqCst);
            match answer {
                Some((302, location)) => match number_of(&location) {
                    Some(found) if (least..=most).contains(&found) => newest[choice] = found,
                    _ => board.wrong(format!("{nonce}: {location}, not a version from {least} to {most}")),
                },
                Some((status, _)) => board.wrong(format!("{nonce} on {} got {status}", watched.slashtag)),
                None => thread::sleep(Duration::from_millis(2)),
            }
        } else {
            let is_dropped = board.is_dropped.load(SeqCst);
            let answer = seen.click(&mut client, board.clicks, DROPPED, &nonce);
            if is_dropped && answer.as_ref().is_some_and(|(status, _)| *status != 404) {
                board.wrong(format!("{nonce}: a deleted link got {answer:?}"));
            }
        }
        thread::sleep(Duration::from_micros(700));
    }
    seen
}

/// How the file is written.
#[derive(Clone, Copy)]
enum File {
    Ndjson,
    Snapshot,
}

impl File {
    /// Replaces the file of the catalog by one with this version of the link that only the file changes.
    fn write(self, path: &Path, number: u64) {
        let links = CHANGED.iter().chain([&DROPPED]).map(|slashtag| version(slashtag, 0));
        let text: String = links.chain([version(FILED, number)]).map(|link| format!("{link}\n")).collect();
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        let new = match self {
            Self::Ndjson => new,
            Self::Snapshot => {
                let built = path.with_extension("snapshot");
                let output = Command::new(env!("CARGO_BIN_EXE_clickedge"))
                    .args(["catalog", "build"])
                    .arg(&new)
                    .arg("-o")
                    .arg(&built)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
                built
            }
        };
        fs::rename(new, path).unwrap();
    }
}

/// Changes links by the API and the file, until it ends.
fn change(board: &Board, file: File, path: &Path) -> Seen {
    let mut seen = Seen::default();
    for number in 1_u64.. {
        if board.stop.load(SeqCst) {
            break;
        }
        match number % 16 {
            0 => reload(board, file, path, number),
            4 | 9 | 14 => come_and_go(board, &mut seen, number),
            _ => {
                let watched = &board.watched[number as usize % CHANGED.len()];
                watched.asked.store(number, SeqCst);
                if board.put(watched.slashtag, number) {
                    watched.accepted.store(number, SeqCst);
                    board.changes.fetch_add(1, SeqCst);
                } else {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
    seen
}

fn reload(board: &Board, file: File, path: &Path, number: u64) {
    let filed = board.watched.last().unwrap();
    filed.asked.store(number, SeqCst);
    file.write(path, number);
    let answer = ask_at(board.admin, &board.token, "POST", "/v1/reload", &[], "");
    if answer.is_some_and(|answer| answer.status == 200) {
        filed.accepted.store(number, SeqCst);
        board.reloads.fetch_add(1, SeqCst);
    }
}

/// Makes a link, clicks on it, deletes it, and clicks again, on connections that any thread may have.
fn come_and_go(board: &Board, seen: &mut Seen, number: u64) {
    let slashtag = format!("fresh-{number}");
    if !board.put(&slashtag, number) {
        return;
    }
    let answer = seen.click(&mut None, board.clicks, &slashtag, &format!("made-{number}"));
    if answer.as_ref().is_some_and(|(status, location)| *status != 302 || number_of(location) != Some(number)) {
        board.wrong(format!("a new link {slashtag} got {answer:?}"));
    }
    let path = format!("/v1/links/{HOST}/{slashtag}");
    let deleted = board.ask("DELETE", &path, &[], "");
    if deleted.is_none_or(|answer| answer.status != 204) {
        return;
    }
    board.changes.fetch_add(2, SeqCst);
    let answer = seen.click(&mut None, board.clicks, &slashtag, &format!("deleted-{number}"));
    if answer.as_ref().is_some_and(|(status, _)| *status != 404) {
        board.wrong(format!("a deleted link {slashtag} got {answer:?}"));
    }
}

/// An edge whose links have versions.
fn builder(s3: &S3) -> (Builder, [Bucket; 2], String) {
    let (builder, buckets) = two_feeds(s3);
    let (builder, tokens) = with_tokens(builder.catalog(STATE));
    (builder, buckets, tokens.all)
}

fn changes_under_kills(file: File) {
    let s3 = S3::start();
    let (builder, buckets, token) = builder(&s3);
    let (rounds, seed) = (setting("CHANGE_KILLS", 6), setting("JUDGE_SEED", fastrand::u64(..)));
    println!("{rounds} kills, JUDGE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut edge = builder.section("[shutdown]\ngrace_secs = 1\ndrain_secs = 2").start();
    let path = edge.dir().join("links.ndjson");
    file.write(&path, 0);
    let stopped = edge.terminate();
    edge = stopped.restart();

    let watched = CHANGED.into_iter().chain([FILED]);
    let watched = watched.map(|slashtag| Watched { slashtag, accepted: 0.into(), asked: 0.into() });
    let board = Arc::new(Board {
        clicks: edge.address,
        admin: edge.admin,
        token: token.clone(),
        watched: watched.collect(),
        is_dropped: false.into(),
        stop: false.into(),
        changes: 0.into(),
        reloads: 0.into(),
        wrong: Mutex::default(),
    });
    let dropped = ask(&edge, &token, "DELETE", &format!("/v1/links/{HOST}/{DROPPED}"), &[], "");
    assert_eq!(dropped.status, 204, "{dropped:?}");
    board.is_dropped.store(true, SeqCst);
    let mut threads: Vec<_> = (0..VISITORS)
        .map(|number| {
            let board = Arc::clone(&board);
            thread::spawn(move || visit(&board, number))
        })
        .collect();
    threads.push(thread::spawn({
        let (board, path) = (Arc::clone(&board), path);
        move || change(&board, file, &path)
    }));

    for round in 1..=rounds {
        s3.set(if random.u8(..4) == 0 { Fault::Unavailable } else { Fault::Healthy });
        let mut stopped = death(edge, "KILL", round, 200..700, &mut random);
        if random.u8(..3) == 0 {
            stopped = death(stopped.spawn(&[]), "KILL", round, 20..150, &mut random);
        }
        edge = stopped.restart();
    }
    s3.set(Fault::Healthy);
    let (changes, reloads) = (board.changes.load(SeqCst), board.reloads.load(SeqCst));
    edge.wait_until("changes and reloads go on", |_| {
        board.changes.load(SeqCst) > changes + 20 && board.reloads.load(SeqCst) > reloads
    });
    board.stop.store(true, SeqCst);
    let mut seen = Seen::default();
    for thread in threads {
        seen.extend(thread.join().unwrap());
    }
    println!("{} changes, {} reloads", board.changes.load(SeqCst), board.reloads.load(SeqCst));
    assert_last_versions(&edge, &board);
    board.assert_right();
    // What was accepted is on disk, and not only in memory.
    let edge = edge.kill().restart();
    assert_last_versions(&edge, &board);
    let Seen { mut ledger, locations } = seen;
    let verdict = finish_with(&format!("changes under {rounds} kills, seed {seed}"), edge, &mut ledger, &buckets);
    verdict.assert_exactly_once();
    for bucket in &buckets {
        assert_as_at_the_click(bucket, &locations);
    }
}

#[test]
fn changes_under_kills_are_in_events_as_they_were_at_the_click() {
    changes_under_kills(File::Ndjson);
}

#[test]
fn changes_of_a_snapshot_under_kills_are_in_events_as_they_were_at_the_click() {
    changes_under_kills(File::Snapshot);
}

/// The API shows the last version of each link that was accepted, or one that was asked for since; each wholly.
#[track_caller]
fn assert_last_versions(edge: &Edge, board: &Board) {
    let page = ask(edge, &board.token, "GET", &format!("/v1/links?domain={HOST}&limit=1000"), &[], "");
    let page: Value = serde_json::from_str(&page.body).unwrap();
    let mut versions = HashMap::new();
    for shown in page["links"].as_array().unwrap() {
        let destination = shown["destination"].as_str().unwrap();
        let number = number_of(destination).unwrap_or_else(|| panic!("{shown}"));
        let slashtag = shown["slashtag"].as_str().unwrap();
        let expected = version(slashtag, number);
        for field in ["id", "creator", "tags", "scripts", "destination"] {
            assert_eq!(shown[field], expected[field], "{field} of {shown}");
        }
        versions.insert(slashtag.to_owned(), number);
    }
    assert!(!versions.contains_key(DROPPED), "it is deleted");
    for watched in &board.watched {
        let (least, most) = (watched.accepted.load(SeqCst), watched.asked.load(SeqCst));
        let found = versions.get(watched.slashtag);
        assert!(
            found.is_some_and(|found| (least..=most).contains(found)),
            "{} is {found:?}, not from {least} to {most}",
            watched.slashtag
        );
    }
}

/// Every event has one version of its link, and that is the one that its click was led to.
#[track_caller]
fn assert_as_at_the_click(bucket: &Bucket, locations: &HashMap<String, String>) {
    let events: Vec<Value> =
        objects(&bucket.path).iter().flat_map(|path: &PathBuf| events_of(&fs::read(path).unwrap())).collect();
    let mut compared = 0;
    for event in &events {
        let route = &event["route"];
        let destination = route["destination"]["raw"].as_str().unwrap();
        let number = number_of(destination).unwrap_or_else(|| panic!("no version: {event}"));
        let slashtag = route["slashtag"].as_str().unwrap();
        let expected = version(slashtag, number);
        assert_eq!(route["id"], expected["id"], "{event}");
        assert_eq!(route["tags"], expected["tags"], "{event}");
        assert_eq!(route["scripts"], expected["scripts"], "{event}");
        assert_eq!(route["creator"]["id"], expected["creator"]["id"], "{event}");
        assert_eq!(route["creator"]["name"], expected["creator"]["fullName"], "{event}");
        assert!(destination.starts_with(&format!("https://www.example.com/{slashtag}?v=")), "{event}");
        if let Some(location) = locations.get(parameter(event, "n").unwrap()) {
            assert_eq!(destination, location, "{event}");
            compared += 1;
        }
    }
    assert_eq!(compared, locations.len(), "{}: every answered click has its event", bucket.feed);
}

/// Puts, clicks, puts again and deletes, all before a worker reads the click.
fn clicked_then_changed(after: impl FnOnce(Edge, &Path) -> Edge) {
    let s3 = S3::start();
    let (builder, buckets, token) = builder(&s3);
    let hold = builder.dir().join("hold");
    fs::write(&hold, "").unwrap();
    let edge = builder.env("CLICKEDGE_HOLD_AT", &format!("click_read:{}", hold.display())).start();
    let (mut seen, mut client) = (Seen::default(), None);
    let put = |slashtag: &str, number| {
        let path = format!("/v1/links/{HOST}/{slashtag}");
        let answer = ask(&edge, &token, "PUT", &path, &[], &version(slashtag, number).to_string());
        assert!(answer.status < 300, "{answer:?}");
    };
    for number in 1..=20 {
        put("changed", number);
        let answer = seen.click(&mut client, edge.address, "changed", &format!("changed-{number}"));
        assert_eq!(answer.and_then(|(_, location)| number_of(&location)), Some(number));
    }
    put("deleted", 1);
    assert!(seen.click(&mut client, edge.address, "deleted", "deleted-1").is_some_and(|(status, _)| status == 302));
    put("changed", 21);
    for slashtag in ["deleted", "spring"] {
        if slashtag == "spring" {
            put(slashtag, 1);
            assert!(seen.click(&mut client, edge.address, slashtag, "spring-1").is_some());
        }
        let answer = ask(&edge, &token, "DELETE", &format!("/v1/links/{HOST}/{slashtag}"), &[], "");
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(edge.get(HOST, &format!("/{slashtag}")).status, 404);
    }
    assert_eq!(edge.metric("clickedge_clicks_enriched_total"), 0, "no worker has read a click");
    let edge = after(edge, &hold);
    // The judge clicks on it.
    let back = ask(&edge, &token, "PUT", &format!("/v1/links/{HOST}/spring"), &[], &version("spring", 2).to_string());
    assert!(back.status < 300, "{back:?}");
    let Seen { mut ledger, locations } = seen;
    assert_eq!(locations.len(), 22);
    let verdict = finish_with("a change between click and event", edge, &mut ledger, &buckets);
    verdict.assert_exactly_once();
    for bucket in &buckets {
        assert_as_at_the_click(bucket, &locations);
    }
}

#[test]
fn a_link_that_changes_before_its_click_is_read_is_in_the_event_as_it_was() {
    clicked_then_changed(|edge, hold| {
        fs::remove_file(hold).unwrap();
        edge
    });
}

#[test]
fn a_link_that_changes_before_its_click_is_recovered_is_in_the_event_as_it_was() {
    clicked_then_changed(|edge, _| {
        let stopped = edge.kill();
        // The file has other links, too.
        let path = stopped.dir().join("links.ndjson");
        let text: String = ["changed", "spring"].map(|slashtag| format!("{}\n", version(slashtag, 99))).concat();
        fs::write(path, text).unwrap();
        stopped.restart()
    });
}
