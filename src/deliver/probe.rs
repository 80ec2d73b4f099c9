//! Probes of sinks, for `clickedge check --probe`: would deliveries succeed?
//!
//! A bucket gets a `HEAD` request and, if asked for, an object of sample events below `_test/`, which is sent like a
//! delivery. The object is not deleted, as deliveries need no permission for that. A folder gets a temporary file below
//! `_test/`, which is removed again. A webhook gets a `HEAD` request, or a signed request of the type `test`; a stream
//! gets a message that it must reject.

pub mod error;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use tokio::{sync::Semaphore, task::JoinSet};

pub use error::ProbeError;
use error::TIMEOUT;

use super::{
    dir,
    error::{Details, SinkError},
};
use crate::{
    config::{Feed, Sink},
    object::key::TESTS,
};

/// Probes at a time.
const CONCURRENT: usize = 16;

/// The probe of one feed's sink.
#[derive(Debug)]
pub struct Probe {
    /// Name of the feed.
    pub feed: String,
    /// Folder, `s3://bucket/prefix`, URL of a webhook, or subject and servers of a stream.
    pub sink: String,
    /// A note on what works, or the reason why deliveries would fail.
    pub outcome: Result<String, ProbeError>,
}

/// Probes the sink of each feed, with a runtime of its own. Results are in the order of the feeds. `pop` is the name of
/// this edge.
///
/// # Errors
/// When the system provides no sockets or threads.
pub fn probe(feeds: &[Feed], pop: &str, dry_put: bool) -> io::Result<Vec<Probe>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(CONCURRENT).enable_all().build()?;
    let mut probes = runtime.block_on(async {
        let limit = Arc::new(Semaphore::new(CONCURRENT));
        let mut running = JoinSet::new();
        for (number, feed) in feeds.iter().cloned().enumerate() {
            let (limit, pop) = (Arc::clone(&limit), pop.to_owned());
            running.spawn(async move {
                let _permit = limit.acquire().await;
                (number, probe_feed(&feed, &pop, dry_put).await)
            });
        }
        running.join_all().await
    });
    // A folder may hang in a system call, which cannot be interrupted.
    runtime.shutdown_background();
    probes.sort_by_key(|(number, _)| *number);
    Ok(probes.into_iter().map(|(_, probe)| probe).collect())
}

/// Where a sink delivers: a folder, or `s3://bucket/prefix`.
pub fn place(sink: &Sink) -> String {
    match sink {
        Sink::Dir(config) => config.path.display().to_string(),
        Sink::S3(config) => format!("s3://{}/{}", config.bucket, config.prefix),
        Sink::Webhook(config) => config.shown_url().to_owned(),
        Sink::Nats(config) => format!("{} on {}", config.subject, config.servers.join(", ")),
        Sink::Custom(config) => format!("the sink {:?} of the program", config.name),
    }
}

async fn probe_feed(feed: &Feed, pop: &str, dry_put: bool) -> Probe {
    let sink = place(&feed.sink);
    let outcome = match tokio::time::timeout(TIMEOUT, probe_sink(feed, pop, dry_put)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(SinkError::slow_down(format!("no answer within {TIMEOUT:?}")).into()),
    };
    Probe { feed: feed.name.clone(), sink, outcome }
}

#[cfg_attr(not(feature = "full"), allow(unused_variables, reason = "each sink takes what it needs"))]
async fn probe_sink(feed: &Feed, pop: &str, dry_put: bool) -> Result<String, ProbeError> {
    match &feed.sink {
        #[cfg(feature = "s3")]
        Sink::S3(config) => super::s3::probe::probe(feed, config, pop, dry_put).await,
        #[cfg(feature = "webhook")]
        Sink::Webhook(config) => super::webhook::probe::probe(&feed.name, config, dry_put).await,
        #[cfg(feature = "nats")]
        Sink::Nats(config) => super::nats::probe::probe(&feed.name, config, dry_put).await,
        Sink::Custom(config) => {
            let reason = format!("only the program that provides the sink {:?} can reach it", config.name);
            Err(SinkError::rejected(reason).into())
        }
        Sink::Dir(config) => {
            let path = config.path.clone();
            match tokio::task::spawn_blocking(move || probe_folder(&path)).await {
                Ok(outcome) => Ok(outcome?),
                Err(failure) => Err(SinkError::retry(Details::new("the probe panicked").with_source(failure)).into()),
            }
        }
        #[cfg(not(all(feature = "nats", feature = "s3", feature = "webhook")))]
        config => Err(super::absent::AbsentSink::new(config).error().into()),
    }
}

fn probe_folder(root: &Path) -> Result<String, SinkError> {
    let folder = root.join(TESTS);
    let exists = root.exists();
    // Deepest first. What the probe creates it removes: it may run as another user than the service.
    let missing = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let missing: Vec<_> = missing.map(Path::to_path_buf).collect();
    let written = write_and_remove(&folder);
    for path in missing {
        // Not empty when the service has begun to use it.
        let _ = fs::remove_dir(path);
    }
    written.map_err(|error| dir::of_write(root, error))?;
    Ok(if exists { "the folder is writable" } else { "the folder does not exist yet and can be created" }.into())
}

fn write_and_remove(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!(".probe-{}.tmp", std::process::id()));
    let mut file = File::create(&path)?;
    let written = file.write_all(b"clickedge check --probe\n").and_then(|()| file.sync_all());
    let removed = fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Class, Classified};

    #[test]
    fn a_folder_that_exists_or_can_be_created_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probe_folder(dir.path()).unwrap(), "the folder is writable");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let new = dir.path().join("a/b");
        assert_eq!(probe_folder(&new).unwrap(), "the folder does not exist yet and can be created");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_an_error_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = ProbeError::from(probe_folder(&file.join("feed")).unwrap_err());
        assert_eq!(error.class(), Class::Config);
        let text = error.to_string();
        assert!(text.starts_with("cannot write ") && text.contains("a part of this path is a file"), "{text}");
    }
}
