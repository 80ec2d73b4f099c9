//! A domain's own HTML for its 404, 410 and password pages, one in each language that it has.
//!
//! A template is HTML with placeholders: `{{path}}`, `{{domain}}`, `{{title}}`, and on the password page `{{form}}`. It
//! is checked when the catalog loads: a placeholder stands in text, or in the quoted value of an attribute that is text
//! (`alt`, `title`, `aria-*` and the like), where an escaped value stays what it is. At most [`MAX_PLACEHOLDERS`] of
//! them, each at most [`MAX_VALUE`] bytes of text, bound what a request can make of a template.
//!
//! Scripts never run on these pages: the policy forbids it, so that a form for a password is the edge's alone. What
//! `scan` takes wrongly in markup that no author writes (HTML inside an unclosed `<svg>`) can therefore not run,
//! either.

mod scan;

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;

use super::{FormError, Invalid, NO_REFERRER, Page, document, escape, form, language};
use scan::{Piece, Place};

/// Largest template, in bytes.
pub const MAX_TEMPLATE: usize = 64 * 1024;

/// Most languages of a page.
pub const MAX_LANGUAGES: usize = 32;

/// Most placeholders in a template.
pub const MAX_PLACEHOLDERS: usize = 32;

/// Longest value of a placeholder, in bytes before it is escaped; the rest is cut off.
pub const MAX_VALUE: usize = 512;

const NOT_FOUND: &str = document!(
    "Link not found",
    "<h1>There is no such link.</h1>\n<p>The address may be misspelt, or the link is not active.</p>\n"
);

const GONE: &str = document!(
    "Link expired",
    "<h1>This link has expired.</h1>\n<p>Its owner has ended it, and it leads nowhere any more.</p>\n"
);

/// What a template may load: what its author wrote, and no script.
const TEMPLATE_CSP: &str = "default-src 'none'; style-src 'unsafe-inline' https:; img-src https: data:; \
    font-src https: data:; media-src https:; base-uri 'none'; frame-ancestors 'none'; form-action ";

/// The pages of a domain. [`Pages::default`] are the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    not_found: Option<Templates>,
    gone: Option<Templates>,
    password: Option<Templates>,
    /// Sources of `form-action` besides those that every password page has.
    schemes: String,
}

/// What a page is made for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The path as requested.
    pub path: &'a [u8],
    /// The host, in normal form.
    pub domain: &'a str,
    /// The title of the link, where it has one; otherwise pages have a title of their own.
    pub title: Option<&'a str>,
    /// The header `Accept-Language`.
    pub accept_language: &'a [u8],
}

impl Pages {
    /// Reads `pages` of a domain line: `{"notFound": …, "gone": …, "password": …}`, each HTML, or an object of HTML by
    /// language, whose first is the default. `schemes` are those that destinations of the domain may have besides http
    /// and https.
    ///
    /// # Errors
    /// When a template is unknown, too large, or has a placeholder that is unknown, missing or in the wrong place.
    pub fn parse(pages: &Value, schemes: &[impl AsRef<str>]) -> Result<Self, Invalid> {
        let mut parsed = Self { schemes: form::sources(schemes), ..Self::default() };
        let Value::Object(members) = pages else {
            if pages.is_null() {
                return Ok(parsed);
            }
            let remedy = "write an object, such as {\"notFound\": \"<!DOCTYPE html>…\"}";
            return Err(Invalid::json("pages", pages, remedy));
        };
        for (name, value) in members {
            let field = format!("pages.{name}");
            let (slot, has_form) = match name.as_str() {
                "notFound" => (&mut parsed.not_found, false),
                "gone" => (&mut parsed.gone, false),
                "password" => (&mut parsed.password, true),
                _ => return Err(Invalid::new("pages", name, "unknown page: write `notFound`, `gone` or `password`")),
            };
            *slot = Templates::parse(&field, value, has_form)?;
        }
        Ok(parsed)
    }

    /// The page for a link that is unknown or switched off.
    pub fn not_found(&self, asked: &Asked<'_>) -> Page {
        match &self.not_found {
            Some(templates) => templates.page(asked, "Link not found", "", "'none'"),
            None => Page::own(Bytes::from_static(NOT_FOUND.as_bytes())),
        }
    }

    /// The page for a link that has expired.
    pub fn gone(&self, asked: &Asked<'_>) -> Page {
        match &self.gone {
            Some(templates) => templates.page(asked, "Link expired", "", "'none'"),
            None => Page::own(Bytes::from_static(GONE.as_bytes())),
        }
    }

    /// The page that asks for the password of a link.
    pub fn password(&self, asked: &Asked<'_>, error: Option<FormError>) -> Page {
        let form = form::html(error);
        let sources = format!("{}{}", form::SOURCES, self.schemes);
        match &self.password {
            Some(templates) => templates.page(asked, form::TITLE, &form, &sources),
            None => form::page(&form, &sources),
        }
    }
}

