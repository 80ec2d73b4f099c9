//! A secret that a file holds, and that the configuration names.

use std::{
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::runtime::{Class, Classified, filesystem::open_regular};

/// Minimum length of a secret, in bytes.
pub const LEAST: usize = 32;

/// Maximum length: a longer file is not a secret.
pub const MOST: usize = 4_096;

/// A secret, wiped from memory when dropped. It cannot be printed.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a secret was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "cannot read the secret in {}: {source}; put the file there, let this user read it, or correct the path",
        path.display()
    )]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the secret in {} {problem}", path.display())]
    Malformed { path: PathBuf, problem: String },
}

impl Classified for SecretError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::Malformed { .. } => Class::Data,
        }
    }
}

impl Secret {
    /// Reads a file: its bytes are the secret, without one final line end.
    ///
    /// # Errors
    /// When it cannot be read, or is too short or too long.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let mut bytes = content(path)?;
        if bytes.ends_with(b"\n") {
            bytes.pop();
            bytes.pop_if(|byte| *byte == b'\r');
        }
        match bytes.len() {
            LEAST..=MOST => Ok(Self(bytes)),
            bytes => {
                let problem = format!(
                    "has {bytes} bytes, and must have {LEAST} to {MOST}; create one with `head -c 32 /dev/urandom | base64`"
                );
                Err(SecretError::Malformed { path: path.to_owned(), problem })
            }
        }
    }

    /// What stands for a secret that cannot be read, where nothing is protected by it.
    pub fn placeholder() -> Self {
        Self(Zeroizing::new(vec![0; LEAST]))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a file with a secret holds, up to a few bytes more than the longest secret. Wiped when dropped.
///
/// # Errors
/// When it cannot be read.
pub fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    // Never reallocated, so that no copy stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MOST));
    open_regular(path).map_err(failed)?.take(MOST as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Whether any user of this machine may read a file.
pub fn is_open_to_all(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

/// Whether any user of this machine may write a file.
pub fn is_writable_by_all(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.permissions().mode() & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_content_of_its_file_without_the_final_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Secret::read(&path).map(|secret| secret.bytes().to_vec())
        };
        let secret = [7; 32];
        for end in [&b""[..], b"\n", b"\r\n"] {
            assert_eq!(read(&[&secret, end].concat()).unwrap(), secret, "{end:?}");
        }
        assert_eq!(read(&[&secret[..], b"\n\n"].concat()).unwrap().len(), 33, "one line end only");
        assert_eq!(read(&[b'\n'; 33]).unwrap().len(), 32);
        assert_eq!(read(&[7; MOST]).unwrap().len(), MOST);
        for bytes in [0, 1, 31, MOST + 1, MOST * 2] {
            let error = read(&vec![7; bytes]).unwrap_err().to_string();
            assert!(error.contains("must have 32 to 4096") && !error.contains("777"), "{error}");
        }
        let missing = Secret::read(&dir.path().join("none")).map(drop).unwrap_err().to_string();
        assert!(missing.contains("cannot read the secret in"), "{missing}");
    }
}
