//! Certificates in a file that a client trusts, instead of those of the machine.

use std::{io, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::runtime::filesystem::read_regular;

/// Reads the certificates in a file.
///
/// # Errors
/// When it cannot be read, or has no certificate, or one that is malformed.
pub fn read(file: &Path) -> io::Result<RootCertStore> {
    let malformed = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read_regular(file)?) {
        roots.add(certificate.map_err(|error| malformed(&error))?).map_err(|error| malformed(&error))?;
    }
    if roots.is_empty() { Err(malformed(&"it has no certificate")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_sound_certificate_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem() + &made.cert.pem()).unwrap();
        assert_eq!(read(&file).unwrap().len(), 2);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for content in ["", "no certificate", broken] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::InvalidData, "{content}");
        }
    }
}
