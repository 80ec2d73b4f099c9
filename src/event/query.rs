//! Query strings, decoded into `params.query` of the event.
//!
//! A pure function of request bytes, used for the short link and for the destination, by the event and by the detection
//! of attacks. The caller bounds the length of a query (the listener's header limit); this module bounds the pairs.
//! Text that needs no decoding is borrowed.

use std::borrow::Cow;

use crate::event::{Params, Query};

/// Pairs past this many are left out of the event; the redirect then forwards none of them.
pub const MAX_PAIRS: usize = 256;

/// The parameters of a query string (without its `?`); `None` without a pair.
///
/// Names and values are percent-decoded, `+` is a space, and invalid UTF-8 becomes U+FFFD. A malformed escape stays
/// as it is. Pairs are in the order of the query, repeated and empty names included; a name without `=` has the value
/// "".
pub fn parse(query: &[u8]) -> Option<Params<'_>> {
    let has_escapes = memchr::memchr2(b'%', b'+', query).is_some();
    let pairs: Vec<_> = match std::str::from_utf8(query) {
        // Nearly always: plain text, validated as a whole.
        Ok(text) if !has_escapes => {
            plain_pairs(text).map(|(key, value)| (key.into(), value.into())).take(MAX_PAIRS).collect()
        }
        _ => pairs(query).map(|(key, value)| (decode(key), decode(value))).take(MAX_PAIRS).collect(),
    };
    if pairs.is_empty() { None } else { Some(Params { query: Query(pairs) }) }
}

/// The raw pairs of a query, in order; empty ones (`a&&b`) do not count.
pub(crate) fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[][..]),
    })
}

/// [`pairs`] of a text. Splits at bytes: `str::split` costs several times as much for pairs of a few letters.
fn plain_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = query;
    let split = |text: &str, at: u8| text.bytes().position(|byte| byte == at);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let pair;
            (pair, rest) = match split(rest, b'&') {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, ""),
            };
            if !pair.is_empty() {
                return Some(split(pair, b'=').map_or((pair, ""), |at| (&pair[..at], &pair[at + 1..])));
            }
        }
        None
    })
}

/// The bytes of `text` with its escapes decoded and `+` as a space.
pub(crate) fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, tail) = match rest {
            [b'%', high, low, tail @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => (b'%', &rest[1..]),
            },
            [b'+', tail @ ..] => (b' ', tail),
            [byte, tail @ ..] => (*byte, tail),
            [] => return None,
        };
        rest = tail;
        Some(byte)
    })
}

fn decode(text: &[u8]) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return String::from_utf8_lossy(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    bytes.extend(decoded(text));
    let text =
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Cow::Owned(text)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(query: &str) -> String {
        json_of(query.as_bytes())
    }

    fn json_of(query: &[u8]) -> String {
        serde_json::to_string(&parse(query).unwrap().query.0).unwrap()
    }

    #[test]
    fn pairs_keep_the_order_of_the_query() {
        assert_eq!(json("b=1&a=2&b=x&c=3&a=2"), r#"[["b","1"],["a","2"],["b","x"],["c","3"],["a","2"]]"#);
        assert_eq!(json("a%62=1&AB=2&ab=3"), r#"[["ab","1"],["AB","2"],["ab","3"]]"#);
    }

    #[test]
    fn escapes_and_plus_are_decoded() {
        assert_eq!(json("q=spring+sale%20%2B%2f&n=caf%C3%A9"), r#"[["q","spring sale +/"],["n","café"]]"#);
    }

    #[test]
    fn a_malformed_escape_stays_as_it_is() {
        assert_eq!(json("a=100%&b=%zz&c=%4&d=%%41"), r#"[["a","100%"],["b","%zz"],["c","%4"],["d","%A"]]"#);
    }

    #[test]
    fn names_and_values_may_be_empty() {
        assert_eq!(json("flag&b="), r#"[["flag",""],["b",""]]"#);
        assert_eq!(json("=x&=y&="), r#"[["","x"],["","y"],["",""]]"#);
        assert_eq!(json("a=b=c"), r#"[["a","b=c"]]"#);
    }

    #[test]
    fn a_query_without_pairs_has_no_params() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"&&&"), None);
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(json("a=%ff%fe"), "[[\"a\",\"\u{fffd}\u{fffd}\"]]");
        assert_eq!(json_of(b"a=\xc3&b=\xe2\x82"), "[[\"a\",\"\u{fffd}\"],[\"b\",\"\u{fffd}\"]]");
    }

    #[test]
    fn plain_text_is_borrowed() {
        let Params { query: Query(entries) } = parse(b"utm_source=mail&n=caf\xc3\xa9&x=a+b").unwrap();
        let borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
        assert!(entries.iter().all(|(key, _)| borrowed(key)));
        assert_eq!(entries.iter().map(|(_, value)| borrowed(value)).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn pairs_past_the_bound_are_left_out() {
        let query = (0..=MAX_PAIRS).map(|n| format!("k{n}=v&&")).collect::<Vec<_>>().concat();
        let Params { query: Query(entries) } = parse(query.as_bytes()).unwrap();
        assert_eq!(entries.len(), MAX_PAIRS);
        assert_eq!(entries.last().unwrap().0, format!("k{}", MAX_PAIRS - 1));
    }

    proptest! {
        #[test]
        fn no_pair_is_lost(query in prop::collection::vec(
            prop_oneof![3 => prop::sample::select(b"ab&=%+".to_vec()), 1 => any::<u8>()], 0..200,
        )) {
            let count = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).count().min(MAX_PAIRS);
            prop_assert_eq!(parse(&query).map_or(0, |params| params.query.0.len()), count);
        }

        #[test]
        fn encoded_text_comes_back(key: String, value: String) {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
            let query = format!("{}={}", encode(&key), encode(&value));
            let entries = parse(query.as_bytes()).unwrap().query.0;
            prop_assert_eq!(&entries[..], &[(Cow::from(key), Cow::from(value))]);
        }
    }
}
