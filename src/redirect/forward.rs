//! From the destination of a link and the path and query of a request to `Location`.
//!
//! Order and encoding of what was there stay; repeated keys stay, in order; a replaced key keeps its place; the
//! fragment stays at the end. Keys are compared decoded. The visitor's bytes only ever come behind the destination's
//! path: they cannot change scheme or host, and whatever may not stand in a header is percent-encoded.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode;

use crate::link::{Forward, destination::MAX_DESTINATION, path};

/// Longest `Location` that is built. A longer one would be refused by some browser or proxy on the way; the visitor
/// is then sent to the destination without what was to be added.
pub const MAX_LOCATION: usize = 2 * MAX_DESTINATION;

/// Most pairs that are forwarded, as their keys are compared pair by pair. A query with more is left behind whole.
const MAX_PAIRS: usize = 256;

/// What is added to a destination.
#[derive(Clone, Copy, Default)]
pub struct Additions<'a> {
    /// The raw path behind the slashtag, to append; empty for none.
    pub path: &'a [u8],
    /// The raw query of the short link.
    pub query: &'a [u8],
    pub forward: Forward,
    /// Names of the only keys that are forwarded; all where this is empty. One may end in `*`.
    pub only: &'a [Box<str>],
    /// The parameter for the id of the click, and the id.
    pub click_id: Option<(&'a str, &'a str)>,
}

impl Additions<'_> {
    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        !self.has_query() && self.path.is_empty() && self.click_id.is_none()
    }

    fn has_query(&self) -> bool {
        !self.query.is_empty() && self.forward != Forward::Off
    }

    /// Where a click goes. `destination` is the one in `whole`. One that is not of http or https is sent as it is: its
    /// parts mean what its application makes of them, so that anything added could be taken for its host.
    pub fn location(&self, destination: &str, whole: impl FnOnce() -> Bytes) -> Bytes {
        let is_web = destination.starts_with("https://") || destination.starts_with("http://");
        if self.is_empty() || !is_web {
            return whole();
        }
        let mut base = Cow::Borrowed(destination);
        if !self.path.is_empty() {
            let mut appended = Vec::new();
            path::append(destination, self.path, &mut appended);
            // Never invalid: everything appended is ASCII.
            base = String::from_utf8(appended).unwrap_or_default().into();
        }
        let merged = if self.has_query() || self.click_id.is_some() {
            self.merge(&base)
        } else {
            base.into_owned().into_bytes()
        };
        if merged.len() <= MAX_LOCATION { merged.into() } else { whole() }
    }

    fn merge(&self, destination: &str) -> Vec<u8> {
        let (rest, fragment) = destination.split_at(destination.find('#').unwrap_or(destination.len()));
        let (base, own) = rest.split_once('?').unwrap_or((rest, ""));
        let mut own: Vec<Pair<'_>> = pairs(own.as_bytes()).collect();
        let mut incoming = self.incoming();
        if let Some((name, _)) = self.click_id {
            own.retain(|pair| *pair.key != *name.as_bytes());
            incoming.retain(|pair| *pair.key != *name.as_bytes());
        }
        let mut out = Vec::with_capacity(destination.len() + self.query.len() + 64);
        out.extend_from_slice(base.as_bytes());
        let mut separator = b'?';
        let mut add = |pair: &[u8]| {
            out.push(separator);
            separator = b'&';
            escape(pair, &mut out);
        };
        match self.forward {
            Forward::Off => {
                for pair in &own {
                    add(pair.text);
                }
            }
            Forward::Both => own.iter().chain(&incoming).for_each(|pair| add(pair.text)),
            Forward::Destination => {
                for pair in &own {
                    add(pair.text);
                }
                let is_new = |pair: &&Pair<'_>| !own.iter().any(|other| other.key == pair.key);
                incoming.iter().filter(is_new).for_each(|pair| add(pair.text));
            }
            Forward::Incoming | Forward::Utm => {
                let mut is_placed = vec![false; incoming.len()];
                for pair in &own {
                    let mut replaced = false;
                    for (other, is_placed) in incoming.iter().zip(&mut is_placed) {
                        if other.key == pair.key {
                            replaced = true;
                            if !std::mem::replace(is_placed, true) {
                                add(other.text);
                            }
                        }
                    }
                    if !replaced {
                        add(pair.text);
                    }
                }
                let left = incoming.iter().zip(&is_placed).filter(|(_, is_placed)| !**is_placed);
                left.for_each(|(pair, _)| add(pair.text));
            }
        }
        if let Some((name, id)) = self.click_id {
            add(&[name.as_bytes(), b"=", id.as_bytes()].concat());
        }
        out.extend_from_slice(fragment.as_bytes());
        out
    }

    /// The pairs that are forwarded.
    fn incoming(&self) -> Vec<Pair<'_>> {
        if self.forward == Forward::Off {
            return Vec::new();
        }
        let pairs: Vec<_> = pairs(self.query).filter(|pair| self.forwards(&pair.key)).take(MAX_PAIRS + 1).collect();
        if pairs.len() > MAX_PAIRS { Vec::new() } else { pairs }
    }

    fn forwards(&self, key: &[u8]) -> bool {
        let is_utm = || key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"utm_"));
        let is_named = |name: &str| match name.strip_suffix('*') {
            Some(start) => key.starts_with(start.as_bytes()),
            None => key == name.as_bytes(),
        };
        (self.forward != Forward::Utm || is_utm())
            && (self.only.is_empty() || self.only.iter().any(|name| is_named(name)))
    }
}

