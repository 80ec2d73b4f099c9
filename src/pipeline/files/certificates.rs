//! The files of listeners with TLS, the admin listener among them: configured pairs, folders of certificates, the
//! secret of tickets.

use std::{path::PathBuf, sync::Arc};

use super::{OperatorFiles, named};
use crate::{
    config::{self, Secret},
    files::{Description, FileResource, Warning},
    runtime::clock,
    tls::{
        CertificateStore, Folder, Pair, Tickets,
        certificates::{folder::Contents, pair},
    },
};

/// Name of all certificates in metrics and log lines.
pub const CERTIFICATES: &str = "certificates";

impl OperatorFiles {
    /// The certificates of each listener, in the order of the configuration.
    pub fn certificates(&self) -> &[Arc<CertificateStore>] {
        &self.certificates
    }

    /// The certificate of the admin listener.
    pub fn admin_certificate(&self) -> &Arc<CertificateStore> {
        &self.admin_certificate
    }

    /// The certificates of all listeners, and of the admin listener.
    pub(in crate::pipeline) fn all_certificates(&self) -> Vec<Arc<CertificateStore>> {
        self.certificates.iter().chain([&self.admin_certificate]).map(Arc::clone).collect()
    }

    /// The tickets of all listeners with TLS.
    pub fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// Whether a folder of certificates has changed since it was read, and changes no more.
    pub fn has_changed_certificates(&self) -> bool {
        // Asks each of them: each remembers what it saw.
        self.folders.iter().filter(|folder| folder.has_changed()).count() > 0
    }

    /// What was read is not going to be published.
    pub(in crate::pipeline) fn discard(&self) {
        for folder in &self.folders {
            folder.discard();
        }
    }

    /// Makes what was published part by part the current values.
    pub fn commit(&self) {
        for store in self.all_certificates() {
            store.commit();
        }
    }

    /// Each pair by itself: one that is rejected at a reload keeps no other from being renewed.
    pub(super) fn add_certificates(&mut self, listeners: &[config::Listener]) {
        for (i, listener) in listeners.iter().enumerate() {
            for (j, pair) in listener.tls.iter().cloned().enumerate() {
                let store = Arc::clone(&self.certificates[i]);
                self.add_pair(&format!("listeners[{i}].tls[{j}]"), pair, store, j);
            }
        }
    }

    pub(super) fn add_admin_certificate(&mut self, config: &config::Admin) {
        if let Some(pair) = config.tls.clone() {
            self.add_pair("admin.tls", pair, Arc::clone(&self.admin_certificate), 0);
        }
    }

    fn add_pair(&mut self, key: &str, pair: config::Certificate, store: Arc<CertificateStore>, place: usize) {
        self.registry.add(FileResource {
            name: CERTIFICATES,
            files: vec![
                (format!("{key}.certificate_file"), pair.certificate_file.clone()),
                (format!("{key}.key_file"), pair.key_file.clone()),
            ],
            load: Box::new(move || pair::read(&pair, clock::now())),
            describe: |pair: &Pair| {
                let warnings = pair.inspected.warnings.iter();
                Description::of(pair.inspected.names.join(", "))
                    .warn(warnings.map(|warning| Warning::of_file(warning.to_string())))
            },
            publish: Box::new(move |pair| store.publish(place, Arc::new(pair))),
        });
    }

    /// Folders of certificates. One that several listeners name is read once; one that is known, only as far as it has
    /// changed.
    pub(super) fn add_certificate_folders(&mut self, listeners: &[config::Listener], known: &[Arc<Folder>]) {
        let mut folders: Vec<(PathBuf, Vec<usize>)> = Vec::new();
        for (i, listener) in listeners.iter().enumerate() {
            let Some(path) = &listener.certificates_dir else { continue };
            match folders.iter_mut().find(|(other, _)| other == path) {
                Some((_, of)) => of.push(i),
                None => folders.push((path.clone(), vec![i])),
            }
        }
        for (path, of) in folders {
            let stores: Vec<_> = of.iter().map(|&i| Arc::clone(&self.certificates[i])).collect();
            let folder = known.iter().find(|folder| folder.path() == path).cloned();
            let folder = folder.unwrap_or_else(|| Arc::new(Folder::new(path.clone())));
            self.folders.push(Arc::clone(&folder));
            let reads = Arc::clone(&folder);
            self.registry.add(FileResource {
                name: CERTIFICATES,
                files: of.iter().map(|i| (format!("listeners[{i}].certificates_dir"), path.clone())).collect(),
                load: Box::new(move || reads.read(clock::now())),
                describe: |contents: &Contents| Description {
                    rejected: contents.rejected().into_iter().map(Warning::of_file).collect(),
                    ..Description::of(contents.summary())
                        .warn(contents.warnings(clock::now()).into_iter().map(Warning::of_file))
                },
                publish: Box::new(move |contents| {
                    let contents = folder.publish(contents);
                    for store in &stores {
                        store.publish_folder(&contents);
                    }
                }),
            });
        }
    }

    pub(super) fn add_ticket_secret(&mut self, config: &config::Tls) {
        let Some(file) = config.ticket_secret_file.clone() else { return };
        let tickets = Arc::clone(&self.tickets);
        self.registry.add(FileResource {
            name: "ticket_secret",
            files: named("tls.ticket_secret_file", &file),
            load: Box::new(move || Secret::read(&file)),
            describe: |_: &Secret| Description::of("secret of session tickets"),
            publish: Box::new(move |secret| tickets.set_secret(secret)),
        });
    }
}
