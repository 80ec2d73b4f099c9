//! Click marks: the parameters that networks add to outgoing links, in the query of the short link.
//!
//! A mark of an advertising network is on paid clicks only, so it makes an origin paid. Other marks only say where a
//! click came from: Facebook and Instagram add `fbclid` to every outgoing link, paid or not, and so do Instagram with
//! `igshid`, Pinterest with `epik` and Google with `srsltid` (free listings). `utm_medium=cpc` is a claim by the author
//! of the link, and is in the event anyway.

use crate::event::{
    OriginType::{self, Paid, Search, Social},
    query,
};

/// A parameter, and what it means.
pub(super) struct Mark {
    key: &'static [u8],
    pub(super) kind: OriginType,
    /// The network, by the name that it has as a referrer.
    pub(super) name: &'static str,
    /// Its host, for clicks that came without a referrer.
    pub(super) host: &'static str,
}

const fn mark(key: &'static [u8], kind: OriginType, name: &'static str, host: &'static str) -> Mark {
    Mark { key, kind, name, host }
}

const MARKS: [Mark; 20] = [
    // Google Ads; then from an iOS application to the web, the other way, and where the click id is withheld.
    mark(b"gclid", Paid, "google", "google.com"),
    mark(b"gbraid", Paid, "google", "google.com"),
    mark(b"wbraid", Paid, "google", "google.com"),
    mark(b"gad_source", Paid, "google", "google.com"),
    // Campaign Manager and Display & Video, with advertisements on any site.
    mark(b"dclid", Paid, "google-ads", "doubleclick.net"),
    mark(b"msclkid", Paid, "bing", "bing.com"),
    mark(b"yclid", Paid, "yandex", "yandex.ru"),
    mark(b"ttclid", Paid, "tiktok", "tiktok.com"),
    mark(b"twclid", Paid, "x", "x.com"),
    mark(b"li_fat_id", Paid, "linkedin", "linkedin.com"),
    mark(b"rdt_cid", Paid, "reddit", "reddit.com"),
    mark(b"sccid", Paid, "snapchat", "snapchat.com"),
    mark(b"qclid", Paid, "quora", "quora.com"),
    mark(b"tblci", Paid, "taboola", "taboola.com"),
    mark(b"dicbo", Paid, "outbrain", "outbrain.com"),
    mark(b"fbclid", Social, "facebook", "facebook.com"),
    mark(b"igshid", Social, "instagram", "instagram.com"),
    mark(b"igsh", Social, "instagram", "instagram.com"),
    mark(b"epik", Social, "pinterest", "pinterest.com"),
    mark(b"srsltid", Search, "google", "google.com"),
];

/// The most specific mark of a raw query: one of a paid click, else the first.
pub(super) fn of(query: &[u8]) -> Option<&'static Mark> {
    let mut first = None;
    for (key, value) in query::pairs(query).take(query::MAX_PAIRS) {
        if value.is_empty() {
            continue;
        }
        match MARKS.iter().find(|mark| key.eq_ignore_ascii_case(mark.key)) {
            Some(mark) if mark.kind == Paid => return Some(mark),
            found => first = first.or(found),
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visitor::referrer::{origin, places::Places};

    fn name(query: &str) -> Option<(OriginType, &'static str)> {
        of(query.as_bytes()).map(|mark| (mark.kind, mark.name))
    }

    #[test]
    fn a_paid_mark_wins_over_another_and_the_first_over_the_next() {
        assert_eq!(name("fbclid=1&gclid=2"), Some((Paid, "google")));
        assert_eq!(name("GCLID=2&msclkid=1"), Some((Paid, "google")));
        assert_eq!(name("utm_source=x&fbclid=1&epik=2"), Some((Social, "facebook")));
        for query in ["", "gclid=", "gclid", "xgclid=1", "q=gclid", "a=b?gclid=1", "utm_medium=cpc"] {
            assert_eq!(name(query), None, "{query}");
        }
    }

    #[test]
    fn a_network_has_one_name_as_a_mark_and_as_a_referrer() {
        let none = Places::default();
        for mark in &MARKS {
            assert_eq!(origin::of_host(mark.host, b"", &none).name, Some(mark.name), "{}", mark.host);
        }
    }
}
