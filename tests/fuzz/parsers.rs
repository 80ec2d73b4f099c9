//! What operators, other processes and visitors write: catalogs, configurations, journals, rings, headers.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clickedge::{
    capture::{Capture, Pushed},
    catalog::source,
    click::{ClientAddr, EventId, Facts, Flags, Protocol, Texts},
    config::{self, diagnostics},
    link::{Host, key},
    spool::{
        disk::{ReadAt, RealDisk},
        inspect,
        journal::frames::{Frames, Piece},
    },
    visitor::{agent, language, referrer},
};

use super::fuzz;
use crate::common::{CHROME, Edge, link};

fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().filter(|line| !line.is_empty()).map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn any_catalog_is_read_or_reported() {
    let mut full = link("go.brand.com", "spring", "https://www.example.com/spring?a=b#c");
    full["httpStatus"] = 301.into();
    full["status"] = "active".into();
    full["forwardParameters"] = "both".into();
    let full = full.to_string();
    let corpus: Vec<Vec<u8>> = [
        full.clone(),
        format!("{full}\n{full}\n"),
        format!("\u{feff}{full}"),
        format!("[{full},\n{full}]"),
        format!("{{\"total\":2,\"links\":[{full}],\"next\":null}}"),
        format!("{{\n\"id\":1\n}}\n{full}"),
        format!("{{\"kind\":\"domain\",\"fullName\":\"go.brand.com\"}}\n{full}"),
        r#"{"slashtag":"a/B","destination":"http://xn--mnchen-3ya.de/","domain":{"fullName":"GO.brand.com"}}"#.into(),
        r#"{"id":7,"slashtag":"\u00e9%C3","destination":"https://a.b","domain":"a.b","tags":null,"workspace":{"id":1}}"#.into(),
    ]
    .map(String::into_bytes)
    .to_vec();
    let words: &[&[u8]] = &[
        b"null",
        b"true",
        b"-1",
        b"1e309",
        b"99999999999999999999",
        b"\\ud800",
        b"\\u0000",
        b"{}",
        b"[]",
        b"[[[[[[[[",
        b"\"slashtag\":",
        b"\"destination\":\"\"",
        b"\"createdAt\":\"2023-08-31 04:13:48\"",
        b"\"httpStatus\":999",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\n",
        b"https://",
        b"javascript:",
        b"expired",
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"\"kind\":\"domain\"",
        b"\"status\":1",
        b"{\"$oid\":\"a\"}",
        b"],",
    ];
    let config = config::Catalog::default();
    fuzz("catalog", &corpus, words, |bytes| {
        let (catalog, report) = match source::load(bytes, &config) {
            Ok(loaded) => loaded,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}"),
        };
        assert!(catalog.links() as u64 + report.bad <= report.lines + 1);
        let host = Host::parse(b"go.brand.com").unwrap();
        for path in [&b"/spring"[..], b"/", b"/a/b"] {
            if let Ok(clickedge::catalog::Lookup::Found(link, _)) = catalog.find(&host, path) {
                let destination = link.destination();
                assert!(destination.bytes().all(|byte| byte > b' ' && byte < 0x7f), "{destination}");
                assert!((300..400).contains(&link.status()), "{}", link.status());
            }
        }
    });
}

#[test]
fn any_configuration_is_read_or_reported() {
    let conf = |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)).unwrap();
    let corpus =
        [conf("clickedge.toml"), conf("demo.toml"), b"[edge]\npop = \"a\"\n[[feeds]]\nname = \"b\"\n".to_vec()];
    let words: &[&[u8]] = &[
        b"[edge]\n",
        b"[[feeds]]\n",
        b"[[listeners]]\n",
        b"[limits]\n",
        b" = ",
        b"-1",
        b"0",
        b"99999999999999999999",
        b"nan",
        b"\"\"\"",
        b"'''",
        b"[",
        b"]",
        b"{",
        b"\"",
        b"1979-05-27",
        b"\xff",
        b"\\u0000",
        b"# ",
        b"\r\n",
        b"true",
    ];
    fuzz("config", &corpus, words, |bytes| {
        if let Err(error) = diagnostics::from_str(&String::from_utf8_lossy(bytes), Path::new("/x/clickedge.toml")) {
            assert!(!error.to_string().is_empty());
        }
    });
}

