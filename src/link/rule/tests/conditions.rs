use super::*;

fn language(rule: &[&str], header: &'static str) -> bool {
    holds(&json!({ "language": rule }), &Visitor { accept_language: header, ..Visitor::default() })
}

#[test]
fn the_language_that_the_visitor_wants_most_decides() {
    for (rule, header) in [
        (&["en-gb"][..], "en;q=0.4, en-GB;q=0.8"),
        (&["en"], "en;q=0.4, en-GB;q=0.8"),
        (&["en"], "en-US,en;q=0.9,it;q=0.8"),
        (&["de", "it"], "fr;q=0.2, it;q=0.9"),
        (&["en"], "es, en,fr"),
        (&["EN"], "es, en-US,fr"),
        (&["es-ES"], "es_ES"),
        (&["es_es"], "es-ES"),
        (&["en-uk"], "en-UK"),
        (&["en-gb"], "en-UK"),
        (&["en-uk"], "en-GB"),
        (&["zh-tw"], "zh-Hant-TW,zh;q=0.9"),
        (&["zh-hant"], "zh-Hant-TW"),
        (&["no"], "nb-NO,nb;q=0.9,no;q=0.8"),
        (&["nb"], "no"),
        (&["he"], "iw-IL"),
        (&["fr"], "*, fr;q=0.5"),
        (&["fr"], "fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5"),
        (&["en"], "en ; q=1.000"),
        (&["it"], "x!, de;q=2, it;q=0.001"),
    ] {
        assert!(language(rule, header), "{rule:?} of {header}");
    }
    for (rule, header) in [
        (&["en-gb"][..], "en"),
        (&["en-gb"], "en-US"),
        (&["en-gb"], "en-GB;q=0.4, en;q=0.8"),
        (&["es-es"], "en-US,es-ES;q=0.6"),
        (&["en"], "de-DE,de;q=0.9,en;q=0.8"),
        (&["en"], "de, en;q=0.9"),
        (&["en"], "en;q=0"),
        (&["en"], "en;q=0.000, fr"),
        (&["en"], ""),
        (&["en"], "*"),
        (&["en"], "*;q=1"),
        (&["en"], "es-AR"),
        (&["en"], "eng"),
        (&["fr-fr"], "fr"),
        (&["de-ch"], "de-x-ch"),
        (&["en"], "en;q=x"),
    ] {
        assert!(!language(rule, header), "{rule:?} of {header}");
    }
}

#[test]
fn of_several_rules_the_one_for_the_visitors_own_language_holds_wherever_it_stands() {
    let rule = |name: &str| json!({"name": name, "when": {"language": [name]}, "destination": "x"});
    let rules = parse(&json!([rule("de"), rule("en-gb"), rule("en"), rule("fr")])).unwrap();
    let of = |header| {
        let mut visitor = Visitor { accept_language: header, ..Visitor::default() };
        rules.first(&mut visitor).map(|rule| rule.name.to_string()).unwrap_or_default()
    };
    assert_eq!(of("fr, de;q=0.9, en;q=0.8"), "fr");
    assert_eq!(of("en-US, de;q=0.9"), "en");
    assert_eq!(of("en;q=0.9, en-GB"), "en-gb");
    assert_eq!(of("it, de;q=0.9"), "");
}

#[test]
fn a_header_of_any_length_is_read_up_to_a_bound() {
    let header: &'static str = Box::leak(format!("{}en", "x,".repeat(32)).into_boxed_str());
    assert!(!language(&["en"], header));
    assert!(language(&["en"], &header[2..]));
}

fn query(when: &Value, query: &'static str) -> bool {
    holds(&json!({ "query": when }), &Visitor { query, ..Visitor::default() })
}

#[test]
fn all_parameters_must_be_there() {
    let both = json!({"foo": "bar", "hello": "world"});
    assert!(query(&both, "foo=bar&hello=world") && query(&both, "hello=world&x&foo=bar"));
    assert!(!query(&both, "foo=bar") && !query(&both, "foo=bar&hello=World") && !query(&both, ""));
    assert!(!query(&both, "Foo=bar&hello=world"));
}

#[test]
fn null_is_any_value_and_an_empty_text_no_value() {
    let any = json!({ "foo": null });
    assert!(query(&any, "foo=1") && query(&any, "foo") && query(&any, "foo=") && query(&any, "a&foo=%20"));
    assert!(!query(&any, "foot=1") && !query(&any, "food") && !query(&any, "a=foo"));
    let none = json!({ "foo": "" });
    assert!(query(&none, "foo") && query(&none, "foo=") && query(&none, "foo=1&foo"));
    assert!(!query(&none, "foo=1") && !query(&none, "foo=%20") && !query(&none, ""));
}

