//! The operator's lists and databases in the running edge: what they add to events, and that `SIGHUP` loads a
//! changed one, rejects a broken one with its place, and loads a fixed one. A broken one fails the start, and `check`.

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, UNIX_EPOCH},
};

use ipnet::IpNet;
use mmdb_writer::Writer;
use serde::Serialize;
use serde_json::{Value, json};

use crate::common::{Edge, clicks::parameter, link};

const HOST: &str = "go.brand.com";
const TRUST: &str = "[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]";

/// An edge whose clicks are distinguished by the order in which they were made.
struct Clicks {
    edge: Edge,
    made: usize,
}

impl Clicks {
    /// An edge with this in `[enrich]` and these files.
    fn new(enrich: &str, files: &[(&str, &[u8])]) -> Self {
        let builder = Edge::builder();
        for (name, content) in files {
            fs::write(builder.dir().join(name), content).unwrap();
        }
        let mut other = link(HOST, "other", "https://www.example.com/");
        other["workspace"]["id"] = json!("w-2");
        let builder = builder.link(other).section(TRUST).section(&format!("[enrich]\nworkers = 1\n{enrich}"));
        Self { edge: builder.feed("all", &["*"]).start(), made: 0 }
    }

    /// Clicks, and waits until a worker has seen it.
    fn click(&mut self, target: &str, headers: &[(&str, &str)]) {
        let target = format!("{target}{}n={}", if target.contains('?') { '&' } else { '?' }, self.made);
        assert_eq!(self.edge.request("GET", HOST, &target, headers).status, 302);
        self.made += 1;
        let made = self.made as i64;
        self.edge.wait_until("enriched", |edge| edge.metric("clickedge_clicks_enriched_total") == made);
    }

    /// A click with this referrer.
    fn from(&mut self, referer: &str) {
        self.click("/spring", &[("Referer", referer)]);
    }

    /// A click from this address.
    fn at(&mut self, address: &str) {
        self.click("/spring", &[("X-Forwarded-For", address)]);
    }

    fn write(&self, file: &str, content: &[u8]) {
        fs::write(self.edge.dir().join(file), content).unwrap();
    }

    fn reload(&self, what: &str, result: &str) {
        let count =
            |edge: &Edge| edge.metric(&format!("clickedge_reloads_total{{result=\"{result}\",what=\"{what}\"}}"));
        let before = count(&self.edge);
        self.edge.signal("HUP");
        self.edge.wait_until(&format!("{what} {result}"), |edge| count(edge) == before + 1);
    }

    /// The log lines of a level.
    fn logged(&self, level: &str) -> Vec<String> {
        let lines = self.edge.log();
        let lines =
            lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"] == level));
        lines.map(str::to_owned).collect()
    }

    /// A part of each event, in the order of the clicks.
    fn events_at(self, place: &str) -> Vec<Value> {
        let mut events = self.edge.stop().events("all");
        assert_eq!(events.len(), self.made);
        let number = |event: &Value| parameter(event, "n").unwrap().parse::<usize>().unwrap();
        events.sort_by_key(number);
        events.iter().map(|event| event.pointer(place).cloned().unwrap_or_default()).collect()
    }
}

#[derive(Serialize)]
struct System {
    autonomous_system_number: u32,
}

/// An ASN database in which 198.51.100.0/24 belongs to this system.
fn systems(number: u32, built: u64) -> Vec<u8> {
    let built = UNIX_EPOCH + Duration::from_secs(built);
    let mut writer = Writer::builder("Test-ASN").description(&[("en", "Test")]).build_epoch(built).build();
    let network = "198.51.100.0/24".parse::<IpNet>().unwrap();
    writer.insert(network, &System { autonomous_system_number: number }).unwrap();
    writer.to_bytes().unwrap()
}

