//! `clickedge check`: every problem of every configuration file, before a restart meets the first.
//!
//! What a file names is read by the same code that `serve` reads it with ([`crate::pipeline::preflight`]), so both find
//! the same, and exit with the same code. With several files, the exit code is that of the first that was rejected.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{
    exit::{self, class_along},
    output::{print, print_error, report},
};
use crate::{
    config::{self, Config, Diagnostic, diagnostics::inspect},
    deliver::probe::{Probe, probe},
    pipeline::{OperatorFiles, preflight::examine_file},
    runtime::{Class, Classified},
};

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Configuration files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Skip the files that a configuration names, such as certificates: for a check on another machine than the edge.
    #[arg(long)]
    pub without_files: bool,
    /// Ask each sink as well whether deliveries would succeed: a `HEAD` of the bucket or webhook, a temporary file in
    /// the folder, a connection to the servers of a stream. Likewise the bucket and the servers of `catalog.fleet`.
    #[arg(long, conflicts_with = "without_files")]
    pub probe: bool,
    /// With `--probe`: also store an object of sample events below `_test/` in each bucket, the way deliveries do. It
    /// stays there. A webhook gets a signed request without events, of the type `test`; a stream gets a message that it
    /// must reject. The bucket of a fleet, unless the edge only reads it, gets an object that shows whether it honours
    /// conditional writes.
    #[arg(long, requires = "probe")]
    pub probe_put: bool,
}

pub(super) fn run(check: &Check) -> ExitCode {
    let mut first: Option<Class> = None;
    for file in &check.files {
        match examine(file, check.without_files) {
            Ok((config, warnings)) => {
                let mut text = format!("{}: ok\n", file.display());
                for warning in warnings {
                    // Writing into a string cannot fail.
                    _ = writeln!(text, "{warning}");
                }
                if let Err(code) = print(&text) {
                    return code;
                }
                if check.probe {
                    first = first.or(probe_sinks(file, &config, check.probe_put));
                    let fleet = config.catalog.fleet.as_ref();
                    let of_fleet = fleet.and_then(|fleet| probe_fleet(file, fleet, check.probe_put));
                    first = first.or(of_fleet);
                }
            }
            Err(error) => {
                if first.is_some() {
                    print_error(&"");
                }
                first.get_or_insert(class_along(&error));
                report(&error);
            }
        }
    }
    first.map_or(ExitCode::SUCCESS, exit::code)
}

/// Prints what each sink answers. The class of the first failure.
fn probe_sinks(file: &Path, config: &Config, dry_put: bool) -> Option<Class> {
    let probes = match probe(&config.feeds, &config.edge.pop, dry_put) {
        Ok(probes) => probes,
        Err(error) => {
            print_error(&format!("error: cannot probe the sinks: {error}"));
            return Some(Class::Io);
        }
    };
    let mut first = None;
    for Probe { feed, sink, outcome } in probes {
        let name = file.display();
        match outcome {
            Ok(note) => _ = print(&format!("{name}: feed {feed}: {sink}: {note}\n")),
            Err(error) => {
                print_error(&format!("error: {name}: feed {feed}: {sink}: {error}"));
                first.get_or_insert(error.class());
            }
        }
    }
    first
}

/// Prints what the bucket and NATS of the catalog answer. The class of the first failure.
#[cfg(feature = "s3")]
fn probe_fleet(file: &Path, config: &config::Fleet, put: bool) -> Option<Class> {
    use crate::fleet::probe;

    let probes = match probe::probe(config, put) {
        Ok(probes) => probes,
        Err(error) => {
            print_error(&format!("error: cannot probe the fleet: {error}"));
            return Some(Class::Io);
        }
    };
    let mut first = None;
    for probe::Probe { key, place, outcome } in probes {
        let name = file.display();
        match outcome {
            Ok(note) => _ = print(&format!("{name}: {key}: {place}: {note}\n")),
            Err(error) => {
                print_error(&format!("error: {name}: {key}: {place}: {error}"));
                first.get_or_insert(error.class());
            }
        }
    }
    first
}

/// A configuration with a fleet was rejected before.
#[cfg(not(feature = "s3"))]
fn probe_fleet(_: &Path, _: &config::Fleet, _: bool) -> Option<Class> {
    None
}

/// The configuration and its warnings.
pub(super) fn examine(file: &Path, without_files: bool) -> anyhow::Result<(Config, Vec<Diagnostic>)> {
    let (config, mut warnings) = inspect(file)?;
    if !without_files {
        // The state folder is that of an edge that may be running.
        let mut stateless = config.clone();
        stateless.catalog.forget_state();
        let files = OperatorFiles::new(&stateless)?;
        warnings.extend(examine_file(&stateless, &files, file)?);
    }
    Ok((config, warnings))
}
