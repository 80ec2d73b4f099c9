//! The report of a verification, for people and for programs.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::{
    object::key::REPLAYS,
    runtime::{Class, Hour},
};

/// Most problems and foreign files that are listed; further ones are counted.
const MAX_LISTED: usize = 1_000;

/// The value of `schema` in every report of this major version.
pub const SCHEMA: &str = "verify/1";

/// The result of a verification.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The verified store, as named on the command line.
    pub source: String,
    /// True when no problem was found.
    pub proven: bool,
    /// True when objects were not read.
    pub quick: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Hour>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Hour>,
    /// By name.
    pub feeds: Vec<ReportRow>,
    /// All of them; the first thousand are in `problems`.
    pub problem_count: u64,
    pub problems: Vec<Problem>,
    /// What is worth a look, and proves nothing wrong.
    pub notices: Vec<Notice>,
    /// Files below `_replay/`, which nothing else here counts.
    pub replayed_objects: u64,
    /// Files that belong to no feed.
    pub foreign_count: u64,
    pub foreign: Vec<String>,
}

/// One feed in one spool of one edge.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReportRow {
    /// `{feed}-{pop}-{spool}`, as keys have it.
    pub name: String,
    /// Absent if no manifest and no event shows where the feed's name ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pop: Option<String>,
    /// Identity of the spool. Absent if no manifest shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<String>,
    pub hours: u64,
    /// Hours whose last manifest is not closed.
    pub open_hours: u64,
    pub objects: u64,
    /// As read; of a quick verification, as the manifests say.
    pub events: u64,
    pub bytes: u64,
    pub manifests: u64,
    /// Objects that are too new for a manifest.
    pub open_objects: u64,
    /// The smallest and the largest number of an object, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
}

/// A kind of problem.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A manifest lists an object that does not exist.
    Missing,
    /// The object has another size than listed.
    Size,
    /// The object has other bytes than listed.
    Checksum,
    /// The object cannot be decompressed, or ends too early.
    Damaged,
    /// The object has another number of events than listed.
    Count,
    /// The object begins or ends with another event than listed.
    Bounds,
    /// The object has content that is not an event.
    Event,
    /// An event of another hour than its partition.
    Hour,
    /// An event exists twice.
    Duplicate,
    /// A number is missing.
    Gap,
    /// Two objects have one number.
    RepeatedSeq,
    /// A manifest does not list the object, though it lists larger numbers.
    Unlisted,
    /// A manifest cannot be read or contradicts itself.
    Manifest,
    /// A later version of a manifest lacks or changes an entry of an earlier one.
    Forgotten,
    /// A manifest that a later one names is missing or has other bytes, or two have one number.
    Chain,
}

impl ProblemKind {
    /// The consequence for the consumer of the feed.
    fn meaning(self) -> &'static str {
        match self {
            Self::Missing => "its events are not in the feed; ask the operator of the edge to deliver it again",
            Self::Size | Self::Checksum => "it was changed or truncated after the edge had finished it",
            Self::Damaged => "some of its events cannot be read",
            Self::Count => "the manifest is wrong: the account of this hour does not balance",
            Self::Bounds => "key, manifest and content do not belong together",
            Self::Event => "parsers will fail on it",
            Self::Hour => "a consumer that reads by partition counts it in the wrong hour",
            Self::Duplicate => "a consumer that does not deduplicate by `id` counts it twice",
            Self::Gap => {
                "lost, unless the edge is delivering right now: verify again in ten minutes, or with --to before now"
            }
            Self::RepeatedSeq => "the numbers of this spool prove nothing: it was cloned, or restored from a copy",
            Self::Unlisted => "it was added by another writer, or the manifest is wrong: its events may be surplus",
            Self::Manifest => "its content proves nothing",
            Self::Forgotten => "the manifests of this hour contradict each other; the objects of both were checked",
            Self::Chain => "a manifest was removed or changed after it was delivered, so objects may have been, too",
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A problem.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The object or manifest; for a gap, the feed and edge.
    pub key: String,
    pub expected: String,
    pub found: String,
    pub meaning: &'static str,
}

impl Problem {
    pub fn new(kind: ProblemKind, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { kind, key: key.into(), expected: expected.into(), found: found.into(), meaning: kind.meaning() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, expected, found, meaning } = self;
        write!(f, "{kind}: {}: expected {}, found {}; {meaning}", escape(key), escape(expected), escape(found))
    }
}

/// A kind of notice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// The chain of manifests does not begin with number 1.
    LaterStart,
    /// Two edges of one name delivered at the same time.
    TwoSpools,
}

/// Something worth a look that proves nothing wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    pub kind: NoticeKind,
    /// The feed with its edge or its spool.
    pub subject: String,
    pub text: String,
}

