//! The files of sinks that receive events: the secrets of webhooks, and the certificates that webhooks and streams
//! trust.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::OperatorFiles;
use crate::{
    config::{self, Sink},
    deliver::secrets::Secrets,
    files::{Description, FileResource, Warning},
    runtime::{Class, Classified},
    tls::roots,
};

impl OperatorFiles {
    /// The secrets of webhooks, and the certificates that webhooks and streams trust.
    pub(super) fn add_receivers(&mut self, feeds: &[config::Feed]) {
        for (i, feed) in feeds.iter().enumerate() {
            if let Sink::Nats(nats) = &feed.sink {
                self.add_ca_file(format!("feeds[{i}].sink.nats.ca_file"), nats.ca_file.as_deref());
            }
            let Sink::Webhook(webhook) = &feed.sink else { continue };
            let (files, store) = (webhook.secret_files.clone(), Arc::clone(&self.webhook_secrets[i]));
            let key = |j| format!("feeds[{i}].sink.webhook.secret_files[{j}]");
            self.registry.add(FileResource {
                name: "webhook_secrets",
                files: files.iter().enumerate().map(|(j, file)| (key(j), file.clone())).collect(),
                load: Box::new(move || Secrets::read(&files)),
                describe: |secrets: &Secrets| {
                    let open = secrets.open_files().iter().map(|file| {
                        let file = file.display();
                        Warning::of_file(format!("{file} is readable by every user of this machine: chmod 0600"))
                    });
                    Description::of(format!("{} webhook secrets", secrets.len())).warn(open)
                },
                publish: Box::new(move |secrets| store.publish(secrets)),
            });
            self.add_ca_file(format!("feeds[{i}].sink.webhook.ca_file"), webhook.ca_file.as_deref());
        }
    }

    /// The certificates that a sink trusts. Its client reads them itself, whenever it connects again.
    fn add_ca_file(&mut self, key: String, file: Option<&Path>) {
        let Some(file) = file.map(Path::to_owned) else { return };
        self.registry.add(FileResource {
            name: "sink_certificates",
            files: vec![(key, file.clone())],
            load: Box::new(move || match roots::read(&file) {
                Ok(roots) => Ok(roots.len()),
                Err(source) => Err(CertificatesError { file: file.clone(), source }),
            }),
            describe: |certificates: &usize| Description::of(format!("{certificates} certificates of sinks")),
            publish: Box::new(|_| {}),
        });
    }
}

/// Certificates that a sink cannot trust.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the certificates in {}: {source}", file.display())]
struct CertificatesError {
    file: PathBuf,
    source: std::io::Error,
}

impl Classified for CertificatesError {
    fn class(&self) -> Class {
        Class::of_read(&self.source)
    }
}
