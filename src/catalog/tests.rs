use std::{collections::HashMap, fs};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::link::{Case, Forward, key::Host};

fn line(slashtag: &str, destination: &str) -> Value {
    json!({"id": format!("id-{slashtag}"), "slashtag": slashtag, "destination": destination,
           "domain": {"fullName": "go.brand.com"}})
}

fn load(lines: &[Value]) -> (Catalog, Report) {
    load_with(lines, &config::Catalog::default())
}

fn load_with(lines: &[Value], config: &config::Catalog) -> (Catalog, Report) {
    let text = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    source::load(text.as_bytes(), config).unwrap()
}

fn host(name: &str) -> Host {
    Host::parse(name.as_bytes()).unwrap()
}

fn found<'a>(catalog: &'a Catalog, name: &str, path: &str) -> Option<Link<'a>> {
    match catalog.find(&host(name), path.as_bytes()) {
        Ok(Lookup::Found(link)) => Some(link),
        _ => None,
    }
}

/// The reason for which a line is refused.
fn reason(link: Value) -> String {
    let (catalog, report) = load(&[link]);
    assert_eq!((catalog.links(), report.lines, report.bad), (0, 1, 1));
    report.problems[0].to_string()
}

fn with(mut link: Value, field: &str, value: Value) -> Value {
    link[field] = value;
    link
}

#[test]
fn a_link_is_found_with_everything_that_its_event_needs() {
    let full = json!({
        "id": "l-1", "slashtag": "Spring", "title": "ignored", "clicks": 7, "integrated": true,
        "destination": "https://www.example.com/a b?x=1#top", "createdAt": "2026-03-01T09:30:00.000Z",
        "domain": {"id": "d-1", "fullName": "Go.Brand.com", "active": true},
        "creator": {"id": "u-1", "fullName": "Ana \"A\" Lima", "avatarUrl": null},
        "workspace": {"id": "w-1", "name": "Marketing"},
        "tags": [{"id": "t-2", "name": "Two"}, {"id": "t-1", "name": "One"}],
        "scripts": [{"id": "s-1", "name": "Pixel", "value": "<script>secret()</script>"}],
        "forwardParameters": true, "status": "active", "httpStatus": 308,
    });
    let (catalog, report) = load(&[full]);
    assert_eq!((report.lines, report.bad), (1, 0));
    let link = found(&catalog, "go.brand.com", "/Spring").unwrap();
    assert_eq!(link.destination(), "https://www.example.com/a%20b?x=1#top");
    assert_eq!(link.destination_bytes(), link.destination().as_bytes());
    assert_eq!(
        [link.id(), link.slashtag(), link.created_at()],
        [&b"l-1"[..], b"Spring", b"2026-03-01T09:30:00.000Z"]
    );
    assert_eq!([link.workspace(), link.host()], ["w-1", "go.brand.com"]);
    assert_eq!((link.status(), link.state(), link.forward()), (308, State::Active, Forward::Incoming));
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(link.domain_json()), json!({"id": "d-1", "raw": "go.brand.com", "zone": "com.brand.go"}));
    assert_eq!(
        json(link.creator_json()),
        json!({"id": "u-1", "name": "Ana \"A\" Lima", "workspace": {"id": "w-1", "name": "Marketing"}})
    );
    assert_eq!(json(link.tags_json()), json!({"t-1": {"value": "One"}, "t-2": {"value": "Two"}}));
    assert_eq!(json(link.scripts_json()), json!({"s-1": {"value": "Pixel"}}), "never a script's body");
}

#[test]
fn a_link_without_optional_parts_has_none() {
    let (catalog, _) = load(&[with(line("bare", "http://a.example"), "tags", Value::Null)]);
    let link = found(&catalog, "go.brand.com", "/bare").unwrap();
    assert_eq!(link.destination(), "http://a.example/");
    assert_eq!([link.creator_json(), link.tags_json(), link.scripts_json(), link.workspace()], [""; 4]);
    assert!(link.created_at().is_empty());
    assert_eq!((link.status(), link.state(), link.forward()), (302, State::Active, Forward::Off));
}

#[test]
fn bad_lines_are_skipped_and_reported_with_number_and_reason() {
    let good = line("good", "https://a.example/");
    assert!(reason(with(good.clone(), "destination", json!("ftp://a.example/"))).contains("not http or https"));
    assert!(reason(with(good.clone(), "destination", json!("javascript:alert(1)"))).contains("not http or https"));
    assert!(reason(with(good.clone(), "destination", json!("/relative"))).contains("relative URL"));
    assert!(reason(with(good.clone(), "destination", json!("https://"))).contains("empty host"));
    assert!(
        reason(with(good.clone(), "destination", json!("https://a.example/\r\nX: y"))).contains("control character")
    );
    let secret = reason(with(good.clone(), "destination", json!("https://user:hunter2@a.example/")));
    assert!(secret.contains("user name or password") && !secret.contains("hunter2"), "{secret}");
    assert!(reason(with(good.clone(), "httpStatus", json!(200))).contains("301, 302, 307 or 308"));
    assert!(reason(with(good.clone(), "createdAt", json!("yesterday"))).contains("not a time"));
    assert!(reason(with(good.clone(), "slashtag", json!("a\u{1}b"))).contains("control character"));
    assert!(reason(with(good.clone(), "domain", json!({"fullName": "not a host"}))).contains("domain.fullName"));
    assert!(reason(with(good.clone(), "id", json!(""))).contains("`id` is empty"));
    assert!(reason(json!({"slashtag": "x"})).starts_with("line 1: missing field"));

    let (catalog, report) = load(&[good.clone(), json!("no link"), line("other", "https://b.example/"), good]);
    assert_eq!((catalog.links(), report.lines, report.bad), (2, 4, 2));
    assert_eq!(report.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 4]);
    assert!(report.problems[1].reason.contains("earlier line"));
    assert_eq!(found(&catalog, "go.brand.com", "/good").unwrap().destination(), "https://a.example/");
}

