//! `clickedge feed retry`: asks the running edge to retry a feed now.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::{Outcome, Which};
use crate::cli::{
    edge::Reach,
    exit_code,
    output::{count, print, report},
};

/// Arguments of `feed retry`.
#[derive(Args, Debug)]
pub struct Retry {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub reach: Reach,
}

/// What the edge answers.
#[derive(Deserialize)]
struct Retried {
    parked: bool,
    waiting: u64,
}

pub(super) fn run(args: &Retry) -> Outcome {
    let name = &args.which.name;
    let Retried { parked, waiting } = retry(args).map_err(|error| {
        report(&error);
        exit_code(&error)
    })?;
    let state = if parked { "was parked" } else { "was not parked" };
    print(&format!("feed {name}: retrying now; it {state}, with {} waiting\n", count(waiting, "object")))?;
    Ok(ExitCode::SUCCESS)
}

fn retry(args: &Retry) -> anyhow::Result<Retried> {
    let edge = args.reach.edge(&args.which.config)?;
    let feed: String = url::form_urlencoded::byte_serialize(args.which.name.as_bytes()).collect();
    let answer = edge.post(&format!("/v1/feeds/{feed}/retry"))?;
    serde_json::from_str(&answer).context("the edge is of another release: its answer is unknown")
}
