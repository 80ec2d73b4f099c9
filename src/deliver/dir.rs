//! A folder as a sink: the embedded default, and the way to hand objects to another program.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::sink::{Sink, SinkError, Stored};
use crate::{
    object::{
        Object,
        digest::{copy_hashing, sha256},
    },
    runtime::failpoint::fail_point,
};

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
        tokio::task::spawn_blocking(move || store(&root, &object))
            .await
            .unwrap_or_else(|failure| Err(SinkError::Failed(failure.to_string())))
    }
}

fn store(root: &Path, object: &Object) -> Result<Stored, SinkError> {
    let failed = |error: io::Error| {
        let message = format!("cannot write {}: {error}", root.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
                SinkError::Refused(message)
            }
            _ => SinkError::Failed(message),
        }
    };
    let ours = object.summary.as_ref().map(|summary| summary.sha256.as_str());
    let path = root.join(&object.key);
    if let Ok(there) = fs::metadata(&path) {
        let same = there.len() == object.bytes && ours == Some(&sha256(&path).map_err(failed)?);
        return if same { Ok(Stored::Before) } else { Err(SinkError::Refused(foreign(&path))) };
    }
    let mut source = File::open(&object.path).map_err(|error| SinkError::of_file(&error))?;
    let dir = path.parent().unwrap_or(root);
    fs::create_dir_all(dir).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.tmp"));
    let mut file = File::create(&temporary).map_err(failed)?;
    let copied = copy_hashing(&mut source, &mut file).map_err(failed)?;
    if ours != Some(&copied) {
        let _ = fs::remove_file(&temporary);
        return Err(SinkError::Damaged(format!("its SHA-256 is {copied}")));
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, &path).map_err(failed)?;
    fail_point("put_sent");
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(Stored::Now)
}

fn foreign(path: &Path) -> String {
    format!("{} is there already and holds something else; take it away", path.display())
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
                Err(SinkError::Refused(message)) => assert!(message.contains(&ours.key), "{message}"),
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
        assert!(matches!(store(&root, &ours), Err(SinkError::Gone)));
    }
}
