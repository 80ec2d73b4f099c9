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
//! makes a second version. The SHA-256 in `x-amz-meta-sha256` shows whether the existing object is ours. With
//! `conditional_writes = "off"` a `HEAD` looks for the object first. A store answers it with 403 when the credentials
//! may not read the object, and when it is missing and they may not list the bucket: the upload follows, and a second
//! `HEAD` shows which of the two it is. Where objects cannot be read, an upload that was stored and not answered may be
//! stored again, with the same bytes.
//!
//! **Delivered** is only what a store has answered: a success with an ETag ([`answer_check`]), or a 412 for an object
//! that is ours.
//!
//! **Timeouts** bound every wait: to connect, to make progress (`read_timeout_secs`: until the store takes the next
//! piece or begins its answer), for one upload, and for everything together. The client's own retries are off: there
//! is one layer of retry, [`super::pace`].

pub mod answer_check;
pub mod body;
pub mod classify;
pub mod client;
mod headers;
mod list;
#[cfg(feature = "server")]
pub mod probe;
mod remedy;

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
    config::{
        ConfigBag, Intercept, RuntimeComponents, http::HttpResponse,
        interceptors::BeforeTransmitInterceptorContextMut,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    operation::put_object::builders::PutObjectFluentBuilder,
    types::{ObjectCannedAcl, ServerSideEncryption, StorageClass},
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

use super::{
    error::{Details, SinkError},
    metrics::ClockSkew,
    sink::{Sink, Stored},
};
use crate::{
    config::{
        self, Encryption,
        feeds::{ChecksumCalculation, ConditionalWrites},
    },
    object::{
        Object,
        digest::{crc32, sha256},
        reader::Summary,
    },
};
use answer_check::AnswerCheck;
use classify::classify;
use client::client;
use headers::{SHA256, content_type, metadata, tagging};

const CANNOT_COMPARE: &str = "cannot compare with the object that exists under this key";

/// Most bytes that are read back.
const MAX_READ_BACK: usize = 16 << 20;

const READ_PANICKED: &str = "reading the object's file panicked";

/// A bucket.
pub struct S3Sink {
    feed: String,
    client: ArcSwap<Client>,
    config: config::S3,
    /// Set when it is known whether objects can be compared: they were, or the warning about it was logged.
    compared: AtomicBool,
    clock: ClockSkew,
}

impl S3Sink {
    /// Sends nothing: credentials are loaded with the first upload.
    pub async fn new(feed: &str, config: &config::S3, clock: ClockSkew) -> Self {
        let client = ArcSwap::from_pointee(client(config).await);
        Self { feed: feed.to_owned(), client, config: config.clone(), compared: AtomicBool::new(false), clock }
    }

    fn key(&self, key: &str) -> String {
        match self.config.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    async fn upload(&self, object: &Object, summary: &Summary) -> Result<Stored, SinkError> {
        let mut hidden = false;
        if self.config.conditional_writes == ConditionalWrites::Off {
            match self.existing(object, summary).await? {
                Existing::Ours => return Ok(Stored::Before),
                Existing::Absent(error) if error.is_retryable() => return Err(error),
                // The answer to the upload has the reason.
                Existing::Absent(_) => {}
                Existing::Hidden(_) => hidden = true,
            }
        }
        let file = ObjectFile::open(object, self.config.request_checksum_calculation).await?;
        let (body, progress) = body::stream(file.file, object.bytes);
        let put = self.put_object(object, summary).set_checksum_crc32(file.crc32).body(body);
        let timeout = Duration::from_secs(self.config.read_timeout_secs);
        let sent = tokio::select! {
            biased;
            () = progress.stalled(timeout) => {
                return Err(SinkError::slow_down(format!("the store made no progress for {timeout:?}")));
            }
            sent = self.send(put, &summary.sha256) => sent,
        };
        let Err(error) = sent else {
            if hidden {
                self.look_again(object, summary).await;
            }
            return Ok(Stored::Now);
        };
        let no_store = error.details().answer.is_some();
        // Stores have many codes for a body that does not match its checksum.
        if matches!(error, SinkError::Retry(_) | SinkError::Rejected(_))
            && error.details().status.is_some()
            && !no_store
        {
            verify_unchanged(object, summary).await?;
        }
        match error {
            SinkError::Conflict(details) => return self.compare(object, summary, &details).await,
            // The client caches credentials: corrected ones must not need a restart.
            SinkError::Rejected(_) => self.client.store(Arc::new(client(&self.config).await)),
            _ => {}
        }
        Err(error)
    }

    /// Sends an upload, signed with the SHA-256 of its body.
    async fn send(&self, put: PutObjectFluentBuilder, sha256: &str) -> Result<(), SinkError> {
        let check = AnswerCheck::of_upload().with_clock(self.clock.clone());
        let put = put.customize().interceptor(Sign(sha256.to_owned())).interceptor(check.clone());
        match put.send().await {
            Ok(_) => check.result(),
            Err(error) => Err(self.classify(error)),
        }
    }

    /// [`classify()`], and forgets the region that a store names if it is the configured one.
    fn classify<E>(&self, error: SdkError<E, HttpResponse>) -> SinkError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let mut error = classify(error);
        error.details_mut().region.take_if(|region| *region == self.config.region);
        error
    }

    fn put_object(&self, object: &Object, summary: &Summary) -> PutObjectFluentBuilder {
        let mut put = self
            .client
            .load_full()
            .put_object()
            .bucket(&self.config.bucket)
            .key(self.key(&object.key))
            .set_if_none_match(
                (self.config.conditional_writes == ConditionalWrites::Required).then(|| "*".to_owned()),
            )
            .set_acl(self.config.acl.map(|acl| ObjectCannedAcl::from(acl.name())))
            .set_storage_class(self.config.storage_class.as_deref().map(StorageClass::from))
            .set_tagging(tagging(&self.config.tags))
            .set_expected_bucket_owner(self.config.expected_bucket_owner.clone())
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

    /// Decides on an upload that was answered with 412: compares the object with the one that exists under its key.
    async fn compare(&self, object: &Object, summary: &Summary, answered: &Details) -> Result<Stored, SinkError> {
        let existing = self.existing(object, summary).await?;
        // What answers nothing that only stores do has not stored the object either.
        let by_a_store = answered.code.is_some() || answered.request_id.is_some();
        match existing {
            Existing::Ours => Ok(Stored::Before),
            Existing::Absent(error) | Existing::Hidden(error)
                if !by_a_store && error.details().request_id.is_none() && !error.is_retryable() =>
            {
                let answer = answered.answer.clone().unwrap_or_default();
                let summary = format!("no store answered: 412 without an error code ({answer}); {error}");
                Err(SinkError::rejected(Details {
                    status: answered.status,
                    answer: Some(answer),
                    ..Details::new(summary)
                }))
            }
            Existing::Absent(error) => Err(error.into_retry()),
            Existing::Hidden(_) => {
                self.cannot_compare(
                    &object.key,
                    "object exists in the bucket and counts as delivered without a comparison",
                );
                Ok(Stored::Before)
            }
        }
    }

    /// Looks for an object under the key of this one.
    ///
    /// # Errors
    /// [`SinkError::Conflict`] when it has other content, and when what answers is no store.
    async fn existing(&self, object: &Object, summary: &Summary) -> Result<Existing, SinkError> {
        let (key, check) = (self.key(&object.key), AnswerCheck::of_object());
        let head = self.client.load_full().head_object().bucket(&self.config.bucket).key(&key);
        let head = head.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        let head = head.customize().interceptor(check.clone()).send();
        let there = match tokio::time::timeout(Duration::from_secs(self.config.read_timeout_secs), head).await {
            Ok(Ok(there)) => there,
            Ok(Err(error)) => {
                let error = self.classify(error).with_context(CANNOT_COMPARE);
                let denied = error.details().status == Some(403);
                return Ok(if denied { Existing::Hidden(error) } else { Existing::Absent(error) });
            }
            Err(elapsed) => {
                return Err(SinkError::slow_down(Details::new(CANNOT_COMPARE).with_source(elapsed)));
            }
        };
        check.result().map_err(|error| error.with_context(CANNOT_COMPARE))?;
        let same = match there.metadata().and_then(|metadata| metadata.get(SHA256)) {
            Some(sha256) => *sha256 == summary.sha256,
            // The object may have been copied into the bucket by hand.
            None => there.content_length() == Some(object.bytes as i64),
        };
        if same {
            return Ok(Existing::Ours);
        }
        let bucket = &self.config.bucket;
        Err(SinkError::conflict(format!("{key} exists in {bucket} with other content")))
    }

    /// Finds out, once, why the store denied to look for an object that it has now: warns if it denies that still.
    async fn look_again(&self, object: &Object, summary: &Summary) {
        if self.compared.load(Ordering::Relaxed) {
            return;
        }
        match self.existing(object, summary).await {
            Ok(Existing::Ours) => self.compared.store(true, Ordering::Relaxed),
            Ok(Existing::Hidden(_)) => {
                self.cannot_compare(&object.key, "cannot look whether an object exists; one that does is replaced");
            }
            Ok(Existing::Absent(_)) | Err(_) => {}
        }
    }

    fn cannot_compare(&self, key: &str, message: &str) {
        if !self.compared.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                feed = self.feed,
                key = self.key(key),
                remedy = "grant s3:GetObject on the prefix, so that existing objects can be compared",
                "{message}"
            );
        }
    }
}

