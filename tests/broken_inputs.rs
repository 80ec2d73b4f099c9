//! `clickedge check` and `clickedge serve` on the same broken inputs: both find the problem, with the same exit code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Output},
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::common::{Edge, free_address};

const USAGE: i32 = 64;
const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;

/// A folder with a configuration that is good, until a case breaks something.
struct Setup {
    work: tempfile::TempDir,
    rings: tempfile::TempDir,
    listener: String,
    sections: String,
}

/// Breaks something, the exit code of both commands, and what both say.
type Case = (&'static str, fn(&mut Setup), i32, &'static str);

/// Changes something, and what the warning says.
type Warning = (&'static str, fn(&mut Setup), &'static str);

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn check_and_serve_agree_on_every_broken_input() {
    let cases: &[Case] = &[
        ("no configuration", |setup| setup.remove("x.toml"), NO_INPUT, "x.toml: cannot be read"),
        ("not UTF-8", |setup| setup.write("x.toml", b"[edge]\npop = \"\xff\"\n"), CONFIG, "is not UTF-8"),
        ("no TOML", |setup| setup.write("x.toml", b"[edge\n"), CONFIG, "x.toml:1:6"),
        ("an unknown key", |setup| setup.section("[edge]\npops = \"a\"\n"), CONFIG, "unknown key `pops`"),
        ("a wrong type", |setup| setup.section("[edge]\nthreads = \"2\"\n"), CONFIG, "`edge.threads` must be"),
        ("a wrong value", |setup| setup.section("[edge]\npop = \"Ams\"\n"), CONFIG, "`edge.pop` must be"),
        (
            "one folder for spool and rings",
            |setup| setup.section_of("spool", "dir = 'RINGS/rings'"),
            CONFIG,
            "`spool.dir`",
        ),
        ("no catalog", |setup| setup.remove("links.ndjson"), NO_INPUT, "links.ndjson"),
        (
            "a catalog that is a folder",
            |setup| {
                setup.remove("links.ndjson");
                fs::create_dir(setup.path("links.ndjson")).unwrap();
            },
            NO_INPUT,
            "links.ndjson",
        ),
        ("a truncated catalog", |setup| setup.append("links.ndjson", b"{\"id\":\"l-2\",\"sl"), DATA, "truncated"),
        ("a catalog of another format", |setup| setup.write("links.ndjson", b"a,b\nc,d\n"), DATA, "lines are bad"),
        ("no GeoIP database", |setup| setup.enrich("geoip_file", None), NO_INPUT, "geoip_file"),
        ("text for a GeoIP database", |setup| setup.enrich("geoip_file", Some("text\n")), DATA, "geoip_file"),
        ("no ASN database", |setup| setup.enrich("asn_file", None), NO_INPUT, "asn_file"),
        ("a network list with a word", |setup| setup.enrich("hosting_networks_file", Some("x\n")), DATA, "line 1"),
        (
            "no network list",
            |setup| setup.enrich("anonymizer_networks_file", None),
            NO_INPUT,
            "anonymizer_networks_file",
        ),
        (
            "no list of search engines",
            |setup| setup.enrich("search_engines_file", None),
            NO_INPUT,
            "search_engines_file",
        ),
        (
            "a list of social networks with nonsense",
            |setup| setup.enrich("socials_file", Some("- ?\n")),
            DATA,
            "socials_file",
        ),
        ("a spammer that is not a host", |setup| setup.enrich("spammers_file", Some("a b\n")), DATA, "line 1"),
        ("no list of spammers", |setup| setup.enrich("spammers_file", None), NO_INPUT, "spammers_file"),
        ("a crawler list that is not JSON", |setup| setup.enrich("crawlers_file", Some("[{")), DATA, "crawlers_file"),
        ("no crawler list", |setup| setup.enrich("crawlers_file", None), NO_INPUT, "crawlers_file"),
        ("a blocked domain that is not one", |setup| setup.quality("blocked_domains_file", "a b\n"), DATA, "line 1"),
        ("a blocked address that is not a hash", |setup| setup.quality("blocked_urls_file", "x\n"), DATA, "line 1"),
        ("a short secret", |setup| setup.enrich("session_key_file", Some("short\n")), DATA, "must have 32 to 4096"),
        ("no secret", |setup| setup.enrich("session_key_file", None), NO_INPUT, "session_key_file"),
        ("a webhook secret in another form", |setup| setup.webhook(Some("secret\n")), DATA, "must be `whsec_` and"),
        ("no webhook secret", |setup| setup.webhook(None), NO_INPUT, "cannot read the secret in"),
        ("no certificate", |setup| setup.tls("missing.pem", "a.key"), NO_INPUT, "missing.pem"),
        ("a key of another pair", |setup| setup.tls("a.pem", "b.key"), DATA, "do not belong together"),
        ("a key in the certificate's place", |setup| setup.tls("a.key", "a.key"), DATA, "a.key"),
        ("a certificate in the key's place", |setup| setup.tls("a.pem", "a.pem"), DATA, "private key"),
        ("an expired certificate", |setup| setup.tls("expired.pem", "expired.key"), DATA, "expired"),
        ("a certificate of tomorrow", |setup| setup.tls("early.pem", "early.key"), DATA, "not yet valid"),
        ("rings on a disk", |setup| setup.section_of("capture", "dir = '/proc'"), CONFIG, "not on a tmpfs"),
        ("rings that others may read", |setup| setup.mode_of_rings(0o777), CONFIG, "0777"),
        (
            "rings behind a symbolic link",
            |setup| {
                let link = setup.rings.path().join("link");
                symlink(setup.rings.path().join("rings"), &link).unwrap();
                setup.mode_of_rings(0o700);
                setup.section_of("capture", "dir = 'RINGS/link'");
            },
            CONFIG,
            "symbolic link",
        ),
        (
            "rings larger than their tmpfs",
            |setup| setup.section_of("capture", "dir = 'RINGS/rings'\nring_bytes = 1099511627776"),
            CONFIG,
            "capture.ring_bytes",
        ),
        (
            "a spool that is a file",
            |setup| {
                setup.write("spool", b"");
                setup.section_of("spool", "dir = 'spool'");
            },
            CONFIG,
            "`spool.dir`",
        ),
        ("a sink that is a file", |setup| setup.write("out", b""), CONFIG, "`feeds[0].sink.dir.path`"),
        (
            "an ACME folder that is a file",
            |setup| {
                setup.write("acme", b"");
                setup.acme("catalog = true");
            },
            CONFIG,
            "`acme.dir`",
        ),
        (
            "no certificates of the CA",
            |setup| setup.acme("catalog = true\nroot_file = \"ca.pem\""),
            NO_INPUT,
            "acme.root_file",
        ),
        (
            "a wildcard for ACME",
            |setup| setup.acme("domains = [\"*.brand.com\"]"),
            CONFIG,
            "`acme.domains[0]` is \"*.brand.com\": a wildcard needs a record in DNS",
        ),
        (
            "objects that must be larger than they may be",
            |setup| {
                setup.section(
                    "[[feeds]]\nname = \"b\"\nworkspaces = [\"*\"]\nmax_bytes = 20000\nmin_bytes = 20001\n\
                     sink.dir.path = \"b\"\n",
                );
            },
            CONFIG,
            "x.toml:11:13: `feeds[1].min_bytes` is 20001, more than `feeds[1].max_bytes`, which is 20000",
        ),
        (
            "no credentials",
            |setup| {
                setup.section(
                    "[[feeds]]\nname = \"s3\"\nworkspaces = [\"*\"]\n[feeds.sink.s3]\nbucket = \"clicks\"\n\
                     region = \"eu-west-1\"\ncredentials_file = \"credentials\"\n",
                );
            },
            NO_INPUT,
            "credentials",
        ),
    ];
    for (name, break_it, code, says) in cases {
        let mut setup = Setup::new();
        break_it(&mut setup);
        setup.finish();
        for arguments in [&["check", "x.toml"][..], &["serve", "--config", "x.toml"]] {
            let (found, text) = setup.run(arguments);
            assert_eq!(found, *code, "{name}: {arguments:?}\n{text}");
            assert!(text.contains(says), "{name}: {arguments:?} does not say {says:?}\n{text}");
            assert!(!text.contains("panicked"), "{name}: {arguments:?}\n{text}");
        }
    }
    assert!(cases.len() >= 25);
}

