//! `clickedge catalog`: catalogs as files.

mod hash_password;
mod import;
mod token;

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
    /// Make the `passwordHash` of a link.
    ///
    /// Reads a password, one line, from standard input: arguments are visible to other users of the machine. Prints
    /// its hash, argon2id with 16 MiB and three passes, and a new salt each time.
    HashPassword,
    /// Make a token for the API that changes links, and the line of the tokens file for it.
    ///
    /// Prints the token, for the program that uses it, and the line, for the file that `admin.tokens_file` names. The
    /// file gets a hash only: the token cannot be printed again. Reload the edges to use it.
    Token(token::Token),
}

type Outcome = Result<ExitCode, ExitCode>;

pub(super) fn run(catalog: &Catalog) -> ExitCode {
    let outcome = match &catalog.what {
        What::Import(args) => import::run(args),
        What::HashPassword => hash_password::run(),
        What::Token(args) => token::run(args),
    };
    outcome.unwrap_or_else(|code| code)
}
