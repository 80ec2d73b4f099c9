//! `clickedge check`: every problem of every file, before a restart finds the first.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{CONFIG, NO_INPUT, complain, print};
use crate::{
    config::{self, ConfigError, Severity, diagnostics::inspect},
    pipeline::{OperatorFiles, preflight::examine},
};

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Configuration files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Do not look for the files that a configuration names, such as certificates: for a check on another machine
    /// than the edge.
    #[arg(long)]
    pub without_files: bool,
}

pub(super) fn run(check: &Check) -> ExitCode {
    let (mut refused, mut unread) = (false, false);
    for file in &check.files {
        match inspect(file, !check.without_files) {
            Ok(warnings) => {
                let found = if check.without_files { Contents::default() } else { contents(file) };
                if !found.problems.is_empty() {
                    refused = true;
                    for problem in found.problems {
                        complain(&format!("error: {}: {problem}", file.display()));
                    }
                    continue;
                }
                let mut text = format!("{}: ok\n", file.display());
                // Writing into a string cannot fail.
                for warning in warnings {
                    _ = writeln!(text, "{warning}");
                }
                for warning in found.skipped {
                    _ = writeln!(text, "{warning}");
                }
                if let Err(code) = print(&text) {
                    return code;
                }
            }
            Err(error) => {
                if refused || unread {
                    complain(&"");
                }
                refused |= matches!(error, ConfigError::Invalid(_));
                unread |= matches!(error, ConfigError::Read { .. });
                complain(&error);
            }
        }
    }
    match (refused, unread) {
        (true, _) => ExitCode::from(CONFIG),
        (false, true) => ExitCode::from(NO_INPUT),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// What the files hold that a good configuration names.
#[derive(Default)]
struct Contents {
    /// What is wrong.
    problems: Vec<String>,
    /// Entries that will be skipped.
    skipped: Vec<String>,
}

fn contents(file: &Path) -> Contents {
    let mut found = Contents::default();
    let Ok(config) = config::load(file) else { return found };
    let Ok(files) = OperatorFiles::new(&config) else { return found };
    for problem in examine(&config, &files).problems {
        let text = format!("`{}` {}; {}", problem.key, problem.message, problem.remedy);
        if problem.severity == Severity::Error {
            found.problems.push(text);
        } else {
            found.skipped.push(format!("warning: {text}"));
        }
    }
    found
}
