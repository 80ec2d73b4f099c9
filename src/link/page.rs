//! Pages that a link or a domain answers with instead of a redirect, and the files of a domain.
//!
//! | page | for whom | module |
//! |---|---|---|
//! | 404, 410 | anyone who asks for a link that is unknown or over | [`template`] |
//! | password form | people, before the destination of a link with a password | [`form`] |
//! | scripts | people, before the destination of a link with scripts | [`scripts`] |
//! | card | social bots, instead of the destination's own preview | [`card`] |
//! | preview | anyone who adds `+` to a link | [`mod@preview`] |
//!
//! Everything here is made of plain values: templates, scripts, cards and files are parsed and checked when the catalog
//! loads ([`Invalid`] says what is wrong), and a page is rendered in a time that is linear in its size. No byte of a
//! request or of the catalog leaves the place in the HTML that it was put into: texts are escaped (`escape`), and
//! inline scripts are attributes, which a page runs without that the parser sees them as code.
//!
//! Every page has a `Content-Security-Policy` that allows what the page itself has and nothing else. Only the page of
//! scripts runs any, and no page loads anything from elsewhere but what is written in a template.

pub mod card;
pub mod escape;
pub mod files;
pub mod form;
mod invalid;
mod language;
pub mod preview;
pub mod scripts;
pub mod template;

#[cfg(test)]
mod html;

use bytes::Bytes;
use http::HeaderValue;

pub use card::Card;
pub use files::{File, FileFields, Files};
pub use form::FormError;
pub use invalid::Invalid;
pub use preview::preview;
pub use scripts::{Nonce, Scripts};
pub use template::{Asked, Pages};

/// A page, ready to be answered with: HTML in UTF-8, never stored (`Cache-Control: no-store`), never indexed
/// (`X-Robots-Tag: noindex`).
#[derive(Clone, Debug)]
pub struct Page {
    pub body: Bytes,
    /// `Content-Security-Policy`.
    pub csp: HeaderValue,
    /// `Referrer-Policy`.
    pub referrer_policy: HeaderValue,
}

impl Page {
    /// One of our own pages, which has its style and nothing else.
    fn own(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), csp: HeaderValue::from_static(OWN_CSP), referrer_policy: NO_REFERRER }
    }
}

/// A page of a domain: one of its own, or a built-in one.
pub fn of(policy: Option<&super::DomainPolicy>, page: impl FnOnce(&Pages) -> Page) -> Page {
    match policy {
        Some(policy) => page(&policy.pages),
        None => page(&Pages::default()),
    }
}

/// What follows learns nothing about the address of a page.
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

macro_rules! style_hash {
    () => {
        "'sha256-1mD/eMceR2JYThFr4xtHqiupe4mESnD81MnzcH6U100='"
    };
}

/// The hash of the style of our pages, as a source of a policy.
const STYLE_HASH: &str = style_hash!();

/// The policy of our own pages.
const OWN_CSP: &str = concat!(
    "default-src 'none'; style-src ",
    style_hash!(),
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// The style of our own pages, in the colours of the visitor's system, light or dark.
macro_rules! style {
    () => {
        ":root{color-scheme:light dark}\
        body{font:1.125rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:34rem;padding:12vh 1.25rem 3rem}\
        h1{font-size:1.75rem;line-height:1.2;margin:0 0 1rem}\
        a,code{overflow-wrap:anywhere}\
        label{display:block;font-weight:600}\
        input,button{font:inherit;box-sizing:border-box;border:1px solid #767676;border-radius:.375rem;padding:.625rem .75rem}\
        input{width:100%;margin:.25rem 0 1rem}\
        button{background:#1d4ed8;border-color:#1d4ed8;color:#fff;cursor:pointer}\
        :focus-visible{outline:3px solid #60a5fa;outline-offset:2px}\
        [role=alert]{border-left:4px solid #dc2626;padding-left:.75rem}"
    };
}

/// A whole page of ours around a title and a body of literals.
macro_rules! document {
    ($title:literal, $($body:tt)*) => {
        concat!(crate::link::page::before_title!(), $title, crate::link::page::after_title!(), $($body)*,
            crate::link::page::end!())
    };
}

macro_rules! before_title {
    () => {
        concat!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
            <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
            <meta name=\"robots\" content=\"noindex\">\n<style>",
            crate::link::page::style!(),
            "</style>\n<title>"
        )
    };
}

macro_rules! after_title {
    () => {
        "</title>\n</head>\n<body>\n<main>\n"
    };
}

macro_rules! end {
    () => {
        "</main>\n</body>\n</html>\n"
    };
}

pub(crate) use {after_title, before_title, document, end, style};

/// Whether a browser can be sent there from a page: an absolute URL that runs nothing and reads no file, whatever the
/// catalog says.
fn is_destination(url: &str) -> bool {
    let Some((scheme, _)) = url.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let never = ["javascript", "data", "vbscript", "file", "blob", "about", "view-source", "filesystem"];
    is_scheme
        && !never.iter().any(|name| scheme.eq_ignore_ascii_case(name))
        && !url.bytes().any(|byte| byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_of_our_pages_allows_their_style_and_no_other() {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style!()));
        assert!(OWN_CSP.contains(&format!("style-src 'sha256-{hash}'")), "write {hash}");
    }

    #[test]
    fn a_page_leads_to_no_scheme_that_runs_code_or_reads_a_file() {
        for url in ["https://a.example/", "HTTP://a", "tel:+1", "intent://scan/#Intent;end", "itms-apps://x"] {
            assert!(is_destination(url), "{url}");
        }
        for url in [
            "",
            "a",
            "//a.example",
            ":x",
            "javascript:alert(1)",
            "JavaScript:x",
            "java\tscript:x",
            " javascript:x",
            "\u{1}javascript:x",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "https://a.example/\nx",
        ] {
            assert!(!is_destination(url), "{url}");
        }
    }
}
