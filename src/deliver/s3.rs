//! A bucket as a sink: Amazon S3, or a store with a compatible API.
//!
//! **The body** is streamed from the file, in pieces of 64 KiB: during an outage of a whole region, a thousand feeds
//! need no more memory than that for each upload. Requests contain nothing that a plain store would not understand:
//! `Content-Length` and the bytes as they are, without `aws-chunked` and without trailers. The checksums, which would
//! need trailers, are known beforehand: the request is signed with the SHA-256 that the object got when it was
//! finished, and the CRC32 header is computed from the file before it is sent. So the store verifies, with or without
//! CRC32, that it receives what was finished; an object that changed on the disk is detected at its first upload.
//!
//! **Exactly once.** An upload has the header `If-None-Match: *`, so that a repeated one is answered with 412 and never
//! makes a second version. The SHA-256 in `x-amz-meta-sha256` shows whether the existing object is ours.
//!
//! **Timeouts** bound every wait: to connect, to make progress (`read_timeout_secs`: until the store takes the next
//! piece or begins its answer), for one upload, and for everything together. The client's own retries are off: there
//! is one layer of retry, [`super::pace`].

pub mod body;
pub mod classify;
pub mod client;
mod list;
pub mod probe;

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextMut},
    error::BoxError,
    operation::put_object::builders::PutObjectFluentBuilder,
    types::ServerSideEncryption,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

use super::{
    error::{Details, SinkError},
    sink::{Sink, Stored},
};
use crate::{
    config::{self, Encryption, feeds::ChecksumCalculation},
    object::{
        Object, ObjectKind,
        digest::{crc32, sha256},
        reader::Summary,
    },
};
use classify::classify;
use client::client;

/// Metadata in which an object keeps its own SHA-256: `x-amz-meta-sha256`.
const SHA256: &str = "sha256";

const CANNOT_COMPARE: &str = "cannot compare with the object that exists under this key";

const READ_PANICKED: &str = "reading the object's file panicked";

/// A bucket.
pub struct S3Sink {
    feed: String,
    client: ArcSwap<Client>,
    config: config::S3,
    /// Set when the warning about a missing permission to compare objects was logged.
    warned: AtomicBool,
}

impl S3Sink {
    /// Sends nothing: credentials are loaded with the first upload.
    pub async fn new(feed: &str, config: &config::S3) -> Self {
        let client = ArcSwap::from_pointee(client(config).await);
        Self { feed: feed.to_owned(), client, config: config.clone(), warned: AtomicBool::new(false) }
    }

    fn key(&self, key: &str) -> String {
        match self.config.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    async fn upload(&self, object: &Object, summary: &Summary) -> Result<Stored, SinkError> {
        let file = ObjectFile::open(object, self.config.request_checksum_calculation).await?;
        let (body, progress) = body::stream(file.file, object.bytes);
        let put = self.put_object(object, summary).set_checksum_crc32(file.crc32).body(body);
        let timeout = Duration::from_secs(self.config.read_timeout_secs);
        let answer = tokio::select! {
            biased;
            () = progress.stalled(timeout) => {
                return Err(SinkError::slow_down(format!("the store made no progress for {timeout:?}")));
            }
            answer = put.customize().interceptor(Sign(summary.sha256.clone())).send() => answer,
        };
        let Err(error) = answer else {
            return Ok(Stored::Now);
        };
        let error = classify(error);
        // Stores have many codes for a body that does not match its checksum.
        if matches!(error, SinkError::Retry(_) | SinkError::Rejected(_)) && error.details().status.is_some() {
            verify_unchanged(object, summary).await?;
        }
        match error {
            SinkError::Conflict(_) => return self.compare(object, summary).await,
            // The client caches credentials: corrected ones must not need a restart.
            SinkError::Rejected(_) => self.client.store(Arc::new(client(&self.config).await)),
            _ => {}
        }
        Err(error)
    }

    fn put_object(&self, object: &Object, summary: &Summary) -> PutObjectFluentBuilder {
        let mut put = self
            .client
            .load_full()
            .put_object()
            .bucket(&self.config.bucket)
            .key(self.key(&object.key))
            .if_none_match("*")
            .content_type(content_type(&object.key))
            .content_length(object.bytes as i64);
        for (name, value) in metadata(object.kind, summary) {
            put = put.metadata(name, value);
        }
        match &self.config.encryption {
            None => put,
            Some(Encryption::S3Managed) => put.server_side_encryption(ServerSideEncryption::Aes256),
            Some(Encryption::Kms { key_id }) => {
                put.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key_id.clone())
            }
        }
    }

