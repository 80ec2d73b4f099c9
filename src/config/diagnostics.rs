//! Reads a configuration file, and says exactly where it is wrong.
//!
//! Syntax, types, unknown keys and the rules of [`validate`] all come out in one form: file, line, column, the line
//! itself, a caret under the value, what is wrong and what to do. The parser stops at its first finding; the rules
//! report all of theirs at once.

mod explain;
mod locate;

use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use super::{
    Config,
    validate::{Problem, Severity, check_files, validate},
};
use crate::runtime::{Class, Classified};

/// Why there is no configuration. Its `Display` is for people and has several lines.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or this user may not read it.
    #[error("error: {}: cannot be read: {source}", file.display())]
    Read {
        /// As it was named.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file was read, and refused. Holds one error at least.
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
    /// What to do about it.
    pub remedy: String,
}

/// Reads and checks a configuration file, and resolves its paths. Warnings do not keep it from loading.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    from_str(&read(path)?, path)
}

/// [`load`] for a text that is in memory already; `file` is its name in messages and the base of its paths.
pub fn from_str(text: &str, file: &Path) -> Result<Config, ConfigError> {
    let (_, config, findings) = parse(text, file)?;
    refuse_errors(findings).map(|_warnings| config)
}

/// Checks a configuration file without keeping it, and returns the warnings. With `files`, the files that it names
/// must be there and readable too.
pub fn inspect(path: &Path, files: bool) -> Result<Vec<Diagnostic>, ConfigError> {
    let text = read(path)?;
    let (root, config, mut findings) = parse(&text, path)?;
    if files {
        findings.extend(located(check_files(&config), &root, &text, path));
    }
    refuse_errors(findings)
}

/// Finds the places of problems in a configuration file, which was read before.
pub fn locate(problems: Vec<Problem>, path: &Path) -> Vec<Diagnostic> {
    let text = read(path).unwrap_or_default();
    let root = DeTable::parse(&text).map(toml::Spanned::into_inner).unwrap_or_default();
    located(problems, &root, &text, path)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let bytes = fs::read(path).map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let message = "the file is not UTF-8 from here on".to_owned();
        let remedy = "save it as UTF-8".to_owned();
        ConfigError::Invalid(vec![Diagnostic::at(&text, good..good, path, Severity::Error, message, remedy)])
    })
}

/// The text as a tree with places, the configuration with resolved paths, and what the rules say about it.
fn parse<'a>(text: &'a str, file: &Path) -> Result<(DeTable<'a>, Config, Vec<Diagnostic>), ConfigError> {
    let refuse = |error: &toml::de::Error, root: Option<&DeTable>| {
        let (message, remedy) = explain::explain(error, root, text);
        let span = error.span().unwrap_or(0..0);
        ConfigError::Invalid(vec![Diagnostic::at(text, span, file, Severity::Error, message, remedy)])
    };
    let root = DeTable::parse(text).map_err(|error| refuse(&error, None))?.into_inner();
    let mut config: Config = toml::from_str(text).map_err(|error| refuse(&error, Some(&root)))?;
    let findings = located(validate(&config), &root, text, file);
    config.resolve_paths(&folder(file));
    Ok((root, config, findings))
}

fn located(problems: Vec<Problem>, root: &DeTable, text: &str, file: &Path) -> Vec<Diagnostic> {
    let locate = |problem: Problem| {
        let span = locate::span_of(root, &problem.key).unwrap_or(0..0);
        let message = format!("`{}` {}", problem.key, problem.message);
        Diagnostic::at(text, span, file, problem.severity, message, problem.remedy)
    };
    problems.into_iter().map(locate).collect()
}

fn refuse_errors(findings: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, ConfigError> {
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
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
    /// `span` counts bytes of `text`; one that fits no character is moved to the nearest one before.
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
