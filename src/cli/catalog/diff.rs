//! `clickedge catalog diff`: what differs between two catalogs.

use std::{
    env,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Outcome,
    build::Watcher,
    failed_with,
    progress::{Progress, Total},
};
use crate::{
    catalog::{
        Catalog,
        build::{Plan, open_snapshot},
        diff::{Change, Difference, differences},
        snapshot::file,
    },
    cli::output::{failed, json, print},
    config,
    runtime::Class,
};

/// Arguments of `catalog diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// Snapshot or catalog file before.
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// Snapshot or catalog file after.
    #[arg(value_name = "B")]
    pub after: PathBuf,
    /// Configuration of the edges, for catalog files.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print only how many links and domains were added, changed and removed.
    #[arg(long)]
    pub counts: bool,
    /// Print the counts as JSON.
    #[arg(long, requires = "counts")]
    pub json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    links: Numbers,
    domains: Numbers,
}

#[derive(Debug, Default, Serialize)]
struct Numbers {
    added: u64,
    changed: u64,
    removed: u64,
}

#[derive(Serialize)]
struct Line<'d> {
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'d RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'d RawValue>,
}

pub(super) fn run(diff: &Diff) -> Outcome {
    let config = super::catalog_config(diff.config.as_deref())?;
    let (before, after) = (open(&diff.before, &config)?, open(&diff.after, &config)?);
    let mut counts = Counts::default();
    let mut out = BufWriter::new(io::stdout().lock());
    let links = (before.links() + after.links()) as u64;
    // A bar would be between the lines.
    let progress = diff.counts.then(|| Progress::new("compared", "links", Total::Items(links)));
    let seen = || progress.iter().for_each(Progress::item);
    let written = differences(&before, &after, seen, |difference| {
        counts.add(difference);
        if diff.counts { Ok(()) } else { write(&mut out, difference) }
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(failed(Class::Io, &format!("cannot write to standard output: {error}")));
        }
        _ => {}
    }
    drop((out, progress));
    if diff.counts {
        print(&if diff.json { json(&counts) } else { counts.text() })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a snapshot, or builds one of a catalog file that is deleted when it is no longer open.
fn open(path: &Path, config: &config::Catalog) -> Result<Catalog, ExitCode> {
    let is_snapshot = path.as_os_str() != "-"
        && std::fs::File::open(path)
            .and_then(|mut file| file::is_snapshot(&mut file))
            .map_err(|error| failed(Class::of_read(&error), &format!("cannot read {}: {error}", path.display())))?;
    if is_snapshot {
        return open_snapshot(path, config).map_err(failed_with);
    }
    let dir = env::temp_dir();
    let built = dir.join(format!("clickedge-diff-{}.snapshot", process::id()));
    let plan = Plan {
        config,
        inputs: &[path.to_owned()],
        temporary_dir: &dir,
        memory: 256 << 20,
        domains_first: false,
        changes: None,
    };
    let watcher = Watcher::new(None)?;
    let outcome = plan.build(&built, 0, &watcher);
    watcher.finish()?;
    outcome.map_err(failed_with)?;
    let catalog = open_snapshot(&built, config).map_err(failed_with);
    _ = std::fs::remove_file(&built);
    catalog
}

fn write(out: &mut impl Write, difference: &Difference) -> io::Result<()> {
    let change = match difference.change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Removed => "removed",
    };
    let raw = |json: &Option<String>| json.clone().map(RawValue::from_string).transpose();
    let (before, after) = (raw(&difference.before)?, raw(&difference.after)?);
    serde_json::to_writer(&mut *out, &Line { change, before: before.as_deref(), after: after.as_deref() })?;
    out.write_all(b"\n")
}

impl Counts {
    fn add(&mut self, difference: &Difference) {
        let numbers = if difference.is_domain { &mut self.domains } else { &mut self.links };
        match difference.change {
            Change::Added => numbers.added += 1,
            Change::Changed => numbers.changed += 1,
            Change::Removed => numbers.removed += 1,
        }
    }

    fn text(&self) -> String {
        let line = |what, Numbers { added, changed, removed }: &Numbers| {
            format!("{what}: {added} added, {changed} changed, {removed} removed\n")
        };
        line("links", &self.links) + &line("domains", &self.domains)
    }
}