#[test]
fn a_network_list_is_reloaded_rejected_and_reloaded_again() {
    let socials = b"Chirp:\n  - chirp.example\nBird:\n  - twitter.com\n";
    let mut clicks = Clicks::new("socials_file = \"Socials.yml\"", &[("Socials.yml", socials)]);
    let origin = |kind: &str, name: &str| json!({"type": kind, "name": name});
    clicks.from("https://www.chirp.example/a");
    clicks.from("https://twitter.com/a");

    clicks.write("Socials.yml", b"Warble:\n  - chirp.example\n");
    clicks.reload("referrers", "ok");
    clicks.from("https://www.chirp.example/a");
    clicks.from("https://twitter.com/a");

    clicks.write("Socials.yml", b"Other:\n  - chirp.example\nOther 2:\n  - https://b.example\n");
    clicks.reload("referrers", "failed");
    clicks.from("https://www.chirp.example/a");
    clicks.write("Socials.yml", b"Other:\n  - chirp.example\n - [\n");
    clicks.reload("referrers", "failed");
    let errors = clicks.logged("ERROR");
    assert_eq!(errors.len(), 2);
    assert!(errors[0].contains("Socials.yml, line 4: `https://b.example` is no host; write a host"), "{}", errors[0]);
    assert!(errors[1].contains("Socials.yml, line 3: this is no YAML"), "{}", errors[1]);

    clicks.write("Socials.yml", b"Other:\n  - chirp.example\n");
    clicks.reload("referrers", "ok");
    clicks.from("https://www.chirp.example/a");
    let expected = [
        origin("social", "chirp"),
        origin("social", "bird"),
        origin("social", "warble"),
        origin("social", "x"),
        origin("social", "warble"),
        origin("social", "other"),
    ];
    assert_eq!(clicks.events_at("/referral/origin"), expected);
}

#[test]
fn a_spam_referrer_is_a_reason_as_long_as_it_is_on_the_list() {
    let mut clicks = Clicks::new("spammers_file = \"spammers.txt\"", &[("spammers.txt", b"spam.example\n")]);
    clicks.from("https://buttons.spam.example/");
    clicks.from("https://honest.example/");
    clicks.write("spammers.txt", b"honest.example\nwww.spam\n \nspam example\n");
    clicks.reload("spammers", "failed");
    clicks.from("https://buttons.spam.example/");
    let errors = clicks.logged("ERROR");
    assert!(errors.len() == 1 && errors[0].contains("spammers.txt, line 4: `spam example` is no host"), "{errors:?}");
    clicks.write("spammers.txt", b"other.example\n");
    clicks.reload("spammers", "ok");
    clicks.from("https://buttons.spam.example/");
    let (spam, clean) = (
        json!({"verdict": "suspicious", "reasons": ["spam-referrer"], "invalid": "sophisticated"}),
        json!({"verdict": "clean"}),
    );
    assert_eq!(clicks.events_at("/quality"), [spam.clone(), clean.clone(), spam, clean]);
}

