//! Who asks, as the running edge sees it: referrers in every form, agents that were misread once, headers that no
//! browser leaves out, databases of another form, and bots that sign their requests.

use std::{
    fs,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_smithy_types::base64;
use ipnet::IpNet;
use mmdb_writer::Writer;
use serde_json::{Value, json};
use web_bot_auth::{keyring::Algorithm, message_signatures::GenerateSignature};

use crate::common::{CHROME, Edge};

const HOST: &str = "go.brand.com";

/// A request of a browser with these headers; one without a value is left out.
fn request(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = format!("GET /spring HTTP/1.1\r\nHost: {HOST}\r\nConnection: close").into_bytes();
    let browser: [(&str, &[u8]); 4] = [
        ("User-Agent", CHROME.as_bytes()),
        ("Accept", b"text/html"),
        ("Accept-Language", b"en"),
        ("Accept-Encoding", b"gzip"),
    ];
    let given = |name: &str| headers.iter().any(|(given, _)| *given == name);
    let headers = browser.iter().filter(|(name, _)| !given(name)).chain(headers);
    for (name, value) in headers.filter(|(_, value)| !value.is_empty()) {
        bytes.extend([b"\r\n", name.as_bytes(), b": ", *value].concat());
    }
    bytes.extend(b"\r\n\r\n");
    bytes
}

/// A part of the event of each of these requests, in their order.
fn events(edge: Edge, requests: &[Vec<u8>], place: &str) -> Vec<Value> {
    for request in requests {
        assert_eq!(edge.raw(request).unwrap().status, 302, "{}", request.escape_ascii());
    }
    let mut events = edge.stop().events("all");
    events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    assert_eq!(events.len(), requests.len());
    events.iter().map(|event| event.pointer(place).cloned().unwrap_or_default()).collect()
}

fn edge(enrich: &str) -> Edge {
    Edge::builder().section(&format!("[enrich]\nworkers = 1\n{enrich}")).feed("all", &["*"]).start()
}

#[test]
fn a_referrer_has_one_host_and_an_application_its_network() {
    let munich = json!({"hostname": "xn--mnchen-3ya.de", "type": "other"});
    let social = |host: &str, name: &str| json!({"hostname": host, "type": "social", "name": name});
    let rows: [(&[u8], Value); 9] = [
        ("http://münchen.de/".as_bytes(), munich.clone()),
        (b"http://m\xfcnchen.de:80/", munich.clone()),
        (b"https://M%C3%BCNCHEN.de./x", munich.clone()),
        (b"http://xn--mnchen-3ya.de/", munich),
        (b"android-app://m.facebook.com/", social("m.facebook.com", "facebook")),
        (b"android-app://com.facebook.katana/", social("com.facebook.katana", "facebook")),
        (b"ios-app://com.linkedin.LinkedIn/", social("com.linkedin.linkedin", "linkedin")),
        (
            b"android-app://com.google.android.googlequicksearchbox/https/www.google.com",
            json!({"hostname": "com.google.android.googlequicksearchbox", "type": "search", "name": "google"}),
        ),
        (
            b"android-app://org.telegram.plus/",
            json!({"hostname": "org.telegram.plus", "type": "messaging", "name": "telegram"}),
        ),
    ];
    let requests: Vec<_> = rows.iter().map(|(referer, _)| request(&[("Referer", *referer)])).collect();
    for ((referer, mut expected), found) in rows.into_iter().zip(events(edge(""), &requests, "/referral")) {
        let origin = expected.as_object_mut().unwrap();
        let hostname = origin.remove("hostname").unwrap();
        assert_eq!((&found["hostname"], &found["origin"]), (&hostname, &expected), "{}", referer.escape_ascii());
    }
}

#[test]
fn agents_that_were_misread_once_are_not_any_more() {
    let chrome = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36";
    let human = |browser: &str, version: &str| json!([browser, version]);
    let rows = [
        (
            format!(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) {chrome} ||| ReqID: 472 | Type: xmlhttprequest | Initiator: \
                 https://acme.example"
            ),
            human("chrome", "127.0.0.0"),
        ),
        (
            "Dalvik/2.1.0 (Linux; U; Android 10; SM-A505F) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.0.0 Mobile \
             Safari/537.36"
                .into(),
            human("chrome", "108.0.0.0"),
        ),
        (
            "Mozilla/5.0 (compatible; WOW64; MSIE 10.0; Windows NT 6.2)".into(),
            human("internet-explorer", "10.0"),
        ),
        ("Mozilla/4.0 (Windows; MSIE 6.0; Windows NT 5.2)".into(), human("internet-explorer", "6.0")),
        (format!("Mozilla/5.0 (X11; Datanyze; Linux x86_64) {chrome}"), json!("datanyze")),
        (format!("Mozilla/5.0 (Windows NT 6.1) {chrome} Squider/0.01"), json!("squider")),
        (
            "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0; AppInsights)".into(),
            json!("application-insights"),
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 9_3 like Mac OS X) AppleWebKit/601.1.46 Mobile/13E230 Twitter for iPhone \
             BrandVerity/1.0 (http://www.brandverity.com/why-is-brandverity-visiting-me)"
                .into(),
            json!("brandverity"),
        ),
        ("venus/fedoraplanet".into(), json!("planet-venus")),
        ("BIGLOTRON (Beta 2;GNU/Linux)".into(), json!("biglotron")),
        ("Acme (Alpha 3;GNU/Linux)".into(), Value::Null),
        ("Dalvik/2.1.0 (Linux; U; Android 10; SM-A505F)".into(), json!("dalvik")),
    ];
    let requests: Vec<_> = rows.iter().map(|(agent, _)| request(&[("User-Agent", agent.as_bytes())])).collect();
    for ((agent, expected), found) in rows.iter().zip(events(edge(""), &requests, "/client/agent")) {
        if expected.is_array() {
            let browser = &found["browser"];
            assert_eq!(found["type"], "human", "{agent}");
            assert_eq!(json!([browser["name"], browser["version"]]), *expected, "{agent}");
        } else {
            assert_eq!((&found["type"], &found["bot"]["name"]), (&json!("bot"), expected), "{agent}");
        }
    }
}

