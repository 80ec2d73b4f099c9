//! What changes with the configuration while the process runs: listeners, limits, the answers, the upstream, the log.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;

use super::{open_files, proxy};
use crate::{
    config::{Config, Listener},
    listener::{
        ListenError,
        front::{self, Admission, Lane, Listeners, LiveFront, metrics::FrontMetrics},
    },
    pipeline::{Apply, LivePart, OperatorFiles, PartError},
    redirect::{Redirector, TrustedProxies},
    runtime::{Class, Classified},
    telemetry::logs,
    tls::{self, Acme, Tickets},
};

/// The parts of the process around the pipeline.
pub struct LiveServer<L, P> {
    pub listeners: Arc<Listeners>,
    pub front: Arc<LiveFront<L, P>>,
    pub proxy: Arc<ArcSwap<proxy::Settings>>,
    pub admission: Arc<Admission>,
    pub metrics: Arc<FrontMetrics>,
    pub redirector: Redirector,
    pub tickets: Arc<Tickets>,
    pub acme: Arc<Acme>,
    /// The folder of the rings, where the secret of this machine's tickets is.
    pub rings: PathBuf,
}

impl<L: Lane, P: Send + Sync> LivePart for LiveServer<L, P> {
    fn keys(&self) -> &[&'static str] {
        &[
            "acme",
            "client_address",
            "edge.fast_lane",
            "limits",
            "listeners",
            "redirect",
            "telemetry.log_level",
            "tls.key_exchange",
            "tls.ticket_secret_file",
            "upstream",
        ]
    }

    fn prepare<'l>(&'l self, new: &'l Config, files: &'l OperatorFiles) -> Result<Apply<'l>, PartError> {
        let trusted = TrustedProxies::new(&new.client_address).map_err(|error| PartError {
            class: Class::Config,
            key: "client_address.header".into(),
            message: format!("is rejected: {error}"),
            remedy: "write the name of a header",
        })?;
        let own_secret = new.tls.ticket_secret_file.is_none() && new.listeners.iter().any(Listener::has_tls);
        let secret = own_secret.then(|| tls::secret_of_this_machine(&self.rings)).transpose();
        let secret = secret.map_err(|error| PartError {
            class: error.class(),
            key: "listeners".into(),
            message: format!("have no secret for TLS tickets: {error}"),
            remedy: "make room in `capture.dir`, or set `tls.ticket_secret_file`",
        })?;
        let listeners =
            self.listeners.prepare(new, files.certificates()).map_err(|error| of_listener(new, &error))?;
        let shares = open_files::share(new);
        Ok(Box::new(move || {
            logs::set_level(new.telemetry.log_level);
            if let Some(secret) = secret {
                self.tickets.set_secret(secret);
            }
            self.redirector.configure(&new.redirect, trusted, files.quality());
            self.proxy.store(Arc::new(proxy::Settings::new(new, shares.requests)));
            self.admission.set_quota(front::quota(&new.limits, shares.connections));
            self.metrics.set_limit(shares.connections);
            self.front.apply(new);
            self.listeners.publish(listeners).wait_blocking();
            if let Err(error) = self.acme.apply(new, files.certificates()) {
                tracing::error!(%error, "certificates are obtained as before");
            }
        }))
    }
}

fn of_listener(config: &Config, error: &ListenError) -> PartError {
    let (ListenError::Bind { address, .. } | ListenError::Tls { address, .. }) = error;
    let number = config.listeners.iter().position(|listener| listener.address == *address).unwrap_or_default();
    PartError {
        class: error.class(),
        key: format!("listeners[{number}].address"),
        message: format!("cannot be opened: {error}"),
        remedy: "free the address, or name another one",
    }
}
