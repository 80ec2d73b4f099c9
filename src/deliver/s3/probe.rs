//! The probe of a bucket.

use std::path::PathBuf;

use aws_sdk_s3::primitives::ByteStream;
use flate2::Crc;
use sha2::{Digest, Sha256};

use super::{S3Sink, answer_check::AnswerCheck, policy};
use crate::{
    config::feeds::ChecksumCalculation,
    deliver::{error::SinkError, probe::error::ProbeError},
    object::{Object, ObjectKind, digest::hex, key::TESTS, reader::Summary},
    runtime::clock,
};

const CONTENT: &[u8] = b"{\"test\":\"clickedge check --probe\"}\n";

impl S3Sink {
    /// Sends a `HEAD` of the bucket and, with `dry_put`, a tiny object below `_test/`. Deliveries do not need the
    /// permission for the `HEAD`: if the object is accepted, a 403 to the `HEAD` is only noted.
    pub async fn probe(&self, dry_put: bool) -> Result<String, ProbeError> {
        let bucket = &self.config.bucket;
        let check = AnswerCheck::of_bucket();
        let head = self.client.load_full().head_bucket().bucket(bucket);
        let head = head.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        let head = head.customize().interceptor(check.clone()).send().await;
        let head = head.map_err(|error| self.classify(error)).and_then(|_| check.result());
        let listable = match head.map_err(|error| error.with_context("HEAD of the bucket")) {
            Ok(()) => true,
            Err(error) if dry_put && error.details().status == Some(403) => false,
            Err(error) => {
                let lacks = (error.details().status == Some(403)).then(|| {
                    format!(
                        "the policy lacks s3:ListBucket on `{bucket}`, or the credentials are wrong; deliveries do not \
                         need s3:ListBucket: a dry PUT shows whether s3:PutObject is granted"
                    )
                });
                return Err(ProbeError { error, lacks });
            }
        };
        if !dry_put {
            return Ok("the bucket exists; s3:PutObject was not tried".into());
        }
        match self.put_test_object().await {
            Ok(key) if listable => Ok(format!("the bucket accepts uploads; stored {key}")),
            Ok(key) => Ok(format!("the bucket accepts uploads, and denies s3:ListBucket; stored {key}")),
            Err(error) => {
                let lacks = policy::lacks(&self.config, &policy::put_actions(&self.config), &error);
                Err(ProbeError { error: error.with_context("PUT of a test object"), lacks })
            }
        }
    }

    /// Sends an object like a delivery. Returns its key.
    async fn put_test_object(&self) -> Result<String, SinkError> {
        let summary = Summary { sha256: hex(&Sha256::digest(CONTENT)), ..Summary::default() };
        let object = Object {
            key: format!("{TESTS}/{}-{}.json", self.feed, clock::unix_micros()),
            path: PathBuf::new(),
            bytes: CONTENT.len() as u64,
            kind: ObjectKind::Test,
            summary: None,
            finished_at: 0,
        };
        let crc32 = (self.config.request_checksum_calculation == ChecksumCalculation::WhenSupported).then(|| {
            let mut crc = Crc::new();
            crc.update(CONTENT);
            aws_smithy_types::base64::encode(crc.sum().to_be_bytes())
        });
        let put = self.put_object(&object, &summary).set_checksum_crc32(crc32).body(ByteStream::from_static(CONTENT));
        self.send(put, &summary.sha256).await?;
        Ok(self.key(&object.key))
    }
}
