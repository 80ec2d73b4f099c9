use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json};

use super::*;

const SERVICES: [Service; 8] = [
    Service::Rebrandly,
    Service::Dub,
    Service::Shlink,
    Service::Yourls,
    Service::Bitly,
    Service::ShortIo,
    Service::Kutt,
    Service::Csv,
];

/// Names of fields of all services.
const NAMES: &[&str] = &[
    "id",
    "slashtag",
    "destination",
    "domain",
    "domainName",
    "shortUrl",
    "createdAt",
    "creator",
    "workspace",
    "tags",
    "scripts",
    "status",
    "httpStatus",
    "forwardParameters",
    "expiredUrl",
    "expiresAt",
    "key",
    "url",
    "slug",
    "notFoundUrl",
    "ios",
    "android",
    "geo",
    "testVariants",
    "proxy",
    "title",
    "image",
    "password",
    "doIndex",
    "shortCode",
    "longUrl",
    "meta",
    "redirectRules",
    "deviceLongUrls",
    "redirects",
    "keyword",
    "shorturl",
    "timestamp",
    "custom_bitlinks",
    "long_url",
    "link",
    "originalURL",
    "path",
    "secureShortURL",
    "splitURL",
    "splitPercent",
    "redirectType",
    "utmSource",
    "clicksLimit",
    "skipQS",
    "address",
    "target",
    "homepage",
    "banned",
    "expire_in",
    "max clicks",
    "fallback",
    "active",
    "hasPassword",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("https://www.example.com/a?b={c}#d".to_owned()),
        Just("go.brand.example/spring".to_owned()),
        Just("go.brand.example".to_owned()),
        Just("mailto:info@example.com".to_owned()),
        Just("2023-08-31 04:13:48".to_owned()),
        Just("true".to_owned()),
        Just("_root".to_owned()),
        "[a-z0-9]{1,6}",
        "\\PC{0,12}",
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| json!(number)),
        (0_u32..200).prop_map(|number| json!(number)),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let names = prop_oneof![
            proptest::sample::select(NAMES).prop_map(str::to_owned),
            proptest::sample::select(
                &["conditions", "type", "matchKey", "matchValue", "percentage", "FR", "name", "data"][..]
            )
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((names, inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn record() -> impl Strategy<Value = Map<String, Value>> {
    vec((proptest::sample::select(NAMES), value()), 0..14)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn imported(service: Service, content: &[u8]) -> Option<(String, tally::Tally)> {
    let defaults = Defaults { domain: Some("go.brand.example".into()), workspace: None };
    let mut out = Output::new(defaults, check);
    for record in records(content).ok()? {
        convert(service, record, "", &mut out);
    }
    let (lines, tally) = out.into_lines();
    let text = lines.iter().flat_map(|line| [line.clone(), "\n".to_owned()]).collect();
    Some((text, tally))
}

proptest! {
    #[test]
    fn an_edge_takes_every_line_that_is_written(record in record(), link in any::<bool>()) {
        let mut record = record;
        if link {
            // What every service has, so that more than the domains come through.
            for name in ["slashtag", "key", "shortCode", "keyword", "path", "address"] {
                record.insert(name.into(), json!("spring"));
            }
            for name in ["destination", "url", "longUrl", "long_url", "originalURL", "target"] {
                record.insert(name.into(), json!("https://www.example.com/"));
            }
        }
        let content = Value::Object(record).to_string();
        for service in SERVICES {
            let (text, tally) = imported(service, content.as_bytes()).unwrap();
            let (catalog, report) = source::load(text.as_bytes(), &config::Catalog::default()).unwrap();
            let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
            prop_assert!(problems.is_empty(), "{service:?}: {problems:?} in {text}");
            prop_assert_eq!(catalog.links() as u64, tally.written);
        }
    }

    #[test]
    fn any_bytes_are_read_or_reported(bytes in vec(any::<u8>(), 0..300), text in "[\\[{\"a:,1}\\]\n;]{0,60}") {
        for content in [&bytes[..], text.as_bytes()] {
            for service in [Service::Dub, Service::Csv] {
                imported(service, content);
            }
        }
    }
}

#[test]
fn a_column_is_known_by_its_usual_names() {
    let header = ["Short URL", "Destination_URL", "slug", "back-half", "expires at", "Mystery"].map(str::to_owned);
    assert_eq!(table::named(&header), ["shortUrl", "destination", "slashtag", "back-half", "activeUntil", "mystery"]);
}

#[test]
fn tables_of_spreadsheets_are_read() {
    for text in
        ["sep=;\nslug;url\na;https://www.example.com/?x=1,2\n", "slug\turl\r\na\thttps://www.example.com/?x=1,2\r\n"]
    {
        let (text, _) = imported(Service::Csv, text.as_bytes()).unwrap();
        assert!(text.contains("https://www.example.com/?x=1,2"), "{text}");
    }
}

#[test]
fn a_link_with_an_app_scheme_has_it_permitted_by_its_domain() {
    let (text, _) = imported(Service::Csv, b"slug,url\ncall,tel:+15550100\n").unwrap();
    let domain: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(domain, json!({"kind": "domain", "fullName": "go.brand.example", "schemes": ["tel"]}));
    for scheme in ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd"] {
        let (text, tally) = imported(Service::Csv, format!("slug,url\nx,\"{scheme}\"\n").as_bytes()).unwrap();
        assert_eq!((text.as_str(), tally.skipped), ("", 1), "{scheme}");
    }
}
