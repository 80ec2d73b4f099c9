//! Probes of a fleet's bucket and NATS, for `clickedge check --probe`: would an edge follow?

use std::{io, time::Duration};

use super::{
    bucket::{Bucket, BucketError, Looked},
    nats,
    publish::PublishError,
};
use crate::{
    config,
    runtime::{Class, Classified},
};

/// Longest probe.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The probe of a part of the fleet.
#[derive(Debug)]
pub struct Probe {
    /// Key of its configuration.
    pub key: &'static str,
    /// `s3://bucket/prefix`, or subject and servers.
    pub place: String,
    /// A note on what works, or why it does not.
    pub outcome: Result<String, ProbeError>,
}

/// Why an edge could not follow.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error(transparent)]
    Bucket(PublishError),
    #[error("{0}")]
    Nats(String),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Late,
}

impl Classified for ProbeError {
    fn class(&self) -> Class {
        match self {
            Self::Bucket(error) => error.class(),
            Self::Nats(_) | Self::Late => Class::Unavailable,
        }
    }
}

/// Reads the head of the bucket, and connects to NATS where it is configured. With `put`, an edge that writes to the
/// bucket also stores an object there, to find out whether the store honours conditions.
///
/// # Errors
/// When the system provides no sockets or threads.
pub fn probe(config: &config::Fleet, put: bool) -> io::Result<Vec<Probe>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bucket = Probe {
        key: "catalog.fleet.bucket",
        place: format!("s3://{}/{}", config.bucket.bucket, config.bucket.prefix),
        outcome: runtime.block_on(within(of_bucket(&config.bucket, put && config.write))),
    };
    let nats = config.nats.as_ref().map(|nats| Probe {
        key: "catalog.fleet.nats",
        place: format!("{} on {}", nats.subject, nats.servers.join(", ")),
        outcome: runtime.block_on(within(async { nats::probe(nats).await.map_err(ProbeError::Nats) })),
    });
    runtime.shutdown_background();
    Ok([bucket].into_iter().chain(nats).collect())
}

async fn within(probe: impl Future<Output = Result<String, ProbeError>>) -> Result<String, ProbeError> {
    tokio::time::timeout(TIMEOUT, probe).await.unwrap_or(Err(ProbeError::Late))
}

async fn of_bucket(config: &config::S3, put: bool) -> Result<String, ProbeError> {
    let bucket = Bucket::new(config).await;
    let failed = |error: BucketError| ProbeError::Bucket(error.into());
    let found = match bucket.head(None).await.map_err(failed)? {
        Looked::Found { head, .. } => {
            let (position, links) = (head.position, head.snapshot.links);
            format!("generation {}, change {}: a snapshot of {links} links", position.generation, position.revision)
        }
        Looked::Missing | Looked::Unchanged => {
            "it can be read, and has no catalog yet; publish one with `clickedge catalog publish`".into()
        }
    };
    if !put {
        return Ok(found);
    }
    bucket.check_conditions().await.map_err(failed)?;
    Ok(format!("{found}; it takes changes, and honours conditions"))
}
