//! `clickedge reload`, `upgrade` and `drain`: what the running service does without failing a request.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;

use super::{
    exit_code,
    output::{report, shown},
};
use crate::{
    config,
    runtime::Class,
    server::control::{ControlError, Request, ask},
    spool::{disk::RealDisk, inspect::overview},
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

/// Arguments of `reload`.
#[derive(Args, Debug)]
pub struct Reload {
    #[command(flatten)]
    pub running: Running,
    /// Take the catalog also if it is far smaller or larger than the current one, or older.
    #[arg(long)]
    pub accept: bool,
}

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub struct Running {
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
        let pid = ask(&config.capture.dir, &request, progress)?;
        let pid = pid.map_or_else(String::new, |pid| format!(" {pid}"));
        println!("ok: process{pid} answers clicks; the former one answers what it has accepted, and ends");
        Ok(ExitCode::SUCCESS)
    };
    or_reported(ask())
}

pub(super) fn reload(reload: &Reload) -> ExitCode {
    let ask = || {
        let config = config::load(&reload.running.config)?;
        ask(&config.capture.dir, &Request::Reload { accept: reload.accept }, progress)?;
        println!("ok: reloaded");
        Ok(ExitCode::SUCCESS)
    };
    or_reported(ask())
}

pub(super) fn drain(running: &Running) -> ExitCode {
    let ask = || {
        let config = config::load(&running.config)?;
        let pid = ask(&config.capture.dir, &Request::Drain, progress)?;
        let shutdown = &config.shutdown;
        println!("delivering what waits, for {} s at most", shutdown.drain_secs);
        let most = Duration::from_secs(shutdown.lame_duck_secs + shutdown.grace_secs + shutdown.drain_secs + 10);
        let until = Instant::now() + most;
        while pid.is_some_and(runs) {
            if Instant::now() > until {
                let error = format!("the service runs after {} s", most.as_secs());
                return Err(ControlError::Failed(error, Class::Unavailable).into());
            }
            std::thread::sleep(LOOK);
        }
        let left = RealDisk::new(&config.spool.dir).and_then(|disk| overview(&disk, &config.spool.dir))?;
        let mut waiting = 0;
        for (name, feed) in &left.feeds {
            let events = feed.journal_events + feed.object_events;
            if events > 0 {
                println!("{name}: {events} events wait");
            }
            waiting += events;
        }
        if waiting == 0 {
            println!("ok: stopped; nothing waits");
            return Ok(ExitCode::SUCCESS);
        }
        println!("stopped; the next start delivers what waits, see `clickedge spool ls`");
        Ok(super::exit::code(Class::Unavailable))
    };
    or_reported(ask())
}

/// Prints what the running process says meanwhile.
fn progress(message: &str) {
    println!("{}", shown(message));
}

fn or_reported(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        report(&error);
        exit_code(&error)
    })
}

/// Whether a process has not ended.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}
