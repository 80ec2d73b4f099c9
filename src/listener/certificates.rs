//! Certificates by server name (SNI).
//!
//! Each certificate serves the DNS names that it carries, wildcards included; the first one configured answers
//! clients that name no server or an unknown one.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc};

use rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

use crate::config;

/// Why a certificate is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {file}: {source}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} is no PEM file with {expected}: {reason}")]
    Parse { file: String, expected: &'static str, reason: String },
    #[error("{certificate} and {key} do not belong together, or the key is of an unknown kind: {reason}")]
    Mismatch { certificate: String, key: String, reason: String },
}

/// The certificates of a listener.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads chains and keys.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(configured: &[config::Certificate], _now_secs: u64) -> Result<Self, CertificateError> {
        let mut certificates = Self { by_name: HashMap::new(), first: None };
        for files in configured {
            let certified = Arc::new(load(&files.certificate_file, &files.key_file)?);
            for name in names(&certified) {
                certificates.by_name.entry(name).or_insert_with(|| Arc::clone(&certified));
            }
            certificates.first.get_or_insert(certified);
        }
        Ok(certificates)
    }

    /// How many names they carry.
    pub fn names(&self) -> usize {
        self.by_name.len()
    }

    /// What an operator should know about them.
    pub fn warnings(&self) -> &[String] {
        &[]
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

fn load(certificate_file: &Path, key_file: &Path) -> Result<CertifiedKey, CertificateError> {
    let (certificate, key) = (certificate_file.display().to_string(), key_file.display().to_string());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(certificate_file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unparsable(&certificate, "a certificate chain", &error))?;
    if chain.is_empty() {
        return Err(unparsable(&certificate, "a certificate chain", &"it holds no certificate"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&read(key_file)?).map_err(|error| unparsable(&key, "a private key", &error))?;
    CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| CertificateError::Mismatch {
        certificate,
        key,
        reason: error.to_string(),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(file).map_err(|source| CertificateError::Read { file: file.display().to_string(), source })
}

fn unparsable(file: &str, expected: &'static str, reason: &dyn ToString) -> CertificateError {
    CertificateError::Parse { file: file.into(), expected, reason: reason.to_string() }
}

/// The DNS names of the leaf, lower case.
fn names(certified: &CertifiedKey) -> Vec<String> {
    let Some(leaf) = certified.cert.first().and_then(|leaf| EndEntityCert::try_from(leaf).ok()) else {
        return Vec::new();
    };
    leaf.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

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
        let certificates = Certificates::load(&[one, two]).unwrap();
        let of = |name: &str| certificates.find(name).map(|found| found.cert[0].clone());
        let first = certificates.first.as_ref().unwrap().cert[0].clone();
        assert_eq!(of("GO.brand.com"), Some(first.clone()));
        assert_ne!(of("a.links.example").unwrap(), first);
        assert_eq!(of("a.b.links.example"), None);
        assert_eq!(of("other.example"), None);
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let one = write(dir.path(), "one", &["a.example"]);
        let two = write(dir.path(), "two", &["b.example"]);
        let error = |certificate: &Path, key: &Path| {
            let files = config::Certificate { certificate_file: certificate.into(), key_file: key.into() };
            Certificates::load(&[files]).unwrap_err().to_string()
        };
        assert!(error(&dir.path().join("none.pem"), &one.key_file).contains("none.pem"));
        assert!(error(&one.key_file, &one.key_file).contains("holds no certificate"));
        assert!(error(&one.certificate_file, &one.certificate_file).contains("a private key"));
        assert!(error(&one.certificate_file, &two.key_file).contains("do not belong together"));
    }
}
