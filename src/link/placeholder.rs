//! Addresses with placeholders, for fallbacks: `https://www.example.com/{path}?from={domain}`.
//!
//! A placeholder stands in the path, the query or the fragment, never in scheme or host, and what fills it is encoded
//! for its place, so that no byte of a request changes where a fallback leads.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::{
    destination::{self, Schemes},
    path,
};

/// What is not encoded in a query or fragment.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Stands for a placeholder while the address is checked; followed by the letter of its name.
const MARK: &str = "clickedge-placeholder-";

/// Maximum number of placeholders.
const MAX_PLACEHOLDERS: usize = 8;

/// An address that may have placeholders.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// What comes before the first placeholder.
    start: Bytes,
    /// Each placeholder, with the text that follows it.
    rest: Box<[(Placeholder, Box<str>)]>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Placeholder {
    name: Name,
    /// Whether it stands in the path.
    in_path: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Name {
    Path,
    Domain,
}

/// What fills the placeholders of an address.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// The raw path of the request.
    pub path: &'a [u8],
    /// The host of the request.
    pub domain: &'a str,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is no destination (see [`destination::check`]), when a placeholder is unknown, or when one could change
    /// scheme or host.
    pub fn parse(raw: &str, schemes: &Schemes) -> Result<Self, String> {
        let mut marked = String::new();
        let mut rest = raw;
        let mut names = Vec::new();
        while let Some((text, tail)) = rest.split_once('{') {
            let (name, tail) =
                tail.split_once('}').ok_or_else(|| format!("{raw:?} has `{{` without `}}`; {REMEDY}"))?;
            names.push(match name {
                "path" => Name::Path,
                "domain" => Name::Domain,
                _ => return Err(format!("{raw:?} has the unknown placeholder `{{{name}}}`; {REMEDY}")),
            });
            marked += text;
            marked += MARK;
            rest = tail;
        }
        marked += rest;
        if names.len() > MAX_PLACEHOLDERS {
            return Err(format!("{raw:?} has more than {MAX_PLACEHOLDERS} placeholders"));
        }
        let url = destination::check(&marked, schemes).map_err(|error| error.replace(MARK, "{…}"))?;
        if url.matches(MARK).count() != names.len() || !names.is_empty() && !is_behind_host(&url) {
            return Err(format!("{raw:?} has a placeholder in scheme or host; {REMEDY}"));
        }
        let mut parts = url.split(MARK);
        let start = parts.next().unwrap_or_default();
        let mut in_path = !start.contains(['?', '#']);
        let mut rest = Vec::new();
        for (name, text) in names.into_iter().zip(parts) {
            rest.push((Placeholder { name, in_path }, text.into()));
            in_path &= !text.contains(['?', '#']);
        }
        Ok(Self { start: Bytes::copy_from_slice(start.as_bytes()), rest: rest.into() })
    }

    /// The address with its placeholders filled.
    pub fn fill(&self, values: Values<'_>) -> Bytes {
        if self.rest.is_empty() {
            return self.start.clone();
        }
        let mut out = self.start.to_vec();
        for (placeholder, text) in &self.rest {
            placeholder.fill(values, &mut out);
            out.extend_from_slice(text.as_bytes());
        }
        out.into()
    }

    /// The address as far as it is always the same.
    pub fn start(&self) -> &str {
        std::str::from_utf8(&self.start).unwrap_or_default()
    }

    /// Whether it has placeholders.
    pub fn is_template(&self) -> bool {
        !self.rest.is_empty()
    }
}

const REMEDY: &str = "`{path}` and `{domain}` can stand behind the first slash after the host; write other braces as \
                      %7B and %7D";

impl Placeholder {
    fn fill(self, values: Values<'_>, out: &mut Vec<u8>) {
        match (self.name, self.in_path) {
            (Name::Path, true) => {
                let mut segments = Vec::new();
                path::segments(values.path, &mut segments);
                out.extend_from_slice(&segments);
            }
            (Name::Path, false) => {
                let path = values.path.strip_prefix(b"/").unwrap_or(values.path);
                let decoded: Vec<u8> = percent_decode(path).collect();
                out.extend(percent_encode(&decoded, VALUE).flat_map(str::bytes));
            }
            (Name::Domain, _) => out.extend_from_slice(values.domain.as_bytes()),
        }
    }
}

/// Whether scheme and host end before the first placeholder.
fn is_behind_host(url: &str) -> bool {
    let Some((start, _)) = url.split_once(MARK) else { return true };
    let is_web = start.starts_with("https://") || start.starts_with("http://");
    is_web && start.splitn(4, '/').count() == 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(raw: &str, path: &str) -> String {
        let address = Address::parse(raw, &Schemes::default()).unwrap();
        let filled = address.fill(Values { path: path.as_bytes(), domain: "go.brand.com" });
        String::from_utf8(filled.to_vec()).unwrap()
    }

    #[test]
    fn placeholders_are_filled_for_their_place() {
        let raw = "https://www.example.com/{path}?from={domain}";
        assert_eq!(fill(raw, "/a%20b/c"), "https://www.example.com/a%20b/c?from=go.brand.com");
        assert_eq!(fill("https://www.example.com/404", "/a"), "https://www.example.com/404");
        assert_eq!(
            fill("https://a.example/x?p={path}&d={domain}#{path}", "/a%26b=1/é"),
            "https://a.example/x?p=a%26b%3D1/%C3%A9&d=go.brand.com#a%26b%3D1/%C3%A9"
        );
        assert_eq!(fill("https://a.example/x/{path}/y", "/../../z"), "https://a.example/x/z/y");
        assert_eq!(fill("https://a.example/{domain}/", "/"), "https://a.example/go.brand.com/");
    }

    #[test]
    fn what_could_change_the_host_is_rejected() {
        for raw in [
            "https://{domain}/",
            "https://a.example{path}",
            "https://{path}.a.example/",
            "{path}",
            "https://a.example:{path}/",
            "{path}://a.example/",
        ] {
            assert!(Address::parse(raw, &Schemes::default()).is_err(), "{raw}");
        }
        let error = |raw| Address::parse(raw, &Schemes::default()).unwrap_err();
        assert!(error("https://a.example/{slug}").contains("`{slug}`"));
        assert!(error("https://a.example/{path").contains("without `}`"));
        assert_eq!(fill("https://a.example?{path}", "/x"), "https://a.example/?x");
        assert!(Address::parse("tel:1", &Schemes::parse(&["tel"]).unwrap()).is_ok());
        assert!(Address::parse("tel:{path}", &Schemes::parse(&["tel"]).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn no_path_changes_where_a_fallback_leads(path in proptest::collection::vec(any::<u8>(), 0..100)) {
            let address = Address::parse("https://a.example/p/{path}?q={path}#{path}", &Schemes::default()).unwrap();
            let filled = address.fill(Values { path: &path, domain: "go.brand.com" });
            let url = url::Url::parse(std::str::from_utf8(&filled).unwrap()).unwrap();
            prop_assert_eq!((url.host_str(), url.port()), (Some("a.example"), None));
            prop_assert!(url.path().starts_with("/p/"));
            prop_assert_eq!(url.query_pairs().count(), 1);
        }
    }
}
