//! `conf/samples/`: a small feed as the edge delivers it, with events of every kind, a manifest and a rollup.
//!
//! After a wanted change of the event, the keys, the manifest or the rollup: `UPDATE_SAMPLES=1 cargo test --features
//! full --test integration loaders::samples`. It makes the samples again, and the examples of the manual that quote
//! them.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use clickedge::object::digest::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{MANUAL, SCHEMA, feed::keys_below, queries::Client, tools::file};
use crate::common::{CHROME, Edge, cli, clock::Clock, events_below, events_of, link};

const SAMPLES: &str = "conf/samples";
/// 2026-11-23T09:15:00Z, when the samples are clicked.
const CLICKED: i64 = 1_795_425_300;

/// Path and headers of a click of each kind.
const CLICKS: [(&str, &str); 14] = [
    (
        "GET /spring?utm_source=newsletter&utm_term=poster",
        "X-Forwarded-For: 203.0.113.7\r\nReferer: https://www.facebook.com/\r\nAccept-Language: it-IT,it;q=0.9",
    ),
    (
        "GET /spring?utm_source=newsletter",
        "X-Forwarded-For: 198.51.100.9\r\nAccept-Language: de\r\nSec-CH-UA-Platform: \"Windows\"\r\n\
         Sec-CH-UA-Platform-Version: \"15.0.0\"",
    ),
    ("GET /spring?utm_source=poster", "Referer: https://www.google.com/\r\nAccept-Language: en"),
    (
        "GET /spring",
        "X-Forwarded-For: 2001:db8::1\r\nReferer: android-app://com.google.android.gm\r\nAccept-Language: pt",
    ),
    (
        "GET /spring?gclid=x1",
        "X-Forwarded-For: 203.0.113.7\r\nReferer: https://www.google.com/\r\nAccept-Language: en",
    ),
    ("GET /spring?Ref=1&ref=2&=empty&flag", "X-Forwarded-For: 203.0.113.8\r\nAccept-Language: en"),
    ("GET /spring", "X-Forwarded-For: 203.0.113.9\r\nSec-GPC: 1\r\nAccept-Language: fr"),
    ("GET /bare", "X-Forwarded-For: 203.0.113.9\r\nDNT: 1\r\nAccept-Language: fr"),
    ("GET /spring", "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
    ("GET /spring", "User-Agent: curl/8.5.0"),
    ("HEAD /spring", "Accept-Language: en"),
    ("GET /spring", "Sec-Purpose: prefetch\r\nAccept-Language: en"),
    ("GET /spring?id=1'+OR+'1'='1&q=%3Cscript%3E", "X-Forwarded-For: 203.0.113.66\r\nAccept-Language: en"),
    (
        "GET /spring?utm_source=qr",
        "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
         Version/17.5.1 Mobile/15E148 Safari/604.1\r\nX-Forwarded-For: 198.51.100.20\r\nAccept-Language: ja",
    ),
];

/// What no click of the samples has.
const RESERVED: [&str; 3] = ["route.rule", "route.variant", "client.agent.bot.verified"];

/// The events of a feed as it is delivered into a folder, and with `to` the whole feed, which takes a minute: manifest
/// and rollup follow when the last object of an hour has waited that long. `None` without `libfaketime`.
fn deliver(to: Option<&Path>) -> Option<Vec<Value>> {
    let bare = serde_json::json!({"id": "bare", "slashtag": "bare", "destination": "https://www.example.com/bare",
        "domain": {"fullName": "go.brand.com"}, "workspace": {"id": "w-1"}});
    let builder = Edge::builder().link(bare).link(link("go.brand.com", "unused", "https://www.example.com/"));
    let clock = Clock::new(builder.dir())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    // An hour that began before the counts did has no rollup.
    clock.set(CLICKED - 3_600 - now);
    // Without the notes of an earlier process, the clock is trusted as it is.
    let at = |time: i64, edge: Edge| {
        let sessions = edge.rings().join("sessions");
        let stopped = edge.stop();
        fs::remove_file(stopped.dir().join("spool/time")).unwrap();
        let _ = fs::remove_file(sessions);
        clock.set(time - now);
        clock.restart(stopped)
    };
    let feed = builder.bucket("clicks");
    let section = format!(
        "[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[enrich]\nworkers = 1\ngeoip_file = '{}'\n\
         [[feeds]]\nname = \"clicks\"\nworkspaces = [\"*\"]\nmax_age_secs = 3600\nrollups = true\n\
         sink.dir.path = '{}'",
        file("conf/demo/geoip.mmdb"),
        feed.display()
    );
    let mut edge = clock.start(builder.section(&section));
    edge = at(CLICKED, edge);
    let mut client = Client::new(edge.address);
    for (line, headers) in CLICKS {
        let agent = if headers.contains("User-Agent") { String::new() } else { format!("User-Agent: {CHROME}\r\n") };
        let status = client.send(&format!(
            "{line} HTTP/1.1\r\nHost: go.brand.com\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n{agent}{headers}\r\n\r\n"
        ));
        assert_eq!(status, 302, "{line}");
    }
    edge.wait_until("the clicks are journaled", |edge| {
        edge.metric("clickedge_clicks_journaled_total") == CLICKS.len() as i64
    });
    if let Some(to) = to {
        // A stop finishes the object.
        edge = at(CLICKED + 3 * 3_600, edge);
        let until = Instant::now() + Duration::from_secs(180);
        let is_there = |start: &str| feed.exists() && keys_below(&feed).iter().any(|key| key.starts_with(start));
        while !["dt=", "_manifest/", "_rollups/"].into_iter().all(is_there) {
            assert!(Instant::now() < until, "{}", edge.log());
            std::thread::sleep(Duration::from_millis(200));
        }
        for key in keys_below(&feed) {
            fs::create_dir_all(to.join(&key).parent().unwrap()).unwrap();
            fs::copy(feed.join(&key), to.join(&key)).unwrap();
        }
    }
    let stopped = edge.stop();
    let partitions = fs::read_dir(stopped.dir().join("bucket/clicks")).unwrap().map(|entry| entry.unwrap().path());
    let partitions = partitions.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("dt="));
    Some(partitions.flat_map(|path| events_below(&path)).collect())
}

