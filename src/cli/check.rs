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
    visitor::{Sources, bot::CrawlerLists, geo::GeoStore},
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
    let enrich = &config.enrich;
    found.problems.extend(GeoStore::open(enrich.geoip_file.as_deref()).err().map(|error| error.to_string()));
    found.problems.extend(Sources::problems(enrich).iter().map(ToString::to_string));
    match CrawlerLists::read(enrich.crawlers_file.as_deref(), &enrich.not_crawlers) {
        Ok(lists) => {
            let Some(list) = lists.community() else { return found };
            let name = list.file().display();
            let skipped = list.bad().iter().map(|bad| format!("warning: {name}: skipped, mend or remove it: {bad}"));
            found.skipped.extend(skipped);
        }
        Err(error) => found.problems.push(format!("`enrich.crawlers_file`: {error}")),
    }
    found
}
