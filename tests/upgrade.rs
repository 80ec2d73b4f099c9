//! An upgrade in place: what the previous release left when it was killed is delivered by this one.
//!
//! `golden/previous/make.sh` makes the fixture with that release's binary: seven clicks in an object in the outbox
//! (`?n=1` to `7`), seven in the journal, seven only in the rings. `clicks.txt` lists the answered clicks,
//! `events.ndjson` what the previous release itself delivers from the same files. The names of ring files are their
//! identities and must stay.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::common::{
    Edge,
    clicks::{parameter, wait_until_delivered},
    link,
};

/// The first click that was only in the rings.
const FIRST_IN_RINGS: usize = 14;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/previous").join(name)
}

/// Unpacks one folder of the fixture into another.
fn unpack(folder: &str, into: &Path) {
    let archive = zstd::decode_all(fs::File::open(fixture("left.tar.zst")).unwrap()).unwrap();
    let mut tar = Command::new("tar")
        .args(["--extract", "--file=-", "--strip-components=1", "--directory"])
        .args([into.as_os_str(), folder.as_ref()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(tar.wait().unwrap().success(), "{folder} is unpacked");
}

/// The answered clicks: the value of `n`, and the status.
fn answered() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(fixture("clicks.txt")).unwrap();
    let parse = |line: &str| {
        let (status, target) = line.split_once(' ')?;
        let query = target.split_once("?n=")?.1;
        Some((query.split('&').next()?.to_owned(), status.parse().ok()?))
    };
    text.lines().map(|line| parse(line).expect("a status and a target")).collect()
}

#[test]
fn clicks_that_the_previous_release_left_are_delivered_once_with_the_same_fields() {
    let mut moved = link("go.brand.com", "moved", "https://www.example.com/moved");
    moved["workspace"] = json!({"id": "w-2"});
    moved["httpStatus"] = json!(301);
    let builder = Edge::builder()
        .link(moved)
        .capture("ring_bytes = 1048576")
        .spool("journal_max_bytes = 16777216")
        .feed("all", &["*"]);
    let spool = builder.dir().join("spool");
    fs::create_dir(&spool).unwrap();
    unpack("spool", &spool);
    unpack("rings", builder.rings());
    let answered = answered();
    assert_eq!(answered.len(), 21);

    let edge = builder.start();
    wait_until_delivered(&edge, "all", answered.len());
    assert_eq!(edge.metric("clickedge_clicks_recovered_total"), (answered.len() - FIRST_IN_RINGS) as i64);
    let stopped = edge.stop();
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log());

    let mut events = stopped.events("all");
    events.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    let status = |event: &Value| event["route"]["status"].as_u64().unwrap();
    let delivered: Vec<_> = events.iter().map(|event| (nonce(event), status(event))).collect();
    assert_eq!(delivered.len(), answered.len(), "each click once: {delivered:?}");
    assert_eq!(delivered.into_iter().collect::<BTreeMap<_, _>>(), answered);

    let expected = fs::read_to_string(fixture("events.ndjson")).unwrap();
    let expected = expected.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    for (at, (event, expected)) in events.iter().zip(expected).enumerate() {
        assert_eq!(
            *event, expected,
            "event {at}; those from {FIRST_IN_RINGS} on are made by this release from the rings"
        );
    }
    let (head, opted_out, http_10) = (&events[17], &events[18], &events[19]);
    assert_eq!(head["client"]["agent"]["bot"]["reason"], "head", "{head}");
    assert!(opted_out["client"].get("session").is_none(), "{opted_out}");
    assert_eq!(http_10["quality"]["reasons"], json!(["impossible-headers"]), "{http_10}");
    assert_eq!(fs::read_dir(stopped.rings()).unwrap().filter(|entry| is_ring(entry.as_ref().unwrap())).count(), 0);
}

fn nonce(event: &Value) -> String {
    parameter(event, "n").expect("a nonce").to_owned()
}

fn is_ring(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with("ring-")
}
