#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use proptest::prelude::*;

use super::{fields, *};
use crate::visitor::agent::{AgentCache, parse};

const WINDOWS: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
const MAC: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
                   Chrome/126.0.0.0 Safari/537.36";
const LINUX: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
const ANDROID: &str =
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36";
const WEB_VIEW: &str = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) \
                        Version/4.0 Chrome/126.0.6478.122 Mobile Safari/537.36";
const FACEBOOK: &str = "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 \
                        Chrome/126.0.6478.122 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/471.0.0.31.79;]";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";
const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:126.0) Gecko/20100101 Firefox/126.0";

const CHROME_BRANDS: &str = r#""Chromium";v="126", "Google Chrome";v="126", "Not.A/Brand";v="8""#;

/// Browser, system and device of a string with these hints.
fn hinted(agent: &str, hints: Hints<'_>) -> String {
    let facts = overlay(&parse(agent), &hints);
    let named = |named: Option<&Named>| {
        named.map_or("-".to_owned(), |named| {
            [Some(named.name.as_ref()), named.version.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
    };
    let device = facts.device.map_or("-", Device::name);
    format!("{} | {} | {device}", named(facts.browser.as_ref()), named(facts.os.as_ref()))
}

fn brands(text: &str) -> Hints<'_> {
    Hints { brands: text.as_bytes(), ..Hints::default() }
}

fn platform<'a>(platform: &'a str, version: &'a str) -> Hints<'a> {
    Hints { platform: platform.as_bytes(), platform_version: version.as_bytes(), ..Hints::default() }
}

fn package(name: &str) -> Hints<'_> {
    Hints { requested_with: name.as_bytes(), ..Hints::default() }
}

#[test]
fn brands_name_the_browser_behind_chrome() {
    for (text, expected) in [
        (CHROME_BRANDS, "chrome 126.0.0.0"),
        (r#""Not/A)Brand";v="8", "Chromium";v="126", "Brave";v="126""#, "brave 126"),
        (r#""Microsoft Edge";v="126", "Chromium";v="126""#, "edge 126"),
        (r#""Chromium";v="126", "Opera";v="112""#, "opera 112"),
        (r#""Chromium";v="126", "Opera GX";v="112""#, "opera-gx 112"),
        (r#""OperaMobile";v="83", "Opera";v="112", "Chromium";v="126""#, "opera 83"),
        (r#""Chromium";v="126", "Vivaldi";v="6.8""#, "vivaldi 6.8"),
        (r#""Samsung Internet";v="27.0", "Chromium";v="126""#, "samsung-internet 27.0"),
        (r#""Chromium";v="126", "YaBrowser";v="24.7", "Yowser";v="2.5""#, "yandex-browser 24.7"),
        (r#""DuckDuckGo";v="126", "Chromium";v="126""#, "duckduckgo 126"),
        (r#""Microsoft Edge";v="126", "Microsoft Edge WebView2";v="126""#, "webview 126.0.0.0"),
        (r#""Avast Secure Browser";v="126", "Chromium";v="126""#, "avast-secure-browser 126"),
        // An unknown brand: what the string says.
        (r#""Chromium";v="126", "Not.A/Brand";v="8""#, "chrome 126.0.0.0"),
        (r#""Acme";v="1", "Chromium";v="126""#, "chrome 126.0.0.0"),
        // A malformed version.
        (r#""Brave";v="x"; y, "Chromium";v="126""#, "brave"),
        (r#""Brave""#, "brave"),
    ] {
        assert_eq!(hinted(WINDOWS, brands(text)), format!("{expected} | windows 10 | pc"), "{text}");
    }
}

#[test]
fn a_full_version_thaws_the_frozen_one() {
    let full = r#""Google Chrome";v="126.0.6478.62", "Chromium";v="126.0.6478.62""#;
    assert_eq!(hinted(WINDOWS, brands(full)), "chrome 126.0.6478.62 | windows 10 | pc");
    // Another version than the string's is a mask of one of the two.
    let other = r#""Google Chrome";v="90.0.1.2""#;
    assert_eq!(hinted(WINDOWS, brands(other)), "chrome 126.0.0.0 | windows 10 | pc");
}

#[test]
fn what_the_string_knows_better_stays() {
    let view = brands(r#""Android WebView";v="126", "Chromium";v="126""#);
    assert_eq!(hinted(FACEBOOK, view), "facebook-app 471.0.0.31.79 | android 14 | smartphone");
    assert_eq!(hinted(FACEBOOK, brands(CHROME_BRANDS)), "facebook-app 471.0.0.31.79 | android 14 | smartphone");
    assert_eq!(hinted(WEB_VIEW, brands(CHROME_BRANDS)), "webview 126.0.6478.122 | android 14 | smartphone");
    assert_eq!(hinted(ANDROID, view), "webview 126.0.0.0 | android 10 | smartphone");
}

#[test]
fn a_string_of_another_engine_is_the_false_one() {
    assert_eq!(hinted(FIREFOX, brands(CHROME_BRANDS)), "chrome 126 | windows 10 | pc");
    let hints = Hints { mobile: Some(true), ..platform(r#""Android""#, r#""14.0.0""#) };
    assert_eq!(
        hinted(IPHONE, Hints { brands: CHROME_BRANDS.as_bytes(), ..hints }),
        "chrome 126 | android 14 | smartphone"
    );
    assert_eq!(hinted(WINDOWS, hints), "chrome 126.0.0.0 | android 14 | smartphone");
}

#[test]
fn the_platform_version_gives_the_release() {
    for (version, expected) in [
        (r#""0.1.0""#, "windows 7"),
        (r#""0.2.0""#, "windows 8"),
        (r#""0.3.0""#, "windows 8.1"),
        (r#""8.0.0""#, "windows 10"),
        (r#""10.0.0""#, "windows 10"),
        (r#""13.0.0""#, "windows 11"),
        (r#""15.0.0""#, "windows 11"),
        (r#""99999999999999999999.0""#, "windows 11"),
        (r#""""#, "windows 10"),
        (r#""11 Pro""#, "windows 10"),
        ("15.0.0", "windows 10"),
    ] {
        let hinted = hinted(WINDOWS, platform(r#""Windows""#, version));
        assert_eq!(hinted, format!("chrome 126.0.0.0 | {expected} | pc"), "{version}");
    }
    for (agent, name, version, expected) in [
        (MAC, r#""macOS""#, r#""14.5.0""#, "macos 14.5"),
        (MAC, r#""macOS""#, "", "macos 10.15.7"),
        (ANDROID, r#""Android""#, r#""14.0.0""#, "android 14"),
        (ANDROID, r#""Android""#, r#""10.0.0""#, "android 10"),
        (ANDROID, r#""Android""#, r#""0.0.0""#, "android 10"),
        (ANDROID, r#""Unknown""#, r#""14.0.0""#, "android 10"),
        (LINUX, r#""Linux""#, r#""6.5.0""#, "linux"),
        (LINUX, r#""Chrome OS""#, r#""16181.61.0""#, "chrome-os 16181.61"),
    ] {
        let hinted = hinted(agent, platform(name, version));
        assert_eq!(hinted.split(" | ").nth(1), Some(expected), "{agent} {name} {version}");
    }
}

#[test]
fn a_system_that_only_the_string_knows_stays() {
    for agent in [
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.5359.211 Safari/537.36",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
        "Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 \
         ArkWeb/4.1.6.1 Mobile",
    ] {
        for name in [r#""Linux""#, r#""Windows""#, r#""Android""#] {
            let hints = Hints { mobile: Some(false), ..platform(name, r#""15.0.0""#) };
            assert_eq!(hinted(agent, hints), hinted(agent, Hints::default()), "{agent} {name}");
        }
    }
}

#[test]
fn a_phone_in_desktop_mode_is_recognised() {
    let hints = platform(r#""Android""#, r#""14.0.0""#);
    assert_eq!(hinted(LINUX, Hints { mobile: Some(true), ..hints }), "chrome 126.0.0.0 | android 14 | smartphone");
    assert_eq!(hinted(LINUX, Hints { mobile: Some(false), ..hints }), "chrome 126.0.0.0 | android 14 | tablet");
}

#[test]
fn a_form_factor_decides_the_device() {
    let factor = |text: &'static str| Hints { form_factors: text.as_bytes(), ..Hints::default() };
    for (text, expected) in [
        (r#""Desktop""#, "pc"),
        (r#""Tablet""#, "tablet"),
        (r#""Mobile", "XR""#, "wearable"),
        (r#""Watch""#, "wearable"),
        (r#""Automotive", "Tablet""#, "appliance"),
        (r#""EInk", "Tablet""#, "appliance"),
        (r#""TV""#, "tv"),
        (r#""Toaster""#, "smartphone"),
        (r#""Tablet", Mobile"#, "smartphone"),
        ("Tablet", "smartphone"),
    ] {
        assert_eq!(hinted(ANDROID, factor(text)), format!("chrome 126.0.0.0 | android 10 | {expected}"), "{text}");
    }
    let tv =
        "Mozilla/5.0 (Linux; Android 10; BRAVIA 4K UR2) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/110.0.5481.65";
    assert!(hinted(tv, factor(r#""Desktop""#)).ends_with("| tv"));
}

#[test]
fn a_package_names_the_application_around_a_web_view() {
    for (name, expected) in [
        ("com.facebook.katana", "facebook-app"),
        ("com.instagram.android", "instagram-app"),
        ("com.zhiliaoapp.musically", "tiktok-app"),
        ("com.linkedin.android", "linkedin-app"),
        ("com.google.android.googlequicksearchbox", "google-app"),
        ("com.google.android.gm", "gmail-app"),
        ("com.reddit.frontpage", "reddit-app"),
        ("org.telegram.messenger", "telegram-app"),
        ("com.duckduckgo.mobile.android", "duckduckgo"),
        ("com.example.unknown", "webview 126.0.6478.122"),
        ("XMLHttpRequest", "webview 126.0.6478.122"),
        ("com..facebook", "webview 126.0.6478.122"),
        ("", "webview 126.0.6478.122"),
    ] {
        assert_eq!(hinted(WEB_VIEW, package(name)), format!("{expected} | android 14 | smartphone"), "{name}");
    }
    // The string is surer of it, and knows the version.
    assert!(hinted(FACEBOOK, package("com.instagram.android")).starts_with("facebook-app 471"));
    // Chrome is no web view: a package name is that of a web view posing as Chrome.
    assert!(hinted(ANDROID, package("com.example.unknown")).starts_with("webview 126"));
    assert!(hinted(ANDROID, package("XMLHttpRequest")).starts_with("chrome 126"));
    // Only Android sends it.
    assert_eq!(hinted(WINDOWS, package("com.facebook.katana")), hinted(WINDOWS, Hints::default()));
    assert_eq!(hinted(IPHONE, package("com.facebook.katana")), hinted(IPHONE, Hints::default()));
}

#[test]
fn the_packages_are_sorted_and_their_slugs_are_slugs() {
    assert!(PACKAGES.is_sorted_by(|a, b| a.0 < b.0));
    let slugs = PACKAGES.iter().chain(BRANDS).chain(PLATFORMS).map(|(_, slug)| slug);
    for slug in slugs {
        assert!(
            slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{slug}"
        );
    }
    assert!(PACKAGES.iter().all(|(name, _)| fields::package(name.as_bytes()) == Some(name)));
}

#[test]
fn malformed_fields_are_ignored_as_a_whole() {
    for text in [
        r#""Brave"#,
        r#""Brave";"#,
        r#""Brave";v"#,
        r#""Brave";v="126"#,
        r#""Brave";v="126","#,
        r#","Brave";v="126""#,
        r#""Brave";v="126" "Chromium";v="126""#,
        r#""Brave";V="126""#,
        "Brave",
        "Brave;v=126",
        "\"Brave\";v=\"\u{e9}\"",
        "\"Bra\nve\"",
        r#""\a", "Brave";v="126""#,
    ] {
        let hinted = hinted(WINDOWS, brands(text));
        // A parameter without a value is a boolean: well formed.
        let expected = if text.ends_with(";v") { "brave" } else { "chrome 126.0.0.0" };
        assert_eq!(hinted, format!("{expected} | windows 10 | pc"), "{text}");
    }
    let long = format!(r#""Brave";v="126"{}"#, " ".repeat(MAX_HINT_BYTES));
    assert_eq!(hinted(WINDOWS, brands(&long)), hinted(WINDOWS, Hints::default()));
    assert_eq!(hinted(WINDOWS, platform(r#""macOS", "Linux""#, "")), hinted(WINDOWS, Hints::default()));
    assert_eq!(
        hinted(WINDOWS, brands(r#" "Br\"ave\\";a=1;b=?1;v="1" ,	"Brave";v=12"#)),
        "brave 12 | windows 10 | pc"
    );
}

#[test]
fn nothing_is_laid_over_a_bot() {
    let hints = Hints { brands: CHROME_BRANDS.as_bytes(), ..platform(r#""Windows""#, r#""15.0.0""#) };
    assert_eq!(overlay(&parse("curl/8.5.0"), &hints), parse("curl/8.5.0"));
}

#[test]
fn the_cache_returns_what_the_overlay_returns() {
    let (mut agents, mut cache) = (AgentCache::new(64), HintCache::default());
    let hints = [
        Hints::default(),
        brands(CHROME_BRANDS),
        brands(r#""Brave";v="126""#),
        platform(r#""Windows""#, r#""15.0.0""#),
        platform(r#""Windows"""#, r#"15.0.0""#),
        package("com.facebook.katana"),
        Hints { mobile: Some(true), ..platform(r#""Android""#, "") },
        Hints { mobile: Some(false), ..platform(r#""Android""#, "") },
    ];
    for _ in 0..3 {
        for agent in [WINDOWS, LINUX, ANDROID, WEB_VIEW, FACEBOOK, IPHONE, "curl/8.5.0", ""] {
            for hints in &hints {
                // Twice, since the first time an agent is not known yet.
                for _ in 0..2 {
                    let known = agents.facts(agent.as_bytes());
                    assert_eq!(*cache.hinted(known, hints), overlay(&parse(agent), hints), "{agent} {hints:?}");
                }
            }
        }
    }
}

#[test]
fn hints_that_agree_with_the_string_cost_no_facts_of_their_own() {
    let (mut agents, mut cache) = (AgentCache::new(64), HintCache::default());
    let hints = Hints { mobile: Some(false), brands: CHROME_BRANDS.as_bytes(), ..platform(r#""Windows""#, "") };
    for _ in 0..3 {
        let known = agents.facts(WINDOWS.as_bytes());
        assert!(Arc::ptr_eq(&known, &cache.hinted(Arc::clone(&known), &hints)));
    }
}

#[test]
fn the_cache_has_a_bound() {
    let (mut agents, mut cache) = (AgentCache::new(64), HintCache::default());
    let known = agents.facts(WINDOWS.as_bytes());
    for number in 0..20_000 {
        let text = format!(r#""Brave";v="{number}""#);
        let hinted = cache.hinted(Arc::clone(&known), &brands(&text));
        assert_eq!(hinted.browser.as_ref().unwrap().version.as_deref(), Some(number.to_string().as_str()));
        assert!(cache.len() <= super::cache::ENTRIES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_hints_give_valid_facts(
        agent in prop::sample::select(vec![WINDOWS, ANDROID, WEB_VIEW, IPHONE, ""]),
        texts in prop::array::uniform5(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "(\"(Brave|Opera|Windows|Android|Tablet|[ -~]{0,9})\"(;v=\"?[0-9.]{0,40}\"?)?,? ?){0,5}".prop_map(String::into_bytes),
            "[a-z.A-Z_0-9]{0,30}".prop_map(String::into_bytes),
        ]),
        mobile in any::<Option<bool>>(),
    ) {
        let [brands, platform, platform_version, form_factors, requested_with] = &texts;
        let hints = Hints { brands, platform, platform_version, form_factors, requested_with, mobile };
        let facts = overlay(&parse(agent), &hints);
        for named in [&facts.browser, &facts.os].into_iter().flatten() {
            prop_assert!(named.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)));
            if let Some(version) = &named.version {
                prop_assert!(version.len() <= 32 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
            }
        }
    }
}