/// What lies under an object's key.
enum Existing {
    /// The object itself.
    Ours,
    /// Nothing, or it cannot be known, for this reason.
    Absent(SinkError),
    /// The store does not say: the credentials may not read.
    Hidden(SinkError),
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

    async fn read_back(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError> {
        let check = AnswerCheck::of_object();
        let get = self.client.load_full().get_object().bucket(&self.config.bucket).key(self.key(key));
        let get = get.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        let read = async {
            let there =
                get.customize().interceptor(check.clone()).send().await.map_err(|error| self.classify(error))?;
            check.result()?;
            let (mut body, mut bytes) = (there.body, Vec::new());
            let broke = |error| SinkError::retry(Details::new("the answer broke off").with_source(error));
            while let Some(piece) = body.try_next().await.map_err(broke)? {
                bytes.extend_from_slice(&piece);
                if bytes.len() > MAX_READ_BACK {
                    break;
                }
            }
            Ok(Some(bytes))
        };
        let timeout = Duration::from_secs(self.config.operation_timeout_secs);
        match tokio::time::timeout(timeout, read).await {
            Ok(read) => read,
            Err(_) => Err(SinkError::slow_down(format!("reading took longer than {timeout:?}"))),
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

/// Signs the request with the known SHA-256 of its body, which a streamed body would not have.
#[derive(Debug)]
pub struct Sign(pub String);

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
