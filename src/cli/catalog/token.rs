//! `clickedge catalog token`: makes a token for the API that changes links.

use std::process::ExitCode;

use clap::Args;

use crate::{
    catalog::tokens,
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
    /// Let the token read links, and change nothing.
    #[arg(long)]
    read_only: bool,
}

pub(super) fn run(args: &Token) -> Result<ExitCode, ExitCode> {
    let token =
        tokens::generate().map_err(|error| failed(Class::Io, &format!("the system has no random bytes: {error}")))?;
    let line = tokens::line_of(&token, &args.name, &args.workspaces, !args.read_only)
        .map_err(|reason| failed(Class::Usage, &reason))?;
    print(&format!("token: {}\nline:  {line}\n", *token)).map(|()| ExitCode::SUCCESS)
}
