//! `clickedge spool drop-feed`: drops what waits for a feed that is not configured any more.

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, Which, open, spool_failed, unknown};
use crate::{
    cli::output::{count, failed, print},
    runtime::Class,
    spool::{inspect::overview, unclaimed},
};

/// Arguments of `spool drop-feed`.
#[derive(Args, Debug)]
pub struct DropFeed {
    #[command(flatten)]
    pub which: Which,
    /// Name of the feed.
    #[arg(value_name = "FEED")]
    pub feed: String,
}

pub(super) fn run(args: &DropFeed) -> Outcome {
    let (config, disk) = open(&args.which)?;
    let (dir, name) = (&config.spool.dir, args.feed.as_str());
    if config.feeds.iter().any(|feed| feed.name == name) {
        let message = format!(
            "the feed {name:?} is configured, and its objects are delivered; remove it from the configuration and reload \
             the edge first"
        );
        return Err(failed(Class::Usage, &message));
    }
    let survey = overview(&disk, dir).map_err(|error| spool_failed(dir, &error))?;
    let Some(feed) = survey.feeds.get(name) else { return Err(unknown(&config, name)) };
    unclaimed::ask(&disk, dir, name).map_err(|error| spool_failed(dir, &error))?;
    let (objects, events) = (count(feed.objects, "object"), count(feed.object_events, "event"));
    print(&format!(
        "{objects} with {events} of {name} are dropped and counted as `removed`: within a second, or at the next start\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}
