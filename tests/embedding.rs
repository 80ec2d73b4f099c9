//! The seams for programs that embed the redirect: the examples of the manual run as they are, and what they promise is
//! tried with parts that fail.

mod examples;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use clickedge::{
    Catalog, Config, Hook, Object, Pipeline, Sink, SinkError, Stored,
    catalog::Link,
    config,
    redirect::{AnswerHeaders, Head, PendingClick, Veto},
};
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    common::{Answer, CHROME, TIMEOUT, clicks::parameter, connect, events_of, exchange, free_address},
    plugin::run,
};

/// A folder for the spool, and one for the rings.
struct Folders(TempDir, TempDir);

impl Folders {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap())
    }

    /// A configuration with these feeds.
    fn config(&self, feeds: &str) -> Config {
        let rings = self.1.path().display();
        let text = format!(
            "[edge]\npop = \"theirs\"\n[capture]\ndir = '{rings}/rings'\nring_bytes = 4194304\n\
             [spool]\ndir = \"spool\"\n{feeds}"
        );
        config::parse(&text, self.0.path()).unwrap()
    }
}

fn feed(name: &str, sink: &str) -> String {
    format!(
        "[[feeds]]\nname = \"{name}\"\nworkspaces = [\"*\"]\nmax_age_secs = 1\nhold_back_secs = 0\n\
         manifest_secs = 0\nsink.custom = {{ name = \"{sink}\", timeout_secs = 1 }}\n"
    )
}

fn link(slashtag: &str) -> Value {
    json!({"id": format!("id-{slashtag}"), "slashtag": slashtag, "domain": "go.brand.com",
           "destination": format!("https://www.example.com/{slashtag}"), "forwardParameters": true})
}

fn catalog(config: &Config, slashtags: &[&str]) -> Catalog {
    Catalog::of_records(&config.catalog, slashtags.iter().map(|slashtag| link(slashtag))).unwrap()
}

/// A sink that fails in the ways of its plan, one at each call, and then stores.
#[derive(Default)]
struct Theirs {
    plan: Mutex<Vec<Failure>>,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    calls: AtomicUsize,
}

enum Failure {
    Retry,
    Panic,
    Hang,
    Reject,
    /// The object is stored, and the answer is lost.
    LoseAnswer,
}

impl Theirs {
    fn failing(plan: impl IntoIterator<Item = Failure>) -> Arc<Self> {
        let mut plan: Vec<_> = plan.into_iter().collect();
        plan.reverse();
        Arc::new(Self { plan: Mutex::new(plan), ..Self::default() })
    }

    fn events(&self) -> Vec<Value> {
        self.objects.lock().unwrap().values().flat_map(|object| events_of(object)).collect()
    }

    fn store(&self, object: &Object) -> Stored {
        let bytes = fs::read(&object.path).unwrap();
        match self.objects.lock().unwrap().insert(object.key.clone(), bytes.clone()) {
            None => Stored::Now,
            Some(former) => {
                assert_eq!(former, bytes, "{} comes again as it was", object.key);
                Stored::Before
            }
        }
    }
}

#[async_trait]
impl Sink for Theirs {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let failure = self.plan.lock().unwrap().pop();
        match failure {
            None => Ok(self.store(object)),
            Some(Failure::Retry) => Err(SinkError::retry("their service is down")),
            Some(Failure::Panic) => panic!("a bug of theirs"),
            Some(Failure::Hang) => std::future::pending().await,
            Some(Failure::Reject) => Err(SinkError::rejected("their account has no access")),
            Some(Failure::LoseAnswer) => {
                self.store(object);
                Err(SinkError::retry("the answer was lost"))
            }
        }
    }
}

fn try_get(address: SocketAddr, path: &str, more: &str) -> Option<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n{more}\r\n");
    exchange(connect(None, address).unwrap(), request.as_bytes())
}

