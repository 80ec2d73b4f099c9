//! The normal form of a short link: host as a lower-case A-label, slashtag decoded and composed.
//!
//! The keys of the catalog and the paths of requests pass through the same functions, so that they match. The common
//! case (plain ASCII) is copied into the caller's buffer and allocates nothing.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use unicode_normalization::UnicodeNormalization;

/// Maximum length of a host name in DNS, in bytes.
pub const MAX_HOST: usize = 253;

/// Maximum length of the slashtag of a link, and of a path that is looked up, in bytes.
pub const MAX_SLASHTAG: usize = 4096;

/// Why a host or a path cannot be that of a branded link.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadKey {
    /// The host is empty.
    #[error("the host is empty")]
    EmptyHost,
    /// The host is not a valid name.
    #[error("the host is not a valid domain name")]
    InvalidHost,
    /// The path holds a control character, plain or percent-encoded.
    #[error("the path holds a control character")]
    ControlCharacter,
    /// The path is longer than [`MAX_SLASHTAG`].
    #[error("the path is longer than {MAX_SLASHTAG} bytes")]
    TooLong,
}

/// A host in normal form: lower-case A-label, no port, no trailing dot.
pub struct Host {
    bytes: [u8; MAX_HOST],
    len: u8,
}

impl Host {
    /// Reads a `Host` header or an authority. Port and one trailing dot are dropped.
    ///
    /// # Errors
    /// When it is empty, too long, or not a domain name.
    pub fn parse(raw: &[u8]) -> Result<Self, BadKey> {
        let name = strip_port(raw)?;
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() {
            return Err(BadKey::EmptyHost);
        }
        if !name.is_ascii() {
            let text = std::str::from_utf8(name).map_err(|_| BadKey::InvalidHost)?;
            let ascii = idna::domain_to_ascii(text).map_err(|_| BadKey::InvalidHost)?;
            return Self::from_ascii(ascii.as_bytes());
        }
        Self::from_ascii(name)
    }

    fn from_ascii(name: &[u8]) -> Result<Self, BadKey> {
        if name.is_empty() || name.len() > MAX_HOST {
            return Err(BadKey::InvalidHost);
        }
        let mut bytes = [0; MAX_HOST];
        let mut label = 0;
        for (to, &from) in bytes.iter_mut().zip(name) {
            *to = match from {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => from,
                b'A'..=b'Z' => from.to_ascii_lowercase(),
                b'.' if label > 0 => b'.',
                _ => return Err(BadKey::InvalidHost),
            };
            label = if from == b'.' { 0 } else { label + 1 };
            if label > 63 {
                return Err(BadKey::InvalidHost);
            }
        }
        if label == 0 {
            return Err(BadKey::InvalidHost);
        }
        Ok(Self { bytes, len: name.len() as u8 })
    }

    /// The host name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The host name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Drops `:port`. A bracketed IPv6 address is a valid host, but never a domain: it keeps its brackets and is rejected.
fn strip_port(raw: &[u8]) -> Result<&[u8], BadKey> {
    match memchr::memrchr(b':', raw) {
        None => Ok(raw),
        Some(at) if is_port(&raw[at + 1..]) => Ok(&raw[..at]),
        Some(_) => Err(BadKey::InvalidHost),
    }
}

/// Whether these bytes are a port, or none after its colon (RFC 3986, 3.2.3).
fn is_port(digits: &[u8]) -> bool {
    let number = || digits.iter().try_fold(0_u16, |n, digit| n.checked_mul(10)?.checked_add(u16::from(digit - b'0')));
    digits.iter().all(u8::is_ascii_digit) && number().is_some()
}

/// The normal form of a request path or of a link's slashtag: percent-decoded, Unicode composed (NFC), without
/// variation selectors, the leading slash and one trailing slash. Bytes that are not UTF-8 are kept as they are: they
/// match no link.
///
/// # Errors
/// When it is too long or holds a control character.
pub fn slashtag(path: &[u8]) -> Result<Cow<'_, [u8]>, BadKey> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    // Percent-encoding makes three bytes of one.
    if path.len() > 3 * MAX_SLASHTAG {
        return Err(BadKey::TooLong);
    }
    let plain = path.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'%');
    let decoded: Cow<'_, [u8]> = if plain { Cow::Borrowed(path) } else { decode(path)? };
    if decoded.len() > MAX_SLASHTAG {
        return Err(BadKey::TooLong);
    }
    Ok(match decoded {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.strip_suffix(b"/").unwrap_or(bytes)),
        Cow::Owned(mut bytes) => {
            if bytes.last() == Some(&b'/') {
                bytes.pop();
            }
            Cow::Owned(bytes)
        }
    })
}

fn decode(path: &[u8]) -> Result<Cow<'_, [u8]>, BadKey> {
    let decoded: Cow<'_, [u8]> = percent_decode(path).into();
    let composed = match std::str::from_utf8(&decoded) {
        Ok(text) if text.chars().any(char::is_control) => return Err(BadKey::ControlCharacter),
        Ok(text) if text.is_ascii() => return Ok(decoded),
        // An emoji is the same with and without a selector of how to draw it.
        Ok(text) => text.nfc().filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}')).collect::<String>().into_bytes(),
        Err(_) if decoded.iter().any(u8::is_ascii_control) => return Err(BadKey::ControlCharacter),
        Err(_) => return Ok(decoded),
    };
    Ok(Cow::Owned(composed))
}

