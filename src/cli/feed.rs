//! `clickedge feed`: questions about a feed that was delivered.

mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Arguments of `feed`.
#[derive(Args, Debug)]
pub struct Feed {
    /// What is done.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a feed.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Prove that a feed is complete and without duplicates.
    ///
    /// Reads a folder or a bucket as a feed was delivered into it. Checks that every object in the manifests is
    /// present with its size, SHA-256, number of events and first and last id; that the numbers of objects have no gap;
    /// that every manifest names the one before it with its SHA-256; that every event is valid, is in the partition of
    /// its hour, and occurs once. Objects that are too new for a manifest are no problem. Replays, below `_replay/`,
    /// are left out.
    ///
    /// Exits with 0 when the feed is complete, with 65 when there is a problem, and with 66 when SOURCE cannot be read
    /// or has no objects of a feed.
    Verify(Box<verify::Verify>),
}

pub(super) fn run(feed: &Feed) -> ExitCode {
    match &feed.what {
        What::Verify(verify) => verify::run(verify),
    }
}
