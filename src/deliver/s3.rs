//! A bucket as a sink: Amazon S3, or a store that speaks its protocol.
//!
//! The client's own retries are off: there is one layer of retry, [`super::backoff`]. Every wait has a bound. An
//! upload says `If-None-Match: *`, so that a repeated one is answered with 412 and never makes a second version.

use std::{
    error::Error,
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig,
    retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::provider::{SharedCredentialsProvider, error::CredentialsError};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{DisplayErrorContext, SdkError},
    operation::put_object::PutObjectError,
    primitives::ByteStream,
    types::ServerSideEncryption,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;

use super::sink::{Sink, SinkError, Stored};
use crate::config::{self, Encryption};

/// One pool of connections for all feeds.
static HTTP: LazyLock<SharedHttpClient> = LazyLock::new(|| {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
});

/// A bucket.
pub struct S3Sink {
    client: ArcSwap<Client>,
    config: config::S3,
}

impl S3Sink {
    /// Reads no network: credentials are looked for at the first upload.
    pub async fn new(config: &config::S3) -> Self {
        Self { client: ArcSwap::from_pointee(client(config).await), config: config.clone() }
    }

    fn key(&self, key: &str) -> String {
        match self.config.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }
}

#[async_trait]
impl Sink for S3Sink {
    async fn put(&self, key: &str, body: Bytes) -> Result<Stored, SinkError> {
        let mut put = self
            .client
            .load_full()
            .put_object()
            .bucket(&self.config.bucket)
            .key(self.key(key))
            .if_none_match("*")
            .content_type("application/gzip")
            .body(ByteStream::from(body));
        match &self.config.encryption {
            None => {}
            Some(Encryption::S3Managed) => put = put.server_side_encryption(ServerSideEncryption::Aes256),
            Some(Encryption::Kms { key_id }) => {
                put = put.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key_id.clone());
            }
        }
        match put.send().await {
            Ok(_) => Ok(Stored::Now),
            Err(error) => {
                let verdict = judge(&error);
                if let Err(SinkError::Refused(_)) = verdict {
                    // The client keeps the credentials that it has read: whoever mends them must not need a restart.
                    self.client.store(Arc::new(client(&self.config).await));
                }
                verdict
            }
        }
    }
}

/// What a failed upload means.
fn judge(error: &SdkError<PutObjectError, HttpResponse>) -> Result<Stored, SinkError> {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let message = DisplayErrorContext(error).to_string();
    match status {
        Some(412) => Ok(Stored::Before),
        // 409: another upload of the same key is under way. 408 and 429: the store asks to come back.
        Some(408 | 409 | 429 | 500..) => Err(SinkError::Failed(message)),
        Some(300..) => Err(SinkError::Refused(message)),
        _ if credentials_are_wrong(error) => Err(SinkError::Refused(message)),
        _ => Err(SinkError::Failed(message)),
    }
}

/// Whether no request was sent because there are no usable credentials.
fn credentials_are_wrong(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            return !matches!(error, CredentialsError::ProviderTimedOut(_));
        }
        cause = error.source();
    }
    false
}

async fn client(config: &config::S3) -> Client {
    let shared = shared_config(config).await;
    let mut s3 = aws_sdk_s3::config::Builder::from(&shared).force_path_style(config.path_style);
    if let Some(endpoint) = &config.endpoint {
        s3 = s3.endpoint_url(endpoint);
    }
    Client::from_conf(s3.build())
}

async fn shared_config(config: &config::S3) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(config.connect_timeout_secs))
        .read_timeout(Duration::from_secs(config.attempt_timeout_secs))
        .operation_attempt_timeout(Duration::from_secs(config.attempt_timeout_secs))
        .operation_timeout(Duration::from_secs(config.attempt_timeout_secs))
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(HTTP.clone())
        .region(Region::new(config.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(file) = &config.credentials_file {
        let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, file).build();
        // Without a client it panics, even when the file asks for no request.
        let provider_config = ProviderConfig::default()
            .with_http_client(HTTP.clone())
            .with_region(Some(Region::new(config.region.clone())));
        let mut provider = ProfileFileCredentialsProvider::builder().configure(&provider_config).profile_files(files);
        if let Some(profile) = &config.profile {
            provider = provider.profile_name(profile);
        }
        loader = loader.credentials_provider(provider.build());
    } else if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    let shared = loader.load().await;
    let Some(role) = &config.assume_role else {
        return shared;
    };
    let mut sts = shared.clone().into_builder();
    sts.set_endpoint_url(role.sts_endpoint.clone());
    let mut provider = AssumeRoleProvider::builder(&role.role_arn).session_name("clickedge").configure(&sts.build());
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id);
    }
    let provider = SharedCredentialsProvider::new(provider.build().await);
    shared.into_builder().credentials_provider(provider).build()
}
