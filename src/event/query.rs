//! Query strings, decoded into `params.query` of the event.
//!
//! A pure function of request bytes, used for the short link and for the destination, by the event and by the detection
//! of attacks. The caller bounds the length of a query (the listener's header limit); this module bounds the pairs.
//! Text that needs no decoding is borrowed.
//!
//! A hostile query cannot make the search for repeated keys expensive: a few pairs are compared one by one, more
//! through a randomly keyed hash.

use std::borrow::Cow;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::event::{Params, Query};

/// Pairs past this many are left out of the event; the redirect then forwards none of them.
pub const MAX_PAIRS: usize = 256;

/// Up to this many pairs are compared one by one.
const FEW: usize = 16;

/// The parameters of a query string (without its `?`); `None` without a pair.
///
/// Keys and values are percent-decoded, `+` is a space, and invalid UTF-8 becomes U+FFFD. A malformed escape stays
/// as it is. Keys are in order of first appearance, with their values in order; a key without `=` has the value "".
pub fn parse<'a>(query: &'a [u8]) -> Option<Params<'a>> {
    let has_escapes = memchr::memchr2(b'%', b'+', query).is_some();
    let pairs: Vec<_> = match std::str::from_utf8(query) {
        // Nearly always: plain text, validated as a whole.
        Ok(text) if !has_escapes => {
            let pairs = text.split('&').filter(|pair| !pair.is_empty());
            let split = |pair: &'a str| match pair.bytes().position(|byte| byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, ""),
            };
            pairs.map(split).map(|(key, value)| (key.into(), value.into())).take(MAX_PAIRS).collect()
        }
        _ => pairs(query).map(|(key, value)| (decode(key), decode(value))).take(MAX_PAIRS).collect(),
    };
    (!pairs.is_empty()).then(|| Params { query: Query(grouped(pairs)) })
}

/// Brings the pairs of one key together, after its first.
fn grouped<'a>(pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let stood_before = |at: usize| pairs[..at].iter().any(|(key, _)| *key == pairs[at].0);
    if pairs.len() <= FEW && !(1..pairs.len()).any(stood_before) {
        return pairs;
    }
    let mut places: HashMap<Cow<'_, str>, usize, RandomState> = HashMap::default();
    let place = |pair: (Cow<'a, str>, Cow<'a, str>)| {
        let next = places.len();
        (*places.entry(pair.0.clone()).or_insert(next), pair)
    };
    let mut placed: Vec<_> = pairs.into_iter().map(place).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, pair)| pair).collect()
}

/// The raw pairs of a query, in order; empty ones (`a&&b`) do not count.
pub(crate) fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[][..]),
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
        let Some(Params { query }) = parse(query) else { return String::new() };
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let entries = query.entries();
        let entries = entries
            .map(|(key, values)| format!("{}:[{}]", text(key), values.map(text).collect::<Vec<_>>().join(",")));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn keys_keep_the_order_of_their_first_appearance() {
        assert_eq!(json("b=1&a=2&c=3"), r#"{"b":["1"],"a":["2"],"c":["3"]}"#);
    }

    #[test]
    fn a_repeated_key_keeps_every_value_in_order() {
        assert_eq!(json("a=1&b=x&a=2&a=1"), r#"{"a":["1","2","1"],"b":["x"]}"#);
    }

    #[test]
    fn keys_are_compared_as_decoded() {
        assert_eq!(json("a%62=1&ab=2&%61%62=3"), r#"{"ab":["1","2","3"]}"#);
        assert_eq!(json("a=1&A=2"), r#"{"a":["1"],"A":["2"]}"#);
    }

    #[test]
    fn escapes_and_plus_are_decoded() {
        assert_eq!(json("q=spring+sale%20%2B%2f&n=caf%C3%A9"), r#"{"q":["spring sale +/"],"n":["café"]}"#);
    }

    #[test]
    fn a_malformed_escape_stays_as_it_is() {
        assert_eq!(json("a=100%&b=%zz&c=%4&d=%%41"), r#"{"a":["100%"],"b":["%zz"],"c":["%4"],"d":["%A"]}"#);
    }

    #[test]
    fn a_key_without_a_value_has_the_empty_one() {
        assert_eq!(json("flag&b="), r#"{"flag":[""],"b":[""]}"#);
        assert_eq!(json("=x&=y"), r#"{"":["x","y"]}"#);
        assert_eq!(json("a=b=c"), r#"{"a":["b=c"]}"#);
    }

    #[test]
    fn a_query_without_pairs_has_no_params() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"&&&"), None);
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(json("a=%ff%fe"), "{\"a\":[\"\u{fffd}\u{fffd}\"]}");
        assert_eq!(json_of(b"a=\xc3&b=\xe2\x82"), "{\"a\":[\"\u{fffd}\"],\"b\":[\"\u{fffd}\"]}");
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
        fn no_pair_is_lost_and_no_key_is_repeated(query in prop::collection::vec(
            prop_oneof![3 => prop::sample::select(b"ab&=%+".to_vec()), 1 => any::<u8>()], 0..200,
        )) {
            let count = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).count().min(MAX_PAIRS);
            let query = parse(&query).map(|params| params.query).unwrap_or_default();
            let entries: Vec<(&str, Vec<&str>)> = query.entries().map(|(key, values)| (key, values.collect())).collect();
            prop_assert_eq!(entries.iter().map(|(_, values)| values.len()).sum::<usize>(), count);
            for (at, (key, values)) in entries.iter().enumerate() {
                prop_assert!(!values.is_empty());
                prop_assert!(entries[..at].iter().all(|(other, _)| other != key));
            }
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
