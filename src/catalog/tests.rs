use std::{collections::HashMap, fs, fs::File, path::Path, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{compile::Compiler, snapshot::file::NewFile, *};
use crate::{
    link::{Case, Forward, key::Host},
    runtime::{Class, Classified, clock},
};

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
        Ok(Lookup::Found(link, _)) => Some(link),
        _ => None,
    }
}

/// A store that has loaded its file.
fn open(config: &config::Catalog) -> (CatalogStore, Report) {
    let store = CatalogStore::of(Catalog::empty(), config);
    let report = reload(&store).unwrap();
    (store, report)
}

fn reload(store: &CatalogStore) -> Result<Report, LoadError> {
    let (catalog, report) = store.read()?;
    store.publish(catalog);
    Ok(report)
}

/// The reason why a line is rejected.
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
        [link.id(), link.slashtag(), &link.created_at().text()],
        [&b"l-1"[..], b"Spring", b"2026-03-01T09:30:00.000Z"]
    );
    assert_eq!([link.workspace(), link.host()], ["w-1", "go.brand.com"]);
    assert_eq!((link.status(), link.state(), link.forward()), (308, State::Active, Forward::Incoming));
    let json = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
    assert_eq!(
        json(link.domain_json().as_bytes()),
        json!({"id": "d-1", "raw": "go.brand.com", "zone": "com.brand.go"})
    );
    assert_eq!(
        json(link.creator_json()),
        json!({"id": "u-1", "name": "Ana \"A\" Lima", "workspace": {"id": "w-1", "name": "Marketing"}})
    );
    assert_eq!(json(link.tags_json()), json!([{"id": "t-1", "name": "One"}, {"id": "t-2", "name": "Two"}]));
    assert_eq!(json(link.scripts_json()), json!([{"id": "s-1", "name": "Pixel"}]), "never a script's body");
}

#[test]
fn a_link_without_optional_parts_has_none() {
    let (catalog, _) = load(&[with(line("bare", "http://a.example"), "tags", Value::Null)]);
    let link = found(&catalog, "go.brand.com", "/bare").unwrap();
    assert_eq!(link.destination(), "http://a.example/");
    let texts = [link.creator_json(), link.tags_json(), link.scripts_json(), link.workspace().as_bytes()];
    assert_eq!(texts, [b""; 4]);
    assert!(link.created_at().text().is_empty());
    assert_eq!((link.status(), link.state(), link.forward()), (302, State::Active, Forward::Off));
}

#[test]
fn bad_lines_are_skipped_and_reported_with_number_and_reason() {
    let good = line("good", "https://a.example/");
    assert!(reason(with(good.clone(), "destination", json!("ftp://a.example/"))).contains("not http or https"));
    assert!(reason(with(good.clone(), "destination", json!("javascript:alert(1)"))).contains("runs code"));
    assert!(reason(with(good.clone(), "destination", json!("/relative"))).contains("relative URL"));
    assert!(reason(with(good.clone(), "destination", json!("https://"))).contains("empty host"));
    assert!(
        reason(with(good.clone(), "destination", json!("https://a.example/\r\nX: y"))).contains("control character")
    );
    let secret = reason(with(good.clone(), "destination", json!("https://user:hunter2@a.example/")));
    assert!(secret.contains("user name or password") && !secret.contains("hunter2"), "{secret}");
    assert!(reason(with(good.clone(), "httpStatus", json!(200))).contains("301, 302, 303, 307 or 308"));
    assert!(reason(with(good.clone(), "slashtag", json!("a\u{1}b"))).contains("control character"));
    assert!(reason(with(good.clone(), "domain", json!({"fullName": "not a host"}))).contains("domain.fullName"));
    assert!(reason(with(good.clone(), "id", json!(""))).contains("`id` is empty"));
    assert_eq!(reason(json!({"slashtag": "x"})), "line 1: the field `id` is missing");

    let (catalog, report) = load(&[good.clone(), json!("no link"), line("other", "https://b.example/"), good]);
    assert_eq!((catalog.links(), report.lines, report.bad), (2, 4, 2));
    assert_eq!(report.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 4]);
    assert!(report.problems[1].reason.contains("earlier line"));
    assert_eq!(found(&catalog, "go.brand.com", "/good").unwrap().destination(), "https://a.example/");
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
    let text = format!("{}\n\n{}", "x".repeat(source::MAX_LINE + 5), line("good", "https://a.example/"));
    let (catalog, report) = source::load(text.as_bytes(), &config::Catalog::default()).unwrap();
    assert_eq!((catalog.links(), report.lines, report.bad), (1, 2, 1));
}

