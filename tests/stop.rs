//! Stops, orderly and not: a click that was answered is delivered, once, by this process or the next.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::common::{
    Edge, TIMEOUT,
    clicks::{
        Visitor, assert_at_least_once, assert_balanced, assert_exactly_once, click, click_with, noise, of_feed,
        parameter, wait_until_delivered,
    },
    connect,
    disk::SmallDisk,
    events_below, exchange, free_address, objects_below,
    s3::{Fault, S3},
};

/// A stop takes this long at most: a second of grace, one to drain, and what a busy machine adds.
const STOP: Duration = Duration::from_secs(15);

const HASTY: &str = "[shutdown]\ngrace_secs = 1\ndrain_secs = 1";

/// The numbers at the end of objects' keys.
fn seqs<'a>(keys: impl IntoIterator<Item = &'a Path>) -> BTreeSet<u64> {
    let seq = |key: &Path| {
        let key = key.to_str().unwrap().strip_suffix(".ndjson.gz").unwrap();
        key.rsplit_once('-').unwrap().1.parse().unwrap()
    };
    keys.into_iter().map(seq).collect()
}

/// Clicks from several threads until each has clicked `most` times or is not answered any more. Returns the nonces
/// of answered clicks.
fn crowd(edge: &Edge, most: usize, meanwhile: impl FnOnce(&AtomicUsize)) -> Vec<String> {
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let visit = |visitor: usize| {
            let (answered, address) = (&answered, edge.address);
            scope.spawn(move || {
                let mut connection = Visitor::connect(address);
                let nonces = (0..most).map(|n| format!("{visitor}-{n}"));
                let clicked = nonces.take_while(|nonce| connection.click(nonce, ""));
                clicked.inspect(|_| _ = answered.fetch_add(1, Ordering::Relaxed)).collect::<Vec<_>>()
            })
        };
        let visitors: Vec<_> = (0..8).map(visit).collect();
        meanwhile(&answered);
        visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()).collect()
    })
}

#[test]
fn a_stop_right_after_many_clicks_delivers_every_one_of_them() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let clicks = crowd(&edge, 250, |_| {});
    assert_eq!(clicks.len(), 2_000);
    let stopped = edge.stop();
    assert!(stopped.status.success());
    assert_exactly_once(&stopped.events("all"), &clicks);
    assert!(objects_below(&stopped.dir().join("spool")).is_empty(), "the spool is empty");
}

#[test]
fn a_stop_under_load_delivers_every_answered_click() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let clicks = crowd(&edge, usize::MAX, |answered| {
        edge.wait_until("many clicks", |_| answered.load(Ordering::Relaxed) >= 1_000);
        edge.signal("TERM");
    });
    let stopped = edge.wait();
    assert!(stopped.status.success());
    assert!(clicks.len() >= 1_000);
    let stopped = stopped.restart().stop();
    assert_at_least_once(&stopped.events("all"), &clicks);
}

#[test]
fn a_stop_waits_for_no_sink_and_leaves_what_waits_to_the_next_start() {
    for (signal, fault) in [("TERM", Fault::Unavailable), ("INT", Fault::Silent)] {
        let s3 = S3::start();
        s3.set(fault);
        let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).start();
        let mut clicks = click(&edge, "before", 50);
        edge.wait_until("an upload is under way", |edge| edge.metric(&of_feed("outbox_objects", "all")) > 0);
        clicks.extend(click(&edge, "last", 50));
        let since = Instant::now();
        edge.signal(signal);
        let stopped = edge.wait();
        // A last stop would take 20 seconds more.
        assert!(since.elapsed() < STOP, "{signal} took {:?}", since.elapsed());
        assert!(stopped.status.success(), "{signal}: {}", stopped.status);
        assert_eq!(stopped.rings().read_dir().unwrap().filter(is_ring).count(), 0, "the rings are in the journal");

        s3.set(Fault::Healthy);
        let edge = stopped.restart();
        clicks.extend(click(&edge, "after", 50));
        wait_until_delivered(&edge, "all", 150);
        assert_exactly_once(&s3.events("clicks"), &clicks);
        let all = seqs(s3.objects("clicks").iter().map(AsRef::as_ref));
        assert_eq!(all, (1..=all.len() as u64).collect(), "numbers go on without a gap");
    }
}

