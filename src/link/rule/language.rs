//! The condition `language`: the language that the visitor wants most.
//!
//! A rule holds when one of its languages covers a language to which `Accept-Language` gives the highest weight. So of
//! several rules the one for the visitor's own language holds, wherever it stands, and not the first one for a language
//! that the visitor also reads: for those, the link's own destination may be the better one. Of languages with equal
//! weights each counts.
//!
//! A language covers the more special ones (RFC 4647, 3.3.2: `en` covers `en-GB`, `zh-tw` covers `zh-Hant-TW`), never
//! the more general one. `*`, a weight of 0 and malformed members do not count.

use super::{
    super::{
        accept_language::{is_tag, members},
        field::Field,
    },
    MAX_VALUES,
};

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
        for (tag, weight) in members(accept_language) {
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
