//! The probe of a bucket.

use super::{S3Sink, answer_check::AnswerCheck};
use crate::{
    config::{self, Feed},
    deliver::{
        error::{Details, SinkError},
        metrics::ClockSkew,
        policy,
        probe::error::{ProbeError, TIMEOUT},
        sample::Sample,
        sink::Sink,
    },
    object::Object,
};

/// Probes a bucket; with `dry_put` with an object of the edge of this name.
pub async fn probe(feed: &Feed, config: &config::S3, pop: &str, dry_put: bool) -> Result<String, ProbeError> {
    let sample = dry_put.then(|| Sample::write(feed, pop)).transpose();
    let sample = sample.map_err(|error| {
        SinkError::retry(Details::new("cannot write a sample into the folder for temporary files").with_source(error))
    })?;
    let sink = S3Sink::new(&feed.name, &with_short_timeouts(config), ClockSkew::default()).await;
    sink.probe(sample.as_ref().map(|sample| &sample.object)).await
}

fn with_short_timeouts(config: &config::S3) -> config::S3 {
    let limit = TIMEOUT.as_secs();
    let mut config = config.clone();
    for timeout in [
        &mut config.connect_timeout_secs,
        &mut config.read_timeout_secs,
        &mut config.attempt_timeout_secs,
        &mut config.operation_timeout_secs,
    ] {
        *timeout = limit.min(*timeout);
    }
    config
}

impl S3Sink {
    /// Sends a `HEAD` of the bucket and, if there is one, an object like a delivery. Deliveries do not need the
    /// permission for the `HEAD`: a 403 to it is only noted, unless the credentials are wrong.
    async fn probe(&self, sample: Option<&Object>) -> Result<String, ProbeError> {
        let bucket = &self.config.bucket;
        let check = AnswerCheck::of_bucket();
        let head = self.client.load_full().head_bucket().bucket(bucket);
        let head = head.set_expected_bucket_owner(self.config.expected_bucket_owner.clone());
        let head = head.customize().interceptor(check.clone()).send().await;
        let head = head.map_err(|error| self.classify(error)).and_then(|_| check.result());
        let listable = match head.map_err(|error| error.with_context("HEAD of the bucket")) {
            Ok(()) => true,
            Err(error) if error.details().status == Some(403) => {
                if sample.is_none() {
                    return self.probe_list().await;
                }
                false
            }
            Err(error) => return Err(ProbeError { error, lacks: None }),
        };
        let Some(sample) = sample else {
            return Ok("the bucket exists; s3:PutObject was not tried".into());
        };
        let key = self.key(&sample.key);
        match self.put(sample).await {
            Ok(_) if listable => Ok(format!("the bucket accepts uploads; stored {key}")),
            Ok(_) => Ok(format!("the bucket accepts uploads, and denies s3:ListBucket; stored {key}")),
            Err(error) => {
                let lacks = policy::lacks(&self.config, &policy::put_actions(&self.config), &error);
                Err(ProbeError { error: error.with_context("PUT of a test object"), lacks })
            }
        }
    }

    /// Says what the 403 to a `HEAD` means, which has no body: lists the bucket below the prefix.
    async fn probe_list(&self) -> Result<String, ProbeError> {
        match self.list_page("").await {
            Ok(_) => Ok("the bucket exists; s3:PutObject was not tried".into()),
            Err(error) if error.details().code.as_deref() == Some("AccessDenied") => {
                Ok("the bucket denies s3:ListBucket, which deliveries do not need; s3:PutObject was not tried: run \
                    `clickedge feed test`, or add `--probe-put`"
                    .into())
            }
            Err(error) => Err(ProbeError { error: error.with_context("list of the bucket"), lacks: None }),
        }
    }
}
