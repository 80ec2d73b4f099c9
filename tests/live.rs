//! Feeds that change in a running pipeline, through the library: added, moved, removed and back, while clicks come in.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clickedge::{
    Pipeline, config,
    pipeline::{LiveFeeds, live::FeedChanges},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::{
    common::{
        TIMEOUT,
        clicks::{nonces, of_feed},
        events_below, free_address, link,
        load::{BRISK, Client, Load},
    },
    plugin,
};

/// A pipeline behind a proxy, with a folder of its own.
struct Embedded {
    dir: TempDir,
    _rings: TempDir,
    head: String,
    pipeline: Pipeline,
    live: LiveFeeds,
    address: std::net::SocketAddr,
    stop: Arc<Notify>,
    server: JoinHandle<()>,
}

impl Embedded {
    /// Starts with these feeds, and more sections of the configuration.
    fn start(sections: &str, feeds: &[String]) -> Self {
        let (dir, rings) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let links = link("go.brand.com", "spring", "https://www.example.com/spring").to_string();
        fs::write(dir.path().join("links.ndjson"), links).unwrap();
        let head = format!(
            "[edge]\npop = \"live\"\n[[listeners]]\naddress = \"127.0.0.1:8080\"\n[catalog]\nfile = \"links.ndjson\"\n\
             [capture]\ndir = '{}/rings'\nring_bytes = 16777216\n[spool]\ndir = \"spool\"\nretain_secs = 0\n",
            rings.path().display()
        );
        let config = configuration(dir.path(), &head, sections, feeds);
        let pipeline = Pipeline::start(&config).unwrap();
        let (address, stop, server) = plugin::run(pipeline.redirector(), free_address());
        Self { live: pipeline.live_feeds(), dir, _rings: rings, head, pipeline, address, stop, server }
    }

    fn configuration(&self, sections: &str, feeds: &[String]) -> config::Config {
        configuration(self.dir.path(), &self.head, sections, feeds)
    }

    /// The pipeline has these feeds from now on.
    fn change(&self, feeds: &[String]) -> FeedChanges {
        let prepared = self.live.prepare(&self.configuration("", feeds)).unwrap();
        let changes = self.live.apply(prepared);
        assert!(self.live.prepare(&self.configuration("", feeds)).unwrap().changes().is_empty());
        changes
    }

