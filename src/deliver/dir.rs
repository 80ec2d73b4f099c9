//! A folder as a sink: the embedded default, and the way to hand objects to another program.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::sink::{Sink, SinkError, Stored};

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
    async fn put(&self, key: &str, body: Bytes) -> Result<Stored, SinkError> {
        let path = self.root.join(key);
        let stored = tokio::task::spawn_blocking(move || store(&path, &body))
            .await
            .map_err(|error| SinkError::Failed(error.to_string()))?;
        stored.map_err(|error| {
            let message = format!("cannot write {}: {error}", self.root.display());
            match error.kind() {
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::NotADirectory => SinkError::Refused(message),
                _ => SinkError::Failed(message),
            }
        })
    }
}

fn store(path: &Path, body: &[u8]) -> io::Result<Stored> {
    if path.exists() {
        return Ok(Stored::Before);
    }
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(body)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()?;
    Ok(Stored::Now)
}
