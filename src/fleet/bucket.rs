//! The objects of a fleet in its bucket, read and written with the client of deliveries.
//!
//! The head is replaced only if it is still the one that was read (`If-Match` with its ETag, or `If-None-Match: *` for
//! the first). Deltas and snapshots are never replaced: their keys are new each time.

mod download;
mod former;
pub mod upload;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::put_object::builders::PutObjectFluentBuilder,
    primitives::ByteStream,
    types::{ObjectCannedAcl, ServerSideEncryption, StorageClass},
};

use super::{
    delta::{self, Delta},
    head::{self, Head},
    malformed::Malformed,
};
use crate::{
    config::{self, Encryption, feeds::ChecksumCalculation},
    deliver::{
        SinkError,
        error::Details,
        s3::{classify::classify, client::client},
    },
};

/// Longest time for a small object, with its credentials: an edge that waits longer rather looks again.
const SMALL: Duration = Duration::from_secs(5);

/// Longest time for a delta, which may be large.
const DELTA: Duration = Duration::from_secs(30);

/// Longest time for all of a snapshot: the progress is watched, so this only bounds the whole.
const SNAPSHOT_SECS: u64 = 86_400;

/// A bucket, or the part of it below a prefix.
pub struct Bucket {
    client: ArcSwap<Client>,
    /// Snapshots take longer than any delivery.
    for_snapshots: ArcSwap<Client>,
    config: config::S3,
}

/// Why an object of the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The store was not reached, or rejected the request.
    #[error("{}", .0.chain())]
    Store(SinkError),
    /// Another writer was faster: the head is no longer the one that was read.
    #[error("another edge has changed the head")]
    Conflict,
    /// The store ignores this header.
    #[error(
        "the store ignores `{0}`, so that edges would overwrite each other's changes without notice; use a store with \
         conditional writes"
    )]
    Unconditional(&'static str),
    /// An object that has to be there is missing.
    #[error("{0} is missing in the bucket; publish a snapshot with `clickedge catalog publish`")]
    Missing(String),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The disk of this edge.
    #[error("cannot write {file}: {error}; check space and permissions of `catalog.state_dir`")]
    Disk { file: String, error: std::io::Error },
    /// The file that is to be uploaded.
    #[error("cannot read {file}: {error}")]
    Read { file: String, error: std::io::Error },
}

impl From<SinkError> for BucketError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Conflict(_) => Self::Conflict,
            error => Self::Store(error),
        }
    }
}

impl BucketError {
    /// Whether the store has certainly not done what it was asked for.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Store(error) if error.parks_feed())
    }
}

/// What a look at the head found.
#[derive(Debug)]
pub enum Looked {
    /// The one with this ETag, as before.
    Unchanged,
    Missing,
    Found {
        etag: String,
        head: Arc<Head>,
    },
}

impl Bucket {
    /// Sends nothing: credentials are loaded with the first request.
    pub async fn new(config: &config::S3) -> Self {
        let config = config.clone();
        let (small, large) = (Box::pin(client(&config)).await, Box::pin(client(&for_snapshots(&config))).await);
        Self { client: ArcSwap::from_pointee(small), for_snapshots: ArcSwap::from_pointee(large), config }
    }

    /// Looks at the head. `seen` is the ETag of the one that is known.
    ///
    /// # Errors
    /// When the store cannot be reached or the head cannot be parsed.
    pub async fn head(&self, seen: Option<&str>) -> Result<Looked, BucketError> {
        match self.get_small(head::KEY, seen, head::MOST_BYTES).await? {
            Small::Unchanged => Ok(Looked::Unchanged),
            Small::Missing => Ok(Looked::Missing),
            Small::Found(etag, bytes) => Ok(Looked::Found { etag, head: Arc::new(Head::parse(&bytes)?) }),
        }
    }

    /// Replaces the head with this ETag, or creates the first one. Returns the ETag of the new one.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] when the head is another one. After other errors it may have been replaced, unless
    /// [`BucketError::is_rejection`].
    pub async fn put_head(&self, head: &Head, seen: Option<&str>) -> Result<String, BucketError> {
        let put = self.put_object(head::KEY).content_type("application/json");
        let put = match seen {
            Some(etag) => put.if_match(etag),
            None => put.if_none_match("*"),
        };
        self.put(put, head.to_bytes(), SMALL).await
    }

    /// Stores a delta under a key that is new.
    ///
    /// # Errors
    /// When the store did not acknowledge it.
    pub async fn put_delta(&self, key: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
        let put = self.put_object(key).content_type("application/x-ndjson");
        self.put(put, bytes, DELTA).await.map(drop)
    }

    /// Reads a delta.
    ///
    /// # Errors
    /// When it is missing or malformed, or the store cannot be reached.
    pub async fn delta(&self, key: &str) -> Result<Delta, BucketError> {
        match self.get_small(key, None, delta::MOST_BYTES).await? {
            Small::Found(_, bytes) => Ok(Delta::parse(key, &bytes)?),
            Small::Unchanged | Small::Missing => Err(BucketError::Missing(key.to_owned())),
        }
    }

    /// Reads a small object, if it is there.
    pub(super) async fn note(&self, key: &str) -> Result<Option<Vec<u8>>, BucketError> {
        match self.get_small(key, None, head::MOST_BYTES).await? {
            Small::Found(_, bytes) => Ok(Some(bytes)),
            Small::Unchanged | Small::Missing => Ok(None),
        }
    }

