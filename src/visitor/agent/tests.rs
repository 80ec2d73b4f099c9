#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::event::BotClass;

/// Real agent strings and their facts, one a line.
const SAMPLES: &str = include_str!("samples.txt");

/// What is expected, and the agent string.
fn samples() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = SAMPLES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| nth_split(line, 4).expect(line))
}

/// Splits behind the `n`-th separator: agent strings may hold one themselves.
fn nth_split(line: &str, n: usize) -> Option<(&str, &str)> {
    let (at, separator) = line.match_indices(" | ").nth(n - 1)?;
    Some((line.get(..at)?, line.get(at + separator.len()..)?))
}

fn summary(facts: &AgentFacts) -> String {
    let named = |named: &Option<Named>| {
        named.as_ref().map_or("-".to_owned(), |named| match &named.version {
            Some(version) => format!("{} {version}", named.name),
            None => named.name.to_string(),
        })
    };
    let device = facts.device.map_or("-", Device::name);
    let bot = facts.bot.as_ref().map_or("-".to_owned(), |bot| {
        let class = bot.class.map_or("-", BotClass::name);
        format!("{}/{class}/{}", bot.reason.name(), bot.name.as_deref().unwrap_or("-"))
    });
    format!("{} | {} | {device} | {bot}", named(&facts.browser), named(&facts.os))
}

fn is_slug(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
}

fn assert_valid(facts: &AgentFacts) {
    for named in [&facts.browser, &facts.os].into_iter().flatten() {
        assert!(is_slug(&named.name), "{named:?}");
        if let Some(version) = &named.version {
            if named.name == WINDOWS && ["xp", "vista"].contains(&version.as_str()) {
                continue;
            }
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{named:?}");
            assert!(version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{named:?}");
        }
    }
    if let Some(name) = facts.bot.as_ref().and_then(|bot| bot.name.as_ref()) {
        assert!(is_slug(name), "{name}");
    }
}

#[test]
fn every_sample_is_parsed_as_expected() {
    let wrong: Vec<_> = samples()
        .filter_map(|(expected, agent)| {
            let found = summary(&parse(agent));
            (found != expected).then(|| format!("\n  expected {expected}\n  found    {found}\n  of       {agent}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(samples().count() >= 100);
}

#[test]
fn parse_and_the_bot_detection_agree() {
    for (_, agent) in samples() {
        assert_eq!(parse(agent).bot, bot::from_agent(agent), "{agent}");
    }
}

#[test]
fn every_sample_cut_anywhere_is_valid() {
    for (_, agent) in samples() {
        for end in 0..=agent.len() {
            assert_valid(&parse(agent.get(..end).unwrap_or_default()));
        }
    }
}

#[test]
fn the_cache_returns_what_parse_returns() {
    let mut cache = AgentCache::new(16);
    for _ in 0..3 {
        for (_, agent) in samples() {
            assert_eq!(*cache.facts(agent.as_bytes()), parse(agent));
        }
    }
}

#[test]
fn a_second_look_is_a_hit() {
    let mut cache = AgentCache::new(DEFAULT_CACHE_ENTRIES);
    let first = cache.facts(b"curl/8.5.0");
    assert!(Arc::ptr_eq(&first, &cache.facts(b"curl/8.5.0")));
}

#[test]
fn the_cache_never_holds_more_than_its_capacity() {
    for capacity in [0, 1, 2, 7, 64] {
        let mut cache = AgentCache::new(capacity);
        for number in 0..1000 {
            cache.facts(format!("agent {}", number % 300).as_bytes());
            assert!(cache.young.len() + cache.old.len() <= capacity.max(2), "{capacity}");
        }
    }
}

#[test]
fn an_agent_in_use_survives_a_flood_of_new_ones() {
    let mut cache = AgentCache::new(64);
    let regular = cache.facts(b"regular");
    for number in 0..1000 {
        cache.facts(format!("stranger {number}").as_bytes());
        if number % 16 == 0 {
            assert!(Arc::ptr_eq(&regular, &cache.facts(b"regular")), "evicted at {number}");
        }
    }
}

#[test]
fn a_long_agent_string_is_parsed_but_not_kept() {
    let mut cache = AgentCache::new(64);
    let agent = format!("curl/8.5.0 {}", "x".repeat(MAX_CACHED_BYTES));
    assert_eq!(cache.facts(agent.as_bytes()).bot, bot::from_agent("curl/8.5.0"));
    assert!(cache.young.is_empty() && cache.old.is_empty());
    assert_eq!(cache.facts(&vec![0xff; 100_000]).bot, bot::from_agent("something odd"));
    assert!(cache.young.is_empty() && cache.old.is_empty());
}

/// Strings made of what the matchers search, in any order and broken in any place.
fn hostile() -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = samples().flat_map(|(_, agent)| agent.split_inclusive([' ', '/', ';', '('])).collect();
    let piece = prop_oneof![
        6 => prop::sample::select(pieces).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[._0-9١é\u{0}-]{1,40}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_string_made_of_marks_gives_valid_facts(agent in hostile()) {
        let facts = parse(&agent);
        assert_valid(&facts);
        prop_assert_eq!(facts.bot, bot::from_agent(&agent));
    }

    #[test]
    fn any_bytes_give_valid_facts(agent in prop::collection::vec(any::<u8>(), 0..1500)) {
        assert_valid(&AgentCache::new(2).facts(&agent));
    }
}
