//! The answer to a request: status, headers and body as plain values, whichever adapter writes them.
//!
//! Values that all answers share are made once ([`Answers`]); an answer clones references to them. The order of the
//! headers is fixed here ([`Answer::each_header`]), so that every adapter writes the same.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::metrics::Outcome;
use crate::{
    config,
    event::Reason,
    link::page::{File, Page},
};

const NO_STORE: HeaderValue = HeaderValue::from_static("private, no-store");
/// Files of a domain change rarely, and programs ask for them often.
const FILE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const NOTHING: HeaderValue = HeaderValue::from_static("0");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
const NO_INDEX: HeaderValue = HeaderValue::from_static("noindex");

/// The page for a blocked request; no byte of it comes from the request.
const BLOCKED: &str = "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Blocked</title>\n\
    <h1>This request was blocked</h1>\n\
    <p>It looks like an attack or like automated traffic, so this link was not followed.</p>\n</html>\n";

/// The page for a link whose destination is on a block list.
const BLOCKED_DESTINATION: &str = "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Blocked</title>\n\
    <h1>This link was not followed</h1>\n\
    <p>Its destination is on a block list, because it may be harmful.</p>\n</html>\n";

/// Most headers of an answer, without `Date` and `Connection`, which the server adds, and those of a hook.
pub const MAX_HEADERS: usize = 9;

/// What every answer shares.
pub struct Answers {
    permanent: HeaderValue,
}

/// An answer, ready to be written.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    pub status: u16,
    /// Empty for an answer to `HEAD`, whose `Content-Length` is that of the `GET`.
    pub body: Bytes,
    /// Whether the connection is closed after it.
    pub close: bool,
    /// What it counts as.
    pub outcome: Outcome,
    location: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
    cache_control: HeaderValue,
    content_length: HeaderValue,
    allow: bool,
    hsts: Option<HeaderValue>,
    no_index: bool,
    page: Option<Box<RareHeaders>>,
}

/// Headers that few answers have.
#[derive(Debug, Default)]
pub struct RareHeaders {
    /// `Content-Security-Policy`
    pub content_security_policy: Option<HeaderValue>,
    /// `Referrer-Policy`
    pub referrer_policy: Option<HeaderValue>,
    /// `Retry-After`
    pub retry_after: Option<HeaderValue>,
    /// Those of a hook.
    more: Vec<(HeaderName, HeaderValue)>,
}

/// How a header is put into an answer.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Put {
    /// In place of all others of its name.
    Alone,
    /// Next to those that were put before.
    More,
}

impl Answers {
    pub fn new(config: &config::Redirect) -> Self {
        let who = match config.permanent_cache {
            config::Cache::Private => "private",
            config::Cache::Public => "public",
        };
        let permanent = format!("{who}, max-age={}", config.permanent_max_age_secs);
        Self { permanent: HeaderValue::try_from(permanent).unwrap_or(NO_STORE) }
    }

    /// A redirect. 301 and 308 may be stored for the configured time, the others never. `None` when the location
    /// cannot be a header value, which the catalog rules out.
    pub fn redirect(&self, status: u16, location: Bytes) -> Option<Answer> {
        let location = HeaderValue::from_maybe_shared(location).ok()?;
        let cache_control = if matches!(status, 301 | 308) { self.permanent.clone() } else { NO_STORE };
        Some(Answer {
            status,
            body: Bytes::new(),
            close: false,
            outcome: Outcome::Redirect,
            location: Some(location),
            content_type: None,
            cache_control,
            content_length: NOTHING,
            allow: false,
            hsts: None,
            no_index: false,
            page: None,
        })
    }

    /// A redirect to a fallback, which is never stored.
    pub fn fallback(&self, location: Bytes) -> Option<Answer> {
        Some(Answer { outcome: Outcome::Fallback, ..self.redirect(302, location)? })
    }

    /// A page, which is never stored and never listed by search engines.
    pub fn page(&self, status: u16, outcome: Outcome, page: Page) -> Answer {
        let headers = RareHeaders {
            content_security_policy: Some(page.csp),
            referrer_policy: Some(page.referrer_policy),
            ..RareHeaders::default()
        };
        Answer {
            content_length: HeaderValue::from(page.body.len()),
            body: page.body,
            content_type: Some(HTML),
            no_index: true,
            page: Some(Box::new(headers)),
            ..plain(status, outcome, "")
        }
    }

