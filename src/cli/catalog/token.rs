//! `clickedge catalog token`: makes a token for the admin listener.

use std::process::ExitCode;

use clap::Args;

use crate::{
    catalog::tokens::{self, Right},
    cli::output::{failed, print},
    runtime::Class,
};

/// Arguments of `catalog token`.
#[derive(Args, Debug)]
pub struct Token {
    /// Name of the token in the audit log: letters, digits and `-_.@`.
    name: String,
    /// Id of a workspace whose links the token sees; once for each. Without it, the token sees those of all.
    #[arg(long = "workspace", value_name = "ID")]
    workspaces: Vec<String>,
    /// Let the token read, and change nothing. Without `--workspace`, it reads the state of the edge as well: metrics,
    /// counts, status.
    #[arg(long)]
    read_only: bool,
    /// Let the token also order the edge: retry a feed, reload.
    #[arg(long, conflicts_with_all = ["read_only", "workspaces"])]
    admin: bool,
}

pub(super) fn run(args: &Token) -> Result<ExitCode, ExitCode> {
    let token =
        tokens::generate().map_err(|error| failed(Class::Io, &format!("the system has no random bytes: {error}")))?;
    let right = match args {
        Token { admin: true, .. } => Right::Admin,
        Token { read_only: true, .. } => Right::Read,
        _ => Right::Write,
    };
    let line = tokens::line_of(&token, &args.name, &args.workspaces, right)
        .map_err(|reason| failed(Class::Usage, &reason))?;
    print(&format!("token: {}\nline:  {line}\n", *token)).map(|()| ExitCode::SUCCESS)
}
