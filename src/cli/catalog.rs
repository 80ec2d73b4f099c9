//! `clickedge catalog`: catalogs as files.

mod hash_password;
mod import;
mod publish;

use std::process::ExitCode;

use clap::{Args, Subcommand};

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
    /// Turn the export of another service into a catalog.
    ///
    /// Reports on standard error what is taken, changed and left behind of each field, and every record that is
    /// skipped. Exits with 65 when a record was skipped, after all others were written.
    Import(import::Import),
    /// Publish a snapshot as the next generation of a fleet's catalog.
    ///
    /// Verifies the file, uploads it, and moves the head of the bucket to it, from which all edges take it. Exits with
    /// 64 when the snapshot lacks changes that were made since the last one, with 65 when it is damaged, and with 69
    /// when the bucket is away: the bucket then has the former head.
    Publish(publish::Publish),
    /// Make the `passwordHash` of a link.
    ///
    /// Reads a password, one line, from standard input: arguments are visible to other users of the machine. Prints
    /// its hash, argon2id with 16 MiB and three passes, and a new salt each time.
    HashPassword,
}

type Outcome = Result<ExitCode, ExitCode>;

pub(super) fn run(catalog: &Catalog) -> ExitCode {
    let outcome = match &catalog.what {
        What::Import(args) => import::run(args),
        What::Publish(args) => publish::run(args),
        What::HashPassword => hash_password::run(),
    };
    outcome.unwrap_or_else(|code| code)
}