fn get(address: SocketAddr, path: &str) -> Answer {
    try_get(address, path, "").expect("an answer")
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_sink_of_theirs_that_fails_in_every_way_gets_every_event_once() {
    let folders = Folders::new();
    let config = folders.config(&feed("all", "archive"));
    let sink = Theirs::failing([Failure::Retry, Failure::Panic, Failure::Hang, Failure::LoseAnswer]);
    let pipeline = Pipeline::builder(&config)
        .catalog(catalog(&config, &["spring"]))
        .sink("archive", Arc::clone(&sink) as Arc<dyn Sink>)
        .start()
        .unwrap();
    let (address, stop, server) = run(pipeline.redirector(), free_address());
    for number in 0..20 {
        assert_eq!(get(address, &format!("/spring?n={number}")).status, 302);
    }
    // The waits between retries are for services that are down.
    let retries = pipeline.retries();
    wait_until("all are delivered", || {
        retries.retry("all").unwrap();
        sink.events().len() >= 20 && sink.plan.lock().unwrap().is_empty()
    });
    stop.notify_one();
    server.join().unwrap();
    let account = pipeline.drain(TIMEOUT);
    assert_eq!((account.answered, account.delivered, account.pending, account.events_dropped), (20, 20, 0, 0));
    let mut numbers: Vec<u32> =
        sink.events().iter().map(|event| parameter(event, "n").unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert!(sink.calls.load(Ordering::Relaxed) >= 5, "each failure was met");
}

#[test]
fn a_sink_of_theirs_that_rejects_parks_its_feed_and_one_of_a_later_feed_is_found() {
    let folders = Folders::new();
    let config = folders.config(&feed("first", "rejects"));
    let (rejects, other) = (Theirs::failing([Failure::Reject]), Theirs::failing([]));
    let pipeline = Pipeline::builder(&config)
        .catalog(catalog(&config, &["spring"]))
        .sink("rejects", Arc::clone(&rejects) as Arc<dyn Sink>)
        .sink("other", Arc::clone(&other) as Arc<dyn Sink>)
        .start()
        .unwrap();
    let (address, stop, server) = run(pipeline.redirector(), free_address());
    get(address, "/spring");
    let parked = || pipeline.gauges().text().contains("clickedge_feed_parked{feed=\"first\"} 1");
    wait_until("the feed is parked", parked);

    let live = pipeline.live_feeds();
    let both = |sink: &str| folders.config(&(feed("first", "rejects") + &feed("second", sink)));
    let error = live.prepare(&both("unknown")).err().expect("it is rejected").to_string();
    assert_eq!(error, "feed \"second\" names the sink \"unknown\", and the program has only other, rejects");
    live.apply(live.prepare(&both("other")).unwrap());
    get(address, "/spring?n=2");
    wait_until("the second feed is delivered", || other.events().len() == 1);
    pipeline.retries().retry("first").unwrap();
    wait_until("the first feed is delivered", || rejects.events().len() == 2);
    stop.notify_one();
    server.join().unwrap();
    let account = pipeline.drain(TIMEOUT);
    assert_eq!((account.answered, account.delivered, account.pending), (2, 3, 0));
}

#[test]
fn a_catalog_of_theirs_is_replaced_and_changed_while_requests_are_answered() {
    use clickedge::catalog::change::{Change, Condition, Refused};

    let folders = Folders::new();
    let config = folders.config(&feed("all", "archive"));
    let sink = Theirs::failing([]);
    let pipeline = Pipeline::builder(&config)
        .catalog(Catalog::empty())
        .sink("archive", Arc::clone(&sink) as Arc<dyn Sink>)
        .start()
        .unwrap();
    let (links, redirector) = (pipeline.catalog(), pipeline.redirector());
    let status = |path: &str| {
        let method = Method::GET;
        let mut head = Head::new(&method, path.as_bytes(), clickedge::click::Protocol::Http11);
        head.read_field(b"host", b"go.brand.com");
        // A limit of clicks counts those of people.
        for (name, value) in [("user-agent", CHROME), ("accept", "*/*"), ("accept-language", "en")] {
            head.read_field(name.as_bytes(), value.as_bytes());
        }
        redirector.answer(&head, None, Instant::now()).map(|answer| answer.status)
    };
    assert_eq!(status("/spring"), None, "no domain of theirs yet");
    links.publish(catalog(&config, &["spring"]));
    assert_eq!((status("/spring"), status("/summer")), (Some(302), Some(404)));

    let summer = |condition| Change::put_link(link("summer").to_string()).only_if(condition);
    let outcomes = links.change(&[summer(Condition::Absent), summer(Condition::Absent)]).unwrap();
    assert!(outcomes[0].as_ref().is_ok_and(|accepted| accepted.created), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(Refused::ConditionFailed { .. })), "{outcomes:?}");
    assert_eq!(status("/summer"), Some(302));
    let bad = links.change(&[Change::put_link(r#"{"id":"1","slashtag":"a"}"#)]).unwrap();
    assert!(matches!(&bad[..], [Err(Refused::Invalid { .. })]), "{bad:?}");
    let gone = links.change(&[Change::delete_link("go.brand.com", "spring")]).unwrap();
    assert!(gone[0].is_ok() && status("/spring") == Some(404));

    // A limit of clicks is a file on disk, which another catalog has to be prepared for.
    let mut once = link("once");
    once["maxClicks"] = json!(1);
    links.publish(Catalog::of_records(&config.catalog, [once]).unwrap());
    assert_eq!([status("/once"), status("/once"), status("/summer")], [Some(302), Some(410), Some(404)]);
    let account = pipeline.drain(TIMEOUT);
    assert_eq!((account.answered, account.delivered), (3, 3));
}

#[test]
fn a_catalog_of_theirs_and_one_of_a_fleet_exclude_each_other() {
    let folders = Folders::new();
    let mut config = folders.config("");
    config.catalog.state_dir = Some(folders.0.path().join("state"));
    let fleet = "bucket = { bucket = \"example\", region = \"eu-west-1\" }";
    config.catalog.fleet = Some(toml::from_str(fleet).unwrap());
    let error =
        Pipeline::builder(&config).catalog(Catalog::empty()).start().err().expect("it is rejected").to_string();
    assert!(error.starts_with("`catalog.fleet` is set, and the program has a catalog of its own"), "{error}");
}

/// Vetoes by path, and adds what it is given.
struct Guard {
    headers: Vec<(HeaderName, &'static str)>,
    rejected: Mutex<Vec<String>>,
}

impl Hook for Guard {
    fn reasons(&self) -> Vec<&'static str> {
        vec!["legal", "policy"]
    }

    fn before_click(&self, click: &PendingClick<'_>) -> Result<(), Veto> {
        match click.head.path {
            b"/legal" => Err(Veto::new("legal").with_status(http::StatusCode::GONE).unwrap()),
            b"/unnamed" => Err(Veto::new("unnamed")),
            b"/panic" => panic!("a bug of theirs"),
            _ => Ok(()),
        }
    }

    fn before_answer(&self, _: &Head<'_>, link: Option<&Link<'_>>, answer: &mut AnswerHeaders<'_>) {
        for (name, value) in &self.headers {
            if let Err(error) = answer.append(name.clone(), HeaderValue::from_static(value)) {
                self.rejected.lock().unwrap().push(error.to_string());
            }
        }
        let about = link.map_or(b"-".as_slice(), Link::slashtag);
        answer.set(header::REFERRER_POLICY, HeaderValue::from_bytes(about).unwrap()).unwrap();
        answer.set(header::CACHE_CONTROL, HeaderValue::from_static("no-cache")).unwrap();
    }
}

#[test]
fn a_veto_is_no_click_and_amended_headers_keep_the_answer_whole() {
    let folders = Folders::new();
    let config = folders.config(&feed("all", "archive"));
    let sink = Theirs::failing([]);
    let headers = vec![
        (header::SET_COOKIE, "a=1"),
        (header::SET_COOKIE, "b=2"),
        (header::CONTENT_LENGTH, "5"),
        (header::TRANSFER_ENCODING, "chunked"),
        (header::LOCATION, "https://evil.example/"),
    ];
    let guard = Arc::new(Guard { headers, rejected: Mutex::default() });
    let mut once = link("legal");
    once["maxClicks"] = json!(1);
    let records = [once, link("unnamed"), link("panic"), link("spring")];
    let pipeline = Pipeline::builder(&config)
        .catalog(Catalog::of_records(&config.catalog, records).unwrap())
        .sink("archive", Arc::clone(&sink) as Arc<dyn Sink>)
        .hook(Arc::clone(&guard) as Arc<dyn Hook>)
        .start()
        .unwrap();
    let (address, stop, server) = run(pipeline.redirector(), free_address());

    for _ in 0..3 {
        let answer = get(address, "/legal");
        assert_eq!((answer.status, &*answer.body), (410, "This link cannot be followed.\n"));
    }
    assert_eq!(get(address, "/unnamed").status, 403);
    assert!(try_get(address, "/panic", "").is_none(), "the connection ends without an answer");

    let answer = get(address, "/spring");
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("https://www.example.com/spring"));
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("referrer-policy"), Some("spring"));
    assert_eq!(answer.header("transfer-encoding"), None);
    let answer = get(address, "/unknown");
    assert_eq!((answer.status, answer.header("referrer-policy")), (404, Some("-")));
    let rejected = guard.rejected.lock().unwrap().join("\n");
    for name in ["content-length", "transfer-encoding", "location"] {
        assert!(rejected.contains(&format!("cannot set the header `{name}`")), "{rejected}");
    }

    let text = pipeline.gauges().text();
    for line in [
        "clickedge_vetoed_total{reason=\"legal\"} 3",
        "clickedge_vetoed_total{reason=\"policy\"} 0",
        "clickedge_vetoed_total{reason=\"other\"} 1",
        "clickedge_requests_total{outcome=\"vetoed\"} 4",
        "clickedge_clicks_answered_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    stop.notify_one();
    server.join().unwrap();
    let account = pipeline.drain(TIMEOUT);
    assert_eq!((account.answered, account.clicks_dropped, account.delivered), (1, 0, 1));
}

#[test]
fn both_cookies_of_a_hook_arrive_and_a_reason_that_is_no_label_is_rejected() {
    struct Bad;

    impl Hook for Bad {
        fn reasons(&self) -> Vec<&'static str> {
            vec!["fine", "Not fine"]
        }
    }

    let folders = Folders::new();
    let config = folders.config("");
    let start =
        |hook: Arc<dyn Hook>| Pipeline::builder(&config).catalog(catalog(&config, &["spring"])).hook(hook).start();
    let error = start(Arc::new(Bad)).err().expect("it is rejected").to_string();
    assert!(error.starts_with("the hook names the reason \"Not fine\""), "{error}");

    let headers = vec![(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "b=2")];
    let pipeline = start(Arc::new(Guard { headers, rejected: Mutex::default() })).unwrap();
    let (address, stop, server) = run(pipeline.redirector(), free_address());
    let answer = get(address, "/spring");
    let cookies = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    assert_eq!(cookies.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);
    stop.notify_one();
    server.join().unwrap();
    pipeline.drain(TIMEOUT);
}
