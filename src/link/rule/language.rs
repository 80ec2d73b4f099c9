//! The condition `language`: the language that the visitor wants most.
//!
//! A rule holds when one of its languages covers a language to which `Accept-Language` gives the highest weight. So of
//! several rules the one for the visitor's own language holds, wherever it stands, and not the first one for a language
//! that the visitor also reads: for those, the link's own destination may be the better one. Of languages with equal
//! weights each counts.
//!
//! A language covers the more special ones (RFC 4647, 3.3.2: `en` covers `en-GB`, `zh-tw` covers `zh-Hant-TW`), never
//! the more general one. `*`, a weight of 0 and malformed members do not count.

use super::{super::field::Field, MAX_VALUES};

/// Members of the header that are read; browsers send a handful.
const MAX_MEMBERS: usize = 32;

/// A weight of 1, in thousandths.
const FULL_WEIGHT: u16 = 1000;

/// Languages that are the same, or that browsers name in several ways: what a rule has, and what it covers, too.
const RELATED: &[(&str, &str)] = &[
    ("no", "nb"),
    ("no", "nn"),
    ("nb", "no"),
    ("he", "iw"),
    ("id", "in"),
    ("yi", "ji"),
    ("fil", "tl"),
    ("tl", "fil"),
];

/// Languages in lower case, subtags after hyphens.
#[derive(Clone, Debug)]
pub(super) struct Languages(Box<[Box<str>]>);

impl Languages {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        const REMEDY: &str = "write language tags, such as \"en\" or \"en-gb\"";
        let language = |field: Field<'_>| {
            let tag = field.value().as_str().map(|tag| tag.trim().to_ascii_lowercase().replace('_', "-"));
            let tag = tag.filter(|tag| is_tag(tag.as_bytes())).ok_or_else(|| field.is_bad(REMEDY))?;
            Ok(tag.split('-').enumerate().map(canonical).collect::<Vec<_>>().join("-").into())
        };
        field.values(MAX_VALUES, REMEDY)?.into_iter().map(language).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn holds(&self, accept_language: &[u8]) -> bool {
        let mut highest = 0;
        let mut holds = false;
        for (tag, weight) in accept_language.split(|&byte| byte == b',').take(MAX_MEMBERS).filter_map(member) {
            if weight > highest {
                highest = weight;
                holds = false;
            }
            holds |= weight == highest && weight > 0 && self.0.iter().any(|language| covers(language, tag));
        }
        holds
    }
}

/// The usual spelling of a subtag; `en-uk` is a common mistake.
fn canonical((at, subtag): (usize, &str)) -> &str {
    match (at, subtag) {
        (0, "iw") => "he",
        (0, "in") => "id",
        (0, "ji") => "yi",
        (1.., "uk") => "gb",
        _ => subtag,
    }
}

fn covers(language: &str, tag: &[u8]) -> bool {
    let mut wanted = language.split('-');
    let mut sent = tag.split(|byte| matches!(byte, b'-' | b'_'));
    let primary = wanted.next().unwrap_or_default();
    let is_primary = |sent: &[u8]| {
        let is = |name: &str| sent.eq_ignore_ascii_case(name.as_bytes());
        is(primary) || RELATED.iter().any(|(one, other)| *one == primary && is(other))
    };
    if !sent.next().is_some_and(is_primary) {
        return false;
    }
    // Subtags of the visitor's that the rule does not have are skipped, except for extensions and private ones.
    wanted.all(|subtag| {
        let is_it = |sent: &&[u8]| {
            sent.eq_ignore_ascii_case(subtag.as_bytes()) || subtag == "gb" && sent.eq_ignore_ascii_case(b"uk")
        };
        sent.by_ref().take_while(|sent| sent.len() > 1 || is_it(sent)).any(|sent| is_it(&sent))
    })
}

/// `de-CH;q=0.9` -> `de-CH`, 900.
fn member(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.splitn(2, |&byte| byte == b';');
    let tag = parts.next()?.trim_ascii();
    let weight = parts.next().map_or(Some(FULL_WEIGHT), weight)?;
    is_tag(tag).then_some((tag, weight))
}

fn is_tag(tag: &[u8]) -> bool {
    let mut subtags = tag.split(|byte| matches!(byte, b'-' | b'_'));
    let is_language =
        |primary: &[u8]| (2..=3).contains(&primary.len()) && primary.iter().all(u8::is_ascii_alphabetic);
    let is_subtag = |subtag: &[u8]| (1..=8).contains(&subtag.len()) && subtag.iter().all(u8::is_ascii_alphanumeric);
    subtags.next().is_some_and(is_language) && subtags.all(is_subtag)
}

/// `q=0.9` -> 900 (RFC 9110, 12.4.2). Decimals beyond the third have no effect.
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter.trim_ascii() else {
        return None;
    };
    let (whole, decimals) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.iter().all(u8::is_ascii_digit) => (whole, decimals),
        _ => return None,
    };
    let thousandths = decimals.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(FULL_WEIGHT),
        _ => None,
    }
}
