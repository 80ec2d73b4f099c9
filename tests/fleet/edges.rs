//! The real binary in a fleet: from the first start without a catalog to one without the bucket.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clickedge::{
    catalog::{
        Catalog, CatalogStore,
        change::{Change, Changes, Condition, Operation},
    },
    config,
    fleet::{Fleet, FleetMetrics, Parts, Requests, Store, fetch},
    runtime::PanicWatch,
    telemetry::metrics::Registry,
};
use serde_json::{Value, json};

use super::model::{Place, wait_until};
use crate::{
    common::{
        Builder, Edge,
        cli::{Outcome, clickedge},
        connect, exchange, free_address, link,
        nats::Nats,
        s3::{Canned, Fault},
    },
    links_api,
};

const HOST: &str = "go.brand.com";

/// An edge of the fleet.
fn edge(place: &Place, more: &str) -> Builder {
    let bucket = place.s3.sink_toml("clicks", "prefix = \"links\"").replace("feeds.sink.s3", "catalog.fleet.bucket");
    Edge::builder()
        .feed("all", &["*"])
        .catalog("state_dir = \"state\"")
        .section(&format!("[catalog.fleet]\npoll_millis = 100\n{bucket}\n{more}"))
}

/// A snapshot of these links.
fn build(links: &[Value], file: &Path) {
    let text: String = links.iter().map(|link| format!("{link}\n")).collect();
    let input = file.with_extension("ndjson");
    fs::write(&input, text).unwrap();
    let (input, file) = (input.to_str().unwrap(), file.to_str().unwrap());
    let built = clickedge(&["catalog", "build", input, "-o", file, "--generation", "0"]);
    assert_eq!(built.code, 0, "{built:?}");
}

/// Publishes a snapshot of these links with the command.
fn publish(place: &Place, links: &[Value], more: &[&str]) -> Outcome {
    let snapshot = place.dir.path().join("links.snapshot");
    build(links, &snapshot);
    publish_with(place, &[&[snapshot.to_str().unwrap()], more].concat())
}

fn publish_with(place: &Place, more: &[&str]) -> Outcome {
    let (endpoint, credentials) = (place.s3.endpoint(), place.s3.credentials_file());
    let mut arguments = vec!["catalog", "publish", "s3://clicks/links", "--json"];
    arguments.extend(["--region", "eu-west-1", "--endpoint", &endpoint, "--path-style", "--credentials-file"]);
    arguments.push(credentials.to_str().unwrap());
    arguments.extend(more);
    clickedge(&arguments)
}

/// A catalog inside the test that takes changes, as an edge does.
struct Writer {
    store: Arc<CatalogStore>,
    fleet: Fleet,
    _dir: tempfile::TempDir,
}

impl Writer {
    fn start(place: &Place, more: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config::Catalog { state_dir: Some(dir.path().join("state")), ..config::Catalog::default() };
        let store = Arc::new(CatalogStore::of(Catalog::empty(), &config));
        store.open_log().unwrap();
        let parts = Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            dir: dir.path().join("state"),
            metrics: Arc::new(FleetMetrics::new(&Registry::new())),
            requests: Box::new(Requests::default),
            panics: PanicWatch::default(),
        };
        let fleet = Fleet::start(&place.config(more), parts).unwrap();
        Self { store, fleet, _dir: dir }
    }

    fn make(&self, place: &Place, operation: Operation) {
        let change = Change { operation, condition: Condition::Always };
        place.runtime.block_on(self.fleet.changes().change(vec![change])).unwrap()[0].as_ref().unwrap();
    }

    fn put(&self, place: &Place, slashtag: &str, to: &str) {
        self.make(place, Operation::PutLink { link: link(HOST, slashtag, to).to_string() });
    }
}

fn location(edge: &Edge, slashtag: &str) -> Option<String> {
    edge.get(HOST, &format!("/{slashtag}")).header("location").map(str::to_owned)
}

fn leads_to(edge: &Edge, slashtag: &str, to: &str) {
    edge.wait_until("the change is there", |edge| location(edge, slashtag).as_deref() == Some(to));
}