/// A template in each language that it has. The first is the default.
#[derive(Clone, Debug)]
struct Templates(Vec<(Box<str>, Template)>);

impl Templates {
    fn parse(field: &str, value: &Value, has_form: bool) -> Result<Option<Self>, Invalid> {
        match value {
            Value::Null => Ok(None),
            Value::String(html) => Ok(Some(Self(vec![(Box::default(), Template::parse(field, html, has_form)?)]))),
            Value::Object(members) if (1..=MAX_LANGUAGES).contains(&members.len()) => {
                let template = |(tag, html): (&String, &Value)| {
                    if !language::is_tag(tag) {
                        return Err(Invalid::new(field, tag, "no language: write a tag such as `fr` or `pt-BR`"));
                    }
                    let field = format!("{field}.{tag}");
                    let Value::String(html) = html else {
                        return Err(Invalid::json(field, html, "write the HTML of the page as text"));
                    };
                    Ok((tag.as_str().into(), Template::parse(&field, html, has_form)?))
                };
                Ok(Some(Self(members.iter().map(template).collect::<Result<_, _>>()?)))
            }
            Value::Object(members) => {
                let remedy = format!("write between 1 and {MAX_LANGUAGES} languages, such as {{\"en\": \"…\"}}");
                Err(Invalid::new(field, &format!("{} languages", members.len()), remedy))
            }
            _ => Err(Invalid::json(
                field,
                value,
                "write the HTML of the page as text, or an object of it by language, such as {\"en\": \"…\"}",
            )),
        }
    }

    fn page(&self, asked: &Asked<'_>, title: &str, form: &str, form_action: &str) -> Page {
        let chosen = language::choose(self.0.iter().map(|(tag, _)| &**tag), asked.accept_language);
        let path = String::from_utf8_lossy(asked.path);
        let values = Values {
            path: escape::readable(&path, MAX_VALUE),
            domain: escape::readable(asked.domain, MAX_VALUE),
            title: escape::readable(asked.title.unwrap_or(title), MAX_VALUE),
            form,
        };
        let body = self.0.get(chosen).map(|(_, template)| template.render(&values)).unwrap_or_default();
        let csp = HeaderValue::try_from(format!("{TEMPLATE_CSP}{form_action}"));
        // The sources of a form are checked when they are read.
        let csp = csp.unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Page { body: Bytes::from(body), csp, referrer_policy: NO_REFERRER }
    }
}

/// What placeholders stand for.
struct Values<'a> {
    path: Cow<'a, str>,
    domain: Cow<'a, str>,
    title: Cow<'a, str>,
    /// HTML.
    form: &'a str,
}

/// The HTML of a page, parsed.
#[derive(Clone, Debug)]
struct Template {
    html: Box<str>,
    pieces: Box<[Piece]>,
}

impl Template {
    fn parse(field: &str, html: &str, has_form: bool) -> Result<Self, Invalid> {
        if html.len() > MAX_TEMPLATE {
            let remedy = format!("shorten the page to {MAX_TEMPLATE} bytes; images and styles can be elsewhere");
            return Err(Invalid::new(field, &format!("{} bytes", html.len()), remedy));
        }
        if html.trim().is_empty() || html.contains('\0') {
            return Err(Invalid::new(field, html, "write the HTML of a page, without NUL"));
        }
        let pieces = scan::pieces(html).map_err(|problem| Invalid::new(field, problem.value, problem.remedy))?;
        let mut forms = 0;
        for piece in &pieces {
            let Piece::Placeholder { name: scan::Name::Form, place } = piece else { continue };
            if !has_form {
                return Err(Invalid::new(field, "{{form}}", "only the password page has a form: remove it"));
            }
            if *place != Place::Text {
                let remedy = "a form stands in the text of the page, not in an attribute, a title or a text area";
                return Err(Invalid::new(field, "{{form}}", remedy));
            }
            forms += 1;
        }
        if has_form && forms != 1 {
            let remedy = "write {{form}} once, where the form for the password stands";
            return Err(Invalid::new(field, &format!("{{{{form}}}}, {forms} times"), remedy));
        }
        Ok(Self { html: html.into(), pieces: pieces.into() })
    }

    fn render(&self, values: &Values<'_>) -> String {
        let mut out = String::with_capacity(self.html.len() + values.form.len() + MAX_VALUE);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(range) => out.push_str(&self.html[range.clone()]),
                Piece::Placeholder { name, .. } => match name {
                    scan::Name::Path => escape::push(&mut out, &values.path),
                    scan::Name::Domain => escape::push(&mut out, &values.domain),
                    scan::Name::Title => escape::push(&mut out, &values.title),
                    scan::Name::Form => out.push_str(values.form),
                },
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