    /// Compares the object with the one that exists under its key.
    async fn compare(&self, object: &Object, summary: &Summary) -> Result<Stored, SinkError> {
        let key = self.key(&object.key);
        let head = self.client.load_full().head_object().bucket(&self.config.bucket).key(&key).send();
        let there = match tokio::time::timeout(Duration::from_secs(self.config.read_timeout_secs), head).await {
            Ok(Ok(there)) => there,
            Ok(Err(error)) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 403) => {
                self.cannot_compare(&key);
                return Ok(Stored::Before);
            }
            Ok(Err(error)) => {
                return Err(classify(error).with_context(CANNOT_COMPARE).into_retry());
            }
            Err(elapsed) => {
                return Err(SinkError::slow_down(Details::new(CANNOT_COMPARE).with_source(elapsed)));
            }
        };
        let same = match there.metadata().and_then(|metadata| metadata.get(SHA256)) {
            Some(sha256) => *sha256 == summary.sha256,
            // The object may have been copied into the bucket by hand.
            None => there.content_length() == Some(object.bytes as i64),
        };
        if same {
            return Ok(Stored::Before);
        }
        let bucket = &self.config.bucket;
        Err(SinkError::conflict(format!("{key} exists in {bucket} with other content")))
    }

    fn cannot_compare(&self, key: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                feed = self.feed,
                key,
                remedy = "grant s3:GetObject, so that existing objects can be compared",
                "object exists in the bucket and counts as delivered without a comparison"
            );
        }
    }
}

#[async_trait]
impl Sink for S3Sink {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        let Some(summary) = &object.summary else {
            return Err(SinkError::retry("internal error: the object has no summary; please report this bug"));
        };
        let timeout = Duration::from_secs(self.config.operation_timeout_secs);
        match tokio::time::timeout(timeout, self.upload(object, summary)).await {
            Ok(stored) => stored,
            Err(_) => Err(SinkError::slow_down(format!("the upload took longer than {timeout:?}"))),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        self.list_page(prefix).await
    }
}

/// An object's file, open at its beginning.
struct ObjectFile {
    file: File,
    /// Value of the header.
    crc32: Option<String>,
}

impl ObjectFile {
    async fn open(object: &Object, checksum: ChecksumCalculation) -> Result<Self, SinkError> {
        let (path, bytes) = (object.path.clone(), object.bytes);
        let opened = tokio::task::spawn_blocking(move || {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            if length != bytes {
                return Err(std::io::Error::other(format!("the file had {bytes} bytes and has {length}")));
            }
            let crc32 = match checksum {
                ChecksumCalculation::WhenSupported => {
                    Some(aws_smithy_types::base64::encode(crc32(&mut file)?.to_be_bytes()))
                }
                ChecksumCalculation::WhenRequired => None,
            };
            Ok(Self { file, crc32 })
        });
        match opened.await {
            Ok(opened) => opened.map_err(SinkError::of_file),
            Err(failure) => Err(SinkError::retry(Details::new(READ_PANICKED).with_source(failure))),
        }
    }
}

/// Fails with the state of the object's file if it is no longer what was finished.
async fn verify_unchanged(object: &Object, summary: &Summary) -> Result<(), SinkError> {
    let path = object.path.clone();
    match tokio::task::spawn_blocking(move || sha256(&path)).await {
        Ok(Ok(now)) if now == summary.sha256 => Ok(()),
        Ok(Ok(now)) => Err(SinkError::damaged(format!(
            "the object has changed: its SHA-256 is {now}, and was {}",
            summary.sha256
        ))),
        Ok(Err(error)) => Err(SinkError::of_file(error)),
        Err(failure) => Err(SinkError::retry(Details::new(READ_PANICKED).with_source(failure))),
    }
}

/// The type of the bytes as they are. There is no `Content-Encoding`: clients would decompress during the download,
/// and get something that matches neither the name nor the length nor the checksums.
fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "gz" => "application/gzip",
        "zst" => "application/zstd",
        "ndjson" => "application/x-ndjson",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

/// The object's `x-amz-meta-` headers.
fn metadata(kind: ObjectKind, summary: &Summary) -> Vec<(&'static str, String)> {
    let mut metadata = vec![(SHA256, summary.sha256.clone())];
    if !matches!(kind, ObjectKind::Manifest | ObjectKind::Rollup) {
        metadata.push(("count", summary.events.to_string()));
        metadata.push(("first", summary.first.clone()));
        metadata.push(("last", summary.last.clone()));
    }
    if kind == ObjectKind::Replay {
        metadata.push(("replay", "true".into()));
    }
    metadata
}

/// Signs the request with the known SHA-256 of its body, which a streamed body would not have.
#[derive(Debug)]
struct Sign(String);

#[dyn_dispatch_hint]
impl Intercept for Sign {
    fn name(&self) -> &'static str {
        "Sign"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_follows_from_the_extension() {
        for (key, expected) in [
            ("dt=2026-11-23/hour=09/f-p-1.ndjson.gz", "application/gzip"),
            ("dt=2026-11-23/hour=09/f-p-1.json.zst", "application/zstd"),
            ("dt=2026-11-23/hour=09/f-p-1.ndjson", "application/x-ndjson"),
            ("dt=2026-11-23/hour=09/f-p-1.json", "application/json"),
            ("a.b/c", "application/octet-stream"),
        ] {
            assert_eq!(content_type(key), expected, "{key}");
        }
    }

    #[test]
    fn metadata_describes_the_content_of_an_object() {
        let summary = Summary { events: 3, first: "a".into(), last: "c".into(), sha256: "d".into() };
        let of = |kind| {
            let pairs = metadata(kind, &summary);
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(ObjectKind::Events), "sha256=d count=3 first=a last=c");
        assert_eq!(of(ObjectKind::Replay), "sha256=d count=3 first=a last=c replay=true");
        assert_eq!(of(ObjectKind::Manifest), "sha256=d");
        assert_eq!(of(ObjectKind::Rollup), "sha256=d");
    }
}