#[test]
fn names_and_values_are_compared_decoded_and_any_repetition_counts() {
    assert!(
        query(&json!({"some key": "a b"}), "some+key=a%20b") && query(&json!({"some key": "a b"}), "some%20key=a+b")
    );
    assert!(query(&json!({"a+b": "c&d=e"}), "a%2bb=c%26d%3De"));
    assert!(query(&json!({"name": "café"}), "name=caf%C3%A9"));
    assert!(query(&json!({"a": "100%"}), "a=100%") && query(&json!({"a": "%zz"}), "a=%zz"));
    assert!(query(&json!({"a": "2"}), "a=1&a=2&a=3"));
    assert!(query(&json!({"a": ["1", "2"]}), "a=2") && !query(&json!({"a": ["1", "2"]}), "a=3"));
    assert!(query(&json!({"a": "b=c"}), "a=b=c"));
}

fn network(when: &Value, address: &str) -> bool {
    holds(&json!({ "network": when }), &Visitor { address: Some(address.parse().unwrap()), ..Visitor::default() })
}

#[test]
fn a_network_holds_its_addresses_in_either_notation() {
    let one = json!(["1.2.3.0/24"]);
    assert!(network(&one, "1.2.3.4") && network(&one, "1.2.3.255") && network(&one, "::ffff:1.2.3.4"));
    assert!(!network(&one, "1.2.4.0") && !network(&one, "1.2.2.255") && !network(&one, "::1.2.3.4"));
    assert!(network(&json!("1.2.3.4"), "1.2.3.4") && !network(&json!("1.2.3.4"), "1.2.3.5"));
    assert!(network(&json!(["::ffff:1.2.3.0/120"]), "1.2.3.9") && network(&json!(["1.2.3.9/24"]), "1.2.3.1"));
    assert!(network(&json!(["2001:db8::/32"]), "2001:db8:7::1") && !network(&json!(["2001:db8::/32"]), "2001:db9::"));
    assert!(network(&json!(["::/0"]), "2001:db8::1") && !network(&json!(["::/0"]), "192.0.2.1"));
    let several = json!(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "192.0.2.0/30", "::1"]);
    for inside in ["10.255.0.1", "10.1.0.1", "192.0.2.7", "192.0.2.3", "::1"] {
        assert!(network(&several, inside), "{inside}");
    }
    for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.4", "192.0.2.8", "::2"] {
        assert!(!network(&several, outside), "{outside}");
    }
    assert!(!holds(&json!({"network": one}), &Visitor::default()));
}

fn place(when: &Value, country: &'static str, region: &'static str, city: &'static str) -> bool {
    let part = |part: &'static str| Some(part).filter(|part| !part.is_empty());
    let place = Place { country: part(country), region: part(region), city: part(city) };
    holds(when, &Visitor { place, ..Visitor::default() })
}

#[test]
fn a_country_is_a_code_in_any_case() {
    let paris = json!({"country": ["fr"], "city": ["paris"]});
    assert!(
        place(&paris, "fr", "idf", "Paris") && !place(&paris, "us", "tx", "Paris") && !place(&paris, "fr", "", "")
    );
    assert!(place(&json!({"country": ["DE", "UK"]}), "gb", "", "") && place(&json!({"country": "El"}), "gr", "", ""));
    assert!(!place(&json!({"country": ["fr"]}), "", "", ""));
}

#[test]
fn a_region_is_a_code_with_or_without_its_country() {
    let with = json!({"region": ["US-CA"]});
    assert!(place(&with, "us", "ca", "") && !place(&with, "it", "ca", "") && !place(&with, "us", "ny", ""));
    assert!(!place(&with, "us", "", "") && !place(&with, "", "ca", ""));
    assert!(
        place(&json!({"region": "eng"}), "gb", "eng", "") && place(&json!({"region": ["uk-eng"]}), "gb", "eng", "")
    );
}

#[test]
fn a_city_is_compared_without_case_accents_and_punctuation() {
    for (written, known) in [
        ("paris", "Paris"),
        ("PARIS", "Paris"),
        ("Saint Etienne", "Saint-Étienne"),
        ("Sao Paulo", "São Paulo"),
        ("München", "Munchen"),
        ("Lodz", "Łódź"),
        ("St. Gallen", "St Gallen"),
        ("Strasse", "Straße"),
        ("İstanbul", "Istanbul"),
        ("tromso", "Tromsø"),
        ("東京", "東京"),
    ] {
        assert!(place(&json!({"city": [written]}), "", "", Box::leak(known.into())), "{written}");
    }
    assert!(
        !place(&json!({"city": ["Paris"]}), "", "", "Parish") && !place(&json!({"city": ["Paris"]}), "", "", "Pari")
    );
}