#[test]
fn each_domain_has_its_case_policy() {
    let mut config = config::Catalog::default();
    config
        .domains
        .insert("go.brand.com".into(), config::Domain { case: Case::Insensitive, ..config::Domain::default() });
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
fn a_file_with_too_many_bad_lines_or_far_fewer_links_is_rejected_and_the_current_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.ndjson");
    let write = |good: usize, bad: usize| {
        let lines = (0..good).map(|n| format!("{}\n", line(&n.to_string(), "https://a.example/")));
        fs::write(&file, lines.chain((0..bad).map(|_| "broken\n".into())).collect::<String>()).unwrap();
    };
    let config = config::Catalog { file: file.clone(), ..config::Catalog::default() };
    write(99, 1);
    let (store, report) = open(&config);
    assert_eq!((store.load().links(), report.bad), (99, 1));
    write(98, 2);
    let error = reload(&store).unwrap_err();
    assert_eq!(error.class(), Class::Data);
    let error = error.to_string();
    assert!(error.contains("2 of 100 lines are bad") && error.contains("line 99"), "{error}");
    write(88, 0);
    assert!(matches!(reload(&store), Err(LoadError::Shrunk { largest: 99, new: 88, .. })));
    fs::remove_file(&file).unwrap();
    let error = reload(&store).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }) && error.class() == Class::NoInput);
    assert_eq!(store.load().links(), 99);
    write(90, 0);
    reload(&store).unwrap();
    assert_eq!(store.load().links(), 90);
    write(85, 0);
    let error = reload(&store).unwrap_err().to_string();
    for part in ["it has 85 links", "the last 24 hours had 99", "catalog.max_shrink_ratio = 0.1", "reload --accept"] {
        assert!(error.contains(part), "{error}");
    }
    let (catalog, _) = store.read_at(clock::monotonic() + Duration::from_hours(25), &config).unwrap();
    store.publish(catalog);
    assert_eq!(store.load().links(), 85, "a day later only the one before counts");
}

#[test]
fn a_file_that_has_more_than_doubled_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.ndjson");
    let write = |links: usize| {
        let lines = (0..links).map(|n| format!("{}\n", line(&n.to_string(), "https://a.example/")));
        fs::write(&file, lines.collect::<String>()).unwrap();
    };
    let config = config::Catalog { file: file.clone(), ..config::Catalog::default() };
    write(1);
    let (store, _) = open(&config);
    write(1_000);
    reload(&store).unwrap();
    write(2_001);
    let error = reload(&store).unwrap_err();
    assert_eq!(error.class(), Class::Data);
    let error = error.to_string();
    for part in ["it has 2001 links", "the current one has 1000", "catalog.max_growth_ratio = 1 ", "reload --accept"]
    {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(store.load().links(), 1_000);
    write(2_000);
    reload(&store).unwrap();
}

/// A snapshot file of these links, as it is built.
fn build(file: &Path, generation: u64, links: &[Value]) {
    let config = config::Catalog::default();
    let text = links.iter().fold(String::new(), |text, link| text + &link.to_string() + "\n");
    let mut compiler = Compiler::new(&config);
    source::Links::new(&mut compiler).add_all(text.as_bytes(), 1, |_| ()).unwrap();
    let mut file = NewFile::create(file).unwrap();
    let (header, ..) = compiler.write(file.sections().unwrap(), snapshot::header::SIZE as u64).unwrap();
    file.finish(header, Position { generation, ..Position::default() }, 1).unwrap();
}

#[test]
fn snapshots_are_compared_by_generation_and_catalog_files_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links");
    let leads_to =
        |store: &CatalogStore| found(&store.load(), "go.brand.com", "/a").unwrap().destination().to_owned();
    build(&file, 5, &[line("a", "https://five.example/")]);
    let (store, _) = open(&config::Catalog { file: file.clone(), ..config::Catalog::default() });
    for older in [4, 0] {
        build(&file, older, &[line("a", "https://older.example/")]);
        let error = reload(&store).unwrap_err();
        assert!(matches!(error, LoadError::Older { new, old: 5, .. } if new == older), "{error}");
    }
    assert_eq!(leads_to(&store), "https://five.example/");
    fs::write(&file, line("a", "https://file.example/").to_string()).unwrap();
    reload(&store).unwrap();
    assert_eq!(leads_to(&store), "https://file.example/");
    build(&file, 1, &[line("a", "https://one.example/")]);
    reload(&store).unwrap();
    assert_eq!((leads_to(&store).as_str(), store.position().generation), ("https://one.example/", 1));
}

