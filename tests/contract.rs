//! The published schemas as contracts: open for additions, described, true to the code and to the documents; and no
//! query makes an event that breaks them.

use std::{collections::BTreeSet, fs, path::Path};

use clickedge::event::{BotClass, BotReason, Device, Invalid, OptOut, OriginType, Reason};
use serde_json::{Value, json};

use crate::common::{CHROME, Edge, clicks, contract, hostile_seed, link};

/// Every schema of a field below this one, with its path; of what several fields share, under its name in `$defs`.
fn fields(schema: &Value) -> Vec<(String, Value)> {
    fn walk(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            found.push((path.clone(), field.clone()));
            walk(&path, field, found);
        }
        if schema["items"].is_object() {
            walk(&format!("{path}[]"), &schema["items"], found);
        }
    }
    let mut found = Vec::new();
    walk("", schema, &mut found);
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        walk(&format!("${name}"), definition, &mut found);
    }
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn schemas() -> [(&'static str, Value); 3] {
    ["click-event", "manifest", "rollup"]
        .map(|name| (name, serde_json::from_str(&read(&format!("conf/{name}.schema.json"))).unwrap()))
}

#[test]
fn every_field_has_a_description_and_examples_that_are_valid() {
    for (name, schema) in schemas() {
        let fields = fields(&schema);
        assert!(fields.len() > 8, "{name}");
        for (path, field) in fields {
            assert!(field["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}: {path}: {field}");
            let examples = field["examples"].as_array().unwrap_or_else(|| panic!("{name}: {path} has no examples"));
            assert!(!examples.is_empty(), "{name}: {path}");
            // Alone, with what it refers to.
            let mut alone = field.clone();
            if let Some(definitions) = schema.get("$defs") {
                alone["$defs"] = definitions.clone();
            }
            let validator = contract::validator(&contract::twin(alone));
            for example in examples {
                assert!(validator.is_valid(example), "{name}: {path}: {example}");
            }
        }
        let validator = contract::validator(&contract::twin(schema.clone()));
        for example in schema["examples"].as_array().unwrap() {
            let problems: Vec<_> = validator.iter_errors(example).map(|problem| problem.to_string()).collect();
            assert!(problems.is_empty(), "{name}: {problems:?}");
        }
    }
}

#[test]
fn the_schemas_accept_what_later_releases_add() {
    fn is_open(schema: &Value) -> bool {
        match schema {
            Value::Object(map) => {
                map.get("additionalProperties").is_none_or(|more| *more == json!(true)) && map.values().all(is_open)
            }
            Value::Array(all) => all.iter().all(is_open),
            _ => true,
        }
    }
    let mut ids = BTreeSet::new();
    for (name, schema) in schemas() {
        assert!(is_open(&schema), "{name}");
        let id = schema["$id"].as_str().unwrap();
        assert!(id.starts_with("https://clickedge.dev/schemas/") && ids.insert(id.to_owned()), "{name}: {id}");
        assert!(schema["description"].as_str().unwrap().contains("need not resolve"), "{name}");
        for (path, field) in fields(&schema) {
            let is_closed = field["description"].as_str().unwrap().contains("Closed: no value will be added.");
            assert_eq!(field.get("enum").is_some(), is_closed, "{name}: {path}: only what never grows is an enum");
            if field["$comment"] == contract::KNOWN {
                let description = field["description"].as_str().unwrap();
                assert!(description.contains("pen vocabulary"), "{name}: {path}");
            }
        }
    }
    let mut event = contract::schema()["examples"][0].clone();
    let (published, strict) = (contract::published(), contract::strict());
    assert!(published.is_valid(&event) && strict.is_valid(&event));
    event["client"]["agent"]["device"]["name"] = "hologram".into();
    assert!(published.is_valid(&event) && !strict.is_valid(&event), "a value");
    let mut event = contract::schema()["examples"][0].clone();
    event["route"]["tags"][0]["color"] = "red".into();
    assert!(published.is_valid(&event) && !strict.is_valid(&event), "a field");
    let mut event = contract::schema()["examples"][0].clone();
    event["route"].as_object_mut().unwrap().remove("status");
    assert!(published.is_valid(&event) && !strict.is_valid(&event), "a field that is left out");
}

#[test]
fn the_vocabularies_are_those_of_the_code() {
    let schema = contract::schema();
    let of = |path: &str| {
        let field = schema.pointer(&format!("/properties/{}", path.replace('.', "/properties/"))).unwrap();
        assert_eq!(field["$comment"], contract::KNOWN, "{path}");
        serde_json::from_value::<Vec<String>>(field["examples"].clone()).unwrap()
    };
    assert_eq!(of("client.agent.bot.reason"), BotReason::ALL.map(BotReason::name));
    assert_eq!(of("client.agent.bot.class"), BotClass::ALL.map(BotClass::name));
    assert_eq!(of("client.agent.device.name"), Device::ALL.map(Device::name));
    assert_eq!(of("client.optOut"), OptOut::ALL.map(OptOut::name));
    assert_eq!(of("referral.origin.type"), OriginType::ALL.map(OriginType::name));
    assert_eq!(of("quality.invalid"), Invalid::ALL.map(Invalid::name));
    let reasons = &schema["properties"]["quality"]["properties"]["reasons"]["items"];
    assert_eq!(reasons["examples"], json!(Reason::ALL.map(Reason::slug)));
    assert_eq!(reasons["$comment"], contract::KNOWN);
}

#[test]
fn events_in_documents_are_those_of_the_schema() {
    let strict = contract::strict();
    let mut samples = 0;
    for document in ["README.md", "src/manual/feeds.md", "src/manual/quality.md", "tests/golden/event.json"] {
        let text = read(document);
        // A fence may say which sample it quotes.
        let fenced = text.split("```json").skip(1).filter_map(|rest| rest.split_once('\n')?.1.split("\n```").next());
        let blocks: Vec<&str> = if text.starts_with('{') { vec![&text] } else { fenced.collect() };
        for block in blocks {
            let lines = serde_json::Deserializer::from_str(block).into_iter::<Value>();
            for mut sample in lines.map(|line| line.unwrap_or_else(|error| panic!("{document}: {error}"))) {
                if sample["schema"] != "click/1" {
                    continue;
                }
                for (place, value) in [
                    ("/id", "01a21d36-651f-7f1e-a1e8-71d9c93e5757"),
                    ("/timestamp", "2026-11-27T13:33:53.823945Z"),
                    ("/client/session/started", "2026-11-27T13:33:53.823945Z"),
                ] {
                    // The golden file has placeholders.
                    if let Some(text) =
                        sample.pointer_mut(place).filter(|text| text.as_str().unwrap().starts_with('<'))
                    {
                        *text = value.into();
                    }
                }
                let problems: Vec<_> = strict.iter_errors(&sample).map(|problem| problem.to_string()).collect();
                assert!(problems.is_empty(), "{document}: {problems:?}");
                samples += 1;
            }
        }
    }
    assert!(samples >= 2, "{samples}");
}

/// A query that tries to break its event, percent-encoded as far as a request line needs it.
fn hostile_query(random: &mut fastrand::Rng) -> Vec<u8> {
    const NAMES: [&str; 12] =
        ["", "utm_source", "UTM_Source", "a.b", "\"", "\\", "__proto__", "id", "\u{0}", "é", "É", "$"];
    let pairs = match random.u32(..20) {
        0 => 2_000,
        1 => 257,
        2..5 => 30,
        _ => random.usize(..6),
    };
    let mut query = Vec::new();
    for _ in 0..pairs {
        if query.len() > 7_000 {
            break;
        }
        let name: Vec<u8> = match random.u32(..8) {
            0..3 => NAMES[random.usize(..NAMES.len())].into(),
            3 => (0..random.usize(..40)).map(|_| random.u8(..)).collect(),
            4 if random.u32(..20) == 0 => vec![b'x'; 3_000],
            4..6 => format!("k{}", random.u32(..3_000)).into_bytes(),
            6 => format!("k{}]}}{{\"x\":", random.u32(..9)).into_bytes(),
            _ => vec![b'%'],
        };
        let (name, longest) = if pairs > 30 { (name[..name.len().min(4)].to_vec(), 2) } else { (name, 12) };
        let value: Vec<u8> = (0..random.usize(..longest)).map(|_| random.u8(..)).collect();
        for (text, end) in [(name, b'='), (value, b'&')] {
            for byte in text {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'_' | b'$' => query.push(byte),
                    // Malformed escapes, too.
                    b'%' if random.bool() => query.push(byte),
                    // Control characters are answered with 400, except for those that people share.
                    0..0x20 | 0x7f if !matches!(byte, b'\t' | b'\n' | b'\r') => query.extend(b"%e2%90%80"),
                    _ => query.extend(format!("%{byte:02x}").bytes()),
                }
            }
            if end == b'&' || random.u32(..4) > 0 {
                query.push(end);
            }
        }
    }
    query
}

/// All names of members, anywhere.
fn names<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            found.insert(name);
            names(value, found);
        }),
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        _ => {}
    }
}

