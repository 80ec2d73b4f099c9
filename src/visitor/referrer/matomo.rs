//! Lists of places in the YAML of Matomo's community (`searchengine-and-social-list`): `Socials.yml`,
//! `AIAssistants.yml` and `SearchEngines.yml`.
//!
//! ```yaml
//! Example Network:            # a name, which becomes the slug `example-network`
//!   - example.com             # its hosts
//!   - example.org/feed        # or only what is below a path of one
//! Example Search:
//!   - urls:                   # search engines: the hosts are in groups, whose other keys are not read
//!       - 'search.example.{}' # a country as the last label, or two letters further up
//!     params: [q]
//! ```
//!
//! Both forms are read in every file.

use std::path::Path;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use unicode_normalization::UnicodeNormalization;

use crate::files::list::{self, ListError};

/// One host of a list.
pub(super) struct Line {
    pub(super) number: usize,
    /// As it is written: `example.com`, `example.{}`, `example.com/path`.
    pub(super) host: String,
    /// The slug of the place.
    pub(super) name: String,
}

/// All hosts of a file, in its order.
pub(super) fn read(file: &Path) -> Result<Vec<Line>, ListError> {
    parse(&list::read(file)?, file)
}

fn parse(text: &str, file: &Path) -> Result<Vec<Line>, ListError> {
    let rejected = |line, problem: &str, remedy| Err(ListError::line(file, line, problem, remedy));
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        let problem = format!("this is no YAML: {}", error.info());
        ListError::line(file, error.marker().line(), problem, "correct it, or download the published list again")
    })?;
    let [document] = &documents[..] else {
        return rejected(1, "the file has no list in it, or several", "write one list");
    };
    let YamlData::Mapping(places) = &document.data else {
        return rejected(line_of(document), "the list is no mapping", "write `name:`, and below it `- host`");
    };
    let mut lines = Vec::new();
    for (key, value) in places {
        let Some(name) = text_of(key) else {
            return rejected(line_of(key), "this is no name", "write the name of a place");
        };
        let name = slug(&name);
        let YamlData::Sequence(entries) = &value.data else {
            return rejected(line_of(key), "a name is followed by no list", "write `- host` below it");
        };
        for entry in entries {
            let group = match &entry.data {
                YamlData::Mapping(_) => urls(entry),
                _ => Some(std::slice::from_ref(entry)),
            };
            let Some(group) = group else {
                return rejected(
                    line_of(entry),
                    "a group has no list `urls`",
                    "write `urls:`, and below it `- host`",
                );
            };
            for node in group {
                let number = line_of(node);
                let Some(host) = text_of(node) else {
                    return rejected(number, "this is no host", "write a host, such as `example.com`");
                };
                // A name in another script gives no slug; then the host is the name.
                let Some(name) = name.clone().or_else(|| slug(&host)) else {
                    return rejected(number, "this is no host", "write a host, such as `example.com`");
                };
                lines.push(Line { number, host, name });
            }
        }
    }
    Ok(lines)
}

fn urls<'a, 'b>(group: &'a MarkedYaml<'b>) -> Option<&'a [MarkedYaml<'b>]> {
    let YamlData::Mapping(keys) = &group.data else { return None };
    let (_, urls) = keys.iter().find(|(key, _)| text_of(key).as_deref() == Some("urls"))?;
    match &urls.data {
        YamlData::Sequence(urls) => Some(urls),
        _ => None,
    }
}

fn line_of(node: &MarkedYaml<'_>) -> usize {
    node.span.start.line()
}

/// A plain value as text; to YAML a name such as `360` is a number.
fn text_of(node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        _ => None,
    }
}

/// `Yahoo! Images` -> `yahoo-images`. Letters lose their accents; what is neither Latin letter nor digit separates.
fn slug(name: &str) -> Option<String> {
    let mut slug = String::new();
    for letter in name.nfd().filter(|letter| !unicode_normalization::char::is_combining_mark(*letter)) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

#[cfg(test)]
mod accuracy;
#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<(usize, String, String)> {
        let lines = parse(text, Path::new("x.yml")).unwrap();
        lines.into_iter().map(|line| (line.number, line.host, line.name)).collect()
    }

    fn problem_of(text: &str) -> String {
        parse(text, Path::new("x.yml")).err().unwrap().to_string()
    }

    #[test]
    fn names_become_slugs() {
        let slugs = ["Yahoo! Images", "Last.fm", "Taringa!", "G\u{f6}r\u{fc}nt\u{fc}", "--x--", "360"].map(slug);
        let expected =
            ["yahoo-images", "last-fm", "taringa", "goruntu", "x", "360"].map(|slug| Some(slug.to_owned()));
        assert_eq!(slugs, expected);
        assert_eq!((slug("!"), slug("\u{42f}"), slug("")), (None, None, None));
    }

    #[test]
    fn both_forms_are_read() {
        let text = "Net:\n  - net.example\n  - net.example/feed\n360:\n  -\n    params:\n      - q\n    urls:\n      - 'so.{}'\n  -\n    urls: [a.example, b.example]\n";
        let host = |line, host: &str, name: &str| (line, host.to_owned(), name.to_owned());
        assert_eq!(hosts("\u{42f}:\n  - www.y.example\n"), [host(2, "www.y.example", "www-y-example")]);
        let expected = [
            host(2, "net.example", "net"),
            host(3, "net.example/feed", "net"),
            host(9, "so.{}", "360"),
            host(11, "a.example", "360"),
            host(11, "b.example", "360"),
        ];
        assert_eq!(hosts(text), expected);
    }

    #[test]
    fn a_malformed_list_is_rejected_with_its_line() {
        for (text, expected) in [
            ("", "x.yml, line 1: the file has no list in it"),
            ("- a.example\n", "x.yml, line 1: the list is no mapping"),
            ("a: b.example\n", "x.yml, line 1: a name is followed by no list"),
            ("a:\n  - x.example\n~:\n  - y.example\n", "x.yml, line 3: this is no name"),
            ("\u{42f}:\n  - '{}'\n", "x.yml, line 2: this is no host"),
            ("a:\n  -\n    params: [q]\n", "x.yml, line 3: a group has no list `urls`"),
            ("a:\n  - x.example\n  - [y.example]\n", "x.yml, line 3: this is no host"),
            ("a:\n  - ~\n", "x.yml, line 2: this is no host"),
            ("a:\n  - x.example\n b: [\n", "x.yml, line "),
            ("a:\n  - 'x.example\n", "x.yml, line "),
            ("a: [x.example]\na: [y.example]\n", "x.yml, line 2: this is no YAML"),
        ] {
            let complaint = problem_of(text);
            assert!(complaint.starts_with(expected) && complaint.contains("; "), "{text}: {complaint}");
        }
    }
}
