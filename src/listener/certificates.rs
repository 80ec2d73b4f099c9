//! Certificates by server name (SNI).
//!
//! Each certificate serves the DNS names that it carries, wildcards included; the first one configured answers
//! clients that send no server name or an unknown one. A pair that no client would accept is rejected: a key of another
//! pair, a certificate that has expired or is not valid yet.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc};

use rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    config,
    runtime::{Class, Classified},
};

/// Days before its end from which a certificate is warned of.
pub const WARN_DAYS: i64 = 14;

const DAY_SECS: i64 = 86_400;

/// Why a certificate is rejected.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {file}: {source}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} is not a PEM file with {expected}: {reason}")]
    Parse { file: String, expected: &'static str, reason: String },
    #[error("{certificate} and {key} do not belong together, or the key is of an unknown kind: {reason}")]
    Mismatch { certificate: String, key: String, reason: String },
    /// Renew the certificate.
    #[error("the certificate {certificate} expired on {end}; renew it")]
    Expired { certificate: String, end: String },
    /// Check the clock, or wait.
    #[error("the certificate {certificate} is not yet valid: it begins on {start}; check the clock of this machine")]
    NotYetValid { certificate: String, start: String },
}

impl Classified for CertificateError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::Parse { .. } | Self::Mismatch { .. } | Self::Expired { .. } | Self::NotYetValid { .. } => {
                Class::Data
            }
        }
    }
}

/// The certificates of a listener.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
    warnings: Vec<String>,
}

impl Certificates {
    /// Reads chains and keys. `now_secs` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(configured: &[config::Certificate], now_secs: u64) -> Result<Self, CertificateError> {
        let mut certificates = Self::default();
        for files in configured {
            let certified = Arc::new(load(&files.certificate_file, &files.key_file)?);
            certificates.warnings.extend(check_validity(&files.certificate_file, &certified, now_secs as i64)?);
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

    /// What an operator should know about them: those that expire soon.
    pub fn warnings(&self) -> &[String] {
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

/// Rejects a leaf that is not valid now. A warning for one that expires soon.
fn check_validity(file: &Path, certified: &CertifiedKey, now: i64) -> Result<Option<String>, CertificateError> {
    let certificate = file.display().to_string();
    let leaf = certified.cert.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, leaf) =
        X509Certificate::from_der(leaf).map_err(|error| unparsable(&certificate, "a certificate chain", &error))?;
    let (start, end) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    if now < start {
        return Err(CertificateError::NotYetValid { certificate, start: date(start) });
    }
    if now > end {
        return Err(CertificateError::Expired { certificate, end: date(end) });
    }
    let days = (end - now) / DAY_SECS;
    let warning = || format!("the certificate {certificate} expires in {days} days, on {}; renew it", date(end));
    Ok((days < WARN_DAYS).then(warning))
}

fn date(secs: i64) -> String {
    jiff::Timestamp::from_second(secs).map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
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
        let certificates = Certificates::load(&[one, two], clock::unix_secs()).unwrap();
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
            Certificates::load(&[files], clock::unix_secs()).unwrap_err().to_string()
        };
        assert!(error(&dir.path().join("none.pem"), &one.key_file).contains("none.pem"));
        assert!(error(&one.key_file, &one.key_file).contains("holds no certificate"));
        assert!(error(&one.certificate_file, &one.certificate_file).contains("a private key"));
        assert!(error(&one.certificate_file, &two.key_file).contains("do not belong together"));
    }

    #[test]
    fn a_certificate_is_valid_between_its_dates_and_warned_of_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let files =
            config::Certificate { certificate_file: dir.path().join("a.pem"), key_file: dir.path().join("a.key") };
        fs::write(&files.certificate_file, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&files.key_file, key.serialize_pem()).unwrap();
        let at = |day: &str| {
            let time: jiff::Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
            Certificates::load(std::slice::from_ref(&files), time.as_second() as u64)
        };
        assert!(at("2030-01-15").unwrap().warnings().is_empty());
        let warning = at("2030-02-20").unwrap().warnings()[0].clone();
        assert!(warning.contains("a.pem expires in 8 days, on 2030-03-01"), "{warning}");
        let early = at("2029-12-31").unwrap_err();
        assert!(early.to_string().contains("begins on 2030-01-01"), "{early}");
        let late = at("2030-03-02").unwrap_err();
        assert!(late.to_string().contains("expired on 2030-03-01"), "{late}");
        assert_eq!((early.class(), late.class()), (Class::Data, Class::Data));
    }
}