    fn metric(&self, name: &str) -> i64 {
        let text = self.pipeline.gauges().text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = Instant::now() + TIMEOUT;
        while !condition(self) {
            assert!(Instant::now() < until, "{what}\n{}", self.pipeline.gauges().text());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until workers have made events of all clicks.
    #[track_caller]
    fn wait_for_workers(&self) {
        self.wait_until("all clicks are enriched", |edge| {
            let account = edge.pipeline.gauges().account();
            account.answered == account.enriched
        });
    }

    fn stop(self) -> (TempDir, clickedge::pipeline::Account) {
        self.stop.notify_one();
        self.server.join().unwrap();
        (self.dir, self.pipeline.drain(TIMEOUT))
    }
}

fn configuration(dir: &Path, head: &str, sections: &str, feeds: &[String]) -> config::Config {
    let file = dir.join("clickedge.toml");
    fs::write(&file, format!("{head}{sections}\n{}", feeds.concat())).unwrap();
    config::load(&file).unwrap()
}

/// A feed into a folder, with objects of at most a second.
fn feed(name: &str, bucket: &str) -> String {
    format!(
        "[[feeds]]\nname = {name:?}\nworkspaces = [\"*\"]\nmax_age_secs = 1\nhold_back_secs = 0\nsink.dir.path = {bucket:?}\n"
    )
}

fn names(changes: [&[&str]; 3]) -> FeedChanges {
    let [added, changed, removed] = changes.map(|names| names.iter().map(ToString::to_string).collect());
    FeedChanges { added, changed, removed }
}

fn times(events: &[Value]) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for nonce in nonces(events) {
        *times.entry(nonce).or_default() += 1;
    }
    times
}

#[test]
fn a_feed_comes_moves_goes_and_is_back_under_load_and_no_click_is_lost_or_doubled() {
    let all = feed("all", "all");
    let edge = Embedded::start("", std::slice::from_ref(&all));
    let load = Load::start(edge.address, "live", BRISK);
    // In odd rounds it is certain which feeds there are.
    let certain = |round: u32| {
        load.round(round);
        load.wait_for(300);
    };
    // Before that, what was clicked until now is routed.
    let uncertain = |round: u32| {
        load.rest();
        edge.wait_for_workers();
        load.round(round);
        load.resume();
        load.wait_for(50);
    };
    certain(1);
    uncertain(2);
    assert_eq!(edge.change(&[all.clone(), feed("more", "first")]), names([&["more"], &[], &[]]));
    certain(3);
    // A change that is no delivery's business, and one that is.
    let moved = feed("more", "second").replace("max_age_secs = 1", "max_age_secs = 2");
    assert_eq!(edge.change(&[feed("more", "first").replace("secs = 1", "secs = 2"), all.clone()]).changed, ["more"]);
    certain(3);
    edge.wait_until("its first folder has events", |edge| {
        edge.metric(&of_feed("events_delivered_total", "more")) > 0
    });
    assert_eq!(edge.change(&[all.clone(), moved.clone()]), names([&[], &["more"], &[]]));
    certain(3);
    uncertain(4);
    assert_eq!(edge.change(std::slice::from_ref(&all)), names([&[], &[], &["more"]]));
    certain(5);
    uncertain(6);
    assert_eq!(edge.change(&[moved, all.clone(), feed("third", "third")]), names([&["more", "third"], &[], &[]]));
    certain(7);
    let ledger = load.stop();
    let (dir, account) = edge.stop();

    assert_eq!(ledger.refused, [""; 0]);
    assert_eq!((account.pending, account.clicks_dropped, account.events_dropped), (0, 0, 0));
    let in_all = times(&events_below(&dir.path().join("all")));
    let moved = [events_below(&dir.path().join("first")), events_below(&dir.path().join("second"))];
    assert!(moved.iter().all(|events| !events.is_empty()), "both folders of the feed have events");
    let (in_more, in_third) = (times(&moved.concat()), times(&events_below(&dir.path().join("third"))));
    for (nonce, click) in &ledger.clicks {
        let of = |events: &HashMap<String, usize>| events.get(nonce).copied().unwrap_or_default();
        let found = (of(&in_all), of(&in_more), of(&in_third));
        match (click.round, click.micros) {
            // The load has stopped before the answer was read.
            (_, None) => assert!(found.0 <= 1 && found.1 <= 1 && found.2 <= 1, "{nonce}: {found:?}"),
            (1 | 5, _) => assert_eq!(found, (1, 0, 0), "{nonce} of round {}", click.round),
            (3, _) => assert_eq!(found, (1, 1, 0), "{nonce} of round 3"),
            (7, _) => assert_eq!(found, (1, 1, 1), "{nonce} of round 7"),
            _ => assert!(found.0 == 1 && found.1 <= 1 && found.2 <= 1, "{nonce}: {found:?}"),
        }
    }
    let delivered: usize = [in_all, in_more, in_third].iter().flat_map(HashMap::values).sum();
    assert_eq!(account.delivered, delivered as u64);
}

#[test]
fn what_waits_for_a_removed_feed_is_unclaimed_until_the_feed_is_back_or_it_is_dropped() {
    let (all, stuck) = (feed("all", "all"), feed("stuck", "blocked/stuck"));
    let edge = Embedded::start("", &[all.clone(), stuck.clone()]);
    // A file where the folder has to be.
    let _ = fs::remove_dir_all(edge.dir.path().join("blocked"));
    fs::write(edge.dir.path().join("blocked"), "").unwrap();
    let mut visitor = Client::connect(edge.address).unwrap();
    let mut click = |name: &str| {
        for n in 0..5 {
            assert_eq!(visitor.click(&format!("{name}-{n}"), "").unwrap(), 302);
        }
    };
    let series = |name: &str| of_feed(name, "stuck");
    let [unclaimed, pending] = ["outbox_unclaimed_objects", "events_pending"].map(series);
    let [recovered, delivered] = ["events_recovered_total", "events_delivered_total"].map(series);
    let parked = series("feed_parked");

    click("a");
    edge.wait_until("the sink rejects", |edge| edge.metric(&parked) == 1);
    assert!(edge.pipeline.retries().retry("stuck").is_ok());
    click("b");
    edge.wait_for_workers();
    edge.change(std::slice::from_ref(&all));
    // Their objects, and what is still in the journal.
    edge.wait_until("all of it is unclaimed", |edge| {
        edge.metric(&unclaimed) > 0 && edge.metric(&of_feed("events_spooled_total", "stuck")) == 10
    });
    assert_eq!((edge.metric(&pending), edge.metric(&parked)), (10, 0));
    assert!(edge.pipeline.retries().retry("stuck").is_err());

    edge.change(&[all.clone(), feed("stuck", "cured")]);
    click("c");
    edge.wait_until("the feed is back", |edge| edge.metric(&delivered) == 15);
    edge.wait_until("nothing waits", |edge| edge.metric(&unclaimed) == 0 && edge.metric(&pending) == 0);

    edge.change(&[all.clone(), stuck]);
    click("d");
    edge.wait_until("the sink rejects again", |edge| edge.metric(&parked) == 1);
    edge.wait_for_workers();
    edge.change(std::slice::from_ref(&all));
    edge.wait_until("its objects are unclaimed", |edge| edge.metric(&unclaimed) > 0);
    let request = edge.dir.path().join("spool/drop/stuck");
    fs::write(&request, "").unwrap();
    let dropped = "clickedge_events_dropped_total{feed=\"stuck\",reason=\"removed\"}";
    edge.wait_until("they are dropped", |edge| edge.metric(dropped) == 5 && !request.exists());
    assert_eq!((edge.metric(&pending), edge.metric(&unclaimed), edge.metric(&recovered)), (0, 0, 0));

    edge.change(&[all, feed("stuck", "cured")]);
    click("e");
    edge.wait_until("it delivers once more", |edge| edge.metric(&delivered) == 20);
    let (dir, account) = edge.stop();
    assert_eq!((account.answered, account.delivered, account.pending, account.events_dropped), (25, 45, 0, 5));
    let mut cured = nonces(&events_below(&dir.path().join("cured")));
    cured.sort();
    let expected = ["a", "b", "c", "e"].iter().flat_map(|name| (0..5).map(move |n| format!("{name}-{n}")));
    assert_eq!(cured, expected.collect::<Vec<_>>());
}

#[test]
fn a_change_that_cannot_be_applied_changes_nothing_and_privacy_and_limits_change_like_feeds() {
    let edge = Embedded::start("", &[feed("all", "all")]);
    let webhook = "[[feeds]]\nname = \"hook\"\nworkspaces = [\"*\"]\n[feeds.sink.webhook]\n\
                   url = \"https://hooks.example.com/\"\nsecret_files = [\"missing\"]\n";
    let broken = edge.configuration("", &[webhook.to_owned()]);
    let error = edge.live.prepare(&broken).map(drop).unwrap_err().to_string();
    assert!(error.contains("\"hook\"") && error.contains("missing"), "{error}");

    let mut visitor = Client::connect(edge.address).unwrap();
    let mut click = |nonce| assert_eq!(visitor.send(nonce, "", "Sec-GPC: 1\r\n").unwrap(), 302);
    click("before");
    edge.wait_for_workers();
    let changed = edge.configuration("[enrich]\nhonour_opt_out = false", &[feed("all", "all")]);
    assert!(edge.live.apply(edge.live.prepare(&changed).unwrap()).is_empty());
    click("after");
    edge.wait_for_workers();
    // No room for any object.
    let mut full = changed.clone();
    full.spool.max_bytes = 0;
    edge.live.apply(edge.live.prepare(&full).unwrap());
    edge.live.apply(edge.live.prepare(&changed).unwrap());
    let (dir, account) = edge.stop();
    assert_eq!((account.answered, account.delivered), (2, 2));
    let events = events_below(&dir.path().join("all"));
    let sessions: HashMap<_, _> = nonces(&events)
        .into_iter()
        .zip(events.iter().map(|event| event["client"].get("session").is_some()))
        .collect();
    assert_eq!((sessions["before"], sessions["after"]), (false, true), "{events:?}");
}