    /// Writes a small object, whatever is there.
    pub(super) async fn put_note(&self, key: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
        self.put(self.put_object(key).content_type("application/json"), bytes, SMALL).await.map(drop)
    }

    /// Checks that the store honours the conditions that the head is replaced by. Stores a small object under `probe`.
    ///
    /// # Errors
    /// [`BucketError::Unconditional`] when the store ignores one of them.
    pub async fn check_conditions(&self) -> Result<(), BucketError> {
        const KEY: &str = "probe";
        /// No object has it.
        const FOREIGN: &str = "\"00000000000000000000000000000000\"";
        self.put_note(KEY, b"written by clickedge to find out whether this store honours conditions\n".to_vec())
            .await?;
        let put = || self.put_object(KEY).content_type("text/plain");
        for (header, put) in [("If-Match", put().if_match(FOREIGN)), ("If-None-Match", put().if_none_match("*"))] {
            match self.put(put, b"this store ignores conditions\n".to_vec(), SMALL).await {
                Err(BucketError::Conflict) => {}
                Ok(_) => return Err(BucketError::Unconditional(header)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn get_small(&self, key: &str, seen: Option<&str>, most: usize) -> Result<Small, BucketError> {
        let get = self.client.load_full().get_object().bucket(&self.config.bucket).key(self.key(key));
        let get = get.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        let get = get.set_if_none_match(seen.map(str::to_owned));
        let read = async {
            let mut found = match Box::pin(get.send()).await {
                Ok(found) => found,
                Err(error) => return self.absent(error).await,
            };
            let mut bytes = Vec::new();
            let broke = |error| SinkError::retry(Details::new("the answer broke off").with_source(error));
            while let Some(piece) = found.body.try_next().await.map_err(broke)? {
                bytes.extend_from_slice(&piece);
                if bytes.len() > most {
                    return Err(Malformed::new(key, format!("it has more than {most} bytes")).into());
                }
            }
            let Some(etag) = found.e_tag.filter(|etag| !etag.is_empty()) else {
                return Err(SinkError::retry("the answer has no ETag: no store answered").into());
            };
            Ok(Small::Found(etag, bytes))
        };
        within(if most > head::MOST_BYTES { DELTA } else { SMALL }, read).await
    }

    /// What an answer means that has no object.
    async fn absent<E>(&self, error: SdkError<E, HttpResponse>) -> Result<Small, BucketError>
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        match status {
            Some(304) => Ok(Small::Unchanged),
            Some(404) if error.code() == Some("NoSuchKey") => Ok(Small::Missing),
            _ => Err(self.failed(error).await),
        }
    }

    async fn put(&self, put: PutObjectFluentBuilder, bytes: Vec<u8>, limit: Duration) -> Result<String, BucketError> {
        let sent = async {
            match Box::pin(put.body(ByteStream::from(bytes)).send()).await {
                Ok(stored) => match stored.e_tag.filter(|etag| !etag.is_empty()) {
                    Some(etag) => Ok(etag),
                    None => Err(SinkError::retry("the answer has no ETag: no store answered").into()),
                },
                Err(error) => Err(self.failed(error).await),
            }
        };
        within(limit, sent).await
    }

    /// The meaning of an error. Loads the credentials again if they may be at fault, so that no restart is needed.
    async fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> BucketError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let error = classify(error);
        if matches!(error, SinkError::Rejected(_)) {
            self.client.store(Arc::new(Box::pin(client(&self.config)).await));
            self.for_snapshots.store(Arc::new(Box::pin(client(&for_snapshots(&self.config))).await));
        }
        error.into()
    }

    fn put_object(&self, key: &str) -> PutObjectFluentBuilder {
        self.put_object_with(&self.client.load(), key)
    }

    fn put_object_with(&self, client: &Client, key: &str) -> PutObjectFluentBuilder {
        let put = client
            .put_object()
            .bucket(&self.config.bucket)
            .key(self.key(key))
            .set_acl(self.config.acl.map(|acl| ObjectCannedAcl::from(acl.name())))
            .set_storage_class(self.config.storage_class.as_deref().map(StorageClass::from))
            .set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        match &self.config.encryption {
            None => put,
            Some(Encryption::S3Managed) => put.server_side_encryption(ServerSideEncryption::Aes256),
            Some(Encryption::Kms { key_id }) => {
                put.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key_id.clone())
            }
        }
    }

    fn key(&self, key: &str) -> String {
        match self.config.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }
}

/// A small object.
enum Small {
    Unchanged,
    Missing,
    /// Its ETag and its bytes.
    Found(String, Vec<u8>),
}

/// The configuration for snapshots. They are signed with their SHA-256, so that no other checksum is needed.
fn for_snapshots(config: &config::S3) -> config::S3 {
    config::S3 {
        attempt_timeout_secs: SNAPSHOT_SECS,
        operation_timeout_secs: SNAPSHOT_SECS,
        request_checksum_calculation: ChecksumCalculation::WhenRequired,
        ..config.clone()
    }
}

async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, BucketError>>) -> Result<T, BucketError> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result,
        Err(_) => Err(SinkError::slow_down(format!("the store did not answer within {limit:?}")).into()),
    }
}
