//! `clickedge spool`: what is pending on this edge, and what can be done with it.

mod drop_feed;
mod export;
mod inspect;
mod ls;
mod replay;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{
    exit_code,
    output::{failed, report},
};
use crate::{
    config::{self, Config},
    runtime::Class,
    spool::{
        disk::{Disk, RealDisk},
        inspect::knows,
    },
};

/// Arguments of `spool`.
#[derive(Args, Debug)]
pub struct Spool {
    /// What is done.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a spool. None of it disturbs a running edge.
#[derive(Debug, Subcommand)]
pub enum What {
    /// List what is pending: per feed, number of events, bytes and age.
    ///
    /// Clicks that are still in the rings are not included: the metrics of the running edge count those.
    Ls(ls::Ls),
    /// Inspect a segment of the journal, an object, a manifest or a rollup.
    ///
    /// Exits with 65 when a part of it is damaged. After a crash the end of the last segment is often torn: the process
    /// died while it wrote. Its clicks were still in the rings, and nothing is lost.
    Inspect(inspect::Inspect),
    /// Send events of a time range again, in new objects below `_replay/`.
    ///
    /// Takes them from the delivered objects that are retained (`spool.retain_secs`), or from a folder with objects of
    /// the feed. A running edge delivers the new objects within a second; otherwise the next start does. The events
    /// keep their ids, so a consumer that deduplicates sees each once.
    Replay(replay::ReplayArgs),
    /// Print events, one a line: pending ones, or delivered ones that are retained.
    ///
    /// Exits with 65 when an object is damaged, after the events of all others.
    Export(export::Export),
    /// Drop the objects that wait for a feed that is not configured any more.
    ///
    /// To deliver them instead, configure a feed of that name again.
    DropFeed(drop_feed::DropFeed),
}

/// Which spool.
#[derive(Args, Debug)]
pub struct Which {
    /// Configuration file, which names the spool.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
}

type Outcome = Result<ExitCode, ExitCode>;

pub(super) fn run(spool: &Spool) -> ExitCode {
    let outcome = match &spool.what {
        What::Ls(args) => ls::run(args),
        What::Inspect(args) => inspect::run(args),
        What::Replay(args) => replay::run(args),
        What::Export(args) => export::run(args),
        What::DropFeed(args) => drop_feed::run(args),
    };
    outcome.unwrap_or_else(|code| code)
}

/// In milliseconds since the Unix epoch.
fn time(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Range<u64>, ExitCode> {
    let millis = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
    let time = from.map_or(0, millis)..to.map_or(u64::MAX, millis);
    if time.is_empty() { Err(failed(Class::Usage, &"--from must be before --to")) } else { Ok(time) }
}

/// Rejects a feed that neither the configuration nor the spool knows.
fn known(config: &Config, disk: &dyn Disk, feed: &str) -> Result<(), ExitCode> {
    let dir = &config.spool.dir;
    if config.feeds.iter().any(|known| known.name == feed)
        || knows(disk, dir, feed).map_err(|error| spool_failed(dir, &error))?
    {
        return Ok(());
    }
    Err(unknown(config, feed))
}

fn unknown(config: &Config, feed: &str) -> ExitCode {
    let names: Vec<_> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
    failed(Class::Usage, &format!("there is no feed {feed:?}; there are: {}", names.join(", ")))
}

fn spool_failed(dir: &Path, error: &io::Error) -> ExitCode {
    let class = if error.kind() == io::ErrorKind::InvalidData { Class::Data } else { Class::Io };
    failed(class, &format!("{}: {error}", dir.display()))
}

fn open(which: &Which) -> Result<(Config, impl Disk), ExitCode> {
    let config = config::load(&which.config).map_err(|error| {
        let error = error.into();
        report(&error);
        exit_code(&error)
    })?;
    let disk = RealDisk::new(&config.spool.dir).map_err(|error| {
        failed(Class::NoInput, &format!("cannot open the spool {}: {error}", config.spool.dir.display()))
    })?;
    Ok((config, disk))
}
