//! Splits the destination of a click into the parts that stand in its event.

use super::{Destination, query};

impl<'a> Destination<'a> {
    /// Splits an absolute URL as the catalog writes it: `scheme://host[:port]/path[?query][#fragment]`.
    pub fn split(raw: &'a str) -> Self {
        let (protocol, rest) = raw.split_at(raw.bytes().position(|byte| byte == b':').unwrap_or(0));
        let Some(rest) = rest.strip_prefix("://") else {
            // Such as `tel:+1`: what follows the scheme has no parts that all readers agree on.
            return Self { raw, protocol, hostname: "", path: "", params: None };
        };
        let (rest, _fragment) = cut(rest, b'#');
        let (address, query) = cut(rest, b'?');
        let (host, path) = address.split_at(address.bytes().position(|byte| byte == b'/').unwrap_or(address.len()));
        let port = host.bytes().rev().take_while(u8::is_ascii_digit).count();
        let hostname = host[..host.len() - port].strip_suffix(':').unwrap_or(host);
        Self { raw, protocol, hostname, path, params: query::parse(query.as_bytes()) }
    }
}

/// The parts before and after the first such byte of ASCII.
fn cut(text: &str, at: u8) -> (&str, &str) {
    memchr::memchr(at, text.as_bytes()).map_or((text, ""), |found| (&text[..found], &text[found + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_splits_into_its_parts() {
        let of = |raw| {
            let Destination { protocol, hostname, path, params, .. } = Destination::split(raw);
            (protocol, hostname, path, params.map_or(0, |params| params.query.0.len()))
        };
        assert_eq!(of("https://a.example/p/q?x=1&y=2#z"), ("https", "a.example", "/p/q", 2));
        assert_eq!(of("http://a.example:8080/"), ("http", "a.example", "/", 0));
        assert_eq!(of("https://[2001:db8::1]/p"), ("https", "[2001:db8::1]", "/p", 0));
        assert_eq!(of("https://[2001:db8::1]:81/p"), ("https", "[2001:db8::1]", "/p", 0));
        assert_eq!(of("tel:+15550100"), ("tel", "", "", 0));
        assert_eq!(of("mailto:a@b.example?subject=x"), ("mailto", "", "", 0));
        assert_eq!(of("https://a.example/#a?b"), ("https", "a.example", "/", 0));
    }
}
