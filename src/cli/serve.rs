//! `clickedge serve`: the service.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{exit_code, output::report};

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub struct Serve {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
}

pub(super) fn run(serve: &Serve) -> ExitCode {
    match crate::server::serve(&serve.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            exit_code(&error)
        }
    }
}