#[test]
fn a_full_disk_is_reported_with_the_file_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (file, state_dir) = (dir.path().join("links.snapshot"), dir.path().join("state"));
    build(&file, 5, &[line("a", "https://a.example/")]);
    let (header, full) = (snapshot::file::header(&file).unwrap(), Path::new("/dev/full"));
    let (mut from, to) = (File::open(&file).unwrap(), File::options().write(true).open(full).unwrap());
    std::io::Seek::seek(&mut from, std::io::SeekFrom::Start(snapshot::header::SIZE as u64)).unwrap();
    let error = snapshot::file::write_copy(&mut from, &to, &header, [&file, full]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot write /dev/full") && text.contains("free space"), "{text}");
    assert_eq!((error.class(), text.contains("links.snapshot")), (Class::Io, false), "{text}");
    let config = config::Catalog { file, state_dir: Some(state_dir.clone()), ..config::Catalog::default() };
    fs::write(&state_dir, "").unwrap();
    let text = source::load_file(&config).err().unwrap().to_string();
    assert!(text.contains("cannot write") && !text.contains("links.snapshot"), "{text}");
}

fn load_bytes(bytes: &[u8]) -> Result<(Catalog, Report), LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let config = config::Catalog { file: dir.path().join("links.ndjson"), ..config::Catalog::default() };
    fs::write(&config.file, bytes).unwrap();
    source::load_file(&config)
}

#[test]
fn an_unfinished_last_line_rejects_the_file() {
    let lines: Vec<_> = (0..200).map(|n| line(&n.to_string(), "https://a.example/").to_string()).collect();
    let text = lines.join("\n");
    assert_eq!(load_bytes(text.as_bytes()).unwrap().0.links(), 200, "a line feed at the end is not needed");
    let last = text.rfind('\n').unwrap() + 1;
    for end in [last + 1, last + 20, text.len() - 1] {
        let error = load_bytes(&text.as_bytes()[..end]).err().unwrap();
        assert!(matches!(error, LoadError::Truncated { line: 200, .. }), "{error}");
        assert!(error.to_string().contains("rejected as truncated: line 200"), "{error}");
        assert_eq!(error.class(), Class::Data);
    }
    assert_eq!(load_bytes(&text.as_bytes()[..last]).unwrap().0.links(), 199, "cut between two lines");
    let error = load_bytes(&text.as_bytes()[..10]).err().unwrap();
    assert!(matches!(error, LoadError::Truncated { line: 1, .. }), "{error}");
    // A last line that is whole JSON, but not a link, is a bad line like any other.
    let (catalog, report) = load_bytes(format!("{text}\n{{\"id\": \"x\"}}").as_bytes()).unwrap();
    assert_eq!((catalog.links(), report.bad, report.unfinished), (200, 1, None));
}

#[test]
fn the_reason_names_the_encoding_of_a_file_that_is_not_utf_8() {
    let text = format!("{}\n", line("good", "https://a.example/"));
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [utf_16.clone(), [&[0xff, 0xfe], &utf_16[..]].concat(), utf_16[..utf_16.len() - 2].to_vec()] {
        let error = load_bytes(&bytes).err().unwrap().to_string();
        assert!(error.contains("line 1: the line holds NUL bytes, as text in UTF-16 does"), "{error}");
    }
    let error = load_bytes(b"{\"id\": \"caf\xe9\"}\n").err().unwrap().to_string();
    assert!(error.contains("line 1: the line is not text in UTF-8"), "{error}");
}

#[test]
fn a_catalog_that_answers_nothing_and_settings_of_an_unknown_domain_are_warned_of() {
    let warnings = |lines: &[Value], config: &config::Catalog| load_with(lines, config).1.warnings;
    let mut config = config::Catalog::default();
    let good = line("good", "https://a.example/");
    assert_eq!(warnings(&[], &config), [Warning::Empty]);
    assert_eq!(warnings(std::slice::from_ref(&good), &config), []);
    let off =
        ["OFF", "paused", "expired"].map(|status| with(line(status, "https://a.example/"), "status", json!(status)));
    assert_eq!(warnings(&off, &config), [Warning::NoneActive { links: 3 }]);
    assert_eq!(warnings(&[&off[..], std::slice::from_ref(&good)].concat(), &config), []);
    for host in ["go.brand.com", "go.brand.example"] {
        config.domains.insert(host.into(), config::Domain::default());
    }
    let unused = warnings(&[good], &config);
    assert_eq!(unused, [Warning::UnusedDomain { host: "go.brand.example".into() }]);
    assert!(unused[0].to_string().contains("catalog.domains.\"go.brand.example\""));
}