fn has_hash_of(edge: &Edge, writer: &Writer) {
    let here = writer.store.position();
    edge.wait_until("the edges are equal", |edge| {
        edge.metric("clickedge_fleet_revision") == here.revision as i64
            && edge.metric("clickedge_fleet_generation") == here.generation as i64
    });
}

#[test]
fn an_edge_starts_from_the_bucket_and_later_without_it() {
    let place = Place::new();
    let links = [link(HOST, "summer", "https://s.example/1"), link(HOST, "autumn", "https://a.example/1")];
    let head = publish(&place, &links, &[]).json();
    assert_eq!((head["position"]["generation"].as_u64(), head["snapshot"]["links"].as_u64()), (Some(1), Some(2)));
    let mut edge = edge(&place, "").start();
    assert_eq!(location(&edge, "summer").as_deref(), Some("https://s.example/1"), "as soon as it is ready");
    assert_eq!(edge.get(HOST, "/spring").status, 404, "`catalog.file` is not read");

    let writer = Writer::start(&place, &json!({}));
    writer.put(&place, "summer", "https://s.example/2");
    writer.put(&place, "new", "https://n.example/");
    writer.make(&place, Operation::DeleteLink { domain: HOST.into(), slashtag: "autumn".into() });
    leads_to(&edge, "new", "https://n.example/");
    has_hash_of(&edge, &writer);
    let expected = |edge: &Edge| {
        assert_eq!(location(edge, "summer").as_deref(), Some("https://s.example/2"));
        assert_eq!(location(edge, "new").as_deref(), Some("https://n.example/"));
        assert_eq!(edge.get(HOST, "/autumn").status, 404);
    };
    expected(&edge);

    place.s3.set(Fault::Unavailable);
    edge = edge.kill().restart();
    expected(&edge);
    edge.signal("HUP");
    edge.wait_until("it is reloaded", |edge| {
        edge.log().contains("reloaded") || edge.sum("clickedge_reloads_total") > 0
    });
    expected(&edge);
    let upgraded = edge.upgrade(&[]);
    assert!(upgraded.status.success(), "{upgraded:?}\n{}", edge.log());
    expected(&edge);
    place.s3.set(Fault::Healthy);
    writer.put(&place, "newer", "https://n.example/2");
    leads_to(&edge, "newer", "https://n.example/2");
    has_hash_of(&edge, &writer);
    assert_eq!(edge.metric("clickedge_fleet_snapshots_installed_total"), 0, "it had the snapshot");
}

#[test]
fn an_edge_that_waits_for_its_first_catalog_answers_operators_and_says_so() {
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/1")], &[]).json();
    let stopped = edge(&place, "").start().terminate();
    fs::remove_dir_all(stopped.dir().join("state")).unwrap();
    place.s3.set(Fault::Unavailable);
    let mut edge = stopped.spawn(&[]);
    let readiness = |edge: &Edge| {
        let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        exchange(connect(None, edge.admin).ok()?, request)
    };
    edge.wait_until("it says what it waits for", |edge| {
        readiness(edge).is_some_and(|answer| {
            answer.status == 503 && answer.body == "starting: no catalog yet: waiting for that of the fleet\n"
        })
    });
    assert!(connect(None, edge.address).is_err(), "no click waits for it");
    let order = b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let order = exchange(connect(None, edge.admin).unwrap(), order).unwrap();
    assert!(order.status == 503 && order.body.contains("starting"), "{order:?}");
    edge.signal("HUP");
    place.s3.set(Fault::Healthy);
    assert!(edge.is_ready(), "{}", edge.log());
    edge.wait_until("it reloads as the start is over", |edge| edge.sum("clickedge_reloads_total") > 0);
    assert_eq!(location(&edge, "summer").as_deref(), Some("https://s.example/1"));
    let warned =
        edge.log().lines().filter(|line| line.contains("catalog.file")).map(str::to_owned).collect::<Vec<_>>();
    assert!(warned.is_empty(), "it has no such file: {warned:?}");
    // A stop is taken while it waits, too.
    let stopped = edge.terminate();
    fs::remove_dir_all(stopped.dir().join("state")).unwrap();
    place.s3.set(Fault::Unavailable);
    let edge = stopped.spawn(&[]);
    edge.wait_until("it waits", |edge| readiness(edge).is_some());
    let asked = std::time::Instant::now();
    drop(edge.terminate());
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    place.s3.set(Fault::Healthy);
}

