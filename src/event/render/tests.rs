use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::fields::Fields, *};

const EVENT: &str = include_str!("../../../tests/golden/event.json");

fn event() -> Value {
    serde_json::from_str(EVENT).unwrap()
}

fn rendered(shape: Shape, omitted: &[&str], event: &Value) -> Value {
    let omitted: Vec<String> = omitted.iter().map(ToString::to_string).collect();
    let rendering = Rendering::new(shape, &omitted);
    let mut buffer = b"what was there before".to_vec();
    let once = rendering.apply(event.to_string().as_bytes(), &mut buffer).unwrap().to_vec();
    let mut buffer = Vec::new();
    let twice = rendering.apply(&once, &mut buffer).unwrap();
    assert_eq!(twice, once, "rendering again changes nothing");
    serde_json::from_slice(&once).unwrap()
}

fn remove(value: &mut Value, path: &str) {
    match path.split_once('.') {
        None => drop(value.as_object_mut().and_then(|map| map.shift_remove(path))),
        Some((name, below)) => {
            let Some(inner) = value.get_mut(name) else { return };
            remove(inner, below);
            if inner == &json!({}) {
                value.as_object_mut().unwrap().shift_remove(name);
            }
        }
    }
}

#[test]
fn a_feed_without_wishes_copies() {
    let mut buffer = Vec::new();
    let rendering = Rendering::new(Shape::Click, &[]);
    assert_eq!(rendering.apply(b"anything", &mut buffer), Some(&b"anything"[..]));
    assert!(buffer.is_empty());
}

#[test]
fn each_field_is_left_out_and_nothing_else() {
    let fields = Fields::of_schema();
    let mut changed = 0;
    for path in fields.paths().filter(|path| fields.optional(path).is_ok()) {
        let mut expected = event();
        remove(&mut expected, path);
        changed += usize::from(expected != event());
        assert_eq!(rendered(Shape::Click, &[path], &event()).to_string(), expected.to_string(), "{path}");
    }
    assert!(changed > 30, "{changed}");
    let mut expected = event();
    for path in ["client.location", "referral.path", "edge.pop", "route.tags", "quality.verdict"] {
        remove(&mut expected, path);
    }
    let omitted =
        ["client.location.city", "client.location", "referral.path", "edge.pop", "route.tags", "quality.verdict"];
    assert_eq!(rendered(Shape::Click, &omitted, &event()).to_string(), expected.to_string());
    assert!(expected.get("edge").is_none() && expected.get("quality").is_none(), "nothing remains of them");
}

#[test]
fn the_older_shape_has_maps_and_a_slug() {
    let mut expected = event();
    expected["client"]["agent"]["os"]["version"] = "windows-10".into();
    expected["route"]["params"]["query"] = json!({"utm_term": ["poster"], "x": ["1", "2"]});
    expected["route"]["destination"]["params"]["query"] =
        json!({"utm_source": ["go"], "utm_term": ["poster"], "x": ["1", "2"]});
    expected["route"]["tags"] = json!({"t-1": {"value": "Print"}});
    expected["route"]["scripts"] = json!({"s-1": {"value": "Pixel"}});
    assert_eq!(rendered(Shape::Clickstream, &[], &event()).to_string(), expected.to_string());
    remove(&mut expected, "route.tags");
    remove(&mut expected, "route.params");
    remove(&mut expected, "client.agent.os");
    let omitted = ["route.tags", "route.params", "client.agent.os"];
    assert_eq!(rendered(Shape::Clickstream, &omitted, &event()).to_string(), expected.to_string());
}

#[test]
fn an_event_of_the_previous_release_passes_through() {
    let former = json!({"id": "x", "client": {"agent": {"os": {"name": "windows-10"}}}, "route": {
        "params": {"query": {"a": ["1"], "": ["x"]}}, "tags": {"t-1": {"value": "Print"}}
    }});
    assert_eq!(rendered(Shape::Clickstream, &[], &former), former);
}

#[test]
fn bytes_that_are_no_event_are_not_rendered() {
    let whole = event().to_string();
    let rendering = Rendering::new(Shape::Clickstream, &["client.location".to_owned()]);
    for end in 0..whole.len() {
        assert_eq!(rendering.apply(&whole.as_bytes()[..end], &mut Vec::new()), None, "{end}");
    }
    for text in [
        "",
        "{",
        "{}x",
        "[]",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\"1}",
        "{,}",
        "{\"route\":{\"tags\":[{]}}",
        "{\"a\":\"\\",
    ] {
        assert_eq!(rendering.apply(text.as_bytes(), &mut Vec::new()), None, "{text}");
    }
    assert_eq!(rendering.apply(b"{}", &mut Vec::new()), Some(&b"{}"[..]));
}

proptest! {
    #[test]
    fn any_names_and_values_come_through(pairs in prop::collection::vec(
        (prop_oneof!["[ab]{0,1}", "[\\x00-\\x7f]{0,4}", any::<String>()], any::<String>()), 0..12,
    )) {
        let list: Value = pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let labels: Value = pairs.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
        let event = json!({"id": "x", "route": {"params": {"query": list}, "tags": labels, "status": 302}});
        let rendering = Rendering::new(Shape::Clickstream, &[]);
        let mut buffer = Vec::new();
        let text = event.to_string();
        let written: Value = serde_json::from_slice(rendering.apply(text.as_bytes(), &mut buffer).unwrap()).unwrap();
        let mut query = serde_json::Map::new();
        for (name, value) in &pairs {
            query.entry(name).or_insert(json!([])).as_array_mut().unwrap().push(json!(value));
        }
        prop_assert_eq!(&written["route"]["params"]["query"], &Value::Object(query));
        let tags: serde_json::Map<_, _> = pairs.iter().map(|(id, name)| (id.clone(), json!({"value": name}))).collect();
        prop_assert_eq!(&written["route"]["tags"], &Value::Object(tags));
        prop_assert_eq!(&written["route"]["status"], &json!(302));
    }

    #[test]
    fn any_bytes_are_rendered_or_not(bytes in "[\\[\\]{}\",:\\\\a0]{0,60}") {
        let rendering = Rendering::new(Shape::Clickstream, &["a.a".to_owned(), "b".to_owned()]);
        let _ = rendering.apply(bytes.as_bytes(), &mut Vec::new());
    }
}
