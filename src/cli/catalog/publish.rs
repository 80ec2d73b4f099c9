//! `clickedge catalog publish`: a snapshot as the next generation of a fleet's catalog.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::Mutex,
    time::{Duration, Instant},
};

use clap::Args;
use tokio::runtime::Runtime;

use super::{Outcome, build::Watcher, catalog_config, failed_with};
use crate::{
    catalog::{build::Plan, change::Position, snapshot::file},
    cli::{
        access::{self, Access},
        output::{count, failed, json, print, print_error},
    },
    config::{self, catalog::PRIVATE_SNAPSHOT},
    fleet::{
        bucket::Bucket,
        fetch::fetch,
        head::Head,
        publish::{self, Options, Snapshot},
    },
    runtime::{Class, Classified, clock},
};

/// Time between two lines about the progress.
const EVERY: Duration = Duration::from_secs(5);

/// Memory in which links are sorted, in bytes.
const MEMORY: usize = 512 << 20;

/// Arguments of `catalog publish`.
#[derive(Args, Debug)]
pub struct Publish {
    /// The bucket and the prefix of the fleet, `s3://bucket/prefix`, unless `--config` names them; then the snapshot,
    /// unless `--fold` makes one.
    #[arg(value_name = "PLACE", num_args = 0..=2)]
    pub places: Vec<String>,
    /// Publish to the bucket of `catalog.fleet` in this configuration.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Publish what the bucket has as a new snapshot: the current one, and all changes since. Removes deltas and
    /// snapshots from before the last two snapshots that are older than a day.
    #[arg(long, conflicts_with_all = ["discard_changes", "accept"])]
    pub fold: bool,
    /// Folder with room for the catalog twice, in which it is folded. The system's temporary folder if it is not given.
    #[arg(long, value_name = "DIR", requires = "fold")]
    pub work_dir: Option<PathBuf>,
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
    let catalog = catalog_config(args.config.as_deref())?;
    let (bucket, snapshot) = args.places(&catalog)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(Class::Io, &format!("cannot start: {error}")))?;
    if let Some(snapshot) = snapshot {
        return args.publish(&runtime, &bucket, &snapshot);
    }
    let work = Work::new(args.work_dir.as_deref())?;
    let folded = fold(&runtime, &bucket, &catalog, &work.0)?;
    args.publish(&runtime, &bucket, &folded)
}

/// Makes a snapshot of what the bucket has.
fn fold(runtime: &Runtime, bucket: &config::S3, catalog: &config::Catalog, dir: &Path) -> Result<PathBuf, ExitCode> {
    let position = runtime.block_on(fetch(bucket, catalog, dir));
    let position = position.map_err(|error| failed(Class::Unavailable, &error))?;
    let (inputs, folded) = ([dir.join(PRIVATE_SNAPSHOT)], dir.join("folded.snapshot"));
    let plan = Plan {
        config: catalog,
        inputs: &inputs,
        temporary_dir: dir,
        memory: MEMORY,
        domains_first: false,
        changes: Some(dir),
    };
    let watcher = Watcher::new(None)?;
    let built = plan.build(&folded, position.generation, &watcher);
    watcher.finish()?;
    let found = built.map_err(failed_with)?.header.position;
    if found != position {
        let Position { revision, hash, .. } = position;
        let problem = format!(
            "internal error: the catalog has the hash {hash} at change {revision}, and its snapshot {} at change {}; \
             nothing was published; please report this bug",
            found.hash, found.revision
        );
        return Err(failed(Class::Internal, &problem));
    }
    Ok(folded)
}

/// Removes what the fold has made superfluous. What stays is removed with the next.
fn remove_former(runtime: &Runtime, bucket: &Bucket, head: &Head) {
    match runtime.block_on(bucket.remove_former(head, clock::unix_secs())) {
        Ok(0) => {}
        Ok(removed) => print_error(&format!("removed {} of former generations", count(removed, "object"))),
        Err(error) => print_error(&format!(
            "warning: deltas and snapshots of former generations stay in the bucket: {error}; grant s3:ListBucket and \
             s3:DeleteObject on the prefix"
        )),
    }
}

/// A folder that is removed at the end.
struct Work(PathBuf);

impl Work {
    fn new(parent: Option<&Path>) -> Result<Self, ExitCode> {
        let parent = parent.map_or_else(env::temp_dir, Path::to_owned);
        let dir = parent.join(format!("clickedge-fold-{}-{:08x}", process::id(), fastrand::u32(..)));
        let failed = |error| failed(Class::Io, &format!("cannot use {}: {error}", dir.display()));
        fs::create_dir(&dir).map_err(failed)?;
        Ok(Self(dir))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            print_error(&format!("warning: cannot remove {}: {error}", self.0.display()));
        }
    }
}

impl Publish {
    fn publish(&self, runtime: &Runtime, bucket: &config::S3, path: &Path) -> Outcome {
        // Whole: edges would reject what is damaged, one by one.
        let header = file::verify(path, |_| ()).map_err(|error| failed(error.class(), &error))?;
        let snapshot = Snapshot { file: path, position: header.position, links: header.links };
        let options = Options {
            generation: self.generation,
            accept: self.accept,
            discard_changes: self.discard_changes,
            fold: self.fold,
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
        let bucket = runtime.block_on(Bucket::new(bucket));
        let published = runtime.block_on(publish::publish(&bucket, snapshot, options, &progress));
        let head = published.map_err(|error| failed(error.class(), &error))?;
        if self.fold {
            remove_former(runtime, &bucket, &head);
        }
        let text = if self.json {
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

    /// The bucket, and the file unless one is to be made.
    fn places(&self, catalog: &config::Catalog) -> Result<(config::S3, Option<PathBuf>), ExitCode> {
        let usage = |mistake: &str| failed(Class::Usage, &mistake);
        let mut places = self.places.iter();
        let bucket = if let Some(file) = &self.config {
            if self.access.is_given() {
                return Err(usage("options of a bucket have no effect with --config"));
            }
            let missing = || failed(Class::Config, &format!("{} has no section [catalog.fleet]", file.display()));
            catalog.fleet.clone().ok_or_else(missing)?.bucket
        } else {
            let place = places.next().and_then(|place| access::parse(place)).filter(|(bucket, _)| !bucket.is_empty());
            let Some((bucket, prefix)) = place else {
                return Err(usage("name the bucket first, s3://bucket/prefix, or use --config"));
            };
            let config = self.access.config(bucket, prefix);
            config.map_err(|error: io::Error| failed(Class::Usage, &error))?
        };
        match (places.next(), places.next(), self.fold) {
            (Some(snapshot), None, false) => Ok((bucket, Some(snapshot.into()))),
            (None, None, true) => Ok((bucket, None)),
            (_, _, true) => Err(usage("--fold makes the snapshot itself: name the bucket alone")),
            (_, _, false) => Err(usage("name one snapshot behind the bucket, or use --fold")),
        }
    }
}
