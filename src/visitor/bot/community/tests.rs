#![allow(clippy::unwrap_used)]

use std::{
    fs,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn list(entries: &serde_json::Value) -> Result<CommunityList, CrawlersError> {
    CommunityList::parse(entries.to_string().as_bytes(), Path::new("crawlers.json"))
}

/// Entries enough that one bad one does not spoil the file.
fn with(more: &[&str]) -> serde_json::Value {
    let filler = (0..20 * more.len()).map(|n| format!("filler-{n}-crawler"));
    filler.chain(more.iter().map(ToString::to_string)).map(|pattern| json!({"pattern": pattern})).collect()
}

#[test]
fn an_entry_gives_class_and_name() {
    let list = list(&json!([
        {"pattern": "[pP]ingdom", "url": "https://example.com", "instances": ["Pingdom"], "tags": ["monitoring"]},
        {"pattern": "Example\\/", "tags": ["academic", "ai-crawler"]},
        {"pattern": "somelib", "tags": ["http-library"]},
        {"pattern": "Untagged"},
    ]))
    .unwrap();
    let of = |agent| list.detect(agent).map(|bot| (bot.reason, bot.class.unwrap(), bot.name.unwrap().into_owned()));
    assert_eq!(of("x pingdom y"), Some((BotReason::Agent, BotClass::Monitoring, "pingdom".into())));
    assert_eq!(of("Example/1.0"), Some((BotReason::Agent, BotClass::Ai, "example".into())));
    assert_eq!(of("somelib"), Some((BotReason::Library, BotClass::Library, "somelib".into())));
    assert_eq!(of("Untagged"), Some((BotReason::Agent, BotClass::Other, "untagged".into())));
    assert_eq!(of("untagged"), None, "case counts, as in the community's readers");
    assert_eq!((list.len(), list.bad().len()), (4, 0));
}

#[test]
fn the_leftmost_match_wins_and_of_those_the_first_entry() {
    let list = list(&json!([{"pattern": "Late"}, {"pattern": "Early"}, {"pattern": "EarlyBird"}])).unwrap();
    assert_eq!(list.detect("EarlyBird Late").unwrap().name.unwrap(), "early");
}

#[test]
fn a_name_is_a_slug_of_the_pattern() {
    let of = |pattern| name(pattern).unwrap_or_default().into_owned();
    for (pattern, expected) in [
        ("Googlebot\\/", "googlebot"),
        ("AdsBot-Google([^-]|$)", "adsbot-google"),
        ("(sistrix|SISTRIX) [cC]rawler", "sistrix-crawler"),
        ("Current[\\s\\S]*RSS Reader", "current-rss-reader"),
        ("BlogTraffic\\/\\d\\.\\d+ Feed-Fetcher", "blogtraffic-.-feed-fetcher"),
        ("one|two", "one"),
        ("^\\[x\\]$", "x"),
        ("[0-9]+", ""),
        ("Ünï", "n"),
    ] {
        assert_eq!(of(pattern), expected, "{pattern}");
    }
    assert!(of(&"x".repeat(200)).len() <= MAX_NAME_BYTES);
}

#[test]
fn a_bad_entry_is_skipped_and_reported() {
    for (pattern, reason) in [
        ("(unclosed", "unclosed group"),
        ("(?<!cu)bot", "look-around"),
        ("(a)\\1", "backreferences"),
        ("", "matches every string"),
        (".*", "matches every string"),
        ("x*", "matches every string"),
        ("Mozilla", "a common browser"),
        ("Safari|Foo", "a common browser"),
        ("(a{1000}){1000}", "exceeded limit"),
        (&"x".repeat(MAX_PATTERN_BYTES + 1), "more than 512 bytes"),
    ] {
        let list = list(&with(&[pattern])).unwrap();
        assert_eq!((list.len(), list.bad().len()), (20, 1), "{pattern}");
        let bad = &list.bad()[0];
        assert_eq!((bad.entry, &*bad.pattern), (21, pattern));
        assert!(bad.reason.contains(reason), "{pattern}: {}", bad.reason);
        assert!(list.detect("filler-7-crawler").is_some());
    }
}

#[test]
fn a_file_with_many_bad_entries_is_rejected() {
    let Err(error) = list(&json!([{"pattern": "fine"}, {"pattern": "(bad"}])) else { panic!("taken") };
    let text = error.to_string();
    assert!(text.contains("crawlers.json is rejected: 1 of 2 entries are bad"), "{text}");
    assert!(text.contains("first entry 2, pattern \"(bad\""), "{text}");
}

#[test]
fn another_format_is_rejected() {
    for text in ["", "[", "{}", "[{\"regex\": \"x\"}]", "[1]", "googlebot\nbingbot\n"] {
        let error =
            CommunityList::parse(text.as_bytes(), Path::new("crawlers.json")).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains("crawlers.json is no array of entries with a `pattern`"), "{text}: {error}");
    }
    assert!(list(&json!([])).unwrap().is_empty());
}

