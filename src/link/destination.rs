//! Checks a destination, and writes it as `Location` will have it.
//!
//! An http or https URL is written in its normal form (WHATWG URL). One of another scheme is kept byte for byte, as
//! applications parse theirs in their own ways; only what no header may hold is percent-encoded.

use url::Url;

/// Maximum length of a destination, in bytes. Browsers accept 32 kB and more in `Location`; proxies in front of them
/// often have room for 16 kB of header.
pub const MAX_DESTINATION: usize = 16 * 1024;

/// Schemes that run code in the browser or read files there. No domain can allow them.
const FORBIDDEN: &[&str] = &[
    "about",
    "blob",
    "data",
    "file",
    "filesystem",
    "jar",
    "javascript",
    "livescript",
    "mocha",
    "vbscript",
    "view-source",
];

/// Longest name of a scheme.
const MAX_SCHEME: usize = 64;

/// The schemes besides http and https to which the links of a domain may lead.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Schemes(Box<[Box<str>]>);

impl Schemes {
    /// Takes names of schemes, such as `tel`, with or without the colon.
    ///
    /// # Errors
    /// When one is no name of a scheme (RFC 3986, 3.1), or may not be a destination.
    pub fn parse(names: &[impl AsRef<str>]) -> Result<Self, String> {
        let mut schemes = Vec::new();
        for name in names {
            let name = name.as_ref().trim_end_matches("://").trim_end_matches(':').to_ascii_lowercase();
            if !is_scheme(&name) {
                return Err(format!("{name:?} is no name of a scheme; write it like `tel` or `itms-apps`"));
            }
            if FORBIDDEN.contains(&&*name) {
                return Err(format!("{name:?} is a scheme that runs code or reads files in the browser; remove it"));
            }
            schemes.push(name.into());
        }
        Ok(Self(schemes.into()))
    }

    /// All that no domain is forbidden: for destinations that were checked before.
    pub fn any() -> Self {
        Self([Box::from("*")].into())
    }

    fn has(&self, scheme: &str) -> bool {
        self.0.iter().any(|name| **name == *scheme || **name == *"*")
    }
}

/// Checks a destination, and returns it as `Location` will have it, in ASCII.
///
/// # Errors
/// When it is no absolute URL with a scheme that is allowed, holds a control character, a user name or a password, or
/// is longer than [`MAX_DESTINATION`].
pub fn check(raw: &str, schemes: &Schemes) -> Result<String, String> {
    let (raw, shown) = (raw.trim(), without_user(raw));
    if raw.chars().any(char::is_control) {
        return Err(format!("{shown:?} holds a control character"));
    }
    let url = match scheme(raw) {
        Some(scheme) if !matches!(&*scheme, "http" | "https") => {
            if FORBIDDEN.contains(&&*scheme) {
                return Err(format!("{shown:?} has a scheme that runs code or reads files in the browser"));
            }
            if !schemes.has(&scheme) {
                return Err(format!(
                    "{shown:?} is not http or https; `schemes` of its domain allows others, such as [\"{scheme}\"]"
                ));
            }
            ascii(raw)
        }
        _ => web(raw, shown)?,
    };
    if url.len() > MAX_DESTINATION {
        return Err(format!("is longer than {MAX_DESTINATION} bytes"));
    }
    Ok(url)
}

fn web(raw: &str, shown: &str) -> Result<String, String> {
    let url = Url::parse(raw).map_err(|error| format!("{shown:?}: {error}"))?;
    if !url.has_host() {
        return Err(format!("{shown:?} has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("of {} holds a user name or password", url.host_str().unwrap_or_default()));
    }
    Ok(url.into())
}

/// The scheme in lower case, if the text begins with one.
fn scheme(raw: &str) -> Option<String> {
    let (name, _) = raw.split_once(':')?;
    is_scheme(name).then(|| name.to_ascii_lowercase())
}

fn is_scheme(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= MAX_SCHEME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Percent-encodes what is not visible ASCII.
fn ascii(raw: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(raw.len());
    for byte in raw.bytes() {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// A destination for a message: without anything before the last `@`, which may be a password.
fn without_user(raw: &str) -> &str {
    raw.rsplit_once('@').map_or(raw, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemes() -> Schemes {
        Schemes::parse(&["android", "fb:", "TEL", "mailto", "intent://", "itms-apps", "file2"]).unwrap()
    }

    #[test]
    fn a_web_address_is_written_in_its_normal_form() {
        let url = |raw| check(raw, &Schemes::default()).unwrap();
        assert_eq!(url(" HTTPS://A.example/a b?x=é#top "), "https://a.example/a%20b?x=%C3%A9#top");
        assert_eq!(url("https://bücher.example"), "https://xn--bcher-kva.example/");
        assert_eq!(url(&format!("https://a.example/#{}", "x".repeat(12_000))).len(), 12_019);
    }

    #[test]
    fn other_schemes_are_kept_byte_for_byte_where_the_domain_allows_them() {
        for raw in [
            "android://foo/bar",
            "tel:+15550100",
            "mailto:info@example.com?subject=Hi",
            "intent://scan/#Intent;scheme=zxing;package=com.example;end",
            "fb://profile/33138223345",
            "itms-apps://itunes.apple.com/app/id1?X=%2f",
        ] {
            assert_eq!(check(raw, &schemes()).unwrap(), raw);
            assert!(check(raw, &Schemes::default()).unwrap_err().contains("`schemes` of its domain"), "{raw}");
        }
        assert_eq!(check("tel:1 2\u{e9}", &schemes()).unwrap(), "tel:1%202%C3%A9");
        assert!(check("sms:1", &schemes()).unwrap_err().contains("[\"sms\"]"));
    }

    #[test]
    fn a_scheme_that_runs_code_is_never_allowed() {
        for name in ["javascript", "data:", "VBScript", "file", "blob", "view-source"] {
            assert!(Schemes::parse(&[name]).unwrap_err().contains("runs code"), "{name}");
        }
        for bad in ["", "1tel", "a b", "é"] {
            assert!(Schemes::parse(&[bad]).unwrap_err().contains("no name of a scheme"), "{bad}");
        }
        for raw in
            ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd"]
        {
            assert!(check(raw, &schemes()).unwrap_err().contains("runs code"), "{raw}");
        }
        assert!(check("java\tscript:alert(1)", &schemes()).unwrap_err().contains("control character"));
    }

    #[test]
    fn what_is_no_destination_is_rejected() {
        let error = |raw: &str| check(raw, &schemes()).unwrap_err();
        assert!(error("/relative").contains("relative URL"));
        assert!(error("//a.example/").contains("relative URL"));
        assert!(error("https://").contains("empty host"));
        let secret = error("https://user:hunter2@a.example/");
        assert!(secret.contains("user name or password") && !secret.contains("hunter2"), "{secret}");
        assert!(error(&format!("https://a.example/{}", "x".repeat(MAX_DESTINATION))).contains("longer than"));
    }
}