proptest! {
    /// The compiled index against a plain map as the model.
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
        if let Err(error) = source::load(&bytes, &config::Catalog::default()) {
            prop_assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        }
    }
}

#[test]
fn a_tail_of_zeros_is_a_truncated_line() {
    let good = line("a", "https://a.example/").to_string();
    let read = |tail: &[u8]| {
        let bytes = [good.as_bytes(), b"\n", tail].concat();
        source::load(&bytes, &config::Catalog::default()).unwrap().1
    };
    assert!(read(b"{\"id\":\"y\",\"slash\0\0\0\0").unfinished.is_some());
    assert!(read(b"{\0\"\0i\0").unfinished.is_none(), "text in UTF-16");
}

#[test]
fn a_message_shows_no_password() {
    for destination in ["ftp://user:s3cret@a.example/", "https://user:s3cret@a.example/\u{1}", "user:s3cret@"] {
        let (_, report) = load(&[line("a", destination)]);
        let reason = &report.problems[0].reason;
        assert!(!reason.contains("s3cret") && !reason.contains("user:"), "{reason}");
    }
}

/// A catalog of domains and links.
fn compiled(domains: &[Value], links: &[Value]) -> (Catalog, Report) {
    let config = config::Catalog::default();
    let mut compiler = compile::Compiler::new(&config);
    for (number, domain) in (1..).zip(domains) {
        compiler.add_domain(number, &domain.to_string());
    }
    for (number, link) in (1_000..).zip(links) {
        match serde_json::from_value(link.clone()) {
            Ok(link) => compiler.add(number, &link).unwrap(),
            Err(error) => compiler.reject(number, error.to_string()),
        }
    }
    compiler.finish().unwrap()
}

fn problem(domain: Value, links: &[Value]) -> String {
    let (_, report) = compiled(&[domain], links);
    assert_eq!(report.bad, 1, "{:?}", report.problems);
    report.problems[0].reason.clone()
}

#[test]
fn a_domain_has_aliases_exact_names_come_first_and_long_wildcards_before_short_ones() {
    let domains = [
        json!({"kind": "domain", "fullName": "go.brand.com", "aliases": ["WWW.go.brand.com", "*.brand.com"]}),
        json!({"kind": "domain", "fullName": "x.example", "aliases": ["*.eu.brand.com", "eu.brand.com"]}),
    ];
    let mut links = [line("a", "https://one.example/"), line("a", "https://two.example/")];
    links[0]["domain"]["fullName"] = json!("www.go.brand.com");
    links[1]["domain"]["fullName"] = json!("x.example");
    let (catalog, report) = compiled(&domains, &links);
    assert_eq!((report.bad, catalog.domains()), (0, 2), "{:?}", report.problems);
    let to = |host: &str| found(&catalog, host, "/a").map(|link| link.destination().to_owned());
    for host in ["go.brand.com", "www.go.brand.com", "x.brand.com", "y.z.brand.com"] {
        assert_eq!(to(host).as_deref(), Some("https://one.example/"), "{host}");
    }
    for host in ["x.example", "eu.brand.com", "a.eu.brand.com"] {
        assert_eq!(to(host).as_deref(), Some("https://two.example/"), "{host}");
    }
    for host in ["brand.com", "xbrand.com", "other.example"] {
        assert_eq!(to(host), None, "{host}");
    }
    let mut hosts: Vec<_> = catalog.hosts().collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["eu.brand.com", "go.brand.com", "www.go.brand.com", "x.example"]);
}

