//! Maps the path of a key to its place in the text, and back.
//!
//! A path is written `feeds[1].sink.s3.bucket`; a part that is not a bare key is in double quotes.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The bytes of a key's value, or of its nearest parent in the text. The place of a section is its header.
pub(super) fn span_of(root: &DeTable, key: &str) -> Option<Range<usize>> {
    let mut parts = parts(key).into_iter();
    let Some(Part::Key(first)) = parts.next() else {
        return None;
    };
    let mut at = root.get(first)?;
    for part in parts {
        let next = match part {
            Part::Key(key) => at.get_ref().get(key),
            Part::Index(index) => at.get_ref().get(index),
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    Some(at.span())
}

/// The path of the value that covers exactly these bytes; the deepest, where a list shares them with its first item.
pub(super) fn value_at(root: &DeTable, span: &Range<usize>) -> Option<String> {
    let mut found = None;
    walk_table(root, "", &mut |place| {
        if place.value == *span {
            found = Some(place.path.to_owned());
        }
    });
    found
}

/// The path of the table that holds the key which covers exactly these bytes; empty for the top of the file.
pub(super) fn owner_of_key_at(root: &DeTable, span: &Range<usize>) -> Option<String> {
    let mut found = None;
    walk_table(root, "", &mut |place| {
        if place.key.as_ref() == Some(span) {
            found = Some(place.owner.to_owned());
        }
    });
    found
}

/// A value in the tree.
struct Place<'a> {
    /// Path of the table or list that holds it.
    owner: &'a str,
    /// Its own path.
    path: &'a str,
    /// Where its key is written; items of a list have no key.
    key: Option<Range<usize>>,
    /// Where it is written.
    value: Range<usize>,
}

fn walk_table(table: &DeTable, owner: &str, visit: &mut dyn FnMut(&Place)) {
    for (key, value) in table {
        let name = quoted(key.get_ref());
        let path = if owner.is_empty() { name } else { format!("{owner}.{name}") };
        visit(&Place { owner, path: &path, key: Some(key.span()), value: value.span() });
        walk(value.get_ref(), &path, visit);
    }
}

fn walk(value: &DeValue, path: &str, visit: &mut dyn FnMut(&Place)) {
    match value {
        DeValue::Table(table) => walk_table(table, path, visit),
        DeValue::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let inner = format!("{path}[{i}]");
                visit(&Place { owner: path, path: &inner, key: None, value: item.span() });
                walk(item.get_ref(), &inner, visit);
            }
        }
        _ => {}
    }
}

fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { format!("\"{key}\"") }
}

#[derive(Debug, PartialEq)]
enum Part<'a> {
    Key(&'a str),
    Index(usize),
}

fn parts(mut key: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    while !key.is_empty() {
        if let Some((index, rest)) = key.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let Ok(index) = index.parse() else { break };
            parts.push(Part::Index(index));
            key = rest;
        } else if let Some((name, rest)) = key.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
            parts.push(Part::Key(name));
            key = rest;
        } else {
            let (name, rest) = key.split_at(key.find(['.', '[']).unwrap_or(key.len()));
            if name.is_empty() {
                break;
            }
            parts.push(Part::Key(name));
            key = rest;
        }
        key = key.strip_prefix('.').unwrap_or(key);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[edge]\npop = \"a\"\n[[feeds]]\nname = \"b\"\nsink.s3 = { bucket = \"c\" }\n\
                        [catalog.domains.\"go.example.com\"]\ncase = \"d\"\n";

    fn at(key: &str) -> Option<&'static str> {
        let root = DeTable::parse(TEXT).unwrap().into_inner();
        span_of(&root, key).map(|span| &TEXT[span])
    }

    #[test]
    fn a_path_maps_to_its_value() {
        assert_eq!(at("edge.pop"), Some("\"a\""));
        assert_eq!(at("feeds[0].name"), Some("\"b\""));
        assert_eq!(at("feeds[0].sink.s3.bucket"), Some("\"c\""));
        assert_eq!(at("catalog.domains.\"go.example.com\".case"), Some("\"d\""));
    }

    #[test]
    fn a_missing_value_is_found_at_its_nearest_parent() {
        assert_eq!(at("edge.threads"), Some("[edge]"));
        assert_eq!(at("feeds[0].sink.s3.encryption.kms.key_id"), Some("{ bucket = \"c\" }"));
        assert_eq!(at("feeds[7].name"), Some("[[feeds]]"));
        assert_eq!(at("spool.dir"), None);
        assert_eq!(at(""), None);
        assert_eq!(at("[0]"), None);
    }

    #[test]
    fn a_broken_path_ends_where_it_breaks() {
        assert_eq!(parts("a[x].b"), [Part::Key("a")]);
        assert_eq!(parts("a..b"), [Part::Key("a")]);
        assert_eq!(parts("\"a.b\"[1]"), [Part::Key("a.b"), Part::Index(1)]);
    }

    #[test]
    fn a_place_maps_back_to_its_path() {
        let root = DeTable::parse(TEXT).unwrap().into_inner();
        for key in ["edge", "feeds[0]", "feeds[0].sink.s3.bucket", "catalog.domains.\"go.example.com\".case"] {
            assert_eq!(value_at(&root, &span_of(&root, key).unwrap()).as_deref(), Some(key));
        }
        let place = TEXT.find("bucket").unwrap();
        assert_eq!(owner_of_key_at(&root, &(place..place + 6)).as_deref(), Some("feeds[0].sink.s3"));
        let place = TEXT.find("edge").unwrap();
        assert_eq!(owner_of_key_at(&root, &(place..place + 4)).as_deref(), Some(""));
    }
}