/// A part of a query.
struct Pair<'a> {
    text: &'a [u8],
    /// Decoded.
    key: Cow<'a, [u8]>,
}

fn pairs(query: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let texts = query.split(|&byte| byte == b'&').filter(|text| !text.is_empty());
    texts.map(|text| Pair { text, key: key(text) })
}

/// The decoded key of a pair: `+` is a space.
fn key(pair: &[u8]) -> Cow<'_, [u8]> {
    let key = memchr::memchr(b'=', pair).map_or(pair, |at| &pair[..at]);
    if memchr::memchr2(b'%', b'+', key).is_none() {
        return key.into();
    }
    let spaced: Vec<u8> = key.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced).collect::<Vec<_>>().into()
}

/// Copies a pair, percent-encoding what may not stand in a URL's query. What is encoded already stays as it is.
fn escape(pair: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in pair {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'#') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location(destination: &str, additions: Additions<'_>) -> String {
        let whole = || Bytes::copy_from_slice(destination.as_bytes());
        String::from_utf8(additions.location(destination, whole).to_vec()).unwrap()
    }

    fn merged(destination: &str, incoming: &str, forward: Forward) -> String {
        location(destination, Additions { query: incoming.as_bytes(), forward, ..Additions::default() })
    }

    #[test]
    fn a_query_is_added_before_the_fragment() {
        assert_eq!(merged("https://a.example/p", "x=1", Forward::Incoming), "https://a.example/p?x=1");
        assert_eq!(
            merged("https://a.example/p?y=2#top", "x=1", Forward::Incoming),
            "https://a.example/p?y=2&x=1#top"
        );
        assert_eq!(merged("https://a.example/#a?b", "x=1", Forward::Incoming), "https://a.example/?x=1#a?b");
    }

    #[test]
    fn incoming_or_destination_wins_key_by_key() {
        let destination = "https://a.example/?utm_source=site&id=7";
        let incoming = "utm_source=mail&utm_term=x";
        assert_eq!(
            merged(destination, incoming, Forward::Incoming),
            "https://a.example/?utm_source=mail&id=7&utm_term=x"
        );
        assert_eq!(
            merged(destination, incoming, Forward::Destination),
            "https://a.example/?utm_source=site&id=7&utm_term=x"
        );
    }

    #[test]
    fn a_replaced_key_keeps_its_place_and_keys_are_compared_decoded() {
        let merged = |own: &str, query: &str| merged(&format!("https://a.example/?{own}"), query, Forward::Incoming);
        assert_eq!(
            merged("utm_source=x&utm_medium=social", "utm_source=checkly"),
            "https://a.example/?utm_source=checkly&utm_medium=social"
        );
        assert_eq!(merged("some%20key=1&b=2", "some+key=9"), "https://a.example/?some+key=9&b=2");
        assert_eq!(merged("a=0&b=1&a=2", "a=3&c=4&a=5"), "https://a.example/?a=3&a=5&b=1&c=4");
    }

    #[test]
    fn repeated_keys_stay_in_order_and_encoding_is_untouched() {
        assert_eq!(
            merged("https://a.example/", "a=1&b=%2f+x&a=2", Forward::Incoming),
            "https://a.example/?a=1&b=%2f+x&a=2"
        );
        assert_eq!(merged("https://a.example/?%61=0&b", "a=1&&c=", Forward::Incoming), "https://a.example/?a=1&b&c=");
        assert_eq!(merged("https://a.example/?a=1", "a=2", Forward::Both), "https://a.example/?a=1&a=2");
    }

    #[test]
    fn only_some_keys_are_forwarded_where_that_is_configured() {
        assert_eq!(
            merged("https://a.example/?utm_term=o", "x=1&UTM_term=2&utm_term=3&utm=4", Forward::Utm),
            "https://a.example/?utm_term=3&UTM_term=2"
        );
        let only = ["ref".into(), "utm_*".into()];
        let additions = Additions {
            query: b"x=1&%72ef=2&utm_id=3&refs=4",
            forward: Forward::Incoming,
            only: &only,
            ..Additions::default()
        };
        assert_eq!(location("https://a.example/", additions), "https://a.example/?%72ef=2&utm_id=3");
    }

    #[test]
    fn the_id_of_the_click_comes_last_and_is_the_only_one_of_its_name() {
        let additions =
            |query, forward| Additions { query, forward, click_id: Some(("cid", "id-1")), ..Additions::default() };
        assert_eq!(
            location("https://a.example/?cid=own#end", additions(b"", Forward::Off)),
            "https://a.example/?cid=id-1#end"
        );
        assert_eq!(
            location("https://a.example/?a=1", additions(b"c%69d=x&b=2", Forward::Incoming)),
            "https://a.example/?a=1&b=2&cid=id-1"
        );
    }

    #[test]
    fn a_path_is_appended_with_and_without_the_query() {
        let additions = |forward| Additions {
            path: b"something/else-baz",
            query: b"hello=world",
            forward,
            ..Additions::default()
        };
        let destination = "https://www.example.com/foo/bar?some=thing";
        assert_eq!(
            location(destination, additions(Forward::Incoming)),
            "https://www.example.com/foo/bar/something/else-baz?some=thing&hello=world"
        );
        assert_eq!(
            location(destination, additions(Forward::Off)),
            "https://www.example.com/foo/bar/something/else-baz?some=thing"
        );
    }

    #[test]
    fn a_destination_of_another_scheme_is_sent_as_it_is() {
        for destination in ["intent://#Intent;scheme=https;end", "tel:+15550100", "mailto:a@b.example", "myapp://"] {
            let click_id = Some(("cid", "1"));
            let additions =
                Additions { path: b"evil.example", query: b"x=1", forward: Forward::Incoming, click_id, only: &[] };
            assert_eq!(location(destination, additions), destination);
        }
    }

    #[test]
    fn what_may_not_stand_in_a_header_is_encoded() {
        let additions = Additions { query: b"a=\xff\"<\x01 #", forward: Forward::Incoming, ..Additions::default() };
        assert_eq!(location("https://a.example/", additions), "https://a.example/?a=%FF%22%3C%01%20%23");
    }

    #[test]
    fn an_endless_query_is_left_behind() {
        let merged = |query: &str| merged("https://a.example/", query, Forward::Incoming);
        assert_eq!(merged(&"a".repeat(MAX_LOCATION)), "https://a.example/");
        assert!(merged(&"a&".repeat(MAX_PAIRS)).ends_with("&a"));
        assert_eq!(merged(&"a&".repeat(MAX_PAIRS + 1)), "https://a.example/");
    }

    proptest! {
        #[test]
        fn no_query_leaves_the_destinations_host_and_path(query in proptest::collection::vec(any::<u8>(), 0..200)) {
            for forward in [Forward::Incoming, Forward::Destination, Forward::Both, Forward::Utm] {
                let additions = Additions { query: &query, forward, click_id: Some(("id", "1")), ..Additions::default() };
                let merged = location("https://a.example/path?own=1#end", additions);
                let url = url::Url::parse(&merged).unwrap();
                prop_assert_eq!(url.host_str(), Some("a.example"));
                prop_assert_eq!((url.path(), url.fragment()), ("/path", Some("end")));
                prop_assert!(http::HeaderValue::from_str(&merged).is_ok());
                prop_assert!(url.query().unwrap().ends_with("id=1"));
            }
        }
    }
}
