//! `clickedge catalog import`: samples of every service become catalogs that an edge takes without a bad line.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clickedge::{catalog::source, config};
use serde_json::{Value, json};

use crate::common::{
    Edge,
    cli::{Outcome, clickedge},
};

const DATA: i32 = 65;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

fn import(service: &str, name: &str, more: &[&str]) -> Outcome {
    let file = sample(name);
    clickedge(&[&["catalog", "import", "--from", service, file.to_str().unwrap()], more].concat())
}

/// The lines that an import prints, after the edge's own loader has taken all of them.
fn lines(outcome: &Outcome) -> Vec<Value> {
    let (_, report) = source::load(outcome.stdout.as_bytes(), &config::Catalog::default()).unwrap();
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!((report.bad, problems), (0, vec![]), "{}", outcome.stdout);
    let lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(report.lines, lines.len() as u64);
    lines
}

/// The link of a slashtag.
fn link(lines: &[Value], slashtag: &str) -> Value {
    lines.iter().find(|line| line["slashtag"] == slashtag).unwrap_or_else(|| panic!("no link {slashtag}")).clone()
}

#[track_caller]
fn reports(outcome: &Outcome, parts: &[&str]) {
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part:?} is not in {}", outcome.stderr);
    }
}

#[test]
fn every_sample_becomes_a_catalog_without_bad_lines() {
    // Service, sample, exit code, links, domains.
    for (service, name, code, links, domains) in [
        ("rebrandly", "rebrandly.json", 0, 2, 0),
        ("dub", "dub.json", DATA, 3, 1),
        ("dub", "dub-domains.json", 0, 0, 1),
        ("dub", "dub.csv", 0, 2, 0),
        ("shlink", "shlink.json", 0, 2, 0),
        ("shlink", "shlink-domains.json", 0, 0, 1),
        ("shlink", "shlink.csv", 0, 1, 0),
        ("yourls", "yourls-stats.json", 0, 2, 0),
        ("yourls", "yourls-table.json", 0, 2, 0),
        ("yourls", "yourls.csv", 0, 2, 0),
        ("bitly", "bitly.json", 0, 3, 0),
        ("bitly", "bitly.csv", 0, 1, 0),
        ("short-io", "short-io.json", DATA, 2, 0),
        ("short-io", "short-io.csv", 0, 2, 0),
        ("kutt", "kutt.json", 0, 3, 0),
        ("kutt", "kutt-domains.json", 0, 0, 1),
        ("csv", "table.csv", DATA, 3, 0),
    ] {
        let outcome = import(service, name, &["--domain", "go.brand.example"]);
        assert_eq!(outcome.code, code, "{name}: {}", outcome.stderr);
        let lines = lines(&outcome);
        let described = lines.iter().filter(|line| line["kind"] == "domain").count();
        assert_eq!((lines.len() - described, described), (links, domains), "{name}: {}", outcome.stdout);
    }
}

