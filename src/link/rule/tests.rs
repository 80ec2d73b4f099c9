mod conditions;
mod time;

use std::net::IpAddr;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::asker::{Asker, Place, Referrer},
    *,
};

/// A visitor, and which of its parts were asked for.
#[derive(Clone, Debug, Default)]
struct Visitor {
    now: Timestamp,
    address: Option<IpAddr>,
    query: &'static str,
    accept_language: &'static str,
    referrer: Option<Referrer<'static>>,
    os: Option<&'static str>,
    device: Option<&'static str>,
    browser: Option<&'static str>,
    bot: bool,
    place: Place<'static>,
    returning: bool,
    asked: Vec<&'static str>,
}

impl Asker for Visitor {
    fn now(&mut self) -> Timestamp {
        self.asked.push("now");
        self.now
    }

    fn address(&mut self) -> Option<IpAddr> {
        self.asked.push("address");
        self.address
    }

    fn query(&mut self) -> &[u8] {
        self.asked.push("query");
        self.query.as_bytes()
    }

    fn accept_language(&mut self) -> &[u8] {
        self.asked.push("accept_language");
        self.accept_language.as_bytes()
    }

    fn referrer(&mut self) -> Option<Referrer<'_>> {
        self.asked.push("referrer");
        self.referrer
    }

    fn os(&mut self) -> Option<&str> {
        self.asked.push("os");
        self.os
    }

    fn device(&mut self) -> Option<&str> {
        self.asked.push("device");
        self.device
    }

    fn browser(&mut self) -> Option<&str> {
        self.asked.push("browser");
        self.browser
    }

    fn is_bot(&mut self) -> bool {
        self.asked.push("is_bot");
        self.bot
    }

    fn is_social_bot(&mut self) -> bool {
        false
    }

    fn place(&mut self) -> Place<'_> {
        self.asked.push("place");
        self.place
    }

    fn is_returning(&mut self) -> bool {
        self.asked.push("is_returning");
        self.returning
    }

    fn visitor(&mut self) -> u64 {
        self.asked.push("visitor");
        0
    }
}

fn parse(json: &Value) -> Result<Rules, String> {
    Rules::parse(json, &|text: &str| Ok(text.into()))
}

fn rules(when: &Value) -> Result<Rules, String> {
    parse(&json!([{"name": "r", "when": when, "destination": "https://www.example.com/r"}]))
}

/// Whether these conditions hold for a visitor.
fn holds(when: &Value, visitor: &Visitor) -> bool {
    rules(when).unwrap().first(&mut visitor.clone()).is_some()
}

#[test]
fn the_first_rule_that_holds_decides() {
    let rules = parse(&json!([
        {"name": "uk", "when": {"country": ["gb"]}, "destination": "https://www.example.com/uk"},
        {"name": "ios", "when": {"os": ["ios"]}, "variants": [
            {"name": "a", "destination": "https://www.example.com/a"},
        ]},
        {"name": "all", "when": {}, "destination": "https://www.example.com/all"},
    ]))
    .unwrap();
    let name = |visitor: &mut Visitor| rules.first(visitor).map(|rule| rule.name.to_string()).unwrap();
    let gb = Place { country: Some("gb"), ..Place::default() };
    assert_eq!(name(&mut Visitor { os: Some("ios"), place: gb, ..Visitor::default() }), "uk");
    assert_eq!(name(&mut Visitor { os: Some("ios"), ..Visitor::default() }), "ios");
    assert_eq!(name(&mut Visitor::default()), "all");
    let all = ["https://www.example.com/uk", "https://www.example.com/a", "https://www.example.com/all"];
    assert_eq!(rules.destinations().collect::<Vec<_>>(), all);
    let mut steps = Vec::new();
    rules.walk(&mut Visitor::default(), |rule, failed| steps.push((rule.name.to_string(), failed)));
    let expected = [("uk".into(), Some("country")), ("ios".into(), Some("os")), ("all".into(), None)];
    assert_eq!(steps, expected);
    assert!(parse(&json!([])).unwrap().is_empty() && parse(&Value::Null).unwrap().is_empty() && !rules.is_empty());
}

#[test]
fn conditions_ask_only_for_what_they_need_and_cheap_ones_first() {
    let when = json!({
        "visitor": "new", "city": ["paris"], "os": ["ios"], "language": ["fr"], "query": {"a": null},
        "network": ["192.0.2.0/24"], "after": "2026-01-01T00:00:00Z",
    });
    let rules = rules(&when).unwrap();
    let names: Vec<_> = rules.iter().flat_map(Rule::conditions).collect();
    assert_eq!(names, ["after", "network", "query", "language", "os", "city", "visitor"]);
    let mut visitor = Visitor { now: "2026-06-01T00:00:00Z".parse().unwrap(), ..Visitor::default() };
    assert!(rules.first(&mut visitor).is_none());
    assert_eq!(visitor.asked, ["now", "address"]);
    visitor.asked.clear();
    visitor.address = Some([192, 0, 2, 7].into());
    visitor.query = "a";
    assert!(rules.first(&mut visitor).is_none());
    assert_eq!(visitor.asked, ["now", "address", "query", "accept_language"]);
}

