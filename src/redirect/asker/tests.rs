use std::{cell::Cell, fs};

use http::Method;

use super::*;
use crate::{
    click::Protocol,
    config::Secret,
    link::Rules,
    visitor::{agent, bot::CrawlerLists, geo::Database},
};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";
const NOW: u64 = 1_767_603_600_000_000;

fn visitors() -> Visitors {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, [7; 32]).unwrap();
    let sticky = StickyKey::new(&Secret::read(&file).unwrap());
    let policies = Policies::new(&toml::from_str("[workspaces.\"w-2\"]\nhonour_opt_out = false").unwrap());
    let policies = Arc::new(Reloadable::new(policies));
    Visitors::new(&Arc::default(), &Arc::default(), &Arc::default(), &policies, &Arc::new(sticky))
}

/// What a visitor is asked, with how often the address was read.
fn ask<T>(
    visitors: &Visitors,
    fields: &[(&str, &str)],
    address: [u8; 4],
    read: impl FnOnce(&mut Visitor<'_>) -> T,
) -> T {
    ask_in(visitors, "w-1", fields, address, read)
}

fn ask_in<T>(
    visitors: &Visitors,
    workspace: &str,
    fields: &[(&str, &str)],
    address: [u8; 4],
    read: impl FnOnce(&mut Visitor<'_>) -> T,
) -> T {
    let mut head = Head::new(&Method::GET, b"/spring?foo=bar", Protocol::Http11);
    for (name, value) in fields {
        head.read_field(name.as_bytes(), value.as_bytes());
    }
    let reads = Cell::new(0);
    let client = || {
        reads.set(reads.get() + 1);
        ClientAddr::from_ip(address.into())
    };
    let flags = head.flags;
    let mut visitor = visitors.of_names(&head, (workspace, "go.brand.com", b"spring"), NOW, flags, &client);
    let read = read(&mut visitor);
    assert!(reads.get() <= 1, "the address was read {} times", reads.get());
    read
}

const BROWSER: [(&str, &str); 4] = [
    ("User-Agent", IPHONE),
    ("Accept", "text/html"),
    ("Accept-Encoding", "gzip"),
    ("Accept-Language", "en-GB,en;q=0.9"),
];

#[test]
fn a_request_answers_as_the_workers_do() {
    let visitors = visitors();
    ask(&visitors, &BROWSER, [192, 0, 2, 1], |visitor| {
        let known = agent::parse(IPHONE);
        assert_eq!(visitor.os(), known.os.as_ref().map(|os| os.name.as_ref()));
        assert_eq!(visitor.os(), Some("ios"));
        assert_eq!(visitor.device(), Some("smartphone"));
        assert_eq!(visitor.browser(), Some("safari"));
        assert!(!visitor.is_bot() && !visitor.is_returning());
        assert_eq!(visitor.query(), b"foo=bar");
        assert_eq!(visitor.accept_language(), b"en-GB,en;q=0.9");
        assert_eq!(visitor.address(), Some([192, 0, 2, 1].into()));
        assert_eq!(visitor.now().to_string(), "2026-01-05T09:00:00Z");
        assert_eq!(visitor.place(), Place::default());
        assert_eq!(visitor.referrer(), None);
    });
    let curl = [("User-Agent", "curl/8.5.0"), ("Accept", "*/*")];
    assert!(ask(&visitors, &curl, [192, 0, 2, 1], |visitor| visitor.is_bot()));
    let prefetch = [&BROWSER[..], &[("Sec-Purpose", "prefetch")]].concat();
    assert!(ask(&visitors, &prefetch, [192, 0, 2, 1], |visitor| visitor.is_bot()));
    assert_eq!(ask(&visitors, &BROWSER, [0; 4], |visitor| visitor.address()), None);
}

#[test]
fn a_list_that_is_replaced_counts_from_the_next_request_on() {
    let visitors = visitors();
    let is_bot = || ask(&visitors, &BROWSER, [192, 0, 2, 1], |visitor| visitor.is_bot());
    assert!(!is_bot());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crawlers.json");
    fs::write(&file, r#"[{"pattern": "iPhone OS 17_5", "url": "https://example.com"}]"#).unwrap();
    visitors.crawlers.publish(CrawlerLists::read(Some(&file), &[]).unwrap());
    assert!(is_bot());
}

#[test]
fn a_referrer_has_the_names_of_events() {
    let visitors = visitors();
    let from = |referer: &str| {
        let fields = [("Referer", referer)];
        ask(&visitors, &fields, [192, 0, 2, 1], |visitor| {
            visitor
                .referrer()
                .map(|found| (found.kind.to_owned(), found.network.map(str::to_owned), found.host.to_owned()))
        })
    };
    assert_eq!(from("https://t.co/x"), Some(("social".into(), Some("x".into()), "t.co".into())));
    assert_eq!(from("https://shop.example/"), Some(("other".into(), None, "shop.example".into())));
    assert_eq!(from("https://go.brand.com/a"), Some(("internal".into(), None, "go.brand.com".into())));
    assert_eq!(from(""), None);
}

#[test]
fn a_location_is_looked_up_only_when_a_rule_asks_and_goes_with_the_click() {
    let visitors = visitors();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/demo/geoip.mmdb");
    visitors.geo.publish(Database::read(demo.as_ref()).unwrap());
    let rules = |when: &str| {
        let rules = format!(r#"[{{"name": "r", "when": {when}, "destination": "https://www.example.com/"}}]"#);
        Rules::parse(&serde_json::from_str(&rules).unwrap(), &|text: &str| Ok(text.into())).unwrap()
    };
    let found = |when: &str| {
        ask(&visitors, &BROWSER, [203, 0, 113, 9], |visitor| {
            rules(when).first(visitor);
            visitor.found()
        })
    };
    assert_eq!(found(r#"{"language": ["en"]}"#), b"");
    assert_eq!(found(r#"{"language": ["fr"], "country": ["fr"]}"#), b"");
    assert_ne!(found(r#"{"language": ["en"], "country": ["fr"]}"#), b"");
}

#[test]
fn a_visitor_keeps_the_variant_unless_they_opted_out_or_it_is_switched_off() {
    let visitors = visitors();
    let pick = |fields: &[(&str, &str)], n: u8| ask(&visitors, fields, [192, 0, 2, n], |visitor| visitor.visitor());
    let distinct = |fields: &[(&str, &str)]| {
        let mut numbers: Vec<_> = (0..20).map(|_| pick(fields, 1)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len()
    };
    assert_eq!(distinct(&BROWSER), 1);
    assert_ne!(pick(&BROWSER, 1), pick(&BROWSER, 2));
    for signal in ["Sec-GPC", "DNT"] {
        let opted_out = [&BROWSER[..], &[(signal, "1")]].concat();
        assert_eq!(distinct(&opted_out), 20);
        // The workspace does not honour it.
        let other = || ask_in(&visitors, "w-2", &opted_out, [192, 0, 2, 1], |visitor| visitor.visitor());
        assert_eq!(other(), other());
    }
    visitors.configure(&config::Redirect { sticky_variants: false, ..config::Redirect::default() });
    assert_eq!(distinct(&BROWSER), 20);
    ask(&visitors, &BROWSER, [192, 0, 2, 1], |visitor| {
        let picked = visitor.visitor();
        assert_eq!(visitor.visitor(), picked);
    });
}

#[test]
fn a_visitor_who_has_clicked_is_returning_unless_a_bot_or_opted_out() {
    let visitors = visitors();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let sessions = Arc::new(Sessions::open(dir.path(), &config::Enrich::default(), None, NOW).unwrap());
    let is_returning =
        |fields: &[(&str, &str)], n| ask(&visitors, fields, [192, 0, 2, n], |visitor| visitor.is_returning());
    assert!(!is_returning(&BROWSER, 1));
    visitors.connect(&sessions);
    assert!(!is_returning(&BROWSER, 1));
    ask(&visitors, &BROWSER, [192, 0, 2, 1], |visitor| {
        let digest = visitor.agent().digest;
        visitor.with_facts(|facts| sessions.click(facts, &digest, None));
    });
    assert!(is_returning(&BROWSER, 1) && !is_returning(&BROWSER, 2));
    assert!(!is_returning(&[&BROWSER[..], &[("Sec-GPC", "1")]].concat(), 1));
    assert!(!is_returning(&[&BROWSER[..], &[("Sec-Purpose", "prefetch")]].concat(), 1));
    assert!(!ask_in(&visitors, "w-2", &BROWSER, [192, 0, 2, 1], |visitor| visitor.is_returning()));
}

#[test]
fn slugs_of_rules_are_those_of_events() {
    for (condition, names) in [("os", agent::systems()), ("browser", agent::browsers())] {
        for name in names {
            let rules = serde_json::json!([{"name": "r", "when": {condition: [name]}, "destination": "x"}]);
            let parsed = Rules::parse(&rules, &|text: &str| Ok(text.into()));
            assert!(parsed.is_ok(), "{condition}: {:?}", parsed.err());
        }
    }
    for device in Device::ALL {
        let rules = serde_json::json!([{"name": "r", "when": {"device": [device.name()]}, "destination": "x"}]);
        assert!(Rules::parse(&rules, &|text: &str| Ok(text.into())).is_ok(), "{}", device.name());
    }
    for kind in crate::event::OriginType::ALL {
        let rules =
            serde_json::json!([{"name": "r", "when": {"referrer": {"type": kind.name()}}, "destination": "x"}]);
        assert!(Rules::parse(&rules, &|text: &str| Ok(text.into())).is_ok(), "{}", kind.name());
    }
}