#[test]
fn networks_are_reloaded_rejected_and_reloaded_again() {
    let enrich = "asn_file = \"asn.mmdb\"\nhosting_networks_file = \"hosting.txt\"\n\
                  anonymizer_networks_file = \"anonymizer.txt\"";
    let files: [(&str, &[u8]); 3] = [
        ("asn.mmdb", &systems(24940, 1_700_000_000)),
        ("hosting.txt", b"203.0.113.0/25 # ours\n"),
        ("anonymizer.txt", b"203.0.113.7\n"),
    ];
    let mut clicks = Clicks::new(enrich, &files);
    let built = |clicks: &Clicks| clicks.edge.metric("clickedge_asn_build_timestamp_seconds");
    assert_eq!(built(&clicks), 1_700_000_000);
    let old = clicks.logged("WARN");
    assert!(old.len() == 1 && old[0].contains("the ASN database is old") && old[0].contains("asn.mmdb"), "{old:?}");
    for address in ["198.51.100.1", "203.0.113.1", "203.0.113.7", "203.0.113.200"] {
        clicks.at(address);
    }

    // Telefonica's, then a broken list, which keeps the good database from being loaded, too.
    clicks.write("asn.mmdb", &systems(3352, 1_800_000_000));
    clicks.reload("networks", "ok");
    assert_eq!(built(&clicks), 1_800_000_000);
    clicks.at("198.51.100.1");
    clicks.write("asn.mmdb", &systems(24940, 1_800_000_001));
    clicks.write("hosting.txt", b"203.0.113.0/25\n203.0.113.0/255\n");
    clicks.reload("networks", "failed");
    clicks.at("198.51.100.1");
    clicks.write("hosting.txt", b"192.0.2.0/24\n");
    clicks.write("asn.mmdb", b"no database");
    clicks.reload("networks", "failed");
    clicks.at("203.0.113.1");
    let errors = clicks.logged("ERROR");
    assert!(errors.len() == 2 && errors[0].contains("hosting.txt, line 2: `203.0.113.0/255` is no network"));
    assert!(errors[1].contains("asn.mmdb is damaged: ") && errors[1].contains("the ASN database"), "{}", errors[1]);

    clicks.write("asn.mmdb", &systems(24940, 1_800_000_001));
    clicks.reload("networks", "ok");
    for address in ["198.51.100.1", "203.0.113.1", "192.0.2.1"] {
        clicks.at(address);
    }
    assert!(!clicks.edge.log().contains("198.51.100.1\""), "an address is in the log");
    let actual: Vec<_> = clicks
        .events_at("")
        .into_iter()
        .map(|event| {
            let (agent, quality) = (&event["client"]["agent"], &event["quality"]);
            assert_eq!(agent["type"] == "bot", agent["bot"]["reason"] == "network");
            (agent["type"] == "bot", quality["reasons"][0].as_str().unwrap_or("").to_owned())
        })
        .collect();
    let (hosting, anonymizer) = ((true, "data-center-network".to_owned()), (false, "anonymizer-network".to_owned()));
    let people = (false, String::new());
    let expected = [
        hosting.clone(),
        hosting.clone(),
        anonymizer,
        people.clone(),
        people.clone(),
        people.clone(),
        hosting.clone(),
        hosting.clone(),
        people,
        hosting,
    ];
    assert_eq!(actual, expected);
}

#[test]
fn a_workspace_receives_only_the_location_detail_that_it_may() {
    let geoip = concat!("geoip_file = \"", env!("CARGO_MANIFEST_DIR"), "/conf/demo/geoip.mmdb\"");
    let policies =
        "location = \"city\"\n[enrich.workspaces.\"w-2\"]\nlocation = \"coordinates\"\nhonour_opt_out = false";
    let mut clicks = Clicks::new(&format!("{geoip}\n{policies}"), &[]);
    for target in ["/spring", "/other"] {
        clicks.click(target, &[("X-Forwarded-For", "203.0.113.7")]);
        clicks.click(target, &[("X-Forwarded-For", "203.0.113.7"), ("Sec-GPC", "1")]);
    }
    let city = json!({"country": "jp", "region": "13", "city": "Tokyo"});
    let region = json!({"country": "jp", "region": "13"});
    let all = json!({"country": "jp", "region": "13", "city": "Tokyo", "latitude": 35.6762, "longitude": 139.6503});
    assert_eq!(clicks.events_at("/client/location"), [city, region, all.clone(), all]);
}

#[test]
fn a_broken_list_fails_the_start_and_the_check() {
    let stopped = Clicks::new("spammers_file = \"spammers.txt\"", &[("spammers.txt", b"spam.example\n")]).edge.stop();
    let dir = stopped.dir();
    let mut files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let config = files.find(|path| path.extension().is_some_and(|end| end == "toml")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clickedge"));
        let Output { status, stderr, .. } = command.args(arguments).arg(&config).current_dir(dir).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    assert_eq!(run(&["check"]).0, Some(0));
    fs::write(dir.join("spammers.txt"), "spam.example\nspam\n").unwrap();
    let message = "spammers.txt, line 2: `spam` is no host name below a domain; write one host a line";
    let (code, text) = run(&["check"]);
    assert!(code == Some(65) && text.starts_with("error: ") && text.contains(message), "{code:?}: {text}");
    assert_eq!(run(&["check", "--without-files"]).0, Some(0));
}
