//! Certificates that the edge obtains and renews by itself: a client of a certificate authority (CA) that speaks ACME
//! (RFC 8555), with the challenges HTTP-01 and TLS-ALPN-01 (RFC 8737).
//!
//! ```text
//! names of catalog and list ─► plan ─► lock ─► order ─► CA ─┐ asks the name
//!        ▲                                       │          ▼
//!        └── ledger (failures, limits) ◄─────────┤     front ─► challenge ─► folder
//!                                                ▼
//!                     certificate stores ◄─── folder, shared by the edges of a fleet
//! ```
//! All of it runs on one thread of its own, with files and network of its own; connections meet only the open
//! challenges and the certificate stores, which they read without waiting. A name is never ordered because a client
//! sends it: names come from the catalog and the configuration.
//!
//! Edges that share the folder share everything: the one that takes the lock orders, every edge answers the CA, since
//! behind one address any of them may be asked, and every edge takes the certificate as soon as it is in the folder.
//! A folder of its own makes an edge independent. Limits and failures are in the folder, too, so that restarts do not
//! get around them.

pub mod challenge;
mod folder;
mod http;
mod ledger;
mod lock;
pub mod metrics;
mod order;
mod plan;
mod worker;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::sync::Notify;

use super::{CertificateStore, Pair};
use crate::{
    config::{self, Config},
    runtime::{Class, Classified, clock},
    telemetry::metrics::Registry,
};
use challenge::Challenges;
use folder::Folder;
use http::CaClient;
use metrics::AcmeMetrics;
use worker::{View, Worker};

/// Longest time that a stop waits for the lock of the folder to be released.
const STOP: Duration = Duration::from_secs(1);

/// Why certificates cannot be obtained.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error("cannot use the ACME folder {}: {source}; let this user write it, or correct `acme.dir`", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the certificates of the CA in `acme.root_file`: {0}")]
    Roots(#[source] io::Error),
    #[error("cannot start the thread of certificates: {0}")]
    Thread(#[source] io::Error),
}

impl Classified for AcmeError {
    fn class(&self) -> Class {
        match self {
            Self::Folder { source, .. } if is_wrong(source) => Class::Config,
            Self::Folder { source, .. } | Self::Thread(source) => Class::of_io(source),
            Self::Roots(source) => Class::of_read(source),
        }
    }
}

/// Whether the path is the wrong one.
fn is_wrong(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotADirectory, PermissionDenied};
    matches!(error.kind(), AlreadyExists | NotADirectory | PermissionDenied)
}

/// Obtains certificates, or is off.
pub struct Acme {
    challenges: Arc<Challenges>,
    stores: Arc<Stores>,
    names: Arc<Names>,
    metrics: Arc<AcmeMetrics>,
    running: Mutex<Option<Running>>,
}

struct Running {
    config: config::Acme,
    stop: Arc<Notify>,
    stopped: mpsc::Receiver<()>,
}

impl Acme {
    /// Registers the metrics. It is off. `names` returns the names of the catalog whenever they are others than at its
    /// last call.
    pub fn new(registry: &Registry, names: impl FnMut() -> Option<BTreeSet<Box<str>>> + Send + 'static) -> Self {
        Self {
            challenges: Arc::new(Challenges::new(registry)),
            stores: Arc::default(),
            names: Arc::new(Names {
                current: Mutex::new((Box::new(names), Arc::default())),
                version: AtomicU64::new(0),
            }),
            metrics: Arc::new(AcmeMetrics::new(registry)),
            running: Mutex::default(),
        }
    }

    /// What connections answer a CA with.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Makes this the current configuration, with the certificate stores of its listeners in their order: starts, goes
    /// on or stops. Certificates that the folder holds are in the stores when this returns. An order under way goes on
    /// if the section has not changed.
    ///
    /// # Errors
    /// When the folder or the certificates of the CA cannot be used. What ran before goes on.
    pub fn apply(&self, config: &Config, stores: &[Arc<CertificateStore>]) -> Result<(), AcmeError> {
        let mut running = self.running();
        let listeners = config.listeners.iter().zip(stores);
        let stores = listeners.filter(|(listener, _)| listener.acme).map(|(_, store)| Arc::clone(store)).collect();
        if running.as_ref().map(|running| &running.config) == config.acme.as_ref() {
            self.stores.replace(stores);
            return Ok(());
        }
        let worker = config.acme.as_ref().map(|acme| self.worker(acme)).transpose()?;
        if let Some(running) = running.take() {
            running.stop();
            self.challenges.close();
        }
        self.stores.replace(stores);
        let Some(mut worker) = worker else {
            self.stores.publish(Vec::new());
            return Ok(());
        };
        let config = worker.config.clone();
        worker.read().map_err(|source| AcmeError::Folder { path: config.dir.clone(), source })?;
        *running = Some(Running::start(config, worker).map_err(AcmeError::Thread)?);
        Ok(())
    }

    /// Stops at once: an order under way is left to the next start.
    pub fn stop(&self) {
        if let Some(running) = self.running().take() {
            running.stop();
        }
        self.challenges.close();
    }

