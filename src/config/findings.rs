//! Problems of a configuration, and the rules that several sections share.
//!
//! A [`Problem`] names its key and not its place in the text: [`super::diagnostics`] looks up the place.

use std::{
    fmt::Display,
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// Upper bound of every thread count: more is a typing error.
pub(super) const MAX_THREADS: usize = 1024;

/// Whether a problem keeps the edge from starting.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The configuration is rejected.
    Error,
    /// Legal, and probably not what was meant.
    Warning,
}

/// Something wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Whether it keeps the edge from starting.
    pub severity: Severity,
    /// Path of the key, `feeds[1].sink.s3.bucket`. Parts that are not bare keys are in double quotes.
    pub key: String,
    /// What is wrong, as the rest of a sentence that begins with the key: `must be between 1 and 9, is 0`.
    pub message: String,
    /// How to fix it.
    pub remedy: String,
}

/// Collects problems; its methods are the rules that several keys share.
#[derive(Debug, Default)]
pub struct Findings {
    problems: Vec<Problem>,
    /// Keys whose values could not be read, and below which every value is a default that the file does not mean.
    unread: Vec<String>,
}

impl Findings {
    /// An empty collection that accepts no problem of these keys, nor of keys below them: their values could not be
    /// read, which is reported already.
    pub fn without(unread: Vec<String>) -> Self {
        Self { problems: Vec::new(), unread }
    }

    /// Whether the value of a key is the one that the file means. A rule that compares keys asks for the other one.
    pub fn knows(&self, key: &str) -> bool {
        !self.unread.iter().any(|unread| is_at_or_below(key, unread))
    }

    /// The problems, in the order in which they were found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Adds a problem that keeps the edge from starting.
    pub fn error(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Error, key.into(), message.into(), remedy.into());
    }

    /// Adds a problem that does not keep the edge from starting.
    pub fn warning(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Warning, key.into(), message.into(), remedy.into());
    }

    fn push(&mut self, severity: Severity, key: String, message: String, remedy: String) {
        if self.knows(&key) {
            self.problems.push(Problem { severity, key, message, remedy });
        }
    }

    /// A value must lie in a range.
    pub fn range<T: Copy + Display + PartialOrd>(
        &mut self,
        key: impl Into<String>,
        value: T,
        range: RangeInclusive<T>,
        remedy: &str,
    ) {
        if !range.contains(&value) {
            let message = format!("must be between {} and {}, is {value}", range.start(), range.end());
            self.error(key, message, remedy);
        }
    }

    /// A value must be a share.
    pub fn ratio(&mut self, key: &str, value: f64) {
        self.range(key, value, 0.0..=1.0, "write a share, such as 0.05 for five in a hundred");
    }

    /// A value must be a name that can stand in object keys and metric labels.
    pub fn name(&mut self, key: impl Into<String>, value: &str, example: &str) {
        if !is_name(value) {
            self.error(
                key,
                format!("must be 1 to 63 lower-case letters, digits and inner `-`, is {value:?}"),
                format!("write it like `{example}`"),
            );
        }
    }

    /// A path must not be empty.
    pub fn path(&mut self, key: impl Into<String>, path: &Path) {
        if path.as_os_str().is_empty() {
            self.error(key, "is empty", "name a path");
        }
    }

    /// A file must be readable; this is the problem when it is not.
    pub fn unreadable(&mut self, key: impl Into<String>, path: &Path, error: &io::Error) {
        self.error(
            key,
            format!("names {}, which cannot be read: {error}", path.display()),
            "put the file there, let this user read it, or correct the path",
        );
    }

    /// A socket must have a port, and an address that no other socket has.
    pub fn socket(
        &mut self,
        key: impl Into<String>,
        address: SocketAddr,
        mut others: impl Iterator<Item = (String, SocketAddr)>,
    ) {
        if address.port() == 0 {
            self.error(key, "has port 0, which lets the system choose an unknown port", "name the port");
        } else if let Some((other, _)) = others.find(|(_, other)| *other == address) {
            self.error(
                key,
                format!("is {address}, which `{other}` already uses"),
                "give each socket an address or a port of its own",
            );
        }
    }
}

/// The paths that are set, with their keys: what [`super::Section::paths`] returns of optional files.
pub(super) fn set_paths<'a, const N: usize>(
    files: [(&'static str, &'a mut Option<PathBuf>); N],
) -> Vec<(String, &'a mut PathBuf)> {
    files.into_iter().filter_map(|(key, file)| file.as_mut().map(|file| (key.to_owned(), file))).collect()
}

/// Whether a key is another one, or a part of its value.
pub(crate) fn is_at_or_below(key: &str, ancestor: &str) -> bool {
    key.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A host name in ASCII, without port.
pub(super) fn is_host_name(value: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    value.len() <= 253 && value.split('.').all(label)
}

fn is_name(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&value.len()) && value.bytes().all(inner) && !value.starts_with('-') && !value.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_unread_keys_are_dropped() {
        let mut findings = Findings::without(vec!["feeds".into(), "edge.pop".into()]);
        for key in ["feeds", "feeds[0].name", "feeds.x", "edge.pop"] {
            assert!(!findings.knows(key), "{key}");
            findings.path(key, Path::new(""));
        }
        for key in ["edge", "edge.pops", "feed", "feedster[0]"] {
            assert!(findings.knows(key), "{key}");
        }
        findings.path("edge.pops", Path::new(""));
        let keys: Vec<_> = findings.into_problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["edge.pops"]);
    }
}
