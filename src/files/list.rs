//! Reads the operator's lists, and reports what is wrong with one.
//!
//! A list is taken whole or not at all: half a list would give wrong answers unnoticed. Every error names the file, the
//! line, the problem and the remedy.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use crate::runtime::{Class, Classified, filesystem::read_regular};

/// Characters of a wrong value that are shown.
const SHOWN: usize = 80;

/// Why a list was rejected.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It does not exist, or this user may not read it.
    #[error("cannot read the list {}: {source}; put the file there, let this user read it, or correct the path", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A line of it is wrong.
    #[error("{}, line {line}: {problem}; {remedy}", file.display())]
    Line { file: PathBuf, line: usize, problem: String, remedy: &'static str },
}

impl ListError {
    /// A problem with one line, counted from 1.
    pub fn line(file: &Path, line: usize, problem: impl Display, remedy: &'static str) -> Self {
        Self::Line { file: file.to_owned(), line, problem: problem.to_string(), remedy }
    }

    /// A problem with a value in a line, counted from 1: "`value` is no host".
    pub fn value(file: &Path, line: usize, value: &str, problem: &str, remedy: &'static str) -> Self {
        let value: String = value.chars().take(SHOWN).collect();
        Self::line(file, line, format_args!("`{}` {problem}", value.escape_debug()), remedy)
    }
}

impl Classified for ListError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::Line { .. } => Class::Data,
        }
    }
}

/// The text of a list, without a byte order mark.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn read(file: &Path) -> Result<String, ListError> {
    let mut bytes = read_regular(file).map_err(|source| ListError::Read { file: file.to_owned(), source })?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..error.utf8_error().valid_up_to()]).count();
        ListError::line(file, line, "the file is not UTF-8 from here on", "save it as UTF-8")
    })
}

/// The entries of a plain list, with their line numbers, counted from 1. `#` begins a comment.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate();
    let plain = numbered.map(|(at, line)| (at + 1, line.split_once('#').map_or(line, |(entry, _)| entry).trim()));
    plain.filter(|(_, entry)| !entry.is_empty())
}

/// A host name as browsers send it: lower case, international names as A-labels, without a final dot. `None` unless the
/// text is the name of a host below a domain.
pub fn host(text: &str) -> Option<String> {
    const MAX_HOST: usize = 253;
    let host = text.strip_suffix('.').unwrap_or(text);
    let host = if host.is_ascii() { host.to_ascii_lowercase() } else { idna::domain_to_ascii(host).ok()? };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(plain);
    (host.len() <= MAX_HOST && host.contains('.') && host.split('.').all(label)).then_some(host)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn comments_and_empty_lines_are_no_entries() {
        let text = "# head\n a.example \n\nb.example # why\r\n#\n";
        assert_eq!(lines(text).collect::<Vec<_>>(), [(2, "a.example"), (4, "b.example")]);
    }

    #[test]
    fn a_host_is_written_as_browsers_send_it() {
        assert_eq!(host("WWW.Example.COM.").as_deref(), Some("www.example.com"));
        assert_eq!(host("b\u{fc}cher.example").as_deref(), Some("xn--bcher-kva.example"));
        for no in [
            "",
            ".",
            "com",
            "a..example",
            ".example",
            "https://a.example",
            "a.example/x",
            "a b.example",
            "*.a.example",
        ] {
            assert_eq!(host(no), None, "{no}");
        }
        assert_eq!(host(&format!("{}.example", "a".repeat(250))), None);
    }

    #[test]
    fn an_error_names_file_line_and_remedy() {
        let error = ListError::line(Path::new("/etc/x.txt"), 7, "`a b` is no host", "remove it");
        assert_eq!(error.to_string(), "/etc/x.txt, line 7: `a b` is no host; remove it");
        let error = ListError::value(Path::new("/etc/x.txt"), 7, &"\u{1b}".repeat(90), "is no host", "remove it");
        assert_eq!(error.to_string().matches("\\u{1b}").count(), SHOWN);
        assert_eq!(error.class(), Class::Data);
        let error = read(Path::new("/nowhere/x.txt")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/x.txt") && error.class() == Class::NoInput, "{error}");
    }

    #[test]
    fn a_list_is_utf8_with_or_without_a_mark() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "\u{feff}a.example\n").unwrap();
        assert_eq!(read(file.path()).unwrap(), "a.example\n");
        fs::write(&file, b"a.example\nb\xff.example\n\xff").unwrap();
        let error = read(file.path()).unwrap_err().to_string();
        assert!(error.ends_with(", line 2: the file is not UTF-8 from here on; save it as UTF-8"), "{error}");
    }
}
