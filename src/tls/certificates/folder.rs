//! A folder of certificates: which pairs are in it, which of them have changed, and what became of each.
//!
//! ```text
//! NAME.pem or NAME.crt, NAME.key               a chain and its key
//! NAME/fullchain.pem, NAME/privkey.pem         the same, as certbot writes them
//! .NAME and everything else                    passed over
//! ```
//! A pair is read again only when one of its files has changed. One that is rejected keeps its previous version until
//! both of its files are gone, and keeps no other from being renewed. A folder that is suddenly empty, or that cannot
//! be read, changes nothing: a mount that went away is no order to stop.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::pair::{self, CertificateError, CertificateWarning, EXPIRY_WARNING_DAYS, Pair};
use crate::{
    config,
    files::{Stamp, stamp},
    runtime::{Class, Classified},
};

/// The pair for clients that name no server.
const DEFAULT: &str = "default";

/// Files that a message lists; further ones are only counted.
const LISTED: usize = 20;

/// Names of a certificate that a message lists.
const NAMED: usize = 3;

/// Why a folder was rejected.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read the folder of certificates {}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the folder of certificates {} has no pair; put `NAME.pem` and `NAME.key`, or `NAME/fullchain.pem` and \
         `NAME/privkey.pem`, there", path.display()
    )]
    Empty { path: PathBuf },
    #[error("none of the {pairs} pairs in the folder of certificates {} can be used: {first}", path.display())]
    NoneUsable { path: PathBuf, pairs: usize, first: CertificateError },
}

impl Classified for FolderError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::Empty { .. } => Class::NoInput,
            Self::NoneUsable { first, .. } => first.class(),
        }
    }
}

/// A folder of certificates, and what was read from it. Locked by reloads only.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Arc<Contents>,
    /// Fingerprint of the files when they were last read, successfully or not.
    read: u64,
    /// The same at the last look, if it was another one.
    seen: Option<u64>,
}

/// The pairs of a folder, by their names.
#[derive(Debug, Default)]
pub struct Contents {
    entries: BTreeMap<String, Entry>,
    rejected: Vec<Rejected>,
}

#[derive(Clone, Debug)]
struct Entry {
    files: Files,
    pair: Arc<Pair>,
}

/// A pair that was rejected.
#[derive(Debug)]
struct Rejected {
    name: String,
    error: CertificateError,
    /// Whether a previous version stays active.
    kept: bool,
}

/// The files of a pair as they are on the disk.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    stamps: [Option<Stamp>; 2],
}

