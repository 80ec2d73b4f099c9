use proptest::prelude::*;

use super::*;

const WINDOWS: &str = "Windows NT 10.0; Win64; x64";
const MAC: &str = "Macintosh; Intel Mac OS X 10_15_7";
const LINUX: &str = "X11; Linux x86_64";
const CHROME_OS: &str = "X11; CrOS x86_64 14541.0.0";
const ANDROID: &str = "Linux; Android 10; K";
const IPHONE: &str = "iPhone; CPU iPhone OS 17_5 like Mac OS X";

fn chrome(system: &str, rest: &str) -> String {
    format!("Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{rest}")
}

fn firefox(system: &str, version: &str) -> String {
    format!("Mozilla/5.0 ({system}; rv:{version}) Gecko/20100101 Firefox/{version}")
}

fn safari(system: &str, version: &str, end: &str) -> String {
    format!("Mozilla/5.0 ({system}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{version} {end}")
}

fn desktop() -> String {
    chrome(WINDOWS, "131.0.0.0 Safari/537.36")
}

fn hints<'a>(brands: &'a str, platform: &'a str, mobile: Option<bool>) -> Headers<'a> {
    Headers { brands: brands.as_bytes(), platform: platform.as_bytes(), mobile, ..Headers::default() }
}

fn brands(version: u16) -> String {
    format!(r#""Google Chrome";v="{version}", "Chromium";v="{version}", "Not_A Brand";v="24""#)
}

fn are_impossible(agent: &[u8], headers: &Headers<'_>) -> bool {
    Browser::read(agent).is_some_and(|(browser, _)| super::are_impossible(browser, headers))
}

#[track_caller]
fn assert_impossible(agent: &str, headers: &Headers<'_>, impossible: bool) {
    assert_eq!(are_impossible(agent.as_bytes(), headers), impossible, "{agent} {headers:?}");
}

#[test]
fn only_chromium_sends_hints() {
    let brands = brands(131);
    let sent = hints(&brands, "", None);
    for agent in [
        firefox("Windows NT 10.0; Win64; x64", "131.0"),
        firefox("Android 14; Mobile", "131.0"),
        safari(MAC, "17.5", "Safari/605.1.15"),
        safari(IPHONE, "17.5", "Mobile/15E148 Safari/604.1"),
    ] {
        assert_impossible(&agent, &sent, true);
        assert_impossible(&agent, &Headers::default(), false);
    }
    assert_impossible(&desktop(), &sent, false);
}

#[test]
fn hints_and_agent_are_of_one_version() {
    let edge = chrome(WINDOWS, "131.0.0.0 Safari/537.36 Edg/131.0.2903.70");
    let edge_brands = r#""Microsoft Edge";v="131", "Chromium";v="131", "Not_A Brand";v="24""#;
    assert_impossible(&edge, &hints(edge_brands, "", None), false);
    for (version, impossible) in [(131, false), (130, true), (13, true), (1310, true)] {
        assert_impossible(&desktop(), &hints(&brands(version), "", None), impossible);
        assert_impossible(&edge, &hints(&brands(version), "", None), impossible);
    }
    let full = r#""Chromium";v="131.0.6778.86", "Not_A Brand";v="24.0.0.0""#;
    assert_impossible(&desktop(), &hints(full, "", None), false);
    assert_impossible(&desktop(), &hints(r#""Chromium";v="x""#, "", None), false);
    assert_impossible(&desktop(), &hints(r#""Not A;Brand";v="99""#, "", None), false);
    assert_impossible(&chrome(WINDOWS, "99.115.0.0 Safari/537.36"), &hints(&brands(115), "", None), false);
    let headless = r#""HeadlessChrome";v="131", "Chromium";v="131", "Not_A Brand";v="24""#;
    assert_impossible(&desktop(), &hints(headless, "", None), true);
}

#[test]
fn hints_and_agent_are_of_one_system() {
    let rows = [
        (WINDOWS, "Windows", false),
        (WINDOWS, "Linux", true),
        (WINDOWS, "macOS", true),
        (MAC, "macOS", false),
        (MAC, "Windows", true),
        (LINUX, "Linux", false),
        (LINUX, "Android", false), // Desktop mode.
        (LINUX, "Chrome OS", false),
        (LINUX, "Windows", true),
        (CHROME_OS, "Chrome OS", false),
        (CHROME_OS, "Chromium OS", false),
        (CHROME_OS, "macOS", true),
        (ANDROID, "Android", false),
        (ANDROID, "Windows", true),
        (ANDROID, "macOS", true),
        (WINDOWS, "Unknown", false),
        (WINDOWS, "Fuchsia", false),
    ];
    for (system, platform, impossible) in rows {
        let agent = chrome(system, "131.0.0.0 Safari/537.36");
        assert_impossible(&agent, &hints("", &format!("\"{platform}\""), None), impossible);
    }
}

#[test]
fn a_phone_says_so_in_both_places() {
    let (phone, tablet) =
        (chrome(ANDROID, "131.0.0.0 Mobile Safari/537.36"), chrome(ANDROID, "131.0.0.0 Safari/537.36"));
    let desktop_mode = chrome(LINUX, "131.0.0.0 Safari/537.36");
    let android = "\"Android\"";
    assert_impossible(&phone, &hints("", android, Some(true)), false);
    assert_impossible(&phone, &hints("", android, Some(false)), true);
    assert_impossible(&tablet, &hints("", android, Some(false)), false);
    assert_impossible(&desktop(), &hints("", "\"Windows\"", Some(false)), false);
    assert_impossible(&desktop(), &hints("", "\"Windows\"", Some(true)), true);
    assert_impossible(&desktop_mode, &hints("", "\"Linux\"", Some(false)), false);
    assert_impossible(&desktop_mode, &hints("", android, Some(true)), false);
}

#[test]
fn a_current_browser_speaks_http_1_1_and_sends_fetch_metadata_over_tls() {
    let old = Headers { http_1_0: true, ..Headers::default() };
    let bare = Headers { tls: true, ..Headers::default() };
    let full = Headers { tls: true, fetch_metadata: true, ..Headers::default() };
    for agent in [
        desktop(),
        chrome(ANDROID, "80.0.3987.99 Mobile Safari/537.36"),
        firefox(LINUX, "90.0"),
        safari(MAC, "16.4", "Safari/605.1.15"),
        safari(IPHONE, "16.10.1", "Mobile/15E148 Safari/604.1"),
        safari(IPHONE, "18.0", "Mobile/15E148 Safari/604.1"),
    ] {
        assert_impossible(&agent, &old, true);
        assert_impossible(&agent, &bare, true);
        assert_impossible(&agent, &full, false);
        assert_impossible(&agent, &Headers::default(), false);
    }
    for agent in [
        chrome(WINDOWS, "79.0.3945.130 Safari/537.36"),
        firefox(WINDOWS, "89.0"),
        safari(MAC, "16.3", "Safari/605.1.15"),
        safari(IPHONE, "15.6.1", "Mobile/15E148 Safari/604.1"),
    ] {
        assert_impossible(&agent, &old, false);
        assert_impossible(&agent, &bare, false);
    }
}

#[test]
fn an_agent_that_is_not_exactly_a_browsers_is_not_checked() {
    let everything = Headers {
        brands: br#""Chromium";v="1""#,
        platform: b"\"Windows\"",
        mobile: Some(false),
        tls: true,
        http_1_0: true,
        fetch_metadata: false,
    };
    for agent in [
        String::new(),
        "curl/8.5.0".to_owned(),
        chrome("Linux; Android 14; SM-A536B; wv", "131.0.0.0 Mobile Safari/537.36"),
        chrome(ANDROID, "131.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
        chrome(WINDOWS, "131.0.0.0 Safari/537.36 OPR/116.0.0.0"),
        chrome(WINDOWS, "131.0.0.0 Electron/33.2.0 Safari/537.36"),
        chrome(LINUX, "x Safari/537.36"),
        chrome("Web0S; Linux/SmartTV", "120.0.6099.270 Safari/537.36"),
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 \
         Safari/537.36"
            .to_owned(),
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/131.0.0.0 \
         Safari/537.36"
            .to_owned(),
        "Mozilla/5.0 (Linux; Android 14; K; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/131.0.0.0 \
         Mobile Safari/537.36"
            .to_owned(),
        safari(IPHONE, "17.5", "Mobile/15E148 Safari/604.1 Ddg/17.5"),
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
         Mobile/15E148 [FBAN/FBIOS;FBAV/468.0]"
            .to_owned(),
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
         CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1"
            .to_owned(),
        "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0 PaleMoon/33.4".to_owned(),
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Trident/7.0; rv:11.0) like Gecko".to_owned(),
        format!("{}{}", desktop(), "x".repeat(300)),
    ] {
        assert_impossible(&agent, &everything, false);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_checked(agent: Vec<u8>, tail: Vec<u8>, brands: Vec<u8>, platform: Vec<u8>, mobile: Option<bool>) {
        let headers = Headers { brands: &brands, platform: &platform, mobile, tls: true, ..Headers::default() };
        are_impossible(&agent, &headers);
        for start in [&b"Mozilla/5.0 ("[..], b"Mozilla/5.0 (X11; ) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/9"] {
            are_impossible(&[start, &tail].concat(), &headers);
        }
    }
}
