//! Counts what was left out of links that are loaded, and the status words that are unknown.

use std::collections::BTreeMap;

use super::super::{
    compile::Warning,
    entity::{
        LinkEntity,
        lenient::{ACTIVE, DISABLED, EXPIRED},
    },
};

/// Unknown status words that are reported each by itself.
const MAX_WORDS: usize = 10;

/// Longest text of a value in a warning, in characters.
const MAX_SHOWN: usize = 60;

/// What was seen of the links of a file.
#[derive(Debug, Default)]
pub struct Notes {
    /// By field: the number of links, the first of them, and its value if that is known.
    left_out: BTreeMap<&'static str, (u64, u64, Option<String>)>,
    /// By status word: the number of links, and the first of them.
    unknown: BTreeMap<String, (u64, u64)>,
}

impl Notes {
    /// Looks at the link of a line.
    pub fn see(&mut self, line: u64, link: &LinkEntity) {
        if let Some(value) = &link.created_at.left_out {
            self.leave_out("createdAt", line, Some(value));
        }
        let others = [
            ("creator", link.creator.as_ref().is_some_and(|creator| creator.left_out)),
            ("tags", link.tags.left_out),
            ("scripts", link.scripts.named.left_out),
        ];
        for (field, _) in others.into_iter().filter(|(_, is_left_out)| *is_left_out) {
            self.leave_out(field, line, None);
        }
        if let Some(word) = link.status.as_deref().filter(|word| ![ACTIVE, DISABLED, EXPIRED].contains(word)) {
            let word: String = word.chars().take(MAX_SHOWN).collect();
            let is_full = self.unknown.len() >= MAX_WORDS && !self.unknown.contains_key(&word);
            let (links, _) = self.unknown.entry(if is_full { "…".to_owned() } else { word }).or_insert((0, line));
            *links += 1;
        }
    }

    /// The warnings for the report.
    pub fn into_warnings(self) -> impl Iterator<Item = Warning> {
        let unknown =
            self.unknown.into_iter().map(|(status, (links, line))| Warning::UnknownStatus { status, links, line });
        let left_out = self.left_out.into_iter().map(|(field, (links, line, value))| Warning::LeftOut {
            field,
            links,
            line,
            value,
        });
        unknown.chain(left_out)
    }

    fn leave_out(&mut self, field: &'static str, line: u64, value: Option<&str>) {
        let first = || (0, line, value.map(|value| value.chars().take(MAX_SHOWN).collect()));
        let (links, ..) = self.left_out.entry(field).or_insert_with(first);
        *links += 1;
    }
}