#[test]
fn a_published_snapshot_replaces_the_catalog_of_all_edges() {
    let place = Place::new();
    let summer = |to: &str| link(HOST, "summer", to);
    publish(&place, &[summer("https://s.example/1")], &[]).json();
    let edges = [(); 2].map(|()| edge(&place, "").start());
    let writer = Writer::start(&place, &json!({}));
    writer.put(&place, "new", "https://n.example/");
    for edge in &edges {
        leads_to(edge, "new", "https://n.example/");
    }
    publish(&place, &[summer("https://s.example/2")], &[])
        .fails(64, "up to 1 changes of the API that this snapshot does not contain");
    publish(&place, &[summer("https://s.example/2")], &["--generation", "1"])
        .fails(64, "generation 1 is not above 1");
    publish(&place, &[summer("https://s.example/2")], &["--discard-changes"]).json();
    for edge in &edges {
        leads_to(edge, "summer", "https://s.example/2");
        assert_eq!(edge.get(HOST, "/new").status, 404);
        // The edge counts the snapshot after it answers with it.
        edge.wait_until("it is counted", |edge| edge.metric("clickedge_fleet_generation") == 2);
    }
    writer.put(&place, "newer", "https://n.example/2");
    for edge in &edges {
        has_hash_of(edge, &writer);
    }
}

#[test]
fn a_change_by_the_api_of_one_edge_is_on_all_others() {
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/1")], &[]).json();
    let (first, tokens) = links_api::with_tokens(edge(&place, ""));
    let (first, second) = (first.start(), edge(&place, "").start());
    let change = |to: &str| links_api::put(&first, &tokens.all, &format!("{HOST}/summer"), &link(HOST, "summer", to));
    let answer = change("https://s.example/2");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(location(&first, "summer").as_deref(), Some("https://s.example/2"), "the next request has it");
    leads_to(&second, "summer", "https://s.example/2");

    place.s3.set(Fault::Unavailable);
    let answer = change("https://s.example/3");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("nothing has changed"), "{answer:?}");
    assert_eq!(location(&first, "summer").as_deref(), Some("https://s.example/2"));
    place.s3.set(Fault::Healthy);
    first.wait_until("the bucket is back", |_| change("https://s.example/4").status == 200);
    leads_to(&second, "summer", "https://s.example/4");
    assert_eq!(place.head().1.position.revision, 2, "what was answered with 503 was not made");
}

