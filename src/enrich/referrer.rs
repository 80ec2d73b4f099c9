//! Where the visitor came from, out of `Referer`.
//!
//! A leaf of the enrich stage: a pure function of header bytes. `origin` knows the places; this module reads the
//! header, and decides whether the click was paid for or came from the branded domain itself.
//!
//! Privacy: the query and the fragment of a referrer hold search terms, mail addresses and tokens. Neither is ever
//! kept, and nor are userinfo and port. Bounds: `MAX_HOST` and `MAX_PATH`.

mod origin;
mod table;

use std::borrow::Cow;

use crate::{
    event::{Origin, OriginType, Referral},
    query,
};

/// Bytes of the longest host name that DNS allows; what is longer is no host.
const MAX_HOST: usize = 253;

/// Bytes of a referrer's path that are kept.
const MAX_PATH: usize = 1024;

/// Parameters that an advertising network puts on the address of a paid click, and on nothing else.
///
/// `fbclid` is not among them: Facebook and Instagram put it on every outgoing link, paid or not. The same goes for
/// `igshid`, `epik` (Pinterest) and `srsltid` (Google's free listings). `utm_medium=cpc` is a claim by whoever wrote
/// the link, and is in the event anyway.
const PAID_MARKERS: [&[u8]; 15] = [
    b"gclid",      // Google Ads
    b"gbraid",     // Google Ads, from an iOS application to the web
    b"wbraid",     // Google Ads, from the web to an iOS application
    b"gad_source", // Google Ads, where the click id is withheld
    b"dclid",      // Google Campaign Manager and Display & Video
    b"msclkid",    // Microsoft Advertising
    b"yclid",      // Yandex Direct
    b"ttclid",     // TikTok Ads
    b"twclid",     // X Ads
    b"li_fat_id",  // LinkedIn Ads
    b"rdt_cid",    // Reddit Ads
    b"sccid",      // Snapchat Ads
    b"qclid",      // Quora Ads
    b"tblci",      // Taboola
    b"dicbo",      // Outbrain
];

/// The referral of a `Referer` header; `None` when it is empty, not of a known scheme, or without a host.
///
/// `short_link_query` is the raw query of the short link: the click id of an advertising network on it makes the
/// origin paid. `link_host` is the branded domain: a referrer on the same host is internal, even with a click id, for
/// then the id was handed on from an earlier click.
pub fn referral<'a>(referer: &'a [u8], short_link_query: &[u8], link_host: &str) -> Option<Referral<'a>> {
    let (protocol, rest) = split_scheme(referer.trim_ascii())?;
    let address = rest.split(|byte| matches!(byte, b'?' | b'#')).next()?;
    let (authority, path) = address.split_at(memchr::memchr(b'/', address).unwrap_or(address.len()));
    let hostname = hostname(authority)?;

    let mut origin = if protocol == "android-app" { origin::of_app(&hostname) } else { origin::of_host(&hostname) };
    if hostname.eq_ignore_ascii_case(link_host) {
        origin = Origin { kind: OriginType::Internal, name: None };
    } else if is_paid(short_link_query) {
        origin.kind = OriginType::Paid;
    }
    Some(Referral {
        hostname,
        protocol: Some(Cow::Borrowed(protocol)),
        path: (!path.is_empty()).then(|| bounded_path(path)),
        origin: Some(origin),
    })
}

fn split_scheme(referer: &[u8]) -> Option<(&'static str, &[u8])> {
    ["https", "http", "android-app"].into_iter().find_map(|scheme| {
        let (start, rest) = referer.split_at_checked(scheme.len())?;
        let rest = rest.strip_prefix(b"://")?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some((scheme, rest))
    })
}

/// The host of an authority, lower case, without userinfo, port and final dot.
fn hostname(authority: &[u8]) -> Option<Cow<'_, str>> {
    let host = authority.rsplit(|&byte| byte == b'@').next()?;
    let host = if host.starts_with(b"[") {
        let (address, _port) = host.split_at(memchr::memchr(b']', host)? + 1);
        let digits = address.get(1..address.len() - 1)?;
        if !digits.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')) {
            return None;
        }
        address
    } else {
        let host = host.split(|&byte| byte == b':').next()?;
        host.strip_suffix(b".").unwrap_or(host)
    };
    if host.is_empty() || host.len() > MAX_HOST || host.iter().any(|&byte| is_forbidden(byte)) {
        return None;
    }
    let host = String::from_utf8_lossy(host);
    let lower = if host.is_ascii() {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { host }
    } else {
        Cow::Owned(host.to_lowercase())
    };
    // Replaced bytes and lower-cased letters may be longer than what they stand for.
    (lower.len() <= MAX_HOST).then_some(lower)
}