    /// A file of a domain, which may be stored for a while. `None` when a redirect to it cannot be a header value.
    pub fn file(&self, file: &File) -> Option<Answer> {
        match file {
            File::Redirect(location) => {
                Some(Answer { outcome: Outcome::File, ..self.redirect(302, location.clone())? })
            }
            File::Body { content_type, body, csp } => {
                let headers = RareHeaders { content_security_policy: csp.clone(), ..RareHeaders::default() };
                Some(Answer {
                    content_length: HeaderValue::from(body.len()),
                    body: body.clone(),
                    content_type: Some(content_type.clone()),
                    cache_control: FILE,
                    page: Some(Box::new(headers)),
                    ..plain(200, Outcome::File, "")
                })
            }
        }
    }

    pub fn not_found(&self) -> Answer {
        plain(404, Outcome::NotFound, "There is no such link.\n")
    }

    pub fn gone(&self) -> Answer {
        plain(410, Outcome::Gone, "This link has expired.\n")
    }

    pub fn method_not_allowed(&self) -> Answer {
        Answer { allow: true, ..plain(405, Outcome::MethodNotAllowed, "Links are for GET and HEAD.\n") }
    }

    /// For a click that `quality.block` blocks.
    pub fn blocked(&self, reason: Reason) -> Answer {
        let is_destination = reason == Reason::BlockedDestination;
        let page = if is_destination { BLOCKED_DESTINATION } else { BLOCKED };
        Answer { content_type: Some(HTML), ..plain(403, Outcome::Blocked, page) }
    }

    /// In place of what a hook has vetoed.
    pub(super) fn vetoed(status: u16, content_type: HeaderValue, body: Bytes) -> Answer {
        Answer {
            content_length: HeaderValue::from(body.len()),
            content_type: Some(content_type),
            body,
            ..plain(status, Outcome::Vetoed, "")
        }
    }

    pub fn bad_request(&self) -> Answer {
        Answer { close: true, ..plain(400, Outcome::BadRequest, "The request cannot be understood.\n") }
    }

    /// For a request that is malformed, or beyond a limit.
    pub fn malformed(&self, status: u16) -> Answer {
        let (outcome, body) = match status {
            414 => (Outcome::TooLarge, "The address is too long.\n"),
            431 => (Outcome::TooLarge, "The header is too long.\n"),
            501 => (Outcome::BadRequest, "This transfer coding is not known.\n"),
            505 => (Outcome::BadRequest, "This version of HTTP is not known.\n"),
            _ => return self.bad_request(),
        };
        Answer { close: true, ..plain(status, outcome, body) }
    }

    /// For a client that makes more requests than it may.
    pub fn too_many(&self) -> Answer {
        Answer { close: true, ..plain(429, Outcome::TooMany, "Too many requests.\n") }
    }

    /// For a host that another certificate covers than that of the connection.
    pub fn misdirected(&self) -> Answer {
        plain(421, Outcome::Misdirected, "This host has a connection of its own.\n")
    }

    /// For `OPTIONS *`, which asks what the server can do.
    pub fn options(&self) -> Answer {
        Answer { allow: true, ..plain(200, Outcome::Options, "") }
    }

    /// A redirect to the same address over HTTPS. `None` when the location cannot be a header value.
    pub fn https(&self, location: Bytes) -> Option<Answer> {
        Some(Answer { outcome: Outcome::Https, ..self.redirect(301, location)? })
    }
}

impl Answer {
    /// Without its body, for a `HEAD`.
    pub fn without_body(self) -> Self {
        Self { body: Bytes::new(), ..self }
    }

    /// With this policy of HSTS, for an answer over TLS.
    pub fn with_hsts(self, hsts: Option<&HeaderValue>) -> Self {
        Self { hsts: hsts.cloned(), ..self }
    }

    /// For an answer that is right for this visitor only, and only now.
    pub fn never_stored(self) -> Self {
        Self { cache_control: NO_STORE, ..self }
    }

    /// With the time until the next try, in seconds.
    pub fn with_retry_after(mut self, secs: u64) -> Self {
        self.page.get_or_insert_default().retry_after = Some(HeaderValue::from(secs));
        self
    }

    /// For a link that search engines may not list.
    pub fn without_index(self) -> Self {
        Self { no_index: true, ..self }
    }

    /// Where a redirect leads.
    pub(super) fn location(&self) -> Option<&HeaderValue> {
        self.location.as_ref()
    }

