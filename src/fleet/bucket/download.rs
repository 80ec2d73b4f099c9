//! A snapshot on its way from the bucket into a file, verified by its BLAKE3.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use aws_sdk_s3::operation::get_object::GetObjectOutput;

use super::{Bucket, BucketError, Small};
use crate::{
    deliver::{SinkError, error::Details},
    fleet::{head::SnapshotRef, malformed::Malformed},
};

/// Most times that reading is resumed.
const RESUMES: u32 = 8;

const BUFFER: usize = 1 << 20;

impl Bucket {
    /// Reads a snapshot into a file, which is replaced. Resumes where a connection breaks.
    ///
    /// # Errors
    /// When it is missing or not what the head says, the store cannot be reached, or the disk is full.
    pub async fn download(&self, snapshot: &SnapshotRef, file: &Path) -> Result<(), BucketError> {
        let disk = |error| BucketError::Disk { file: file.display().to_string(), error };
        let mut out = BufWriter::with_capacity(BUFFER, File::create(file).map_err(disk)?);
        let (mut hasher, mut read, mut resumes) = (blake3::Hasher::new(), 0, RESUMES);
        let mut version: Option<String> = None;
        while read < snapshot.bytes {
            let broken = match self.get(&snapshot.key, read, version.as_deref()).await {
                Ok(mut found) => {
                    version = found.e_tag.take();
                    loop {
                        match self.piece(&mut found).await {
                            Ok(Some(piece)) => {
                                read += piece.len() as u64;
                                if read > snapshot.bytes {
                                    return Err(longer(snapshot));
                                }
                                hasher.update(&piece);
                                out.write_all(&piece).map_err(disk)?;
                            }
                            Ok(None) if read < snapshot.bytes => {
                                break SinkError::retry("the answer broke off").into();
                            }
                            Ok(None) => break BucketError::Conflict,
                            Err(error) => break error,
                        }
                    }
                }
                Err(error) => error,
            };
            if read == snapshot.bytes {
                break;
            }
            let may_pass = matches!(&broken, BucketError::Store(error) if error.is_retryable());
            if resumes == 0 || !may_pass {
                return Err(broken);
            }
            resumes -= 1;
        }
        let hash = hasher.finalize().to_hex();
        if hash.as_str() != snapshot.blake3 {
            let reason = format!("its BLAKE3 is {hash}, and has to be {}", snapshot.blake3);
            return Err(Malformed::new(&snapshot.key, reason).into());
        }
        out.flush().map_err(disk)
    }

    async fn get(&self, key: &str, from: u64, version: Option<&str>) -> Result<GetObjectOutput, BucketError> {
        let get = self.for_snapshots.load_full().get_object().bucket(&self.config.bucket).key(self.key(key));
        let mut get = get.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        if from > 0 {
            get = get.range(format!("bytes={from}-")).set_if_match(version.map(str::to_owned));
        }
        match tokio::time::timeout(self.stalled(), Box::pin(get.send())).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => match self.absent(error).await? {
                Small::Found(..) | Small::Unchanged | Small::Missing => Err(BucketError::Missing(key.to_owned())),
            },
            Err(_) => Err(SinkError::slow_down("the store does not answer").into()),
        }
    }

    /// The next piece of an object's content.
    async fn piece(&self, found: &mut GetObjectOutput) -> Result<Option<bytes::Bytes>, BucketError> {
        match tokio::time::timeout(self.stalled(), found.body.try_next()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(SinkError::retry(Details::new("the answer broke off").with_source(error)).into()),
            Err(_) => Err(SinkError::slow_down("the store sends nothing more").into()),
        }
    }

    pub(super) fn stalled(&self) -> Duration {
        Duration::from_secs(self.config.read_timeout_secs)
    }
}

fn longer(snapshot: &SnapshotRef) -> BucketError {
    Malformed::new(&snapshot.key, format!("it has more than {} bytes", snapshot.bytes)).into()
}
