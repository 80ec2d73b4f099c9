//! `clickedge feed`: what the customer who receives a feed can ask about it.

use std::{
    convert::Infallible,
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use clap::{Args, Subcommand};

use super::{DATA, IO, NO_INPUT, SOFTWARE, USAGE, complain, print};
use crate::{
    config,
    runtime::Hour,
    verify::{self, Bucket, Folder, Options, Report, Store, StoreError, VerifyError},
};

/// Where buckets are when nobody says otherwise, as for Amazon's own tools.
const DEFAULT_REGION: &str = "us-east-1";

/// Arguments of `feed`.
#[derive(Args, Debug)]
pub struct Feed {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a feed.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Prove that a feed is complete and holds no event twice.
    ///
    /// Reads a folder or a bucket as a feed was delivered into it. Checks that everything which the manifests list is
    /// there with its size, SHA-256, number of events and first and last id; that the numbers of objects have no gap;
    /// that every event is one, lies in the partition of its hour, and is there once. Objects that are too new for a
    /// manifest are no problem. Replays, below `replay/`, are left out.
    ///
    /// Exits with 0 when all of it is proven, with 65 when there is a problem, and with 66 when SOURCE cannot be read
    /// or holds nothing of a feed.
    Verify(Box<Verify>),
}

/// Arguments of `feed verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// A folder, or `s3://bucket/prefix`; where the feed's own prefix ends.
    #[arg(value_name = "SOURCE")]
    pub source: Source,
    /// Only this feed; all that are there without it.
    #[arg(long, value_name = "NAME")]
    pub feed: Option<String>,
    /// From this hour on, in UTC, `2026-11-23T09`.
    #[arg(long, value_name = "HOUR")]
    pub from: Option<Hour>,
    /// Before this hour: it is the first that is left out.
    #[arg(long, value_name = "HOUR")]
    pub to: Option<Hour>,
    /// Check presence, sizes and numbers only: reads the manifests, and no object.
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Print problems, and nothing else.
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    #[command(flatten)]
    pub access: Access,
}

/// How a bucket is reached.
#[derive(Args, Debug)]
#[command(next_help_heading = "Access to a bucket")]
pub struct Access {
    /// Region of the bucket; else `AWS_REGION`, `AWS_DEFAULT_REGION` or us-east-1.
    #[arg(long)]
    pub region: Option<String>,
    /// Base address of a store other than Amazon's, `https://minio.example.com:9000`.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Put the bucket into the path instead of the host name.
    #[arg(long)]
    pub path_style: bool,
    /// File with static keys, in the format of `~/.aws/credentials`. Without it the default chain serves.
    #[arg(long, value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,
    /// Profile in that file, or in the shared files of the default chain.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

/// Where a feed lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let Some(place) = text.strip_prefix("s3://") else {
            return Ok(Self::Folder(text.into()));
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        Ok(Self::Bucket { bucket: bucket.into(), prefix: prefix.trim_matches('/').into() })
    }
}

pub(super) fn run(feed: &Feed) -> ExitCode {
    let What::Verify(verify) = &feed.what;
    if let Some(slip) = verify.slip() {
        complain(&format!("error: {slip}"));
        return ExitCode::from(USAGE);
    }
    match verify.run() {
        Ok(report) => verify.tell(&report),
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::from(if matches!(error, Failure::System(_)) { IO } else { NO_INPUT })
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("cannot begin: {0}")]
    System(#[from] io::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Verify(error.into())
    }
}

impl Verify {
    /// What is wrong with the command line, beyond what its grammar tells.
    fn slip(&self) -> Option<String> {
        match &self.source {
            Source::Bucket { bucket, .. } if bucket.is_empty() => {
                Some("write a bucket like s3://bucket/prefix".into())
            }
            Source::Folder(path) if self.access.is_given() => {
                Some(format!("{} is a folder, so there is no use for options of a bucket", path.display()))
            }
            _ => match (self.from, self.to) {
                (Some(from), Some(to)) if from >= to => Some(format!("no hour is from {from} and before {to}")),
                _ => None,
            },
        }
    }

    fn run(&self) -> Result<Report, Failure> {
        let (store, name): (Box<dyn Store>, String) = match &self.source {
            Source::Folder(path) => (Box::new(Folder::open(Path::new(path))?), path.display().to_string()),
            Source::Bucket { bucket, prefix } => {
                let store = Bucket::new(&self.access.config(bucket, prefix)?)?;
                (Box::new(store), format!("s3://{bucket}/{prefix}"))
            }
        };
        let options = Options { feed: self.feed.clone(), from: self.from, to: self.to, quick: self.quick };
        Ok(verify::verify(&*store, &options, &name)?)
    }

    fn tell(&self, report: &Report) -> ExitCode {
        let text = match (self.json, self.quiet) {
            (true, _) => match serde_json::to_string_pretty(report) {
                Ok(text) => text + "\n",
                Err(error) => {
                    complain(&format!("error: {error}"));
                    return ExitCode::from(SOFTWARE);
                }
            },
            (false, true) => report.problem_lines(),
            (false, false) => report.text(),
        };
        match print(&text) {
            Err(code) => code,
            Ok(()) if report.proven => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(DATA),
        }
    }
}

impl Access {
    fn is_given(&self) -> bool {
        let Self { region, endpoint, path_style, credentials_file, profile } = self;
        region.is_some() || endpoint.is_some() || *path_style || credentials_file.is_some() || profile.is_some()
    }

    /// The bucket as a feed's configuration would have it, with its defaults.
    fn config(&self, bucket: &str, prefix: &str) -> Result<config::S3, Failure> {
        let variable = |name| env::var(name).ok().filter(|region| !region.is_empty());
        let region =
            self.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let config = serde_json::json!({
            "bucket": bucket,
            "prefix": prefix,
            "region": region.as_deref().unwrap_or(DEFAULT_REGION),
            "endpoint": self.endpoint,
            "path_style": self.path_style,
            "credentials_file": self.credentials_file,
            "profile": self.profile,
        });
        Ok(serde_json::from_value(config).map_err(io::Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_folder_or_a_bucket() {
        let bucket = |bucket: &str, prefix: &str| Source::Bucket { bucket: bucket.into(), prefix: prefix.into() };
        for (text, source) in [
            ("s3://clicks", bucket("clicks", "")),
            ("s3://clicks/", bucket("clicks", "")),
            ("s3://clicks/brand/raw/", bucket("clicks", "brand/raw")),
            ("s3", Source::Folder("s3".into())),
            ("/var/clicks", Source::Folder("/var/clicks".into())),
        ] {
            assert_eq!(text.parse(), Ok(source), "{text}");
        }
    }
}