    /// Reads the folder. Changes nothing that is used.
    fn worker(&self, config: &config::Acme) -> Result<Worker, AcmeError> {
        let owner = format!("{:016x}", fastrand::u64(..));
        let mut view = View::default();
        let folder = Folder::open(&config.dir, &config.directory_url, owner).and_then(|folder| {
            folder.read_certificates(&mut view.held, clock::now())?;
            Ok(folder)
        });
        let folder = folder.map_err(|source| AcmeError::Folder { path: config.dir.clone(), source })?;
        Ok(Worker {
            config: config.clone(),
            folder,
            client: CaClient::new(config.root_file.as_deref()).map_err(AcmeError::Roots)?,
            challenges: Arc::clone(&self.challenges),
            stores: Arc::clone(&self.stores),
            names: Arc::clone(&self.names),
            metrics: Arc::clone(&self.metrics),
            view,
        })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start(config: config::Acme, worker: Worker) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).enable_all().build()?;
        let (stop, (done, stopped)) = (Arc::new(Notify::new()), mpsc::channel());
        let wanted = Arc::clone(&stop);
        thread::Builder::new().name("acme".into()).spawn(move || {
            runtime.block_on(async {
                let looks = worker.challenges.open(worker.folder.clone());
                let looks = tokio::spawn(looks);
                tokio::select! {
                    () = wanted.notified() => {}
                    () = worker.run() => {}
                }
                looks.abort();
            });
            _ = done.send(());
            // A look-up of a name cannot be interrupted.
            runtime.shutdown_background();
        })?;
        Ok(Self { config, stop, stopped })
    }

    fn stop(self) {
        self.stop.notify_one();
        _ = self.stopped.recv_timeout(STOP);
    }
}

/// The names of the catalog.
struct Names {
    current: Mutex<(Source, Arc<BTreeSet<Box<str>>>)>,
    version: AtomicU64,
}

/// Returns all names whenever they are others than at the last call.
type Source = Box<dyn FnMut() -> Option<BTreeSet<Box<str>>> + Send>;

impl Names {
    fn all(&self) -> Arc<BTreeSet<Box<str>>> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// A number that changes with the names.
    fn version(&self) -> u64 {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (source, names) = &mut *current;
        if let Some(changed) = source() {
            *names = Arc::new(changed);
            self.version.fetch_add(1, Relaxed);
        }
        self.version.load(Relaxed)
    }
}

/// The certificate stores of listeners with `acme = true`, and what is in them.
#[derive(Default)]
struct Stores(Mutex<Published>);

#[derive(Default)]
struct Published {
    stores: Vec<Arc<CertificateStore>>,
    pairs: Arc<Vec<Arc<Pair>>>,
}

impl Stores {
    /// Other listeners use the certificates now.
    fn replace(&self, stores: Vec<Arc<CertificateStore>>) {
        let mut current = self.current();
        for store in &current.stores {
            if !stores.iter().any(|kept| Arc::ptr_eq(kept, store)) {
                store.publish_obtained(&Arc::default());
                store.commit();
            }
        }
        current.stores = stores;
        current.publish();
    }

    /// Passes these certificates to the listeners, if they are others than before.
    fn publish(&self, pairs: Vec<Arc<Pair>>) {
        let mut current = self.current();
        let former = &current.pairs;
        if former.len() != pairs.len() || former.iter().zip(&pairs).any(|(former, pair)| !Arc::ptr_eq(former, pair)) {
            current.pairs = Arc::new(pairs);
            current.publish();
        }
    }

    fn covered(&self) -> Covered {
        Covered(self.current().stores.iter().map(|store| store.names_of_operator()).collect())
    }

    fn current(&self) -> MutexGuard<'_, Published> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Published {
    fn publish(&self) {
        for store in &self.stores {
            store.publish_obtained(&self.pairs);
            store.commit();
        }
    }
}

/// The names of the operator's certificates, by listener.
struct Covered(Vec<BTreeSet<String>>);

impl Covered {
    /// Whether the operator has a certificate for this name on all listeners.
    fn contains(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}")).unwrap_or_default();
        !self.0.is_empty() && self.0.iter().all(|names| names.contains(name) || names.contains(&wildcard))
    }
}

/// What `check` finds: whether folder and certificates of the CA can be used. Makes and changes nothing.
///
/// # Errors
/// The key of the configuration, and what is wrong with it.
pub fn examine(config: &config::Acme) -> Result<(), (&'static str, AcmeError)> {
    let is_folder = |path: &Path| !path.exists() || path.is_dir();
    if !is_folder(&config.dir) {
        let (path, source) = (config.dir.clone(), io::ErrorKind::NotADirectory.into());
        return Err(("acme.dir", AcmeError::Folder { path, source }));
    }
    match &config.root_file {
        Some(file) => super::roots::read(file).map(drop).map_err(|error| ("acme.root_file", AcmeError::Roots(error))),
        None => Ok(()),
    }
}
