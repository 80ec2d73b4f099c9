//! `clickedge check`: every problem of every file, before a restart finds the first.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{CONFIG, NO_INPUT, complain, print};
use crate::{
    config::{
        ConfigError,
        diagnostics::{inspect, load},
    },
    enrich::bot::Lists,
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
                let lists = if check.without_files { Ok(Vec::new()) } else { lists(file) };
                let skipped = match lists {
                    Ok(skipped) => skipped,
                    Err(error) => {
                        refused = true;
                        complain(&error);
                        continue;
                    }
                };
                let mut text = format!("{}: ok\n", file.display());
                // Writing into a string cannot fail.
                for warning in warnings {
                    _ = writeln!(text, "{warning}");
                }
                for warning in skipped {
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

/// Reads the lists that a configuration names, and tells which entries will be skipped.
fn lists(file: &Path) -> Result<Vec<String>, String> {
    let config = load(file).map_err(|error| error.to_string())?.enrich;
    let lists = Lists::read(config.crawlers_file.as_deref(), &config.not_crawlers)
        .map_err(|error| format!("error: {}: `enrich.crawlers_file`: {error}", file.display()))?;
    let skipped = |list: &crate::enrich::bot::Community| {
        let name = list.file().display().to_string();
        list.bad().iter().map(|bad| format!("warning: {name}: skipped, mend or remove it: {bad}")).collect()
    };
    Ok(lists.community().map(skipped).unwrap_or_default())
}
