//! The choice among the languages of a page, by `Accept-Language`.

use super::super::accept_language::{MAX_MEMBERS, members};

/// Whether this is a language tag, such as `en` or `pt-BR`.
pub(super) fn is_tag(tag: &str) -> bool {
    let mut subtags = tag.split('-');
    let primary = subtags.next().unwrap_or_default();
    let is_language = (2..=3).contains(&primary.len()) && primary.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_subtag =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_language && tag.len() <= 35 && subtags.all(is_subtag)
}

/// The position of the tag that a visitor prefers: of the highest weight, and among equals the one that the header has
/// first. 0, the default, when the visitor accepts none of them.
///
/// `en` accepts `en-GB`; and `en-GB` accepts `en`, unless `en` has a weight of 0.
pub(super) fn choose<'a>(tags: impl Iterator<Item = &'a str>, accept_language: &[u8]) -> usize {
    let ranges: Vec<_> = members(accept_language).zip((1..=MAX_MEMBERS).rev()).collect();
    let mut best = (0, (0, 0));
    for (position, tag) in tags.enumerate() {
        let score = score(tag.as_bytes(), &ranges);
        if score > best.1 {
            best = (position, score);
        }
    }
    best.0
}

/// A language range in a header, and its weight in thousandths.
type Range<'a> = (&'a [u8], u16);

/// Weight and place in the header of the best range for a tag.
fn score(tag: &[u8], ranges: &[(Range<'_>, usize)]) -> (u16, usize) {
    let direct = ranges.iter().filter(|((name, _), _)| is_prefix(name, tag)).max_by_key(|((name, _), _)| name.len());
    if let Some(((_, 0), _)) = direct {
        return (0, 0);
    }
    let wider = ranges.iter().filter(|((name, _), _)| is_prefix(tag, name));
    direct.into_iter().chain(wider).map(|((_, weight), place)| (*weight, *place)).max().unwrap_or_default()
}

/// Whether `tag` is `start`, or one of its kinds: `en-GB` of `en`. `_` counts as `-`.
fn is_prefix(start: &[u8], tag: &[u8]) -> bool {
    let same =
        |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (matches!(a, b'-' | b'_') && matches!(b, b'-' | b'_'));
    start.len() <= tag.len()
        && start.iter().zip(tag).all(same)
        && tag.get(start.len()).is_none_or(|byte| matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(tags: &[&'static str], header: &str) -> &'static str {
        tags[choose(tags.iter().copied(), header.as_bytes())]
    }

    #[test]
    fn the_highest_weight_wins_and_then_the_order_of_the_header() {
        assert_eq!(chosen(&["en", "fr", "de"], "fr;q=0.5, de;q=0.8"), "de");
        assert_eq!(chosen(&["en", "fr", "de"], "de,fr"), "de");
        assert_eq!(chosen(&["en", "fr"], "fr-CH, en;q=0.9"), "fr");
        assert_eq!(chosen(&["en-GB", "fr"], "fr;q=0.1,en"), "en-GB");
        assert_eq!(chosen(&["pt-PT", "pt-BR"], "PT_br"), "pt-BR");
    }

    #[test]
    fn the_first_is_for_all_others() {
        for header in ["", "ja", "*", "fr;q=0", "fr;q=2", "fr;q=NaN", "fr;q", ";q=1", "fra", "f", "\u{fffd}"] {
            assert_eq!(chosen(&["en", "fr"], header), "en", "{header}");
        }
        assert_eq!(chosen(&["en", "fr"], "fr-CH, fr;q=0, en;q=0.1"), "en");
        assert_eq!(chosen(&["en", "fr"], &format!("{}fr", "ja,".repeat(MAX_MEMBERS))), "en");
    }

    #[test]
    fn tags_are_checked() {
        for tag in ["en", "pt-BR", "zh-Hant-TW", "fil"] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["", "e", "engl", "en_GB", "en-", "en--GB", "1a", "en-123456789", "html"] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
