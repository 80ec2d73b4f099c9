//! The visitor's preferred language, from `Accept-Language`.
//!
//! A pure function of header bytes. For any input the result matches `^[a-z]{2,3}$`, as the event's schema demands. No
//! allocation, and at most `MAX_MEMBERS` members are read.

use crate::event::Code;

/// Members that are read; browsers send a handful.
const MAX_MEMBERS: usize = 32;

/// A weight of 1, in thousandths: `Accept-Language` weights have three decimals.
const FULL_WEIGHT: u16 = 1000;

/// The primary subtag of the language with the highest weight; the first one wins a tie.
///
/// `*`, a weight of 0 and malformed members do not count. `en_GB`, which some applications send, is read as `en-GB`.
pub fn preferred(accept_language: &[u8]) -> Option<Code> {
    let mut best: Option<(Code, u16)> = None;
    for member in accept_language.split(|&byte| byte == b',').take(MAX_MEMBERS) {
        if let Some((language, weight)) = parse_member(member)
            && weight > best.map_or(0, |(_, highest)| highest)
        {
            if weight == FULL_WEIGHT {
                return Some(language);
            }
            best = Some((language, weight));
        }
    }
    best.map(|(language, _)| language)
}

/// `de-CH;q=0.9` -> `de`, 900.
fn parse_member(member: &[u8]) -> Option<(Code, u16)> {
    let mut parts = member.splitn(2, |&byte| byte == b';');
    let language = parse_tag(parts.next()?.trim_ascii())?;
    let weight = parts.next().map_or(Some(FULL_WEIGHT), parse_weight)?;
    Some((language, weight))
}

fn parse_tag(tag: &[u8]) -> Option<Code> {
    let mut subtags = tag.split(|byte| matches!(byte, b'-' | b'_'));
    let primary = subtags.next()?;
    let is_language = (2..=3).contains(&primary.len()) && primary.iter().all(u8::is_ascii_alphabetic);
    let language = Code::read(primary).filter(|_| is_language)?;
    let well_formed = |subtag: &[u8]| (1..=8).contains(&subtag.len()) && subtag.iter().all(u8::is_ascii_alphanumeric);
    subtags.all(well_formed).then_some(language)
}

/// `q=0.9` -> 900. Decimals beyond the third are read and have no effect.
fn parse_weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter.trim_ascii() else {
        return None;
    };
    let (whole, decimals) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = decimals.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(FULL_WEIGHT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Option<String> {
        preferred(header.as_bytes()).map(|language| language.as_str().to_owned())
    }

    #[test]
    fn a_browsers_header_gives_its_first_language() {
        assert_eq!(read("en-US,en;q=0.9,it;q=0.8").as_deref(), Some("en"));
        assert_eq!(read("gsw").as_deref(), Some("gsw"));
        assert_eq!(read("zh-Hans-CN").as_deref(), Some("zh"));
        assert_eq!(read("zh-Hant-TW,zh;q=0.9,*;q=0.1").as_deref(), Some("zh"));
        assert_eq!(read("PT-br").as_deref(), Some("pt"));
        assert_eq!(read("en_GB").as_deref(), Some("en"));
    }

    #[test]
    fn the_highest_weight_wins_at_any_place() {
        assert_eq!(read("en;q=0.5, de;q=0.9, fr;q=0.7").as_deref(), Some("de"));
        assert_eq!(read("en;q=0.899,de;q=0.9").as_deref(), Some("de"));
        assert_eq!(read("en;q=0.9,de").as_deref(), Some("de"));
        assert_eq!(read("en ; Q=0.1 , de ; q=0.2").as_deref(), Some("de"));
        assert_eq!(read("\ten;q=0.5\t,\t de\t;\tq=1.000 ").as_deref(), Some("de"));
        assert_eq!(read("en;q=0.9999,de;q=0.999").as_deref(), Some("en"));
    }

    #[test]
    fn the_first_wins_a_tie() {
        assert_eq!(read("fr;q=0.8,de;q=0.8,en;q=0.800").as_deref(), Some("fr"));
        assert_eq!(read("fr,de;q=1.000").as_deref(), Some("fr"));
    }

    #[test]
    fn a_wildcard_and_a_weight_of_zero_do_not_count() {
        assert_eq!(read("*"), None);
        assert_eq!(read("*;q=1,it;q=0.1").as_deref(), Some("it"));
        assert_eq!(read("en;q=0"), None);
        assert_eq!(read("en;q=0.000,de;q=0.001").as_deref(), Some("de"));
    }

    #[test]
    fn malformed_members_are_skipped() {
        for header in ["", ",", ";", "e", "engl", "e1", "en-", "en--us", "en-verylongsubtag", "en us", "i-klingon"] {
            assert_eq!(read(header), None, "{header}");
        }
        for weight in ["", "q", "q=", "q=2", "q=1.5", "q=-1", "q=.5", "q=0,5x", "q=0.x", "q=00", "v=1", "q=1;q=1"] {
            assert_eq!(read(&format!("en;{weight}")), None, "{weight}");
        }
        assert_eq!(read("english,en;q=nan,,de;q=0.1").as_deref(), Some("de"));
        assert_eq!(preferred(b"\xff\xfe,fi"), Code::read(b"fi"));
    }

    #[test]
    fn members_past_the_bound_are_not_read() {
        let header = |before: usize| format!("{}de", "x,".repeat(before));
        assert_eq!(read(&header(MAX_MEMBERS - 1)).as_deref(), Some("de"));
        assert_eq!(read(&header(MAX_MEMBERS)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_language_of_the_schemas_form_or_none(header: Vec<u8>) {
            if let Some(language) = preferred(&header) {
                prop_assert!((2..=3).contains(&language.as_str().len()));
                prop_assert!(language.as_str().bytes().all(|byte| byte.is_ascii_lowercase()));
            }
        }

        #[test]
        fn header_like_text_gives_a_language_of_the_schemas_form_or_none(header in "[a-zA-Z*;=,q01._ -]{0,60}") {
            if let Some(language) = preferred(header.as_bytes()) {
                prop_assert!((2..=3).contains(&language.as_str().len()));
                prop_assert!(language.as_str().bytes().all(|byte| byte.is_ascii_lowercase()));
                prop_assert!(header.to_ascii_lowercase().contains(language.as_str()));
            }
        }

        #[test]
        fn a_single_language_is_always_the_result(tag in "[a-z]{2,3}", region in "(-[A-Z]{2})?", weight in 1..1000_u16) {
            let header = format!("*;q=1, {tag}{region};q=0.{weight:03}");
            prop_assert_eq!(read(&header), Some(tag));
        }
    }
}
