//! The origin of a host or an application that a visitor came from.
//!
//! A host is looked up in the [`table`](super::table) as it is, then by each parent (`l.facebook.com`,
//! `facebook.com`); the longest match wins, so a service may differ from its company (`gemini.google.com`). Companies
//! with a domain in every country follow a rule instead ([`BRANDS`]), and so do the mail hosts that every provider has
//! ([`WEBMAIL_LABELS`]). The operator's entries ([`Places`]) win, unless the table matches more of the host.

use std::{collections::HashMap, sync::LazyLock};

use ahash::RandomState;

use super::{
    places::Places,
    table::{APPS, BRANDS, HOSTS, HostsByName},
};
use crate::event::{
    Origin,
    OriginType::{self, Email, Other},
};

/// Labels before a brand's that do not change the place; nor do two letters, a country or a language.
const MAIN_LABELS: [&str; 9] = ["www", "m", "search", "images", "image", "lens", "scholar", "encrypted", "cse"];

/// First labels of hosts with the webmail of a provider or a company.
const WEBMAIL_LABELS: [&str; 5] = ["webmail", "mail", "owa", "roundcube", "zimbra"];

/// Most labels of a host in the table, and most labels of a host that are looked up.
const MAX_LABELS: usize = 5;

/// Least bytes of the second label of a package that names a company.
const MIN_COMPANY: usize = 5;

const UNKNOWN: Origin<'_> = Origin { kind: Other, name: None };

type Index = HashMap<&'static str, Origin<'static>, RandomState>;

static HOST_INDEX: LazyLock<Index> = LazyLock::new(|| index(HOSTS));
static APP_INDEX: LazyLock<Index> = LazyLock::new(|| index(APPS));

/// The origin of a lower-case host name: other, without a name, when it is unknown.
pub(super) fn of_host<'a>(host: &str, path: &[u8], places: &'a Places) -> Origin<'a> {
    let built_in = by_suffix(host).or_else(|| by_brand(host)).or_else(|| by_first_label(host));
    let (origin, closeness) = built_in.unwrap_or((UNKNOWN, 0));
    match places.look_up(host, path) {
        Some((added, as_close)) if as_close >= closeness => added,
        _ => origin,
    }
}

/// The origin of an application, by its whole package; else by the host in it, as it is (`m.facebook.com`) or reversed
/// (`com.facebook.work`).
pub(super) fn of_app<'a>(package: &str, places: &'a Places) -> Origin<'a> {
    let added = places.look_up(package, b"").filter(|(_, len)| *len == package.len()).map(|(origin, _)| origin);
    let known = added.or_else(|| APP_INDEX.get(package).copied()).or_else(|| of_named_host(package, places));
    known.or_else(|| of_named_host(&reversed(package)?, places)).unwrap_or(UNKNOWN)
}

/// As [`of_host`], without what only the first label says.
fn of_named_host<'a>(host: &str, places: &'a Places) -> Option<Origin<'a>> {
    let built_in = by_suffix(host).or_else(|| by_brand(host));
    match (places.look_up(host, b""), built_in) {
        (Some((added, as_close)), Some((_, closeness))) if as_close >= closeness => Some(added),
        (_, Some((origin, _))) => Some(origin),
        (added, None) => added.map(|(origin, _)| origin),
    }
}

/// The host that a package is the reverse of. A short word begins packages of other makers, too: `com.you`, `com.note`.
fn reversed(package: &str) -> Option<String> {
    let company = package.split('.').nth(1)?;
    (company.len() >= MIN_COMPANY).then(|| package.rsplit('.').collect::<Vec<_>>().join("."))
}

fn index(places: &[(OriginType, HostsByName)]) -> Index {
    let mut index = Index::default();
    for &(kind, names) in places {
        for &(name, hosts) in names {
            index.extend(hosts.split_ascii_whitespace().map(|host| (host, Origin { kind, name: Some(name) })));
        }
    }
    index
}