fn is_ring(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("ring-"))
}

#[test]
fn drain_delivers_what_waits_and_ends_the_edge() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let clicks = click(&edge, "last", 50);
    let config = edge.dir().join("clickedge.toml");
    let drain = || Command::new(env!("CARGO_BIN_EXE_clickedge")).args(["drain", "--config"]).arg(&config).output();
    let output = drain().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("ok: stopped"), "{output:?}");
    let stopped = edge.wait();
    assert!(stopped.status.success());
    assert_exactly_once(&stopped.events("all"), &clicks);
    let output = drain().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("no process answers at") && said.contains("start the service"), "{said}");
}

#[test]
fn what_the_last_stop_cannot_deliver_is_delivered_by_the_next_start() {
    for (signal, fault) in [("QUIT", Fault::Unavailable), ("QUIT", Fault::Silent)] {
        let s3 = S3::start();
        s3.set(fault);
        let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).section(HASTY).start();
        let mut clicks = click(&edge, "before", 50);
        let since = Instant::now();
        edge.signal(signal);
        let stopped = edge.wait();
        assert!(since.elapsed() < STOP, "{signal} took {:?}", since.elapsed());
        assert!(stopped.status.success(), "{signal}: {}", stopped.status);
        assert!(objects_below(&stopped.dir().join("spool/open")).is_empty(), "every object is finished");
        assert_exactly_once(&events_below(&stopped.dir().join("spool/outbox")), &clicks);
        let before = objects_below(&stopped.dir().join("spool/outbox"));

        s3.set(Fault::Healthy);
        let edge = stopped.restart();
        clicks.extend(click(&edge, "after", 50));
        wait_until_delivered(&edge, "all", 100);
        assert_exactly_once(&s3.events("clicks"), &clicks);
        let before = seqs(before.iter().map(AsRef::as_ref));
        let all = seqs(s3.objects("clicks").iter().map(AsRef::as_ref));
        assert_eq!(all, (1..=all.len() as u64).collect(), "numbers go on without a gap");
        assert!(all.len() > before.len() && before == all.iter().copied().take(before.len()).collect());
        assert!(objects_below(&edge.dir().join("spool")).is_empty(), "the spool is empty");
    }
}

#[test]
fn finished_objects_survive_a_kill_and_are_delivered_once() {
    let s3 = S3::start();
    s3.set(Fault::Unavailable);
    let edge = Edge::builder().feed_into("all", &["*"], &s3.sink_toml("clicks", "")).start();
    let mut clicks = click(&edge, "a", 50);
    edge.wait_until("finished", |edge| edge.metric(&of_feed("events_spooled_total", "all")) == 50);
    // The store has an object already, and the edge does not know.
    s3.set(Fault::LostAnswer);
    edge.wait_until("stored", |_| !s3.objects("clicks").is_empty());
    let stopped = edge.kill();
    assert!(!stopped.status.success());

    s3.set(Fault::Healthy);
    let edge = stopped.restart();
    edge.wait_until("the outbox is empty", |edge| edge.metric(&of_feed("outbox_objects", "all")) == 0);
    clicks.extend(click(&edge, "b", 50));
    edge.wait_until("delivered", |_| s3.events("clicks").len() == 100);
    assert_exactly_once(&s3.events("clicks"), &clicks);
}

#[test]
fn a_second_process_on_the_same_spool_does_not_start() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let config = fs::read_to_string(edge.dir().join("clickedge.toml")).unwrap();
    let config = config
        .replace(&edge.address.to_string(), &free_address().to_string())
        .replace(&edge.admin.to_string(), &free_address().to_string());
    let second = edge.dir().join("second.toml");
    fs::write(&second, config).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_clickedge")).args(["serve", "--config"]).arg(&second).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    let spool = edge.dir().join("spool");
    assert!(said.contains(&format!("the spool {} is in use by another process", spool.display())), "{said}");

    let clicks = click(&edge, "a", 5);
    assert_exactly_once(&edge.stop().events("all"), &clicks);
}

