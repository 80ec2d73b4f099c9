//! The folder in which account, keys and certificates are kept, and through which edges share them.
//!
//! ```text
//! CA/                                  one for each CA, by its directory: certificates of a test CA never get out
//!    account.json                      the account and its key
//!    certificates/NAME.pem             chain and key of a name
//!    challenges/TOKEN.json             what the CA asks for while an order is under way
//!    ledger.json                       what was ordered and what has failed; changes with each order
//!    lock                              held by the edge that orders
//! .*                                   files that are being written
//! ```
//! Folders have mode 0700 and files 0600. A file is written aside and renamed, so that no one reads half of it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use instant_acme::AccountCredentials;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ledger::Ledger, lock::Lock};
use crate::{
    config,
    tls::certificates::{CertificateError, Pair, pair},
};

/// Files that are no challenge are not read to their end.
const LONGEST_CHALLENGE: u64 = 4_096;

/// Age of files that were being written when their process died.
const LEFT: Duration = Duration::from_secs(3_600);

/// What changes with a file's content: inode, size, and its time in nanoseconds.
pub type Stamp = (u64, u64, i64, i64);

/// What a CA asks for, and gets from every edge that shares the folder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Challenge {
    pub name: String,
    pub token: String,
    pub key_authorization: String,
    pub kind: config::Challenge,
    /// Seconds since the Unix epoch.
    pub until: u64,
}

/// The folder of one CA.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
    /// Unique to the process.
    owner: String,
}

/// The certificates that the folder holds, by their names.
#[derive(Debug, Default)]
pub struct Held {
    pairs: BTreeMap<String, (Stamp, Option<Arc<Pair>>)>,
}

impl Held {
    /// The certificate of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Pair>> {
        self.pairs.get(name)?.1.as_ref()
    }

    /// All certificates.
    pub fn pairs(&self) -> impl Iterator<Item = &Arc<Pair>> {
        self.pairs.values().filter_map(|(_, pair)| pair.as_ref())
    }
}

impl Folder {
    /// Opens the folder of this CA, and makes it if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path, directory_url: &str, owner: String) -> io::Result<Self> {
        let folder = Self { dir: dir.join(name_of(directory_url)), owner };
        for dir in [folder.certificates(), folder.challenges()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        for entry in fs::read_dir(&folder.dir)?.flatten() {
            let is_left = || entry.metadata().ok()?.modified().ok()?.elapsed().ok().map(|age| age > LEFT);
            if entry.file_name().as_encoded_bytes().starts_with(b".") && is_left() == Some(true) {
                _ = fs::remove_file(entry.path());
            }
        }
        Ok(folder)
    }

