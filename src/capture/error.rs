//! Why clicks cannot be captured.

use std::io;

use crate::runtime::{Class, Classified};

/// Why clicks cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("cannot use the folder of the rings, {dir}: {source}")]
    Io {
        dir: String,
        #[source]
        source: io::Error,
    },
    /// Two processes would read each other's clicks.
    #[error("the rings in {dir} are in use by another process; give each process a capture.dir of its own")]
    Locked { dir: String },
    /// Client addresses would reach the disk.
    #[error(
        "{dir} is not on a tmpfs; clicks hold client addresses, which stay in memory: set capture.dir to a folder below \
         /run or /dev/shm, or mount a tmpfs there (in a container: `docker run --tmpfs`, or an emptyDir with \
         `medium: Memory`)"
    )]
    NotMemory { dir: String },
    #[error(
        "{dir} has no room for rings of {bytes} bytes; lower capture.ring_bytes, or give its tmpfs a larger size"
    )]
    NoRoom { dir: String, bytes: u64 },
    /// Another user may have planted it.
    #[error(
        "{path} is a symbolic link; rings hold client addresses: remove the link, or set capture.dir to the folder itself"
    )]
    Symlink { path: String },
    /// Its owner can read and replace what is in it.
    #[error(
        "{path} is owned by user {owner}, and this process runs as user {user}; rings hold client addresses: run \
         clickedge as their owner, or give it a folder of its own"
    )]
    Owner { path: String, owner: u32, user: u32 },
    /// Other users can read or replace what is in it.
    #[error(
        "{path} is accessible by group or others (mode {mode:04o}); rings hold client addresses: chmod {private} {path}"
    )]
    Shared { path: String, mode: u32, private: &'static str },
}

impl Classified for CaptureError {
    fn class(&self) -> Class {
        match self {
            Self::Locked { .. } => Class::Unavailable,
            // No restart cures these.
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory) =>
            {
                Class::Config
            }
            Self::Io { .. } | Self::NoRoom { .. } => Class::Io,
            Self::NotMemory { .. } | Self::Symlink { .. } | Self::Owner { .. } | Self::Shared { .. } => Class::Config,
        }
    }
}