impl Folder {
    /// Reads nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// Reads the pairs that are new or have changed, and checks them at this time.
    ///
    /// # Errors
    /// When the folder cannot be read, or none of its pairs can be used.
    pub fn read(&self, now: Timestamp) -> Result<Contents, FolderError> {
        let scan = self.scan();
        let current = {
            let mut state = self.state();
            (state.read, state.seen) = (fingerprint(&scan), None);
            Arc::clone(&state.current)
        };
        let scan = scan.map_err(|source| FolderError::Read { path: self.path.clone(), source })?;
        let found = scan.len();
        let mut contents = Contents::default();
        for (name, files) in scan {
            let former = current.entries.get(&name);
            let entry = match former {
                Some(former) if former.files == files => Some(former.clone()),
                _ => match pair::read(&files.pair(), now) {
                    Ok(pair) => Some(Entry { files, pair: Arc::new(pair) }),
                    Err(error) => {
                        contents.rejected.push(Rejected { name: name.clone(), error, kept: former.is_some() });
                        former.cloned()
                    }
                },
            };
            contents.entries.extend(entry.map(|entry| (name, entry)));
        }
        if !contents.entries.is_empty() {
            return Ok(contents);
        }
        let path = self.path.clone();
        Err(match contents.rejected.into_iter().next() {
            Some(Rejected { error: first, .. }) => FolderError::NoneUsable { path, pairs: found, first },
            None => FolderError::Empty { path },
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was read last is not going to be published: it counts as changed.
    pub fn discard(&self) {
        let mut state = self.state();
        (state.read, state.seen) = (0, None);
    }

    /// Makes this the current contents.
    pub fn publish(&self, contents: Contents) -> Arc<Contents> {
        let contents = Arc::new(contents);
        self.state().current = Arc::clone(&contents);
        contents
    }

    /// Whether the files are others than those that were read, and the same as at the last call: what is being written
    /// is left to its end.
    pub fn has_changed(&self) -> bool {
        let now = fingerprint(&self.scan());
        let mut state = self.state();
        if now == state.read {
            state.seen = None;
            return false;
        }
        state.seen.replace(now) == Some(now)
    }

    /// The files of each pair, by its name. A pair lacks a file that is missing.
    fn scan(&self) -> io::Result<BTreeMap<String, Files>> {
        let mut found: BTreeMap<String, (PathBuf, PathBuf)> = BTreeMap::new();
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let (path, file) = {
                let entry = entry?;
                (entry.path(), entry.file_name())
            };
            let (file, stem) = (file.to_string_lossy(), path.file_stem().unwrap_or_default().to_string_lossy());
            if file.starts_with('.') {
                continue;
            }
            let flat = |extension| (path.with_extension(extension), path.with_extension("key"));
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("pem") => _ = found.insert(stem.into_owned(), flat("pem")),
                Some("crt") => _ = found.entry(stem.into_owned()).or_insert_with(|| flat("crt")),
                Some("key") => keys.push((stem.into_owned(), flat("pem"))),
                _ => {
                    let (certificate, key) = (path.join("fullchain.pem"), path.join("privkey.pem"));
                    if stamp(&certificate).is_some() || stamp(&key).is_some() {
                        found.insert(format!("{file}/"), (certificate, key));
                    }
                }
            }
        }
        // Some are without a certificate.
        for (name, paths) in keys {
            found.entry(name).or_insert(paths);
        }
        let files = |(certificate, key): (PathBuf, PathBuf)| {
            let stamps = [stamp(&certificate), stamp(&key)];
            Files { certificate, key, stamps }
        };
        Ok(found.into_iter().map(|(name, paths)| (name, files(paths))).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn pair(&self) -> config::Certificate {
        config::Certificate { certificate_file: self.certificate.clone(), key_file: self.key.clone() }
    }
}

impl Contents {
    /// All pairs, in the order of their names.
    pub fn pairs(&self) -> impl Iterator<Item = &Arc<Pair>> {
        self.entries.values().map(|entry| &entry.pair)
    }

    /// The pair with the name `default`, else the first one.
    pub fn default_pair(&self) -> Option<&Arc<Pair>> {
        let named = self.entries.get(DEFAULT).or_else(|| self.entries.get(&format!("{DEFAULT}/")));
        named.map(|entry| &entry.pair).or_else(|| self.pairs().next())
    }

    /// What it holds, for the log.
    pub fn summary(&self) -> String {
        format!("{} certificates", self.entries.len())
    }

    /// Which pairs were rejected, and why: one line each, up to a bound.
    pub fn rejected(&self) -> Vec<String> {
        let line = |Rejected { name, error, kept }: &Rejected| {
            let stays = if *kept { "; its previous version stays active" } else { "" };
            format!("the pair `{name}` is rejected: {error}{stays}")
        };
        let mut lines: Vec<_> = self.rejected.iter().take(LISTED).map(line).collect();
        let more = self.rejected.len().saturating_sub(LISTED);
        if more > 0 {
            lines.push(format!("{more} more pairs are rejected; `clickedge check` reads them all"));
        }
        lines
    }

    /// What needs attention, one line for each kind.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let days = |pair: &Pair| (pair.inspected.not_after.as_second() - now.as_second()) / 86_400;
        let file = |entry: &Entry| {
            let (names, file) = (&entry.pair.inspected.names, entry.files.certificate.display());
            let more = if names.len() > NAMED { ", ..." } else { "" };
            format!("{file} ({}{more})", names[..names.len().min(NAMED)].join(", "))
        };
        let those = |matches: &dyn Fn(&Pair) -> bool| -> Vec<&Entry> {
            let mut entries: Vec<_> = self.entries.values().filter(|entry| matches(&entry.pair)).collect();
            entries.sort_by_key(|entry| entry.pair.inspected.not_after);
            entries
        };
        let is_over = |pair: &Pair| pair.inspected.not_after < now;
        let is_open = |pair: &Pair| {
            let mut warnings = pair.inspected.warnings.iter();
            warnings.any(|warning| matches!(warning, CertificateWarning::ReadableKey { .. }))
        };
        let expired = those(&is_over);
        let soon = those(&|pair: &Pair| !is_over(pair) && days(pair) < EXPIRY_WARNING_DAYS);
        let open = those(&is_open);
        let list = |entries: &[&Entry], file: &dyn Fn(&Entry) -> String| {
            let listed = entries.iter().take(LISTED).map(|entry| file(entry)).collect::<Vec<_>>().join(", ");
            let more = entries.len().saturating_sub(LISTED);
            if more == 0 { listed } else { format!("{listed} and {more} more") }
        };
        let mut warnings = Vec::new();
        if !expired.is_empty() {
            let (number, files) = (expired.len(), list(&expired, &file));
            warnings.push(format!("{number} certificates have expired; renew them: {files}"));
        }
        if let Some(first) = soon.first() {
            let (number, days, files) = (soon.len(), days(&first.pair), list(&soon, &file));
            warnings.push(format!(
                "{number} certificates expire within {EXPIRY_WARNING_DAYS} days, the first in {days} days; renew \
                 them: {files}"
            ));
        }
        if !open.is_empty() {
            let files = list(&open, &|entry| entry.files.key.display().to_string());
            warnings.push(format!(
                "all users can read {} private keys; restrict them, such as with chmod 0600: {files}",
                open.len()
            ));
        }
        warnings
    }
}

/// A number that changes with the files; 0 for a folder that cannot be read.
fn fingerprint(scan: &io::Result<BTreeMap<String, Files>>) -> u64 {
    let Ok(files) = scan else { return 0 };
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