    /// The account; `None` before it is made.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn account(&self) -> io::Result<Option<AccountCredentials>> {
        let Some(text) = read(&self.dir.join("account.json"))? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&text)?))
    }

    pub fn store_account(&self, account: &AccountCredentials) -> io::Result<()> {
        self.write(&self.dir.join("account.json"), &serde_json::to_vec(account)?)
    }

    /// Moves away an account that the CA does not know, unless another edge has made a new one.
    pub fn forget_account(&self, id: &str) {
        let path = self.dir.join("account.json");
        let stored =
            read(&path).ok().flatten().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        if stored.is_some_and(|stored| stored["id"] == id) {
            _ = fs::rename(path, self.dir.join("account.json.unknown"));
        }
    }

    /// The ledger. One that is damaged is begun again: it only saves what the CA would have to reject.
    pub fn ledger(&self) -> Ledger {
        let path = self.dir.join("ledger.json");
        let text = read(&path).unwrap_or_else(|error| {
            tracing::warn!(file = %path.display(), %error, "cannot read the ledger of orders");
            None
        });
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    pub fn store_ledger(&self, ledger: &Ledger) -> io::Result<()> {
        self.write(&self.dir.join("ledger.json"), &serde_json::to_vec(ledger)?)
    }

    /// What changes whenever an order was made.
    pub fn ledger_stamp(&self) -> Option<Stamp> {
        stamp(&self.dir.join("ledger.json"))
    }

    pub fn lock(&self, now: u64) -> io::Result<Option<Lock>> {
        Lock::take(&self.dir.join("lock"), &self.owner, now)
    }

    /// Reads certificates that are new or have changed. Those that are rejected are logged once; a previous version of
    /// them stays.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read_certificates(&self, held: &mut Held, now: Timestamp) -> io::Result<()> {
        let files: Vec<_> = fs::read_dir(self.certificates())?.collect::<Result<_, _>>()?;
        let mut former = std::mem::take(&mut held.pairs);
        for path in files.iter().map(fs::DirEntry::path) {
            let Some(name) = file_stem(&path, "pem") else { continue };
            let Some(stamp) = stamp(&path) else { continue };
            let former = former.remove(&name);
            let pair = match former {
                Some((same, pair)) if same == stamp => pair,
                former => match read_pair(&path, now) {
                    Ok(pair) => Some(Arc::new(pair)),
                    Err(error) => {
                        // An expired one is obtained again, which is logged, or its name is not wanted any more.
                        if !matches!(error, CertificateError::Expired { .. }) {
                            let remedy = "remove the file, and it is obtained again";
                            tracing::warn!(domain = name, %error, remedy, "a certificate of the ACME folder is rejected");
                        }
                        former.and_then(|(_, pair)| pair)
                    }
                },
            };
            held.pairs.insert(name, (stamp, pair));
        }
        Ok(())
    }

    /// Stores the certificate of a name, if it is one.
    ///
    /// # Errors
    /// When it cannot be written, or clients would reject it.
    pub fn store_certificate(&self, name: &str, chain: &str, key: &str, now: Timestamp) -> io::Result<()> {
        let aside = self.aside();
        let store = || {
            let text = Zeroizing::new(format!("{}\n{key}", chain.trim_end()));
            write_new(&aside, text.as_bytes())?;
            let pair = read_pair(&aside, now).map_err(io::Error::other)?;
            if !pair.inspected.names.iter().any(|covered| covered == name) {
                return Err(io::Error::other(format!("it is for {}", pair.inspected.names.join(", "))));
            }
            fs::rename(&aside, self.certificates().join(format!("{name}.pem")))
        };
        let stored = store();
        if stored.is_err() {
            _ = fs::remove_file(&aside);
        }
        stored
    }

    /// Lets every edge answer a challenge.
    pub fn store_challenge(&self, challenge: &Challenge) -> io::Result<()> {
        let path = self.challenges().join(format!("{}.json", challenge.token));
        self.write(&path, &serde_json::to_vec(challenge)?)
    }

    pub fn remove_challenge(&self, token: &str) {
        _ = fs::remove_file(self.challenges().join(format!("{token}.json")));
    }

    /// The challenges that are open. Removes those that are over.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read_challenges(&self, now: u64) -> io::Result<Vec<Challenge>> {
        let mut open = Vec::new();
        for entry in fs::read_dir(self.challenges())? {
            let path = entry?.path();
            if file_stem(&path, "json").is_none()
                || fs::metadata(&path).map_or(0, |file| file.size()) > LONGEST_CHALLENGE
            {
                continue;
            }
            let Ok(Some(text)) = read(&path) else { continue };
            match serde_json::from_slice::<Challenge>(&text) {
                Ok(challenge) if challenge.until > now => open.push(challenge),
                _ => _ = fs::remove_file(&path),
            }
        }
        Ok(open)
    }

    fn certificates(&self) -> PathBuf {
        self.dir.join("certificates")
    }

    fn challenges(&self) -> PathBuf {
        self.dir.join("challenges")
    }

    fn aside(&self) -> PathBuf {
        self.dir.join(format!(".{}-{}", self.owner, fastrand::u64(..)))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let aside = self.aside();
        let written = write_new(&aside, bytes).and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            _ = fs::remove_file(&aside);
        }
        written
    }
}

/// A folder's name that follows from the URL.
fn name_of(directory_url: &str) -> String {
    let bare = directory_url.trim_start_matches("https://");
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' };
    bare.chars().map(safe).collect::<String>().trim_matches(['-', '.']).to_owned()
}

/// The name of a file without this extension; `None` for other files, and for those that are being written.
fn file_stem(path: &Path, extension: &str) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(extension)?.strip_suffix('.').filter(|stem| !stem.starts_with('.'))?.to_owned())
}

