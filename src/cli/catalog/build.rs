//! `clickedge catalog build`: makes a snapshot of catalog files.

use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde::Serialize;

use super::{
    Outcome,
    progress::{Progress, Total},
    stat::Facts,
};
use crate::{
    catalog::build::{Built, CHANGES, Plan, Rejected, Step, Watch},
    cli::output::{count, failed, json, print, print_error},
    config::catalog::PRIVATE_SNAPSHOT,
    runtime::{Class, clock},
};

/// Bytes of a MiB.
const MIB: usize = 1 << 20;

/// Arguments of `catalog build`.
#[derive(Args, Debug)]
pub struct Build {
    /// Catalog files in any form that an edge reads, also compressed, or snapshots. `-` reads standard input.
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// Snapshot to write. It is replaced when the new one is whole.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// File for the lines that are left out, one JSON object each: `file`, `line`, `reason` and `text`.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Number of the snapshot: edges take none with a lower number than they have. The seconds since 1970 if it is not
    /// given.
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
    /// Configuration of the edges: settings of domains, loops, the share of bad lines.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Memory in which links are sorted, in MiB. What does not fit is sorted in files next to the output.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: u32,
    /// State folder of an edge, whose changes by the API become part of the snapshot.
    #[arg(long, value_name = "DIR")]
    pub changes: Option<PathBuf>,
    /// Read each input once: the lines of all domains come before any link.
    #[arg(long)]
    pub domains_first: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'b> {
    #[serde(flatten)]
    facts: Facts,
    lines: u64,
    rejected: u64,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejects: Option<&'b Path>,
}

