//! `clickedge feed verify`: the proof that a feed is complete.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use clap::Args;

use crate::{
    cli::{
        access::{self, Access},
        exit,
        output::{failed, json, print},
    },
    runtime::{Class, Classified, Hour},
    verify::{self, Bucket, Folder, Options, Report, Store, StoreError, VerifyError},
};

/// Arguments of `feed verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// Folder, or `s3://bucket/prefix`, with the prefix of the feed.
    #[arg(value_name = "SOURCE")]
    pub source: Source,
    /// Verify this feed only, instead of all.
    #[arg(long, value_name = "NAME")]
    pub feed: Option<String>,
    /// First hour, in UTC, `2026-11-23T09`.
    #[arg(long, value_name = "HOUR")]
    pub from: Option<Hour>,
    /// End of the range: the first hour that is left out.
    #[arg(long, value_name = "HOUR")]
    pub to: Option<Hour>,
    /// Check presence, sizes and numbers only: read the manifests, and no object.
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Print problems only.
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    #[command(flatten)]
    pub access: Access,
}

/// Location of a feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match access::parse(text) {
            Some((bucket, prefix)) => Self::Bucket { bucket: bucket.into(), prefix: prefix.into() },
            None => Self::Folder(text.into()),
        })
    }
}

pub(super) fn run(verify: &Verify) -> ExitCode {
    if let Some(mistake) = verify.mistake() {
        return failed(Class::Usage, &mistake);
    }
    match verify.run() {
        Ok(report) => verify.print(&report),
        Err(error) => failed(error.class(), &error),
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Verify(error.into())
    }
}

impl Classified for Failure {
    fn class(&self) -> Class {
        match self {
            Self::System(_) => Class::Io,
            Self::Verify(_) => Class::NoInput,
        }
    }
}

impl Verify {
    /// What is wrong with the command line, beyond its grammar.
    fn mistake(&self) -> Option<String> {
        match &self.source {
            Source::Bucket { bucket, .. } if bucket.is_empty() => {
                Some("write a bucket like s3://bucket/prefix".into())
            }
            Source::Folder(path) if path.to_string_lossy().contains("://") => Some(format!(
                "{} is neither a folder nor a bucket: a receiver of events proves from `object` in the requests that none \
                 is missing, see the manual on feeds",
                path.display()
            )),
            Source::Folder(path) if self.access.is_given() => {
                Some(format!("{} is a folder, so options of a bucket have no effect", path.display()))
            }
            _ => match (self.from, self.to) {
                (Some(from), Some(to)) if from >= to => Some(format!("--from {from} must be before --to {to}")),
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

    fn print(&self, report: &Report) -> ExitCode {
        let text = match (self.json, self.quiet) {
            (true, _) => json(report),
            (false, true) => report.problem_lines(),
            (false, false) => report.text(),
        };
        match print(&text) {
            Err(code) => code,
            Ok(()) if report.proven => ExitCode::SUCCESS,
            Ok(()) => exit::code(Class::Data),
        }
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