/// A slashtag without the punctuation and invisible characters at its end that a text around a link leaves there;
/// `None` when it has none, or consists of them.
pub fn without_punctuation(slashtag: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(slashtag).ok()?;
    let trimmed = text.trim_end_matches(|c: char| {
        matches!(
            c,
            '.' | ',' | ';' | ':' | '!' | '?' | ')' | ']' | '}' | '>' | '"' | '\'' | '`' | '*' | '_' | '~' | '|'
        ) || matches!(
            c,
            '\u{bb}' | '\u{2018}'..='\u{201f}' | '\u{2026}' | '\u{203a}' | '\u{3001}' | '\u{3002}' | '\u{300d}'
        ) || matches!(c, '\u{ff01}' | '\u{ff09}' | '\u{ff0c}' | '\u{ff0e}' | '\u{ff1a}' | '\u{ff1b}' | '\u{ff1f}')
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}')
            || c.is_whitespace()
    });
    (trimmed.len() < text.len() && !trimmed.is_empty()).then_some(trimmed.as_bytes())
}

/// Folds the case of a slashtag, for domains on which `/Spring` and `/spring` are one link.
pub fn fold_case(slashtag: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if !slashtag.iter().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        return slashtag;
    }
    match std::str::from_utf8(&slashtag) {
        Ok(text) => Cow::Owned(text.to_lowercase().nfc().collect::<String>().into_bytes()),
        Err(_) => slashtag,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(raw: &str) -> Result<String, BadKey> {
        Host::parse(raw.as_bytes()).map(|host| host.as_str().to_owned())
    }

    #[test]
    fn a_host_becomes_a_lower_case_a_label_without_port_and_dot() {
        assert_eq!(host("Go.Brand.COM").unwrap(), "go.brand.com");
        assert_eq!(host("go.brand.com:8080").unwrap(), "go.brand.com");
        assert_eq!(host("go.brand.com.").unwrap(), "go.brand.com");
        assert_eq!(host("bücher.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(host("BÜCHER.example:443").unwrap(), "xn--bcher-kva.example");
        assert_eq!(host("127.0.0.1:80").unwrap(), "127.0.0.1");
        assert_eq!([host("a:").unwrap(), host("a:65535").unwrap()], ["a", "a"]);
    }

    #[test]
    fn what_is_not_a_host_is_rejected() {
        for bad in [
            "", ".", ":80", "a b", "a/b", "a..b", "a..", ".a", "a@b", "[::1]", "[::1]:80", "a:b", "a:65536", "a\0",
            "a%41",
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
        assert!(host(&"a".repeat(64)).is_err());
        assert!(host(&"a.".repeat(127)).is_ok());
        assert!(host(&"a.".repeat(128)).is_err());
    }

    fn tag(path: &str) -> String {
        String::from_utf8(slashtag(path.as_bytes()).unwrap().into_owned()).unwrap()
    }

    #[test]
    fn a_slashtag_is_decoded_composed_and_loses_one_trailing_slash() {
        assert_eq!(tag("/spring"), "spring");
        assert_eq!(tag("/spring/"), "spring");
        assert_eq!(tag("/spring//"), "spring/");
        assert_eq!(tag("/summer/sale"), "summer/sale");
        assert_eq!(tag("/caf%C3%A9"), "café");
        assert_eq!(tag("/cafe%CC%81"), "café");
        assert_eq!(tag("/a%20b"), "a b");
        assert_eq!(tag("/50%"), "50%");
        assert_eq!(tag("/"), "");
    }

    #[test]
    fn control_characters_and_long_paths_are_rejected() {
        for bad in ["/a%00", "/a%0d%0ab", "/%7f", "/a\u{1}", "/a%C2%85"] {
            assert_eq!(slashtag(bad.as_bytes()).unwrap_err(), BadKey::ControlCharacter, "{bad:?}");
        }
        assert_eq!(slashtag(&[b'a'; MAX_SLASHTAG + 1]).unwrap_err(), BadKey::TooLong);
        assert_eq!(slashtag("%41".repeat(MAX_SLASHTAG).as_bytes()).unwrap(), vec![b'A'; MAX_SLASHTAG]);
    }

    #[test]
    fn an_emoji_is_the_same_with_and_without_a_selector() {
        assert_eq!(tag("/%E2%9D%A4%EF%B8%8F"), "\u{2764}");
        assert_eq!(tag("/%E2%9D%A4"), tag("/\u{2764}\u{fe0e}"));
    }

    #[test]
    fn punctuation_at_the_end_goes() {
        let trimmed =
            |text: &'static str| without_punctuation(text.as_bytes()).map(|text| std::str::from_utf8(text).unwrap());
        for pasted in [
            "spring.",
            "spring,",
            "spring)",
            "spring\"",
            "spring\u{200b}",
            "spring\u{201d}).",
            "spring ",
            "spring\u{3002}",
        ] {
            assert_eq!(trimmed(pasted), Some("spring"), "{pasted:?}");
        }
        for kept in ["spring", "", "...", "v1.2", "spring-"] {
            assert_eq!(trimmed(kept), None, "{kept:?}");
        }
    }

    #[test]
    fn case_folds_beyond_ascii() {
        assert_eq!(fold_case(Cow::Borrowed("ÉTÉ".as_bytes())), "été".as_bytes());
        assert!(matches!(fold_case(Cow::Borrowed(b"spring")), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Host::parse(&bytes);
            if let Ok(tag) = slashtag(&bytes) {
                let _ = fold_case(tag);
            }
        }

        #[test]
        fn a_parsed_host_parses_to_itself(raw in "[a-zA-Z0-9.:-]{1,40}") {
            if let Ok(host) = Host::parse(raw.as_bytes()) {
                let again = Host::parse(host.as_bytes()).unwrap();
                prop_assert_eq!(again.as_bytes(), host.as_bytes());
            }
        }
    }
}
