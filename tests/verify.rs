//! `clickedge feed verify`: proves a whole feed, and reports what is wrong with a damaged one.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{
    damage::{DAMAGES, Damage, World, cut, damage, forget, gap, remove, unlisted},
    feed::{Files, SHAPES, Series, event, hour, id_of},
    s3::{Fault, S3},
};

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

fn clickedge(arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clickedge"));
    let Output { status, stdout, stderr } = command.args(["feed", "verify"]).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

/// Verifies these files as a folder.
fn verify(files: &Files, options: &[&str]) -> Answer {
    let dir = TempDir::new().unwrap();
    files.write_to(dir.path());
    clickedge(&[&[dir.path().to_str().unwrap()], options].concat())
}

fn report(files: &Files, options: &[&str]) -> Value {
    let answer = verify(files, &[options, &["--json"]].concat());
    assert_eq!(answer.stderr, "");
    serde_json::from_str(&answer.stdout).unwrap()
}

fn proves(files: &Files, options: &[&str]) {
    let answer = verify(files, &[options, &["--quiet"]].concat());
    assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (0, "", ""));
}

#[test]
fn a_whole_feed_is_proven() {
    let answer = verify(&World::new().files, &[]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    let lines: Vec<_> = answer.stdout.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        words(lines[0]),
        ["FEED-EDGE-SPOOL", "HOURS", "OBJECTS", "NUMBERS", "EVENTS", "BYTES", "MANIFESTS", "OPEN"]
    );
    let row = words(lines[1]);
    assert_eq!(row[..5], ["all-fra1-k3j9x0ab", "3", "8", "1-8", "24"]);
    assert_eq!(row[6..], ["3", "1"]);
    assert_eq!(
        lines[2..],
        [
            "",
            "note: 2 hours are not closed: objects may still be added",
            "note: 1 object is too new for a manifest: read and checked nevertheless",
            "proven: 24 events in 8 objects, each once, none missing",
        ]
    );
}

#[test]
fn every_format_and_compression_is_read() {
    for shape in SHAPES {
        let (mut files, mut series) = (Files::default(), Series::new("all", "fra1"));
        series.object(&mut files, 9, 1, shape);
        series.object(&mut files, 9, 500, shape);
        series.manifest(&mut files, 9);
        let report = report(&files, &[]);
        assert_eq!(report["problems"], json!([]), "{shape}");
        assert_eq!((&report["proven"], &report["feeds"][0]["events"]), (&json!(true), &json!(501)), "{shape}");
    }
}

