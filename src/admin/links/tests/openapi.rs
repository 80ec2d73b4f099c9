//! The description of the API agrees with the API.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::Value;

use super::super::{OPENAPI, address::Route, problem::Kind};

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let description = description();
    let mut used = BTreeSet::new();
    references(&description, &mut used);
    for reference in &used {
        let path = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(path).is_some(), "{reference}");
    }
    for (kind, components) in description["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            let is_named = used.contains(&format!("#/components/{kind}/{name}"));
            assert!(is_named || name.starts_with("Batch"), "{kind} {name} is not used");
        }
    }
}

#[test]
fn each_path_has_the_methods_of_its_route() {
    let description = description();
    let described: BTreeMap<_, _> = description["paths"].as_object().unwrap().iter().collect();
    let mut routes = BTreeSet::new();
    for (path, operations) in described {
        let real = path.replace("{domain}", "go.brand.com").replace("{slashtag}", "spring");
        let route = Route::of(&real).unwrap_or_else(|| panic!("{path} is no route"));
        routes.insert(route.name());
        for method in ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "OPTIONS", "TRACE"] {
            let is_described = operations.get(method.to_lowercase()).is_some();
            assert_eq!(route.allows(&Method::try_from(method).unwrap()), is_described, "{method} {path}");
        }
    }
    assert_eq!(routes, BTreeSet::from(["batch", "domain", "link", "list", "openapi"]));
}

#[test]
fn operations_have_names_of_their_own_and_describe_only_statuses_of_the_api() {
    let description = description();
    let (mut names, mut statuses) = (BTreeSet::new(), BTreeSet::new());
    for path in description["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values().filter(|value| value.is_object()) {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name}");
            statuses.extend(
                operation["responses"].as_object().unwrap().keys().map(|status| status.parse::<u16>().unwrap()),
            );
        }
    }
    let errors = Kind::ALL.iter().map(|kind| kind.parts().0.as_u16());
    assert_eq!(statuses, errors.chain([200, 201, 204, 304]).collect());
}

#[test]
fn all_kinds_of_problems_are_described() {
    let description = description();
    let described = description.pointer("/components/schemas/Problem/properties/type/enum").unwrap();
    let described: BTreeSet<_> = described.as_array().unwrap().iter().map(|urn| urn.as_str().unwrap()).collect();
    assert_eq!(described, Kind::ALL.iter().map(|kind| kind.parts().1).collect());
}

#[test]
fn patterns_and_schemas_are_valid() {
    let description = description();
    for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
        let mut schema = schema.clone();
        schema["components"] = description["components"].clone();
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
