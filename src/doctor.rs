//! Compares a machine with a configuration, and reports what to change: `clickedge doctor`.
//!
//! ```text
//! /proc, /sys, the unit, a few fsyncs ─► gather ─► Facts ─► checks ─► one Finding a check
//!                                     configuration, plan ─► sizing ──┘
//! ```
//! [`gather`] is all that reads the machine. The checks are functions of [`Facts`], of the configuration and of the
//! [`Plan`]: how many clicks a second, and how long an outage. What a click needs is measured, and stands in [`sizing`]
//! alone, from which the tables of the tuning guide are made as well.
//!
//! A fact that is unknown, because a file is missing or may not be read, is `None`, and is never reported as a problem.
//! No finding has the address of a visitor, and none has the value of a secret.

mod checks;
pub mod facts;
pub mod gather;
pub mod sizing;
mod words;

use serde::Serialize;

use crate::{config::Config, runtime::Class};
use facts::Facts;
use sizing::Plan;

/// How bad what a check has found is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// The edge works, and is slower, smaller or less safe than it could be.
    Warning,
    /// As it is, the edge does not start, loses clicks, or lets addresses reach a disk.
    Problem,
}

impl Level {
    /// Its name in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What a check has found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Name of the check, in kebab case. Stable.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found, and why it matters.
    pub message: String,
    /// What to do, with a command or a setting. `None` when there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What kind of failure a problem is: it decides the exit code.
    #[serde(skip)]
    pub class: Class,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), remedy: None, class: Class::Config }
    }

    fn warning(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, remedy: Some(remedy.into()), ..Self::ok(check, message) }
    }

    fn problem(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, ..Self::warning(check, message, remedy) }
    }

    fn of_class(self, class: Class) -> Self {
        Self { class, ..self }
    }
}

/// `clickedge check` accepts the configuration and its files, with so many warnings.
pub fn accepted(warnings: usize) -> Finding {
    match warnings {
        0 => Finding::ok(CONFIGURATION, "`clickedge check` accepts the configuration and its files"),
        1 => Finding::warning(CONFIGURATION, "`clickedge check` has a warning", SEE_CHECK),
        more => Finding::warning(CONFIGURATION, format!("`clickedge check` has {more} warnings"), SEE_CHECK),
    }
}

/// `clickedge check` rejects the configuration or a file that it names.
pub fn rejected(class: Class) -> Finding {
    let message = "`clickedge check` rejects the configuration or a file that it names: the edge does not start";
    Finding::problem(CONFIGURATION, message, SEE_CHECK).of_class(class)
}

const CONFIGURATION: &str = "configuration";

const SEE_CHECK: &str = "run `clickedge check`";

/// What each check finds, in the order of the path of a click. Some checks have nothing to say about a machine.
pub fn examine(facts: &Facts, config: &Config, plan: &Plan) -> Vec<Finding> {
    checks::all(facts, config, plan)
}

/// The class of the first problem.
pub fn class(findings: &[Finding]) -> Option<Class> {
    findings.iter().find(|finding| finding.level == Level::Problem).map(|finding| finding.class)
}