#[test]
fn too_many_entries_are_rejected() {
    let many: serde_json::Value = (0..=MAX_ENTRIES).map(|_| json!({"pattern": "x"})).collect();
    assert!(matches!(list(&many), Err(CrawlersError::TooMany { .. })));
}

#[test]
fn texts_of_the_operator_mark_a_human_in_any_case() {
    let lists = CrawlerLists::read(None, &["ExampleApp/".into(), String::new()]).unwrap();
    assert_eq!(lists.from_agent("googlebot exampleAPP/3"), None);
    assert!(lists.from_agent("googlebot").is_some());
}

#[test]
fn the_built_in_table_wins_over_the_file_and_applications_are_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crawlers.json");
    let entries = json!([
        {"pattern": "Googlebot", "tags": ["seo"]},
        {"pattern": "Instagram", "tags": ["social-preview"]},
        {"pattern": "NewThing", "tags": ["ai-crawler"]},
    ]);
    fs::write(&file, entries.to_string()).unwrap();
    let lists = CrawlerLists::read(Some(&file), &[]).unwrap();
    assert_eq!(lists.from_agent("Googlebot/2.1").unwrap().class, Some(BotClass::Search));
    let instagram = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Mobile/15E148 Instagram 334.0.4.32.98 (iPhone14,5; iOS 17_5; en_US)";
    assert!(lists.community().unwrap().detect(instagram).is_some());
    assert_eq!(lists.from_agent(instagram), None);
    let new = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36 NewThing/1";
    assert_eq!(lists.from_agent(new).unwrap().class, Some(BotClass::Ai));
}

#[test]
fn a_hostile_string_costs_no_more_than_its_length_times_the_list() {
    // Repetitions over everything are the worst that a pattern can be: every byte may begin a match.
    let patterns: Vec<String> = (0..200).map(|n| format!("a[\\s\\S]*b{n}[\\s\\S]*c")).collect();
    let entries: serde_json::Value = patterns.iter().map(|pattern| json!({"pattern": pattern})).collect();
    let list = list(&entries).unwrap();
    let agent = "ab".repeat(crate::visitor::bot::MAX_AGENT_BYTES / 2);
    let began = Instant::now();
    assert!(list.detect(&agent).is_none());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

proptest! {
    #[test]
    fn any_file_is_a_list_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = CommunityList::parse(&bytes, Path::new("x"));
    }

    #[test]
    fn any_pattern_is_used_or_reported(pattern in ".{0,60}", agent in ".{0,200}") {
        if let Ok(list) = list(&with(&[&pattern])) {
            prop_assert_eq!(list.len() + list.bad().len(), 21);
            if let Some(name) = list.detect(&agent).and_then(|bot| bot.name) {
                prop_assert!(name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()));
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)));
            }
        }
    }
}
