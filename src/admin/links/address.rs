//! The routes of the API, and the link or domain that a path names.

use http::Method;
use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};
use crate::link::key::{self, Host};

/// The links of a domain.
pub const LINKS: &str = "/v1/links";

/// Many changes at once.
pub const BATCH: &str = "/v1/links:batch";

/// Domains.
pub const DOMAINS: &str = "/v1/domains/";

/// The description of the API.
pub const OPENAPI: &str = "/v1/openapi.json";

/// What a path leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route<'p> {
    OpenApi,
    List,
    Batch,
    /// The domain, percent-encoded, and what follows, from its slash on.
    Link(&'p str, &'p str),
    /// The domain, percent-encoded.
    Domain(&'p str),
}

impl<'p> Route<'p> {
    /// The route of a path, without its query.
    pub fn of(path: &'p str) -> Option<Self> {
        match path {
            OPENAPI => return Some(Self::OpenApi),
            LINKS => return Some(Self::List),
            BATCH => return Some(Self::Batch),
            _ => {}
        }
        if let Some(domain) = path.strip_prefix(DOMAINS) {
            return (!domain.is_empty() && !domain.contains('/')).then_some(Self::Domain(domain));
        }
        let link = path.strip_prefix(LINKS)?.strip_prefix('/')?;
        let slash = link.find('/').filter(|slash| *slash > 0)?;
        Some(Self::Link(&link[..slash], &link[slash..]))
    }

    /// Its name in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenApi => "openapi",
            Self::List => "list",
            Self::Batch => "batch",
            Self::Link(..) => "link",
            Self::Domain(_) => "domain",
        }
    }

    /// Its methods, as in `Allow`.
    pub fn methods(self) -> &'static str {
        match self {
            Self::OpenApi | Self::List => "GET, HEAD",
            Self::Batch => "POST",
            Self::Link(..) | Self::Domain(_) => "GET, HEAD, PUT, DELETE",
        }
    }

    /// Whether it has a method.
    pub fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// A link or a domain, in normal form: what is changed or read.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Address {
    /// Host of the domain.
    pub host: String,
    /// As the catalog file writes it; `None` for the domain.
    pub slashtag: Option<String>,
}

impl Address {
    /// The link of a route. Its path, percent-decoded once, is the slashtag as in the catalog file, which is
    /// percent-encoded itself: a listed slashtag that a client encodes leads to that very link.
    pub fn link(domain: &str, path: &str) -> Result<Self, Problem> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let slashtag = percent_decode_str(path).decode_utf8();
        let slashtag = slashtag.map_err(|_| bad("the slashtag is not UTF-8: percent-encode UTF-8"))?;
        let slashtag = normal(&slashtag).map_err(|reason| bad(format!("the slashtag is invalid: {reason}")))?;
        Ok(Self { host: host(domain)?, slashtag: Some(slashtag) })
    }

    /// The link that a body names, by its domain and its slashtag as in the catalog file.
    pub fn named(domain: &str, slashtag: &str) -> Result<Self, Problem> {
        let host = Host::parse(domain.trim().as_bytes())
            .map_err(|error| Problem::invalid("domain", format!("`domain`: {error}")))?;
        let slashtag =
            normal(slashtag).map_err(|reason| Problem::invalid("slashtag", format!("`slashtag`: {reason}")))?;
        Ok(Self { host: host.as_str().to_owned(), slashtag: Some(slashtag) })
    }

    /// The domain of a route.
    pub fn domain(domain: &str) -> Result<Self, Problem> {
        Ok(Self { host: host(domain)?, slashtag: None })
    }

    /// What it is.
    pub fn noun(&self) -> &'static str {
        if self.slashtag.is_some() { "link" } else { "domain" }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        self.slashtag.as_ref().map_or(Ok(()), |slashtag| write!(f, "/{slashtag}"))
    }
}

/// A slashtag of a catalog file as one writes it there in normal form.
pub fn normal(slashtag: &str) -> Result<String, String> {
    let normal = key::slashtag(slashtag.as_bytes()).map_err(|error| error.to_string())?;
    match std::str::from_utf8(&normal) {
        Ok(normal) => Ok(written(normal)),
        Err(_) => Err("it is not UTF-8 once it is percent-decoded".into()),
    }
}