#[test]
fn a_click_that_was_captured_before_a_kill_is_delivered_by_the_next_process() {
    let stopped = Edge::builder().feed("all", &["*"]).section("[enrich]\nworkers = 2").start().stop();
    let mut doomed = Command::new(env!("CARGO_BIN_EXE_clickedge"))
        .args(["serve", "--config"])
        .arg(stopped.dir().join("clickedge.toml"))
        .env("CLICKEDGE_DIE_AT", "captured")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + TIMEOUT;
    let stream = loop {
        match connect(None, stopped.address) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    let request = b"GET /spring?utm_term=last HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
    assert!(exchange(stream, request).is_none(), "it dies before it answers");
    assert_eq!(doomed.wait().unwrap().signal(), Some(9));
    assert_eq!(
        stopped.rings().read_dir().unwrap().count(),
        10,
        "lock, sessions, secret of tickets, click limits, control, admin, and rings from two threads to two workers"
    );

    let edge = stopped.restart();
    assert_eq!(edge.metric("clickedge_clicks_recovered_total"), 1);
    wait_until_delivered(&edge, "all", 1);
    edge.wait_until("the old rings are gone", |edge| edge.rings().read_dir().unwrap().count() == 10);
    let stopped = edge.stop();
    let events = stopped.events("all");
    assert_eq!((events.len(), parameter(&events[0], "utm_term")), (1, Some("last")));
    assert_eq!(stopped.rings().read_dir().unwrap().count(), 4, "lock, sessions, secret of tickets, click limits");
}

#[test]
fn a_full_disk_delays_events_and_loses_none() {
    let builder = Edge::builder().feed("all", &["*"]);
    let spool = builder.dir().join("spool");
    let disk = match SmallDisk::mount(&spool, 4096) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
    };
    let edge = builder.start();
    let mut clicks = click(&edge, "before", 20);
    wait_until_delivered(&edge, "all", 20);
    disk.fill();
    clicks.extend(click(&edge, "full", 300));
    edge.wait_until("the spool is stalled", |edge| edge.metric("clickedge_spool_stalled") > 0);
    clicks.extend(click(&edge, "still", 300));
    assert_eq!(edge.metric(&of_feed("events_delivered_total", "all")), 20);
    disk.free();
    wait_until_delivered(&edge, "all", 620);
    assert_eq!(edge.metric("clickedge_spool_stalled"), 0);
    assert_balanced(&edge, "all", 620, 0);
    let stopped = edge.stop();
    assert_exactly_once(&stopped.events("all"), &clicks);
}

#[test]
fn a_full_disk_removes_what_was_delivered_and_kept() {
    let builder = Edge::builder().feed("all", &["*"]).spool("retain_secs = 86400");
    let spool = builder.dir().join("spool");
    let disk = match SmallDisk::mount(&spool, 4096) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
    };
    let edge = builder.start();
    let mut clicks = click_with(&edge, "before", 300, noise);
    wait_until_delivered(&edge, "all", 300);
    assert!(!objects_below(&spool.join("delivered")).is_empty(), "delivered objects are kept");
    disk.fill();
    clicks.extend(click(&edge, "full", 20));
    wait_until_delivered(&edge, "all", 320);
    assert!(edge.log().contains("kept objects removed"), "they made room");
    assert_exactly_once(&edge.stop().events("all"), &clicks);
}

#[test]
fn a_stop_on_a_full_disk_ends_and_what_waits_is_delivered_by_the_next_start() {
    let builder = Edge::builder().feed("all", &["*"]).section(HASTY);
    let spool = builder.dir().join("spool");
    let disk = match SmallDisk::mount(&spool, 4096) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
    };
    let edge = builder.start();
    disk.fill();
    let clicks = click(&edge, "a", 20);
    edge.wait_until("the spool is stalled", |edge| edge.metric("clickedge_spool_stalled") > 0);
    let since = Instant::now();
    let stopped = edge.stop();
    assert!(since.elapsed() < STOP, "it took {:?}", since.elapsed());
    assert!(stopped.status.success());
    let last = stopped.log().lines().last().unwrap().to_owned();
    assert!(last.contains("\"answered\":20") && last.contains("\"pending\":20"), "{last}");
    disk.free();
    let edge = stopped.restart();
    assert_eq!(edge.metric("clickedge_clicks_recovered_total"), 20);
    wait_until_delivered(&edge, "all", 20);
    assert_exactly_once(&edge.stop().events("all"), &clicks);
    drop(disk);
}
