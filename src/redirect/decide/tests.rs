use std::net::IpAddr;

use http::Method;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    catalog::source,
    click::Protocol,
    config,
    link::asker::{Place, Referrer},
};

/// A visitor of whom everything is decided by a number.
struct Someone(u64);

impl Asker for Someone {
    fn now(&mut self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
    fn address(&mut self) -> Option<IpAddr> {
        Some([192, 0, 2, self.0 as u8].into())
    }
    fn query(&mut self) -> &[u8] {
        b"a=1"
    }
    fn accept_language(&mut self) -> &[u8] {
        b"de"
    }
    fn referrer(&mut self) -> Option<Referrer<'_>> {
        None
    }
    fn os(&mut self) -> Option<&str> {
        Some("ios")
    }
    fn device(&mut self) -> Option<&str> {
        Some("mobile")
    }
    fn browser(&mut self) -> Option<&str> {
        None
    }
    fn is_bot(&mut self) -> bool {
        self.0 & 1 == 1
    }
    fn is_social_bot(&mut self) -> bool {
        self.0 & 3 == 3
    }
    fn place(&mut self) -> Place<'_> {
        Place::default()
    }
    fn is_returning(&mut self) -> bool {
        false
    }
    fn visitor(&mut self) -> u64 {
        self.0
    }
}

/// Fields of a link, each of them or not.
fn policy() -> impl Strategy<Value = Value> {
    let field = |name: &'static str, values: Vec<Value>| {
        proptest::option::of(proptest::sample::select(values)).prop_map(move |value| value.map(|value| (name, value)))
    };
    let rules = json!([{"name": "r", "when": {"os": ["ios"]}, "destination": "https://rule.example/r/?r=1#r"}]);
    let variants =
        json!([{"name": "v", "destination": "https://variant.example/v"}, {"name": "w", "destination": "tel:+1"}]);
    (
        field("forwardPath", vec![json!("append"), json!("ignore")]),
        field(
            "forwardParameters",
            vec![json!(true), json!("destination"), json!("both"), json!("utm"), json!(["a"])],
        ),
        field("clickIdParameter", vec![json!("cid")]),
        field("rules", vec![rules]),
        field("variants", vec![variants]),
        field("fallback", vec![json!("https://fallback.example/f/{path}?p={path}&d={domain}")]),
        field("activeUntil", vec![json!("2020-01-01"), json!("2999-01-01")]),
        field("status", vec![json!("disabled"), json!("expired")]),
        field("httpStatus", vec![json!(301), json!(307)]),
        field("card", vec![json!({"title": "T"})]),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i, j)| {
            let mut link = json!({"id": "l", "slashtag": "s", "destination": "https://own.example/base/p?own=1#end",
                "domain": {"fullName": "go.brand.com"}});
            for (name, value) in [a, b, c, d, e, f, g, h, i, j].into_iter().flatten() {
                link[name] = value;
            }
            link
        })
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        "([/\\\\.@:?#&=+%]|%2e|%2F|%0d%0a|\\.\\.|//evil.example|javascript:|cid=x|a=2|utm_x=1){0,12}"
            .prop_map(String::into_bytes),
    ];
    (proptest::sample::select(vec!["/s", "/s/", "/S", "/s.", "/s+", "/", "/x"]), part)
        .prop_map(|(start, rest)| [start.as_bytes(), &rest].concat())
}

proptest! {
    #[test]
    fn no_request_leads_where_no_link_says(link in policy(), target in target(), who in any::<u64>(), head in any::<bool>()) {
        let domain = json!({"kind": "domain", "fullName": "go.brand.com", "schemes": ["tel"], "previewSuffix": "+",
            "trimPunctuation": true, "notFound": "https://unknown.example/u/{path}#{path}", "root": "https://root.example/"});
        let text = format!("{domain}\n{link}\n");
        let (catalog, report) = source::load(text.as_bytes(), &config::Catalog::default()).unwrap();
        prop_assert_eq!(report.bad, 0, "{:?}", report.problems);
        let method = if head { Method::HEAD } else { Method::GET };
        let mut request = Head::new(&method, &target, Protocol::Http11);
        request.read_field(b"Host", b"GO.brand.com:80");
        let decision = match look_up(&catalog, &request, &mut Untraced) {
            Step::Decided(decision) => decision,
            Step::Policy(found) => {
                let circumstances = Circumstances { id: EventId::at(1), is_used_up: false, is_unlocked: false };
                apply(&found, &request, &mut Someone(who), circumstances, &mut Untraced)
            }
        };
        let location = match decision {
            Decision::Click(target) => target.location,
            Decision::Fallback { location, .. } => location,
            _ => return Ok(()),
        };
        prop_assert!(http::HeaderValue::from_bytes(&location).is_ok());
        let text = std::str::from_utf8(&location).unwrap();
        if text == "tel:+1" || text.starts_with("tel:+1?") {
            return Ok(());
        }
        let url = url::Url::parse(text).unwrap();
        let base = match url.host_str() {
            Some("own.example") => "/base/p",
            Some("rule.example") => "/r/",
            Some("variant.example") => "/v",
            Some("fallback.example") => "/f/",
            Some("unknown.example") => "/u/",
            Some("root.example") => "/",
            other => return Err(TestCaseError::fail(format!("{other:?}: {text}"))),
        };
        prop_assert_eq!((url.scheme(), url.port(), url.username()), ("https", None, ""));
        let rest = url.path().strip_prefix(base);
        prop_assert!(rest.is_some_and(|rest| rest.is_empty() || base.ends_with('/') || rest.starts_with('/')), "{text}");
    }
}