/// The one object, manifest and rollup of a feed: key and text.
fn parts(feed: &Path) -> [(String, String); 3] {
    let keys = keys_below(feed);
    ["dt=", "_manifest/", "_rollups/"].map(|start| {
        let of_kind: Vec<_> = keys.iter().filter(|key| key.starts_with(start)).collect();
        let [key] = of_kind[..] else { panic!("one of {start}: {keys:?}") };
        let bytes = fs::read(feed.join(key)).unwrap();
        let text = if bytes.starts_with(b"\x1f\x8b") { unzip(&bytes) } else { String::from_utf8(bytes).unwrap() };
        (key.clone(), text)
    })
}

fn unzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// The names of all fields, from the outermost on.
fn fields(value: &Value, place: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let place = format!("{place}.{name}").trim_start_matches('.').to_owned();
                fields(inner, &place, names);
                names.insert(place);
            }
        }
        Value::Array(values) => values.iter().for_each(|inner| fields(inner, place, names)),
        _ => {}
    }
}

/// The same of a schema.
fn fields_of_schema(whole: &Value, schema: &Value, place: &str, names: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        fields_of_schema(whole, whole.pointer(reference.trim_start_matches('#')).unwrap(), place, names);
    }
    if let Some(items) = schema.get("items") {
        fields_of_schema(whole, items, place, names);
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{place}.{name}").trim_start_matches('.').to_owned();
        fields_of_schema(whole, inner, &place, names);
        names.insert(place);
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Events without what differs between two runs.
fn without_ids_and_times(mut events: Vec<Value>) -> Vec<Value> {
    for event in &mut events {
        for place in ["/id", "/timestamp", "/client/session/started"] {
            if let Some(value) = event.pointer_mut(place) {
                *value = Value::Null;
            }
        }
    }
    events
}

#[test]
fn the_samples_are_what_the_edge_delivers() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLES);
    let fresh = tempfile::TempDir::new().unwrap();
    let update_them = std::env::var_os("UPDATE_SAMPLES").is_some();
    let Some(events) = deliver(update_them.then(|| fresh.path())) else { return };
    if update_them {
        update(&samples, fresh.path());
    }
    let of_samples = lines(&fs::read_to_string(samples.join("events.ndjson")).unwrap());
    assert_eq!(without_ids_and_times(events), without_ids_and_times(of_samples), "see this file's header");
}