/// The origin, and how many of the host's last bytes match, as for the next two functions.
fn by_suffix(host: &str) -> Option<(Origin<'static>, usize)> {
    let start = memchr::memrchr_iter(b'.', host.as_bytes()).nth(MAX_LABELS - 1).map_or(0, |dot| dot + 1);
    let mut suffix = &host[start..];
    loop {
        if let Some(origin) = HOST_INDEX.get(suffix) {
            return Some((*origin, suffix.len()));
        }
        suffix = &suffix[memchr::memchr(b'.', suffix.as_bytes())? + 1..];
    }
}

fn by_brand(host: &str) -> Option<(Origin<'static>, usize)> {
    let (rest, top) = host.rsplit_once('.')?;
    let rest = match rest.rsplit_once('.') {
        Some((rest, "co" | "com")) if is_country(top) => rest,
        _ if top == "com" || is_country(top) => rest,
        _ => return None,
    };
    let (before, label) = rest.rsplit_once('.').unwrap_or(("", rest));
    let brand = BRANDS.iter().find(|brand| brand.label == label)?;
    let service = before.rsplit('.').next().unwrap_or_default();
    let domain = host.len() - rest.len() + label.len();
    if let Some(&(_, kind, name)) = brand.services.iter().find(|(label, ..)| *label == service) {
        return Some((Origin { kind, name: Some(name) }, service.len() + 1 + domain));
    }
    let is_main = service.is_empty() || is_country(service) || MAIN_LABELS.contains(&service);
    let kind = if is_main { brand.kind } else { Other };
    Some((Origin { kind, name: Some(brand.label) }, domain))
}

fn by_first_label(host: &str) -> Option<(Origin<'static>, usize)> {
    let (first, rest) = host.split_once('.')?;
    (rest.contains('.') && WEBMAIL_LABELS.contains(&first)).then_some((Origin { kind: Email, name: None }, 0))
}

