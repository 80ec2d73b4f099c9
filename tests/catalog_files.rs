//! What a catalog file may be: its forms, its compression, its types; and what is said of the others.

use std::{fs, io::Write, path::PathBuf};

use clickedge::{
    catalog::{Catalog, LoadError, Report, source},
    config,
};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{Edge, cli::clickedge, link};

const HOST: &str = "go.brand.com";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn links(count: usize) -> Vec<Value> {
    (0..count).map(|n| link(HOST, &format!("l{n}"), &format!("https://www.example.com/{n}"))).collect()
}

fn ndjson(links: &[Value]) -> String {
    links.iter().map(|link| format!("{link}\n")).collect()
}

/// Loads these bytes as a file, with the default limits.
fn load_file(bytes: &[u8]) -> Result<(Catalog, Report), LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let config = config::Catalog { file: dir.path().join("links.ndjson"), ..config::Catalog::default() };
    fs::write(&config.file, bytes).unwrap();
    source::load_file(&config)
}

fn error(bytes: &[u8]) -> String {
    load_file(bytes).err().expect("a rejected file").to_string()
}

/// The report of one link with these fields in addition, which is loaded.
fn loaded(fields: &str) -> (Value, Vec<String>) {
    let line = format!(
        r#"{{"id":"x","slashtag":"x","destination":"https://www.example.com/","domain":{{"fullName":"{HOST}"}},{fields}}}"#
    );
    let (catalog, report) = load_file(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!((catalog.links(), report.bad), (1, 0), "{line}");
    (serde_json::from_str(&line).unwrap(), report.warnings.iter().map(ToString::to_string).collect())
}

/// The reason why a link with these fields in addition is bad.
fn reason(fields: &str) -> String {
    let line = format!(
        r#"{{"id":"x","slashtag":"x","destination":"https://www.example.com/","domain":{{"fullName":"{HOST}"}},{fields}}}"#
    );
    let (_, report) = source::load(line.as_bytes(), &config::Catalog::default()).unwrap();
    assert_eq!(report.bad, 1, "{line}");
    let reason = report.problems[0].reason.clone();
    assert!(!reason.contains("column"), "{reason}");
    reason
}

#[test]
fn every_form_of_a_file_answers_the_same_at_the_edge() {
    let all = links(40);
    let array = Value::Array(all.clone());
    let pretty = serde_json::to_string_pretty(&array).unwrap();
    let objects: String = all.iter().map(|link| serde_json::to_string_pretty(link).unwrap() + "\n").collect();
    let text = ndjson(&all);
    let (first, second) = text.split_at(text.len() / 2);
    let forms: [(&str, Vec<u8>); 9] = [
        ("a byte order mark", format!("\u{feff}{text}").into_bytes()),
        ("a byte order mark within", text.replacen('\n', "\n\u{feff}", 3).into_bytes()),
        ("an array", array.to_string().into_bytes()),
        ("a pretty array", format!("\u{feff}{pretty}").into_bytes()),
        ("an answer of an API", json!({"total": 40, "links": all, "next": null}).to_string().into_bytes()),
        ("objects over several lines", objects.into_bytes()),
        ("gzip in two members", [gzip(first.as_bytes()), gzip(second.as_bytes())].concat()),
        ("zstd", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ("a compressed array", gzip(pretty.as_bytes())),
    ];
    let edge = Edge::builder().link(link(HOST, "l0", "https://www.example.com/0")).start();
    let reloads = |edge: &Edge| edge.metric("clickedge_reloads_total{result=\"ok\",what=\"catalog\"}");
    for (form, bytes) in forms {
        let before = reloads(&edge);
        fs::write(edge.dir().join("links.ndjson"), bytes).unwrap();
        edge.signal("HUP");
        edge.wait_until(form, |edge| reloads(edge) == before + 1);
        assert_eq!(edge.metric("clickedge_catalog_links"), 40, "{form}");
        for n in [0, 20, 39] {
            let answer = edge.get(HOST, &format!("/l{n}"));
            assert_eq!(answer.header("location"), Some(&*format!("https://www.example.com/{n}")), "{form}");
        }
    }
}

#[test]
fn a_truncated_file_of_any_form_is_rejected() {
    let text = Value::Array(links(50)).to_string();
    for end in [1, 2, 100, text.len() / 2, text.len() - 1] {
        let error = error(&text.as_bytes()[..end]);
        assert!(error.contains("rejected as truncated: line 1"), "{end}: {error}");
    }
    for whole in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        for end in [12, whole.len() / 2, whole.len() - 1] {
            let error = error(&whole[..end]);
            assert!(error.contains("it is truncated: the"), "{end}: {error}");
        }
    }
}

#[test]
fn two_answers_of_an_api_in_one_file_are_rejected() {
    let page = json!({"data": links(30), "next": "abc"});
    assert_eq!(load_file(format!("{page}\n").as_bytes()).unwrap().0.links(), 30);
    let message = error(format!("{page}\n{page}\n").as_bytes());
    assert!(message.contains("line 2: another value follows") && message.contains("into one array"), "{message}");
}

#[test]
fn a_foreign_file_is_named_and_the_message_says_what_to_do() {
    let line = ndjson(&links(1));
    let utf_16: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, part) in [
        (&b"id,slashtag,destination\n1,a,https://www.example.com/\n"[..], "clickedge catalog import --from csv FILE"),
        (b"id;slashtag\n1;a\n", "clickedge catalog import --from csv FILE"),
        (b"<html><body>502</body></html>\n", "it looks like HTML or XML"),
        (b"PK\x03\x04", "a ZIP archive or a spreadsheet"),
        (&utf_16, "UTF-16"),
        (&gzip(&gzip(b"{}")), "compressed twice"),
        (b"7\n", "it is 7; expected a JSON object"),
    ] {
        let error = error(bytes);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn values_are_read_as_exports_of_databases_write_them() {
    for fields in [
        r#""httpStatus":"301""#,
        r#""httpStatus":301.0,"forwardParameters":"true""#,
        r#""forwardParameters":"False","tags":[{"id":7,"name":null}]"#,
        r#""workspace":{"id":null},"creator":{"id":12}"#,
        r#""workspace":{"id":12,"name":null},"creator":null,"tags":null,"scripts":null"#,
        r#""workspace":"w-1","creator":"Ana","tags":["print","web"]"#,
        r#""status":null,"httpStatus":null,"forwardParameters":null,"createdAt":null"#,
        r#""status":"","httpStatus":"","createdAt":"","workspace":"""#,
        r#""kind":"link","status":"ACTIVE""#,
        r#""kind":null,"status":1"#,
    ] {
        let (_, warnings) = loaded(fields);
        assert_eq!(warnings, [""; 0], "{fields}");
    }
    let numeric =
        format!(r#"{{"id":17,"slashtag":2024,"destination":"https://www.example.com/","domain":"{HOST}"}}"#);
    let (catalog, report) = load_file(numeric.as_bytes()).unwrap();
    assert_eq!((catalog.links(), report.bad), (1, 0), "{:?}", report.problems);
}

#[test]
fn times_of_databases_are_shown_in_events_as_rfc_3339() {
    let mut builder = Edge::builder();
    let times = [
        ("2023-08-31T04:13:48.385", "2023-08-31T04:13:48.385Z"),
        ("2023-08-31 04:13:48", "2023-08-31T04:13:48Z"),
        ("2023-08-31", "2023-08-31T00:00:00Z"),
    ];
    for (n, (written, _)) in times.iter().enumerate() {
        let mut link = link(HOST, &format!("t{n}"), "https://www.example.com/");
        link["createdAt"] = json!(written);
        builder = builder.link(link);
    }
    for (name, value) in [("millis", json!(1_693_455_228_385_i64)), ("never", json!("yesterday"))] {
        let mut link = link(HOST, name, "https://www.example.com/");
        link["createdAt"] = value;
        builder = builder.link(link);
    }
    let edge = builder.feed("all", &["*"]).start();
    for slashtag in ["t0", "t1", "t2", "millis", "never"] {
        assert_eq!(edge.get(HOST, &format!("/{slashtag}")).status, 302, "{slashtag}");
    }
    assert!(edge.log().contains("`createdAt` is left out of 1 links"), "{}", edge.log());
    let events = edge.stop().events("all");
    let shown = |slashtag: &str| {
        let event = events.iter().find(|event| event["route"]["slashtag"] == slashtag).expect("an event");
        event["route"].get("createdAt").cloned()
    };
    for (n, (_, expected)) in times.iter().enumerate() {
        assert_eq!(shown(&format!("t{n}")), Some(json!(expected)));
    }
    assert_eq!(shown("millis"), Some(json!("2023-08-31T04:13:48.385Z")));
    assert_eq!(shown("never"), None);
}

#[test]
fn what_only_informs_is_left_out_with_a_warning() {
    for (fields, part) in [
        (
            r#""createdAt":"yesterday""#,
            "`createdAt` is left out of 1 links that are loaded, line 1 first: \"yesterday\"",
        ),
        (r#""createdAt":{"a":1}"#, "`createdAt` is left out"),
        (r#""tags":{"t-1":true}"#, "`tags` is left out"),
        (r#""tags":[true]"#, "`tags` is left out"),
        (r#""creator":[1]"#, "`creator` is left out"),
    ] {
        let (_, warnings) = loaded(fields);
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{fields}: {warnings:?}");
    }
}

#[test]
fn status_words_are_known_in_any_case_and_others_are_reported_with_their_count() {
    let mut all = links(7);
    for (link, status) in all.iter_mut().zip(["ACTIVE", "Enabled", "live", "hidden", "hidden", "odd"]) {
        link["status"] = json!(status);
    }
    let (_, report) = load_file(ndjson(&all).as_bytes()).unwrap();
    let warnings: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("`status` is \"hidden\" in 2 links, line 4 first: they are switched off"));
    assert!(warnings[1].starts_with("`status` is \"odd\" in 1 links, line 6 first"));
}

#[test]
fn a_reason_names_field_and_value_in_our_words() {
    for (fields, expected) in [
        (r#""httpStatus":"moved""#, "`httpStatus` is \"moved\"; expected a whole number"),
        (r#""httpStatus":200"#, "`httpStatus` is 200; it can be 301, 302, 303, 307 or 308"),
        (r#""workspace":7.5e400"#, "it is not valid JSON"),
        (r#""workspace":true"#, "`workspace` is true; expected an object with `id`, or a text"),
        (r#""status":{}"#, "`status` is an object; expected `active`, `disabled` or `expired`"),
        (r#""forwardParameters":"some""#, "`forwardParameters` is \"some\"; expected one of"),
        (r#""id":"y""#, "the field `id` is there twice"),
        (r#""kind":"campaign""#, "`kind` is \"campaign\"; expected `link` or `domain`"),
        (r#""x":"#, "it is not valid JSON at character"),
    ] {
        let reason = reason(fields);
        assert!(reason.starts_with(expected), "{fields}: {reason}");
    }
    let (_, report) = source::load(b"[\n {\"id\": 1},\n {\"id\": 2}\n]", &config::Catalog::default()).unwrap();
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems[1], "line 3: element 2: the field `slashtag` is missing");
}

#[test]
fn a_domain_line_counts_wherever_it_stands() {
    let mut mail = link(HOST, "mail", "mailto:info@example.com");
    mail["id"] = json!("m");
    let domain =
        json!({"kind": "domain", "fullName": HOST, "schemes": ["mailto"], "notFound": "https://www.example.com/404"});
    for text in [format!("{mail}\n{domain}\n"), format!("[{mail},\n{domain}]"), format!("{domain}\n{mail}\n")] {
        let (catalog, report) = load_file(text.as_bytes()).unwrap();
        assert_eq!((catalog.links(), report.lines, report.bad), (1, 2, 0), "{:?}", report.problems);
    }
    assert!(error(format!("{mail}\n").as_bytes()).contains("destination"), "the domain permits no such scheme");
}

#[test]
fn check_reads_what_serve_reads() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let config: PathBuf = dir.path().join("x.toml");
    let rings = "[capture]\ndir = \"/dev/shm/clickedge-of-catalog-files\"\n";
    let toml = format!(
        "[[listeners]]\naddress = \"127.0.0.1:8080\"\n{rings}[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"out\"\n"
    );
    write("x.toml", toml.as_bytes());
    let check = || clickedge(&["check", config.to_str().unwrap()]);
    write("links.ndjson", &gzip(Value::Array(links(3)).to_string().as_bytes()));
    assert_eq!(check().ok(), format!("{}: ok\n", config.display()));
    let whole = gzip(ndjson(&links(300)).as_bytes());
    write("links.ndjson", &whole[..whole.len() / 2]);
    check().fails(65, "it is truncated: the gzip stream does not end");
    write("links.ndjson", b"slashtag,destination\na,https://www.example.com/\n");
    check().fails(65, "clickedge catalog import --from csv");
}

proptest! {
    #[test]
    fn an_array_is_the_same_catalog_as_its_lines(
        tags in proptest::collection::vec("[a-c]{1,2}", 0..12),
        odd in proptest::collection::vec(prop_oneof![Just("7"), Just("null"), Just("{}"), Just("\"x\""), Just("[[1]]")], 0..3),
        pretty in any::<bool>(),
    ) {
        let links = tags.iter().map(|tag| link(HOST, tag, "https://www.example.com/"));
        let all: Vec<Value> =
            links.chain(odd.iter().map(|text| serde_json::from_str(text).unwrap())).collect();
        let array = Value::Array(all.clone());
        let array = if pretty { serde_json::to_string_pretty(&array).unwrap() } else { array.to_string() };
        let config = config::Catalog::default();
        let (by_line, lines) = source::load(ndjson(&all).as_bytes(), &config).unwrap();
        let (by_element, elements) = source::load(array.as_bytes(), &config).unwrap();
        let (compressed, _) = source::load(&gzip(array.as_bytes()), &config).unwrap();
        prop_assert_eq!(by_line.links(), by_element.links());
        prop_assert_eq!(by_line.links(), compressed.links());
        prop_assert_eq!((lines.lines, lines.bad), (elements.lines, elements.bad));
    }
}
