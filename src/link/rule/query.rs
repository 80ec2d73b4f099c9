//! The condition `query`: parameters of the short link.
//!
//! Names and values are compared decoded, as a form encodes them: `+` is a space. A name that the visitor sends several
//! times counts with each of its values.

use serde_json::Value;

use super::{super::field::Field, MAX_VALUES};

/// Most parameters of one condition.
const MAX_PARAMETERS: usize = 20;

/// Longest name or value, in bytes.
const MAX_TEXT: usize = 1024;

/// Pairs of a request's query that are compared.
const MAX_PAIRS: usize = 256;

/// Parameters that must all be there.
#[derive(Clone, Debug)]
pub(super) struct Query(Box<[Parameter]>);

#[derive(Clone, Debug)]
struct Parameter {
    name: Box<str>,
    value: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    /// With or without a value.
    Any,
    /// One of these; an empty one is no value.
    OneOf(Box<[Box<str>]>),
}

impl Query {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        const REMEDY: &str = "write parameters, such as {\"utm_source\": \"mail\"}; null is any value, \"\" no value";
        let members = field.object(REMEDY)?;
        match members.len() {
            0 => return Err(field.is_bad(REMEDY)),
            1..=MAX_PARAMETERS => {}
            many => {
                return Err(field.problem(&format!("has {many} parameters; at most {MAX_PARAMETERS} are possible")));
            }
        }
        let parameter = |(name, value): (&String, _)| {
            let field = field.member(name, value);
            if name.is_empty() || name.len() > MAX_TEXT {
                return Err(field.problem(&format!("needs a name of 1 to {MAX_TEXT} bytes")));
            }
            let value = if value.is_null() { Wanted::Any } else { Wanted::OneOf(values(&field, REMEDY)?) };
            Ok(Parameter { name: name.as_str().into(), value })
        };
        members.iter().map(parameter).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn holds(&self, query: &[u8]) -> bool {
        self.0.iter().all(|parameter| pairs(query).any(|(name, value)| parameter.is(name, value)))
    }
}

impl Parameter {
    fn is(&self, name: &[u8], value: &[u8]) -> bool {
        is_text(name, &self.name)
            && match &self.value {
                Wanted::Any => true,
                Wanted::OneOf(values) => values.iter().any(|wanted| is_text(value, wanted)),
            }
    }
}

fn values(field: &Field<'_>, remedy: &str) -> Result<Box<[Box<str>]>, String> {
    let value = |field: Field<'_>| match field.value() {
        Value::String(text) if text.len() <= MAX_TEXT => Ok(text.as_str().into()),
        Value::String(text) => {
            Err(field.problem(&format!("has {} bytes; at most {MAX_TEXT} are possible", text.len())))
        }
        Value::Number(number) => Err(field.is_bad(&format!("write it as text: \"{number}\""))),
        _ => Err(field.is_bad(remedy)),
    };
    field.values(MAX_VALUES, remedy)?.into_iter().map(value).collect()
}

/// Names and values, still encoded.
fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).take(MAX_PAIRS);
    pairs.map(|pair| memchr::memchr(b'=', pair).map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..])))
}

/// Whether encoded bytes are this text.
fn is_text(encoded: &[u8], text: &str) -> bool {
    // A byte is encoded as one or three.
    encoded.len() >= text.len() && encoded.len() <= 3 * text.len() && decoded(encoded).eq(text.bytes())
}

fn decoded(encoded: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if first == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            rest = after;
            return Some((high * 16 + low) as u8);
        }
        Some(if first == b'+' { b' ' } else { first })
    })
}
