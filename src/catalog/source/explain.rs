//! Explains why an item of the file is not what it should be: in words that name the field, its value and the remedy.

use serde::Deserialize;
use serde_json::Value;

/// Longest item whose field is looked for.
const MAX_LOCATED: usize = 64 * 1024;

/// Most fields or elements of one value that are tried.
const MAX_TRIED: usize = 64;

/// Longest part of a value in a message, in characters.
const MAX_SHOWN: usize = 80;

/// The reason of bytes that are no text.
pub const NOT_UTF_8: &str = "the line is not text in UTF-8";

/// Why a text is no `T`. `error` is what the parser reports.
pub fn reason<T>(text: &[u8], error: &serde_json::Error) -> String
where
    T: for<'de> Deserialize<'de>,
{
    if is_utf_16(text) || text.contains(&0) {
        return "the line holds NUL bytes, as text in UTF-16 does; write the file in UTF-8".into();
    }
    let Ok(text) = std::str::from_utf8(text) else { return NOT_UTF_8.into() };
    if !text.starts_with('{') {
        return foreign(text);
    }
    if !error.is_data() {
        return syntax(error);
    }
    let message = without_position(error);
    if let Some(field) = message.strip_prefix("duplicate field ") {
        return format!("the field {field} is there twice");
    }
    let value = if text.len() > MAX_LOCATED { None } else { serde_json::from_str(text).ok() };
    let Some(value) = value else { return message };
    located::<T>(&value).unwrap_or(message)
}

/// The field that is to blame, if it is one: reasons begin with it, in backticks.
pub fn field(reason: &str) -> Option<String> {
    reason.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(field, _)| field.to_owned())
}

/// Whether a text looks like UTF-16: a mark, or a 0 among its first two bytes. A tail of zeros is not: a crash leaves
/// it in a file that was being written.
pub fn is_utf_16(text: &[u8]) -> bool {
    text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) || text.iter().take(2).any(|byte| *byte == 0)
}

/// A text that begins as no object does.
fn foreign(text: &str) -> String {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return format!("it is {}; expected a JSON object", shown("", &value));
    }
    let what = match text.as_bytes() {
        [b'<', ..] => "; it looks like HTML or XML, such as an error page",
        _ if text.contains([',', ';', '\t', '|']) => {
            "; if the file is CSV, convert it: `clickedge catalog import --from csv FILE`"
        }
        _ => "",
    };
    format!("it is no JSON object, it begins with {:?}{what}", excerpt(text, 40))
}

fn syntax(error: &serde_json::Error) -> String {
    let message = without_position(error);
    // Within an element of several lines, the position counts from where it begins.
    let line = if error.line() > 1 { format!("of its line {} ", error.line()) } else { String::new() };
    format!("it is not valid JSON at character {} {line}: {message}", error.column()).replace(" :", ":")
}

/// What the parser reports, without the position, which counts within the item.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or_else(|| text.clone(), |end| text[..end].to_owned())
}

/// Names the field that is wrong: the one without which the error would be another.
fn located<T: for<'de> Deserialize<'de>>(root: &Value) -> Option<String> {
    let error = |root: &Value| T::deserialize(root).err().map(|error| error.to_string());
    let message = error(root)?;
    let mut path = Vec::new();
    loop {
        let here = at(root, &path)?;
        let parts: Vec<Part> = match here {
            Value::Object(map) if map.len() <= MAX_TRIED => map.keys().cloned().map(Part::Name).collect(),
            Value::Array(list) if list.len() <= MAX_TRIED => (0..list.len()).map(Part::Number).collect(),
            _ => Vec::new(),
        };
        let wrong = parts.into_iter().find(|part| {
            let mut without = root.clone();
            remove(&mut without, &path, part);
            let other = error(&without);
            // Without a field that must be there, that one is missing first.
            let misses_it = part.is_named_in(other.as_deref()) && message.starts_with("missing field");
            other.as_ref() != Some(&message) && !misses_it
        });
        let Some(wrong) = wrong else { break };
        path.push(wrong);
    }
    let value = at(root, &path)?;
    Some(words(&name(&path), value, &message))
}

/// A step into a value.
enum Part {
    Name(String),
    Number(usize),
}

impl Part {
    /// Whether an error is that this field is missing.
    fn is_named_in(&self, error: Option<&str>) -> bool {
        let name = error.and_then(|error| error.strip_prefix("missing field `")?.strip_suffix('`'));
        matches!((self, name), (Self::Name(own), Some(missing)) if own == missing)
    }
}

fn at<'a>(root: &'a Value, path: &[Part]) -> Option<&'a Value> {
    path.iter().try_fold(root, |value, part| match part {
        Part::Name(name) => value.get(name),
        Part::Number(number) => value.get(number),
    })
}

