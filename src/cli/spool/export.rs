//! `clickedge spool export`: prints events.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use jiff::Timestamp;

use super::{Outcome, Which, known, open, spool_failed, time};
use crate::{
    cli::{
        exit,
        output::{count, print_error},
    },
    click::EventId,
    runtime::Class,
    spool::export::{Part, events},
};

/// Arguments of `spool export`.
#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    pub which: Which,
    /// Feed whose events are printed.
    #[arg(long, value_name = "NAME")]
    pub feed: String,
    /// Print delivered events that are retained, instead of pending ones.
    #[arg(long)]
    pub delivered: bool,
    /// Time of the first click, `2026-11-23T09:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Time of the first click that is left out.
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,
}

pub(super) fn run(args: &Export) -> Outcome {
    let (config, disk) = open(&args.which)?;
    let time = time(args.from, args.to)?;
    known(&config, &disk, &args.feed)?;
    let part = if args.delivered { Part::Kept } else { Part::Waiting };
    let dir = &config.spool.dir;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let seen = events(&disk, dir, &args.feed, part, &time, |_: EventId, event| {
        out.write_all(event)?;
        out.write_all(b"\n")
    });
    let seen = match seen.and_then(|seen| out.flush().map(|()| seen)) {
        Ok(seen) => seen,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(spool_failed(dir, &error)),
    };
    if seen.gone > 0 {
        let what = if args.delivered { "removed" } else { "delivered" };
        print_error(&format!("note: {what} in the meantime, and left out: {}", count(seen.gone, "object")));
    }
    for (path, error) in &seen.damaged {
        print_error(&format!("error: {}: not a whole object: {error}", path.display()));
    }
    Ok(if seen.damaged.is_empty() { ExitCode::SUCCESS } else { exit::code(Class::Data) })
}