#[test]
fn system_device_and_browser_have_the_slugs_of_events_and_synonyms() {
    let os = |written: &str, os| holds(&json!({ "os": [written] }), &Visitor { os: Some(os), ..Visitor::default() });
    assert!(os("ios", "ios") && os("iOS", "ipados") && os("ipados", "ipados") && !os("ipados", "ios"));
    assert!(os("Mac OS X", "macos") && os("OSX", "macos") && os("roku", "roku-os") && os("ChromeOS", "chrome-os"));
    assert!(!os("ios", "android") && os("playstation", "playstation-5") && !os("iphone", "ipados"));
    let device = |written: &str, device| {
        holds(&json!({ "device": written }), &Visitor { device: Some(device), ..Visitor::default() })
    };
    assert!(device("desktop", "pc") && device("mobile", "mobile-phone") && device("Mobile", "smartphone"));
    assert!(device("tablet", "tablet") && !device("mobile", "tablet") && !device("pc", "tablet"));
    let browser = |written: &str, browser| {
        holds(&json!({ "browser": [written] }), &Visitor { browser: Some(browser), ..Visitor::default() })
    };
    assert!(
        browser("Chrome", "chrome") && browser("IE", "internet-explorer") && browser("samsung", "samsung-internet")
    );
    assert!(browser("instagram", "instagram-app") && browser("twitter", "x-app") && browser("uc", "uc-browser"));
    assert!(browser("Opera Mini", "opera-mini") && !browser("opera", "opera-mini"));
    for nothing in [json!({"os": ["ios"]}), json!({"device": ["pc"]}), json!({"browser": ["chrome"]})] {
        assert!(!holds(&nothing, &Visitor::default()), "{nothing}");
    }
}

#[test]
fn bots_and_returning_visitors_are_distinguished() {
    for (bot, returning) in [(true, true), (true, false), (false, true), (false, false)] {
        let visitor = Visitor { bot, returning, ..Visitor::default() };
        assert_eq!(holds(&json!({"bot": true}), &visitor), bot);
        assert_eq!(holds(&json!({"bot": false}), &visitor), !bot);
        assert_eq!(holds(&json!({"visitor": "returning"}), &visitor), returning);
        assert_eq!(holds(&json!({"visitor": "new"}), &visitor), !returning);
    }
}

#[test]
fn a_referrer_is_a_type_a_network_or_a_host() {
    let from = |when: &Value, kind, network, host| {
        let referrer = Some(Referrer { kind, network, host });
        holds(&json!({ "referrer": when }), &Visitor { referrer, ..Visitor::default() })
    };
    let facebook = |when: &Value| from(when, "social", Some("facebook"), "l.facebook.com");
    assert!(facebook(&json!(["social"])) && facebook(&json!("Facebook")) && facebook(&json!(["fb"])));
    assert!(facebook(&json!(["facebook.com"])) && facebook(&json!({"type": "social", "network": ["x", "facebook"]})));
    assert!(!facebook(&json!(["search", "x"])) && !facebook(&json!({"type": ["social"], "network": ["x"]})));
    assert!(!facebook(&json!(["book.com"])) && !facebook(&json!(["direct"])));
    let news = |when: &Value| from(when, "other", None, "news.example.com");
    assert!(news(&json!(["Example.COM"])) && news(&json!({"host": ["news.example.com"]})) && news(&json!(["other"])));
    assert!(!news(&json!(["a.news.example.com"])) && from(&json!(["twitter"]), "social", Some("x"), "t.co"));
    assert!(from(&json!(["münchen.de"]), "other", None, "xn--mnchen-3ya.de"));
    assert!(holds(&json!({"referrer": ["direct"]}), &Visitor::default()));
    assert!(!holds(&json!({"referrer": ["social"]}), &Visitor::default()));
}

fn error(when: &Value) -> String {
    rules(when).unwrap_err()
}

