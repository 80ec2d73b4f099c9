//! `Accept-Language` (RFC 9110, 12.5.4): the languages that a visitor accepts, and how much each is wanted.
//!
//! A pure function of header bytes, without an allocation, that reads [`MAX_MEMBERS`] members at most.

/// Members of the header that are read; browsers send a handful.
pub const MAX_MEMBERS: usize = 32;

/// A weight of 1, in thousandths: weights have three decimals.
pub const FULL_WEIGHT: u16 = 1000;

/// Language tags and their weights in thousandths, in the order of the header. `*` and malformed members are left out.
pub fn members(accept_language: &[u8]) -> impl Iterator<Item = (&[u8], u16)> {
    accept_language.split(|&byte| byte == b',').take(MAX_MEMBERS).filter_map(member)
}

/// `de-CH;q=0.9` -> `de-CH`, 900.
fn member(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.splitn(2, |&byte| byte == b';');
    let tag = parts.next()?.trim_ascii();
    let weight = parts.next().map_or(Some(FULL_WEIGHT), weight)?;
    is_tag(tag).then_some((tag, weight))
}

/// Whether this is a language tag: two or three letters, and subtags after `-`, or after `_`, which some applications
/// send.
pub fn is_tag(tag: &[u8]) -> bool {
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
