//! A bucket as a sink: Amazon S3, or a store that speaks its protocol.
//!
//! **The body** is streamed from the file, in pieces of 64 KiB: an outage of a whole region with a thousand feeds in
//! it costs no more memory than that for each upload. Yet nothing is sent that a plain store would not understand:
//! `Content-Length` and the bytes as they are, without `aws-chunked` and without trailers. What would need them is
//! known beforehand: the request is signed with the SHA-256 that the object got when it was finished, and the CRC32
//! header is computed from the file before it is sent. So the store itself proves, with or without CRC32, that what
//! arrives is what was finished; an object that changed on the disk is found out at its first upload.
//!
//! **Once.** An upload says `If-None-Match: *`, so that a repeated one is answered with 412 and never makes a second
//! version. Whether the object that is there is ours, its own SHA-256 in `x-amz-meta-sha256` tells.
//!
//! **Waits** all have a bound: to connect, to make progress (`read_timeout_secs`: for the store to take the next piece
//! or to begin its answer), for one upload, and for everything together. The client's own retries are off: there is
//! one layer of retry, [`super::pace`].

pub mod body;
pub mod client;
pub mod judge;

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

use super::sink::{Sink, SinkError, Stored};
use crate::{
    config::{self, Encryption, feeds::ChecksumCalculation},
    object::{
        Object, ObjectKind,
        digest::{crc32, sha256},
        reader::Summary,
    },
};
use client::client;
use judge::{Verdict, judge};

/// Where an object keeps the SHA-256 of itself: `x-amz-meta-sha256`.
const SHA256: &str = "sha256";

/// A bucket.
pub struct S3Sink {
    feed: String,
    client: ArcSwap<Client>,
    config: config::S3,
    blind: AtomicBool,
}

impl S3Sink {
    /// Reads no network: credentials are looked for at the first upload.
    pub async fn new(feed: &str, config: &config::S3) -> Self {
        let client = ArcSwap::from_pointee(client(config).await);
        Self { feed: feed.to_owned(), client, config: config.clone(), blind: AtomicBool::new(false) }
    }

    fn key(&self, key: &str) -> String {
        match self.config.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    async fn upload(&self, object: &Object, summary: &Summary) -> Result<Stored, SinkError> {
        let file = Source::open(object, self.config.request_checksum_calculation).await?;
        let (body, progress) = body::stream(file.file, object.bytes);
        let put = self.put_object(object, summary).set_checksum_crc32(file.crc32).body(body);
        let patience = Duration::from_secs(self.config.read_timeout_secs);
        let answer = tokio::select! {
            biased;
            () = progress.stalled(patience) => {
                return Err(SinkError::Busy(format!("the store neither takes nor answers for {patience:?}")));
            }
            answer = put.customize().interceptor(Sign(summary.sha256.clone())).send() => answer,
        };
        let Err(error) = answer else {
            return Ok(Stored::Now);
        };
        let (verdict, message) = judge(&error);
        // Stores have many names for a body that is not what its checksum says.
        if matches!(verdict, Verdict::Failed | Verdict::Refused) && error.raw_response().is_some() {
            examine(object, summary).await?;
        }
        match verdict {
            Verdict::Present => self.compare(object, summary).await,
            Verdict::Busy => Err(SinkError::Busy(message)),
            Verdict::Failed => Err(SinkError::Failed(message)),
            Verdict::Refused => {
                // The client keeps the credentials that it has read: whoever mends them must not need a restart.
                self.client.store(Arc::new(client(&self.config).await));
                Err(SinkError::Refused(message))
            }
        }
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

    /// Something is there already under the object's key: looks whether that is the object.
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
                let message = format!("cannot look at the object that is there already: {}", judge(&error).1);
                return Err(SinkError::Failed(message));
            }
            Err(_) => return Err(SinkError::Busy("cannot look at the object that is there already: timeout".into())),
        };
        let same = match there.metadata().and_then(|metadata| metadata.get(SHA256)) {
            Some(sha256) => *sha256 == summary.sha256,
            // Somebody may have copied it there by hand.
            None => there.content_length() == Some(object.bytes as i64),
        };
        if same {
            return Ok(Stored::Before);
        }
        let bucket = &self.config.bucket;
        Err(SinkError::Refused(format!("{key} is there already in {bucket} and is another object; take it away")))
    }

    fn cannot_compare(&self, key: &str) {
        if !self.blind.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                feed = self.feed,
                key,
                "an object is there already and counts as delivered; a permission for s3:GetObject would let it be \
                 checked"
            );
        }
    }
}

#[async_trait]
impl Sink for S3Sink {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        let Some(summary) = &object.summary else {
            return Err(SinkError::Failed("nobody has looked into the object".into()));
        };
        let patience = Duration::from_secs(self.config.operation_timeout_secs);
        match tokio::time::timeout(patience, self.upload(object, summary)).await {
            Ok(stored) => stored,
            Err(_) => Err(SinkError::Busy(format!("an upload and what it needs took more than {patience:?}"))),
        }
    }
}

/// An object's file, open at its beginning.
struct Source {
    file: File,
    /// As the header has it.
    crc32: Option<String>,
}

impl Source {
    async fn open(object: &Object, checksum: ChecksumCalculation) -> Result<Self, SinkError> {
        let (path, bytes) = (object.path.clone(), object.bytes);
        let opened = tokio::task::spawn_blocking(move || {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            if length != bytes {
                return Err(std::io::Error::other(format!("it had {bytes} bytes and has {length}")));
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
            Ok(opened) => opened.map_err(|error| SinkError::of_file(&error)),
            Err(failure) => Err(SinkError::Failed(failure.to_string())),
        }
    }
}

/// Whether the file is still what was finished.
async fn examine(object: &Object, summary: &Summary) -> Result<(), SinkError> {
    let path = object.path.clone();
    match tokio::task::spawn_blocking(move || sha256(&path)).await {
        Ok(Ok(now)) if now == summary.sha256 => Ok(()),
        Ok(Ok(now)) => Err(SinkError::Damaged(format!("its SHA-256 is {now}, and was {}", summary.sha256))),
        Ok(Err(error)) => Err(SinkError::of_file(&error)),
        Err(failure) => Err(SinkError::Failed(failure.to_string())),
    }
}

/// What a reader will do with the bytes as they are. There is no `Content-Encoding`: clients would decompress on
/// the way, and hold something else than what the name, the length and the checksums say.
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

/// Has the request signed with a SHA-256 that is known, as a streamed body's would not be.
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
    fn the_type_of_an_object_stands_in_its_name() {
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
    fn an_object_says_of_itself_what_it_holds() {
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
