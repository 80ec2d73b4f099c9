//! Turns what the parser says into what an operator can act on.
//!
//! The parser's words are read by their fixed beginnings; words that are not known here pass through unchanged, so
//! that a new version of the parser costs comfort and never information.

use toml::de::{DeTable, Error};

use super::locate;

/// Message and remedy. `root` is the parsed text, if it could be parsed.
pub(super) fn explain(error: &Error, root: Option<&DeTable>, text: &str) -> (String, String) {
    let message = error.message();
    let span = error.span().unwrap_or(0..0);
    let written = text.get(span.clone()).unwrap_or_default();
    let Some(root) = root else {
        return syntax(message, written);
    };
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
        let subject = if written == unknown { owner.unwrap_or_default() } else { key };
        return (format!("{}cannot be {unknown:?}", subject_of(&subject)), suggestion(unknown, &ticked(known)));
    }
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let subject = if key.is_empty() { "the file ".to_owned() } else { subject_of(&key) };
        return (format!("{subject}lacks `{missing}`"), format!("add `{missing} = ...` here"));
    }
    if message.starts_with("invalid type: unit variant") {
        let choice = written.trim_matches(['"', '\'']);
        let remedy = format!("write it with its settings, `{{ {choice} = {{ ... }} }}`");
        return (format!("{}needs settings for {choice:?}", subject_of(&key)), remedy);
    }
    if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let (kind, remedy) = expectation(expected);
        return (format!("{}must be {kind}, is {}", subject_of(&key), finding(found)), remedy.into());
    }
    if message.starts_with("wanted exactly 1 element") || message == "wanted string or table" {
        let remedy = "keep one, see `clickedge generate config`";
        return (format!("{}must hold exactly one choice", subject_of(&key)), remedy.into());
    }
    let (wanted, remedy) = match message {
        "invalid socket address syntax" => {
            ("must be an IP address and a port", "write it like `127.0.0.1:8080` or `[::1]:8080`")
        }
        "invalid IP address syntax" => ("must be a network", "write it like `10.0.0.0/8` or `fd00::/8`"),
        _ => return (format!("{}is wrong: {message}", subject_of(&key)), "see `clickedge generate config`".into()),
    };
    let written = written.lines().next().unwrap_or_default();
    (format!("{}{wanted}, is {written}", subject_of(&key)), remedy.into())
}

fn syntax(message: &str, written: &str) -> (String, String) {
    if message == "duplicate key" {
        return (format!("`{written}` is set a second time"), "keep one of the two".into());
    }
    (format!("this is not TOML: {message}"), "correct the syntax here".into())
}

fn unknown_key(unknown: &str, owner: Option<&str>, known: &[&str]) -> (String, String) {
    let place = match owner {
        None | Some("") => String::new(),
        Some(owner) => format!(" in `{owner}`"),
    };
    (format!("unknown key `{unknown}`{place}"), suggestion(unknown, known))
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
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
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

/// What the parser's name of a type means, and how such a value is written.
fn expectation(expected: &str) -> (&str, &str) {
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
