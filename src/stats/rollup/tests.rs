//! The contract: a rollup, byte for byte as in `tests/golden/rollup.ndjson`, and its schema.
//!
//! After an intended change: `UPDATE_GOLDEN=1 cargo test --features full --lib rollup`.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    object::rollup::JSON_SCHEMA,
    stats::{Delta, Key, store::Store},
};

const HOUR: u64 = 498_729;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("stats.sqlite")).unwrap();
    let mut delta = Delta::default();
    let start = HOUR * 3_600_000_000;
    let rows = [
        (SubjectKind::Link, "go.brand.com", "spring", 4),
        (SubjectKind::Link, "go.brand.com", "", 1),
        (SubjectKind::Link, "go.shared.com", "mine", 2),
        (SubjectKind::Link, "go.shared.com", "theirs", 3),
        (SubjectKind::Link, "go.shared.com", "gone", 1),
        (SubjectKind::Domain, "w-1", "go.brand.com", 5),
        (SubjectKind::Domain, "w-1", "go.shared.com", 2),
        (SubjectKind::Domain, "w-2", "go.shared.com", 4),
        (SubjectKind::Workspace, "w-1", "", 7),
        (SubjectKind::Workspace, "w-2", "", 4),
        (SubjectKind::Tag, "w-1", "t-1", 4),
        (SubjectKind::Creator, "w-1", "u-1", 7),
        (SubjectKind::Country, "w-1", "de", 6),
        (SubjectKind::Country, "w-1", "", 1),
        (SubjectKind::Referrer, "w-1", "www.\"quoted\".example", 7),
        (SubjectKind::Device, "w-1", "smartphone", 7),
        (SubjectKind::Browser, "w-2", "chrome", 4),
        (SubjectKind::Os, "w-1", "android", 7),
    ];
    for (kind, scope, name, clicks) in rows {
        let counts = Counts {
            clicks,
            humans: clicks - 1,
            bots: 1,
            sessions: clicks / 2,
            first: start + 5,
            last: start + 1_000_000,
        };
        let key = Key { kind, scope: scope.into(), name: name.into() };
        delta.insert((Hour::of_micros(start), key.clone()), counts);
        // Counts of another hour do not belong in the rollup.
        delta.insert((Hour::of_micros(start + 3_600_000_000), key), counts);
    }
    store.commit(&delta, (1, 1)).unwrap();
    (dir, store)
}

fn rollup(workspaces: &[&str]) -> String {
    let (_dir, store) = store();
    let owner = |_: &str, slashtag: &str| match slashtag {
        "mine" => Some("w-1".into()),
        "theirs" => Some("w-2".into()),
        // Moved since, to a workspace without clicks on the domain.
        "gone" => Some("w-3".into()),
        _ => None,
    };
    let ids: Vec<String> = workspaces.iter().map(ToString::to_string).collect();
    let mut reader = store.reader().unwrap();
    let snapshot = reader.snapshot(Duration::from_secs(60)).unwrap();
    let mut text = Vec::new();
    let hour = Hour::of_micros(HOUR * 3_600_000_000);
    let lines = write(&snapshot, hour, &Workspaces::new(&ids), &owner, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count() as u64, lines);
    text
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_rollup_equals_the_golden_file() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rollup.ndjson");
    let text = rollup(&["w-1"]);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap());
}

#[test]
fn every_line_fits_the_schema_and_a_wrong_one_does_not() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let all = lines(&rollup(&["*"]));
    for line in &all {
        let errors: Vec<_> = validator.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
        for (field, wrong) in [("hour", json!("2026-11-23T09")), ("clicks", json!(0)), ("kind", json!(7))] {
            let mut value = line.clone();
            value[field] = wrong;
            assert!(!validator.is_valid(&value), "{field}");
        }
    }
    let mut link = all[0].clone();
    link.as_object_mut().unwrap().remove("domain");
    assert!(!validator.is_valid(&link));
}

#[test]
fn a_feed_gets_the_counts_of_its_workspaces_and_no_others() {
    let links = |workspaces: &[&str]| {
        let lines = lines(&rollup(workspaces)).into_iter().filter(|line| line["kind"] == "link");
        lines.map(|line| format!("{} {}", line["slashtag"], line["workspace"]).replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(links(&["w-1"]), [" w-1", "spring w-1", "mine w-1"]);
    assert_eq!(links(&["w-2"]), ["theirs w-2"]);
    assert_eq!(links(&["w-2", "w-1"]), [" w-1", "spring w-1", "mine w-1", "theirs w-2"]);
    assert_eq!(links(&["*"]), [" w-1", "spring w-1", "gone null", "mine w-1", "theirs w-2"]);
    assert!(links(&["w-9"]).is_empty());
    for line in lines(&rollup(&["w-2"])) {
        assert_eq!(line["workspace"], "w-2", "{line}");
    }
}
