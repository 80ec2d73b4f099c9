//! A folder as a sink: the default, and the way to pass objects to another program on the same machine.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{
    error::{Details, SinkError},
    sink::{Sink, Stored},
};
use crate::{
    object::{
        Object,
        digest::{copy_hashing, sha256},
    },
    runtime::failpoint::fail_point,
};

/// Most entries of a folder that a listing looks at.
const MOST_LISTED: usize = 10_000;

/// Objects appear under their final name only when they are whole and on the disk.
pub struct DirSink {
    root: PathBuf,
}

impl DirSink {
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }
}

#[async_trait]
impl Sink for DirSink {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        let (root, object) = (self.root.clone(), object.clone());
        match tokio::task::spawn_blocking(move || store(&root, &object)).await {
            Ok(stored) => stored,
            Err(failure) => {
                Err(SinkError::retry(Details::new("writing into the folder panicked").with_source(failure)))
            }
        }
    }

    async fn read_back(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError> {
        let path = self.root.join(key);
        let read = tokio::task::spawn_blocking(move || {
            fs::read(&path).map_err(|error| {
                let denied = error.kind() == io::ErrorKind::PermissionDenied;
                let details = Details::new(format!("cannot read {}", path.display())).with_source(error);
                if denied { SinkError::rejected(details) } else { SinkError::retry(details) }
            })
        });
        match read.await {
            Ok(read) => read.map(Some),
            Err(failure) => Err(SinkError::retry(Details::new("reading the folder panicked").with_source(failure))),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        let listed = tokio::task::spawn_blocking(move || list(&root, &prefix)).await;
        listed
            .map_err(|failure| SinkError::retry(Details::new("reading the folder panicked").with_source(failure)))?
    }
}

/// Maps an error of the file system below `root`.
pub(super) fn of_write(root: &Path, error: io::Error) -> SinkError {
    let kind = error.kind();
    let details = Details::new(format!("cannot write {}", root.display())).with_source(error);
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
            SinkError::rejected(details)
        }
        _ => SinkError::retry(details),
    }
}

fn list(root: &Path, prefix: &str) -> Result<Vec<String>, SinkError> {
    let (folder, start) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    let entries = match fs::read_dir(root.join(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.map_err(|error| SinkError::retry(Details::new("cannot read the folder").with_source(error)))?
        }
    };
    let names = entries.take(MOST_LISTED).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(start)).map(|name| format!("{folder}/{name}")).collect())
}

fn store(root: &Path, object: &Object) -> Result<Stored, SinkError> {
    let failed = |error: io::Error| of_write(root, error);
    let ours = object.summary.as_ref().map(|summary| summary.sha256.as_str());
    let path = root.join(&object.key);
    if let Ok(there) = fs::metadata(&path) {
        if there.len() == object.bytes && ours == Some(&sha256(&path).map_err(failed)?) {
            return Ok(Stored::Before);
        }
        return Err(SinkError::conflict(format!("{} exists with other content", path.display())));
    }
    let mut source = File::open(&object.path).map_err(SinkError::of_file)?;
    let dir = path.parent().unwrap_or(root);
    fs::create_dir_all(dir).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.tmp"));
    let mut file = File::create(&temporary).map_err(failed)?;
    let copied = copy_hashing(&mut source, &mut file).map_err(failed)?;
    if ours != Some(&copied) {
        let _ = fs::remove_file(&temporary);
        return Err(SinkError::damaged(format!("the object has changed: its SHA-256 is {copied}")));
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, &path).map_err(failed)?;
    fail_point("put_sent");
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(Stored::Now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ObjectKind, reader::Summary};

    fn object(dir: &Path, content: &str) -> Object {
        let path = dir.join("waiting");
        fs::write(&path, content).unwrap();
        let summary = Summary { sha256: sha256(&path).unwrap(), ..Summary::default() };
        Object {
            key: "dt=2026-11-23/hour=09/object.gz".into(),
            path,
            bytes: content.len() as u64,
            kind: ObjectKind::Events,
            summary: Some(summary),
            finished_at: 0,
        }
    }

    #[test]
    fn the_same_object_is_stored_once_and_another_one_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("sink");
        let ours = object(dir.path(), "ours");
        assert_eq!(store(&root, &ours).unwrap(), Stored::Now);
        assert_eq!(store(&root, &ours).unwrap(), Stored::Before);

        for other in ["some", "longer"] {
            fs::write(root.join(&ours.key), other).unwrap();
            match store(&root, &ours) {
                Err(SinkError::Conflict(details)) => assert!(details.summary.contains(&ours.key), "{details:?}"),
                stored => panic!("{stored:?}"),
            }
            assert_eq!(fs::read_to_string(root.join(&ours.key)).unwrap(), other);
        }
    }

    #[test]
    fn an_object_that_changed_since_it_was_finished_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("sink");
        let ours = object(dir.path(), "ours");
        fs::write(&ours.path, "oars").unwrap();
        assert!(matches!(store(&root, &ours), Err(SinkError::Damaged(_))));
        let left = fs::read_dir(root.join("dt=2026-11-23/hour=09")).unwrap().count();
        assert_eq!(left, 0, "nothing is left behind");
        fs::remove_file(&ours.path).unwrap();
        assert!(matches!(store(&root, &ours), Err(SinkError::Missing(_))));
    }
}
