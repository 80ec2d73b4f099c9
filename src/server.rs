//! The process: Pingora's server around the pipeline, its start and its stop. [`signals`] lists what each signal does.

mod signals;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use async_trait::async_trait;
use pingora::{
    modules::http::HttpModules,
    prelude::HttpPeer,
    server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf},
    services::listening::Service,
};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service_with_name};
use rustix::process::DumpableBehavior;
use tokio::sync::Notify;

use crate::{
    admin::{Admin, Readiness},
    config::{self, Config},
    listener::{self, CertificateStore},
    pipeline::{OperatorFiles, Pipeline, preflight},
    redirect::Redirector,
    runtime::{PanicWatch, systemd},
    telemetry::logs,
};

/// How long the listeners may take to open.
const OPENING: Duration = Duration::from_secs(10);

/// Time between two checks of whether a thread has failed.
const HEALTH: Duration = Duration::from_millis(500);

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
    // Before anything that takes time: an early SIGHUP would end the process.
    let signals = signals::register().context("cannot handle signals")?;

    let mut files = OperatorFiles::new(&config)?;
    files.watch_config(file, &config);
    for warning in preflight::examine_file(&config, &files, file)? {
        tracing::warn!(line = warning.line, remedy = warning.remedy, "{}", warning.message);
    }
    let certificates = files.certificates().to_vec();
    let pipeline = Pipeline::start_with(&config, files)?;
    let readiness = Readiness::default();
    let server = match build(&config, &pipeline, &certificates, &readiness) {
        Ok(server) => server,
        Err(error) => {
            pipeline.drain(Duration::ZERO);
            return Err(error);
        }
    };
    let stop = Arc::new(Notify::new());
    signals::watch(signals, pipeline.reloader(), Arc::clone(&stop))?;
    let addresses = config.listeners.iter().map(|listener| listener.address).chain([config.admin.address]);
    let never_opened = Arc::new(AtomicBool::new(false));
    let shutdown_signal = Box::new(Stop {
        wanted: stop,
        readiness,
        panics: pipeline.panics(),
        addresses: addresses.collect(),
        never_opened: Arc::clone(&never_opened),
    });
    server.run(RunArgs { shutdown_signal });

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
    readiness: &Readiness,
) -> anyhow::Result<Server> {
    let mut server = Server::new_with_opt_and_conf(None, server_conf(config));
    server.bootstrap();

    let proxy = EdgeProxy { redirector: pipeline.redirector(), upstream: config.upstream.clone() };
    let mut clicks = http_proxy_service_with_name(&server.configuration, proxy, "clicks");
    listener::add(&mut clicks, &config.listeners, certificates)?;
    server.add_service(clicks);

    let mut admin = Service::new("admin".into(), Admin::new(pipeline, readiness.clone()));
    listener::probe(config.admin.address)?;
    admin.add_tcp(&config.admin.address.to_string());
    admin.threads = Some(1);
    server.add_service(admin);
    Ok(server)
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.listener_threads(),
        // A redirect never waits, so there is nothing to steal; threads that share nothing are cheaper.
        work_stealing: false,
        grace_period_seconds: Some(config.shutdown.grace_secs),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

/// The proxy around the redirect stage: requests for other than branded domains go to the upstream.
struct EdgeProxy {
    redirector: Redirector,
    upstream: Option<config::Upstream>,
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = ();

    fn new_ctx(&self) {}

    /// No modules: the default ones compress, which answers without a body do not need.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        if self.redirector.handle(session).await? {
            return Ok(true);
        }
        if self.upstream.is_none() {
            self.redirector.reject(session).await?;
            return Ok(true);
        }
        self.redirector.limit_idle(session);
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let Some(upstream) = &self.upstream else {
            return pingora::Error::e_explain(pingora::ErrorType::InternalError, "no upstream is configured");
        };
        let host = || {
            let host = session.req_header().headers.get(http::header::HOST)?.to_str().ok()?;
            Some(host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned())
        };
        let name = upstream.server_name.clone().or_else(host).unwrap_or_default();
        Ok(Box::new(HttpPeer::new(upstream.address, upstream.tls, name)))
    }

    /// Errors name the method only, because path and query come from the visitor.
    fn request_summary(&self, session: &Session, (): &()) -> String {
        session.req_header().method.to_string()
    }
}

/// Signals Pingora when to stop, and reports to operators when clicks are answered and when no more are accepted.
struct Stop {
    wanted: Arc<Notify>,
    readiness: Readiness,
    panics: PanicWatch,
    addresses: Vec<SocketAddr>,
    never_opened: Arc<AtomicBool>,
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        tokio::select! {
            opened = self.opened() => {
                if !opened {
                    tracing::error!("listeners did not open; stopping");
                    self.never_opened.store(true, Ordering::Release);
                    return ShutdownSignal::GracefulTerminate;
                }
                self.readiness.set(true);
                systemd::ready();
                for address in &self.addresses {
                    tracing::info!(%address, "listening");
                }
                tokio::select! {
                    () = self.wanted.notified() => {}
                    () = self.failed() => tracing::error!(
                        "internal error: a thread has failed; stopping so that another process takes over; \
                         please report this bug"
                    ),
                }
            }
            () = self.wanted.notified() => {}
        }
        self.readiness.set(false);
        systemd::stopping();
        tracing::info!("stopping");
        ShutdownSignal::GracefulTerminate
    }
}

impl Stop {
    /// Returns when a thread of the pipeline has panicked.
    async fn failed(&self) {
        while !self.panics.has_panicked() {
            tokio::time::sleep(HEALTH).await;
        }
    }

    /// Whether every address accepts connections; returns as soon as all do.
    async fn opened(&self) -> bool {
        let all = async {
            for address in &self.addresses {
                while tokio::net::TcpStream::connect(reachable(*address)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        tokio::time::timeout(OPENING, all).await.is_ok()
    }
}

/// An address that a client on this machine can connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
