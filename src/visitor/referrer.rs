//! Where the visitor came from, by `Referer`.
//!
//! A pure function of header bytes and of the operator's lists. `origin` has the built-in places, `places` those that
//! the operator adds, `marks` the parameters that networks add to outgoing links; this module parses the header, and
//! decides whether the click was paid for or came from the branded domain itself. `spam` has the hosts of forged
//! referrers.
//!
//! Privacy: the query and the fragment of a referrer hold search terms, mail addresses and tokens. Neither is ever
//! kept, nor are userinfo and port. Bounds: `MAX_HOST` and `MAX_PATH`.

mod marks;
mod matomo;
mod origin;
mod places;
mod spam;
mod table;

use std::borrow::Cow;

pub use places::Places;
pub use spam::Spammers;

use crate::event::{Origin, OriginType, Referral};

/// Bytes of the longest host name that DNS allows.
const MAX_HOST: usize = 253;

/// Bytes of a referrer's path that are kept.
const MAX_PATH: usize = 1024;

/// The referral of a click; `None` when it is direct: when its `Referer` is empty, not of a known scheme, or without a
/// host, and the query of the short link has no mark of a network.
///
/// `short_link_query` is the raw query of the short link: the click id of an advertising network in it makes the origin
/// paid. `link_host` is the branded domain: a referrer on the same host is internal, even with a click id, which is
/// then that of an earlier click.
///
/// Applications of the networks send no `Referer`, but the marks identify the network. The referral then has the host
/// of the network, and neither protocol nor path: an absent protocol means that the host was not sent, but derived from
/// a mark.
pub fn referral<'a>(
    referer: &'a [u8],
    short_link_query: &[u8],
    link_host: &str,
    places: &'a Places,
) -> Option<Referral<'a>> {
    let mark = marks::of(short_link_query);
    let Some((protocol, hostname, path)) = page(referer) else {
        let marks::Mark { host, kind, name, .. } = *mark?;
        let origin = Some(Origin { kind, name: Some(name) });
        return Some(Referral { hostname: Cow::Borrowed(host), protocol: None, path: None, origin });
    };
    let mut origin = match protocol {
        "android-app" | "ios-app" => origin::of_app(&hostname, places),
        _ => origin::of_host(&hostname, path, places),
    };
    if hostname.eq_ignore_ascii_case(link_host) {
        origin = Origin { kind: OriginType::Internal, name: None };
    } else if let Some(mark) = mark.filter(|mark| mark.kind == OriginType::Paid) {
        // The referrer names the site of the advertisement, the mark the network that was paid.
        origin = Origin { kind: OriginType::Paid, name: origin.name.or(Some(mark.name)) };
    }
    let path = (!path.is_empty()).then(|| bounded_path(path));
    Some(Referral { hostname, protocol: Some(Cow::Borrowed(protocol)), path, origin: Some(origin) })
}

/// The host of a `Referer`, the same as in its referral.
pub fn host(referer: &[u8]) -> Option<Cow<'_, str>> {
    page(referer).map(|(_, host, _)| host)
}

/// Protocol, host and path of a `Referer`.
fn page(referer: &[u8]) -> Option<(&'static str, Cow<'_, str>, &[u8])> {
    let (protocol, rest) = split_scheme(referer.trim_ascii())?;
    let address = rest.split(|byte| matches!(byte, b'?' | b'#')).next()?;
    let (authority, path) = address.split_at(memchr::memchr(b'/', address).unwrap_or(address.len()));
    Some((protocol, hostname(authority)?, path))
}

fn split_scheme(referer: &[u8]) -> Option<(&'static str, &[u8])> {
    ["https", "http", "android-app", "ios-app"].into_iter().find_map(|scheme| {
        let (start, rest) = referer.split_at_checked(scheme.len())?;
        let rest = rest.strip_prefix(b"://")?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some((scheme, rest))
    })
}

