//! The visitor's preferred language, from `Accept-Language`.
//!
//! A pure function of header bytes. For any input the result matches `^[a-z]{2,3}$`, as the event's schema demands. No
//! allocation.

use crate::{
    event::Code,
    link::accept_language::{FULL_WEIGHT, members},
};

/// The primary subtag of the language with the highest weight; the first one wins a tie.
///
/// `*`, a weight of 0 and malformed members do not count. `en_GB`, which some applications send, is read as `en-GB`.
pub fn preferred(accept_language: &[u8]) -> Option<Code> {
    let mut best: Option<(&[u8], u16)> = None;
    for (tag, weight) in members(accept_language) {
        if weight > best.map_or(0, |(_, highest)| highest) {
            best = Some((tag, weight));
            if weight == FULL_WEIGHT {
                break;
            }
        }
    }
    let (tag, _) = best?;
    Code::read(tag.split(|byte| matches!(byte, b'-' | b'_')).next()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::accept_language::MAX_MEMBERS;

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