#[test]
fn an_old_browser_without_the_headers_of_all_browsers_is_a_library() {
    let old = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/57.0.2987.133 \
               Safari/537.36";
    let with = |headers: &[(&'static str, &'static [u8])]| {
        request(&[&[("User-Agent", old.as_bytes())][..], headers].concat())
    };
    let none: [(&str, &[u8]); 3] = [("Accept", b""), ("Accept-Language", b""), ("Accept-Encoding", b"")];
    let requests = [with(&none), with(&none[..2]), with(&none[1..]), with(&[])];
    let reasons = events(edge(""), &requests, "/client/agent/bot/reason");
    assert_eq!(reasons, [json!("library"), Value::Null, Value::Null, Value::Null]);
}

#[test]
fn a_flat_database_is_read_and_warned_of_at_the_start_and_by_check() {
    let mut writer = Writer::builder("mmdbctl-City").description(&[("en", "Test")]).build();
    let record = json!({"city_name": "Porto", "country_code": "PT", "latitude": "41.15", "longitude": "-8.61"});
    writer.insert("203.0.113.0/24".parse::<IpNet>().unwrap(), &record).unwrap();
    let builder = Edge::builder();
    fs::write(builder.dir().join("flat.mmdb"), writer.to_bytes().unwrap()).unwrap();
    let edge = builder
        .section("[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .section("[enrich]\nworkers = 1\ngeoip_file = \"flat.mmdb\"")
        .feed("all", &["*"])
        .start();
    let warning = "the records of this mmdbctl-City database are flat (fields city_name, country_code, latitude, \
                   longitude), not those of its type; read from them: country, city, coordinates; missing: region";
    assert!(edge.log().contains(warning), "{}", edge.log());
    let mut files = fs::read_dir(edge.dir()).unwrap().map(|entry| entry.unwrap().path());
    let config = files.find(|path| path.extension().is_some_and(|end| end == "toml")).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_clickedge"));
    let check = check.arg("check").arg(config).current_dir(edge.dir()).output().unwrap();
    let text = String::from_utf8(check.stdout).unwrap();
    assert!(text.contains("warning: ") && text.contains(warning), "{text}");
    let found = events(edge, &[request(&[("X-Forwarded-For", b"203.0.113.9")])], "/client/location");
    assert_eq!(found, [json!({"country": "pt", "city": "Porto", "latitude": 41.15, "longitude": -8.61})]);
}