/// The host of an authority as one A-label, without userinfo, port and final dot.
///
/// Browsers send hosts in this form. Others send them in upper case, percent-encoded, as raw UTF-8, or in Latin-1, in
/// which header fields once were (RFC 9110, 5.5). What the mapping of UTS 46 rejects is kept in lower case if it is
/// ASCII (`xn--a.example`), and no host otherwise.
fn hostname(authority: &[u8]) -> Option<Cow<'_, str>> {
    // Nearly always a plain name.
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if authority.iter().all(is_plain) {
        let host = authority.strip_suffix(b".").unwrap_or(authority);
        let host = std::str::from_utf8(host).ok()?;
        return (1..=MAX_HOST).contains(&host.len()).then_some(Cow::Borrowed(host));
    }
    let host = authority.rsplit(|&byte| byte == b'@').next()?;
    if host.starts_with(b"[") {
        let (address, _port) = host.split_at(memchr::memchr(b']', host)? + 1);
        let digits = address.get(1..address.len() - 1)?;
        let is_address = digits.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        let address = std::str::from_utf8(address).ok().filter(|_| is_address && !digits.is_empty())?;
        return (address.len() <= MAX_HOST).then(|| Cow::Owned(address.to_ascii_lowercase()));
    }
    // One byte of a name takes three at most.
    let host = host.split(|&byte| byte == b':').next().filter(|host| host.len() <= 3 * MAX_HOST)?;
    let host = a_label(&Cow::from(percent_encoding::percent_decode(host)))?;
    (1..=MAX_HOST).contains(&host.len()).then_some(Cow::Owned(host))
}

fn a_label(host: &[u8]) -> Option<String> {
    if host.iter().any(|&byte| is_forbidden(byte)) {
        return None;
    }
    let host = match std::str::from_utf8(host) {
        Ok(host) => Cow::Borrowed(host),
        Err(_) => host.iter().map(|&byte| char::from(byte)).collect(),
    };
    let mapped = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL).map(Cow::into_owned);
    let mut host = match mapped {
        Ok(host) => host,
        Err(_) if host.is_ascii() => host.to_ascii_lowercase(),
        Err(_) => return None,
    };
    if host.ends_with('.') {
        host.pop();
    }
    Some(host)
}

/// ASCII that no host contains: a header with it is forged, and its host means nothing.
fn is_forbidden(byte: u8) -> bool {
    FORBIDDEN[usize::from(byte)]
}

const FORBIDDEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let mark = matches!(byte, b' ' | b'"' | b'%' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
        // Only where they were percent-encoded.
        let delimiter = matches!(byte, b'#' | b'/' | b':' | b'?' | b'@' | b'[' | b']');
        table[byte as usize] = mark || delimiter || byte.is_ascii_control();
        byte += 1;
    }
    table
};

