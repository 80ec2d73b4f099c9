//! A certificate chain and its private key: reads both, and checks that clients will accept them.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use jiff::Timestamp;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

use crate::{
    config,
    runtime::{Class, Classified, filesystem::read_regular},
};

/// Days before its expiry from which on a certificate is warned of: enough for two failed attempts of a weekly renewal.
pub const EXPIRY_WARNING_DAYS: i64 = 14;

/// Read permission of others.
const READABLE_BY_ALL: u32 = 0o004;

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
    #[error("{certificate} and {key} do not belong together, or the key has an unknown algorithm: {reason}")]
    Mismatch { certificate: String, key: String, reason: String },
    #[error("the certificate {file} for {names} expired on {not_after}; renew it")]
    Expired { file: String, names: String, not_after: Timestamp },
    #[error(
        "the certificate {file} for {names} is not yet valid: it begins on {not_before}; check the clock of this machine"
    )]
    NotYetValid { file: String, names: String, not_before: Timestamp },
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

/// The schemes in which keys of any kind sign.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// A certificate chain with its private key, valid when it was read.
#[derive(Debug)]
pub struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// The schemes in which its key signs. Asking the key itself allocates.
    pub(super) schemes: Vec<SignatureScheme>,
    pub inspected: Inspected,
}

impl Pair {
    pub(super) fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// Whether a client that accepts these schemes can verify it.
    pub(super) fn signs(&self, schemes: &[SignatureScheme]) -> bool {
        self.schemes.iter().any(|scheme| schemes.contains(scheme))
    }

    /// Whether it is for this host, in lower case.
    pub(super) fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let covers = |name: &str| name == host || parent.is_some() && name.strip_prefix("*.") == parent;
        self.inspected.names.iter().any(|name| covers(name))
    }
}

/// What is known of a certificate that is valid now.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The DNS names of the leaf, lower case.
    pub names: Vec<String>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    pub warnings: Vec<CertificateWarning>,
}

/// A certificate that works now, and needs attention.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateWarning {
    /// It expires within [`EXPIRY_WARNING_DAYS`].
    ExpiresSoon {
        /// File of the certificate.
        file: String,
        /// Its names, separated by commas.
        names: String,
        /// Whole days until then.
        days: i64,
    },
    /// All users of this machine can read the private key.
    ReadableKey {
        /// File of the key.
        file: String,
    },
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExpiresSoon { file, names, days } => {
                write!(f, "the certificate {file} for {names} expires in {days} days; renew it")
            }
            Self::ReadableKey { file } => {
                write!(f, "all users can read the private key {file}; restrict it, such as with chmod 0600 {file}")
            }
        }
    }
}

/// Reads a chain and its key, and checks them at this time.
///
/// # Errors
/// See [`CertificateError`].
pub fn read(pair: &config::Certificate, now: Timestamp) -> Result<Pair, CertificateError> {
    let (certificate, key) = (pair.certificate_file.display().to_string(), pair.key_file.display().to_string());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read_file(&pair.certificate_file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unparsable(&certificate, "a certificate chain", &error))?;
    let Some(leaf) = chain.first().cloned() else {
        return Err(unparsable(&certificate, "a certificate chain", &"it holds no certificate"));
    };
    let private = PrivateKeyDer::from_pem_slice(&read_file(&pair.key_file)?)
        .map_err(|error| unparsable(&key, "a private key", &error))?;
    let certified = CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| {
        CertificateError::Mismatch { certificate: certificate.clone(), key, reason: error.to_string() }
    })?;
    let names = names(&leaf);
    let joined = names.join(", ");
    let (not_before, not_after) =
        validity(&leaf).map_err(|reason| unparsable(&certificate, "a certificate chain", &reason))?;
    if now < not_before {
        return Err(CertificateError::NotYetValid { file: certificate, names: joined, not_before });
    }
    if now > not_after {
        return Err(CertificateError::Expired { file: certificate, names: joined, not_after });
    }
    let mut warnings = Vec::new();
    let days = (not_after.as_second() - now.as_second()) / 86_400;
    if days < EXPIRY_WARNING_DAYS {
        warnings.push(CertificateWarning::ExpiresSoon { file: certificate, names: joined, days });
    }
    if fs::metadata(&pair.key_file).is_ok_and(|metadata| metadata.mode() & READABLE_BY_ALL != 0) {
        warnings.push(CertificateWarning::ReadableKey { file: pair.key_file.display().to_string() });
    }
    let inspected = Inspected { names, not_before, not_after, warnings };
    let signs = |scheme: &SignatureScheme| certified.key.choose_scheme(&[*scheme]).is_some();
    let schemes = SCHEMES.into_iter().filter(signs).collect();
    Ok(Pair { certified: Arc::new(certified), schemes, inspected })
}

fn read_file(file: &Path) -> Result<Vec<u8>, CertificateError> {
    read_regular(file).map_err(|source| CertificateError::Read { file: file.display().to_string(), source })
}