/// A slashtag in normal form as a catalog file writes it: reading it there gives the same normal form.
fn written(normal: &str) -> String {
    // Reading decodes it, and takes a slash from each end.
    let mut text = normal.replace('%', "%25");
    if text.starts_with('/') {
        text.insert(0, '/');
    }
    if text.ends_with('/') {
        text.push('/');
    }
    text
}

fn host(domain: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(domain).decode_utf8().map_err(|_| bad("the domain is not UTF-8"))?;
    let host = Host::parse(decoded.as_bytes()).map_err(|error| bad(format!("the domain is invalid: {error}")))?;
    Ok(host.as_str().to_owned())
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_lead_to_routes() {
        let routes = [
            ("/v1/openapi.json", Some(Route::OpenApi)),
            ("/v1/links", Some(Route::List)),
            ("/v1/links:batch", Some(Route::Batch)),
            ("/v1/links/go.brand.com/summer/sale", Some(Route::Link("go.brand.com", "/summer/sale"))),
            ("/v1/links/go.brand.com/", Some(Route::Link("go.brand.com", "/"))),
            ("/v1/links/go.brand.com", None),
            ("/v1/links/", None),
            ("/v1/links//a", None),
            ("/v1/linksa/b/c", None),
            ("/v1/links:batch/", None),
            ("/v1/domains/go.brand.com", Some(Route::Domain("go.brand.com"))),
            ("/v1/domains/", None),
            ("/v1/domains/a/b", None),
        ];
        for (path, route) in routes {
            assert_eq!(Route::of(path), route, "{path}");
        }
        assert!(Route::of("/v1/stats/links/a/b").is_none());
        assert!(Route::Batch.allows(&Method::POST) && !Route::Batch.allows(&Method::GET));
        assert!(Route::List.allows(&Method::HEAD) && !Route::List.allows(&Method::PUT));
    }

    #[test]
    fn a_path_names_a_link_in_normal_form() {
        let cases = [
            ("Go.Brand.com", "/spring", "go.brand.com/spring"),
            ("go.brand.com", "/", "go.brand.com/"),
            ("go.brand.com", "/summer/sale/", "go.brand.com/summer/sale"),
            ("b%C3%BCcher.example", "/caf%C3%A9", "xn--bcher-kva.example/caf\u{e9}"),
            ("go.brand.com", "/a%2Fb%20c", "go.brand.com/a/b c"),
            ("go.brand.com", "/100%25", "go.brand.com/100%25"),
            ("go.brand.com", "/50%25", "go.brand.com/50%25"),
            ("go.brand.com", "/a%252Fb", "go.brand.com/a/b"),
            ("go.brand.com", "/a%25252Fb", "go.brand.com/a%252Fb"),
            ("go.brand.com", "/%2Fa%2F/", "go.brand.com/a//"),
            ("go.brand.com", "///a//", "go.brand.com///a//"),
        ];
        for (domain, path, expected) in cases {
            assert_eq!(Address::link(domain, path).unwrap().to_string(), expected, "{domain}{path}");
        }
        for (domain, path) in [
            ("a b", "/x"),
            ("go.brand.com", "/%00"),
            ("go.brand.com", "/%2500"),
            ("go.brand.com", "/%ff"),
            ("go.brand.com", "/%25ff"),
            ("%ff", "/x"),
        ] {
            assert_eq!(Address::link(domain, path).unwrap_err().kind, Kind::BadRequest, "{domain}{path}");
        }
        assert_eq!(Address::domain("GO.brand.com").unwrap().to_string(), "go.brand.com");
    }

    proptest! {
        #[test]
        fn a_slashtag_of_the_file_that_is_encoded_into_a_path_names_the_same_link(
            slashtag in "[/%a2F5fé é]{0,12}|\\PC{0,20}"
        ) {
            let path = format!("/{}", utf8_percent_encode(&slashtag, NON_ALPHANUMERIC));
            let of_path = Address::link("go.brand.com", &path).ok();
            prop_assert_eq!(of_path, Address::named("go.brand.com", &slashtag).ok(), "{}", path);
        }

        #[test]
        fn a_written_slashtag_is_read_back(path in "[/%a2fé é]{0,12}|\\PC{0,20}") {
            if let Ok(normal) = key::slashtag(path.as_bytes())
                && let Ok(normal) = std::str::from_utf8(&normal)
            {
                let text = written(normal);
                let again = key::slashtag(text.as_bytes()).unwrap();
                prop_assert_eq!(std::str::from_utf8(&again).unwrap(), normal, "{}", text);
            }
        }
    }
}