#[test]
fn what_is_wrong_with_a_domain_is_named_with_its_field() {
    let domain = |field: &str, value: Value| {
        let mut domain = json!({"kind": "domain", "fullName": "go.brand.com"});
        domain[field] = value;
        domain
    };
    for (field, value, reason) in [
        ("fullName", json!("not a host"), "`fullName` \"not a host\""),
        ("fullName", Value::Null, "`fullName` is missing"),
        ("aliases", json!(["*.*.com"]), "`aliases`"),
        ("aliases", json!("www.x.example"), "write a list"),
        ("case", json!("upper"), "\"sensitive\" or \"insensitive\""),
        ("root", json!("javascript:alert(1)"), "`root` \"javascript:alert(1)\" has a scheme that runs code"),
        ("notFound", json!("https://{domain}/"), "`notFound`"),
        ("expired", json!("/x"), "`expired`"),
        ("httpStatus", json!(200), "301, 302, 303, 307 or 308"),
        ("hsts", json!("includeSubDomains"), "lacks `max-age`"),
        ("schemes", json!(["javascript"]), "`schemes` \"javascript\""),
        ("previewSuffix", json!("?"), "`previewSuffix`"),
        ("trimPunctuation", json!("perhaps"), "true or false"),
    ] {
        let problem = problem(domain(field, value), &[]);
        assert!(problem.contains(reason), "{field}: {problem}");
    }
    let (_, report) = compiled(&[domain("aliases", json!(["x.example"])), json!({"fullName": "x.example"})], &[]);
    assert!(report.problems[0].reason.contains("an earlier line"), "{:?}", report.problems);
}

