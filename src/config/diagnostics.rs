//! Reads a configuration file, and reports exactly where it is wrong.
//!
//! Unknown keys, wrong types and broken rules are reported together and in one form: file, line, column, the line
//! itself, a caret under the value, what is wrong and how to fix it. Errors come before warnings, each in the order of
//! the file. Only broken syntax stops at the first error.

mod explain;
mod locate;
mod recover;

pub(super) use explain::nearest;

use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{Spanned, de::DeTable};

use super::{
    Config,
    findings::{Problem, Severity},
};
use crate::runtime::{Class, Classified, filesystem::read_regular};

/// Why there is no configuration. Its `Display` is for the operator and has several lines.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, or this user may not read it.
    #[error("error: {}: cannot be read: {source}", file.display())]
    Read {
        /// As it was named.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file was read, and rejected. Holds one error at least.
    #[error("{}", joined(.0))]
    Invalid(Vec<Diagnostic>),
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } => Class::NoInput,
            Self::Invalid(_) => Class::Config,
        }
    }
}

/// One finding at its place in the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// Whether it keeps the edge from starting.
    pub severity: Severity,
    /// The file as it was named.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Characters under which the caret stands, at least 1.
    pub width: usize,
    /// The text of that line.
    pub source: String,
    /// What is wrong, with the key and the value.
    pub message: String,
    /// How to fix it.
    pub remedy: String,
}

/// Reads and checks a configuration file, and resolves its paths from its folder. Warnings do not keep it from loading.
/// Listeners may be missing. Reads the file, and none that it names.
///
/// # Errors
/// See [`ConfigError`].
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    from_str(&read(path)?, path)
}

/// Checks a configuration in TOML like [`load`], and resolves its paths from a folder. A relative folder is taken from
/// the working directory. Messages name the text `<text>`.
///
/// # Errors
/// See [`ConfigError`].
pub fn parse(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    Parsed::new(text, Path::new("<text>"), folder, User::Program)?.config().map(|(config, _)| config)
}

/// [`load`] for a text that is in memory already; `file` is its name in messages and the base of its paths.
#[doc(hidden)]
pub fn from_str(text: &str, file: &Path) -> Result<Config, ConfigError> {
    Parsed::new(text, file, &folder(file), User::Program)?.config().map(|(config, _)| config)
}

/// Reads and checks a configuration file as `clickedge serve` does, and returns the warnings as well.
///
/// # Errors
/// See [`ConfigError`].
pub fn inspect(path: &Path) -> Result<(Config, Vec<Diagnostic>), ConfigError> {
    Parsed::new(&read(path)?, path, &folder(path), User::Serve)?.config()
}

/// What a configuration is for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum User {
    /// A program that embeds the pipeline, or a command that looks at its files.
    Program,
    /// `clickedge serve`.
    Serve,
}

/// Looks up the places of problems in a configuration file that was read before.
pub fn locate(problems: Vec<Problem>, path: &Path) -> Vec<Diagnostic> {
    let text = read(path).unwrap_or_default();
    let root = DeTable::parse(&text).map(Spanned::into_inner).unwrap_or_default();
    located(problems, &root, &text, path)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    // `clickedge check /dev/stdin`, and what a shell passes as `/dev/fd/63`.
    let is_stream = path.starts_with("/dev") || path.starts_with("/proc");
    let bytes = if is_stream { fs::read(path) } else { read_regular(path) };
    let bytes = bytes.map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let message = "the file is not UTF-8 from here on".to_owned();
        let remedy = "save it as UTF-8".to_owned();
        ConfigError::Invalid(vec![Diagnostic::at(&text, good..good, path, Severity::Error, message, remedy)])
    })
}

/// A text whose syntax is right.
struct Parsed {
    /// The configuration with resolved paths, if all of it could be read.
    config: Option<Config>,
    /// Everything that is wrong with it.
    findings: Vec<Diagnostic>,
}

impl Parsed {
    /// `file` is the name in messages, `folder` the base of paths.
    fn new(text: &str, file: &Path, folder: &Path, user: User) -> Result<Self, ConfigError> {
        let at = |span: Option<Range<usize>>, (message, remedy)| {
            Diagnostic::at(text, span.unwrap_or(0..0), file, Severity::Error, message, remedy)
        };
        let root = DeTable::parse(text)
            .map_err(|error| ConfigError::Invalid(vec![at(error.span(), explain::syntax(&error, text))]))?;
        let recover::Recovered { config, errors, unread } = recover::read(&root, text);
        let is_whole = errors.is_empty();
        let errors = errors.into_iter().map(|(span, error)| at(Some(span), (error.message, error.remedy)));
        let mut findings: Vec<_> = errors.collect();
        if let Some(config) = &config {
            findings.extend(located(config.problems_for(user == User::Serve, unread), root.get_ref(), text, file));
        }
        let config = config.filter(|_| is_whole).map(|mut config| {
            config.resolve_paths(&std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
            config
        });
        Ok(Self { config, findings })
    }

    /// The configuration with its warnings, if there is no error.
    fn config(self) -> Result<(Config, Vec<Diagnostic>), ConfigError> {
        let warnings = reject_errors(self.findings)?;
        // A configuration that could not be read has left an error, with which this is not reached.
        self.config.map(|config| (config, warnings)).ok_or_else(|| ConfigError::Invalid(Vec::new()))
    }
}

fn located(problems: Vec<Problem>, root: &DeTable, text: &str, file: &Path) -> Vec<Diagnostic> {
    let locate = |problem: Problem| {
        let span = locate::span_of(root, &problem.key).unwrap_or(0..0);
        let message = format!("`{}` {}", problem.key, problem.message);
        Diagnostic::at(text, span, file, problem.severity, message, problem.remedy)
    };
    problems.into_iter().map(locate).collect()
}

/// Sorts the findings, and returns them as warnings when there is no error among them.
fn reject_errors(mut findings: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, ConfigError> {
    findings.sort_by_key(|finding| (finding.severity, finding.line, finding.column));
    if findings.first().is_some_and(|finding| finding.severity == Severity::Error) {
        return Err(ConfigError::Invalid(findings));
    }
    Ok(findings)
}

fn folder(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

fn joined(diagnostics: &[Diagnostic]) -> String {
    let blocks: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    blocks.join("\n\n")
}

impl Diagnostic {
    /// `span` counts bytes of `text`; a bound inside a character is moved to its start.
    fn at(text: &str, span: Range<usize>, file: &Path, severity: Severity, message: String, remedy: String) -> Self {
        let start = text.floor_char_boundary(span.start);
        let end = text.floor_char_boundary(span.end.max(start));
        let (before, after) = text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let lead = before.get(line_start..).unwrap_or_default();
        let rest = after.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let covered = rest.char_indices().take_while(|(offset, _)| start + offset < end).count();
        Self {
            severity,
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: lead.chars().count() + 1,
            width: covered.max(1),
            source: format!("{lead}{rest}"),
            message,
            remedy,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (line, column) = (self.line, self.column);
        writeln!(f, "{severity}: {}:{line}:{column}: {}", self.file.display(), self.message)?;
        let gutter = " ".repeat(line.to_string().len());
        // Tabs stay tabs in both lines, so that the caret meets its value at any tab width.
        let shown: String =
            self.source.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        let lead: String = self.source.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{}", format!("{line} | {shown}").trim_end())?;
        write!(f, "{gutter} | {lead}{} {}", "^".repeat(self.width), self.remedy)
    }
}

#[cfg(test)]
mod tests;