fn update(samples: &Path, fresh: &Path) {
    let _ = fs::remove_dir_all(samples);
    for key in keys_below(fresh) {
        let to = samples.join("feed").join(&key);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fresh.join(&key), to).unwrap();
    }
    let [(_, events), (_, manifest), (_, rollup)] = parts(fresh);
    fs::write(samples.join("events.ndjson"), &events).unwrap();
    let mut manual = fs::read_to_string(file(MANUAL)).unwrap();
    for (name, text) in [("event", events), ("manifest", manifest), ("rollup", rollup)] {
        let line = &lines(&text)[0];
        let text = if name == "rollup" { line.to_string() } else { serde_json::to_string_pretty(line).unwrap() };
        let (start, end) = block(&manual, name);
        manual.replace_range(start..end, &format!("{text}\n"));
    }
    fs::write(file(MANUAL), manual).unwrap();
}

/// Where the manual quotes a sample.
fn block(manual: &str, name: &str) -> (usize, usize) {
    let fence = format!("```json sample {name}\n");
    let start = manual.find(&fence).unwrap_or_else(|| panic!("the manual quotes no {name}")) + fence.len();
    (start, start + manual[start..].find("```").unwrap())
}

#[test]
fn the_samples_keep_to_the_schemas_and_the_manual_quotes_them() {
    let feed = Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLES).join("feed");
    let parts = parts(&feed);
    let [(key, events), (_, manifest), (_, rollup)] = &parts;
    let manual = fs::read_to_string(file(MANUAL)).unwrap();
    let schemas = [SCHEMA, "conf/manifest.schema.json", "conf/rollup.schema.json"];
    for (((_, text), path), name) in parts.iter().zip(schemas).zip(["event", "manifest", "rollup"]) {
        let schema: Value = serde_json::from_str(&fs::read_to_string(file(path)).unwrap()).unwrap();
        let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        for line in lines(text) {
            let problems: Vec<_> = schema.iter_errors(&line).map(|problem| problem.to_string()).collect();
            assert!(problems.is_empty(), "{path}: {problems:?} in {line}");
        }
        let (start, end) = block(&manual, name);
        let quoted: Value = serde_json::from_str(&manual[start..end]).unwrap();
        assert!(lines(text).contains(&quoted), "the manual's {name} is in no sample: {quoted}");
    }
    assert_eq!(&fs::read_to_string(file("conf/samples/events.ndjson")).unwrap(), events);
    let object = fs::read(feed.join(key)).unwrap();
    let manifest = &lines(manifest)[0];
    let listed = &manifest["objects"][0];
    assert_eq!(listed["key"].as_str(), Some(key.as_str()));
    assert_eq!(listed["sha256"].as_str(), Some(hex(&Sha256::digest(&object)).as_str()));
    assert_eq!(listed["events"].as_u64(), Some(CLICKS.len() as u64));
    let of_domain: Vec<_> = lines(rollup).into_iter().filter(|line| line["kind"] == "domain").collect();
    let bots = events_of(&object).iter().filter(|event| event["client"]["agent"]["type"] == "bot").count();
    assert_eq!(of_domain.iter().map(|line| line["clicks"].as_u64().unwrap()).sum::<u64>(), CLICKS.len() as u64);
    assert_eq!(of_domain.iter().map(|line| line["bots"].as_u64().unwrap()).sum::<u64>(), bots as u64);
    let verified = cli::clickedge(&["feed", "verify", feed.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn the_samples_have_every_field_of_the_schema() {
    let (mut named, mut there) = (BTreeSet::new(), BTreeSet::new());
    let schema: Value = serde_json::from_str(&fs::read_to_string(file(SCHEMA)).unwrap()).unwrap();
    fields_of_schema(&schema, &schema, "", &mut named);
    for event in lines(&fs::read_to_string(file("conf/samples/events.ndjson")).unwrap()) {
        fields(&event, "", &mut there);
    }
    there.extend(RESERVED.map(str::to_owned));
    assert_eq!(there, named);
}