#[test]
fn an_endless_line_is_skipped_and_the_next_one_is_read() {
    let text = format!("{}\n\n{}", "x".repeat(source::MAX_LINE + 5), line("good", "https://a.example/"));
    let (catalog, report) = source::load(text.as_bytes(), &config::Catalog::default()).unwrap();
    assert_eq!((catalog.links(), report.lines, report.bad), (1, 2, 1));
}

#[test]
fn the_case_policy_is_the_domains() {
    let mut config = config::Catalog::default();
    config.domains.insert("go.brand.com".into(), config::Domain { case: Case::Insensitive });
    let (catalog, _) = load_with(&[line("Été", "https://a.example/")], &config);
    for path in ["/%C3%89t%C3%A9", "/été", "/ÉTÉ/"] {
        assert_eq!(found(&catalog, "go.brand.com", path).unwrap().slashtag(), "Été".as_bytes(), "{path}");
    }
    let (catalog, _) = load(&[line("Spring", "https://a.example/")]);
    assert!(found(&catalog, "go.brand.com", "/spring").is_none());
}

#[test]
fn one_slashtag_on_two_domains_is_two_links() {
    let other = with(line("x", "https://b.example/"), "domain", json!({"fullName": "b\u{fc}cher.example"}));
    let (catalog, _) = load(&[line("x", "https://a.example/"), other]);
    assert_eq!(found(&catalog, "go.brand.com", "/x").unwrap().destination(), "https://a.example/");
    assert_eq!(found(&catalog, "xn--bcher-kva.example", "/x").unwrap().destination(), "https://b.example/");
    assert!(matches!(catalog.find(&host("c.example"), b"/x"), Ok(Lookup::NotBranded)));
    assert_eq!(catalog.domains(), 2);
}

#[test]
fn a_file_with_too_many_bad_lines_or_far_fewer_links_is_refused_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.ndjson");
    let write = |good: usize, bad: usize| {
        let lines = (0..good).map(|n| line(&n.to_string(), "https://a.example/").to_string());
        fs::write(&file, lines.chain((0..bad).map(|_| "broken".into())).collect::<Vec<_>>().join("\n")).unwrap();
    };
    let config = config::Catalog { file: file.clone(), max_shrink_ratio: 0.5, ..config::Catalog::default() };
    write(99, 1);
    let store = CatalogStore::of(Catalog::empty(), &config);
    let reload = || {
        store.read().map(|(catalog, report)| {
            store.publish(catalog);
            report
        })
    };
    let report = reload().unwrap();
    assert_eq!((store.load().links(), report.bad), (99, 1));
    write(98, 2);
    let refused = reload().unwrap_err().to_string();
    assert!(refused.contains("2 of 100 lines are bad") && refused.contains("line 99"), "{refused}");
    write(49, 0);
    assert!(matches!(reload(), Err(LoadError::Shrunk { old: 99, new: 49, .. })));
    fs::remove_file(&file).unwrap();
    assert!(matches!(reload(), Err(LoadError::Read { .. })));
    assert_eq!(store.load().links(), 99);
    write(50, 0);
    reload().unwrap();
    assert_eq!(store.load().links(), 50);
}

proptest! {
    /// The compiled index against the plainest one there is.
    #[test]
    fn the_catalog_finds_what_a_map_finds(
        links in proptest::collection::vec(("[a-c]{1,3}", "[a-z]{0,8}", 0_u8..3), 0..60),
        asked in proptest::collection::vec(("[a-c]{1,3}", 0_u8..3), 0..60),
    ) {
        let name = |domain: u8| format!("d{domain}.example");
        let mut model = HashMap::new();
        let mut lines = Vec::new();
        for (slashtag, path, domain) in &links {
            let destination = format!("https://a.example/{path}");
            model.entry((slashtag.clone(), *domain)).or_insert_with(|| destination.clone());
            lines.push(with(line(slashtag, &destination), "domain", json!({"fullName": name(*domain)})));
        }
        let (catalog, _) = load(&lines);
        prop_assert_eq!(catalog.links(), model.len());
        for (slashtag, domain) in asked.into_iter().chain(model.keys().cloned().collect::<Vec<_>>()) {
            let link = found(&catalog, &name(domain), &format!("/{slashtag}"));
            prop_assert_eq!(link.map(|link| link.destination().to_owned()), model.get(&(slashtag, domain)).cloned());
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        source::load(&bytes[..], &config::Catalog::default()).unwrap();
    }
}
