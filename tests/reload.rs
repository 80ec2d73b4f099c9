//! Reload: a new configuration, catalog, GeoIP database or list is used without a restart, all of it or nothing.

mod configuration;

use std::{
    collections::HashMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, UNIX_EPOCH},
};

use ipnet::IpNet;
use mmdb_writer::Writer;
use serde_json::{Value, json};

use crate::common::{Builder, Edge, TIMEOUT, cli::clickedge, clicks::parameter, link};

const HOST: &str = "go.brand.com";

fn links(slashtags: impl IntoIterator<Item = usize>) -> Vec<Value> {
    slashtags.into_iter().map(|n| link(HOST, &format!("l{n}"), &format!("https://www.example.com/{n}"))).collect()
}

/// An edge with the links `l0` to `l9` (and `spring`).
fn edge() -> Edge {
    links(0..10).into_iter().fold(Edge::builder(), Builder::link).feed("all", &["*"]).start()
}

fn reloads(edge: &Edge, what: &str, result: &str) -> i64 {
    edge.metric(&format!("clickedge_reloads_total{{result=\"{result}\",what=\"{what}\"}}"))
}

/// Sends SIGHUP and waits for its result.
#[track_caller]
fn reload(edge: &Edge, what: &str, result: &str) {
    let other = if result == "ok" { "failed" } else { "ok" };
    let before = (reloads(edge, what, result), reloads(edge, what, other));
    edge.signal("HUP");
    edge.wait_until(&format!("{what} {result}"), |edge| reloads(edge, what, result) > before.0);
    assert_eq!((reloads(edge, what, result), reloads(edge, what, other)), (before.0 + 1, before.1));
}

/// The log lines of a level, as objects.
fn logged(edge: &Edge, level: &str) -> Vec<Value> {
    let lines = edge.log();
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|l| l["level"] == level)
        .collect()
}

/// Everything that the old catalog answered is still answered.
#[track_caller]
fn assert_the_previous_catalog_is_active(edge: &Edge) {
    for n in 0..10 {
        let answer = edge.get(HOST, &format!("/l{n}"));
        assert_eq!((answer.status, answer.header("location")), (302, Some(&*format!("https://www.example.com/{n}"))));
    }
    assert_eq!(edge.get(HOST, "/spring").status, 302);
    assert_eq!(edge.metric("clickedge_catalog_links"), 11);
}

#[test]
fn a_new_catalog_answers_after_sighup() {
    let edge = edge();
    assert_eq!(edge.get(HOST, "/l10").status, 404);
    let mut new = links(1..12);
    new[0]["destination"] = json!("https://elsewhere.example/");
    new[1]["status"] = json!("expired");
    new.push(link("new.brand.com", "l1", "https://new.example/"));
    edge.write_links(&new);
    assert_eq!(edge.get(HOST, "/l10").status, 404, "nothing changes before the signal");

    reload(&edge, "catalog", "ok");
    assert_eq!(edge.get(HOST, "/l11").header("location"), Some("https://www.example.com/11"));
    assert_eq!(edge.get(HOST, "/l1").header("location"), Some("https://elsewhere.example/"));
    assert_eq!(edge.get("new.brand.com", "/l1").header("location"), Some("https://new.example/"));
    assert_eq!(edge.get(HOST, "/l2").status, 410);
    assert_eq!(edge.get(HOST, "/l0").status, 404, "a removed link is gone");
    assert_eq!(edge.metric("clickedge_catalog_links"), 12);
    assert_eq!(edge.metric("clickedge_catalog_domains"), 2);
}

