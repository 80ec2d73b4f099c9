//! A snapshot on its way from a file into the bucket: in one request, or in parts when it is large.
//!
//! Each request is signed with the SHA-256 of what it carries, so that the store verifies what arrives.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use aws_sdk_s3::{
    operation::{create_multipart_upload::builders::CreateMultipartUploadFluentBuilder, put_object::PutObjectOutput},
    types::{CompletedMultipartUpload, CompletedPart, ObjectCannedAcl, ServerSideEncryption, StorageClass},
};
use sha2::{Digest, Sha256};

use super::{Bucket, BucketError};
use crate::{
    config::Encryption,
    deliver::{
        SinkError,
        s3::{Sign, body},
    },
    object::digest::hex,
};

/// How a file is cut.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Most bytes of a single request.
    pub single: u64,
    /// Bytes of each part of a larger file. Stores take 10,000 parts, of 5 MiB at least.
    pub part: u64,
}

impl Default for Parts {
    fn default() -> Self {
        Self { single: 1 << 30, part: 64 << 20 }
    }
}

/// Times that a request is sent.
const TRIES: u32 = 5;

impl Bucket {
    /// Stores a file under a key that is new. `progress` gets the bytes that were stored.
    ///
    /// # Errors
    /// When the file cannot be read, or the store did not acknowledge it.
    pub async fn upload(
        &self,
        key: &str,
        file: &Path,
        parts: Parts,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), BucketError> {
        let length = file.metadata().map_err(|error| unreadable(file, error))?.len();
        if length <= parts.single {
            self.repeat(|| self.upload_single(key, file, length)).await?;
            progress(length);
            return Ok(());
        }
        let create = self.for_snapshots.load_full().create_multipart_upload().bucket(&self.config.bucket);
        let created = Box::pin(self.with_options(create.key(self.key(key))).send()).await;
        let created = match created {
            Ok(created) => created,
            Err(error) => return Err(self.failed(error).await),
        };
        let id = created.upload_id.unwrap_or_default();
        let uploaded = self.upload_parts((key, &id), file, (length, parts.part), progress).await;
        if uploaded.is_err() {
            let abort = self.for_snapshots.load_full().abort_multipart_upload().bucket(&self.config.bucket);
            // Parts that stay are removed by a lifecycle rule of the bucket; the error above is what matters.
            _ = Box::pin(abort.key(self.key(key)).upload_id(id).send()).await;
        }
        uploaded
    }

    async fn upload_parts(
        &self,
        (key, id): (&str, &str),
        file: &Path,
        (length, part): (u64, u64),
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), BucketError> {
        let mut stored = Vec::new();
        for (number, from) in (1..).zip((0..length).step_by(part as usize)) {
            let range = (from, part.min(length - from));
            let etag = self.repeat(|| self.upload_part((key, id), number, file, range)).await?;
            stored.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
            progress(range.0 + range.1);
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(stored)).build();
        self.repeat(|| async {
            let complete = self.for_snapshots.load_full().complete_multipart_upload().bucket(&self.config.bucket);
            let complete = complete.key(self.key(key)).upload_id(id).multipart_upload(parts.clone());
            match Box::pin(complete.send()).await {
                Ok(_) => Ok(()),
                Err(error) => Err(self.failed(error).await),
            }
        })
        .await
    }

    async fn upload_single(&self, key: &str, file: &Path, length: u64) -> Result<PutObjectOutput, BucketError> {
        let (sha256, file) = open(file, (0, length)).await?;
        let (body, progress) = body::stream(file, length);
        let put = self.put_object_with(&self.for_snapshots.load(), key).content_type("application/octet-stream");
        let put = put.content_length(length as i64).body(body).customize().interceptor(Sign(sha256));
        let sent = tokio::select! {
            biased;
            () = progress.stalled(self.stalled()) => return Err(stalled()),
            sent = Box::pin(put.send()) => sent,
        };
        match sent {
            Ok(stored) => Ok(stored),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn upload_part(
        &self,
        (key, id): (&str, &str),
        number: i32,
        file: &Path,
        range: (u64, u64),
    ) -> Result<String, BucketError> {
        let (sha256, file) = open(file, range).await?;
        let (body, progress) = body::stream(file, range.1);
        let put = self.for_snapshots.load_full().upload_part().bucket(&self.config.bucket).key(self.key(key));
        let put = put.upload_id(id).part_number(number).content_length(range.1 as i64).body(body);
        let put = put.customize().interceptor(Sign(sha256));
        let sent = tokio::select! {
            biased;
            () = progress.stalled(self.stalled()) => return Err(stalled()),
            sent = Box::pin(put.send()) => sent,
        };
        match sent {
            Ok(stored) => Ok(stored.e_tag.unwrap_or_default()),
            Err(error) => Err(self.failed(error).await),
        }
    }

    fn with_options(&self, create: CreateMultipartUploadFluentBuilder) -> CreateMultipartUploadFluentBuilder {
        let create = create
            .content_type("application/octet-stream")
            .set_acl(self.config.acl.map(|acl| ObjectCannedAcl::from(acl.name())))
            .set_storage_class(self.config.storage_class.as_deref().map(StorageClass::from))
            .set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        match &self.config.encryption {
            None => create,
            Some(Encryption::S3Managed) => create.server_side_encryption(ServerSideEncryption::Aes256),
            Some(Encryption::Kms { key_id }) => {
                create.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key_id.clone())
            }
        }
    }

    /// Repeats a request that is the same each time, until it works or is certain to fail.
    async fn repeat<T, F: Future<Output = Result<T, BucketError>>>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<T, BucketError> {
        let mut tries = 1;
        loop {
            match request().await {
                Err(BucketError::Store(error)) if error.is_retryable() && tries < TRIES => {
                    let ceiling = std::time::Duration::from_millis(500 << tries);
                    tokio::time::sleep(ceiling.mul_f64(fastrand::f64())).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }
}

fn stalled() -> BucketError {
    SinkError::slow_down("the store made no progress").into()
}

fn unreadable(file: &Path, error: io::Error) -> BucketError {
    BucketError::Read { file: file.display().to_string(), error }
}

/// Opens a file at the beginning of a range; returns the SHA-256 of the range.
async fn open(file: &Path, (from, length): (u64, u64)) -> Result<(String, File), BucketError> {
    let path = file.to_owned();
    let opened = tokio::task::spawn_blocking(move || -> io::Result<(String, File)> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let (mut hasher, mut buffer, mut left) = (Sha256::new(), vec![0; 1 << 20], length);
        while left > 0 {
            let most = left.min(buffer.len() as u64) as usize;
            file.read_exact(&mut buffer[..most])?;
            hasher.update(&buffer[..most]);
            left -= most as u64;
        }
        file.seek(SeekFrom::Start(from))?;
        Ok((hex(&hasher.finalize()), file))
    });
    let opened = opened.await.unwrap_or_else(|failure| Err(io::Error::other(failure)));
    opened.map_err(|error| unreadable(file, error))
}