#[test]
fn the_report_for_programs_has_the_same_facts() {
    let report = report(&World::new().files, &["--from", "2026-11-23T09", "--to", "2026-11-23T11"]);
    assert_eq!((&report["schema"], &report["proven"]), (&json!("verify/1"), &json!(true)));
    assert_eq!((&report["from"], &report["to"]), (&json!("2026-11-23T09"), &json!("2026-11-23T11")));
    let row = &report["feeds"][0];
    for (field, value) in [
        ("name", json!("all-fra1-k3j9x0ab")),
        ("feed", json!("all")),
        ("pop", json!("fra1")),
        ("hours", json!(2)),
        ("objects", json!(7)),
        ("events", json!(21)),
        ("manifests", json!(3)),
        ("open_objects", json!(0)),
        ("first_seq", json!(1)),
        ("last_seq", json!(7)),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
}

#[test]
fn every_damage_is_reported_and_nothing_else_is() {
    for (name, damage, expected) in DAMAGES {
        let mut world = World::new();
        let key = damage(&mut world);
        let answer = verify(&world.files, &["--quiet"]);
        let lines: Vec<_> = answer.stdout.lines().collect();
        assert_eq!((answer.code, lines.len(), answer.stderr.as_str()), (65, expected.len(), ""), "{name}: {lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            let other = if name.contains("forgets") { world.object(6) } else { world.object(8) };
            let expected = expected.replace("KEY", &key).replace("OTHER", &other);
            assert!(line.starts_with(&expected), "{name}: {line} does not start with {expected}");
        }
    }
}

#[test]
fn a_quick_look_finds_what_shows_without_reading_objects() {
    let found = |damage: Damage| {
        let mut world = World::new();
        damage(&mut world);
        verify(&world.files, &["--quick"])
    };
    let answer = found(|world| damage(world, 3, |body| body[120] ^= 1));
    assert_eq!(answer.code, 0);
    assert!(
        answer.stdout.ends_with("\nquick: 8 objects, none missing; their content was not read\n"),
        "{}",
        answer.stdout
    );
    let damages: [Damage; 5] = [|world| remove(world, 2), |world| cut(world, 1), gap, unlisted, forget];
    for damage in damages {
        let answer = found(damage);
        assert_eq!(answer.code, 65);
        assert!(answer.stdout.ends_with("\nnot proven: 1 problem\n"), "{}", answer.stdout);
    }
}

#[test]
fn late_additions_are_a_new_version_or_open() {
    let mut world = World::new();
    let World { files, series, .. } = &mut world;
    series.object(files, 9, 4, "ndjson.gz");
    assert_eq!(report(files, &[])["feeds"][0]["open_objects"], 2);
    series.manifest(files, 9);
    let report = report(files, &[]);
    assert_eq!((&report["proven"], &report["feeds"][0]["open_objects"]), (&json!(true), &json!(1)));
}

#[test]
fn numbers_of_hours_that_were_not_asked_for_are_no_gap() {
    let mut world = World::new();
    world.series.object(&mut world.files, 9, 1, "ndjson.gz");
    world.series.object(&mut world.files, 11, 1, "ndjson.gz");
    let (before, after) = (["--to", "2026-11-23T11"], ["--from", "2026-11-23T11"]);
    proves(&world.files, &before);
    proves(&world.files, &after);
    remove(&mut world, 8);
    for hours in [before, ["--from", "2026-11-23T09"]] {
        let answer = verify(&world.files, &[&hours[..], &["--quiet"]].concat());
        assert_eq!(answer.code, 65);
        assert!(
            answer.stdout.starts_with("gap: all-fra1-k3j9x0ab: expected an object with number 00000008, "),
            "{}",
            answer.stdout
        );
    }
}

#[test]
fn rollups_are_left_out_of_the_verification() {
    let mut files = World::new().files;
    files.0.insert("_rollups/dt=2026-11-23/hour=09/all-fra1-k3j9x0ab-v1.ndjson.gz".into(), b"x".to_vec());
    let report = report(&files, &[]);
    assert_eq!((&report["proven"], &report["problems"]), (&json!(true), &json!([])));
    assert_eq!((&report["feeds"][0]["objects"], &report["foreign_count"]), (&json!(8), &json!(0)));
}

#[test]
fn replays_and_foreign_files_are_reported_and_left_alone() {
    let World { mut files, objects, .. } = World::new();
    files.0.insert(format!("_replay/r1/{}", objects[0]), files.0[&objects[0]].clone());
    for foreign in
        ["notes.txt", "dt=2026-11-23/hour=09/all.csv", "_manifest/x.json", "other/x", "dt=2026-11-23/hour=09/x/y"]
    {
        files.0.insert(foreign.into(), b"x".to_vec());
    }
    let answer = verify(&files, &[]);
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    for line in [
        "warning: ignored 5 files of no feed, such as notes.txt\n",
        "note: ignored 1 object below _replay/, as replays repeat events\n",
        "\nproven: 24 events in 8 objects, each once, none missing\n",
    ] {
        assert!(answer.stdout.contains(line), "{}", answer.stdout);
    }
}

#[test]
fn two_edges_of_a_feed_share_a_bucket_and_no_event() {
    let World { mut files, .. } = World::new();
    let mut other = Series::new("all", "sin-1");
    other.object(&mut files, 9, 5, "json.gz");
    other.object(&mut files, 11, 5, "json.gz");
    other.manifest(&mut files, 9);
    proves(&files, &[]);
    // The event has come to both edges; at one of them no manifest shows yet where the feed's name ends.
    let events = [event("ams1", 11, 77), event("fra1", 11, 21)];
    Series::new("all", "ams1").object_of(&mut files, 11, &events, "ndjson");
    let answer = verify(&files, &["--quiet"]);
    assert_eq!((answer.code, answer.stdout.lines().count()), (65, 1), "{}", answer.stdout);
    assert!(answer.stdout.contains("found 1 that are also in dt=2026-11-23/hour=11/all-"), "{}", answer.stdout);
}

#[test]
fn two_feeds_may_hold_the_same_events_and_are_verified_apart() {
    let World { mut files, .. } = World::new();
    let mut other = Series::new("all-eu", "fra1");
    let key = other.object_of(&mut files, 11, &[event("fra1", 11, 21)], "ndjson.gz");
    proves(&files, &[]);
    other.manifest(&mut files, 11);
    files.0.remove(&key);
    proves(&files, &["--feed", "all"]);
    assert_eq!(verify(&files, &["--feed", "all-eu", "--quiet"]).code, 65);
    let answer = verify(&files, &["--feed", "al"]);
    assert_eq!(answer.code, 66);
    assert!(
        answer
            .stderr
            .starts_with("error: there is nothing to verify: no objects and no manifests of the feed `al` in ")
    );
}

#[test]
fn a_repeated_number_is_a_problem() {
    let World { mut files, .. } = World::new();
    Series::new("all", "fra1").object_of(&mut files, 12, &[event("fra1", 12, 1)], "ndjson");
    let answer = verify(&files, &["--quiet"]);
    assert_eq!(answer.code, 65);
    assert!(answer.stdout.starts_with("repeated-seq: dt=2026-11-23/hour=12/all-fra1-"), "{}", answer.stdout);
}

#[test]
fn a_rebuilt_edge_is_proven_by_itself_and_two_live_ones_are_noticed() {
    let World { mut files, mut series, .. } = World::new();
    series.close(&mut files, 10);
    series.close(&mut files, 11);
    let mut rebuilt = Series::in_spool("all", "fra1", "p0q1r2s3");
    rebuilt.object(&mut files, 12, 3, "ndjson.gz");
    rebuilt.object(&mut files, 12, 3, "json");
    rebuilt.manifest(&mut files, 12);
    let answer = verify(&files, &[]);
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    assert!(!answer.stdout.contains("two spools"), "{}", answer.stdout);
    for row in ["all-fra1-k3j9x0ab ", "all-fra1-p0q1r2s3 "] {
        assert!(answer.stdout.contains(row), "{}", answer.stdout);
    }

    // The former edge still delivers.
    series.object(&mut files, 13, 1, "ndjson");
    series.close(&mut files, 13);
    let answer = verify(&files, &[]);
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    let notice = "warning: two spools delivered all-fra1 at the same time, k3j9x0ab and p0q1r2s3: no event is lost, ";
    assert!(answer.stdout.contains(notice), "{}", answer.stdout);
    assert_eq!(report(&files, &[])["notices"][0]["kind"], "two-spools");
}

#[test]
fn hours_that_are_not_closed_are_counted() {
    let World { mut files, mut series, .. } = World::new();
    let open = |files: &Files, hours: u64| {
        let note = if hours == 1 { "note: 1 hour is not closed" } else { "note: 2 hours are not closed" };
        assert_eq!(report(files, &[])["feeds"][0]["open_hours"], hours);
        assert_eq!(verify(files, &[]).stdout.contains(note), hours > 0);
    };
    open(&files, 2);
    series.close(&mut files, 9);
    open(&files, 1);
    series.close(&mut files, 10);
    open(&files, 0);
    // A late object, and the version that lists it.
    series.object(&mut files, 9, 1, "ndjson.gz");
    open(&files, 0);
    series.close(&mut files, 9);
    open(&files, 0);
    proves(&files, &[]);
}

#[test]
fn what_comes_after_the_edge_has_forgotten_a_closed_hour_is_a_list_of_its_own() {
    let World { mut files, mut series, objects, .. } = World::new();
    for late in 0..2 {
        series.close(&mut files, 9);
        series.forget(9);
        let first = series.object(&mut files, 9, 2 + late, "ndjson.gz");
        series.close(&mut files, 9);
        proves(&files, &[]);
        assert_eq!(verify(&files, &["--quick", "--quiet"]).stdout, "");
        // A later version of this list has to have all of it.
        let (mut gone, mut later) = (files.clone(), series.clone());
        later.object(&mut gone, 9, 1, "ndjson.gz");
        later.entries(9).remove(0);
        later.close(&mut gone, 9);
        let answer = verify(&gone, &["--quiet"]);
        assert_eq!(answer.code, 65);
        assert!(
            answer.stdout.contains(&format!("expected {first} as an earlier version lists it")),
            "{}",
            answer.stdout
        );
    }
    // What the first list has must still be there.
    files.0.remove(&objects[0]);
    let answer = verify(&files, &["--quiet"]);
    assert_eq!(answer.code, 65);
    assert!(answer.stdout.starts_with(&format!("missing: {}: ", objects[0])), "{}", answer.stdout);
}

#[test]
fn a_list_that_begins_again_without_a_closed_one_before_it_is_a_problem() {
    let World { mut files, mut series, .. } = World::new();
    series.forget(9);
    series.object(&mut files, 9, 2, "ndjson.gz");
    let key = series.close(&mut files, 9);
    let answer = verify(&files, &["--quiet"]);
    assert_eq!(answer.code, 65);
    assert!(
        answer.stdout.contains(&format!("forgotten: {key}: expected a version after 2, found version 1")),
        "{}",
        answer.stdout
    );
}

#[test]
fn an_edge_with_a_new_name_continues_the_chain_and_closes_the_hours_of_its_former_name() {
    let World { mut files, mut series, .. } = World::new();
    let mut renamed = series.clone().renamed("ams1");
    renamed.object(&mut files, 11, 3, "ndjson.gz");
    renamed.manifest(&mut files, 11);
    series.continue_after(&renamed);
    series.close(&mut files, 11);
    renamed.continue_after(&series);
    renamed.close(&mut files, 11);
    proves(&files, &["--from", "2026-11-23T11"]);
    let report = report(&files, &["--from", "2026-11-23T11"]);
    let rows = report["feeds"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{report:#}");
    assert!(rows.iter().all(|row| row["open_hours"] == 0 && row["hours"] == 1), "{report:#}");
}

#[test]
fn a_chain_is_followed_into_hours_that_were_not_asked_for() {
    let World { mut files, manifests, .. } = World::new();
    let hour = ["--from", "2026-11-23T10", "--to", "2026-11-23T11"];
    proves(&files, &hour);
    files.replace(&manifests[1], "\"closed\":false", "\"closed\":true ");
    let answer = verify(&files, &[&hour[..], &["--quiet"]].concat());
    assert_eq!((answer.code, answer.stdout.lines().count()), (65, 1), "{}", answer.stdout);
    assert!(answer.stdout.starts_with(&format!("chain: {}: ", manifests[1])), "{}", answer.stdout);
    // A bucket that removes old objects has a later beginning.
    files.0.remove(&manifests[1]);
    let answer = verify(&files, &hour);
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    let notice = "warning: the manifests of all, spool k3j9x0ab begin with number 3: earlier ones were removed\n";
    assert!(answer.stdout.contains(notice), "{}", answer.stdout);
}

/// A feed in the layout `sequence`: hours 9, 10, 9 again, 11 and 11, of which the last is too new for a manifest.
fn sequence() -> (Files, Series, Vec<String>) {
    let (mut files, mut series) = (Files::default(), Series::new("all", "fra1").sequence());
    let mut keys = Vec::new();
    for (hour, shape) in [(9, "ndjson.gz"), (10, "json.zst"), (9, "ndjson"), (11, "envelope.json.gz")] {
        keys.push(series.object(&mut files, hour, 3, shape));
        series.manifest(&mut files, hour);
    }
    keys.push(series.object(&mut files, 11, 3, "ndjson.zst"));
    (files, series, keys)
}

#[test]
fn a_sequence_is_proven_like_hours() {
    let (files, ..) = sequence();
    let answer = verify(&files, &[]);
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    let row: Vec<_> = answer.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["all-fra1-k3j9x0ab", "3", "5", "1-5", "15"]);
    assert_eq!(row[6..], ["4", "1"]);
    assert!(!answer.stdout.contains("warning: "), "{}", answer.stdout);
    let report = report(&files, &["--from", "2026-11-23T09", "--to", "2026-11-23T10", "--feed", "all"]);
    assert_eq!((&report["proven"], &report["feeds"][0]["objects"]), (&json!(true), &json!(2)), "{report}");
    proves(&files, &["--quick"]);
    let fresh = |key: &String| key.starts_with("all-fra1-");
    let without_manifests =
        Files(files.0.iter().filter(|(key, _)| fresh(key)).map(|(k, v)| (k.clone(), v.clone())).collect());
    proves(&without_manifests, &[]);
}

#[test]
fn damage_to_a_sequence_is_reported() {
    type Change = fn(&mut Files, &[String]);
    let changes: [(Change, usize, &str); 5] = [
        (|files, keys| _ = files.0.remove(&keys[2]), 2, "missing: KEY: expected 3 events in "),
        (|files, keys| files.change(&keys[0], |body| body[40] ^= 1), 0, "damaged: KEY: expected a whole object"),
        (|files, keys| files.change(&keys[2], |body| body[120] ^= 1), 2, "checksum: KEY: expected SHA-256 "),
        (|files, keys| files.change(&keys[4], |body| body.truncate(30)), 4, "damaged: KEY: expected a whole object"),
        (
            |files, keys| {
                let body = files.0[&keys[2]].clone();
                files.0.insert(keys[4].replace(".zst", ""), body);
                files.0.remove(&keys[4]);
            },
            4,
            "duplicate: KEY: expected each event once, found 3 that are also in all-fra1-k3j9x0ab/000000000003.ndjson",
        ),
    ];
    for (change, place, expected) in changes {
        let (mut files, _, keys) = sequence();
        change(&mut files, &keys);
        let answer = verify(&files, &["--quiet"]);
        let key =
            if expected.starts_with("duplicate") { keys[place].replace(".zst", "") } else { keys[place].clone() };
        let expected = expected.replace("KEY", &key);
        assert_eq!(answer.code, 65, "{expected}: {}", answer.stdout);
        assert!(answer.stdout.starts_with(&expected), "{} does not start with {expected}", answer.stdout);
    }
    let (mut files, mut series, _) = sequence();
    series.skip();
    series.object(&mut files, 12, 1, "ndjson");
    let answer = verify(&files, &["--quiet"]);
    assert!(
        answer.stdout.starts_with("gap: all-fra1-k3j9x0ab: expected an object with number 00000006, "),
        "{}",
        answer.stdout
    );
}

#[test]
fn unreadable_input_exits_with_66_and_usage_errors_with_64() {
    let dir = TempDir::new().unwrap();
    let empty = dir.path().to_str().unwrap();
    for (arguments, code, message) in [
        (&[empty][..], 66, "error: there is nothing to verify: no objects and no manifests of any feed in "),
        (&["no/such/folder"], 66, "error: cannot read no/such/folder: No such file or directory"),
        (&["s3://"], 64, "error: write a bucket like s3://bucket/prefix\n"),
        (&[empty, "--path-style"], 64, "error: "),
        (
            &[empty, "--from", "2026-11-23"],
            64,
            "error: invalid value '2026-11-23' for '--from <HOUR>': write an hour in UTC like",
        ),
        (
            &[empty, "--from", "2026-11-23T09", "--to", "2026-11-23T09"],
            64,
            "error: --from 2026-11-23T09 must be before --to",
        ),
        (&[], 64, "error: the following required arguments were not provided"),
    ] {
        let answer = clickedge(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (code, ""), "{arguments:?}: {}", answer.stderr);
        assert!(answer.stderr.starts_with(message), "{arguments:?}: {}", answer.stderr);
    }
}

/// Verifies what lies in the bucket below `brand`.
fn verify_s3(s3: &S3, bucket: &str, options: &[&str]) -> Answer {
    let (source, credentials) = (format!("s3://{bucket}/brand/"), s3.credentials_file());
    let endpoint = s3.endpoint();
    let access = [
        source.as_str(),
        "--endpoint",
        &endpoint,
        "--path-style",
        "--credentials-file",
        credentials.to_str().unwrap(),
    ];
    clickedge(&[&access, options].concat())
}

#[test]
fn a_bucket_is_verified_like_a_folder() {
    let s3 = S3::start();
    let mut world = World::new();
    let (first, body) = (world.object(1), world.files.0[&world.object(1)].clone());
    // More than one page of a listing.
    for n in 0..1_100 {
        world.files.0.insert(format!("_replay/r1/{first}.{n}"), body.clone());
    }
    let root = s3.root().join("clicks");
    world.files.write_to(&root.join("brand"));
    let answer = verify_s3(&s3, "clicks", &[]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{}", answer.stdout);
    assert!(answer.stdout.contains("note: ignored 1100 objects below _replay/, "), "{}", answer.stdout);
    assert!(
        answer.stdout.ends_with("\nproven: 24 events in 8 objects, each once, none missing\n"),
        "{}",
        answer.stdout
    );

    std::fs::remove_file(root.join("brand").join(world.object(2))).unwrap();
    let answer = verify_s3(&s3, "clicks", &["--quiet", "--region", "eu-west-1"]);
    assert_eq!(answer.code, 65);
    assert!(answer.stdout.starts_with(&format!("missing: {}: ", world.object(2))), "{}", answer.stdout);
}

#[test]
fn a_bucket_that_cannot_be_read_proves_nothing() {
    let s3 = S3::start();
    let answer = verify_s3(&s3, "none", &[]);
    assert_eq!((answer.code, answer.stdout.as_str()), (66, ""));
    assert!(answer.stderr.starts_with("error: cannot read s3://none/brand/: "), "{}", answer.stderr);
    assert!(answer.stderr.contains("NoSuchBucket"), "{}", answer.stderr);

    let world = World::new();
    world.files.write_to(&s3.root().join("clicks/brand"));
    s3.set(Fault::Forbidden(id_of(&event("fra1", 9, 3))));
    let answer = verify_s3(&s3, "clicks", &[]);
    assert_eq!((answer.code, answer.stdout.as_str()), (66, ""));
    assert!(answer.stderr.contains("AccessDenied") && answer.stderr.contains(&world.object(2)), "{}", answer.stderr);
    assert_eq!(hour(9).partition(), world.object(2)[..21]);
}