#[test]
fn any_header_of_a_visitor_is_read() {
    let mut corpus = lines(include_str!("../../src/visitor/agent/samples.txt"));
    corpus.push(CHROME.into());
    let words: &[&[u8]] = &[
        b"Mozilla/5.0 ",
        b"(",
        b")",
        b"Chrome/",
        b"Version/",
        b"Safari/",
        b"Android ",
        b"; ",
        b"bot",
        b"/",
        b".",
        b"iPhone OS 1_",
        b"compatible; ",
        b"+http://",
        b"\xff",
        b"99999999999999999999",
        b"Windows NT ",
        b"_",
    ];
    fuzz("agent", &corpus, words, |bytes| _ = agent::parse(&String::from_utf8_lossy(bytes)));

    let corpus = lines(
        "https://www.google.com/search?q=x#y\nandroid-app://m.facebook.com/\nhttp://m\u{fc}nchen.de:80/a\n\
         https://user:x@[2001:db8::1]:443/?\nhttp://xn--mnchen-3ya.de/\nhttps://t.co/a%2f\nios-app://123/x\nde-CH,de;q=0.9,*\n\
         gclid=x&fbclid=\nwww.a.b\n",
    );
    let words: &[&[u8]] = &[
        b"http://",
        b"https:",
        b"//",
        b"android-app://",
        b"xn--",
        b"\xc3\xbc",
        b"\xff",
        b".",
        b"..",
        b"@",
        b":",
        b"[",
        b"]",
        b"%00",
        b"google.",
        b"?gclid=x",
        b"\xe3\x80\x82",
        b";q=",
        b"-",
        b"*",
    ];
    let places = referrer::Places::read(&config::Enrich::default()).unwrap();
    fuzz("referrer", &corpus, words, |bytes| {
        let referral = referrer::referral(bytes, bytes, "go.brand.com", &places);
        let host = referral.as_ref().map(|referral| referral.hostname.to_string());
        if let Some(named) = referrer::host(bytes) {
            assert_eq!(host.as_deref(), Some(&*named), "the same host both times");
        }
        _ = language::preferred(bytes);
        if let Ok(host) = Host::parse(bytes) {
            assert_eq!(
                Host::parse(host.as_bytes()).unwrap().as_bytes(),
                host.as_bytes(),
                "a host in normal form stays"
            );
        }
        _ = key::slashtag(bytes);
    });
}

/// A segment in memory.
struct Bytes<'a>(&'a [u8]);

impl ReadAt for Bytes<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[test]
fn any_journal_is_read_to_its_end() {
    let edge = Edge::builder().feed("one", &["*"]).feed("two", &["w-1"]).start();
    for number in 0..8 {
        assert_eq!(edge.get("go.brand.com", &format!("/spring?n={number}")).status, 302);
    }
    let journal = edge.dir().join("spool/journal");
    let segments = || -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
            .filter(|(_, bytes)| bytes.len() > 2_000)
            .collect()
    };
    edge.wait_until("the journal has them", |_| !segments().is_empty());
    let stopped = edge.kill();
    let found = segments();
    let spool = stopped.dir().join("spool");
    let corpus: Vec<Vec<u8>> = found.iter().map(|(_, bytes)| bytes.clone()).collect();
    let (path, disk) = (&found[0].0, RealDisk::new(&spool).unwrap());
    let mut cases = 0_u32;
    fuzz("journal", &corpus, &[b"CEJ", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01"], |bytes| {
        let file = Bytes(bytes);
        let (mut frames, mut last) = (Frames::new(&file, 0, bytes.len() as u64), 0);
        while let Some((start, end, piece)) = frames.read().unwrap() {
            assert!(start == last && end > start && end <= bytes.len() as u64, "{start}..{end} after {last}");
            if let Piece::Event(frame) = piece {
                _ = frame.feeds().count();
            }
            last = end;
        }
        assert_eq!(last, bytes.len() as u64);
        // And as a spool of its own.
        cases += 1;
        if cases.is_multiple_of(16) {
            fs::write(path, bytes).unwrap();
            inspect::overview(&disk, &spool).unwrap();
        }
    });
}

#[test]
fn any_ring_is_read_or_set_aside() {
    let folder = || {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let rings = dir.path().join("rings");
        fs::create_dir(&rings).unwrap();
        fs::set_permissions(&rings, fs::Permissions::from_mode(0o700)).unwrap();
        let config = config::Capture { dir: rings, ring_bytes: 1 };
        (dir, config)
    };
    let (_dir, config) = folder();
    let (capture, inlets) = Capture::open(&config, 1, 1, &HashMap::new()).unwrap();
    for number in 0..20_u32 {
        let query = "q".repeat(number as usize * 7);
        let facts = Facts {
            id: EventId::at(1_795_000_000_000_000),
            micros: 1_795_000_000_000_000 + u64::from(number),
            client: ClientAddr::from_ip((0x7f00_0000 | number).to_be_bytes().into()),
            status: 302,
            protocol: Protocol::Http11,
            flags: Flags::default(),
            texts: Texts {
                query: query.as_bytes(),
                user_agent: CHROME.as_bytes(),
                host: b"go.brand.com",
                ..Texts::default()
            },
        };
        assert_eq!(capture.push(&facts), Pushed::Captured);
    }
    let rings: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&config.dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
        .filter(|(_, bytes)| bytes.len() > 1 << 20)
        .collect();
    drop((capture, inlets));
    let (path, ring) = &rings[0];
    // What is behind the clicks is empty.
    let (start, rest) = ring.split_at(16 * 1024);
    fuzz(
        "ring",
        &[start.to_vec()],
        &[b"\0\0\0\0\0\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x08", b"\0\0\x10\0"],
        |bytes| {
            let (_dir, config) = folder();
            let mut whole = bytes.to_vec();
            whole.resize(start.len(), 0);
            whole.extend(rest);
            let copy = config.dir.join(path.file_name().unwrap());
            fs::write(&copy, whole).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
            let Ok((capture, mut inlets)) = Capture::open(&config, 1, 1, &HashMap::new()) else { return };
            let mut read = 0;
            for inlet in &mut inlets {
                while let Some((click, position)) = inlet.pop() {
                    _ = (click.facts().texts.query.len(), click.visit());
                    capture.acks().ack(position);
                    read += 1;
                }
                _ = inlet.take_damaged();
            }
            assert!(read < 10_000, "{read}");
            capture.close();
        },
    );
}