fn read_pair(path: &Path, now: Timestamp) -> Result<Pair, CertificateError> {
    pair::read(&config::Certificate { certificate_file: path.to_owned(), key_file: path.to_owned() }, now)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{config::Challenge as Kind, runtime::clock};

    const URL: &str = "https://ca.example:14000/dir";

    fn open(dir: &Path) -> Folder {
        Folder::open(dir, URL, "edge-1".into()).unwrap()
    }

    fn pair_of(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_stored_as_a_private_file_and_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, now) = (open(dir.path()), clock::now());
        let (chain, key) = pair_of("a.example");
        folder.store_certificate("a.example", &chain, &key, now).unwrap();
        let file = dir.path().join("ca.example-14000-dir/certificates/a.example.pem");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let mut held = Held::default();
        folder.read_certificates(&mut held, now).unwrap();
        let first = Arc::clone(held.get("a.example").unwrap());
        folder.read_certificates(&mut held, now).unwrap();
        assert!(Arc::ptr_eq(&first, held.get("a.example").unwrap()));

        fs::write(&file, "damaged").unwrap();
        folder.read_certificates(&mut held, now).unwrap();
        assert!(Arc::ptr_eq(&first, held.get("a.example").unwrap()), "the previous version stays");
        let mut fresh = Held::default();
        folder.read_certificates(&mut fresh, now).unwrap();
        assert!(fresh.get("a.example").is_none() && fresh.pairs().count() == 0);
        fs::remove_file(&file).unwrap();
        folder.read_certificates(&mut held, now).unwrap();
        assert!(held.get("a.example").is_none());
    }

    #[test]
    fn what_is_no_certificate_for_the_name_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, now) = (open(dir.path()), clock::now());
        let ((chain, key), (_, other)) = (pair_of("a.example"), pair_of("a.example"));
        for (name, key) in [("b.example", &key), ("a.example", &other)] {
            assert!(folder.store_certificate(name, &chain, key, now).is_err(), "{name}");
        }
        let mut held = Held::default();
        folder.read_certificates(&mut held, now).unwrap();
        assert_eq!(held.pairs().count(), 0);
        let left = fs::read_dir(dir.path().join("ca.example-14000-dir")).unwrap().count();
        assert_eq!(left, 2, "nothing but the two folders");
    }

    #[test]
    fn challenges_are_shared_until_they_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (open(dir.path()), open(dir.path()));
        let challenge = |token: &str, until| Challenge {
            name: "a.example".into(),
            token: token.into(),
            key_authorization: format!("{token}.thumb"),
            kind: Kind::Http01,
            until,
        };
        one.store_challenge(&challenge("t1", 100)).unwrap();
        one.store_challenge(&challenge("t2", 200)).unwrap();
        let open = |now| two.read_challenges(now).unwrap().into_iter().map(|of| of.token).collect::<Vec<_>>();
        assert_eq!(open(50).len(), 2);
        assert_eq!(open(150), ["t2"]);
        assert_eq!(open(50), ["t2"], "the other one was removed");
        one.remove_challenge("t2");
        assert!(open(50).is_empty());
    }

    #[test]
    fn each_ca_has_a_folder_and_a_damaged_ledger_is_begun_again() {
        assert_eq!(
            name_of("https://acme-v02.api.letsencrypt.org/directory"),
            "acme-v02.api.letsencrypt.org-directory"
        );
        assert_eq!(name_of("https://../../x/"), "x");
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path());
        assert_eq!((folder.ledger(), folder.ledger_stamp()), (Ledger::default(), None));
        let mut ledger = Ledger::default();
        ledger.ordered(1_000);
        folder.store_ledger(&ledger).unwrap();
        let stamp = folder.ledger_stamp();
        assert!(folder.ledger() == ledger && stamp.is_some());
        folder.store_ledger(&ledger).unwrap();
        assert_ne!(folder.ledger_stamp(), stamp);
        fs::write(dir.path().join("ca.example-14000-dir/ledger.json"), "{").unwrap();
        assert_eq!(folder.ledger(), Ledger::default());
    }
}
