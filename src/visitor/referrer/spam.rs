//! Hosts of spam referrers: names in a forged `Referer`, which no visitor came from, sent to appear in reports.
//!
//! There is no built-in list, as such names last for weeks. `enrich.spammers_file` has one host a line, as in the list
//! of Matomo's community (`spammers.txt` of `referrer-spam-list`); `#` begins a comment. A host on the list covers all
//! hosts below it.

use std::{collections::HashSet, path::Path};

use ahash::RandomState;

use crate::files::list::{self, ListError};

/// Most labels of a host that are compared, from its end.
const MAX_LABELS: usize = 8;

/// The hosts of a list.
#[derive(Default)]
pub struct Spammers(HashSet<Box<str>, RandomState>);

impl Spammers {
    /// Reads the list; without a file it is empty.
    ///
    /// # Errors
    /// See [`ListError`].
    pub fn read(file: Option<&Path>) -> Result<Self, ListError> {
        let Some(file) = file else { return Ok(Self::default()) };
        let host = |(line, text)| {
            let host = list::host(text).filter(|host| host.split('.').count() <= MAX_LABELS);
            host.map(String::into_boxed_str).ok_or_else(|| {
                let problem = format!("`{text}` is no host name below a domain");
                ListError::line(file, line, problem, "write one host a line, such as `spam.example`")
            })
        };
        list::lines(&list::read(file)?).map(host).collect::<Result<_, _>>().map(Self)
    }

    /// The number of hosts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list has no host.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a lower-case host, or a parent of it, is on the list.
    pub fn is_spam(&self, host: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let start = host.rmatch_indices('.').nth(MAX_LABELS - 1).map_or(0, |(dot, _)| dot + 1);
        let mut suffix = &host[start..];
        loop {
            if self.0.contains(suffix) {
                return true;
            }
            match suffix.split_once('.') {
                Some((_, parent)) => suffix = parent,
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spammers(text: &str) -> Result<Spammers, ListError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("spammers.txt");
        std::fs::write(&file, text).unwrap();
        Spammers::read(Some(&file))
    }

    #[test]
    fn a_host_and_all_below_it_are_spam() {
        let spammers =
            spammers("# from the community\nbuttons.example\nSEO.Spam.example # again\n\u{440}\u{444}.example\n")
                .unwrap();
        for host in [
            "buttons.example",
            "www.buttons.example",
            "a.b.c.d.e.f.g.h.i.buttons.example",
            "seo.spam.example",
            "xn--p1ai.example",
        ] {
            assert!(spammers.is_spam(host), "{host}");
        }
        for host in ["spam.example", "example", "mybuttons.example", "buttons.example.org", "", ".", ".."] {
            assert!(!spammers.is_spam(host), "{host}");
        }
        assert_eq!(spammers.len(), 3);
    }

    #[test]
    fn without_a_file_nothing_is_spam() {
        let none = Spammers::read(None).unwrap();
        assert!(none.is_empty() && !none.is_spam("buttons.example"));
    }

    #[test]
    fn a_line_that_is_no_host_rejects_the_list() {
        for (text, line) in [("a.example\n\nhttp://b.example/", 3), ("com", 1), ("a.example, b.example", 1)] {
            let error = spammers(text).err().unwrap().to_string();
            assert!(
                error.contains(&format!("spammers.txt, line {line}: `")) && error.contains("; write "),
                "{error}"
            );
        }
        let many = format!("{}example", "a.".repeat(MAX_LABELS));
        assert!(spammers(&many).is_err());
    }
}
