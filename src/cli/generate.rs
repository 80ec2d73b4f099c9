//! `clickedge generate`: files that are made from the code that reads or writes them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Subcommand, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{
    Cli,
    output::{failed, print},
};
use crate::{
    config::generate::default_toml,
    event,
    object::{manifest, rollup},
    runtime::Class,
};

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct Generate {
    /// What is printed.
    #[command(subcommand)]
    pub what: What,
}

/// What `generate` can print.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Print the default configuration: every key, with its meaning; or a short one for a purpose.
    Config {
        /// Purpose of a short configuration.
        #[arg(long)]
        profile: Option<Profile>,
    },
    /// Print a first catalog: a domain and three links, to be replaced by your own.
    Links,
    /// Print the JSON schema of click events.
    Schema,
    /// Print the JSON schema of the manifests that prove a feed complete.
    ManifestSchema,
    /// Print the JSON schema of a line of the rollups.
    RollupSchema,
    /// Print a completion script for a shell.
    Completions {
        /// Shell that runs the script.
        shell: Shell,
    },
    /// Print the man page, or write the man pages of all subcommands into a folder.
    Man {
        /// Folder for the pages, created if it is missing.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

/// A configuration for a purpose, which has the keys that differ from the defaults and those that are changed first.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Profile {
    /// An edge that systemd runs: port 80, a folder as the feed, HTTPS and a bucket commented out.
    Edge,
    /// A trial without privileges, in the folder of the file: port 8080 of this machine, events within seconds.
    Demo,
    /// An edge in a container: rings below a mounted tmpfs, probes from outside.
    Kubernetes,
}

impl Profile {
    fn toml(self) -> &'static str {
        match self {
            Self::Edge => include_str!("../../conf/profiles/edge.toml"),
            Self::Demo => include_str!("../../conf/profiles/demo.toml"),
            Self::Kubernetes => include_str!("../../conf/profiles/kubernetes.toml"),
        }
    }
}

const FIRST_LINKS: &str = include_str!("../../conf/profiles/links.ndjson");

pub(super) fn run(generate: &Generate) -> ExitCode {
    let printed = match &generate.what {
        What::Config { profile: None } => print(&default_toml()),
        What::Config { profile: Some(profile) } => print(profile.toml()),
        What::Links => print(FIRST_LINKS),
        What::Schema => print(event::JSON_SCHEMA),
        What::ManifestSchema => print(manifest::JSON_SCHEMA),
        What::RollupSchema => print(rollup::JSON_SCHEMA),
        What::Completions { shell } => print(&completions(*shell)),
        What::Man { dir: None } => print(&man_page()),
        What::Man { dir: Some(dir) } => write_man_pages(dir).map_err(|error| {
            failed(Class::Io, &format!("cannot write the man pages into {}: {error}", dir.display()))
        }),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clickedge", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn man_page() -> String {
    let mut page = Vec::new();
    // Writing into memory does not fail.
    _ = Man::new(Cli::command()).render(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

fn write_man_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}