/// The key pair of RFC 9421, B.1.4.
const PRIVATE: [u8; 32] = [
    0x9f, 0x83, 0x62, 0xf8, 0x7a, 0x48, 0x4a, 0x95, 0x4e, 0x6e, 0x74, 0x0c, 0x5b, 0x4c, 0x0e, 0x84, 0x22, 0x91, 0x39,
    0xa2, 0x0a, 0xa8, 0xab, 0x56, 0xff, 0x66, 0x58, 0x6f, 0x6a, 0x7d, 0x29, 0xc5,
];
const PUBLIC: &str = "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs";
const KEY_ID: &str = "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U";
const AGENT: &str = r#""https://agent.example""#;

/// `Signature-Input` and `Signature` over host and agent, valid for these seconds from now on.
fn signature(host: &str, agent: &str, seconds: i64) -> (String, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let params = format!(
        r#"("@authority" "signature-agent");created={now};expires={};keyid="{KEY_ID}";alg="ed25519";tag="web-bot-auth""#,
        now + seconds
    );
    let base = format!("\"@authority\": {host}\n\"signature-agent\": {agent}\n\"@signature-params\": {params}");
    let signature = PRIVATE.generate_signature(Algorithm::Ed25519, base.as_bytes()).unwrap();
    (format!("sig1={params}"), format!("sig1=:{}:", base64::encode(&signature)))
}

fn signed(agent: &str, (input, signature): &(String, String)) -> Vec<u8> {
    request(&[
        ("Signature-Agent", agent.as_bytes()),
        ("Signature-Input", input.as_bytes()),
        ("Signature", signature.as_bytes()),
    ])
}

fn file(name: &str, key: &str) -> String {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": key, "kid": KEY_ID});
    json!({"https://agent.example": {"name": name, "class": "ai", "keys": [key]}}).to_string()
}

#[test]
fn a_bot_that_signs_its_requests_is_verified() {
    let builder = Edge::builder();
    let agents = builder.dir().join("agents.json");
    fs::write(&agents, file("example-agent", PUBLIC)).unwrap();
    let edge =
        builder.section("[enrich]\nworkers = 1\nsigned_agents_file = \"agents.json\"").feed("all", &["*"]).start();
    let results =
        |edge: &Edge, result: &str| edge.metric(&format!("clickedge_signed_agents_total{{result=\"{result}\"}}"));
    let good = signature(HOST, AGENT, 300);
    let mut requests = vec![
        signed(AGENT, &good),
        signed(AGENT, &signature("other.example", AGENT, 300)),
        signed(AGENT, &signature(HOST, AGENT, -1)),
        signed(r#""https://other.example""#, &signature(HOST, r#""https://other.example""#, 300)),
        request(&[("Signature-Input", good.0.as_bytes()), ("Signature", good.1.as_bytes())]),
    ];
    let click = |edge: &Edge, requests: &[Vec<u8>], before: usize| {
        for request in requests {
            assert_eq!(edge.raw(request).unwrap().status, 302);
        }
        let all = (before + requests.len()) as i64;
        edge.wait_until("enriched", |edge| edge.metric("clickedge_clicks_enriched_total") == all);
    };
    click(&edge, &requests, 0);
    for (result, count) in
        [("verified", 1), ("invalid", 1), ("outside-window", 1), ("unknown-agent", 1), ("skipped", 0)]
    {
        assert_eq!(results(&edge, result), count, "{result}");
    }

    // Another name; then a file that is rejected.
    let reloads = |edge: &Edge, result: &str| {
        edge.metric(&format!("clickedge_reloads_total{{result=\"{result}\",what=\"signed_agents\"}}"))
    };
    for (text, result) in [(file("renamed", PUBLIC), "ok"), (file("broken", "AAAA"), "failed")] {
        fs::write(&agents, text).unwrap();
        let before = reloads(&edge, result);
        edge.signal("HUP");
        edge.wait_until(result, |edge| reloads(edge, result) == before + 1);
        click(&edge, &requests[..1], requests.len());
        requests.push(signed(AGENT, &good));
    }
    assert!(edge.log().contains("`https://agent.example` has no valid `x` in key 1"), "{}", edge.log());

    let mut events = edge.stop().events("all");
    events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    let bot = |name: &str| json!({"reason": "agent", "class": "ai", "name": name, "verified": true});
    let expected =
        [bot("example-agent"), Value::Null, Value::Null, Value::Null, Value::Null, bot("renamed"), bot("renamed")];
    let bots: Vec<_> = events.iter().map(|event| event["client"]["agent"]["bot"].clone()).collect();
    assert_eq!(bots, expected);
    assert!(!serde_json::to_string(&events).unwrap().contains("keyid"), "a signature is in an event");
}