#[test]
fn slugs_are_sorted_and_synonyms_mean_slugs() {
    for slugs in [names::OS, names::KINDS, names::PROGRAMS] {
        assert!(slugs.is_sorted_by(|a, b| a < b), "{slugs:?}");
    }
    for (names, slugs) in
        [(&names::SYSTEMS, names::OS), (&names::DEVICES, names::KINDS), (&names::BROWSERS, names::PROGRAMS)]
    {
        for meant in names.synonyms() {
            assert!(slugs.contains(&meant), "{meant}");
        }
    }
}

#[test]
fn bad_rules_are_rejected_with_field_value_and_remedy() {
    let rule = |name: &str| json!({"name": name, "when": {}, "destination": "x"});
    for (rules, message) in [
        (json!({}), "`rules` is {}; write a list such as"),
        (json!("x"), "`rules` is \"x\"; write a list such as"),
        (json!([[]]), "`rules[0]` is []; write a list such as"),
        (json!([{"when": {}, "destination": "x"}]), "`rules[0]` has no `name`; give each rule a name"),
        (json!([{"name": 1, "when": {}, "destination": "x"}]), "`rules[0].name` is 1; write a name"),
        (
            json!([{"name": "a\u{7}", "when": {}, "destination": "x"}]),
            "`rules[0].name` is \"a\\u0007\"; write a name",
        ),
        (json!([{"name": "a", "destination": "x"}]), "`rules[0]` has no `when`; write for whom"),
        (json!([{"name": "a", "when": {}}]), "`rules[0]` leads nowhere; write either"),
        (
            json!([{"name": "a", "when": {}, "destination": "x", "variants": []}]),
            "`rules[0]` has both targets; write either",
        ),
        (json!([{"name": "a", "when": {}, "url": "x"}]), "`rules[0].url` is unknown; known are name, when,"),
        (json!([rule("a"), rule("a")]), "`rules[1].name` is \"a\"; an earlier rule has this name"),
        (
            json!([{"name": "a", "when": {}, "variants": [{"name": "b", "weight": 0, "destination": "x"}]}]),
            "`rules[0].variants[0].weight` is 0; write a whole number",
        ),
    ] {
        let error = parse(&rules).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
    let many: Vec<_> = (0..=MAX_RULES).map(|at| rule(&at.to_string())).collect();
    assert_eq!(parse(&Value::Array(many)).unwrap_err(), "`rules` has 101 elements; at most 100 are possible");
    let error = Rules::parse(&json!([rule("a")]), &|_| Err("no host".into())).unwrap_err();
    assert_eq!(error, "`rules[0].destination` is not possible: no host");
    let long = json!([{"name": "a", "when": {}, "destination": ["x".repeat(1000)]}]);
    assert!(parse(&long).unwrap_err().len() < 200);
}

/// Any JSON, rather often with names and values of rules.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,12}",
        "[0-9:.,/+-]{0,12}",
        prop::sample::select(vec![
            "fr",
            "en-gb",
            "us-ca",
            "ios",
            "mon",
            "09:00-17:00",
            "UTC",
            "social",
            "new",
            "1.2.3.0/24"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let names = [
        "name",
        "when",
        "destination",
        "variants",
        "weight",
        "after",
        "before",
        "weekday",
        "hours",
        "timeZone",
        "network",
        "query",
        "language",
        "referrer",
        "os",
        "device",
        "browser",
        "bot",
        "country",
        "region",
        "city",
        "visitor",
        "type",
        "host",
        "",
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let name = prop::sample::select(names.to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..5).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_rules_or_a_message_that_names_the_field(json in any_json(), when in any_json()) {
        for json in [json, json!([{"name": "a", "when": when, "destination": "x"}])] {
            match parse(&json) {
                Ok(rules) => {
                    rules.first(&mut Visitor::default());
                }
                Err(error) => prop_assert!(error.starts_with("`rules"), "{}", error),
            }
        }
    }

    #[test]
    fn any_headers_are_compared(header in "\\PC{0,60}", query in "[a-z0-9=&%+;]{0,60}", city in "\\PC{0,20}") {
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let visitor = Visitor {
            accept_language: leak(header),
            query: leak(query.clone()),
            place: Place { city: Some(leak(city.clone())), ..Place::default() },
            ..Visitor::default()
        };
        holds(&json!({"language": ["en"]}), &visitor);
        holds(&json!({"query": {"a": "b"}}), &visitor);
        // A city that a database has is found as it is written there.
        if city.chars().any(char::is_alphanumeric) && rules(&json!({"city": [city.clone()]})).is_ok() {
            let is_found = holds(&json!({"city": [city]}), &visitor);
            prop_assert!(is_found);
        }
        // As is a parameter that holds by the rules of a form.
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap().replace('+', " ");
            if !name.is_empty() && !name.contains('%') {
                let is_found = holds(&json!({"query": {name: null}}), &visitor);
                prop_assert!(is_found);
            }
        }
    }
}
