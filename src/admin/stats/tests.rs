//! Requests against a store with known counts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    catalog::{Catalog, source},
    config,
    runtime::Hour,
    stats::{
        Delta, Key,
        store::{Retention, Store},
    },
};

/// 2026-11-24T09:30.
const NOW: u64 = 498_753 * 3_600_000_000 + 1_800_000_000;

struct World {
    dir: TempDir,
    stats: Stats,
}

fn catalog() -> CatalogStore {
    let link = |domain: &str, slashtag: &str, workspace: &str| {
        json!({
            "id": slashtag, "slashtag": slashtag, "destination": "https://example.com",
            "domain": {"fullName": domain}, "workspace": {"id": workspace}
        })
    };
    let links = [
        link("go.brand.com", "spring", "w-1"),
        link("go.brand.com", "a/b", "w-1"),
        link("loud.brand.com", "Summer", "w-1"),
        link("shared.example", "mine", "w-1"),
        link("shared.example", "theirs", "w-2"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.ndjson");
    std::fs::write(&file, links.map(|link| format!("{link}\n")).concat()).unwrap();
    let case = config::Domain { case: crate::link::Case::Insensitive, ..config::Domain::default() };
    let config =
        config::Catalog { file, domains: [("loud.brand.com".into(), case)].into(), ..config::Catalog::default() };
    let (catalog, _): (Catalog, _) = source::load_file(&config).unwrap();
    CatalogStore::of(catalog, &config)
}

impl World {
    /// Clicks of the last hours and of thirty days ago, which are summed into days.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let live = StatsHandle::new(dir.path());
        let mut store = Store::open(live.file()).unwrap();
        let mut delta = Delta::default();
        let mut count = |hours_ago: u64, kind, scope: &str, name: &str, clicks| {
            let at = NOW - hours_ago * 3_600_000_000;
            let counts =
                Counts { clicks, humans: clicks - 1, bots: 1, sessions: clicks / 2, first: at, last: at + 1_000_000 };
            let key = Key { kind, scope: scope.into(), name: name.into() };
            delta.entry((Hour::of_micros(at), key)).or_default().add(&counts);
        };
        for hours_ago in [0, 1, 5, 720] {
            count(hours_ago, SubjectKind::Link, "go.brand.com", "spring", 4);
            count(hours_ago, SubjectKind::Domain, "w-1", "go.brand.com", 5);
            count(hours_ago, SubjectKind::Workspace, "w-1", "", 9);
        }
        count(1, SubjectKind::Link, "go.brand.com", "a/b", 1);
        count(1, SubjectKind::Link, "go.brand.com", "caf\u{e9}", 2);
        count(1, SubjectKind::Link, "go.brand.com", "", 3);
        count(1, SubjectKind::Link, "loud.brand.com", "Summer", 6);
        count(1, SubjectKind::Link, "shared.example", "mine", 8);
        count(1, SubjectKind::Link, "shared.example", "theirs", 7);
        count(1, SubjectKind::Domain, "w-1", "shared.example", 8);
        count(1, SubjectKind::Domain, "w-2", "shared.example", 7);
        count(1, SubjectKind::Workspace, "w-2", "", 7);
        count(1, SubjectKind::Country, "w-1", "de", 9);
        count(1, SubjectKind::Country, "w-1", "", 12);
        count(1, SubjectKind::Tag, "w-1", "t-1", 2);
        store.commit(&delta, (1, 1)).unwrap();
        let now = Hour::of_micros(NOW);
        while store.retain(Retention { hours_days: 3, days: 400 }, now).unwrap() {}
        let stats = Stats::new(Some(live), Arc::new(catalog()), Arc::new(UnknownSlashtags::new(NOW / 1_000_000)));
        Self { dir, stats }
    }

    fn get(&self, target: &str) -> Result<Value, QueryError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let text = self.stats.answer_now(&format!("{ROOT}{path}"), query, NOW)?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    fn clicks(&self, target: &str) -> u64 {
        self.get(target).unwrap_or_else(|error| panic!("{target}: {error:?}"))["totals"]["clicks"].as_u64().unwrap()
    }

    fn bad(&self, target: &str) -> String {
        match self.get(target) {
            Err(QueryError::Bad(text)) => text,
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[test]
fn a_link_has_totals_and_a_series() {
    let world = World::new();
    let mut answer = world.get("links/go.brand.com/spring").unwrap();
    assert!(answer["countedUntil"].take().as_str().unwrap().ends_with('Z'));
    let entry = |time: &str, at: &str| {
        let (first, last) = (format!("2026-11-24T{at}:00.000000Z"), format!("2026-11-24T{at}:01.000000Z"));
        json!({"time": format!("2026-11-24T{time}:00:00Z"), "clicks": 4, "humans": 3, "bots": 1, "sessions": 2, "first": first, "last": last})
    };
    let expected = json!({
        "domain": "go.brand.com", "slashtag": "spring",
        "from": "2026-11-23T10:00:00Z", "until": "2026-11-24T10:00:00Z", "countedUntil": null,
        "totals": {
            "clicks": 12, "humans": 9, "bots": 3, "sessions": 6,
            "first": "2026-11-24T04:30:00.000000Z", "last": "2026-11-24T09:30:01.000000Z"
        },
        "step": "hour",
        "series": [entry("04", "04:30"), entry("08", "08:30"), entry("09", "09:30")],
    });
    assert_eq!(answer, expected);
}

#[test]
fn domain_and_slashtag_are_looked_up_as_in_a_redirect() {
    let world = World::new();
    for (target, clicks) in [
        ("links/GO.Brand.com:8080/spring/", 12),
        ("links/go.brand.com./%73pring", 12),
        ("links/go.brand.com/a/b", 1),
        ("links/go.brand.com/a%2Fb", 1),
        ("links/go.brand.com/caf%C3%A9", 2),
        ("links/go.brand.com/cafe%CC%81", 2),
        ("links/go.brand.com/", 3),
        ("links/loud.brand.com/SUMMER", 6),
        ("links/loud.brand.com/summer", 6),
        ("domains/GO.brand.COM", 15),
        ("domains/shared.example", 15),
        ("workspaces/w%2D1", 27),
    ] {
        assert_eq!(world.clicks(target), clicks, "{target}");
    }
    for target in [
        "links/go.brand.com/Spring",
        "links/go.brand.com/other",
        "links/go.brand.com/%FF",
        "links/other.com/spring",
        "domains/other.com",
        "workspaces/W-1",
        "workspaces/",
        "planets/earth",
        "",
    ] {
        assert!(matches!(world.get(target), Err(QueryError::Unknown(_))), "{target}: {:?}", world.get(target));
    }
    for target in ["links/go.brand.com", "links//spring", "domains/a..b", "domains/", "links/go.brand.com/a%00"] {
        world.bad(target);
    }
}

#[test]
fn a_domain_has_its_top_links_and_a_workspace_its_breakdowns() {
    let world = World::new();
    let top = |target: &str| {
        let answer = world.get(target).unwrap();
        let entry = |entry: &Value| {
            let name = ["slashtag", "domain", "id", "name"].iter().find_map(|field| entry[field].as_str());
            (name.unwrap_or("-").to_owned(), entry["clicks"].as_u64().unwrap())
        };
        answer["top"].as_array().unwrap().iter().map(entry).collect::<Vec<_>>()
    };
    let pairs =
        |pairs: &[(&str, u64)]| pairs.iter().map(|(name, clicks)| ((*name).to_owned(), *clicks)).collect::<Vec<_>>();
    assert_eq!(top("domains/go.brand.com?top=2"), pairs(&[("spring", 12), ("", 3)]));
    assert_eq!(
        top("workspaces/w-1?by=links"),
        pairs(&[("spring", 12), ("mine", 8), ("", 3), ("caf\u{e9}", 2), ("a/b", 1)])
    );
    assert_eq!(top("workspaces/w-2?by=links&order=sessions"), pairs(&[("theirs", 7)]));
    assert_eq!(top("workspaces/w-1?by=domains"), pairs(&[("go.brand.com", 15), ("shared.example", 8)]));
    assert_eq!(top("workspaces/w-1?by=countries"), pairs(&[("-", 12), ("de", 9)]));
    assert_eq!(top("workspaces/w-1?by=tags"), pairs(&[("t-1", 2)]));
    assert_eq!(top("workspaces/w-1?by=os"), []);
    let days = world.get("workspaces/w-1?by=days").unwrap();
    assert_eq!((&days["step"], days["series"].as_array().unwrap().len()), (&json!("day"), 1));
}

#[test]
fn summed_days_are_whole_and_the_answer_states_it() {
    let world = World::new();
    // Thirty days ago, half past nine: the range ends before, and covers the day all the same.
    let answer = world.get("links/go.brand.com/spring?from=2026-10-25T02&until=2026-10-25T03").unwrap();
    assert_eq!(answer["totals"]["clicks"], 4);
    assert_eq!((&answer["from"], &answer["until"]), (&json!("2026-10-25T00:00:00Z"), &json!("2026-10-26T00:00:00Z")));
    assert_eq!((&answer["wholeDaysBefore"], &answer["step"]), (&json!("2026-11-21T00:00:00Z"), &json!("day")));
    assert_eq!(answer["series"][0]["time"], "2026-10-25T00:00:00Z");
    let all = world.get("links/go.brand.com/spring?from=2026-10-01").unwrap();
    assert_eq!((&all["totals"]["clicks"], all["series"].as_array().unwrap().len()), (&json!(16), 2));
    let text = world.bad("links/go.brand.com/spring?from=2026-10-01&step=hour");
    assert!(
        text.contains("`step=hour`") && text.contains("2026-11-21T00:00Z") && text.contains("step=day"),
        "{text}"
    );
}

#[test]
fn ranges_are_read_as_they_are_written() {
    let world = World::new();
    for (range, from, until) in [
        ("from=2026-11-23&until=2026-11-24", "2026-11-23T00", "2026-11-24T00"),
        ("from=2026-11-23T09", "2026-11-23T09", "2026-11-24T10"),
        ("until=2026-11-24T05", "2026-11-23T05", "2026-11-24T05"),
        ("from=2026-11-24T03:59:59Z&until=2026-11-24T05:00:00.1Z", "2026-11-24T03", "2026-11-24T06"),
        ("from=2026-11-24T03:00:00%2B02:00", "2026-11-24T01", "2026-11-24T10"),
        ("from=2026-11-24T03:00:00+02:00", "2026-11-24T01", "2026-11-24T10"),
    ] {
        let answer = world.get(&format!("workspaces/w-1?{range}")).unwrap();
        assert_eq!(answer["from"], format!("{from}:00:00Z"), "{range}");
        assert_eq!(answer["until"], format!("{until}:00:00Z"), "{range}");
    }
    // Known, though not in this range.
    assert_eq!(world.clicks("workspaces/w-1?from=2026-11-22&until=2026-11-23"), 0);
}

#[test]
fn an_error_names_parameter_value_and_remedy() {
    let world = World::new();
    for (query, parts) in [
        ("from=yesterday", &["`from=yesterday`", "2026-11-23T09"][..]),
        ("until=2026-11-23T24", &["`until=2026-11-23T24`"]),
        ("until=1969-01-01", &["`until=1969-01-01`"]),
        ("from=2026-11-25", &["2026-11-25T00:00Z", "not before", "2026-11-24T10:00Z"]),
        ("step=week", &["`step=week`", "hour, day"]),
        ("top=0", &["`top=0`", "1 to 1000"]),
        ("top=1001", &["`top=1001`"]),
        ("top=", &["`top=`"]),
        ("order=size", &["`order=size`", "clicks, humans, sessions"]),
        ("by=planets", &["`by=planets`", "links, domains", "days"]),
        ("by=links&step=day", &["`step`", "`by`"]),
        ("step=day&by=hours", &["`by=hours`", "`step`"]),
        ("top=1&top=2", &["`top=2`", "twice"]),
        ("colour=red", &["`colour=red`", "from, until, step, by, top, order"]),
        ("%1b[2J=1", &["`\\u{1b}[2J=1`"]),
    ] {
        let text = world.bad(&format!("workspaces/w-1?{query}"));
        assert!(parts.iter().all(|part| text.contains(part)), "{query}: {text}");
    }
    assert!(world.bad("links/go.brand.com/spring?by=links").contains("from, until, step"));
    let text = world.bad("workspaces/w-1?from=2020-01-01&until=2026-01-01&step=day");
    assert!(text.contains("2192 entries"), "{text}");
}

#[test]
fn without_counts_the_answer_has_the_reason() {
    let off = Stats::new(None, Arc::new(catalog()), Arc::new(UnknownSlashtags::new(0)));
    let error = off.answer_now("/v1/stats/workspaces/w-1", "", NOW).unwrap_err();
    assert!(matches!(&error, QueryError::Unavailable(text) if text.contains("stats.enabled")), "{error:?}");

    let world = World::new();
    let file = world.dir.path().join("stats.sqlite");
    std::fs::write(&file, "damaged".repeat(999)).unwrap();
    let _ = std::fs::remove_file(world.dir.path().join("stats.sqlite-wal"));
    assert!(matches!(world.get("workspaces/w-1"), Err(QueryError::Unavailable(_))));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(world.get("workspaces/w-1"), Err(QueryError::Unavailable(_))));
}

#[test]
fn a_quiet_edge_is_as_fresh_as_its_aggregator_reports() {
    let world = World::new();
    let live = world.stats.live.clone().unwrap();
    let until = |world: &World| {
        let answer = world.get("workspaces/w-1").unwrap();
        answer["countedUntil"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond() as u64
    };
    let committed = until(&world);
    live.set_complete_until(committed + 5);
    live.set_complete_until(7);
    assert_eq!(until(&world), committed + 5);
}

#[test]
fn queries_wait_for_each_other_up_to_a_limit() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let answered = AtomicU64::new(0);
    runtime.block_on(async {
        let path = "/v1/stats/workspaces/w-1";
        let held = Arc::clone(&world.stats.running).acquire_many_owned(QUERIES as u32).await.unwrap();
        let busy = world.stats.answer(path, "").await;
        assert!(matches!(&busy, Err(QueryError::Unavailable(text)) if text.contains("try again")), "{busy:?}");
        drop(held);
        for _ in 0..2 * QUERIES {
            world.stats.answer(path, "").await.unwrap();
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!(answered.into_inner(), 2 * QUERIES as u64);
}

#[test]
fn unknown_slashtags_are_listed_by_domain() {
    let world = World::new();
    let secs = NOW / 1_000_000;
    for (domain, slashtag) in
        [("go.brand.com", "sprng"), ("go.brand.com", "a\"<\u{7}"), ("go.brand.com", "sprng"), ("x.example", "y")]
    {
        world.stats.unknown.note(domain, slashtag.as_bytes(), secs + 1);
    }
    let time = |second| format!("2026-11-24T09:30:0{second}.000000Z");
    let entry = |slashtag: &str, requests| json!({"slashtag": slashtag, "requests": requests, "last": time(1)});
    let slashtags = [entry("sprng", 2), entry("a\"<\u{7}", 1)];
    let one = json!({"since": time(0), "domain": "go.brand.com", "requests": 3, "slashtags": slashtags});
    assert_eq!(world.get("unknown/GO.brand.com").unwrap(), one);
    let other = json!({"domain": "x.example", "requests": 1, "slashtags": [entry("y", 1)]});
    let first = json!({"domain": "go.brand.com", "requests": 3, "slashtags": [entry("sprng", 2)]});
    assert_eq!(world.get("unknown?top=1").unwrap(), json!({"since": time(0), "domains": [first, other]}));
    let none = world.get("unknown/loud.brand.com").unwrap();
    assert_eq!((&none["requests"], &none["slashtags"]), (&json!(0), &json!([])));
}

#[test]
fn a_wrong_request_for_unknown_slashtags_gets_a_reason() {
    let world = World::new();
    assert_eq!(world.bad("unknown?top=0"), "`top=0` must be a number from 1 to 100");
    assert_eq!(world.bad("unknown?top=1&top=1"), "`top=1` is given twice; give it once");
    assert_eq!(world.bad("unknown?from=1"), "`from=1` is not a parameter of this route; it has top");
    assert!(world.bad("unknown/a b").contains("domain"));
    assert_eq!(
        world.get("unknown/z.example"),
        Err(QueryError::Unknown("the catalog has no domain z.example".into()))
    );
    assert!(matches!(world.get("unknowns"), Err(QueryError::Unknown(_))));
}
