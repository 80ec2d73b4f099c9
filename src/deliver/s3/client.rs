//! The client of a bucket: credentials, endpoint and timeouts.

use std::{sync::LazyLock, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig,
    retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_s3::{
    Client,
    config::{RequestChecksumCalculation, StalledStreamProtectionConfig},
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::config::{self, feeds::ChecksumCalculation};

/// One pool of connections for all feeds.
static HTTP: LazyLock<SharedHttpClient> = LazyLock::new(|| {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
});

/// Builds a client from the configuration and the current credentials files.
pub async fn client(config: &config::S3) -> Client {
    let shared = shared_config(config).await;
    let checksum = match config.request_checksum_calculation {
        ChecksumCalculation::WhenSupported => RequestChecksumCalculation::WhenSupported,
        ChecksumCalculation::WhenRequired => RequestChecksumCalculation::WhenRequired,
    };
    let mut s3 = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(config.path_style)
        .request_checksum_calculation(checksum);
    if let Some(endpoint) = &config.endpoint {
        s3 = s3.endpoint_url(endpoint);
    }
    Client::from_conf(s3.build())
}

async fn shared_config(config: &config::S3) -> SdkConfig {
    let attempt = Duration::from_secs(config.attempt_timeout_secs);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(config.connect_timeout_secs))
        // The client's read timeout would include the time to send the body, so the sink has its own.
        .read_timeout(attempt)
        .operation_attempt_timeout(attempt)
        .operation_timeout(Duration::from_secs(config.operation_timeout_secs))
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(HTTP.clone())
        .region(Region::new(config.region.clone()))
        .retry_config(RetryConfig::disabled())
        // The sink watches the progress of an upload itself, with a configured timeout.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(timeouts);
    if let Some(file) = &config.credentials_file {
        let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, file).build();
        // Without a client the provider panics, even when the file needs no request.
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
