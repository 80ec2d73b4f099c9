//! Block lists of destinations: domains, and single URLs by their hash.
//!
//! **Domains** (`quality.blocked_domains_file`): one a line; `#` begins a comment, empty lines are skipped. A domain
//! covers everything below it. International names are accepted in either form and compared as A-labels. An IP address
//! stands for itself. The format of hosts files, an address and then names, is accepted, too: the address is ignored,
//! and so are the names of the machine itself at the top of such files ([`LOCAL`]).
//!
//! **URLs** (`quality.blocked_urls_file`): one SHA-256 a line, 64 lower-case hexadecimal digits; `#` begins a comment.
//! Hashed is the destination as in the event (`route.destination.raw`: the WHATWG form, so scheme and host in lower
//! case, international names as A-labels, the default port left out, at least `/` as the path), without `#` and what
//! follows. When it has a query, the hash without `?` and the query is looked up, too, so that an entry without a query
//! covers the URL with any query. A query that the visitor adds to the short link and that is forwarded is part of the
//! destination: an entry with a query matches exactly that one.
//!
//! ```text
//! printf %s 'https://www.example.com/bad?id=7' | sha256sum
//! ```
//!
//! Both are held in memory, about 60 bytes an entry, and read again on `SIGHUP`. A file with one wrong line is rejected
//! as a whole: the start fails; after a failed reload the previous list stays active.

use std::{net::IpAddr, path::Path};

use ahash::RandomState;
use hashbrown::HashSet;
use sha2::{Digest, Sha256};

use crate::{
    files::{
        Reloadable,
        list::{self, ListError},
    },
    link::key::Host,
};

/// Names in hosts files that are not destinations.
pub const LOCAL: [&str; 10] = [
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
];

/// A problem with a value: value, problem, remedy.
type Wrong<'a> = (&'a str, &'static str, &'static str);

/// The current lists; empty until some are published.
#[derive(Default)]
pub struct Destinations {
    pub domains: Reloadable<Domains>,
    pub urls: Reloadable<Urls>,
}

impl Destinations {
    /// Whether a destination, as the catalog and the redirect write it, is on a list.
    pub fn block(&self, url: &[u8]) -> bool {
        self.domains.peek().cover(url) || self.urls.peek().hold(url)
    }
}

/// Blocked domains, and everything below them.
#[derive(Default)]
pub struct Domains(HashSet<Box<[u8]>, RandomState>);

impl Domains {
    /// # Errors
    /// See [`ListError`].
    pub fn read(file: &Path) -> Result<Self, ListError> {
        let mut domains = HashSet::default();
        for_each_line(file, |line| {
            let mut words = line.split_ascii_whitespace();
            let first = words.next().unwrap_or_default();
            let mut rest = words.peekable();
            if rest.peek().is_none() {
                domains.insert(domain(first)?);
            } else if first.parse::<IpAddr>().is_ok() {
                for name in rest.filter(|name| name.parse::<IpAddr>().is_err() && !LOCAL.contains(name)) {
                    domains.insert(domain(name)?);
                }
            } else {
                return Err((line, "is more than one domain", "write one domain a line"));
            }
            Ok(())
        })?;
        Ok(Self(domains))
    }

    /// The number of domains.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the host of a URL, or a domain above it, is blocked.
    fn cover(&self, url: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let host = host(url);
        let mut name = host.strip_suffix(b".").unwrap_or(host);
        while !name.is_empty() {
            if self.0.contains(name) {
                return true;
            }
            name = memchr::memchr(b'.', name).map_or(&[], |at| &name[at + 1..]);
        }
        false
    }
}

/// The domain in the form that a destination has.
fn domain(name: &str) -> Result<Box<[u8]>, Wrong<'_>> {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => return Ok(address.to_string().into_bytes().into()),
        Ok(IpAddr::V6(address)) => return Ok(format!("[{address}]").into_bytes().into()),
        Err(_) => {}
    }
    match Host::parse(name.as_bytes()) {
        Ok(host) if !name.contains(':') => Ok(host.as_bytes().into()),
        _ => Err((
            name,
            "is no domain",
            "write the domain alone, without scheme, port, path or `*.`: it covers everything below it",
        )),
    }
}

/// Hashes of blocked URLs.
#[derive(Default)]
pub struct Urls(HashSet<[u8; 32], RandomState>);

impl Urls {
    /// # Errors
    /// See [`ListError`].
    pub fn read(file: &Path) -> Result<Self, ListError> {
        let mut hashes = HashSet::default();
        for_each_line(file, |line| {
            let remedy = "write 64 lower-case hexadecimal digits, as `sha256sum` does";
            hashes.insert(hash(line).ok_or((line, "is no SHA-256", remedy))?);
            Ok(())
        })?;
        Ok(Self(hashes))
    }

    /// The number of URLs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn hold(&self, url: &[u8]) -> bool {
        let held = |url: &[u8]| self.0.contains(&<[u8; 32]>::from(Sha256::digest(url)));
        let end = memchr::memchr(b'#', url).unwrap_or(url.len());
        let url = &url[..end];
        !self.0.is_empty() && (held(url) || memchr::memchr(b'?', url).is_some_and(|at| held(&url[..at])))
    }
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// Host of an absolute URL in WHATWG form, without the port.
fn host(url: &[u8]) -> &[u8] {
    let rest = memchr::memmem::find(url, b"://").map_or(url, |at| &url[at + 3..]);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let host = &rest[..end];
    match memchr::memrchr(b':', host) {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    }
}

/// Calls `take` with each entry.
fn for_each_line(file: &Path, mut take: impl FnMut(&str) -> Result<(), Wrong<'_>>) -> Result<(), ListError> {
    for (number, line) in list::lines(&list::read(file)?) {
        take(line).map_err(|(value, problem, remedy)| ListError::value(file, number, value, problem, remedy))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
