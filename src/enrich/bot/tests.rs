#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

/// The bot's name, empty when it has none.
fn name(agent: &str) -> Option<String> {
    from_agent(agent).map(|bot| bot.name.unwrap_or_default().into_owned())
}

fn needles() -> impl Iterator<Item = (&'static str, &'static str)> {
    crawlers::GROUPS.iter().chain(tools::GROUPS).flat_map(|group| group.entries.iter().copied())
}

#[test]
fn the_table_is_whole() {
    assert!(TABLE.automaton.is_some());
    assert!(TABLE.entries.len() >= 150);
    for (needle, name) in needles() {
        assert!(!needle.trim_start_matches('^').is_empty());
        assert_eq!(needle, needle.to_ascii_lowercase(), "a needle is lower case");
        assert!(name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)), "{name}");
    }
}

#[test]
fn every_needle_can_be_the_answer() {
    for (needle, expected) in needles() {
        let agent = needle.trim_start_matches('^');
        assert_eq!(name(agent).as_deref(), Some(expected), "{needle}");
        assert_eq!(name(&agent.to_ascii_uppercase()).as_deref(), Some(expected), "{needle} in upper case");
    }
}

#[test]
fn no_needle_is_listed_twice() {
    let mut seen = std::collections::HashSet::new();
    for (needle, _) in needles() {
        assert!(seen.insert(needle), "{needle}");
    }
}

#[test]
fn the_first_entry_of_the_table_wins() {
    assert_eq!(name("TelegramBot (like TwitterBot)").as_deref(), Some("telegrambot"));
    assert_eq!(name("Mastodon/4.2.1 (http.rb/5.1.1; +https://example.social/)").as_deref(), Some("mastodon"));
    assert_eq!(name("facebookexternalhit/1.1;line-poker/1.0").as_deref(), Some("line-preview"));
}

#[test]
fn a_needle_does_not_match_inside_a_word() {
    assert_eq!(name("Mozilla/5.0 (Linux; Android 9; XGPTBotany) AppleWebKit/537.36"), None);
    assert_eq!(name("Opera/9.80 (J2ME/MIDP; Opera Mini/9.80; U; en) MyJava/1"), None);
    assert_eq!(name("MyApp/1.0 (libjava; Java/17)"), None);
}

#[test]
fn a_library_is_reported_as_one() {
    let bot = from_agent("curl/8.5.0").unwrap();
    assert_eq!((bot.reason, bot.class), (BotReason::Library, Some(BotClass::Library)));
    let bot = from_agent("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/120.0.0.0 Safari/537.36");
    assert_eq!(bot.unwrap().reason, BotReason::Agent);
}

#[test]
fn no_agent_string_is_an_empty_agent() {
    for agent in ["", " ", "\t \n", "-", " - ", "\u{a0}"] {
        assert_eq!(from_agent(agent).map(|bot| bot.reason), Some(BotReason::EmptyAgent), "{agent:?}");
    }
}

#[test]
fn an_unknown_crawler_is_an_unnamed_bot() {
    for agent in [
        "FooBot",
        "example-crawler v2",
        "Mozilla/5.0 (compatible; Whatever/1.0)",
        "Mozilla/5.0 (X11; Linux x86_64) Acme/1.0 (+https://acme.example/why)",
        "acme_spider",
        "Acme Indexer (https://acme.example/)",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 NewThingBot/0.1",
    ] {
        let bot = from_agent(agent).expect(agent);
        assert_eq!((bot.reason, bot.class, bot.name), (BotReason::Agent, Some(BotClass::Other), None), "{agent}");
    }
}

#[test]
fn a_phone_whose_make_ends_like_a_bot_is_no_bot() {
    for agent in [
        "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 \
         Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 10; CUBOT_X20_PRO) AppleWebKit/537.36 Chrome/90.0.4430.210 Mobile Safari/537.36",
        "SomeApp/1.0 (CUBOT )",
    ] {
        assert_eq!(from_agent(agent), None, "{agent}");
    }
}

#[test]
fn a_browser_that_calls_itself_compatible_is_no_bot() {
    for agent in [
        "Mozilla/5.0 (compatible; WOW64; MSIE 10.0; Windows NT 6.2)",
        "Mozilla/5.0 (compatible; Konqueror/4.9; Linux; X11) KHTML/4.9.5 (like Gecko)",
        "Mozilla/5.0 (compatible; Teleca Q7; Brew 3.1.5; U; en) 240X400 LGE LG700",
    ] {
        assert_eq!(from_agent(agent), None, "{agent}");
    }
}

#[test]
fn a_name_beyond_the_bound_is_not_looked_for() {
    let agent = format!("{}{}", "é".repeat(MAX_AGENT_BYTES), "Googlebot/2.1");
    assert_eq!(from_agent(&agent), None);
}