#[test]
fn links_of_dub_keep_rules_variants_cards_and_limits() {
    let outcome = import("dub", "dub.json", &[]);
    let lines = lines(&outcome);
    assert_eq!(
        lines[0],
        json!({"kind": "domain", "fullName": "go.brand.example", "root": "https://www.example.com/"})
    );
    let app = link(&lines, "app");
    assert_eq!(app["destination"], "https://www.example.com/app?utm_source=qr");
    assert_eq!(
        [&app["activeUntil"], &app["fallback"]],
        ["2030-01-01T00:00:00Z", "https://www.example.com/over/%7Bx%7D"]
    );
    assert_eq!([&app["forwardParameters"], &app["noIndex"]], [true, true]);
    assert_eq!(
        app["card"],
        json!({"title": "The app", "description": "For phones", "image": "https://cdn.example.com/card.png"})
    );
    let rules: Vec<_> = app["rules"].as_array().unwrap().iter().map(|rule| rule["when"].clone()).collect();
    let expected = [
        json!({"os": ["ios"]}),
        json!({"os": ["android"]}),
        json!({"country": ["be", "fr"]}),
        json!({"country": ["de"]}),
    ];
    assert_eq!(rules, expected);
    let weights: Vec<_> = link(&lines, "test")["variants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variant| variant["weight"].clone())
        .collect();
    assert_eq!(weights, [75, 25]);
    assert_eq!(link(&lines, "secret")["status"], "disabled", "a link that loses its password is not public");
    reports(
        &outcome,
        &[
            "records: 5 read, 1 skipped",
            "written: 3 links, 1 domain",
            "skipped element 5: the destination has the scheme `javascript:`",
            "password: 1 left behind (only hashes of argon2 can be checked",
            "comments: 1 left behind",
            "activeUntil: 1 taken",
        ],
    );
    assert!(!outcome.stderr.contains("a word"), "no password is printed");
}

#[test]
fn rules_of_shlink_keep_their_conditions() {
    let outcome = import("shlink", "shlink.json", &[]);
    let lines = lines(&outcome);
    let store = link(&lines, "12C18");
    assert_eq!([&store["activeFrom"], &store["createdAt"]], ["2017-01-20T22:00:00Z", "2016-08-21T18:34:16Z"]);
    assert_eq!(store["maxClicks"], 100);
    let when: Vec<_> = store["rules"].as_array().unwrap().iter().map(|rule| rule["when"].clone()).collect();
    let expected = [
        json!({"os": ["android"], "language": ["en-us"]}),
        json!({"query": {"foo": "bar", "hello": null, "debug": ""}}),
        json!({"network": ["192.0.2.0/24"], "country": ["fr"], "city": ["Paris"]}),
    ];
    assert_eq!(when, expected);
    reports(
        &outcome,
        &["1 left behind (the list lacks them; add `redirectRules`", "1 left behind (they have a condition that"],
    );
    let domains = import("shlink", "shlink-domains.json", &[]).stdout;
    let domain: Value = serde_json::from_str(domains.trim()).unwrap();
    assert_eq!(domain["notFound"], "https://www.example.com/404?from={domain}");
}

#[test]
fn a_link_of_each_service_keeps_what_the_catalog_has() {
    let of = |service: &str, name: &str, slashtag: &str| {
        link(&lines(&import(service, name, &["--domain", "go.brand.example", "--workspace", "w-9"])), slashtag)
    };
    assert_eq!(
        of("rebrandly", "rebrandly.json", "spring"),
        json!({
            "id": "a1b2c3d4e5f64a0b8c9d0e1f2a3b4c5d", "slashtag": "spring",
            "destination": "https://www.example.com/sale?utm_source=print", "createdAt": "2023-03-01T09:30:00.000Z",
            "domain": {"id": "d0d1", "fullName": "go.brand.example"}, "status": "active", "forwardParameters": true,
            "creator": {"id": "u1", "fullName": "Sample Person"}, "workspace": {"id": "w1", "name": "Marketing"},
            "tags": [{"id": "t1", "name": "Print"}],
            "scripts": [{"id": "s1", "name": "Pixel", "uri": "https://static.example.com/p.js"}],
        })
    );
    let yourls = of("yourls", "yourls-table.json", "ozh");
    assert_eq!(yourls["domain"]["fullName"], "go.brand.example");
    assert_eq!([&yourls["createdAt"], &yourls["workspace"]["id"]], ["2014-02-10T16:11:21Z", "w-9"]);
    assert!(yourls.get("ip").is_none());
    let bitly = of("bitly", "bitly.json", "spring");
    assert_eq!([&bitly["id"], &bitly["creator"]["id"]], ["b.brand.example/spring", "sample"]);
    assert_eq!(of("bitly", "bitly.json", "old")["destination"], "https://www.example.com/old");
    let split = of("short-io", "short-io.json", "split");
    assert_eq!(split["destination"], "https://www.example.com/a?x=1&utm_source=news");
    assert_eq!([&split["maxClicks"], &split["variants"][1]["weight"]], [10, 30]);
    assert_eq!([&split["status"], &split["activeUntil"]], ["disabled", "2030-03-17T17:46:40Z"]);
    assert_eq!(of("short-io", "short-io.json", "mobile")["httpStatus"], 307);
    let kutt = of("kutt", "kutt.json", "abc");
    assert_eq!([&kutt["status"], &kutt["domain"]["fullName"]], ["disabled", "kutt.brand.example"]);
    assert_eq!(of("kutt", "kutt.json", "spring")["activeUntil"], "2031-05-02T20:34:16Z");
    let hashed = of("csv", "table.csv", "hashed");
    assert!(hashed["passwordHash"].as_str().unwrap().starts_with("$argon2id$") && hashed.get("status").is_none());
    let spring = of("csv", "table.csv", "spring");
    assert_eq!([&spring["httpStatus"], &spring["maxClicks"]], [301, 5]);
    assert_eq!(spring["workspace"]["id"], "w-7", "its own workspace comes first");
}

#[test]
fn an_import_answers_at_the_edge() {
    let edge = Edge::builder().start();
    let catalog = edge.dir().join("links.ndjson");
    import("bitly", "bitly.json", &["-o", catalog.to_str().unwrap()]);
    edge.signal("HUP");
    edge.wait_until("reloaded", |edge| edge.get("b.brand.example", "/spring").status == 302);
    assert_eq!(
        edge.get("b.brand.example", "/spring").header("location"),
        Some("https://www.example.com/spring?utm_source=bitly")
    );
}

#[test]
fn compressed_exports_utf_16_and_standard_input_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let expected = import("bitly", "bitly.csv", &[]).stdout;
    let text = fs::read_to_string(sample("bitly.csv")).unwrap();
    let zst = dir.path().join("export");
    fs::write(&zst, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    let utf_16 = dir.path().join("export.txt");
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(&utf_16, units).unwrap();
    for file in [&zst, &utf_16] {
        let outcome = clickedge(&["catalog", "import", "--from", "bitly", file.to_str().unwrap()]);
        assert_eq!((outcome.code, &outcome.stdout), (0, &expected), "{}", outcome.stderr);
    }
    let mut process = Command::new(env!("CARGO_BIN_EXE_clickedge"))
        .args(["catalog", "import", "--from", "bitly", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap(), expected);
}

#[test]
fn what_cannot_be_imported_is_an_error_and_the_catalog_stays() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = dir.path().join("links.ndjson");
    fs::write(&catalog, "what was there\n").unwrap();
    let export = dir.path().join("export");
    for (content, code, message) in [
        (&b"[{\"id\": 1,"[..], DATA, "it is not valid JSON: EOF"),
        (b"<!doctype html>", DATA, "it is HTML or XML"),
        (b"name,age\nx,1\n", DATA, "names no column for the destination"),
        (b"\x1f\x8b\x08\0", DATA, "the gzip stream does not end"),
        (b"PK\x03\x04", DATA, "a ZIP archive or a spreadsheet"),
    ] {
        fs::write(&export, content).unwrap();
        let arguments = ["--from", "csv", export.to_str().unwrap(), "-o", catalog.to_str().unwrap()];
        clickedge(&[&["catalog", "import"][..], &arguments].concat()).fails(code, message);
    }
    import("csv", "no-such-file", &[]).fails(66, "no-such-file");
    import("nowhere", "table.csv", &[]).fails(64, "nowhere");
    assert_eq!(fs::read_to_string(&catalog).unwrap(), "what was there\n");
    let outcome = import("kutt", "kutt.json", &["-o", catalog.to_str().unwrap()]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&catalog).unwrap().lines().count(), 3);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left behind");
    let denied = import("kutt", "kutt.json", &["-o", dir.path().join("missing/x").to_str().unwrap()]);
    denied.fails(74, "cannot write");
}

