//! Access to a bucket, as options of a command.

use std::{env, io, path::PathBuf};

use clap::Args;

use crate::config;

/// Region of buckets without `--region` and environment, as for Amazon's own tools.
const DEFAULT_REGION: &str = "us-east-1";

/// Access to a bucket.
#[derive(Args, Debug)]
#[command(next_help_heading = "Access to a bucket")]
pub struct Access {
    /// Region of the bucket. Without it: `AWS_REGION`, `AWS_DEFAULT_REGION` or us-east-1.
    #[arg(long)]
    pub region: Option<String>,
    /// Base URL of a store other than Amazon's, `https://minio.example.com:9000`.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Use the bucket as part of the path instead of the host name.
    #[arg(long)]
    pub path_style: bool,
    /// File with static credentials, in the format of `~/.aws/credentials`. Without it they come from the default
    /// chain.
    #[arg(long, value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,
    /// Profile in that file, or in the shared files of the default chain.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

impl Access {
    /// Whether any option is given.
    pub fn is_given(&self) -> bool {
        let Self { region, endpoint, path_style, credentials_file, profile } = self;
        region.is_some() || endpoint.is_some() || *path_style || credentials_file.is_some() || profile.is_some()
    }

    /// The bucket as in the configuration, with its defaults.
    ///
    /// # Errors
    /// When it cannot be expressed there, which is an internal error.
    pub fn config(&self, bucket: &str, prefix: &str) -> io::Result<config::S3> {
        let variable = |name| env::var(name).ok().filter(|region| !region.is_empty());
        let region =
            self.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let config = serde_json::json!({
            "bucket": bucket,
            "prefix": prefix,
            "region": region.as_deref().unwrap_or(DEFAULT_REGION),
            "endpoint": self.endpoint,
            "path_style": self.path_style,
            "credentials_file": self.credentials_file,
            "profile": self.profile,
        });
        serde_json::from_value(config).map_err(io::Error::from)
    }
}

/// The bucket and the prefix of `s3://bucket/prefix`.
pub fn parse(place: &str) -> Option<(&str, &str)> {
    let place = place.strip_prefix("s3://")?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    Some((bucket, prefix.trim_matches('/')))
}