#[test]
fn bad_conditions_are_rejected_with_field_value_and_remedy() {
    for (when, message) in [
        (json!([]), "`rules[0].when` is []; write conditions"),
        (json!({"nation": ["fr"]}), "`rules[0].when.nation` is unknown; known are after, before,"),
        (json!({"country": []}), "`rules[0].when.country` is empty; write codes of ISO 3166-1"),
        (json!({"country": ["fr", "en"]}), "`rules[0].when.country[1]` is \"en\"; write codes of ISO 3166-1"),
        (json!({"country": ["fra"]}), "`rules[0].when.country[0]` is \"fra\"; write"),
        (json!({ "country": null }), "`rules[0].when.country` is null; write"),
        (json!({"country": {"a": 1}}), "`rules[0].when.country` is {\"a\":1}; write"),
        (json!({"region": ["xx-ca"]}), "`rules[0].when.region[0]` is \"xx-ca\"; write codes of ISO 3166-2"),
        (json!({"region": ["california"]}), "`rules[0].when.region[0]` is \"california\"; write"),
        (json!({"city": ["  "]}), "`rules[0].when.city[0]` is \"  \"; write English names"),
        (json!({"city": ["-"]}), "`rules[0].when.city[0]` is \"-\"; write English names"),
        (json!({"language": ["english"]}), "`rules[0].when.language[0]` is \"english\"; write language tags"),
        (json!({"language": ["*"]}), "`rules[0].when.language[0]` is \"*\"; write language tags"),
        (json!({"os": ["ios", "beos"]}), "`rules[0].when.os[1]` is \"beos\"; known are android, bada,"),
        (json!({"os": 7}), "`rules[0].when.os` is 7; write names such as \"ios\""),
        (json!({"device": ["car"]}), "`rules[0].when.device[0]` is \"car\"; known are appliance, console,"),
        (
            json!({"browser": ["mosaic"]}),
            "`rules[0].when.browser[0]` is \"mosaic\"; known are mastodon-app, maxthon,",
        ),
        (json!({"bot": "yes"}), "`rules[0].when.bot` is \"yes\"; write true or false"),
        (json!({"visitor": true}), "`rules[0].when.visitor` is true; write \"new\" or \"returning\""),
        (json!({"referrer": ["a b/c"]}), "`rules[0].when.referrer[0]` is \"a b/c\"; write names"),
        (json!({"referrer": {}}), "`rules[0].when.referrer` is {}; write names"),
        (json!({"referrer": {"kind": "x"}}), "`rules[0].when.referrer.kind` is unknown; known are type,"),
        (
            json!({"referrer": {"type": ["friends"]}}),
            "`rules[0].when.referrer.type[0]` is \"friends\"; write types: direct",
        ),
        (json!({"query": {}}), "`rules[0].when.query` is {}; write parameters"),
        (json!({"query": ["a"]}), "`rules[0].when.query` is [\"a\"]; write parameters"),
        (json!({"query": {"a": 1}}), "`rules[0].when.query.a` is 1; write it as text: \"1\""),
        (json!({"query": {"a": []}}), "`rules[0].when.query.a` is empty; write"),
        (json!({"query": {"": "a"}}), "`rules[0].when.query.` needs a name of 1"),
        (json!({"after": "tomorrow"}), "`rules[0].when.after` is \"tomorrow\"; write a time such as"),
        (json!({"after": 7}), "`rules[0].when.after` is 7; write a time such as"),
        (
            json!({"after": "2026-02-01T00:00:00Z", "before": "2026-01-01T00:00:00Z"}),
            "`rules[0].when.before` is \"2026-01-01T00:00:00Z\"; it is not later than `after`",
        ),
        (json!({"weekday": ["mo"]}), "`rules[0].when.weekday[0]` is \"mo\"; write days: mon"),
        (json!({"hours": "9-17"}), "`rules[0].when.hours` is \"9-17\"; write hours"),
        (json!({"hours": "09:00-09:00"}), "`rules[0].when.hours` is \"09:00-09:00\"; write hours"),
        (json!({"hours": "09:00-24:01"}), "`rules[0].when.hours` is \"09:00-24:01\"; write hours"),
        (json!({"hours": "24:00-09:00"}), "`rules[0].when.hours` is \"24:00-09:00\"; write hours"),
        (json!({"hours": ["09:00"]}), "`rules[0].when.hours[0]` is \"09:00\"; write hours"),
        (
            json!({"hours": "09:00-17:00", "timeZone": "Europe/Roma"}),
            "`rules[0].when.timeZone` is \"Europe/Roma\"; write the IANA name",
        ),
        (json!({"timeZone": "UTC"}), "`rules[0].when.timeZone` is \"UTC\"; it has no effect without"),
        (json!({"network": ["1.2.3.0/33"]}), "`rules[0].when.network[0]` is \"1.2.3.0/33\"; write addresses"),
        (json!({"network": ["1.2.3.*"]}), "`rules[0].when.network[0]` is \"1.2.3.*\"; write addresses"),
    ] {
        let error = error(&when);
        assert!(error.starts_with(message), "{error}");
    }
    let many: Vec<_> = (0..=MAX_VALUES).map(|at| format!("City {at}")).collect();
    let message = "`rules[0].when.city` has 301 elements; at most 300 are possible";
    assert_eq!(error(&json!({ "city": many })), message);
}