fn is_country(label: &str) -> bool {
    label.len() == 2 && label.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::event::OriginType::{Ai, Messaging, Paid, Search, Social};

    fn all(places: &'static [(OriginType, HostsByName)]) -> impl Iterator<Item = (&'static str, &'static str)> {
        let names = places.iter().flat_map(|(_, names)| names.iter());
        names.flat_map(|(name, hosts)| hosts.split_ascii_whitespace().map(move |host| (*name, host)))
    }

    fn built_in(host: &str) -> Origin<'static> {
        static NONE: LazyLock<Places> = LazyLock::new(Places::default);
        of_host(host, b"", &NONE)
    }

    fn known(host: &str) -> (OriginType, &'static str) {
        let origin = built_in(host);
        (origin.kind, origin.name.unwrap_or(""))
    }

    #[test]
    fn the_table_is_well_formed() {
        for (places, least, labels) in [(HOSTS, 180, MAX_LABELS), (APPS, 60, 7)] {
            let mut seen = HashSet::new();
            for (name, host) in all(places) {
                assert!(seen.insert(host), "{host} is repeated");
                assert!(host.split('.').count() <= labels, "{host}");
                assert!(host.contains('.') && !host.starts_with("www."), "{host}");
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
                assert!(host.bytes().all(plain), "{host}");
                assert!(name.bytes().all(plain) && !name.starts_with(['.', '-']), "{name} is no slug");
            }
            assert!(seen.len() >= least, "{}", seen.len());
        }
    }

    #[test]
    fn a_host_is_known_by_itself_and_by_its_parents() {
        assert_eq!(known("facebook.com"), (Social, "facebook"));
        assert_eq!(known("l.facebook.com"), (Social, "facebook"));
        assert_eq!(known("a.b.c.d.e.f.g.lm.facebook.com"), (Social, "facebook"));
        assert_eq!(known("t.co"), (Social, "x"));
        assert_eq!(known("web.whatsapp.com"), (Messaging, "whatsapp"));
        assert_eq!(known("eur01.safelinks.protection.outlook.com"), (Email, "outlook"));
        assert_eq!(known("statics.teams.cdn.office.net"), (Messaging, "teams"));
        assert_eq!(known("www.perplexity.ai"), (Ai, "perplexity"));
        assert_eq!(known("googleads.g.doubleclick.net"), (Paid, "google-ads"));
    }

    #[test]
    fn the_longest_match_wins() {
        assert_eq!(known("gemini.google.com"), (Ai, "gemini"));
        assert_eq!(known("grok.x.com"), (Ai, "grok"));
        assert_eq!(known("mail.naver.com"), (Email, "naver-mail"));
        assert_eq!(known("search.naver.com"), (Search, "naver"));
        assert_eq!(known("mail.qq.com"), (Email, "qq-mail"));
        assert_eq!(known("news.qq.com"), (Other, "qq"));
        assert_eq!(known("e.mail.ru"), (Email, "mail-ru"));
        assert_eq!(known("go.mail.ru"), (Search, "mail-ru"));
    }

    #[test]
    fn search_engines_are_known_in_every_country() {
        for host in
            ["google.com", "www.google.de", "www.google.co.uk", "google.com.br", "www.google.cat", "google.co"]
        {
            assert_eq!(known(host), (Search, "google"), "{host}");
        }
        for host in ["yahoo.com", "search.yahoo.com", "uk.search.yahoo.com", "search.yahoo.co.jp", "fr.yahoo.com"] {
            assert_eq!(known(host), (Search, "yahoo"), "{host}");
        }
        for host in ["yandex.ru", "yandex.com.tr", "www.yandex.kz", "ya.ru"] {
            assert_eq!(known(host), (Search, "yandex"), "{host}");
        }
        assert_eq!(known("www.pinterest.com.au"), (Social, "pinterest"));
        assert_eq!(known("br.pinterest.com"), (Social, "pinterest"));
        assert_eq!(known("cn.bing.com"), (Search, "bing"));
        assert_eq!(known("m.baidu.com"), (Search, "baidu"));
    }

    #[test]
    fn a_search_company_is_more_than_search() {
        assert_eq!(known("mail.google.com"), (Email, "gmail"));
        assert_eq!(known("us-mg5.mail.yahoo.com"), (Email, "yahoo-mail"));
        assert_eq!(known("mail.yahoo.co.jp"), (Email, "yahoo-mail"));
        assert_eq!(known("mail.yandex.ru"), (Email, "yandex-mail"));
        assert_eq!(known("docs.google.com"), (Other, "google"));
        assert_eq!(known("finance.yahoo.com"), (Other, "yahoo"));
    }

    #[test]
    fn a_borrowed_name_is_not_the_place() {
        for host in [
            "notfacebook.com",
            "facebook.com.evil.example",
            "google.evil.com",
            "google.com.evil",
            "www.google.example",
            "google",
            "com",
            "xx.com",
            "netflix.com",
            "",
            ".",
            "..",
            "co.uk",
            "google.org",
            "10.0.0.1",
            "[::1]",
        ] {
            assert_eq!(built_in(host), UNKNOWN, "{host}");
        }
    }

    #[test]
    fn a_mail_host_of_any_company_is_email() {
        assert_eq!(known("webmail.example.com"), (Email, ""));
        assert_eq!(known("mail.example.co.uk"), (Email, ""));
        assert_eq!(known("mail.example"), (Other, ""));
        assert_eq!(known("mailing.example.com"), (Other, ""));
    }

    #[test]
    fn an_application_is_known_by_its_whole_package() {
        let none = Places::default();
        let of_app = |package| of_app(package, &none);
        assert_eq!(of_app("com.google.android.gm"), Origin { kind: Email, name: Some("gmail") });
        assert_eq!(of_app("org.telegram.messenger"), Origin { kind: Messaging, name: Some("telegram") });
        assert_eq!(of_app("com.facebook"), Origin { kind: Social, name: Some("facebook") });
        assert_eq!(of_app("x.com.facebook.katana"), UNKNOWN);
    }
}
