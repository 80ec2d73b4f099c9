//! `clickedge generate`: files to begin with, made from the code that reads or writes them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::print;
use crate::{config::generate::default_toml, event, object::manifest, stats::rollup};

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct Generate {
    /// What to print.
    #[command(subcommand)]
    pub what: What,
}

/// What `generate` can print.
#[derive(Debug, Subcommand)]
pub enum What {
    /// The default configuration: every key, with its meaning.
    Config,
    /// The JSON schema of the click events that customers receive.
    Schema,
    /// The JSON schema of the manifests that prove a feed complete.
    ManifestSchema,
    /// The JSON schema of a line of the rollups that some feeds get.
    RollupSchema,
}

pub(super) fn run(generate: &Generate) -> ExitCode {
    let text = match generate.what {
        What::Config => default_toml(),
        What::Schema => event::JSON_SCHEMA.to_owned(),
        What::ManifestSchema => manifest::JSON_SCHEMA.to_owned(),
        What::RollupSchema => rollup::JSON_SCHEMA.to_owned(),
    };
    match print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}