#[test]
fn a_domain_sets_what_its_links_leave_out() {
    let mut with_id = line("id", "https://a.example/");
    with_id["domain"] = json!({"id": "d-2", "fullName": "two.example"});
    let (catalog, _) = compiled(&[json!({"kind": "domain", "fullName": "two.example"})], &[with_id]);
    let id = found(&catalog, "two.example", "/id").unwrap();
    assert_eq!(id.domain_json(), r#"{"id":"d-2","raw":"two.example","zone":"example.two"}"#);
    let domain = json!({"kind": "domain", "id": 7, "fullName": "go.brand.com", "case": "insensitive", "httpStatus": "307",
        "workspace": {"id": "w-9", "name": "Nine"}, "schemes": ["tel"], "hsts": "max-age=60"});
    let mut own = line("own", "https://a.example/");
    own["httpStatus"] = json!(303);
    own["workspace"] = json!({"id": "w-1"});
    let (catalog, report) = compiled(&[domain], &[line("Call", "tel:+15550100"), own]);
    assert_eq!(report.bad, 0, "{:?}", report.problems);
    let call = found(&catalog, "go.brand.com", "/cALL").unwrap();
    assert_eq!((call.status(), call.workspace(), call.destination()), (307, "w-9", "tel:+15550100"));
    assert_eq!(call.creator_json(), br#"{"workspace":{"id":"w-9","name":"Nine"}}"#);
    assert_eq!(call.domain_json(), r#"{"id":"7","raw":"go.brand.com","zone":"com.brand.go"}"#);
    let own = found(&catalog, "go.brand.com", "/own").unwrap();
    assert_eq!((own.status(), own.workspace()), (303, "w-1"));
    assert_eq!(catalog.hsts(|| Some(host("go.brand.com"))).unwrap(), "max-age=60");
}

#[test]
fn the_longest_slashtag_that_forwards_a_path_is_found() {
    let forwarding = |tag: &str, to: &str, way: &str| with(line(tag, to), "forwardPath", json!(way));
    let (catalog, report) = load(&[
        forwarding("a", "https://a.example/", "append"),
        line("a/b", "https://b.example/"),
        forwarding("a/b/c", "https://c.example/", "append"),
        forwarding("i", "https://i.example/", "ignore"),
        line("plain", "https://plain.example/"),
    ]);
    assert_eq!(report.bad, 0, "{:?}", report.problems);
    let find = |path: &str| match catalog.find(&host("go.brand.com"), path.as_bytes()).unwrap() {
        Lookup::Found(link, rest) => format!("{} {}", link.destination(), String::from_utf8_lossy(rest)),
        _ => "unknown".into(),
    };
    assert_eq!(find("/a/b/c/d/e"), "https://c.example/ d/e");
    assert_eq!(find("/a/b/c"), "https://c.example/ ");
    assert_eq!(find("/a/b/x"), "https://a.example/ b/x");
    assert_eq!(find("/a/b"), "https://b.example/ ");
    assert_eq!(find("/a//x"), "https://a.example/ x");
    assert_eq!(find("/%61/x%20y"), "https://a.example/ x%20y");
    assert_eq!(find("/i/x"), "https://i.example/ ");
    assert_eq!(find("/plain/x"), "unknown");
    assert_eq!(find("/x/a/b"), "unknown");
    let (catalog, _) = load(&[forwarding("", "https://all.example/p", "append"), line("x", "https://x.example/")]);
    let find = |path: &str| match catalog.find(&host("go.brand.com"), path.as_bytes()).unwrap() {
        Lookup::Found(link, rest) => format!("{} {}", link.destination(), String::from_utf8_lossy(rest)),
        _ => "unknown".into(),
    };
    assert_eq!(
        [find("/y/z"), find("/x"), find("/")],
        ["https://all.example/p y/z", "https://x.example/ ", "https://all.example/p "]
    );
}

#[test]
fn what_is_wrong_with_a_policy_is_named_with_its_field() {
    let good = line("good", "https://a.example/");
    for (field, value, part) in [
        ("forwardPath", json!("prepend"), "false, \"append\" or \"ignore\""),
        ("activeFrom", json!("soon"), "`activeFrom` is \"soon\", not a time"),
        ("activeUntil", json!([]), "`activeUntil` is [], not a time"),
        ("maxClicks", json!(0), "`maxClicks` is 0"),
        ("maxClicks", json!("many"), "`maxClicks` is \"many\""),
        ("fallback", json!("javascript:x"), "`fallback`"),
        ("fallback", json!(1), "`fallback` is 1; write a text"),
        ("clickIdParameter", json!("a b"), "`clickIdParameter` is \"a b\""),
        ("noIndex", json!("yes"), "true or false"),
        ("forwardParameters", json!([]), "lists 0 keys"),
    ] {
        let reason = reason(with(good.clone(), field, value));
        assert!(reason.contains(part), "{field}: {reason}");
    }
    let never = with(with(good, "activeFrom", json!("2026-02-01")), "expiresAt", json!("2026-01-01T00:00:00Z"));
    assert!(reason(never).contains("never work"));
}

#[test]
fn times_are_read_as_exports_write_them() {
    for (text, right) in [
        (json!("2026-01-31T12:00:00Z"), 1_769_860_800),
        (json!("2026-01-31T13:00:00.5+01:00"), 1_769_860_800),
        (json!("2026-01-31T12:00:00"), 1_769_860_800),
        (json!("2026-01-31 12:00:00"), 1_769_860_800),
        (json!("2026-01-31"), 1_769_817_600),
        (json!(1_769_860_800), 1_769_860_800),
        (json!(1_769_860_800_123_i64), 1_769_860_800),
    ] {
        let (catalog, report) = load(&[with(line("x", "https://a.example/"), "activeUntil", text.clone())]);
        assert_eq!(report.bad, 0, "{:?}", report.problems);
        let link = found(&catalog, "go.brand.com", "/x").unwrap();
        assert_eq!(link.policy().unwrap().active_until, Some(right), "{text}");
    }
}

#[test]
fn loops_are_reported_with_their_chain_and_disabled_if_so_configured() {
    let to = |tag: &str| format!("https://go.brand.com/{tag}");
    let mut ruled = line("ruled", "https://a.example/");
    ruled["rules"] = json!([{"name": "r", "when": {}, "destination": "https://GO.brand.com/ruled?x=1"}]);
    let links = [
        line("self", &to("self#x")),
        line("a", &to("b")),
        line("b", &to("c")),
        line("c", &to("a")),
        line("in", &to("a")),
        line("out", &to("end")),
        line("end", "https://a.example/"),
        with(line("deep", &to("deep/er")), "forwardPath", json!("append")),
        ruled,
    ];
    let chains = |config: &config::Catalog| {
        let (catalog, report) = load_with(&links, config);
        let mut chains: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
        chains.sort();
        let states = ["self", "a", "b", "c", "in", "out", "deep", "ruled"]
            .map(|tag| found(&catalog, "go.brand.com", &format!("/{tag}")).unwrap().state() == State::Active);
        (chains, states)
    };
    let (warnings, active) = chains(&config::Catalog::default());
    assert_eq!(active, [true; 8]);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("go.brand.com/a -> go.brand.com/b -> go.brand.com/c -> go.brand.com/a"))
    );
    assert!(warnings.iter().any(|text| text.contains("go.brand.com/self -> go.brand.com/self")));
    assert!(warnings.iter().any(|text| text.contains("go.brand.com/ruled -> go.brand.com/ruled")));
    assert!(warnings.iter().any(|text| text.contains("go.brand.com/deep -> go.brand.com/deep")));
    let (_, active) = chains(&config::Catalog { loops: config::Loops::Disable, ..config::Catalog::default() });
    assert_eq!(active, [false, false, false, false, true, true, false, false]);
}
