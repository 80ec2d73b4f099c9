//! `clickedge feed test`: delivers sample events to a feed and reads them back.

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, Which};
use crate::{
    cli::output::{count, failed, print},
    deliver::{probe::place, trial},
    runtime::Classified,
};

/// Arguments of `feed test`.
#[derive(Args, Debug)]
pub struct Test {
    #[command(flatten)]
    pub which: Which,
}

pub(super) fn run(args: &Test) -> Outcome {
    let config = args.which.load()?;
    let feed = args.which.find(&config)?;
    let trial = trial::run(feed, &config.edge.pop)
        .map_err(|error| failed(error.class(), &format!("feed {}: {error}", feed.name)))?;
    let place = place(&feed.sink);
    let place = place.trim_end_matches('/');
    let read = if trial.read_back { "and read them back unchanged" } else { "which this sink cannot read back" };
    print(&format!(
        "feed {}: delivered {} in {} as {place}/{}, {read}\n",
        feed.name,
        count(trial.events, "sample event"),
        count(trial.bytes, "byte"),
        trial.key
    ))?;
    Ok(ExitCode::SUCCESS)
}
