//! What links and domains can do, each row of the manual's tables against the running edge, by both ways of the front.

use serde_json::{Value, json};

use crate::common::{Answer, Builder, CHROME, Edge, link};

const D: &str = "https://www.example.com";

/// A link with more fields.
fn with(slashtag: &str, destination: &str, more: Value) -> Value {
    let mut link = link("go.brand.com", slashtag, destination);
    let Value::Object(more) = more else { panic!("no object: {more}") };
    for (name, value) in more {
        link[name] = value;
    }
    link
}

fn domain(more: Value) -> Value {
    let mut line = json!({"kind": "domain", "fullName": "go.brand.com"});
    let Value::Object(more) = more else { panic!("no object: {more}") };
    for (name, value) in more {
        line[name] = value;
    }
    line
}

/// Both ways to an answer.
fn edges(build: impl Fn() -> Builder) -> [Edge; 2] {
    [true, false].map(|fast_lane| build().fast_lane(fast_lane).start())
}

fn get(edge: &Edge, target: &str) -> Answer {
    edge.get("go.brand.com", target)
}

fn leads(edge: &Edge, target: &str) -> String {
    let answer = get(edge, target);
    answer.header("location").map_or_else(|| answer.status.to_string(), str::to_owned)
}

#[test]
fn a_domain_has_fallbacks_that_are_no_clicks() {
    let build = || {
        Edge::builder()
            .link(with("e", &format!("{D}/e"), json!({"activeUntil": "2020-01-01T00:00:00Z", "fallback": format!("{D}/own")})))
            .link(with("old", &format!("{D}/e"), json!({"expiredAt": "2020-01-01"})))
            .link(with("paused", &format!("{D}/e"), json!({"status": "disabled"})))
            .link(with("soon", &format!("{D}/e"), json!({"activeFrom": "2100-01-01T00:00:00Z"})))
            .link(with("now", &format!("{D}/now"), json!({"activeFrom": 1_600_000_000, "activeUntil": "2100-01-01"})))
            .link(domain(json!({
                "root": format!("{D}/base"), "notFound": format!("{D}/{{path}}?from={{domain}}"), "expired": format!("{D}/over"),
                "aliases": ["www.go.brand.com"],
            })))
            .feed("all", &["*"])
    };
    for edge in edges(build) {
        assert_eq!(leads(&edge, "/"), format!("{D}/base"));
        assert_eq!(leads(&edge, "/unknown"), format!("{D}/unknown?from=go.brand.com"));
        assert_eq!(leads(&edge, "/SPRING"), format!("{D}/SPRING?from=go.brand.com"));
        assert_eq!(leads(&edge, "/a%20b/c"), format!("{D}/a%20b/c?from=go.brand.com"));
        assert_eq!(leads(&edge, "/../..//evil.example"), format!("{D}/evil.example?from=go.brand.com"));
        assert_eq!(leads(&edge, "/paused"), format!("{D}/paused?from=go.brand.com"));
        assert_eq!(leads(&edge, "/soon"), format!("{D}/soon?from=go.brand.com"));
        assert_eq!(leads(&edge, "/e"), format!("{D}/own"));
        assert_eq!(leads(&edge, "/old"), format!("{D}/over"));
        assert_eq!(leads(&edge, "/now"), format!("{D}/now"));
        let answer = edge.get("www.go.brand.com", "/x");
        assert_eq!((answer.status, answer.header("location")), (302, Some(&*format!("{D}/x?from=www.go.brand.com"))));
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
        assert_eq!(edge.metric("clickedge_requests_total{outcome=\"fallback\"}"), 10);
        let answer = edge.raw(b"POST /unknown HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(answer.status, 405);
        assert_eq!(edge.stop().events("all").len(), 1, "the one that leads somewhere");
    }
}

#[test]
fn a_path_behind_the_slashtag_goes_where_the_link_says() {
    let to = format!("{D}/foo/bar?some=thing");
    let build = || {
        Edge::builder()
            .link(with("s", &to, json!({"forwardPath": "append"})))
            .link(with("q", &to, json!({"forwardPath": "append", "forwardParameters": false})))
            .link(with("example", &to, json!({"forwardPath": "ignore"})))
            .link(with("a", &format!("{D}/a"), json!({"forwardPath": "append"})))
            .link(with("a/b", &format!("{D}/b"), json!({})))
    };
    for edge in edges(build) {
        let foo = format!("{D}/foo/bar");
        for (target, right) in [
            ("/s/something/else-baz?hello=world", format!("{foo}/something/else-baz?some=thing&hello=world")),
            ("/q/something/else-baz?hello=world", format!("{foo}/something/else-baz?some=thing")),
            ("/example/blah", to.clone()),
            ("/a/b/c", format!("{D}/a/b/c")),
            ("/a/b", format!("{D}/b")),
            ("/s/../../x", format!("{foo}/x?some=thing")),
            ("/s/%2e%2e/x", format!("{foo}/x?some=thing")),
            ("/s//evil.example", format!("{foo}/evil.example?some=thing")),
            ("/s/..%5c..%5cx", format!("{foo}/..%5c..%5cx?some=thing")),
            ("/spring/x", "404".into()),
        ] {
            assert_eq!(leads(&edge, target), right, "{target}");
        }
    }
}

#[test]
fn a_query_is_forwarded_as_the_link_says() {
    let to = format!("{D}/?a=1&b=2");
    let build = || {
        [
            ("both", json!("both")),
            ("in", json!(true)),
            ("dest", json!("destination")),
            ("utm", json!("utm")),
            ("off", json!("off")),
            ("only", json!(["a", "x_*"])),
        ]
        .into_iter()
        .fold(Edge::builder(), |edge, (name, way)| edge.link(with(name, &to, json!({"forwardParameters": way}))))
        .link(with("cid", &to, json!({"clickIdParameter": "cid"})))
        .link(with("long", &format!("{D}/#{}", "x".repeat(12_000)), json!({})))
        .feed("all", &["*"])
    };
    for edge in edges(build) {
        let query = "?a=9&utm_term=t&x_1=y";
        for (name, right) in [
            ("both", "a=1&b=2&a=9&utm_term=t&x_1=y"),
            ("in", "a=9&b=2&utm_term=t&x_1=y"),
            ("dest", "a=1&b=2&utm_term=t&x_1=y"),
            ("utm", "a=1&b=2&utm_term=t"),
            ("off", "a=1&b=2"),
            ("only", "a=9&b=2&x_1=y"),
        ] {
            assert_eq!(leads(&edge, &format!("/{name}{query}")), format!("{D}/?{right}"), "{name}");
        }
        assert_eq!(leads(&edge, "/long").len(), 12_000 + D.len() + 2);
        let with_id = leads(&edge, "/cid?cid=mine&c=3");
        let (start, id) = with_id.rsplit_once("cid=").unwrap();
        assert_eq!(start, format!("{D}/?a=1&b=2&c=3&"));
        let events = edge.stop().events("all");
        let event = events.iter().find(|event| event["route"]["slashtag"] == "cid").unwrap();
        assert_eq!(event["id"], id);
        assert!(event["route"]["destination"]["raw"].as_str().is_none_or(|raw| raw.ends_with(id)), "{event}");
    }
}

#[test]
fn other_schemes_are_sent_byte_for_byte() {
    let uris = [
        "android://foo/bar",
        "tel:+15550100",
        "mailto:info@example.com?subject=Hi",
        "intent://scan/#Intent;scheme=zxing;package=com.example;end",
    ];
    let build = || {
        let names = (0..).zip(uris);
        let links = names.map(|(n, uri)| with(&format!("u{n}"), uri, json!({})));
        links
            .fold(Edge::builder(), Builder::link)
            .link(domain(json!({"schemes": ["android", "tel", "mailto", "intent"]})))
    };
    for edge in edges(build) {
        for (n, uri) in (0..).zip(uris) {
            assert_eq!(leads(&edge, &format!("/u{n}")), uri);
        }
    }
}

#[test]
fn a_pasted_link_is_found_without_punctuation_and_an_emoji_without_its_selector() {
    let build = || {
        Edge::builder()
            .link(with("\u{2764}\u{fe0f}", &format!("{D}/heart"), json!({})))
            .link(with("spring,", &format!("{D}/comma"), json!({})))
            .link(domain(json!({"trimPunctuation": true, "previewSuffix": "+"})))
            .feed("all", &["*"])
    };
    for edge in edges(build) {
        let spring = "https://www.example.com/spring?utm_source=go";
        for target in ["/spring.", "/spring)", "/spring%22", "/spring%E2%80%8B", "/spring%E2%80%9D)."] {
            assert_eq!(leads(&edge, target), spring, "{target}");
        }
        assert_eq!(leads(&edge, "/spring,"), format!("{D}/comma"), "a link comes first");
        for target in ["/%E2%9D%A4", "/%E2%9D%A4%EF%B8%8F"] {
            assert_eq!(leads(&edge, target), format!("{D}/heart"), "{target}");
        }
        let answer = get(&edge, "/spring+");
        assert_eq!((answer.status, answer.header("location")), (200, None));
        assert!(answer.body.contains("https://www.example.com/spring?utm_source=go"), "{}", answer.body);
        assert_eq!(edge.metric("clickedge_requests_total{outcome=\"preview\"}"), 1);
        assert_eq!(edge.stop().events("all").len(), 8, "the preview is no click");
    }
}

#[test]
fn hosts_lead_to_the_domain_that_names_them() {
    let build =
        || Edge::builder().link(domain(json!({"aliases": ["www.go.brand.com", "*.brand.com"]}))).feed("all", &["*"]);
    for edge in edges(build) {
        for host in ["go.brand.com", "www.go.brand.com", "X.brand.com:8080"] {
            assert_eq!(edge.get(host, "/spring").status, 302, "{host}");
        }
        let answer = edge.get("brand.com", "/spring");
        assert_eq!(answer.status, 404);
        for event in edge.stop().events("all") {
            assert_eq!(event["route"]["domain"]["raw"], "go.brand.com");
        }
    }
}

#[test]
fn so_many_people_are_redirected_and_bots_use_nothing_up() {
    let build = || Edge::builder().link(with("two", D, json!({"maxClicks": 2}))).feed("all", &["*"]);
    for edge in edges(build) {
        let person = || edge.get("go.brand.com", "/two").status;
        let bot = || {
            let request = "GET /two HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: facebookexternalhit/1.1\r\nConnection: close\r\n\r\n";
            edge.raw(request.as_bytes()).unwrap().status
        };
        assert_eq!([person(), bot(), person(), person(), bot()], [302, 302, 302, 410, 410]);
        assert_eq!(edge.stop().events("all").len(), 3);
    }
}

#[test]
fn a_domain_has_files_and_links_may_hide_from_search_engines() {
    let build = || {
        Edge::builder()
            .link(with("hidden", D, json!({"noIndex": true})))
            .link(domain(json!({
                "robots": "User-agent: *\nDisallow: /\n", "assetLinks": [{"relation": ["delegate_permission/common.handle_all_urls"], "target": {"namespace": "android_app",
                    "package_name": "com.example", "sha256_cert_fingerprints": ["00"]}}],
                "favicon": "data:image/png;base64,iVBORw0KGgo=",
            })))
            .feed("all", &["*"])
    };
    for edge in edges(build) {
        let answer = get(&edge, "/robots.txt");
        assert_eq!((answer.status, &*answer.body), (200, "User-agent: *\nDisallow: /\n"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(get(&edge, "/.well-known/assetlinks.json").header("content-type"), Some("application/json"));
        assert_eq!(get(&edge, "/favicon.ico").header("content-type"), Some("image/png"));
        assert_eq!(get(&edge, "/.well-known/security.txt").status, 404);
        assert_eq!(get(&edge, "/hidden").header("x-robots-tag"), Some("noindex"));
        assert_eq!(get(&edge, "/spring").header("x-robots-tag"), None);
        assert_eq!(edge.stop().events("all").len(), 2);
    }
}

#[test]
fn some_requests_are_redirected_and_no_click() {
    let build = || {
        Edge::builder()
            .section("[redirect]\nno_track_parameter = \"notrack\"\nuntracked_networks = [\"127.0.0.9/32\"]")
            .feed("all", &["*"])
    };
    for edge in edges(build) {
        assert_eq!(leads(&edge, "/spring?notrack&x=1"), "https://www.example.com/spring?utm_source=go&x=1");
        let request = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
        let answer = edge.raw_from(Some("127.0.0.9".parse().unwrap()), request).unwrap();
        assert_eq!(answer.status, 302);
        assert_eq!(edge.metric("clickedge_clicks_untracked_total{reason=\"parameter\"}"), 1);
        assert_eq!(edge.metric("clickedge_clicks_untracked_total{reason=\"network\"}"), 1);
        assert_eq!(edge.stop().events("all").len(), 0);
    }
}

#[test]
fn permanent_answers_may_be_public() {
    let build = || {
        Edge::builder()
            .link(with("p", D, json!({"httpStatus": "301"})))
            .link(with("variants", D, json!({"httpStatus": 308, "variants": [{"name": "a", "destination": D}]})))
            .section("[redirect]\npermanent_cache = \"public\"")
    };
    for edge in edges(build) {
        assert_eq!(get(&edge, "/p").header("cache-control"), Some("public, max-age=90"));
        assert_eq!(
            get(&edge, "/variants").header("cache-control"),
            Some("private, no-store"),
            "for one visitor only"
        );
    }
}

/// Of `open sesame`, with argon2id.
const HASH: &str = "$argon2id$v=19$m=256,t=1,p=1$c29tZSBzYWx0IGhlcmU$q7fIkvv0VnSu3xA5NZT7Qdf2xQSxJ+je0JUsVhl0XrU";

fn form(edge: &Edge, target: &str, body: &str) -> Answer {
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: go.brand.com\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         User-Agent: {CHROME}\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    edge.raw(request.as_bytes()).unwrap()
}

#[test]
fn a_password_opens_a_link_and_only_that_is_the_click() {
    let build = || {
        Edge::builder().link(with("p", D, json!({"passwordHash": HASH, "card": {"title": "T"}}))).feed("all", &["*"])
    };
    for edge in edges(build) {
        let answer = get(&edge, "/p?x=1");
        assert_eq!((answer.status, answer.header("location")), (200, None));
        assert!(answer.body.contains("<form method=\"post\""), "{}", answer.body);
        assert!(!answer.body.contains("www.example.com"), "{}", answer.body);
        let answer = form(&edge, "/p", "password=wrong");
        assert!(answer.status == 200 && answer.body.contains("This password is wrong"), "{}", answer.body);
        let answer = form(&edge, "/p?x=1", "password=open+sesame");
        assert_eq!((answer.status, answer.header("location")), (303, Some(&*format!("{D}/?x=1"))));
        assert_eq!(answer.header("set-cookie"), None);
        for _ in 0..4 {
            assert_eq!(form(&edge, "/p", "password=wrong").status, 200);
        }
        let answer = form(&edge, "/p", "password=open+sesame");
        assert_eq!(answer.status, 429);
        assert!(answer.header("retry-after").is_some());
        let too_long = form(&edge, "/p", &format!("password={}", "x".repeat(2_000)));
        assert_eq!(too_long.header("connection"), Some("close"));
        assert_eq!(form(&edge, "/spring", "password=x").status, 405);
        let events = edge.stop().events("all");
        assert_eq!(events.len(), 1);
        assert_eq!((&events[0]["route"]["status"], &events[0]["route"]["slashtag"]), (&json!(303), &json!("p")));
    }
}

#[test]
fn a_form_that_is_broken_gets_400_and_one_for_a_preview_shows_it() {
    let build = || {
        Edge::builder()
            .link(with("p", D, json!({"passwordHash": HASH, "maxClicks": 1})))
            .link(domain(json!({"previewSuffix": "+", "expired": format!("{D}/over")})))
            .feed("all", &["*"])
    };
    for edge in edges(build) {
        let head = "POST /p HTTP/1.1\r\nHost: go.brand.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfoo\r\n";
        assert_eq!(edge.raw(head.as_bytes()).unwrap().status, 400);
        let answer = form(&edge, "/p+", "password=open+sesame");
        assert!(answer.status == 200 && answer.body.contains(D), "{}", answer.body);
        assert_eq!(form(&edge, "/p", "password=open+sesame").status, 303);
        let answer = form(&edge, "/p", "password=open+sesame");
        assert_eq!((answer.status, answer.header("location")), (302, Some(&*format!("{D}/over"))));
        assert_eq!(edge.stop().events("all").len(), 1);
    }
}

#[test]
fn files_come_before_a_link_for_all_paths_and_other_schemes_take_nothing() {
    let build = || {
        Edge::builder()
            .link(with("", &format!("{D}/all"), json!({"forwardPath": "append"})))
            .link(with("t", "intent://#Intent;scheme=https;end", json!({"forwardPath": "append"})))
            .link(domain(json!({"robots": "User-agent: *\n", "schemes": ["intent"]})))
    };
    for edge in edges(build) {
        assert_eq!(get(&edge, "/robots.txt").status, 200);
        assert_eq!(leads(&edge, "/x"), format!("{D}/all/x"));
        assert_eq!(leads(&edge, "/t/evil.example?x=1"), "intent://#Intent;scheme=https;end");
        let long = "p".repeat(5_000);
        assert_eq!(leads(&edge, &format!("/x/{long}")), format!("{D}/all/x/{long}"));
    }
}

#[test]
fn people_get_the_page_of_scripts_and_others_the_redirect() {
    let build = || {
        let scripts = json!({"scripts": [{"id": "s", "name": "S", "value": "window.x = 1"}]});
        Edge::builder()
            .link(with("s", D, scripts))
            .link(with(
                "card",
                D,
                json!({"card": {"title": "A \"title\"", "image": "https://www.example.com/i.png"}}),
            ))
            .feed("all", &["*"])
    };
    for edge in edges(build) {
        let answer = get(&edge, "/s");
        assert_eq!((answer.status, answer.header("location")), (200, None));
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
        assert!(answer.header("content-security-policy").unwrap().contains("'strict-dynamic'"));
        assert!(answer.header("referrer-policy").is_some() && answer.body.contains(D), "{}", answer.body);
        let plain = |method: &str, more: &str| {
            let request = format!("{method} /s HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n{more}\r\n");
            edge.raw(request.as_bytes()).unwrap().status
        };
        let browser =
            format!("User-Agent: {CHROME}\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\n");
        assert_eq!(plain("GET", &browser), 200);
        assert_eq!(plain("HEAD", &browser), 302);
        assert_eq!(plain("GET", "User-Agent: curl/8.5.0\r\n"), 302);
        assert_eq!(plain("GET", &format!("{browser}Sec-GPC: 1\r\n")), 302);
        assert_eq!(plain("GET", &format!("{browser}Sec-Purpose: prefetch\r\n")), 302);
        assert_eq!(get(&edge, "/card").status, 302);
        let request = b"GET /card HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: facebookexternalhit/1.1\r\nConnection: close\r\n\r\n";
        let answer = edge.raw(request).unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("property=\"og:title\" content=\"A &quot;title&quot;\""), "{}", answer.body);
        assert_eq!(edge.metric("clickedge_requests_total{outcome=\"page\"}"), 3);
        let events = edge.stop().events("all");
        assert_eq!(events.len(), 8);
        assert_eq!(events.iter().filter(|event| event["route"]["status"] == 200).count(), 3);
    }
}

#[test]
fn rules_and_variants_choose_and_the_event_says_which() {
    let build = || {
        let rules = json!([
            {"name": "ios", "when": {"os": ["ios"]}, "destination": format!("{D}/app")},
            {"name": "british", "when": {"language": ["en-gb"]}, "destination": format!("{D}/gb")},
            {"name": "both", "when": {"query": {"foo": "bar", "hello": "world"}}, "destination": format!("{D}/query")},
            {"name": "test", "when": {"query": {"split": null}}, "variants": [
                {"name": "a", "destination": format!("{D}/a")}, {"name": "b", "weight": 3, "destination": format!("{D}/b")}]},
            {"name": "office", "when": {"network": ["127.0.0.7/32"]}, "destination": format!("{D}/office")},
        ]);
        Edge::builder().link(with("r", &format!("{D}/own"), json!({"rules": rules}))).feed("all", &["*"])
    };
    for edge in edges(build) {
        let ask = |target: &str, more: &str, from: &str| {
            let request = format!("GET {target} HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n{more}\r\n");
            let answer = edge.raw_from(Some(from.parse().unwrap()), request.as_bytes()).unwrap();
            answer.header("location").unwrap().to_owned()
        };
        let iphone = "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1\r\n";
        let here = "127.0.0.1";
        assert_eq!(ask("/r", iphone, here), format!("{D}/app"));
        assert_eq!(ask("/r", "Accept-Language: en;q=0.4, en-GB;q=0.8\r\n", here), format!("{D}/gb"));
        assert_eq!(ask("/r?foo=bar&hello=world", "", here), format!("{D}/query?foo=bar&hello=world"));
        assert_eq!(ask("/r?foo=bar", "", here), format!("{D}/own?foo=bar"));
        assert_eq!(ask("/r", "", "127.0.0.7"), format!("{D}/office"));
        let split = ask("/r?split", "", here);
        assert_eq!(ask("/r?split", "", here), split, "the same each time");
        let events = edge.stop().events("all");
        let count = |rule: &str| events.iter().filter(|event| event["route"]["rule"] == rule).count();
        assert_eq!(["ios", "british", "both", "office", "test"].map(count), [1, 1, 1, 1, 2]);
        let own: Vec<_> = events.iter().filter(|event| event["route"].get("rule").is_none()).collect();
        assert_eq!(own.len(), 1);
        let varied = events.iter().find(|event| event["route"]["rule"] == "test").unwrap();
        assert!(["a", "b"].contains(&varied["route"]["variant"].as_str().unwrap()));
        assert!(
            varied["route"]["destination"]
                .to_string()
                .contains(&format!("/{}", varied["route"]["variant"].as_str().unwrap()))
        );
    }
}
