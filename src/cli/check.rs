//! `clickedge check`: every problem of every file, before a restart finds the first.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::Args;

use super::{CONFIG, NO_INPUT, complain, print};
use crate::config::{ConfigError, diagnostics::inspect};

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
                let mut text = format!("{}: ok\n", file.display());
                for warning in warnings {
                    // Writing into a string cannot fail.
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
