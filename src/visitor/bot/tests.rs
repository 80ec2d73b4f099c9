#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

/// The bot's name, empty when it has none.
fn name(agent: &str) -> Option<String> {
    from_agent(agent).map(|bot| bot.name.unwrap_or_default().into_owned())
}

fn needles() -> impl Iterator<Item = (&'static str, &'static str)> {
    table::groups().flat_map(|group| group.entries.iter().copied())
}

#[test]
fn the_table_compiles() {
    assert!(warm_up().is_ok());
    assert!(needles().count() >= 500);
    for (needle, name) in needles() {
        assert!(!table::bare(needle).is_empty());
        assert_eq!(needle, needle.to_ascii_lowercase(), "a needle is lower case");
        assert!(name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)), "{name}");
    }
}

#[test]
fn every_needle_can_be_the_answer() {
    for (needle, expected) in needles() {
        let agent = table::bare(needle);
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
    assert_eq!(name("MyApp/1.0 (Linux; Android 13; libjava; Java/17)"), None);
}

#[test]
fn what_names_no_system_is_no_browser() {
    for agent in
        ["Mozilla/5.0", "Mozilla/5.0 (compatible)", "SomeThing/1.0", "x", "Mozilla/5.0 (Acme/1.0)", "\u{fffd}"]
    {
        assert_eq!(from_agent(agent), Some(unnamed()), "{agent}");
    }
    for agent in [
        "Mozilla/5.0 (Mobile; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
        "Nokia6300/2.0 (07.21) Profile/MIDP-2.0 Configuration/CLDC-1.1",
        "Lynx/2.9.0 libwww-FM/2.14",
        "Mozilla/5.0 (PlayStation 4 8.52) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.79 Safari/537.36",
    ] {
        assert_eq!(from_agent(agent), None, "{agent}");
    }
}

#[test]
fn humans_inside_an_application_are_humans() {
    let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                  Mobile/15E148";
    let android = "Mozilla/5.0 (Linux; Android 14; SM-S921B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like \
                   Gecko) Version/4.0 Chrome/131.0.6778.39 Mobile Safari/537.36";
    for application in [
        "[FBAN/FBIOS;FBAV/463.0.0.34.108;FBDV/iPhone14,5]",
        "[FB_IAB/FB4A;FBAV/463.0.0.34.108;]",
        "Instagram 334.0.4.32.98 (iPhone14,5; iOS 17_5; en_US)",
        "Barcelona 334.0.4 (iPhone14,5; iOS 17_5)",
        "musical_ly_34.5.0 BytedanceWebview/d8a21c6",
        "[LinkedInApp]/9.29.9118",
        "Snapchat/12.84.0.36 (like Safari/8617.2.4.10.8, panda)",
        "[Pinterest/iOS]",
        "Twitter for iPhone/10.38",
        "MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/en",
        "Line/14.7.0",
        "KAKAOTALK 10.8.0",
        "NAVER(inapp; search; 1010; 11.17.1; SE3)",
        "DuckDuckGo/7 (https://duckduckgo.com/app)",
        "GSA/318.0.629219512",
        "Viber/22.0",
    ] {
        for system in [iphone, android] {
            assert_eq!(from_agent(&format!("{system} {application}")), None, "{application}");
        }
    }
    assert!(from_agent(&format!("{iphone} [FBAN/FBIOS] Googlebot/2.1")).is_some(), "the built-in table is surer");
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
fn a_phone_with_a_make_that_ends_like_a_bot_is_no_bot() {
    for agent in [
        "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 \
         Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 10; CUBOT_X20_PRO) AppleWebKit/537.36 Chrome/90.0.4430.210 Mobile Safari/537.36",
        "SomeApp/1.0 (CUBOT )",
        "Mozilla/5.0 (Linux; Android 7.0; M bot 60 Build/NRD90M) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/58.0.3029.83 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; U; Android 4.2.2; fa-ir; GLX SpiderI Build/JDQ39) AppleWebKit/534.30 (KHTML, like Gecko) \
         Version/4.0 Mobile Safari/534.30",
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
fn a_mail_address_is_a_bots_and_a_locale_is_not() {
    let chrome = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
    assert!(from_agent(&format!("Mozilla/5.0 (X11; Linux x86_64) {chrome} me@acme.example")).is_some());
    assert_eq!(
        from_agent(&format!("Mozilla/5.0 (X11; U; Linux i686; th-TH@calendar=gregorian) {chrome} Puffin/1")),
        None
    );
    assert_eq!(from_agent(&format!("Mozilla/5.0 (Linux; Android 4.0.3; 101G9 Build/ICS@ROM.ex) {chrome}")), None);
    assert_eq!(from_agent(&format!("Mozilla/5.0 (Windows NT 5.1) {chrome} CocCoc/33.0.1750.157")), None);
}

#[test]
fn an_old_browser_with_the_address_of_a_toolbar_is_no_bot() {
    let agent =
        "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0; Toolbar http://toolbar.example; .NET)";
    assert_eq!(from_agent(agent), None);
    assert!(from_agent(&agent.replace("MSIE 8.0", "Acme")).is_some());
}

#[test]
fn a_name_beyond_the_bound_is_not_read() {
    let agent = format!("Mozilla/5.0 (X11; {}{}", "é".repeat(MAX_AGENT_BYTES), "Googlebot/2.1");
    assert_eq!(from_agent(&agent), None);
}

proptest::proptest! {
    #[test]
    fn any_text_is_classified(agent in ".{0,1200}") {
        from_agent(&agent);
    }

    /// Pieces of needles, so that they overlap as much as they can.
    #[test]
    fn any_mix_of_needles_is_classified(picks in proptest::collection::vec(0_usize..1_000, 0..80)) {
        let all: Vec<_> = needles().map(|(needle, _)| table::bare(needle)).collect();
        let agent: String = picks.iter().map(|pick| all[pick % all.len()]).collect();
        from_agent(&agent);
    }
}
