//! `clickedge spool replay`: sends events of a time range again.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use jiff::Timestamp;

use super::{Outcome, Which, known, open, spool_failed, time, unknown};
use crate::{
    cli::output::{count, failed, json, print},
    object::key::REPLAYS,
    runtime::Class,
    spool::{
        identity,
        replay::{Replay, ReplayError},
        stored::{ReadError, kept, objects_below},
    },
};

/// Arguments of `spool replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub which: Which,
    /// Feed whose events are sent again.
    #[arg(long, value_name = "NAME")]
    pub feed: String,
    /// Feed that receives them, instead of the same one.
    #[arg(long, value_name = "NAME")]
    pub into: Option<String>,
    /// Time of the first click, `2026-11-23T09:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub from: Timestamp,
    /// Time of the first click that is left out.
    #[arg(long, value_name = "TIME")]
    pub to: Timestamp,
    /// Folder with the objects of the feed, in the same folders as below the feed's prefix.
    #[arg(long, value_name = "FOLDER")]
    pub source: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ReplayArgs) -> Outcome {
    let (config, disk) = open(&args.which)?;
    let dir = &config.spool.dir;
    let into = args.into.as_ref().unwrap_or(&args.feed);
    let Some(feed) = config.feeds.iter().find(|feed| feed.name == *into) else {
        return Err(unknown(&config, into));
    };
    let time = time(Some(args.from), Some(args.to))?;
    let objects = match &args.source {
        Some(source) if !source.is_dir() => {
            return Err(failed(Class::NoInput, &format!("{} is not a readable folder", source.display())));
        }
        Some(source) => {
            let names: Vec<_> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
            objects_below(&disk, source, &args.feed, &names)
        }
        None => {
            known(&config, &disk, &args.feed)?;
            kept(&disk, dir, &args.feed)
        }
    };
    let objects = objects.map_err(|error| failed(Class::Io, &error.to_string()))?;
    let id = Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
    // A spool that no process has opened yet has none, and the id of the replay alone makes its keys unique.
    let identity = identity::read(&disk, dir).map_err(|error| spool_failed(dir, &error))?;
    let identity = &identity.unwrap_or_else(identity::new);
    let replay = Replay { spool: dir, pop: &config.edge.pop, identity, feed, id: &id, time };
    let replayed = replay.run(&disk, &objects).map_err(|error| {
        let damaged = matches!(error, ReplayError::Object { source: ReadError::Damaged(_), .. });
        failed(if damaged { Class::Data } else { Class::Io }, &format!("nothing was sent: {error}"))
    })?;
    if replayed.events == 0 {
        let place = match &args.source {
            Some(source) => format!("in {}", source.display()),
            None => "among the delivered objects that are retained; name a folder with --source".to_owned(),
        };
        return Err(failed(
            Class::NoInput,
            &format!("there are no events of {:?} of that time range {place}", args.feed),
        ));
    }
    let text = format!(
        "{} in {} go to {into}, below {REPLAYS}/{}\n",
        count(replayed.events, "event"),
        count(replayed.keys.len() as u64, "object"),
        replayed.id
    );
    print(&if args.json { json(&replayed) } else { text })?;
    Ok(ExitCode::SUCCESS)
}