fn remove(root: &mut Value, path: &[Part], part: &Part) {
    let parent = path.iter().try_fold(root, |value, part| match part {
        Part::Name(name) => value.get_mut(name),
        Part::Number(number) => value.get_mut(number),
    });
    match (parent, part) {
        (Some(Value::Object(map)), Part::Name(name)) => _ = map.remove(name),
        (Some(Value::Array(list)), Part::Number(number)) => _ = list.remove(*number),
        _ => {}
    }
}

/// `rules[2].when.os`.
fn name(path: &[Part]) -> String {
    let mut name = String::new();
    for part in path {
        match part {
            Part::Name(field) if name.is_empty() => name.push_str(field),
            Part::Name(field) => name = format!("{name}.{field}"),
            Part::Number(number) => name = format!("{name}[{number}]"),
        }
    }
    name
}

fn words(name: &str, value: &Value, message: &str) -> String {
    let lacks = message.strip_prefix("missing field ");
    let unknown = message.strip_prefix("unknown field ");
    match (lacks, unknown) {
        (Some(field), _) if name.is_empty() => return format!("the field {field} is missing"),
        (Some(field), _) => return format!("`{name}` lacks the field {field}"),
        (_, Some(field)) => return format!("`{name}` has the unknown field {}", field.replacen(", ", "; ", 1)),
        _ => {}
    }
    let expected =
        message.strip_prefix("expected ").or_else(|| message.split_once(", expected ").map(|parts| parts.1));
    match expected {
        Some(expected) if name.is_empty() => format!("it is {}; expected {expected}", shown(name, value)),
        Some(expected) => format!("`{name}` is {}; expected {expected}", shown(name, value)),
        None if name.is_empty() => message.to_owned(),
        None => format!("`{name}`: {message}"),
    }
}

/// A value for a message: short, and without what may be secret.
fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "an array".into(),
        _ if name.to_ascii_lowercase().contains("password") => "not shown".into(),
        // What stands before an `@` may be a password.
        Value::String(text) => format!("{:?}", excerpt(text.rsplit('@').next().unwrap_or_default(), MAX_SHOWN)),
        other => excerpt(&other.to_string(), MAX_SHOWN),
    }
}

fn excerpt(text: &str, length: usize) -> String {
    let mut chars = text.chars();
    let mut excerpt: String = chars.by_ref().take(length).collect();
    if chars.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::entity::LinkEntity;

    fn of(text: &str) -> String {
        let error = serde_json::from_str::<LinkEntity>(text).err().expect("a bad link");
        reason::<LinkEntity>(text.as_bytes(), &error)
    }

    /// The reason why a link is bad that has this in addition.
    fn with(fields: &str) -> String {
        of(&format!(
            r#"{{"id":"x","slashtag":"x","destination":"https://a.example/","domain":{{"fullName":"a.b"}},{fields}}}"#
        ))
    }

    #[test]
    fn the_field_and_its_value_are_named() {
        assert_eq!(with(r#""httpStatus":"3O2""#), r#"`httpStatus` is "3O2"; expected a whole number"#);
        assert_eq!(with(r#""httpStatus":-302"#), "`httpStatus` is -302; expected a whole number");
        assert_eq!(with(r#""workspace":{"id":{"x":1}},"workspace":7"#), "the field `workspace` is there twice");
        let forward = with(r#""forwardParameters":"sometimes""#);
        assert!(forward.starts_with("`forwardParameters` is \"sometimes\"; expected one of `off`"), "{forward}");
        assert_eq!(
            of(r#"{"id":["x"],"slashtag":"x","destination":"x","domain":"a.b"}"#),
            "`id` is an array; expected a text"
        );
        assert_eq!(of(r#"{"slashtag":"x"}"#), "the field `id` is missing");
        assert_eq!(of(r#"{"id":"x","destination":"x"}"#), "the field `slashtag` is missing");
        assert!(
            of(r#"{"id":1,"slashtag":"x","destination":"x","domain":{}}"#)
                .starts_with("`domain` is an object; expected an object with `fullName`")
        );
        assert_eq!(
            of(r#"{"id":1,"slashtag":"x","destination":7,"domain":"a.b"}"#),
            "`destination` is 7; expected a string"
        );
    }

    #[test]
    fn text_that_is_no_object_is_described() {
        assert!(of("id,slashtag,destination").ends_with("`clickedge catalog import --from csv FILE`"));
        assert!(of("<html>").contains("looks like HTML"));
        assert_eq!(of("\"no link\""), "it is \"no link\"; expected a JSON object");
        assert_eq!(of("[1]"), "it is an array; expected a JSON object");
        assert_eq!(of("{\"id\": }"), "it is not valid JSON at character 8: expected value");
        assert_eq!(of("{\n\"id\": }"), "it is not valid JSON at character 7 of its line 2: expected value");
        assert!(of("{\0\"\0").contains("UTF-16"));
    }

    #[test]
    fn a_message_is_short_and_shows_no_password() {
        assert!(with(&format!(r#""httpStatus":"{}""#, "9".repeat(500))).len() < 150);
        assert!(!with(r#""httpStatus":"user:secret@host""#).contains("secret"));
    }
}