    /// Puts a header of a hook into the answer.
    pub(super) fn put(&mut self, name: HeaderName, value: HeaderValue, put: Put) {
        let rare = self.page.get_or_insert_default();
        match name {
            header::CACHE_CONTROL => return self.cache_control = value,
            header::STRICT_TRANSPORT_SECURITY => return self.hsts = Some(value),
            header::CONTENT_TYPE if self.location.is_none() => return self.content_type = Some(value),
            header::ALLOW => self.allow = false,
            _ if name == ROBOTS => self.no_index = false,
            header::CONTENT_SECURITY_POLICY => rare.content_security_policy = None,
            header::REFERRER_POLICY => rare.referrer_policy = None,
            header::RETRY_AFTER => rare.retry_after = None,
            _ => {}
        }
        if put == Put::Alone {
            rare.more.retain(|(other, _)| *other != name);
        }
        rare.more.push((name, value));
    }

    /// Calls `write` with each header, in the order in which they are written: at most [`MAX_HEADERS`], and those
    /// of a hook, of which one name may come several times.
    pub fn each_header<E>(self, mut write: impl FnMut(HeaderName, HeaderValue) -> Result<(), E>) -> Result<(), E> {
        if let Some(location) = self.location {
            write(header::LOCATION, location)?;
        } else if let Some(kind) = self.content_type {
            write(header::CONTENT_TYPE, kind)?;
        }
        write(header::CACHE_CONTROL, self.cache_control)?;
        write(header::CONTENT_LENGTH, self.content_length)?;
        if self.allow {
            write(header::ALLOW, ALLOWED)?;
        }
        if let Some(hsts) = self.hsts {
            write(header::STRICT_TRANSPORT_SECURITY, hsts)?;
        }
        if self.no_index {
            write(ROBOTS, NO_INDEX)?;
        }
        self.page.map_or(Ok(()), |page| page.each_header(write))
    }
}

impl RareHeaders {
    fn each_header<E>(self, mut write: impl FnMut(HeaderName, HeaderValue) -> Result<(), E>) -> Result<(), E> {
        if let Some(policy) = self.content_security_policy {
            write(header::CONTENT_SECURITY_POLICY, policy)?;
        }
        if let Some(policy) = self.referrer_policy {
            write(header::REFERRER_POLICY, policy)?;
        }
        if let Some(after) = self.retry_after {
            write(header::RETRY_AFTER, after)?;
        }
        self.more.into_iter().try_for_each(|(name, value)| write(name, value))
    }
}

fn plain(status: u16, outcome: Outcome, body: &'static str) -> Answer {
    Answer {
        status,
        body: Bytes::from_static(body.as_bytes()),
        close: false,
        outcome,
        location: None,
        content_type: Some(PLAIN),
        cache_control: NO_STORE,
        content_length: HeaderValue::from(body.len()),
        allow: false,
        hsts: None,
        no_index: false,
        page: None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn names(answer: Answer) -> Vec<(String, String)> {
        let mut names = Vec::new();
        let add = |name: HeaderName, value: HeaderValue| {
            names.push((name.to_string(), value.to_str().unwrap().to_owned()));
            Ok::<(), Infallible>(())
        };
        let Ok(()) = answer.each_header(add);
        names
    }

    #[test]
    fn a_redirect_is_stored_only_when_it_is_permanent() {
        let answers = Answers::new(&config::Redirect { permanent_max_age_secs: 7, ..config::Redirect::default() });
        let cache = |status| {
            let answer = answers.redirect(status, Bytes::from_static(b"https://a.example/")).unwrap();
            names(answer)[1].1.clone()
        };
        assert_eq!([cache(302), cache(307)], ["private, no-store", "private, no-store"]);
        assert_eq!([cache(301), cache(308)], ["private, max-age=7", "private, max-age=7"]);
        assert!(answers.redirect(302, Bytes::from_static(b"a\nb")).is_none());
    }

    #[test]
    fn the_answer_to_a_head_has_the_length_of_the_body_that_it_lacks() {
        let answers = Answers::new(&config::Redirect::default());
        let hsts = HeaderValue::from_static("max-age=1");
        let answer = answers.method_not_allowed().with_hsts(Some(&hsts)).without_body();
        assert_eq!(answer.body, "");
        let headers = names(answer);
        assert_eq!(headers[2], ("content-length".into(), "28".into()));
        assert_eq!(headers[3], ("allow".into(), "GET, HEAD".into()));
        assert_eq!(headers[4], ("strict-transport-security".into(), "max-age=1".into()));
        assert_eq!(headers.len(), 5);
    }
}