#[test]
fn a_catalog_that_shrinks_is_taken_when_an_operator_accepts_it() {
    let edge = links(0..40).into_iter().fold(Edge::builder(), Builder::link).start();
    let info = |edge: &Edge| {
        edge.admin("/metrics")
            .body
            .lines()
            .find(|line| line.starts_with("clickedge_catalog_info{"))
            .map(str::to_owned)
    };
    let before = info(&edge).unwrap();
    edge.write_links(&links(0..5));
    let config = edge.dir().join("clickedge.toml");
    let ask = |more: &[&str]| clickedge(&[&["reload", "--config", config.to_str().unwrap()], more].concat());
    let refused = ask(&[]);
    assert!(refused.code != 0 && refused.stderr.contains("clickedge reload --accept"), "{}", refused.stderr);
    assert_eq!((edge.get(HOST, "/l39").status, info(&edge).unwrap()), (302, before.clone()));
    let accepted = ask(&["--accept"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert_eq!(edge.get(HOST, "/l39").status, 404);
    assert_ne!(info(&edge).unwrap(), before, "another hash");
    edge.write_links(&links(0..1));
    assert_ne!(ask(&[]).code, 0, "it was accepted once");
}

#[test]
fn an_event_has_the_link_as_it_was_when_it_was_clicked() {
    let edge = edge();
    let before = edge.get(HOST, "/l3").header("location").unwrap().to_owned();
    let mut new = links(0..10);
    new[3]["destination"] = json!("https://elsewhere.example/");
    new[3]["id"] = json!("id-new");
    new[3]["tags"] = json!([{"id": "t-9", "name": "Radio"}]);
    new[3]["creator"]["fullName"] = json!("Kofi Mensah");
    edge.write_links(&new);
    reload(&edge, "catalog", "ok");
    let after = edge.get(HOST, "/l3").header("location").unwrap().to_owned();

    let mut routes: Vec<_> = edge.stop().events("all").into_iter().map(|mut event| event["route"].take()).collect();
    routes.sort_by_key(|route| route["id"] == "id-new");
    let route = |at: usize, place: &str| routes[at].pointer(place).unwrap().clone();
    assert_eq!(routes.len(), 2);
    assert_eq!([route(0, "/destination/raw"), route(1, "/destination/raw")], [json!(before), json!(after)]);
    assert_eq!([route(0, "/id"), route(1, "/id")], ["id-l3", "id-new"]);
    assert_eq!(route(0, "/tags"), json!([{"id": "t-1", "name": "Print"}]));
    assert_eq!(route(1, "/tags"), json!([{"id": "t-9", "name": "Radio"}]));
    assert_eq!([route(0, "/creator/name"), route(1, "/creator/name")], ["Ana Lima", "Kofi Mensah"]);
}

#[test]
fn no_click_is_lost_or_mixed_up_while_catalogs_change() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let generation = |n: usize| {
        let mut link = link(HOST, "spring", &format!("https://www.example.com/{n}"));
        link["id"] = json!(format!("generation-{n}"));
        vec![link]
    };
    let done = AtomicBool::new(false);
    let answers: HashMap<String, String> = std::thread::scope(|scope| {
        let clicks = scope.spawn(|| {
            let mut answers = HashMap::new();
            let until = Instant::now() + TIMEOUT;
            while !done.load(Ordering::Acquire) && Instant::now() < until {
                let n = answers.len().to_string();
                let answer = edge.get(HOST, &format!("/spring?n={n}"));
                assert_eq!(answer.status, 302, "{answer:?}");
                answers.insert(n, answer.header("location").unwrap().to_owned());
            }
            answers
        });
        for n in 0..8 {
            edge.write_links(&generation(n));
            reload(&edge, "catalog", "ok");
        }
        done.store(true, Ordering::Release);
        clicks.join().unwrap()
    });
    let events = edge.stop().events("all");
    assert_eq!(events.len(), answers.len());
    for event in &events {
        let route = &event["route"];
        let raw = route["destination"]["raw"].as_str().unwrap();
        let n = parameter(event, "n").unwrap();
        assert_eq!(raw, answers[n], "the event has the destination that the visitor got");
        if let Some(generation) = route["id"].as_str().unwrap().strip_prefix("generation-") {
            assert!(raw.starts_with(&format!("https://www.example.com/{generation}?")), "{route}");
        }
    }
}

#[test]
fn a_catalog_with_too_many_bad_lines_is_rejected_and_the_previous_one_stays_active() {
    let edge = edge();
    let mut lines: Vec<String> = links(0..98).iter().map(ToString::to_string).collect();
    lines.insert(4, "{\"id\": \"half a li".into());
    lines.insert(50, json!({"id": "x"}).to_string());
    fs::write(edge.dir().join("links.ndjson"), lines.join("\n")).unwrap();
    reload(&edge, "catalog", "failed");
    assert_the_previous_catalog_is_active(&edge);
    let errors = logged(&edge, "ERROR");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let text = errors[0].to_string();
    assert!(text.contains("2 of 100 lines are bad"), "{text}");
    assert!(text.contains("the first is line 5: "), "{text}");
}

#[test]
fn a_few_bad_lines_are_skipped_and_logged_by_number_and_reason() {
    let edge = edge();
    let mut lines: Vec<String> = links(0..298).iter().map(ToString::to_string).collect();
    let mut bad = link(HOST, "bad", "javascript:alert(1)");
    lines.insert(1, bad.to_string());
    lines.insert(100, String::new());
    bad["destination"] = json!("https://www.example.com/");
    bad["slashtag"] = json!("l7/");
    lines.push(bad.to_string());
    fs::write(edge.dir().join("links.ndjson"), lines.join("\n")).unwrap();
    reload(&edge, "catalog", "ok");
    assert_eq!(edge.metric("clickedge_catalog_links"), 298);
    assert_eq!(edge.get(HOST, "/l297").status, 302);
    assert_eq!(edge.get(HOST, "/bad").status, 404);
    assert_eq!(edge.get(HOST, "/l7").header("location"), Some("https://www.example.com/7"), "the first one stands");
    let warned: Vec<_> = logged(&edge, "WARN").iter().map(Value::to_string).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].contains("\"line\":2,") && warned[0].contains("runs code"), "{}", warned[0]);
    assert!(warned[1].contains("\"line\":301,") && warned[1].contains("on the same domain"), "{}", warned[1]);
}

