//! `clickedge catalog publish`: a snapshot as the next generation of a fleet's catalog.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::{Duration, Instant},
};

use clap::Args;

use super::Outcome;
use crate::{
    catalog::snapshot::file,
    cli::{
        access::{self, Access},
        exit_code,
        output::{failed, json, print, print_error, report},
    },
    config,
    fleet::{
        bucket::Bucket,
        publish::{self, Options, Snapshot},
    },
    runtime::{Class, Classified},
};

/// Time between two lines about the progress.
const EVERY: Duration = Duration::from_secs(5);

/// Arguments of `catalog publish`.
#[derive(Args, Debug)]
pub struct Publish {
    /// The bucket and the prefix of the fleet, `s3://bucket/prefix`, and the snapshot; with `--config` the snapshot
    /// alone.
    #[arg(value_name = "PLACE", num_args = 1..=2, required = true)]
    pub what: Vec<String>,
    /// Publish to the bucket of `catalog.fleet` in this configuration.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Have edges take it whatever its size is.
    #[arg(long)]
    pub accept: bool,
    /// Replace all changes that were made since the last snapshot, although this one does not contain them.
    #[arg(long)]
    pub discard_changes: bool,
    /// Number of the generation, above that of the edges, for a bucket that was restored or is new.
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
    /// Print the head of the bucket as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub access: Access,
}

pub(super) fn run(args: &Publish) -> Outcome {
    let (bucket, path) = args.place()?;
    // Whole: edges would reject what is damaged, one by one.
    let header = file::verify(&path, |_| ()).map_err(|error| failed(class_of_file(&error), &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(Class::Io, &format!("cannot start: {error}")))?;
    let snapshot = Snapshot { file: &path, position: header.position, links: header.links };
    let options = Options {
        generation: args.generation,
        accept: args.accept,
        discard_changes: args.discard_changes,
        ..Options::default()
    };
    let (bytes, last) = (header.file_bytes(), Mutex::new(Instant::now()));
    let progress = |done: u64| {
        if let Ok(mut last) = last.lock()
            && last.elapsed() >= EVERY
        {
            *last = Instant::now();
            print_error(&format!("{done} of {bytes} bytes"));
        }
    };
    let published = runtime.block_on(async {
        let bucket = Bucket::new(&bucket).await;
        publish::publish(&bucket, snapshot, options, &progress).await
    });
    let head = published.map_err(|error| failed(error.class(), &error))?;
    let text = if args.json {
        json(&*head)
    } else {
        let position = head.position;
        format!(
            "generation {}, change {}: {} links, hash {}\n",
            position.generation, position.revision, head.snapshot.links, position.hash
        )
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn class_of_file(error: &file::FileError) -> Class {
    match error {
        file::FileError::Io { source, .. } => Class::of_read(source),
        file::FileError::Bad { .. } => Class::Data,
    }
}

impl Publish {
    /// The bucket, and the file.
    fn place(&self) -> Result<(config::S3, PathBuf), ExitCode> {
        let usage = |mistake: &str| failed(Class::Usage, &mistake);
        match (&self.config, &self.what[..]) {
            (Some(_), [_]) if self.access.is_given() => {
                Err(usage("options of a bucket have no effect with --config"))
            }
            (Some(file), [snapshot]) => Ok((configured(file)?, snapshot.into())),
            (None, [place, snapshot]) => {
                let Some((bucket, prefix)) = access::parse(place).filter(|(bucket, _)| !bucket.is_empty()) else {
                    return Err(usage("write the bucket like s3://bucket/prefix, and the snapshot behind it"));
                };
                let config = self.access.config(bucket, prefix);
                let failed = |error: io::Error| failed(Class::Usage, &error);
                Ok((config.map_err(failed)?, snapshot.into()))
            }
            (Some(_), _) => Err(usage("name the snapshot alone: --config names the bucket")),
            (None, _) => Err(usage("name the bucket, s3://bucket/prefix, and the snapshot; or use --config")),
        }
    }
}

/// The bucket of the fleet in a configuration.
fn configured(file: &Path) -> Result<config::S3, ExitCode> {
    let config = config::load(file).map_err(|error| {
        let error = anyhow::Error::from(error);
        report(&error);
        exit_code(&error)
    })?;
    let missing = || failed(Class::Config, &format!("{} has no section [catalog.fleet]", file.display()));
    Ok(config.catalog.fleet.ok_or_else(missing)?.bucket)
}
