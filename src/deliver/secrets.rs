//! The secrets of webhooks, as their files hold them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::error::{Details, SinkError};
use crate::{
    config::{
        self, SecretError,
        secret::{content, is_open_to_all},
    },
    files::Reloadable,
};

/// Beginning of a secret in its file.
const PREFIX: &[u8] = b"whsec_";

/// Bytes of a secret, as the specification has them.
const LEAST: usize = 24;
const MOST: usize = 64;

/// The current secrets of a webhook, which a reload replaces.
pub type SecretStore = Reloadable<Secrets>;

/// One or two secrets, wiped from memory when dropped. They cannot be printed.
#[derive(Default)]
pub struct Secrets {
    keys: Vec<Zeroizing<Vec<u8>>>,
    /// Files that any user of this machine may read.
    open: Vec<PathBuf>,
}

impl Secrets {
    /// Reads the files, each with one secret.
    ///
    /// # Errors
    /// When one of them cannot be read or is malformed.
    pub fn read(files: &[PathBuf]) -> Result<Self, SecretError> {
        let keys = files.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
        Ok(Self { keys, open: files.iter().filter(|file| is_open_to_all(file)).cloned().collect() })
    }

    /// Files that any user of this machine may read.
    pub fn open_files(&self) -> &[PathBuf] {
        &self.open
    }

    /// Number of secrets.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The secrets themselves.
    #[cfg(feature = "webhook")]
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| key.as_slice())
    }
}

/// The secrets that the files of a webhook hold now.
///
/// # Errors
/// When one of them cannot be read or is malformed.
pub fn read_secrets(config: &config::Webhook) -> Result<Arc<SecretStore>, SinkError> {
    let secrets = Secrets::read(&config.secret_files).map_err(|error| {
        let remedy = "correct `secret_files` of the feed's sink";
        SinkError::rejected(Details::new(error.to_string()).with_remedy(remedy))
    })?;
    Ok(Arc::new(SecretStore::new(secrets)))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let text = content(path)?;
    let encoded = text.trim_ascii().strip_prefix(PREFIX).and_then(|encoded| std::str::from_utf8(encoded).ok());
    let decoded = encoded.and_then(|encoded| STANDARD.decode(encoded).ok()).map(Zeroizing::new);
    decoded.filter(|key| (LEAST..=MOST).contains(&key.len())).ok_or_else(|| SecretError::Malformed {
        path: path.to_owned(),
        problem: format!(
            "is not a webhook's: it must be `whsec_` and the base64 of {LEAST} to {MOST} bytes; create one with `echo \
             whsec_$(head -c 32 /dev/urandom | base64)`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Class, Classified};

    fn write(path: &Path, bytes: usize) -> String {
        let secret = format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        std::fs::write(path, format!("{secret}\n")).unwrap();
        secret
    }

    #[test]
    fn a_file_that_is_not_a_secret_is_rejected_without_being_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for content in
            ["", "whsec_", "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0", "whsec_not base64 at all, but long enough"]
        {
            std::fs::write(&path, content).unwrap();
            let error = Secrets::read(std::slice::from_ref(&path)).map(drop).unwrap_err();
            assert!(matches!(error, SecretError::Malformed { .. }), "{content}");
            assert!(!error.to_string().contains("c2Vj") && !error.to_string().contains("at all"), "{error}");
        }
        for bytes in [23, 65] {
            write(&path, bytes);
            assert!(Secrets::read(std::slice::from_ref(&path)).is_err(), "{bytes}");
        }
        let missing = Secrets::read(&[dir.path().join("none")]).map(drop).unwrap_err();
        assert_eq!(missing.class(), Class::NoInput);
    }
}
