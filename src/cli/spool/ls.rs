//! `clickedge spool ls`: what is pending, per feed.

use std::{fmt::Write, process::ExitCode};

use clap::Args;

use super::{Outcome, Which, open, spool_failed};
use crate::{
    cli::output::{count, json, print},
    spool::inspect::{Overview, overview},
};

/// Arguments of `spool ls`.
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    pub which: Which,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &Ls) -> Outcome {
    let (config, disk) = open(&args.which)?;
    let dir = &config.spool.dir;
    let mut survey = overview(&disk, dir).map_err(|error| spool_failed(dir, &error))?;
    for (name, feed) in &mut survey.feeds {
        feed.unclaimed = feed.objects > 0 && config.feeds.iter().all(|configured| configured.name != *name);
    }
    for feed in config.feeds {
        survey.feeds.entry(feed.name).or_default();
    }
    print(&if args.json { json(&survey) } else { table(&survey) })?;
    Ok(ExitCode::SUCCESS)
}

fn table(survey: &Overview) -> String {
    let mut rows =
        vec![["FEED", "IN JOURNAL", "OBJECTS", "EVENTS", "BYTES", "OLDEST", "KEPT"].map(str::to_owned).to_vec()];
    for (name, feed) in &survey.feeds {
        let age = feed.oldest_secs.map_or("-".to_owned(), |age| format!("{age} s"));
        let mut row = vec![name.clone(), feed.journal_events.to_string(), feed.objects.to_string()];
        row.extend([feed.object_events.to_string(), feed.object_bytes.to_string(), age]);
        row.push(format!("{}, {} bytes", count(feed.kept_objects, "object"), feed.kept_bytes));
        rows.push(row);
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    let journal = &survey.journal;
    _ = write!(text, "journal: {}, {} bytes", count(journal.segments, "segment"), journal.bytes);
    let damaged = journal.damages.iter().filter(|damage| !damage.torn).count() as u64;
    if damaged > 0 {
        _ = write!(text, ", {} (see `clickedge spool inspect`)", count(damaged, "damaged place"));
    }
    if journal.lost_events > 0 {
        _ = write!(text, ", {} lost to damage", count(journal.lost_events, "event"));
    }
    text.push('\n');
    if let Some(identity) = &survey.identity {
        _ = writeln!(text, "identity: {identity}, in the keys of its objects");
    }
    for (name, feed) in survey.feeds.iter().filter(|(_, feed)| feed.unclaimed) {
        let objects = count(feed.objects, "object");
        _ = writeln!(
            text,
            "not configured: {name}, with {objects}; configure it again, or use `clickedge spool drop-feed {name}`"
        );
    }
    let unreadable: u64 = survey.feeds.values().map(|feed| feed.unreadable_objects).sum();
    if unreadable > 0 {
        _ = writeln!(
            text,
            "unreadable: {}; the edge moves what it cannot read to quarantine/",
            count(unreadable, "object")
        );
    }
    if survey.damaged_states > 0 {
        let files = count(survey.damaged_states, "damaged file");
        _ = writeln!(text, "state: {files}; the next start rebuilds it");
    }
    if survey.quarantined_files > 0 {
        let quarantine = survey.dir.join("quarantine");
        _ = writeln!(text, "quarantine: {} in {}", count(survey.quarantined_files, "file"), quarantine.display());
    }
    text
}