fn unparsable(file: &str, expected: &'static str, reason: &dyn ToString) -> CertificateError {
    CertificateError::Parse { file: file.into(), expected, reason: reason.to_string() }
}

/// The DNS names of the leaf, lower case.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    EndEntityCert::try_from(leaf)
        .map(|leaf| leaf.valid_dns_names().map(str::to_ascii_lowercase).collect())
        .unwrap_or_default()
}

/// Start and end of the validity of the leaf. Those of the chain are not checked: a chain may carry an expired
/// cross-signature for old clients.
fn validity(leaf: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let time = |seconds| Timestamp::from_second(seconds).map_err(|error| error.to_string());
    let validity = parsed.validity();
    Ok((time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    /// A certificate for `go.brand.com` that is valid from 2030-01-01 to 2030-03-01, and its key.
    fn pair() -> (TempDir, config::Certificate) {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(["Go.brand.com".to_owned(), "*.links.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2030, 3, 1));
        let key = KeyPair::generate().unwrap();
        let pair =
            config::Certificate { certificate_file: dir.path().join("go.pem"), key_file: dir.path().join("go.key") };
        fs::write(&pair.certificate_file, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&pair.key_file, key.serialize_pem()).unwrap();
        fs::set_permissions(&pair.key_file, fs::Permissions::from_mode(0o600)).unwrap();
        (dir, pair)
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn inspect(pair: &config::Certificate, time: &str) -> Result<Inspected, CertificateError> {
        read(pair, at(time)).map(|pair| pair.inspected)
    }

    #[test]
    fn a_valid_certificate_is_described() {
        let (_dir, pair) = pair();
        let inspected = inspect(&pair, "2030-02-01T00:00:00Z").unwrap();
        assert_eq!(inspected.names, ["go.brand.com", "*.links.example"]);
        assert_eq!(inspected.not_before, at("2030-01-01T00:00:00Z"));
        assert_eq!((inspected.not_after, inspected.warnings), (at("2030-03-01T00:00:00Z"), vec![]));
    }

    #[test]
    fn a_certificate_outside_of_its_validity_is_rejected() {
        let (_dir, pair) = pair();
        let error = inspect(&pair, "2030-03-01T00:00:01Z").unwrap_err();
        assert!(matches!(error, CertificateError::Expired { .. }) && error.class() == Class::Data);
        let text = error.to_string();
        assert!(text.contains("go.pem for go.brand.com, *.links.example expired on 2030-03-01T00:00:00Z"), "{text}");
        let error = inspect(&pair, "2029-12-31T23:59:59Z").unwrap_err();
        assert!(matches!(error, CertificateError::NotYetValid { .. }) && error.class() == Class::Data);
        assert!(error.to_string().contains("begins on 2030-01-01T00:00:00Z"), "{error}");
    }

    #[test]
    fn a_certificate_is_warned_of_two_weeks_before_it_expires() {
        let (_dir, pair) = pair();
        assert_eq!(inspect(&pair, "2030-02-15T00:00:00Z").unwrap().warnings, []);
        for (time, days) in [("2030-02-15T00:00:01Z", 13), ("2030-02-28T12:00:00Z", 0)] {
            let warnings = inspect(&pair, time).unwrap().warnings;
            let [warning] = &warnings[..] else { panic!("{warnings:?}") };
            let text = warning.to_string();
            assert!(text.contains("go.pem for go.brand.com") && text.contains(&format!("in {days} days")), "{text}");
        }
    }

    #[test]
    fn a_private_key_that_all_users_can_read_is_warned_of() {
        let (_dir, pair) = pair();
        fs::set_permissions(&pair.key_file, fs::Permissions::from_mode(0o644)).unwrap();
        let warnings = inspect(&pair, "2030-02-01T00:00:00Z").unwrap().warnings;
        let file = pair.key_file.display().to_string();
        assert_eq!(warnings, [CertificateWarning::ReadableKey { file: file.clone() }]);
        assert!(warnings[0].to_string().contains(&format!("chmod 0600 {file}")));
        fs::set_permissions(&pair.key_file, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(inspect(&pair, "2030-02-01T00:00:00Z").unwrap().warnings, [], "a group may be its service's");
    }

    #[test]
    fn bad_files_are_named() {
        let ((dir, one), (_other, two)) = (pair(), pair());
        let error = |certificate: &Path, key: &Path, class: Class| {
            let files = config::Certificate { certificate_file: certificate.into(), key_file: key.into() };
            let error = inspect(&files, "2030-02-01T00:00:00Z").unwrap_err();
            assert_eq!(error.class(), class);
            error.to_string()
        };
        assert!(error(&dir.path().join("none.pem"), &one.key_file, Class::NoInput).contains("none.pem"));
        assert!(error(&one.key_file, &one.key_file, Class::Data).contains("holds no certificate"));
        assert!(error(&one.certificate_file, &one.certificate_file, Class::Data).contains("a private key"));
        assert!(error(&one.certificate_file, &two.key_file, Class::Data).contains("do not belong together"));
    }
}
