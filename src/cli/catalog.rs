//! `clickedge catalog`: catalogs as files.

mod build;
mod diff;
mod hash_password;
mod import;
mod lookup_link;
mod progress;
#[cfg(feature = "s3")]
mod publish;
mod stat;
mod token;
mod verify;

use std::{path::Path, process::ExitCode};

use clap::{Args, Subcommand};

use super::{exit::exit_code, output::report};
use crate::config;

/// Arguments of `catalog`.
#[derive(Args, Debug)]
pub struct Catalog {
    /// What is done.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a catalog.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Build a snapshot of catalog files.
    ///
    /// A snapshot is a catalog as edges use it: it opens in milliseconds, whatever its size. Memory is bounded by
    /// `--memory`, shared texts, and settings of domains. Of two lines with the same domain and slashtag the first one
    /// stays. Lines that are bad are reported and left out; with more of them than `catalog.max_bad_ratio` allows,
    /// nothing is written, and the exit code is 65.
    Build(build::Build),
    /// Print what the header of a snapshot says.
    Stat(stat::Stat),
    /// Print what differs between two catalogs, as NDJSON.
    ///
    /// One object for each link or domain that was added, changed or removed, with what it was before and is after.
    Diff(diff::Diff),
    /// Read a whole snapshot, and compare it with its header.
    ///
    /// Compares the checksum, reads and looks up every link, and adds up their hashes. Exits with 65 when something is
    /// wrong.
    Verify(verify::Verify),
    /// Print a link of a snapshot in the form of the catalog file.
    ///
    /// Exits with 65 when the snapshot has no such link.
    Lookup(lookup_link::Lookup),
    /// Turn the export of another service into a catalog.
    ///
    /// Reports on standard error what is taken, changed and left behind of each field, and every record that is
    /// skipped. Exits with 65 when a record was skipped, after all others were written.
    Import(import::Import),
    /// Publish a snapshot as the next generation of a fleet's catalog.
    ///
    /// Without a file, `--fold` makes one of what the bucket has. Verifies the file, uploads it, and moves the head of
    /// the bucket to it, from which all edges take it. Exits with 64 when the snapshot lacks changes that were made
    /// since the last one, with 65 when it is damaged, and with 69 when the bucket is away: the bucket then has the
    /// former head.
    #[cfg(feature = "s3")]
    Publish(publish::Publish),
    /// Make the `passwordHash` of a link.
    ///
    /// Reads a password, one line, from standard input: arguments are visible to other users of the machine. Prints
    /// its hash, argon2id with 16 MiB and three passes, and a new salt each time.
    HashPassword,
    /// Make a token for the admin listener, and the line of the tokens file for it.
    ///
    /// Prints the token, for the program that uses it, and the line, for the file that `admin.tokens_file` names. The
    /// file gets a hash only: the token cannot be printed again. Reload the edges to use it.
    Token(token::Token),
}

type Outcome = Result<ExitCode, ExitCode>;

pub(super) fn run(catalog: &Catalog) -> ExitCode {
    let outcome = match &catalog.what {
        What::Build(args) => build::run(args),
        What::Stat(args) => stat::run(args),
        What::Diff(args) => diff::run(args),
        What::Verify(args) => verify::run(args),
        What::Lookup(args) => lookup_link::run(args),
        What::Import(args) => import::run(args),
        #[cfg(feature = "s3")]
        What::Publish(args) => publish::run(args),
        What::HashPassword => hash_password::run(),
        What::Token(args) => token::run(args),
    };
    outcome.unwrap_or_else(|code| code)
}

/// The catalog's section of a configuration; the defaults without one.
fn catalog_config(file: Option<&Path>) -> Result<config::Catalog, ExitCode> {
    let Some(file) = file else { return Ok(config::Catalog::default()) };
    config::load(file).map(|config| config.catalog).map_err(failed_with)
}

/// Reports an error, and returns its exit code.
fn failed_with(error: impl Into<anyhow::Error>) -> ExitCode {
    let error = error.into();
    report(&error);
    exit_code(&error)
}
