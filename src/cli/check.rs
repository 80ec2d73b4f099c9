//! `clickedge check`: every problem of every file, before a restart finds the first.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{CONFIG, NO_INPUT, complain, print};
use crate::{
    config::{self, ConfigError, diagnostics::inspect},
    enrich::{GeoStore, Sources},
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
                let problems = if check.without_files { Vec::new() } else { contents(file) };
                if !problems.is_empty() {
                    refused = true;
                    for problem in problems {
                        complain(&format!("error: {}: {problem}", file.display()));
                    }
                    continue;
                }
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

/// What is wrong inside the files that a good configuration names.
fn contents(file: &Path) -> Vec<String> {
    let Ok(config) = config::load(file) else { return Vec::new() };
    let location = GeoStore::open(config.enrich.geoip_file.as_deref()).err().map(|error| error.to_string());
    location.into_iter().chain(Sources::problems(&config.enrich).iter().map(ToString::to_string)).collect()
}
