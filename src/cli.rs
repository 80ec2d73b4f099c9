//! The command line: subcommands, output and exit codes.
//!
//! Exit codes are those of `sysexits.h`: the class of the error ([`crate::runtime::Class`]) decides. So systemd and
//! scripts can distinguish a configuration that was rejected, which no restart fixes, from an address in use.

mod access;
mod catalog;
mod check;
mod doctor;
pub mod edge;
mod exit;
mod feed;
mod generate;
mod help;
mod lookup;
mod output;
mod serve;
mod spool;
mod tap;
mod top;
mod upgrade;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::runtime::Class;

pub use exit::{class_of, exit_code};

/// Answer branded links at the edge, and deliver every click.
///
/// clickedge answers `https://go.brand.com/spring` with a redirect. Every answered click becomes an event for the
/// customer who owns the link, delivered in batches to the customer's own bucket. The redirect never waits for the
/// event.
///
/// One TOML file configures it, see `clickedge generate config`.
#[derive(Debug, Parser)]
#[command(name = "clickedge", version, after_help = help::after(), max_term_width = help::WIDTH)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer clicks until a signal stops the process.
    Serve(serve::Serve),
    /// Replace the running process by another one, without failing a request.
    ///
    /// Starts the installed binary, or `--binary`, which checks its configuration, takes over the listening sockets,
    /// the rings and the spool, and answers clicks. Applies every change of the configuration. If the new process fails
    /// before it has taken over, the running one stays active, and the exit code is 69.
    Upgrade(upgrade::Upgrade),
    /// Have the running process take up its configuration and all files that it names, or nothing.
    ///
    /// Prints what was applied, and what needs an upgrade. The same as `SIGHUP`, with an answer.
    Reload(upgrade::Reload),
    /// Stop the running process for good: deliver what waits, for `shutdown.drain_secs` at most.
    ///
    /// Exits with 69 when something still waits. Without it, a stop leaves what waits to the next start.
    Drain(upgrade::Running),
    /// Validate configuration files.
    ///
    /// Prints `FILE: ok` for each valid file, and its warnings. Otherwise prints every problem with file, line, column
    /// and remedy, and exits with the code of the first error: 78 for the configuration, 65 for the content of a file
    /// that it names, 66 for a file that cannot be read. Opens no socket and not the spool.
    Check(check::Check),
    /// Compare this machine with a configuration, and print what to change, and why.
    ///
    /// A line a check: `ok`, `warning`, or `problem` for what keeps the edge from starting, loses clicks, or lets
    /// addresses reach a disk. With a problem, exits with its class, as `check` does. Reads limits of the running edge,
    /// else of its unit, else of this shell, and syncs a small file in the folder of the spool. Run it as root.
    Doctor(doctor::Doctor),
    /// Prepare a catalog: turn the export of another service into one, make the hash of a password or a token.
    Catalog(catalog::Catalog),
    /// Print what the edge answers to a request, and why.
    ///
    /// Reads the configuration and the files that it names, and decides with the code of the edge, for any visitor and
    /// time. Asks no edge: nothing is counted, and no click is made. Visitors are new, and no address enumerates links.
    Lookup(lookup::Lookup),
    /// Print a configuration, a first catalog, schemas, shell completions or man pages.
    Generate(generate::Generate),
    /// Try, grant or retry a feed, or verify one that was delivered.
    Feed(feed::Feed),
    /// Show the status of the running edge in this terminal.
    ///
    /// State, traffic, the account, feeds with the last error of their stores, the catalog and the last reload: what
    /// the status page of the admin listener shows.
    Top(top::Top),
    /// Print events of the running edge as they are made.
    ///
    /// One JSON value a line. Never slows the edge: events that come too fast for this reader are left out, and
    /// standard error says how many. Events have no client address in them.
    Tap(tap::Tap),
    /// Examine the spool: list what is pending, print it, or send it again.
    Spool(spool::Spool),
}

/// Runs the command line of this process. Prints usage errors and help itself.
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(error) => {
            // There is no other place to report it if this fails.
            _ = error.print();
            if error.use_stderr() { exit::code(Class::Usage) } else { ExitCode::SUCCESS }
        }
    }
}

/// Runs a parsed command line.
pub fn dispatch(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(serve) => serve::run(&serve),
        Command::Upgrade(upgrade) => upgrade::run(&upgrade),
        Command::Reload(reload) => upgrade::reload(&reload),
        Command::Drain(running) => upgrade::drain(&running),
        Command::Check(check) => check::run(&check),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Catalog(catalog) => catalog::run(&catalog),
        Command::Lookup(lookup) => lookup::run(&lookup),
        Command::Generate(generate) => generate::run(&generate),
        Command::Feed(feed) => feed::run(&feed),
        Command::Top(top) => top::run(&top),
        Command::Tap(tap) => tap::run(&tap),
        Command::Spool(spool) => spool::run(&spool),
    }
}

#[cfg(test)]
mod tests {
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
}