pub(super) fn run(build: &Build) -> Outcome {
    build.check_paths()?;
    let config = super::catalog_config(build.config.as_deref())?;
    let folder = build.output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let plan = Plan {
        config: &config,
        inputs: &build.inputs,
        temporary_dir: folder,
        memory: build.memory as usize * MIB,
        domains_first: build.domains_first,
        changes: build.changes.as_deref(),
    };
    let watcher = Watcher::new(build.rejects.as_deref())?;
    let built = plan.build(&build.output, build.generation.unwrap_or_else(clock::unix_secs), &watcher);
    watcher.finish()?;
    let built = built.map_err(super::failed_with)?;
    for warning in &built.warnings {
        print_error(&format!("warning: {warning}"));
    }
    let Built { header, lines, bad, warnings } = built;
    let facts = Facts::of(&header);
    if build.json {
        let warnings = warnings.iter().map(ToString::to_string).collect();
        print(&json(&Output { facts, lines, rejected: bad, warnings, rejects: build.rejects.as_deref() }))?;
    } else {
        let summary = facts.summary();
        print(&format!("{}: {summary}, {}\n", build.output.display(), rejected(bad)))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Build {
    /// Checks that nothing is written over that is read, or written as well.
    fn check_paths(&self) -> Result<(), ExitCode> {
        let usage = |mistake: String| Err(failed(Class::Usage, &mistake));
        let of_state = self.changes.iter().flat_map(|dir| [dir.join(CHANGES), dir.join(PRIVATE_SNAPSHOT)]);
        let read: Vec<_> = self.inputs.iter().chain(&self.config).cloned().chain(of_state).collect();
        let written = [("the output", Some(&self.output)), ("the file of --rejects", self.rejects.as_ref())];
        for (what, path) in written {
            if let Some(path) = path.filter(|path| read.iter().any(|read| is_same_file(read, path))) {
                return usage(format!("{what}, {}, is read by this command; name another file", path.display()));
            }
        }
        match &self.rejects {
            Some(rejects) if is_same_file(rejects, &self.output) => {
                usage(format!("--rejects names the output, {}; name another file", rejects.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether two paths lead to one file, which may not be there yet. Devices and pipes are not files in this sense.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|found| (found.is_file(), found.dev(), found.ino()));
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some((fs::canonicalize(folder).ok()?, path.file_name()?.to_owned()))
    };
    match (id(one), id(other)) {
        (Some(one), Some(other)) => one.0 && one == other,
        (None, None) => place(one).is_some_and(|one| Some(one) == place(other)),
        _ => false,
    }
}

fn rejected(bad: u64) -> String {
    if bad == 0 { "no line rejected".into() } else { format!("{} rejected", count(bad, "line")) }
}

/// Reports of a build: its progress, and the lines that are left out.
pub struct Watcher<'w> {
    progress: RefCell<Option<Progress>>,
    path: Option<&'w Path>,
    rejects: RefCell<Option<BufWriter<File>>>,
    failure: RefCell<Option<io::Error>>,
    /// Lines that were reported on standard error.
    reported: Cell<u64>,
}

/// Lines that are reported on standard error if they go to no file.
const REPORTED: u64 = 20;

#[derive(Serialize)]
struct Reject<'r> {
    file: &'r Path,
    line: u64,
    reason: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'r str>,
}

impl<'w> Watcher<'w> {
    pub fn new(rejects: Option<&'w Path>) -> Result<Self, ExitCode> {
        let file = rejects.map(File::create).transpose().map_err(|error| cannot_write(rejects, &error))?;
        Ok(Self {
            progress: RefCell::new(None),
            path: rejects,
            rejects: RefCell::new(file.map(BufWriter::new)),
            failure: RefCell::new(None),
            reported: Cell::new(0),
        })
    }

    /// Nothing more comes.
    pub fn finish(self) -> Result<(), ExitCode> {
        drop(self.progress.take());
        let failure = self.failure.take();
        let flushed = match self.rejects.into_inner() {
            Some(mut file) => file.flush(),
            None => Ok(()),
        };
        failure.map_or(flushed, Err).map_err(|error| cannot_write(self.path, &error))
    }
}

fn cannot_write(file: Option<&Path>, error: &io::Error) -> ExitCode {
    failed(Class::Io, &format!("cannot write {}: {error}", file.unwrap_or(Path::new("-")).display()))
}

impl Watch for Watcher<'_> {
    fn begin(&self, step: Step) {
        let bytes = |bytes: Option<u64>| bytes.map_or(Total::Unknown, Total::Bytes);
        let (verb, noun, total) = match step {
            Step::Domains { bytes: all } => ("looked for domains in", "lines", bytes(all)),
            Step::Links { bytes: all } => ("read", "lines", bytes(all)),
            Step::Changes { changes } => ("made", "changes", Total::Items(changes)),
            Step::Write => ("wrote", "links", Total::Unknown),
            Step::Loops { links } => ("looked for loops at", "links", Total::Items(links)),
        };
        // The bar of the step before ends first.
        drop(self.progress.take());
        self.progress.replace(Some(Progress::new(verb, noun, total)));
    }

    fn bytes(&self, more: u64) {
        if let Some(progress) = &*self.progress.borrow() {
            progress.bytes(more);
        }
    }

    fn item(&self) {
        if let Some(progress) = &*self.progress.borrow() {
            progress.item();
        }
    }

    fn reject(&self, rejected: &Rejected<'_>) {
        let Rejected { file, line, reason, text } = *rejected;
        if let Some(rejects) = &mut *self.rejects.borrow_mut() {
            let mut write = || {
                serde_json::to_writer(&mut *rejects, &Reject { file, line, reason, text })?;
                rejects.write_all(b"\n")
            };
            if let Err(error) = write() {
                self.failure.borrow_mut().get_or_insert(error);
            }
        } else if self.reported.get() < REPORTED {
            self.reported.set(self.reported.get() + 1);
            let show = || print_error(&format!("{}, line {line}: {reason}", file.display()));
            match &*self.progress.borrow() {
                Some(progress) => progress.suspend(show),
                None => show(),
            }
        }
    }
}