#[test]
fn no_query_breaks_its_event_or_names_a_member() {
    const QUERIES: usize = 10_000;
    let seed = hostile_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let edge = Edge::builder()
        .link(link("go.brand.com", "bare", "https://www.example.com/"))
        .capture("ring_bytes = 67108864")
        // Thousands of pairs.
        .section("[limits]\ntarget_bytes = 65536\nheader_bytes = 131072")
        .feed("all", &["*"])
        .start();
    let mut browser = clicks::Visitor::connect(edge.address);
    for n in 0..QUERIES {
        let path = if random.bool() { "/spring" } else { "/bare" };
        let query = hostile_query(&mut random);
        let mut request = format!("GET {path}?").into_bytes();
        request.extend_from_slice(&query);
        let headers = format!("Host: go.brand.com\r\nUser-Agent: {CHROME}\r\nAccept: */*");
        request.extend(format!(" HTTP/1.1\r\n{headers}\r\n\r\n").bytes());
        assert!(browser.send(&request), "query {n} of seed {seed}: {}", query.escape_ascii());
    }
    let events = edge.stop().events("all");
    assert_eq!(events.len(), QUERIES, "seed {seed}");
    let schema = contract::schema();
    let known: BTreeSet<String> =
        fields(&schema).into_iter().filter_map(|(path, _)| Some(path.rsplit('.').next()?.to_owned())).collect();
    let strict = contract::strict();
    for event in &events {
        let problems: Vec<_> = strict.iter_errors(event).map(|problem| problem.to_string()).collect();
        assert!(problems.is_empty(), "seed {seed}: {problems:?} in {event}");
        let mut found = BTreeSet::new();
        names(event, &mut found);
        let unknown: Vec<_> = found.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "seed {seed}: {unknown:?}");
    }
    let longest =
        events.iter().filter_map(|event| event.pointer("/route/params/query")?.as_array()).map(Vec::len).max();
    assert_eq!(longest, Some(256), "of thousands of pairs, 256 are kept");
}