#[test]
fn the_good_configuration_of_the_table_is_good() {
    let setup = Setup::new();
    setup.finish();
    let (code, text) = setup.run(&["check", "x.toml"]);
    assert_eq!((code, &*text), (0, "x.toml: ok\n"));
    assert_eq!(setup.run(&["check"]).0, USAGE);
}

#[test]
fn what_is_legal_and_probably_not_meant_is_a_warning() {
    let cases: &[Warning] = &[
        ("an empty catalog", |setup| setup.write("links.ndjson", b""), "catalog"),
        (
            "a domain that the catalog lacks",
            |setup| {
                setup.section_of("catalog", "file = \"links.ndjson\"\ndomains.\"no.example\".case = \"insensitive\"");
            },
            "no.example",
        ),
        (
            "a workspace without links",
            |setup| setup.section("[[feeds]]\nname = \"w\"\nworkspaces = [\"w-none\"]\nsink.dir.path = \"w\"\n"),
            "w-none",
        ),
        ("a certificate that is over soon", |setup| setup.tls("soon.pem", "soon.key"), "expires"),
        (
            "a key that everyone may read",
            |setup| {
                setup.tls("a.pem", "a.key");
                fs::set_permissions(setup.path("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
            },
            "a.key",
        ),
        ("no domain for ACME", |setup| setup.acme("catalog = true\nexclude = [\"*.brand.com\"]"), "acme.exclude"),
        (
            "a domain that no CA accepts",
            |setup| {
                let link = "{\"id\":\"l-2\",\"slashtag\":\"x\",\"destination\":\"https://www.example.com/\",\
                            \"domain\":{\"fullName\":\"a_b.brand.com\"},\"workspace\":{\"id\":\"w-1\"}}\n";
                setup.append("links.ndjson", link.as_bytes());
                setup.acme("catalog = true");
            },
            "such as \"a_b.brand.com\"",
        ),
        ("an open admin listener", |setup| setup.section_of("admin", "address = \"0.0.0.0:9000\""), "admin.address"),
        ("a spool in memory", |setup| setup.section_of("spool", "dir = 'RINGS/spool'"), "spool.dir"),
        ("a spool inside a sink", |setup| setup.section_of("spool", "dir = 'out/spool'"), "spool.dir"),
        (
            "a quota larger than the disk",
            |setup| setup.section_of("spool", "dir = 'spool'\nmax_bytes = 1152921504606846976"),
            "spool.max_bytes",
        ),
    ];
    for (name, change, says) in cases {
        let mut setup = Setup::new();
        change(&mut setup);
        setup.finish();
        let (code, text) = setup.run(&["check", "x.toml"]);
        assert_eq!(code, 0, "{name}\n{text}");
        let warning = text.split("warning: ").skip(1).any(|warning| warning.contains(says));
        assert!(warning, "{name}: no warning has {says:?}\n{text}");
    }
}

#[test]
fn what_only_a_start_finds_has_a_code_as_well() {
    let setup = Setup::new();
    setup.finish();
    let text = fs::read_to_string(setup.path("x.toml")).unwrap();
    let address = text.split('"').nth(1).unwrap();
    let taken = TcpListener::bind(address).unwrap();
    let (code, text) = setup.run(&["serve", "--config", "x.toml"]);
    assert_eq!(code, UNAVAILABLE, "{text}");
    assert!(text.contains(&format!("cannot listen on {address}")), "{text}");
    drop(taken);

    let edge = Edge::builder().feed("all", &["*"]).start();
    let config = edge.dir().join("clickedge.toml");
    let (code, text) = setup.run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(code, UNAVAILABLE, "{text}");
    assert!(text.contains("in use by another process"), "{text}");
    assert_eq!(edge.get("go.brand.com", "/spring").status, 302, "the first process goes on");

    let mut setup = Setup::new();
    setup.section_of("catalog", "file = 'links.ndjson'\nstate_dir = 'links.ndjson/state'");
    setup.finish();
    let (code, text) = setup.run(&["serve", "--config", "x.toml"]);
    assert_ne!(code, 0, "{text}");
    let expected = ["catalog.state_dir cannot be used", "links.ndjson/state", "let this user write there"];
    assert!(expected.iter().all(|part| text.contains(part)), "{text}");
}

impl Setup {
    fn new() -> Self {
        let setup = Self {
            work: tempfile::tempdir().unwrap(),
            rings: tempfile::tempdir_in("/dev/shm").unwrap(),
            listener: format!("[[listeners]]\naddress = \"{}\"\n", free_address()),
            sections: String::new(),
        };
        setup.write("x.toml", b"");
        setup.write(
            "links.ndjson",
            b"{\"id\":\"l-1\",\"slashtag\":\"spring\",\"destination\":\"https://www.example.com/\",\
              \"domain\":{\"fullName\":\"go.brand.com\"},\"workspace\":{\"id\":\"w-1\"}}\n",
        );
        setup
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.work.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let text = fs::read(self.path(name)).unwrap();
        self.write(name, &[&text, bytes].concat());
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Adds sections to the configuration.
    fn section(&mut self, toml: &str) {
        self.sections += toml;
    }

    /// Adds one section, which the good configuration then leaves out. `RINGS` stands for the folder in memory.
    fn section_of(&mut self, section: &str, lines: &str) {
        let lines = lines.replace("RINGS", self.rings.path().to_str().unwrap());
        self.sections += &format!("[{section}]\n{lines}\n");
    }

    /// Names a file in `[enrich]`, which holds this text or is missing.
    fn enrich(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.write("enrich", text.as_bytes());
        }
        self.sections += &format!("[enrich]\n{key} = \"enrich\"\n");
    }

    /// Adds a feed into a webhook, whose secret this is.
    fn webhook(&mut self, secret: Option<&str>) {
        if let Some(secret) = secret {
            self.write("secret", secret.as_bytes());
        }
        self.sections += "[[feeds]]\nname = \"hook\"\nworkspaces = [\"*\"]\n[feeds.sink.webhook]\n\
                          url = \"https://127.0.0.1/\"\nsecret_files = [\"secret\"]\n";
    }

    /// Has certificates obtained for a second listener.
    fn acme(&mut self, lines: &str) {
        let address = free_address();
        self.listener += &format!("[[listeners]]\naddress = \"{address}\"\nacme = true\n");
        self.sections += &format!("[acme]\naccept_terms = true\ndir = \"acme\"\n{lines}\n");
    }

    fn quality(&mut self, key: &str, text: &str) {
        self.write("quality", text.as_bytes());
        self.sections += &format!("[quality]\n{key} = \"quality\"\n");
    }

    fn mode_of_rings(&self, mode: u32) {
        let rings = self.rings.path().join("rings");
        fs::create_dir_all(&rings).unwrap();
        fs::set_permissions(&rings, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Makes pairs of several ages, and configures one certificate and one key of them.
    fn tls(&mut self, certificate: &str, key: &str) {
        let (past, future) = (date_time_ymd(2000, 1, 1), date_time_ymd(2200, 1, 1));
        let later = jiff::Zoned::now().checked_add(jiff::Span::new().days(5)).unwrap();
        let soon = date_time_ymd(later.year().into(), later.month() as u8, later.day() as u8);
        for (name, from, until) in [
            ("a", past, future),
            ("b", past, future),
            ("expired", past, date_time_ymd(2001, 1, 1)),
            ("soon", past, soon),
        ]
        .into_iter()
        .chain([("early", date_time_ymd(2199, 1, 1), future)])
        {
            let mut params = CertificateParams::new(vec!["go.brand.com".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (from, until);
            let pair = KeyPair::generate().unwrap();
            let made = params.self_signed(&pair).unwrap();
            self.write(&format!("{name}.pem"), made.pem().as_bytes());
            self.write(&format!("{name}.key"), pair.serialize_pem().as_bytes());
            fs::set_permissions(self.path(&format!("{name}.key")), fs::Permissions::from_mode(0o600)).unwrap();
        }
        self.listener += &format!("tls = [{{ certificate_file = \"{certificate}\", key_file = \"{key}\" }}]\n");
    }

    /// Writes the configuration, unless the case wrote one of its own or took it away.
    fn finish(&self) {
        if fs::read(self.path("x.toml")).is_ok_and(|text| text.is_empty()) {
            let mut text = format!(
                "{}[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"out\"\n{}",
                self.listener, self.sections
            );
            for (section, lines) in [
                ("catalog", "file = \"links.ndjson\"".to_owned()),
                ("capture", format!("dir = '{}/rings'\nring_bytes = 1048576", self.rings.path().display())),
                ("spool", "dir = \"spool\"\nmax_bytes = 16777216".to_owned()),
                ("admin", format!("address = \"{}\"", free_address())),
            ] {
                if !text.contains(&format!("[{section}]")) {
                    text += &format!("[{section}]\n{lines}\n");
                }
            }
            self.write("x.toml", text.as_bytes());
        }
    }

    /// Runs the binary in the folder. The exit code, and all that it printed.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new("timeout");
        command.arg("30").arg(env!("CARGO_BIN_EXE_clickedge")).args(arguments).current_dir(self.work.path());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().unwrap_or(-1), text)
    }
}
