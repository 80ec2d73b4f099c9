//! Many feeds: two thousand customers on one edge cost no more than one large one.

use std::{fs, path::Path};

use serde_json::json;

use crate::common::{Edge, TIMEOUT, clicks::Visitor, events_below, link, objects_below};

const FEEDS: usize = 2_000;

fn status_kib(edge: &Edge, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field of that name");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn open_files(edge: &Edge) -> usize {
    fs::read_dir(format!("/proc/{}/fd", edge.pid())).unwrap().count()
}

fn rounds(spool: &Path) -> u64 {
    let state: serde_json::Value = serde_json::from_slice(&fs::read(spool.join("state")).unwrap()).unwrap();
    state["state"]["round"].as_u64().unwrap()
}

#[test]
fn two_thousand_feeds_share_commits_files_and_memory() {
    let mut builder = Edge::builder();
    for n in 0..FEEDS {
        let mut link = link("go.brand.com", &format!("of-{n}"), "https://www.example.com/");
        link["workspace"] = json!({"id": format!("w-{n}")});
        builder = builder.link(link).feed(&format!("feed-{n}"), &[&format!("w-{n}")]);
    }
    let edge = builder.start();
    let mut most_files = open_files(&edge);
    let before = status_kib(&edge, "RssAnon:");
    let mut visitor = Visitor::connect(edge.address);
    for round in 0..3 {
        for n in 0..FEEDS {
            assert!(visitor.click_at(&format!("/of-{n}"), &format!("{round}-{n}"), ""));
        }
        most_files = most_files.max(open_files(&edge));
    }
    // Each commit syncs the whole file system, with whatever else is written to it.
    let until = std::time::Instant::now() + 4 * TIMEOUT;
    let bucket = edge.dir().join("bucket");
    while edge.metric("clickedge_clicks_journaled_total") < 3 * FEEDS as i64
        || !edge
            .admin("/metrics")
            .body
            .lines()
            .filter(|line| line.starts_with("clickedge_events_pending"))
            .all(|line| line.ends_with(" 0"))
    {
        most_files = most_files.max(open_files(&edge));
        assert!(
            std::time::Instant::now() < until,
            "{} objects are delivered\n{}",
            objects_below(&bucket).len(),
            edge.log()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (rounds, grown) = (rounds(&edge.dir().join("spool")), status_kib(&edge, "RssAnon:").saturating_sub(before));
    let objects = objects_below(&bucket).len();
    println!("{objects} objects in {rounds} rounds; {most_files} files open at the most; {} MiB more", grown >> 10);
    assert!(objects >= FEEDS, "each feed has objects of its own");
    assert!(rounds * 20 < objects as u64, "{objects} objects took {rounds} commits");
    assert!(most_files < 200, "{most_files} files were open");
    assert!(grown < 100 << 10, "{grown} KiB");
    let events: usize = (0..FEEDS).map(|n| events_below(&bucket.join(format!("feed-{n}"))).len()).sum();
    assert_eq!(events, 3 * FEEDS);
}
