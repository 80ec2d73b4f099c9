//! What customers do with a feed: every loader of the manual reads objects full of hostile queries, the manual's
//! examples run as they stand there, generated readers read events of today and of later, and the Lambda function
//! passes each event on once.
//!
//! Python with the loaders and node with the generators are installed below the target folder, at the first run and
//! when the versions in `loaders/` change. A test prints `skipped: ...` when that is not possible.

mod feed;
mod queries;
mod samples;
pub mod tools;

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::common::{
    Edge,
    clicks::Visitor,
    s3::{KEY, S3, SECRET},
};
use feed::{COPIES, Feed, facts};
use tools::{Tool, file};

const MANUAL: &str = "src/manual/feeds.md";
const SCHEMA: &str = "conf/click-event.schema.json";

#[test]
fn every_loader_reads_hostile_queries_with_one_schema() {
    let Some(python) = tools::get(Tool::Python) else { return };
    let feed = Feed::shared();
    for loader in ["duckdb", "clickhouse", "polars", "pandas", "arrow"] {
        python.run("infer.py", &[loader, &feed.facts()]);
    }
}

#[test]
fn every_example_of_the_manual_counts_what_was_delivered() {
    let Some(python) = tools::get(Tool::Python) else { return };
    let feed = Feed::shared();
    for loader in ["duckdb", "clickhouse", "polars", "pandas", "athena", "bigquery"] {
        python.run_in(&feed.customer(), "recipes.py", &[loader, &file(MANUAL), &file(SCHEMA)]);
    }
}

#[test]
fn spark_reads_hostile_queries_with_one_schema_and_its_example_counts_them() {
    let Some(python) = tools::get(Tool::Spark) else { return };
    let feed = Feed::shared();
    python.run("infer.py", &["spark", &feed.facts()]);
    python.run_in(&feed.customer(), "recipes.py", &["spark", &file(MANUAL), &file(SCHEMA)]);
}

#[test]
fn the_function_for_lambda_passes_each_event_on_once() {
    let Some(python) = tools::get(Tool::Python) else { return };
    let s3 = S3::start();
    s3.make_bucket("warehouse");
    let formats =
        ["format = \"ndjson\"", "format = \"json\"\ncompression = { zstd = { level = 1 } }", "format = \"envelope\""];
    let mut builder = Edge::builder();
    for (n, format) in formats.iter().enumerate() {
        let bucket = format!("clicks-{n}");
        s3.make_bucket(&bucket);
        let sink = s3.sink_toml(&bucket, "prefix = \"feeds/all clicks\"");
        builder = builder.feed_into(&format!("all-{n}"), &["*"], &format!("manifest_secs = 1\n{format}\n{sink}"));
    }
    let mut edge = builder.start();
    for round in 0..3 {
        let mut visitor = Visitor::connect(edge.address);
        for n in 0..150 {
            assert!(visitor.click(&format!("{round}-{n}"), "&q=%E2%80%A8"));
        }
        edge = edge.stop().restart();
    }
    drop(edge.stop());
    for (n, _) in formats.iter().enumerate() {
        let bucket = format!("clicks-{n}");
        let keys = feed::keys_below(&s3.bucket(&bucket));
        let objects: Vec<_> = keys.iter().filter(|key| key.contains("/dt=") && !key.contains("/_")).collect();
        assert!(objects.len() >= 3, "{keys:?}");
        // A replay repeats an object, as a customer may load it, too; what is below `_` is passed over.
        let body = fs::read(s3.bucket(&bucket).join(objects[0])).unwrap();
        let (folder, name) = objects[0].rsplit_once('/').unwrap();
        s3.write(&bucket, &format!("{folder}/again-{name}"), &body);
        s3.write(&bucket, &format!("feeds/all clicks/_replay/1/{name}"), &body);
        s3.write(&bucket, "feeds/all clicks/_manifest/dt=2026-11-23/hour=09/all.json", b"{}");
        let handler = file("conf/loaders/lambda_handler.py");
        let said = python.run(
            "lambda_test.py",
            &[&handler, &s3.endpoint(), KEY, SECRET, &bucket, "feeds/all clicks/", "warehouse"],
        );
        assert_eq!(said.trim(), "450", "each click once");
    }
}

fn read_with_a_generated_reader(tool: Tool, language: &str) {
    let Some(python) = tools::get(Tool::Python) else { return };
    let Some(generator) = tools::get(tool) else { return };
    let folder = TempDir::new().unwrap();
    let folder = folder.path().join(language);
    let node = generator.dir.to_str().unwrap();
    let samples = file("conf/samples/events.ndjson");
    python.run("readers.py", &[language, &file(SCHEMA), &samples, folder.to_str().unwrap(), node]);
}

#[test]
fn a_generated_pydantic_reader_accepts_later_events() {
    read_with_a_generated_reader(Tool::Python, "pydantic");
}

#[test]
fn a_generated_typescript_reader_accepts_later_events() {
    read_with_a_generated_reader(Tool::Node, "typescript");
}

#[test]
fn a_generated_go_reader_accepts_later_events() {
    if tools::is_there("go") {
        read_with_a_generated_reader(Tool::Node, "go");
    }
}

#[test]
fn a_generated_rust_reader_accepts_later_events() {
    read_with_a_generated_reader(Tool::Node, "rust");
}

/// What is below names that begin with `_`, and an object that was delivered twice.
fn add_what_is_no_event(feed: &Path, object: &Path) {
    let name = object.file_name().unwrap();
    let body = fs::read(object).unwrap();
    for n in 0..COPIES {
        fs::write(object.with_file_name(format!("copy-{n}.ndjson.gz")), &body).unwrap();
    }
    for folder in ["_replay/r1/dt=2026-11-23/hour=09", "_test", "_rollups/dt=2026-11-23/hour=09"] {
        fs::create_dir_all(feed.join(folder)).unwrap();
        fs::write(feed.join(folder).join(name), &body).unwrap();
    }
    let manifest = feed.join("_manifest/dt=2026-11-23/hour=09");
    fs::create_dir_all(&manifest).unwrap();
    fs::write(manifest.join("all-test-00000001.json"), json!({"objects": []}).to_string()).unwrap();
    assert!(facts(object)[0] > 0);
}
