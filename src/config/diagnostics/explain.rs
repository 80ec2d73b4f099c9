//! Translates errors of the parser into messages with a remedy.
//!
//! The parser's messages are recognised by their fixed beginnings. An unknown message is passed on unchanged, so that a
//! new version of the parser loses no information.

use toml::de::{DeTable, Error};

use super::locate;

/// An error of the parser in the operator's words.
pub(super) struct Explanation {
    /// What is wrong.
    pub(super) message: String,
    /// How to fix it.
    pub(super) remedy: String,
    /// The key whose value the file does not give: for an unknown key, the known one that it is close to, or nothing.
    pub(super) key: String,
    /// Whether the file has a key that does not exist.
    pub(super) is_unknown_key: bool,
}

/// Explains an error of types or keys.
pub(super) fn explain(error: &Error, root: &DeTable, text: &str) -> Explanation {
    let message = error.message();
    let span = error.span().unwrap_or(0..0);
    let written = text.get(span.clone()).unwrap_or_default();
    let owner = locate::owner_of_key_at(root, &span);
    let key = locate::value_at(root, &span).or_else(|| owner.clone()).unwrap_or_default();

    if let Some((unknown, known)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        return unknown_key(unknown, owner.as_deref(), &ticked(known));
    }
    if let Some((unknown, known)) =
        message.strip_prefix("unexpected keys in table: ").and_then(|rest| rest.split_once(", available keys: "))
    {
        return unknown_key(unknown, owner.as_deref(), &known.split(", ").collect::<Vec<_>>());
    }
    if let Some((unknown, known)) = message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once('`')) {
        // A choice is a value, or the only key of a table that is the value.
        let key = if written == unknown { owner.unwrap_or_default() } else { key };
        let message = format!("{}cannot be {unknown:?}", subject_of(&key));
        return wrong(key, message, suggestion(unknown, &ticked(known)));
    }
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let subject = if key.is_empty() { "the file ".to_owned() } else { subject_of(&key) };
        let remedy = format!("add `{missing} = ...` here");
        return wrong(below(&key, missing), format!("{subject}lacks `{missing}`"), remedy);
    }
    if message.starts_with("invalid type: unit variant") {
        let choice = written.trim_matches(['"', '\'']);
        let remedy = format!("write it with its settings, `{{ {choice} = {{ ... }} }}`");
        let message = format!("{}needs settings for {choice:?}", subject_of(&key));
        return wrong(key, message, remedy);
    }
    let (message, remedy) = wrong_value(message, written, &subject_of(&key));
    wrong(key, message, remedy.to_owned())
}

/// Message and remedy for a text that is not TOML.
pub(super) fn syntax(error: &Error, text: &str) -> (String, String) {
    let message = error.message();
    if message == "duplicate key" {
        let written = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        return (format!("`{written}` is set a second time"), "keep one of the two".into());
    }
    (format!("this is not TOML: {message}"), "correct the syntax here".into())
}

fn wrong_value(message: &str, written: &str, subject: &str) -> (String, &'static str) {
    if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let (kind, remedy) = expectation(expected);
        return (format!("{subject}must be {kind}, is {}", finding(found)), remedy);
    }
    if message.starts_with("wanted exactly 1 element") || message == "wanted string or table" {
        return (format!("{subject}must hold exactly one choice"), "keep one, see `clickedge generate config`");
    }
    let (wanted, remedy) = match message {
        "invalid socket address syntax" => {
            ("must be an IP address and a port", "write it like `127.0.0.1:8080` or `[::1]:8080`")
        }
        "invalid IP address syntax" => ("must be a network", "write it like `10.0.0.0/8` or `fd00::/8`"),
        _ => return (format!("{subject}is wrong: {message}"), "see `clickedge generate config`"),
    };
    let written = written.lines().next().unwrap_or_default();
    (format!("{subject}{wanted}, is {written}"), remedy)
}

fn wrong(key: String, message: String, remedy: String) -> Explanation {
    Explanation { message, remedy, key, is_unknown_key: false }
}

fn unknown_key(unknown: &str, owner: Option<&str>, known: &[&str]) -> Explanation {
    let owner = owner.unwrap_or_default();
    let place = if owner.is_empty() { String::new() } else { format!(" in `{owner}`") };
    Explanation {
        message: format!("unknown key `{unknown}`{place}"),
        remedy: suggestion(unknown, known),
        key: nearest(unknown, known).map(|near| below(owner, near)).unwrap_or_default(),
        is_unknown_key: true,
    }
}

fn below(owner: &str, key: &str) -> String {
    if owner.is_empty() { key.to_owned() } else { format!("{owner}.{key}") }
}

fn suggestion(unknown: &str, known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let expected = match &quoted[..] {
        [] => return "remove it".to_owned(),
        [only] => format!("expected {only}"),
        [others @ .., last] => format!("expected {} or {last}", others.join(", ")),
    };
    match nearest(unknown, known) {
        Some(near) => format!("did you mean `{near}`? {expected}"),
        None => expected,
    }
}

/// The known name that differs least, unless it differs by more than a third.
pub fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let length = unknown.chars().count();
    if length > LONGEST {
        return None;
    }
    let (distance, name) = known.iter().map(|name| (distance(unknown, name), *name)).min()?;
    (distance <= (length / 3).max(1)).then_some(name)
}

/// Insertions, deletions and replacements that turn one name into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let above = *cell;
            *cell = (diagonal + usize::from(a != *b)).min(above + 1).min(left + 1);
            (diagonal, left) = (above, *cell);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Meaning of the parser's name of a type, and how such a value is written.
fn expectation(expected: &str) -> (&str, &'static str) {
    match expected {
        "usize" | "u64" => ("a whole number from 0", "write digits without quotes, such as 60"),
        "u32" => ("a whole number from 0 to 4294967295", "write digits without quotes, such as 60"),
        "f64" => ("a number", "write it without quotes, such as 0.5"),
        "a boolean" => ("true or false", "write true or false, without quotes"),
        "a string" | "path string" => ("a text", "put it in double quotes"),
        "a sequence" => ("a list", "put it in brackets, `[...]`; a list of sections has `[[...]]` headers"),
        "a map" => ("a section", "write it as a section, `[...]`"),
        "socket address" => ("an IP address and a port", "write it like \"127.0.0.1:8080\", in double quotes"),
        _ if expected.starts_with("struct ") => ("a section", "write it as a section, `[...]`"),
        _ => (expected, "see `clickedge generate config`"),
    }
}

fn finding(found: &str) -> &str {
    let value = ["integer `", "floating point `", "boolean `"].iter().find_map(|kind| found.strip_prefix(kind));
    match found {
        "map" => "a section",
        "sequence" => "a list",
        _ => value
            .and_then(|value| value.split_once('`'))
            .map(|(value, _)| value)
            .or_else(|| found.strip_prefix("string "))
            .unwrap_or(found),
    }
}

fn subject_of(key: &str) -> String {
    if key.is_empty() { "this ".to_owned() } else { format!("`{key}` ") }
}

/// The names between backticks.
fn ticked(list: &str) -> Vec<&str> {
    list.split('`').skip(1).step_by(2).collect()
}
