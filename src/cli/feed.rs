//! `clickedge feed`: feeds that are configured, and feeds that were delivered.

mod policy;
mod retry;
mod test;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use super::{
    exit_code,
    output::{failed, report},
};
use crate::{
    config::{self, Config, Feed as FeedConfig},
    runtime::Class,
};

/// Arguments of `feed`.
#[derive(Args, Debug)]
pub struct Feed {
    /// What is done.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a feed.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Prove that a feed is complete and without duplicates.
    ///
    /// Reads a folder or a bucket as a feed was delivered into it. Checks that every object in the manifests is
    /// present with its size, SHA-256, number of events and first and last id; that the numbers of objects have no gap;
    /// that every manifest names the one before it with its SHA-256; that every event is valid, is in the partition of
    /// its hour, and occurs once. Objects that are too new for a manifest are no problem. Replays, below `_replay/`,
    /// are left out.
    ///
    /// Exits with 0 when the feed is complete, with 65 when there is a problem, and with 66 when SOURCE cannot be read
    /// or has no objects of a feed.
    Verify(Box<verify::Verify>),
    /// Print the policies that a feed into a bucket needs, as JSON.
    ///
    /// One object with `bucketPolicy`, `kmsKeyPolicyStatement` (if uploads request a KMS key) and `trustPolicy` (if the
    /// feed assumes a role); `--only` prints one of them, ready to paste. They grant what the feed uses with its
    /// configuration, and nothing else.
    Policy(policy::Policy),
    /// Deliver sample events to a feed and read them back.
    ///
    /// Stores an object of three sample events below `_test/` with the code that delivers, and compares every byte.
    /// The events are click events with `"test": true`; the object stays there. Run it as the user of the service, so
    /// that it has the same credentials.
    ///
    /// Exits with 0 when deliveries will succeed, with 78 when configuration, permissions or credentials are wrong,
    /// with 69 when the sink does not answer, and with 65 when what was read back differs.
    Test(test::Test),
    /// Retry a feed of the running edge now, without waiting for its next attempt.
    ///
    /// Asks the edge through its Unix socket (`admin.socket`), else through its admin listener (`admin.address`). A
    /// feed that is parked resumes when an upload succeeds; the log shows its result.
    ///
    /// Exits with 64 when the edge has no such feed, and with 69 when it does not answer.
    Retry(retry::Retry),
}

/// Which feed.
#[derive(Args, Debug)]
pub struct Which {
    /// Name of the feed.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Configuration file of the edge.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
}

type Outcome = Result<ExitCode, ExitCode>;

pub(super) fn run(feed: &Feed) -> ExitCode {
    let outcome = match &feed.what {
        What::Verify(args) => return verify::run(args),
        What::Policy(args) => policy::run(args),
        What::Test(args) => test::run(args),
        What::Retry(args) => retry::run(args),
    };
    outcome.unwrap_or_else(|code| code)
}

impl Which {
    fn load(&self) -> Result<Config, ExitCode> {
        config::load(&self.config).map_err(|error| {
            let error = error.into();
            report(&error);
            exit_code(&error)
        })
    }

    /// The feed in its configuration.
    fn find<'a>(&self, config: &'a Config) -> Result<&'a FeedConfig, ExitCode> {
        config.feeds.iter().find(|feed| feed.name == self.name).ok_or_else(|| {
            let names: Vec<_> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
            failed(Class::Usage, &format!("there is no feed {:?}; there are: {}", self.name, names.join(", ")))
        })
    }
}