fn many(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Escapes control characters, which would steer a terminal, in text from the store.
fn escape(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_unicode().collect() } else { vec![c] }).collect()
}

impl Report {
    pub fn problem(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < MAX_LISTED {
            self.problems.push(problem);
        }
    }

    pub fn notice(&mut self, notice: Notice) {
        if self.notices.len() < MAX_LISTED {
            self.notices.push(notice);
        }
    }

    pub fn foreign(&mut self, key: String) {
        self.foreign_count += 1;
        if self.foreign.len() < MAX_LISTED {
            self.foreign.push(key);
        }
    }

    /// The class of a report with problems. `None` if the feed is proven.
    pub fn class(&self) -> Option<Class> {
        (!self.proven).then_some(Class::Data)
    }

    /// A line for each problem.
    pub fn problem_lines(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            // Writing into a string cannot fail.
            _ = writeln!(text, "{problem}");
        }
        match self.problem_count - self.problems.len() as u64 {
            0 => {}
            more => _ = writeln!(text, "and {more} more"),
        }
        text
    }

    /// The whole report as text for people.
    pub fn text(&self) -> String {
        let mut text = self.table();
        text.push('\n');
        text += &self.problem_lines();
        if let Some(first) = self.foreign.first() {
            let files = many(self.foreign_count, "file");
            _ = writeln!(text, "warning: ignored {files} of no feed, such as {}", escape(first));
        }
        for notice in &self.notices {
            _ = writeln!(text, "warning: {}", escape(&notice.text));
        }
        let sum = |field: fn(&ReportRow) -> u64| self.feeds.iter().map(field).sum::<u64>();
        let open_hours = sum(|row| row.open_hours);
        if open_hours > 0 {
            let are = if open_hours == 1 { "is" } else { "are" };
            _ = writeln!(text, "note: {} {are} not closed: objects may still be added", many(open_hours, "hour"));
        }
        let open = sum(|row| row.open_objects);
        if open > 0 {
            let how = if self.quick { "numbers checked" } else { "read and checked nevertheless" };
            let are = if open == 1 { "is" } else { "are" };
            _ = writeln!(text, "note: {} {are} too new for a manifest: {how}", many(open, "object"));
        }
        if self.replayed_objects > 0 {
            let objects = many(self.replayed_objects, "object");
            _ = writeln!(text, "note: ignored {objects} below {REPLAYS}/, as replays repeat events");
        }
        let (objects, events) = (many(sum(|row| row.objects), "object"), many(sum(|row| row.events), "event"));
        _ = match (self.proven, self.quick) {
            (true, false) => writeln!(text, "proven: {events} in {objects}, each once, none missing"),
            (true, true) => writeln!(text, "quick: {objects}, none missing; their content was not read"),
            (false, _) => writeln!(text, "not proven: {}", many(self.problem_count, "problem")),
        };
        text
    }

    fn table(&self) -> String {
        const HEAD: [&str; 8] =
            ["FEED-EDGE-SPOOL", "HOURS", "OBJECTS", "NUMBERS", "EVENTS", "BYTES", "MANIFESTS", "OPEN"];
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.feeds.iter().map(|row| {
            let numbers = match (row.first_seq, row.last_seq) {
                (Some(first), Some(last)) => format!("{first}-{last}"),
                _ => "-".into(),
            };
            [
                escape(&row.name),
                row.hours.to_string(),
                row.objects.to_string(),
                numbers,
                row.events.to_string(),
                row.bytes.to_string(),
                row.manifests.to_string(),
                row.open_objects.to_string(),
            ]
        }));
        let mut widths = [0; HEAD.len()];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &rows {
            _ = write!(text, "{:<width$}", row[0], width = widths[0]);
            for (cell, &width) in row.iter().zip(&widths).skip(1) {
                _ = write!(text, "  {cell:>width$}");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_states_kind_key_finding_and_consequence() {
        let problem = Problem::new(ProblemKind::RepeatedSeq, "a\u{1b}[2J", "one", "two");
        let line = problem.to_string();
        assert!(
            line.starts_with("repeated-seq: a\\u{1b}[2J: expected one, found two; the numbers of this spool"),
            "{line}"
        );
    }

    #[test]
    fn problems_beyond_the_bound_are_counted() {
        let mut report = Report::default();
        for _ in 0..MAX_LISTED + 2 {
            report.problem(Problem::new(ProblemKind::Gap, "a-b", "1", "none"));
        }
        assert!(report.problem_lines().ends_with("\nand 2 more\n"));
        assert!(report.text().ends_with("\nnot proven: 1002 problems\n"));
    }
}
