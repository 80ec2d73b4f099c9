//! Certificates by server name (SNI).
//!
//! Each certificate serves the DNS names that it carries, wildcards included; the first one configured answers
//! clients that name no server or an unknown one. A certificate that clients would reject, because it has expired for
//! example, is rejected when it is read ([`pair`]).

pub mod pair;

use std::{collections::HashMap, sync::Arc};

pub use pair::{CertificateError, CertificateWarning, Inspected, Pair};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificates of a listener.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// The certificates of these pairs. Where two carry the same name, the first one serves it.
    pub fn of<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Self {
        let mut certificates = Self::default();
        for Pair { certified, inspected } in pairs {
            for name in &inspected.names {
                certificates.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(certified));
            }
            certificates.first.get_or_insert_with(|| Arc::clone(certified));
        }
        certificates
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
    use crate::{config, runtime::clock};

    fn write(dir: &Path, label: &str, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let file = |kind: &str, text: String| -> PathBuf {
            let path = dir.join(format!("{label}.{kind}"));
            fs::write(&path, text).unwrap();
            path
        };
        let (certificate_file, key_file) =
            (file("pem", made.cert.pem()), file("key", made.signing_key.serialize_pem()));
        pair::read(&config::Certificate { certificate_file, key_file }, clock::now()).unwrap()
    }

    #[test]
    fn each_name_finds_its_certificate_and_wildcards_reach_one_label() {
        let dir = tempfile::tempdir().unwrap();
        let one = write(dir.path(), "one", &["go.brand.com"]);
        let two = write(dir.path(), "two", &["*.links.example"]);
        let certificates = Certificates::of(&[one, two]);
        let of = |name: &str| certificates.find(name).map(|found| found.cert[0].clone());
        let first = certificates.first.as_ref().unwrap().cert[0].clone();
        assert_eq!(of("GO.brand.com"), Some(first.clone()));
        assert_ne!(of("a.links.example").unwrap(), first);
        assert_eq!(of("a.b.links.example"), None);
        assert_eq!(of("other.example"), None);
    }
}
