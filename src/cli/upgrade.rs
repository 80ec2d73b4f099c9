//! `clickedge upgrade` and `clickedge drain`: what the running service does without failing a request.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;

use super::{exit_code, output::report};
use crate::{
    config,
    server::control::{ControlError, Request, ask},
};

/// Time between two looks at whether the service has stopped.
const LOOK: Duration = Duration::from_millis(50);

/// Arguments of `upgrade`.
#[derive(Args, Debug)]
pub struct Upgrade {
    /// Configuration file of the running service.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
    /// Start this binary instead of the one that is installed where the running process was started from.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Seconds for the new process to become ready.
    #[arg(long, value_name = "SECS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub struct Drain {
    /// Configuration file of the running service.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
}

pub(super) fn run(upgrade: &Upgrade) -> ExitCode {
    let ask = || {
        let config = config::load(&upgrade.config)?;
        let program =
            upgrade.binary.as_ref().map(std::path::absolute).transpose().context("cannot find the binary")?;
        let request = Request::Upgrade { program, timeout_secs: upgrade.timeout };
        anyhow::Ok(ask(&config.capture.dir, &request, |message| println!("{message}"))?)
    };
    match ask() {
        Ok(pid) => {
            let pid = pid.map_or_else(String::new, |pid| format!(" {pid}"));
            println!("ok: process{pid} answers clicks; the former one answers what it has accepted, and ends");
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&error);
            exit_code(&error)
        }
    }
}

pub(super) fn drain(drain: &Drain) -> ExitCode {
    let ask = || {
        let config = config::load(&drain.config)?;
        let rings = &config.capture.dir;
        ask(rings, &Request::Drain, |message| println!("{message}"))?;
        println!("delivering what waits, for {} s at most", config.shutdown.drain_secs);
        let shutdown = &config.shutdown;
        let most = Duration::from_secs(shutdown.lame_duck_secs + shutdown.grace_secs + shutdown.drain_secs + 10);
        let until = Instant::now() + most;
        while crate::capture::folder::is_locked(rings)? {
            if Instant::now() > until {
                return Err(ControlError::Failed(format!("the service runs after {} s", most.as_secs())).into());
            }
            std::thread::sleep(LOOK);
        }
        anyhow::Ok(())
    };
    match ask() {
        Ok(()) => {
            println!("ok: stopped; `clickedge spool ls` lists what still waits");
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&error);
            exit_code(&error)
        }
    }
}
