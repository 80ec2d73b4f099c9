//! Query forwarding: from a link's destination and the query on the short link to `Location`.
//!
//! Order and encoding of what was there stay; repeated keys stay, in order; the fragment stays at the end. Keys are
//! compared decoded. The visitor's bytes only ever come behind the destination's `?`: they cannot change scheme,
//! host or path, and whatever may not stand in a header is percent-encoded.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode;

use crate::{
    catalog::{Link, compile::MAX_DESTINATION},
    link::Forward,
};

/// Longest `Location` that is built. A longer one would be refused by some browser or proxy on the way; the visitor
/// is then sent to the destination without the forwarded query.
pub const MAX_LOCATION: usize = 2 * MAX_DESTINATION;

/// Most pairs that are forwarded, as their keys are compared pair by pair. A query with more is left behind whole.
const MAX_PAIRS: usize = 256;

/// Where a click on `link` with this query goes.
pub fn location(link: &Link<'_>, query: &[u8]) -> Bytes {
    if query.is_empty() || link.forward() == Forward::Off {
        return link.destination_bytes();
    }
    match merge(link.destination(), query, link.forward()) {
        Some(merged) => merged.into(),
        None => link.destination_bytes(),
    }
}

/// `None` when nothing is to be added, or the result would be too long.
fn merge(destination: &str, incoming: &[u8], policy: Forward) -> Option<Vec<u8>> {
    let (rest, fragment) = destination.split_at(destination.find('#').unwrap_or(destination.len()));
    let (base, own) = rest.split_once('?').unwrap_or((rest, ""));
    let own: Vec<&[u8]> = pairs(own.as_bytes()).collect();
    let incoming: Vec<&[u8]> = pairs(incoming).take(MAX_PAIRS + 1).collect();
    if incoming.len() > MAX_PAIRS {
        return None;
    }
    let (keep, add): (Vec<&[u8]>, Vec<&[u8]>) = match policy {
        Forward::Off => return None,
        Forward::Incoming => (without(own, &incoming), incoming),
        Forward::Destination => (own.clone(), without(incoming, &own)),
    };
    let mut merged = Vec::with_capacity(destination.len() + 2 + add.iter().map(|pair| pair.len() + 1).sum::<usize>());
    merged.extend_from_slice(base.as_bytes());
    let mut separator = b'?';
    for pair in keep.into_iter().chain(add) {
        merged.push(separator);
        separator = b'&';
        escape(pair, &mut merged);
    }
    merged.extend_from_slice(fragment.as_bytes());
    (merged.len() <= MAX_LOCATION).then_some(merged)
}

fn pairs(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty())
}

/// The pairs whose key none of `others` has.
fn without<'a>(pairs: Vec<&'a [u8]>, others: &[&[u8]]) -> Vec<&'a [u8]> {
    let taken: Vec<_> = others.iter().map(|pair| key(pair)).collect();
    pairs.into_iter().filter(|pair| !taken.contains(&key(pair))).collect()
}

fn key(pair: &[u8]) -> Cow<'_, [u8]> {
    let key = memchr::memchr(b'=', pair).map_or(pair, |at| &pair[..at]);
    if memchr::memchr(b'%', key).is_some() { percent_decode(key).into() } else { Cow::Borrowed(key) }
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

    fn merged(destination: &str, incoming: &str, policy: Forward) -> String {
        String::from_utf8(merge(destination, incoming.as_bytes(), policy).unwrap()).unwrap()
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
            "https://a.example/?id=7&utm_source=mail&utm_term=x"
        );
        assert_eq!(
            merged(destination, incoming, Forward::Destination),
            "https://a.example/?utm_source=site&id=7&utm_term=x"
        );
    }

    #[test]
    fn repeated_keys_stay_in_order_and_encoding_is_untouched() {
        assert_eq!(
            merged("https://a.example/", "a=1&b=%2f+x&a=2", Forward::Incoming),
            "https://a.example/?a=1&b=%2f+x&a=2"
        );
        assert_eq!(merged("https://a.example/?%61=0&b", "a=1&&c=", Forward::Incoming), "https://a.example/?b&a=1&c=");
    }

    #[test]
    fn what_may_not_stand_in_a_header_is_encoded() {
        let merged = merge("https://a.example/", b"a=\xff\"<\x01 #", Forward::Incoming).unwrap();
        assert_eq!(merged, b"https://a.example/?a=%FF%22%3C%01%20%23");
    }

    #[test]
    fn an_endless_query_is_left_behind() {
        assert!(merge("https://a.example/", &[b'a'; MAX_LOCATION], Forward::Incoming).is_none());
        assert!(merge("https://a.example/", "a&".repeat(MAX_PAIRS).as_bytes(), Forward::Incoming).is_some());
        assert!(merge("https://a.example/", "a&".repeat(MAX_PAIRS + 1).as_bytes(), Forward::Incoming).is_none());
    }

    proptest! {
        #[test]
        fn no_query_leaves_the_destinations_host_and_path(query in proptest::collection::vec(any::<u8>(), 0..200)) {
            for policy in [Forward::Incoming, Forward::Destination] {
                let merged = merge("https://a.example/path?own=1#end", &query, policy).unwrap();
                let url = url::Url::parse(std::str::from_utf8(&merged).unwrap()).unwrap();
                prop_assert_eq!(url.host_str(), Some("a.example"));
                prop_assert_eq!((url.path(), url.fragment()), ("/path", Some("end")));
                prop_assert!(http::HeaderValue::from_bytes(&merged).is_ok());
            }
        }
    }
}