#[test]
fn a_missing_cut_or_empty_catalog_is_rejected_and_the_previous_one_stays_active() {
    let edge = edge();
    let file = edge.dir().join("links.ndjson");
    let whole = fs::read(&file).unwrap();

    fs::remove_file(&file).unwrap();
    reload(&edge, "catalog", "failed");
    assert_the_previous_catalog_is_active(&edge);

    edge.write_links(&links(0..5));
    reload(&edge, "catalog", "failed");
    assert_the_previous_catalog_is_active(&edge);

    fs::write(&file, "").unwrap();
    reload(&edge, "catalog", "failed");
    assert_the_previous_catalog_is_active(&edge);

    let errors: Vec<_> = logged(&edge, "ERROR").iter().map(Value::to_string).collect();
    let expected = [
        "cannot read the catalog",
        "it has 5 links where the largest of the last 24 hours had 11",
        "it has 0 links where the largest",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(expected) && error.contains("links.ndjson"), "{error}");
        assert!(error.contains("the previous version of everything stays active"), "{error}");
    }

    fs::write(&file, whole).unwrap();
    reload(&edge, "catalog", "ok");
    assert_the_previous_catalog_is_active(&edge);
}

/// A GeoIP database in which this machine lies in `city`.
fn database(city: &str, built: u64) -> Vec<u8> {
    let mut writer = Writer::builder("Test-City")
        .description(&[("en", "Test")])
        .build_epoch(UNIX_EPOCH + Duration::from_secs(built))
        .build();
    let record = json!({"city": {"names": {"en": city}}, "country": {"iso_code": "PT"}});
    writer.insert("127.0.0.0/8".parse::<IpNet>().unwrap(), &record).unwrap();
    writer.to_bytes().unwrap()
}

fn city_of(edge: &Edge, n: usize) -> impl Fn(&[Value]) -> Value + use<> {
    assert_eq!(edge.get(HOST, &format!("/spring?n={n}")).status, 302);
    move |events: &[Value]| {
        let n = n.to_string();
        let event = events.iter().find(|event| parameter(event, "n") == Some(&n)).unwrap();
        event["client"]["location"]["city"].clone()
    }
}

#[test]
fn a_new_geoip_database_is_used_and_a_corrupt_one_is_not() {
    let builder = Edge::builder();
    let file = builder.dir().join("geoip.mmdb");
    fs::write(&file, database("Lisbon", 1_700_000_000)).unwrap();
    let edge = builder.section("[enrich]\ngeoip_file = \"geoip.mmdb\"").feed("all", &["*"]).start();
    let built = |edge: &Edge| edge.metric("clickedge_geoip_build_timestamp_seconds");
    // The worker may look at the database a moment after the answer.
    let enriched = |edge: &Edge, n| {
        edge.wait_until("enriched", |edge| edge.metric("clickedge_clicks_enriched_total") == n);
    };
    assert_eq!(built(&edge), 1_700_000_000);
    let mut cities = vec![city_of(&edge, 0)];
    enriched(&edge, 1);

    let porto = database("Porto", 1_800_000_000);
    fs::write(&file, &porto).unwrap();
    reload(&edge, "geoip", "ok");
    assert_eq!(built(&edge), 1_800_000_000);
    cities.push(city_of(&edge, 1));
    enriched(&edge, 2);

    for corrupt in [&porto[..porto.len() / 2], b"no database", b""] {
        fs::write(&file, corrupt).unwrap();
        reload(&edge, "geoip", "failed");
        assert_eq!(built(&edge), 1_800_000_000);
        cities.push(city_of(&edge, cities.len()));
        enriched(&edge, cities.len() as i64);
    }
    fs::remove_file(&file).unwrap();
    reload(&edge, "geoip", "failed");
    cities.push(city_of(&edge, cities.len()));
    enriched(&edge, cities.len() as i64);
    assert_eq!(reloads(&edge, "catalog", "ok"), 1, "with a bad database nothing is reloaded");
    let errors = logged(&edge, "ERROR");
    assert_eq!(errors.len(), 4);
    assert!(errors.iter().all(|error| error.to_string().contains("geoip.mmdb")), "{errors:?}");

    let events = edge.stop().events("all");
    let cities: Vec<_> = cities.iter().map(|city| city(&events)).collect();
    assert_eq!(cities, ["Lisbon", "Porto", "Porto", "Porto", "Porto", "Porto"]);
}

