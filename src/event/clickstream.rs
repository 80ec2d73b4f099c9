//! The older shape of events, for receivers that parse it already ([`Shape::Clickstream`](super::Shape)).
//!
//! It differs from `click/1` in the places of [`CHANGES`], and nowhere else. Its names come from visitors and
//! customers, so that a table engine that makes columns of them may fail: on names that differ only in case, on an
//! empty name, on thousands of names. The receiver has to deal with these, or take `click/1`.

use super::scan::Scanner;

/// A change of one value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// `[{"name":"a","value":"1"},{"name":"a","value":"2"}]` to `{"a":["1","2"]}`.
    Parameters,
    /// `[{"id":"t-1","name":"Print"}]` to `{"t-1":{"value":"Print"}}`.
    Labels,
    /// `"10"` to `"android-10"`, where the object's name is `android`.
    Slug,
}

/// Where the shape differs.
pub const CHANGES: &[(&str, Change)] = &[
    ("client.agent.os.version", Change::Slug),
    ("route.params.query", Change::Parameters),
    ("route.destination.params.query", Change::Parameters),
    ("route.tags", Change::Labels),
    ("route.scripts", Change::Labels),
];

/// Values by name, names in the order of their first appearance. The event's writer bounds the number of pairs.
pub fn parameters(scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Option<()> {
    let pairs = scanner.pairs(b"\"name\"", b"\"value\"")?;
    out.push(b'{');
    let mut separator: &[u8] = b"";
    for (at, (name, _)) in pairs.iter().enumerate() {
        // One writer escapes all of them, so that equal names are equal bytes.
        if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        out.extend_from_slice(separator);
        out.extend_from_slice(name);
        out.extend_from_slice(b":[");
        for (count, (_, value)) in pairs[at..].iter().filter(|(other, _)| other == name).enumerate() {
            if count > 0 {
                out.push(b',');
            }
            out.extend_from_slice(value);
        }
        out.push(b']');
        separator = b",";
    }
    out.push(b'}');
    Some(())
}

/// Names by id.
pub fn labels(scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Option<()> {
    let pairs = scanner.pairs(b"\"id\"", b"\"name\"")?;
    let mut separator: &[u8] = b"{";
    for (id, name) in &pairs {
        for part in [separator, id, b":{\"value\":", name, b"}"] {
            out.extend_from_slice(part);
        }
        separator = b",";
    }
    out.extend_from_slice(if pairs.is_empty() { b"{}" } else { b"}" });
    Some(())
}

/// A version with the name before it, unless it is there. Both are slugs between quotes.
pub fn slug(name: &[u8], version: &[u8], out: &mut Vec<u8>) {
    let name = name.strip_suffix(b"\"").filter(|name| !name.is_empty());
    let bare = version.strip_prefix(b"\"");
    let is_there = |name: &[u8]| version.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'-'));
    match (name, bare) {
        (Some(name), Some(bare)) if !is_there(name) => {
            for part in [name, b"-", bare] {
                out.extend_from_slice(part);
            }
        }
        _ => out.extend_from_slice(version),
    }
}