#[test]
fn records_are_skipped_with_their_place_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let export = dir.path().join("export.ndjson");
    let record = |slashtag: &str, url: &str| json!({"keyword": slashtag, "url": url}).to_string();
    let lines = [
        record("a", "https://www.example.com/a"),
        "{broken".into(),
        record("a", "https://www.example.com/b"),
        record("b\u{1}", "https://www.example.com/c"),
        record("c", "https://user:hunter2@www.example.com/"),
        "7".into(),
    ];
    fs::write(&export, lines.join("\n")).unwrap();
    let arguments = ["--from", "yourls", export.to_str().unwrap(), "--domain", "go.brand.example"];
    let outcome = clickedge(&[&["catalog", "import"][..], &arguments].concat());
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (DATA, 1));
    reports(
        &outcome,
        &[
            "records: 6 read, 5 skipped",
            "skipped line 2: it is not valid JSON",
            "skipped line 3: an earlier record has the same address, go.brand.example/a",
            "skipped line 4: `slashtag`",
            "skipped line 5: the destination at www.example.com holds a user name or password",
            "skipped line 6: it is no JSON object",
        ],
    );
    assert!(!outcome.stderr.contains("hunter2"));
    let arguments = ["catalog", "import", "--from", "yourls", export.to_str().unwrap()];
    reports(&clickedge(&arguments), &["skipped line 1: it has no domain; name one with --domain"]);
}
