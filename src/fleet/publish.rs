//! Publishes a snapshot: uploads the file, then moves the head to it.
//!
//! The generation and the number of the last change are in the head, not in the file: edges write them into their own
//! copy. So changes that are made while a large file is uploaded need no second upload.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use super::{
    bucket::{Bucket, BucketError, Looked, upload::Parts},
    head::{Head, SnapshotRef},
    replica::{blocking, chain_broken},
};
use crate::{
    catalog::change::Position,
    runtime::{Class, Classified},
};

/// Times that the head is moved again after others have moved it.
const TRIES: u32 = 100;

/// A snapshot file.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'s> {
    pub file: &'s Path,
    /// The state that the file says it has. If the published catalog has passed this state, the changes since are kept;
    /// otherwise only the hash counts.
    pub position: Position,
    /// Number of its links.
    pub links: u64,
}

/// How a snapshot is published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The generation. Where it is not given, that of the file, or the next one if that is higher.
    pub generation: Option<u64>,
    /// Edges take it whatever its size is.
    pub accept: bool,
    /// It replaces all changes that were made since the last snapshot.
    pub discard_changes: bool,
    /// It was made of what the bucket has, and replaces nothing else.
    pub fold: bool,
    /// How large files are cut.
    pub parts: Parts,
}

/// Why a snapshot was not published. The head is as it was, unless the bucket is away.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("cannot read {file}: {error}")]
    Read { file: String, error: io::Error },
    #[error(
        "the catalog has up to {changes} changes of the API that this snapshot does not contain; publish one that does, \
         such as with `--fold`; only if they may be lost, use `--discard-changes`"
    )]
    Changes { changes: u64 },
    #[error("generation {0} is not above {1}, which the bucket has; choose a higher one, or leave the option out")]
    Generation(u64, u64),
    #[error("the head is moved by others all the time, or to another snapshot; run the command again")]
    Busy,
}

impl Classified for PublishError {
    fn class(&self) -> Class {
        match self {
            Self::Bucket(BucketError::Store(error)) => error.class(),
            Self::Bucket(BucketError::Malformed(_) | BucketError::Missing(_)) => Class::Data,
            Self::Bucket(BucketError::Unconditional(_)) => Class::Config,
            Self::Read { error, .. } | Self::Bucket(BucketError::Read { error, .. }) => Class::of_read(error),
            Self::Bucket(BucketError::Conflict | BucketError::Disk { .. }) | Self::Busy => Class::Unavailable,
            Self::Changes { .. } | Self::Generation(..) => Class::Usage,
        }
    }
}

/// Publishes a snapshot. `progress` gets the bytes that were uploaded. Returns the head.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish(
    bucket: &Bucket,
    snapshot: Snapshot<'_>,
    options: Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Arc<Head>, PublishError> {
    let unreadable = |error| PublishError::Read { file: snapshot.file.display().to_string(), error };
    let (mut current, mut proven) = (look(bucket).await?, None);
    let next = generation_of(&current).saturating_add(1);
    let generation = options.generation.unwrap_or_else(|| next.max(snapshot.position.generation));
    check(bucket, &current, snapshot, generation, options, &mut proven).await?;
    bucket.check_conditions().await?;
    let file = snapshot.file.to_owned();
    let hashed = blocking(move || hash(&file)).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let (bytes, blake3) = hashed.map_err(unreadable)?;
    let key = format!("snapshots/{generation}-{}.snapshot", &blake3[..16]);
    bucket.upload(&key, snapshot.file, options.parts, progress).await?;
    for _ in 0..TRIES {
        let fold = check(bucket, &current, snapshot, generation, options, &mut proven).await?;
        let revision = match &current {
            Some((_, head)) if !fold => head.position.revision,
            _ => snapshot.position.revision,
        };
        let position = Position { generation, revision, hash: snapshot.position.hash };
        let (key, links, accept) = (key.clone(), snapshot.links, options.accept);
        let snapshot = SnapshotRef { key, bytes, blake3: blake3.clone(), position, links, accept };
        let next = match &current {
            Some((_, head)) if fold => head.folded(snapshot).ok_or(PublishError::Busy)?,
            _ => Head::of(snapshot),
        };
        let seen = current.as_ref().map(|(etag, _)| etag.as_str());
        match bucket.put_head(&next, seen).await {
            Ok(_) => return Ok(Arc::new(next)),
            Err(error) if error.is_rejection() => return Err(error.into()),
            // Another edge was faster, or the answer was lost.
            Err(_) => {}
        }
        current = look(bucket).await?;
        if let Some((_, head)) = &current
            && **head == next
        {
            return Ok(Arc::clone(head));
        }
    }
    Err(PublishError::Busy)
}

