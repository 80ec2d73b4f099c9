//! Certificates by server name (SNI).
//!
//! Each certificate serves the DNS names that it carries, wildcards included; the first one configured answers
//! clients that name no server or an unknown one. A certificate that clients would reject, because it has expired for
//! example, is rejected when it is read ([`pair`]).

pub mod pair;

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
pub use pair::{CertificateError, CertificateWarning, Inspected, Pair};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::config;

/// The certificates of a listener.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
    warnings: Vec<CertificateWarning>,
}

impl Certificates {
    /// Reads chains and keys, and checks them at this time.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(configured: &[config::Certificate], now: Timestamp) -> Result<Self, CertificateError> {
        let pairs = configured.iter().map(|pair| pair::read(pair, now)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(&pairs))
    }

    /// The certificates of these pairs. Where two carry the same name, the first one serves it.
    pub fn of<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Self {
        let mut certificates = Self::default();
        for Pair { certified, inspected } in pairs {
            certificates.warnings.extend(inspected.warnings.iter().cloned());
            for name in &inspected.names {
                certificates.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(certified));
            }
            certificates.first.get_or_insert_with(|| Arc::clone(certified));
        }
        certificates
    }

    /// Reads and checks a chain and its key, as [`load`](Self::load) does, at this time.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn inspect(pair: &config::Certificate, now: Timestamp) -> Result<Inspected, CertificateError> {
        pair::read(pair, now).map(|pair| pair.inspected)
    }

    /// Number of DNS names.
    pub fn names(&self) -> usize {
        self.by_name.len()
    }

    /// Certificates that work now, and need attention.
    pub fn warnings(&self) -> &[CertificateWarning] {
        &self.warnings
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(|name| self.find(name)).or(self.first.as_ref()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::*;
    use crate::runtime::clock;

    fn write(dir: &Path, label: &str, names: &[&str]) -> config::Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let file = |kind: &str, text: String| -> PathBuf {
            let path = dir.join(format!("{label}.{kind}"));
            fs::write(&path, text).unwrap();
            path
        };
        config::Certificate {
            certificate_file: file("pem", made.cert.pem()),
            key_file: file("key", made.signing_key.serialize_pem()),
        }
    }

    #[test]
    fn each_name_finds_its_certificate_and_wildcards_reach_one_label() {
        let dir = tempfile::tempdir().unwrap();
        let one = write(dir.path(), "one", &["go.brand.com"]);
        let two = write(dir.path(), "two", &["*.links.example"]);
        let certificates = Certificates::load(&[one, two], clock::now()).unwrap();
        let of = |name: &str| certificates.find(name).map(|found| found.cert[0].clone());
        let first = certificates.first.as_ref().unwrap().cert[0].clone();
        assert_eq!(of("GO.brand.com"), Some(first.clone()));
        assert_ne!(of("a.links.example").unwrap(), first);
        assert_eq!(of("a.b.links.example"), None);
        assert_eq!(of("other.example"), None);
        assert_eq!((certificates.names(), certificates.warnings().len()), (2, 2), "both keys are readable by all");
    }

    #[test]
    fn a_certificate_that_load_would_take_passes_inspection() {
        let dir = tempfile::tempdir().unwrap();
        let one = write(dir.path(), "one", &["a.example"]);
        assert_eq!(Certificates::inspect(&one, clock::now()).unwrap().names, ["a.example"]);
        fs::write(&one.key_file, "").unwrap();
        assert!(
            Certificates::inspect(&one, clock::now()).is_err() && Certificates::load(&[one], clock::now()).is_err()
        );
    }
}
