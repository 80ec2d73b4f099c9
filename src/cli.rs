//! The command line: what can be asked, and with which exit code it is answered.
//!
//! Exit codes are those of `sysexits.h`, so that systemd and scripts can tell a bad configuration, which no restart
//! mends, from a port that is taken, which time may.

mod check;
mod feed;
mod generate;
mod spool;

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    capture::CaptureError, catalog::LoadError, config::ConfigError, files::mmdb::DatabaseError, pipeline::StartError,
    spool::SpoolError,
};

/// The command line was wrong.
pub const USAGE: u8 = 64;
/// A catalog or a database was read, and refused; or a feed is not what it should be.
pub const DATA: u8 = 65;
/// A file that was named cannot be read.
pub const NO_INPUT: u8 = 66;
/// An address is in use or not this machine's; or another process holds the spool or the rings.
pub const UNAVAILABLE: u8 = 69;
/// An error inside clickedge.
pub const SOFTWARE: u8 = 70;
/// Reading or writing failed, of the spool for one.
pub const IO: u8 = 74;
/// A configuration was refused.
pub const CONFIG: u8 = 78;

const AFTER_HELP: &str = "\
Examples:
  clickedge generate config > clickedge.toml    begin with every key and what it means
  clickedge check clickedge.toml                say what is wrong with it, and where
  clickedge serve --config clickedge.toml       answer clicks
  clickedge feed verify s3://bucket/prefix      prove that a feed is complete, and holds no event twice
  clickedge spool ls                            tell what waits on this edge, and for how long

Signals of `serve`:
  SIGTERM, SIGINT   stop: finish requests, drain the queues, deliver; see [shutdown]
  SIGHUP            read the catalog and the GeoIP database again

Exit codes:
   0   done
  64   usage: the command line is wrong
  65   data: the catalog or the GeoIP database was refused, or a feed or a file of the spool has a problem
  66   no input: a file, a folder or a bucket cannot be read
  69   unavailable: an address is in use or none of this machine's, or another process holds the spool or the rings
  70   software: an internal error
  74   input/output: the spool or the rings cannot be opened, or a write failed
  78   configuration: the file was refused; the message names line, column and remedy";

/// Answers branded links at the edge, and delivers every click.
///
/// clickedge answers `https://go.brand.com/spring` with a redirect, and turns every answered click into an event
/// that reaches the customer who owns the link: in batches, in the customer's own bucket. The redirect never waits
/// for the event.
///
/// Everything it needs to know stands in one TOML file, see `clickedge generate config`.
#[derive(Debug, Parser)]
#[command(name = "clickedge", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer clicks until a signal stops it.
    Serve(Serve),
    /// Say whether configuration files are good, and what to mend if not.
    ///
    /// Prints `FILE: ok` for each good one. Otherwise prints every problem with file, line, column and remedy, and
    /// exits with 78, or with 66 if nothing worse happened than that a file could not be read.
    Check(check::Check),
    /// Print the default configuration, or the schema of the events or the manifests.
    Generate(generate::Generate),
    /// Ask about a feed that was delivered.
    Feed(feed::Feed),
    /// Look into the spool: what waits, how old it is; print it, or send it again.
    Spool(spool::Spool),
}

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub struct Serve {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
}

/// Parses the command line of this process and does what it says. Prints usage errors and help itself.
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(error) => {
            // Nobody is left to tell if this fails.
            _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

/// Does what a parsed command line says.
pub fn dispatch(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Check(check) => check::run(&check),
        Command::Generate(generate) => generate::run(&generate),
        Command::Spool(spool) => spool::run(&spool),
        Command::Feed(feed) => feed::run(&feed),
        Command::Serve(serve) => match crate::server::serve(&serve.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report(&error);
                exit_code(&error)
            }
        },
    }
}

/// The exit code that tells a supervisor what kind of failure this is.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(error.chain().find_map(code_of).unwrap_or(SOFTWARE))
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(config) = cause.downcast_ref::<ConfigError>() {
        return Some(match config {
            ConfigError::Read { .. } => NO_INPUT,
            ConfigError::Invalid(_) => CONFIG,
        });
    }
    if let Some(start) = cause.downcast_ref::<StartError>() {
        return match start {
            StartError::Catalog(LoadError::Read { .. }) | StartError::GeoIp(DatabaseError::Read { .. }) => {
                Some(NO_INPUT)
            }
            StartError::Source(error) if error.is_unread() => Some(NO_INPUT),
            StartError::Catalog(_) | StartError::GeoIp(_) | StartError::Source(_) => Some(DATA),
            StartError::Spool(SpoolError::Locked { .. }) | StartError::Capture(CaptureError::Locked { .. }) => {
                Some(UNAVAILABLE)
            }
            StartError::Capture(CaptureError::NotMemory { .. }) => Some(CONFIG),
            StartError::Capture(CaptureError::NoRoom { .. }) => Some(IO),
            _ => None,
        };
    }
    cause.downcast_ref::<io::Error>().map(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => UNAVAILABLE,
        _ => IO,
    })
}

/// A refused configuration prints itself; other errors go on one line, with their causes.
fn report(error: &anyhow::Error) {
    match error.downcast_ref::<ConfigError>() {
        Some(config) => complain(config),
        None => complain(&format!("error: {error:#}")),
    }
}

/// Writes to standard error. If that is gone, the exit code still tells.
fn complain(message: &dyn Display) {
    _ = writeln!(io::stderr(), "{message}");
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("error: cannot write to standard output: {error}"));
            Err(ExitCode::from(IO))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_has_a_default_configuration_file() {
        let cli = Cli::try_parse_from(["clickedge", "serve"]).unwrap();
        let Command::Serve(serve) = cli.command else { panic!("this is not serve") };
        assert_eq!(serve.config.to_str(), Some("/etc/clickedge/clickedge.toml"));
    }

    #[test]
    fn a_cause_decides_the_exit_code_however_deep_it_lies() {
        let code = |kind: io::ErrorKind| {
            let error = Err::<(), _>(io::Error::from(kind)).context("opening").context("starting").unwrap_err();
            error.chain().find_map(code_of)
        };
        assert_eq!(code(io::ErrorKind::AddrInUse), Some(UNAVAILABLE));
        assert_eq!(code(io::ErrorKind::StorageFull), Some(IO));
        assert_eq!(anyhow::anyhow!("a slip").chain().find_map(code_of), None);
        let refused = anyhow::Error::from(ConfigError::Invalid(Vec::new())).context("starting");
        assert_eq!(refused.chain().find_map(code_of), Some(CONFIG));
    }
}