type Current = Option<(String, Arc<Head>)>;

async fn look(bucket: &Bucket) -> Result<Current, BucketError> {
    match bucket.head(None).await? {
        Looked::Found { etag, head } => Ok(Some((etag, head))),
        Looked::Missing | Looked::Unchanged => Ok(None),
    }
}

fn generation_of(current: &Current) -> u64 {
    current.as_ref().map_or(0, |(_, head)| head.position.generation)
}

/// Whether the snapshot is a former state of the published catalog, so that the changes since are kept.
async fn check(
    bucket: &Bucket,
    current: &Current,
    snapshot: Snapshot<'_>,
    generation: u64,
    options: Options,
    proven: &mut Option<String>,
) -> Result<bool, PublishError> {
    let Some((_, head)) = current else { return Ok(false) };
    if generation <= head.position.generation {
        return Err(match options.generation {
            Some(_) => PublishError::Generation(generation, head.position.generation),
            None => PublishError::Busy,
        });
    }
    let missing = head.position.revision.saturating_sub(snapshot.position.revision);
    if !options.discard_changes && is_passed(bucket, head, snapshot.position, proven).await? {
        return Ok(true);
    }
    if options.fold {
        return Err(PublishError::Busy);
    }
    let changes = missing.max(head.position.revision - head.snapshot.position.revision);
    if changes > 0 && !options.discard_changes {
        return Err(PublishError::Changes { changes });
    }
    Ok(false)
}

/// Whether the head has passed this state since its snapshot, which the chain of deltas shows, however long it is.
/// `proven` is the last delta of a head that has: those that follow it have, too, so that each is read once only.
async fn is_passed(
    bucket: &Bucket,
    head: &Head,
    position: Position,
    proven: &mut Option<String>,
) -> Result<bool, BucketError> {
    let (revision, hash) = (position.revision, position.hash);
    for end in [head.position, head.snapshot.position] {
        if revision == end.revision {
            return Ok(hash == end.hash);
        }
    }
    if revision < head.snapshot.position.revision {
        return Ok(false);
    }
    let is_passed = match proven.as_deref() {
        Some(key) if head.names(key) => true,
        known => follows(bucket, head, position, known).await?,
    };
    if is_passed {
        proven.clone_from(&head.last);
    }
    Ok(is_passed)
}

/// Walks back the deltas from those that the head names to the one that follows this state, or to the one that is known
/// to come after it.
async fn follows(bucket: &Bucket, head: &Head, position: Position, known: Option<&str>) -> Result<bool, BucketError> {
    let Some(first) = head.recent.iter().find(|delta| delta.from >= position.revision) else { return Ok(false) };
    let mut delta = bucket.delta(&first.key).await?;
    while delta.from.revision > position.revision {
        let Some(key) = delta.previous else { return Ok(false) };
        if known == Some(key.as_str()) {
            return Ok(true);
        }
        let before = bucket.delta(&key).await?;
        if before.to != delta.from {
            return Err(chain_broken(&key, before.to, delta.from.revision).into());
        }
        delta = before;
    }
    Ok(delta.from == position.into())
}

/// Length and BLAKE3 of a file.
fn hash(file: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hasher, mut buffer) = (File::open(file)?, blake3::Hasher::new(), vec![0; 1 << 20]);
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hasher.finalize().to_hex().to_string())),
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}
