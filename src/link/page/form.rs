//! The form that asks for the password of a link, and the body that a browser sends for it.
//!
//! The form needs no script. It has no `action`, so that it goes to the address of the page, with its query. Browsers
//! hold `form-action` also against the redirect that follows a form, and the policy must not reveal where the link
//! leads: it allows every address of http and https, and the other schemes of the domain.

use std::{borrow::Cow, fmt::Write, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use super::{NO_REFERRER, OWN_CSP, Page, after_title, before_title, end};

/// Longest body of a form that is read, in bytes.
pub const MAX_BODY: usize = 1024;

/// Name of the field.
const FIELD: &[u8] = b"password";

pub(super) const TITLE: &str = "Password required";

pub(super) const SOURCES: &str = "'self' https: http:";

/// Why the form is there again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormError {
    /// The password is wrong, or the form is without one.
    Wrong,
    /// Too many wrong ones.
    TooMany {
        /// Time until the next try.
        retry_after: Duration,
    },
    /// Too many forms at this moment.
    Busy,
}

/// The password in the body of a form, `application/x-www-form-urlencoded`: `+` is a space, `%XX` a byte. `None` when
/// the body is too long, or has no such field. Of several, the first counts.
pub fn password(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if body.len() > MAX_BODY {
        return None;
    }
    let fields = body.split(|&byte| byte == b'&').filter_map(|field| {
        let at = memchr::memchr(b'=', field)?;
        Some((&field[..at], &field[at + 1..]))
    });
    let value = fields.filter(|(name, _)| *name == FIELD).map(|(_, value)| value).next()?;
    let spaced = Zeroizing::new(value.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect::<Vec<_>>());
    // What borrows has nothing to decode.
    let word = match Cow::from(percent_decode(&spaced)) {
        Cow::Owned(word) => word,
        Cow::Borrowed(word) => word.to_vec(),
    };
    Some(Zeroizing::new(word))
}

/// The form as HTML.
pub(super) fn html(error: Option<FormError>) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("<form method=\"post\" autocomplete=\"off\">\n");
    if let Some(error) = error {
        out.push_str("<p role=\"alert\" id=\"password-error\">");
        match error {
            FormError::Wrong => out.push_str("This password is wrong."),
            FormError::TooMany { retry_after } => {
                let minutes = retry_after.as_secs().div_ceil(60).max(1);
                let unit = if minutes == 1 { "minute" } else { "minutes" };
                let _ = write!(out, "Too many wrong passwords. Try again in {minutes} {unit}.");
            }
            FormError::Busy => out.push_str("The password could not be checked. Try again in a moment."),
        }
        out.push_str("</p>\n");
    }
    let described = if error.is_some() { " aria-describedby=\"password-error\" aria-invalid=\"true\"" } else { "" };
    let _ = write!(
        out,
        "<label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"off\" required autofocus{described}>\n\
         <button type=\"submit\">Continue</button>\n</form>\n"
    );
    out
}

/// The built-in page around a form.
pub(super) fn page(form: &str, sources: &str) -> Page {
    let before =
        concat!(before_title!(), "Password required", after_title!(), "<h1>This link has a password.</h1>\n");
    let body = [before, form, end!()].concat();
    let csp = OWN_CSP.replace("form-action 'none'", &format!("form-action {sources}"));
    let csp = HeaderValue::try_from(csp).unwrap_or(HeaderValue::from_static(OWN_CSP));
    Page { body: Bytes::from(body), csp, referrer_policy: NO_REFERRER }
}

/// Schemes as sources of a policy, each with a space before it. What is no scheme is left out.
pub(super) fn sources(schemes: &[impl AsRef<str>]) -> String {
    let is_scheme = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    };
    schemes.iter().map(AsRef::as_ref).filter(is_scheme).fold(String::new(), |all, name| all + " " + name + ":")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Option<Vec<u8>> {
        password(body.as_bytes()).map(|word| word.to_vec())
    }

    #[test]
    fn a_form_is_decoded() {
        assert_eq!(read("password=secret"), Some(b"secret".to_vec()));
        assert_eq!(read("a=1&password=a+b%20%26%C3%A9%2b&password=x"), Some("a b &é+".as_bytes().to_vec()));
        assert_eq!(read("password="), Some(Vec::new()));
        assert_eq!(read("password=100%"), Some(b"100%".to_vec()));
        assert_eq!(read("password=a=b"), Some(b"a=b".to_vec()));
        for body in ["", "password", "Password=x", "xpassword=x", "pass=word"] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn a_long_form_is_not_read() {
        let word = "x".repeat(MAX_BODY - "password=".len());
        assert_eq!(read(&format!("password={word}")).map(|word| word.len()), Some(word.len()));
        assert_eq!(read(&format!("password={word}x")), None);
    }

    #[test]
    fn schemes_become_sources_and_nothing_else() {
        assert_eq!(sources(&["android", "itms-apps", "a; script-src *", "", "*"]), " android: itms-apps:");
    }

    proptest! {
        #[test]
        fn a_word_arrives_as_it_was_typed(word: Vec<u8>) {
            prop_assume!(word.len() < 300);
            let encoded: String = url::form_urlencoded::byte_serialize(&word).collect();
            prop_assert_eq!(read(&format!("other=1&password={encoded}&b=2")), Some(word));
        }

        #[test]
        fn any_body_is_read_or_not(body: Vec<u8>) {
            let _ = password(&body);
        }
    }
}