fn bounded_path(path: &[u8]) -> Cow<'_, str> {
    let mut end = path.len().min(MAX_PATH);
    // Not in the middle of a character; of invalid UTF-8 at most three bytes are cut.
    while end + 4 > MAX_PATH && path.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    match String::from_utf8_lossy(&path[..end]) {
        Cow::Owned(mut text) => {
            text.truncate(text.floor_char_boundary(MAX_PATH));
            Cow::Owned(text)
        }
        text @ Cow::Borrowed(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static NONE: LazyLock<Places> = LazyLock::new(Places::default);

    fn read_with<'a>(referer: &'a [u8], query: &[u8], link_host: &str) -> Option<Referral<'a>> {
        referral(referer, query, link_host, &NONE)
    }

    fn read(referer: &str) -> Option<Referral<'_>> {
        read_with(referer.as_bytes(), b"", "go.brand.com")
    }

    fn parts(referer: &str) -> (String, String, Option<String>) {
        let referral = read(referer).unwrap();
        (referral.protocol.unwrap().into_owned(), referral.hostname.into_owned(), referral.path.map(Cow::into_owned))
    }

    fn origin<'a>(referer: &'a str, query: &str) -> (OriginType, Option<&'a str>) {
        let origin = read_with(referer.as_bytes(), query.as_bytes(), "go.brand.com").unwrap().origin.unwrap();
        (origin.kind, origin.name)
    }

    #[test]
    fn a_referrer_is_protocol_host_and_path() {
        let path = |path: &str| Some(path.to_owned());
        assert_eq!(parts("https://www.example.com/a/b"), ("https".into(), "www.example.com".into(), path("/a/b")));
        assert_eq!(parts("http://example.com/"), ("http".into(), "example.com".into(), path("/")));
        assert_eq!(parts("HTTPS://Example.COM"), ("https".into(), "example.com".into(), None));
        assert_eq!(parts(" https://a.example. "), ("https".into(), "a.example".into(), None));
        assert_eq!(parts("android-app://com.Example/x"), ("android-app".into(), "com.example".into(), path("/x")));
        assert_eq!(parts("http://[2001:DB8::1]:8080/"), ("http".into(), "[2001:db8::1]".into(), path("/")));
        assert_eq!(
            parts("ios-app://544007664/youtube/x"),
            ("ios-app".into(), "544007664".into(), path("/youtube/x"))
        );
    }

    #[test]
    fn a_host_has_one_form_however_it_is_sent() {
        for host in [
            "xn--mnchen-3ya.de",
            "XN--MNCHEN-3YA.de",
            "m\u{fc}nchen.de",
            "M\u{dc}NCHEN.DE",
            "M%C3%BCnchen.de",
            "m%c3%bcnchen%2ede",
            "mu\u{308}nchen.de",
            "m\u{fc}nchen.de.",
            "m\u{fc}nchen\u{3002}de",
            "user:secret@m\u{fc}nchen.de:8080",
            "\u{ff4d}\u{fc}nchen.de",
        ] {
            assert_eq!(parts(&format!("http://{host}/")).1, "xn--mnchen-3ya.de", "{host}");
        }
        let latin = b"http://m\xfcnchen.de/";
        assert_eq!(read_with(latin, b"", "").unwrap().hostname, "xn--mnchen-3ya.de");
        for (host, sent) in [
            ("xn--wgv71a119e.jp", "\u{65e5}\u{672c}\u{8a9e}.jp"),
            ("xn--e1afmkfd.xn--p1ai", "\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{440}\u{444}"),
            ("xn--strae-oqa.de", "stra\u{df}e.de"),
            ("a_b.example.com", "A_B.example.com"),
            // What no registry would take, and what is sent nevertheless.
            ("xn--a.example", "XN--a.example"),
            ("-a-.example", "-A-.example"),
        ] {
            assert_eq!(parts(&format!("http://{sent}/")).1, host);
        }
        assert_eq!(origin("http://go.br%61nd.com/", ""), (OriginType::Internal, None));
        assert_eq!(origin("https://WWW.G%4fogle.DE./", ""), (OriginType::Search, Some("google")));
    }

    #[test]
    fn query_fragment_userinfo_and_port_are_never_kept() {
        for referer in [
            "https://user:secret@example.com:8443/path?token=secret#secret",
            "https://example.com/path#secret?secret",
            "https://secret@secret@example.com/path",
            "https://example.com:secret/path?secret",
            "https://example.com/path?a=https://secret.example/@secret",
        ] {
            assert_eq!(parts(referer), ("https".into(), "example.com".into(), Some("/path".into())), "{referer}");
        }
        assert_eq!(parts("https://example.com?secret@other.example/"), ("https".into(), "example.com".into(), None));
        assert_eq!(parts("https://example.com#secret"), ("https".into(), "example.com".into(), None));
    }

    #[test]
    fn an_invalid_web_address_is_no_referral() {
        for referer in [
            "",
            " ",
            "-",
            "null",
            "example.com",
            "//example.com/",
            "http:",
            "http:/",
            "http://",
            "https:///path",
            "http://?q",
            "http://:80/",
            "http://user@/",
            "http://./",
            "http://[::1",
            "http://[<b>]/",
            "http://a b/",
            "http://<script>/",
            "http://a%00.example/",
            "http://a%2fb.example/",
            "http://a%40b.example/",
            "http://a%zz.example/",
            "http://a\u{fffd}.example/",
            "http://\u{80}.example/",
            "http://%3a/",
            "http://a\\b/",
            "ftp://example.com/",
            "file:///etc/hosts",
            "about:blank",
            "javascript://example.com/",
            "httpss://example.com/",
        ] {
            assert_eq!(read(referer), None, "{referer}");
        }
    }

    #[test]
    fn a_lower_case_address_is_borrowed() {
        let referral = read("https://news.example.com/caf\u{e9}").unwrap();
        assert!(matches!(referral.hostname, Cow::Borrowed(_)));
        assert!(matches!(referral.path, Some(Cow::Borrowed(_))));
    }

    #[test]
    fn a_host_longer_than_dns_allows_is_no_host() {
        assert!(read(&format!("https://{}", "a".repeat(MAX_HOST))).is_some());
        assert!(read(&format!("https://{}", "a".repeat(MAX_HOST + 1))).is_none());
        let latin = [b"https://".to_vec(), vec![0xff; 300]].concat();
        assert!(read_with(&latin, b"", "").is_none());
    }

    #[test]
    fn a_long_path_is_cut_between_characters() {
        for (letter, kept) in [("a", 1024), ("\u{e9}", 1023), ("\u{20ac}", 1024), ("\u{1f600}", 1021)] {
            let referer = format!("https://example.com/{}", letter.repeat(2000));
            let path = read(&referer).unwrap().path.unwrap();
            assert_eq!(path.len(), kept, "{letter}");
            assert!(path.trim_start_matches('/').chars().all(|c| letter.contains(c)), "{letter}");
        }
        let broken = [b"https://example.com/".to_vec(), vec![0x80; 2000]].concat();
        assert_eq!(read_with(&broken, b"", "").unwrap().path.unwrap().len(), 1024);
    }

    #[test]
    fn a_click_id_of_an_advertising_network_is_paid() {
        assert_eq!(origin("https://www.google.com/", "utm_source=x&gclid=Cj0"), (OriginType::Paid, Some("google")));
        assert_eq!(origin("https://news.example.com/", "TTCLID=1"), (OriginType::Paid, Some("tiktok")));
        assert_eq!(
            origin("android-app://com.linkedin.android/", "li_fat_id=1"),
            (OriginType::Paid, Some("linkedin"))
        );
    }

    #[test]
    fn other_marks_on_the_link_are_not_paid() {
        for query in ["fbclid=abc", "gclid=", "gclid", "xgclid=1", "q=gclid", "a=b?gclid=1", "utm_medium=cpc", ""] {
            assert_eq!(origin("https://l.facebook.com/", query), (OriginType::Social, Some("facebook")), "{query}");
        }
    }

    #[test]
    fn without_a_referrer_a_mark_identifies_the_network() {
        for (referer, query, host, kind, name) in [
            ("", "utm_source=x&fbclid=IwAR0", "facebook.com", OriginType::Social, "facebook"),
            ("", "gclid=Cj0&fbclid=1", "google.com", OriginType::Paid, "google"),
            ("null", "ttclid=1", "tiktok.com", OriginType::Paid, "tiktok"),
            ("about:blank", "msclkid=1", "bing.com", OriginType::Paid, "bing"),
        ] {
            let found = read_with(referer.as_bytes(), query.as_bytes(), "go.brand.com").unwrap();
            let expected = Referral {
                hostname: host.into(),
                protocol: None,
                path: None,
                origin: Some(Origin { kind, name: Some(name) }),
            };
            assert_eq!(found, expected, "{query}");
        }
        for query in ["", "utm_source=facebook", "fbclid="] {
            assert_eq!(read_with(b"", query.as_bytes(), "go.brand.com"), None, "{query}");
        }
    }

    #[test]
    fn an_operators_place_wins_unless_the_table_knows_the_host_more_closely() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("Socials.yml");
        let text = "Bird:\n  - twitter.com\nWork:\n  - work.example\n  - google.com\n  - app.example.android\n";
        std::fs::write(&file, text).unwrap();
        let config = crate::config::Enrich { socials_file: Some(file), ..Default::default() };
        let places = Places::read(&config).unwrap();
        let origin_of = |referer: &'static str| {
            let origin = referral(referer.as_bytes(), b"", "go.brand.com", &places).unwrap().origin.unwrap();
            (origin.kind, origin.name.map(str::to_owned))
        };
        let named = |kind, name: &str| (kind, Some(name.to_owned()));
        assert_eq!(origin_of("https://mobile.twitter.com/a"), named(OriginType::Social, "bird"));
        assert_eq!(origin_of("https://x.com/a"), named(OriginType::Social, "x"));
        assert_eq!(origin_of("https://chat.work.example/"), named(OriginType::Social, "work"));
        assert_eq!(origin_of("https://www.google.com/"), named(OriginType::Social, "work"));
        assert_eq!(origin_of("https://mail.google.com/"), named(OriginType::Email, "gmail"));
        assert_eq!(origin_of("https://gemini.google.com/"), named(OriginType::Ai, "gemini"));
        assert_eq!(origin_of("https://www.google.de/"), named(OriginType::Search, "google"));
        assert_eq!(origin_of("android-app://app.example.android/"), named(OriginType::Social, "work"));
        assert_eq!(origin_of("android-app://x.work.example/"), named(OriginType::Social, "work"));
    }

    #[test]
    fn the_branded_domain_itself_is_internal() {
        assert_eq!(origin("https://GO.brand.com/other", ""), (OriginType::Internal, None));
        assert_eq!(origin("https://go.brand.com/", "gclid=1"), (OriginType::Internal, None));
        assert_eq!(origin("https://brand.com/", ""), (OriginType::Other, None));
        assert_eq!(origin("https://x.go.brand.com/", ""), (OriginType::Other, None));
    }

    #[test]
    fn an_application_is_known_by_its_package_or_by_the_host_in_it() {
        for (package, kind, name) in [
            ("com.facebook.katana", OriginType::Social, "facebook"),
            ("m.facebook.com", OriginType::Social, "facebook"),
            ("facebook.com", OriginType::Social, "facebook"),
            ("com.facebook.work", OriginType::Social, "facebook"),
            ("com.google.android.googlequicksearchbox", OriginType::Search, "google"),
            ("www.google.de", OriginType::Search, "google"),
            ("com.google.android.gm", OriginType::Email, "gmail"),
            ("com.google.android.apps.docs", OriginType::Other, "google"),
            ("org.telegram.messenger", OriginType::Messaging, "telegram"),
            ("org.telegram.plus", OriginType::Messaging, "telegram"),
            ("com.linkedin.android", OriginType::Social, "linkedin"),
            ("com.linkedin.android.lite", OriginType::Social, "linkedin"),
            ("com.reddit.launch", OriginType::Social, "reddit"),
            ("t.me", OriginType::Messaging, "telegram"),
        ] {
            for scheme in ["android-app", "ios-app", "Android-App"] {
                assert_eq!(origin(&format!("{scheme}://{package}/x"), ""), (kind, Some(name)), "{scheme}, {package}");
            }
        }
        for package in
            ["com.acme.facebook", "com.note.pad", "com.you.app", "com.acme.mail", "544007664", "x.com.acme"]
        {
            assert_eq!(origin(&format!("android-app://{package}/"), ""), (OriginType::Other, None), "{package}");
        }
        assert_eq!(origin("https://com.facebook.katana/", ""), (OriginType::Other, None));
    }

    proptest! {
        #[test]
        fn any_bytes_stay_within_the_bounds(
            start in prop::sample::select(vec!["", "http://", "https://", "android-app://", "ios-app://", "https://a.example/"]),
            rest in prop::collection::vec(
                prop_oneof![2 => prop::sample::select(b"aZ.:/?#@[]%\xc3\xa9".to_vec()), 1 => any::<u8>()], 0..1500,
            ),
            query: Vec<u8>,
        ) {
            let referer = [start.as_bytes(), &rest].concat();
            if let Some(referral) = read_with(&referer, &query, "go.brand.com") {
                prop_assert!((1..=MAX_HOST).contains(&referral.hostname.len()));
                prop_assert!(!referral.hostname.contains(['/', '?', '#', '@', ' ', '%']));
                prop_assert!(!referral.hostname.bytes().any(|byte| byte.is_ascii_uppercase()));
                if let Some(path) = referral.path {
                    prop_assert!(path.starts_with('/') && path.len() <= MAX_PATH);
                    prop_assert!(!path.contains(['?', '#']));
                }
            }
        }
    }
}
