//! The process: Pingora's server around the pipeline, its start and its stop. `signals` lists what each signal does.

mod open_files;
mod proxy;
mod shutdown;
mod signals;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use pingora::{
    server::{RunArgs, Server, configuration::ServerConf},
    services::listening::Service,
};
use pingora_proxy::http_proxy;
use rustix::process::DumpableBehavior;
use tokio::sync::Notify;

use proxy::EdgeProxy;
use shutdown::{OPENING, Shutdown};

use crate::{
    admin::{Admin, Readiness},
    config::{self, Config},
    listener::{self, front},
    pipeline::{OperatorFiles, Pipeline, preflight},
    telemetry::logs,
    tls::{Acme, CertificateStore, Tickets},
};

/// Answers clicks until a signal says stop, then drains.
///
/// # Errors
/// When the configuration is rejected, an address is not available, or a stage does not start.
pub fn serve(file: &Path) -> anyhow::Result<()> {
    // Client addresses are in this process's memory: no core dump, and no other process may read it. Not in the
    // library, because an embedding proxy decides on its own memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot keep memory private")?;
    let config = config::load(file)?;
    logs::init(&config.telemetry);
    for problem in config.problems() {
        tracing::warn!(key = problem.key, remedy = problem.remedy, "{}", problem.message);
    }
    open_files::raise();
    // Before anything that takes time: an early SIGHUP would end the process.
    let signals = signals::register().context("cannot handle signals")?;

    let mut files = OperatorFiles::new(&config)?;
    files.watch_config(file, &config);
    for warning in preflight::examine_file(&config, &files, file)? {
        tracing::warn!(config_line = warning.line, remedy = warning.remedy, "{}", warning.message);
    }
    let (certificates, tickets) = (files.certificates().to_vec(), Arc::clone(files.tickets()));
    let pipeline = Pipeline::start_with(&config, files)?;
    let readiness = Readiness::default();
    let acme = Acme::new(&pipeline.registry(), pipeline.catalog().new_hosts());
    let server = build(&config, &pipeline, &certificates, &tickets, &acme, &readiness).and_then(|server| {
        // Its sockets are bound: what a certificate authority asks from now on waits for an answer.
        acme.apply(&config, &certificates)?;
        Ok(server)
    });
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            pipeline.drain(Duration::ZERO);
            return Err(error);
        }
    };
    let stop = Arc::new(Notify::new());
    let watch = (config.tls.watch_secs > 0).then(|| Duration::from_secs(config.tls.watch_secs));
    signals::watch(signals, pipeline.reloader(), watch, Arc::clone(&stop))?;
    let addresses = config.listeners.iter().map(|listener| listener.address).chain([config.admin.address]);
    let never_opened = Arc::new(AtomicBool::new(false));
    let shutdown_signal = Box::new(Shutdown {
        wanted: stop,
        readiness,
        panics: pipeline.panics(),
        addresses: addresses.collect(),
        never_opened: Arc::clone(&never_opened),
    });
    server.run(RunArgs { shutdown_signal });
    acme.stop();

    let failed = pipeline.panics().has_panicked();
    let account = pipeline.drain(Duration::from_secs(config.shutdown.drain_secs));
    tracing::info!(
        answered = account.answered,
        recovered = account.recovered,
        enriched = account.enriched,
        clicks_dropped = account.clicks_dropped,
        delivered = account.delivered,
        pending = account.pending,
        events_dropped = account.events_dropped,
        "stopped"
    );
    if never_opened.load(Ordering::Acquire) {
        bail!("the listeners did not open within {} s", OPENING.as_secs());
    }
    if failed {
        bail!("internal error: a thread has failed; nothing is lost, restart the process; please report this bug");
    }
    Ok(())
}

fn build(
    config: &Config,
    pipeline: &Pipeline,
    certificates: &[Arc<CertificateStore>],
    tickets: &Arc<Tickets>,
    acme: &Acme,
    readiness: &Readiness,
) -> anyhow::Result<Server> {
    let shares = open_files::share(config);
    let mut server = Server::new_with_opt_and_conf(None, server_conf(config, shares.requests));
    server.bootstrap();

    let admission = Arc::new(front::admission(&config.limits, shares.connections));
    let metrics = front::metrics::FrontMetrics::new(&pipeline.registry());
    let proxy =
        EdgeProxy::new(pipeline.redirector(), config, shares.requests, Arc::clone(&admission), Arc::clone(&metrics));
    let mut proxy = http_proxy(&server.configuration, proxy);
    proxy.server_options = Some(proxy::server_options());
    proxy.h2_options = Some(proxy::h2_options(config));
    if config.tls.ticket_secret_file.is_none() && config.listeners.iter().any(config::Listener::has_tls) {
        tickets.use_secret_of_this_machine(&config.capture.dir)?;
    }
    let sockets = front::bind(config, certificates, tickets)?;
    let challenges = Arc::clone(acme.challenges());
    let front = Arc::new(front::Front::new(config, pipeline.redirector(), proxy, admission, challenges, metrics));
    for (number, sockets) in sockets.into_iter().enumerate() {
        server.add_service(front::FrontThread::new(number, Arc::clone(&front), sockets));
    }

    let mut admin = Service::new("admin".into(), Admin::new(pipeline, readiness.clone()));
    listener::probe(config.admin.address)?;
    admin.add_tcp(&config.admin.address.to_string());
    admin.threads = Some(1);
    server.add_service(admin);
    Ok(server)
}

/// `requests` to the upstream at a time.
fn server_conf(config: &Config, requests: usize) -> ServerConf {
    let threads = config.listener_threads();
    ServerConf {
        threads,
        // Idle connections to the upstream, of each thread.
        upstream_keepalive_pool_size: (requests / threads).clamp(1, 128),
        // A redirect never waits, so there is nothing to steal; threads that share nothing are cheaper.
        work_stealing: false,
        grace_period_seconds: Some(config.shutdown.grace_secs),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}