#[test]
fn changes_are_folded_into_the_next_snapshot() {
    let place = Place::new();
    let links = [link(HOST, "summer", "https://s.example/1"), link(HOST, "autumn", "https://a.example/")];
    publish(&place, &links, &[]).json();
    let edge = edge(&place, "").start();
    let writer = Writer::start(&place, &json!({}));
    for n in 0..70 {
        writer.put(&place, &format!("{}", n % 50), &format!("https://{n}.example/"));
    }
    writer.make(&place, Operation::DeleteLink { domain: HOST.into(), slashtag: "autumn".into() });
    let before = writer.store.position();
    let work = place.dir.path().to_str().unwrap();
    let folded = publish_with(&place, &["--fold", "--work-dir", work]);
    assert_eq!(folded.code, 0, "{folded:?}");
    let head = place.head().1;
    assert_eq!((head.position.revision, head.position.hash), (before.revision, before.hash), "it says the same");
    assert_eq!((head.position.generation, head.snapshot.links, head.recent.len()), (2, 51, 0));
    writer.put(&place, "summer", "https://s.example/2");
    leads_to(&edge, "summer", "https://s.example/2");
    has_hash_of(&edge, &writer);
    assert_eq!(edge.get(HOST, "/autumn").status, 404);
    assert_eq!(location(&edge, "49").as_deref(), Some("https://49.example/"));
    let leftovers = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let leftovers: Vec<_> = leftovers.filter(|name| name.to_string_lossy().contains("fold")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn what_cannot_be_published_is_named() {
    let place = Place::new();
    let dir = place.dir.path();
    let file = dir.join("links.snapshot");
    build(&[link(HOST, "summer", "https://s.example/")], &file);
    let path = file.to_str().unwrap();
    clickedge(&["catalog", "publish", path]).fails(64, "s3://bucket/prefix");
    clickedge(&["catalog", "publish", "clicks/links", path]).fails(64, "s3://bucket/prefix");
    clickedge(&["catalog", "publish", "s3://clicks"]).fails(64, "name one snapshot");
    clickedge(&["catalog", "publish", "s3://clicks", path, "--fold"]).fails(64, "name the bucket alone");
    clickedge(&["catalog", "publish", "s3://clicks", "/nowhere"]).fails(66, "/nowhere");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    clickedge(&["catalog", "publish", "s3://clicks", path]).fails(65, "checksum");
    place.s3.set(Fault::Forbidden("head.json".into()));
    publish(&place, &[link(HOST, "summer", "https://s.example/")], &[]).fails(78, "403 AccessDenied");
}

#[test]
fn announced_changes_reach_real_edges_without_a_look() {
    let Some(nats) = Nats::start("") else { return };
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/")], &[]).json();
    let servers = format!("[catalog.fleet.nats]\nservers = [{:?}]", nats.url());
    let edge = edge(&place, &servers).start();
    let writer = Writer::start(&place, &json!({"nats": {"servers": [nats.url()]}}));
    let announced = "clickedge_fleet_polls_total{result=\"announced\"}";
    let mut n = 0;
    wait_until("messages arrive", || {
        n += 1;
        writer.put(&place, "summer", &format!("https://s.example/{n}"));
        edge.metric(announced) > 0
    });
    has_hash_of(&edge, &writer);
}

#[test]
fn the_catalog_of_a_fleet_can_be_fetched_to_work_with_it() {
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/")], &[]).json();
    let writer = Writer::start(&place, &json!({}));
    (0..3).for_each(|n| writer.put(&place, "summer", &format!("https://s.example/{n}")));
    let dir = place.dir.path().join("fetched");
    let (bucket, catalog) = (place.config(&json!({})).bucket, config::Catalog::default());
    let position = place.runtime.block_on(fetch::fetch(&bucket, &catalog, &dir)).unwrap();
    assert_eq!(position, writer.store.position());

    let config = config::Catalog { state_dir: Some(dir.clone()), fleet: Some(place.config(&json!({}))), ..catalog };
    let again = CatalogStore::of(Catalog::empty(), &config);
    again.publish(again.read().unwrap().0);
    again.open_log().unwrap();
    assert_eq!(again.position(), position, "it is on disk");
}

/// Flips a bit of a file where it has this text.
fn damage(file: &Path, text: &str) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_copy_is_taken_from_the_bucket_again() {
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/1")], &[]).json();
    let edge = edge(&place, "").start();
    let writer = Writer::start(&place, &json!({}));
    writer.put(&place, "new", "https://n.example/");
    has_hash_of(&edge, &writer);
    assert_eq!(edge.metric("clickedge_catalog_damaged"), 0);
    let stopped = edge.terminate();
    damage(&stopped.dir().join("state/base.snapshot"), "s.example/1");
    place.s3.set(Fault::Unavailable);
    let edge = stopped.restart();
    edge.wait_until("it is found", |edge| edge.metric("clickedge_catalog_damaged") == 1);
    let status: Value = serde_json::from_str(&edge.admin("/v1/status").body).unwrap();
    assert_eq!(status["catalog"]["damaged"], true);
    assert!(edge.admin("/").body.contains("the copy of the catalog is damaged"));
    assert_eq!(location(&edge, "summer").as_deref(), Some("https://r.example/1"), "most of it is right");
    assert!(edge.log().contains("the private copy of the snapshot is damaged"), "{}", edge.log());
    place.s3.set(Fault::Healthy);
    leads_to(&edge, "summer", "https://s.example/1");
    edge.wait_until("it is whole", |edge| edge.metric("clickedge_catalog_damaged") == 0);
    assert_eq!(location(&edge, "new").as_deref(), Some("https://n.example/"), "changes stay");
    has_hash_of(&edge, &writer);
}

#[test]
fn a_fold_removes_what_no_edge_needs_after_a_day() {
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/1")], &[]).json();
    let writer = Writer::start(&place, &json!({}));
    let work = place.dir.path().to_str().unwrap();
    let fold = |n: u32| {
        writer.put(&place, "summer", &format!("https://s.example/{n}"));
        let folded = publish_with(&place, &["--fold", "--work-dir", work]);
        assert_eq!(folded.code, 0, "{folded:?}");
        wait_until("the writer has it", || writer.store.position().generation == place.head().1.position.generation);
        folded
    };
    let objects = || {
        let bucket = place.s3.bucket("clicks");
        let folders = ["links/snapshots", "links/deltas/1", "links/deltas/2", "links/deltas/3", "links/deltas/4"];
        let files = folders.iter().filter_map(|folder| fs::read_dir(bucket.join(folder)).ok()).flatten();
        files.map(|file| file.unwrap().path().display().to_string()).collect::<Vec<_>>()
    };
    let of = |part: &str| objects().iter().filter(|key| key.contains(part)).count();
    (2..=3).for_each(|n| _ = fold(n));
    assert_eq!((of("/snapshots/"), of("/deltas/")), (3, 2), "nothing is a day old");
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    for key in objects() {
        let file = fs::File::options().write(true).open(key).unwrap();
        file.set_modified(two_days_ago).unwrap();
    }
    let folded = fold(4);
    assert!(folded.stderr.contains("removed 4 objects"), "{folded:?}");
    assert_eq!((of("/snapshots/"), of("/snapshots/3-"), of("/snapshots/4-")), (2, 1, 1), "{:?}", objects());
    assert_eq!((of("/deltas/"), of("/deltas/3/")), (1, 1), "{:?}", objects());
    let edge = edge(&place, "").start();
    has_hash_of(&edge, &writer);
    place.s3.set(Fault::Unlisted(false));
    let folded = fold(5);
    assert!(folded.stderr.contains("grant s3:ListBucket and s3:DeleteObject"), "{folded:?}");
}

#[test]
fn a_new_head_can_be_made_of_what_an_edge_has() {
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/1")], &[]).json();
    let edge = edge(&place, "").start();
    let writer = Writer::start(&place, &json!({}));
    writer.put(&place, "new", "https://n.example/");
    has_hash_of(&edge, &writer);
    place.s3.set(Fault::Canned(vec![Canned::new(200, &[("etag", "\"1\"")], "{}").to("GET")]));
    edge.wait_until("it is reported", |edge| edge.metric("clickedge_fleet_halted{reason=\"malformed\"}") == 1);
    let (state, copy) = (edge.dir().join("state"), place.dir.path().join("copy"));
    let copied = std::process::Command::new("cp").arg("-r").args([&state, &copy]).status().unwrap();
    assert!(copied.success());
    let base = copy.join("base.snapshot").display().to_string();
    let whole = place.dir.path().join("whole.snapshot").display().to_string();
    let built = clickedge(&["catalog", "build", &base, "--changes", copy.to_str().unwrap(), "-o", &whole]);
    assert_eq!(built.code, 0, "{built:?}");
    place.s3.remove("clicks", "links/head.json");
    place.s3.set(Fault::Healthy);
    let published = publish_with(&place, &[&whole, "--generation", "8"]);
    assert_eq!(published.code, 0, "{published:?}");
    edge.wait_until("it has the new head", |edge| edge.metric("clickedge_fleet_generation") == 8);
    assert_eq!(location(&edge, "new").as_deref(), Some("https://n.example/"), "no change is lost");
    edge.wait_until("it is over", |edge| edge.metric("clickedge_fleet_halted{reason=\"malformed\"}") == 0);
    wait_until("the writer has it", || writer.store.position().generation == 8);
    writer.put(&place, "newer", "https://n.example/2");
    leads_to(&edge, "newer", "https://n.example/2");
    has_hash_of(&edge, &writer);
}

#[test]
fn a_snapshot_that_discards_changes_is_held_back_for_its_size_until_it_is_accepted() {
    let place = Place::new();
    let links: Vec<_> = (0..10).map(|n| link(HOST, &format!("l{n}"), "https://s.example/")).collect();
    publish(&place, &links, &[]).json();
    let edge = edge(&place, "").start();
    let writer = Writer::start(&place, &json!({}));
    for n in 0..40 {
        writer.put(&place, &format!("new{n}"), "https://n.example/");
    }
    has_hash_of(&edge, &writer);
    publish(&place, &links, &["--discard-changes"]).json();
    edge.wait_until("it is held back", |edge| edge.metric("clickedge_fleet_halted{reason=\"shrunk\"}") == 1);
    edge.wait_until("the remedy is logged", |edge| edge.log().contains("publish it again with `--accept`"));
    assert!(location(&edge, "new0").is_some());
    publish(&place, &links, &["--accept", "--discard-changes"]).json();
    edge.wait_until("it is taken", |edge| location(edge, "new0").is_none());
    edge.wait_until("it is over", |edge| edge.metric("clickedge_fleet_halted{reason=\"shrunk\"}") == 0);
    wait_until("the writer has it", || writer.store.position().generation == 3);
    writer.put(&place, "again", "https://n.example/");
    leads_to(&edge, "again", "https://n.example/");
}

#[test]
fn a_store_that_ignores_conditions_is_found_before_changes_are_lost() {
    let place = Place::new();
    publish(&place, &[link(HOST, "summer", "https://s.example/1")], &[]).json();
    let edge = edge(&place, "").start();
    let config = edge.dir().join("clickedge.toml").display().to_string();
    let probe = || clickedge(&["check", "--probe", "--probe-put", &config]);
    let good = probe();
    assert!(good.code == 0 && good.stdout.contains("honours conditions"), "{good:?}");
    for header in ["If-Match", "If-None-Match"] {
        place.s3.set(Fault::Careless(header));
        let found = probe();
        assert_eq!(found.code, 78, "{found:?}");
        assert!(found.stderr.contains(&format!("the store ignores `{header}`")), "{found:?}");
        let published = publish(&place, &[link(HOST, "summer", "https://s.example/2")], &[]);
        assert!(published.code == 78 && published.stderr.contains("conditional writes"), "{published:?}");
    }
    place.s3.set(Fault::Healthy);
    let found = probe();
    assert!(found.code == 0 && found.stdout.contains("generation 1, "), "nothing was published: {found:?}");
}

#[test]
fn check_probes_the_bucket_and_the_servers_of_the_fleet() {
    let place = Place::new();
    let nats = format!("[catalog.fleet.nats]\nservers = [\"nats://{}\"]", free_address());
    publish(&place, &[link(HOST, "summer", "https://s.example/1")], &[]).json();
    let edge = edge(&place, "").start();
    let config = edge.dir().join("clickedge.toml").display().to_string();
    let probe = || clickedge(&["check", "--probe", &config]);
    let found = probe();
    assert_eq!(found.code, 0, "{found:?}");
    assert!(found.stdout.contains("catalog.fleet.bucket: s3://clicks/links: generation 1, change 0"), "{found:?}");
    place.s3.remove("clicks", "links/head.json");
    let empty = probe();
    assert!(empty.code == 0 && empty.stdout.contains("has no catalog yet"), "{empty:?}");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n{nats}\n")).unwrap();
    place.s3.set(Fault::Forbidden("head.json".into()));
    let failed = probe();
    assert_eq!(failed.code, 78, "{failed:?}");
    assert!(failed.stderr.contains("catalog.fleet.bucket") && failed.stderr.contains("AccessDenied"), "{failed:?}");
    assert!(failed.stderr.contains("catalog.fleet.nats: clickedge.catalog on nats://127"), "{failed:?}");
}
