//! `clickedge catalog verify`: reads a whole snapshot, and holds it to what its header says.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    Outcome, failed_with,
    progress::{Progress, Total},
    stat::Facts,
};
use crate::{
    catalog::{build::open_snapshot, snapshot::file},
    cli::output::{failed, json, print},
    config,
    runtime::Class,
};

/// Arguments of `catalog verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// Snapshot.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print what it holds as JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(verify: &Verify) -> Outcome {
    let file = &verify.file;
    let header = {
        let bytes = file::header(file).map_err(failed_with)?.file_bytes();
        let progress = Progress::new("compared the checksum of", "files", Total::Bytes(bytes));
        file::verify(file, |more| progress.bytes(more)).map_err(failed_with)?
    };
    let catalog = open_snapshot(file, &config::Catalog::default()).map_err(failed_with)?;
    let progress = Progress::new("verified", "links", Total::Items(header.links));
    let damage = catalog.check(|| progress.item()).err();
    drop(progress);
    if let Some(damage) = damage {
        return Err(failed(
            Class::Data,
            &format!("the snapshot {} is damaged: {damage}; build it again", file.display()),
        ));
    }
    let facts = Facts::of(&header);
    let text = || format!("{}: ok, {}\n", file.display(), facts.summary());
    print(&if verify.json { json(&facts) } else { text() })?;
    Ok(ExitCode::SUCCESS)
}