/// The bot in the event of a click with this agent string.
fn bot_of(edge: &Edge, n: usize, agent: &str) -> impl Fn(&[Value]) -> Value + use<> {
    let before = edge.metric("clickedge_clicks_enriched_total");
    let request = format!(
        "GET /spring?n={n} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {agent}\r\nAccept-Language: en\r\n\
         Connection: close\r\n\r\n"
    );
    assert_eq!(edge.raw(request.as_bytes()).unwrap().status, 302);
    edge.wait_until("enriched", |edge| edge.metric("clickedge_clicks_enriched_total") == before + 1);
    move |events: &[Value]| {
        let n = n.to_string();
        let event = events.iter().find(|event| parameter(event, "n") == Some(&n)).unwrap();
        event["client"]["agent"]["bot"].clone()
    }
}

#[test]
fn a_new_crawler_list_is_used_and_a_broken_one_is_not() {
    const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 NewThing/1";
    let builder = Edge::builder();
    let file = builder.dir().join("crawlers.json");
    let entries = |pattern: &str| json!([{"pattern": pattern, "tags": ["ai-crawler"]}]).to_string();
    fs::write(&file, entries("OtherThing")).unwrap();
    let section = "[enrich]\ncrawlers_file = \"crawlers.json\"\nnot_crawlers = [\"exampleapp/\"]\nworkers = 1";
    let edge = builder.section(section).feed("all", &["*"]).start();
    let mut bots = vec![bot_of(&edge, 0, AGENT)];

    // The same string as before: what was classified by the old list must be forgotten.
    fs::write(&file, entries("NewThing")).unwrap();
    bots.push(bot_of(&edge, 1, AGENT));
    reload(&edge, "crawlers", "ok");
    bots.push(bot_of(&edge, 2, AGENT));
    bots.push(bot_of(&edge, 3, &format!("{AGENT} ExampleApp/2")));

    for broken in ["", "[{\"pattern\": \"Thing\"}, {\"pattern\": \"(x\"}]", "{}", "not JSON"] {
        fs::write(&file, broken).unwrap();
        reload(&edge, "crawlers", "failed");
        bots.push(bot_of(&edge, bots.len(), AGENT));
    }
    fs::remove_file(&file).unwrap();
    reload(&edge, "crawlers", "failed");
    bots.push(bot_of(&edge, bots.len(), AGENT));
    assert_eq!(reloads(&edge, "catalog", "ok"), 1, "with a broken list nothing is reloaded");
    let errors: Vec<_> = logged(&edge, "ERROR").iter().map(Value::to_string).collect();
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert!(errors.iter().all(|error| error.contains("crawlers.json")), "{errors:?}");
    assert!(errors[1].contains("first entry 2, pattern"), "{}", errors[1]);

    let fixed = json!((0..20).map(|n| json!({"pattern": format!("Thing-{n}")})).collect::<Vec<_>>());
    let mut fixed = fixed.as_array().unwrap().clone();
    fixed.push(json!({"pattern": "(?<!New)Thing"}));
    fs::write(&file, Value::Array(fixed).to_string()).unwrap();
    reload(&edge, "crawlers", "ok");
    bots.push(bot_of(&edge, bots.len(), AGENT));
    let warned: Vec<_> = logged(&edge, "WARN").iter().map(Value::to_string).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    for part in ["crawlers.json", "entry 21", "(?<!New)Thing", "look-around"] {
        assert!(warned[0].contains(part), "{part}: {}", warned[0]);
    }

    let events = edge.stop().events("all");
    let bots: Vec<_> = bots.iter().map(|bot| bot(&events)).collect();
    let bot = json!({"reason": "agent", "class": "ai", "name": "newthing"});
    let none = Value::Null;
    assert_eq!(bots, [&none, &none, &bot, &none, &bot, &bot, &bot, &bot, &bot, &none].map(Clone::clone));
}

#[test]
fn a_second_signal_during_a_reload_is_not_lost() {
    let edge = edge();
    for n in 0..20 {
        let mut new = links(0..10);
        new[0]["destination"] = json!(format!("https://elsewhere.example/{n}"));
        edge.write_links(&new);
        edge.signal("HUP");
    }
    edge.wait_until("the last catalog serves", |edge| {
        edge.get(HOST, "/l0").header("location") == Some("https://elsewhere.example/19")
    });
}