/// ASCII that no host contains: a header with it was written by hand, and its host means nothing.
fn is_forbidden(byte: u8) -> bool {
    byte.is_ascii_control()
        || matches!(byte, b' ' | b'"' | b'%' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn bounded_path(path: &[u8]) -> Cow<'_, str> {
    let mut end = path.len().min(MAX_PATH);
    // Not into the middle of a character; of what is no UTF-8, three bytes back are as good as any.
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

fn is_paid(short_link_query: &[u8]) -> bool {
    query::pairs(short_link_query)
        .take(query::MAX_PAIRS)
        .any(|(key, value)| !value.is_empty() && PAID_MARKERS.iter().any(|marker| key.eq_ignore_ascii_case(marker)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(referer: &str) -> Option<Referral<'_>> {
        referral(referer.as_bytes(), b"", "go.brand.com")
    }

    fn parts(referer: &str) -> (String, String, Option<String>) {
        let referral = read(referer).unwrap();
        (referral.protocol.unwrap().into_owned(), referral.hostname.into_owned(), referral.path.map(Cow::into_owned))
    }

    fn origin(referer: &str, query: &str) -> (OriginType, Option<&'static str>) {
        let origin = referral(referer.as_bytes(), query.as_bytes(), "go.brand.com").unwrap().origin.unwrap();
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
        assert_eq!(parts("https://B\u{dc}CHER.example/\u{e9}").1, "b\u{fc}cher.example");
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
    fn what_is_no_web_address_is_no_referral() {
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
    fn a_host_longer_than_dns_allows_is_none() {
        assert!(read(&format!("https://{}", "a".repeat(MAX_HOST))).is_some());
        assert!(read(&format!("https://{}", "a".repeat(MAX_HOST + 1))).is_none());
        let replaced = [b"https://".to_vec(), vec![0xff; 100]].concat();
        assert!(referral(&replaced, b"", "").is_none());
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
        assert_eq!(referral(&broken, b"", "").unwrap().path.unwrap().len(), 1024);
    }

    #[test]
    fn a_click_id_of_an_advertising_network_is_paid() {
        assert_eq!(origin("https://www.google.com/", "utm_source=x&gclid=Cj0"), (OriginType::Paid, Some("google")));
        assert_eq!(origin("https://news.example.com/", "TTCLID=1"), (OriginType::Paid, None));
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
    fn the_branded_domain_itself_is_internal() {
        assert_eq!(origin("https://GO.brand.com/other", ""), (OriginType::Internal, None));
        assert_eq!(origin("https://go.brand.com/", "gclid=1"), (OriginType::Internal, None));
        assert_eq!(origin("https://brand.com/", ""), (OriginType::Other, None));
        assert_eq!(origin("https://x.go.brand.com/", ""), (OriginType::Other, None));
    }

    #[test]
    fn a_host_is_not_an_application() {
        assert_eq!(origin("android-app://com.facebook.katana/", ""), (OriginType::Social, Some("facebook")));
        assert_eq!(origin("https://com.facebook.katana/", ""), (OriginType::Other, None));
        assert_eq!(origin("android-app://facebook.com/", ""), (OriginType::Other, None));
    }

    proptest! {
        #[test]
        fn any_bytes_stay_within_the_bounds(
            start in prop::sample::select(vec!["", "http://", "https://", "android-app://", "https://a.example/"]),
            rest in prop::collection::vec(
                prop_oneof![2 => prop::sample::select(b"aZ.:/?#@[]%\xc3\xa9".to_vec()), 1 => any::<u8>()], 0..1500,
            ),
            query: Vec<u8>,
        ) {
            let referer = [start.as_bytes(), &rest].concat();
            if let Some(referral) = referral(&referer, &query, "go.brand.com") {
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
