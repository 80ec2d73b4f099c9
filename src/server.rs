//! The process: Pingora's server around the pipeline, signals, start and stop.
//!
//! | signal | what it does |
//! |---|---|
//! | `SIGTERM`, `SIGINT`, `SIGQUIT` | stop: listeners close, requests under way finish, queues drain, objects are delivered |
//! | `SIGHUP` | read the catalog, the GeoIP database and the block lists again |

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use async_trait::async_trait;
use crossbeam::channel::{Receiver, bounded};
use pingora::{
    modules::http::HttpModules,
    prelude::{HttpPeer, ProxyHttp, Session},
    proxy::http_proxy_service_with_name,
    server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf},
    services::listening::Service,
};
use rustix::process::DumpableBehavior;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::Notify;

use crate::{
    admin::{Admin, Readiness},
    config::{self, Config, validate},
    listener,
    pipeline::{Monitor, Pipeline},
    redirect::Redirector,
    runtime::systemd,
    telemetry::logs,
};

/// How long the listeners may take to open.
const OPENING: Duration = Duration::from_secs(10);

/// Time between two looks at whether the pipeline is well.
const HEALTH: Duration = Duration::from_millis(500);

/// Answers clicks until a signal says stop, then drains.
///
/// # Errors
/// When the configuration is refused, an address cannot be had, or a stage does not start.
pub fn serve(file: &Path) -> anyhow::Result<()> {
    // Client addresses are in this process's memory: no core dump, and nobody who looks into it. Not in the library, as
    // another proxy's memory is its own matter.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot keep memory private")?;
    let config = config::load(file)?;
    logs::init(&config.telemetry);
    for problem in validate::validate(&config) {
        tracing::warn!(key = problem.key, remedy = problem.remedy, "{}", problem.message);
    }
    // Before anything that takes time: an early SIGHUP would end the process.
    let signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP]).context("cannot handle signals")?;

    let pipeline = Pipeline::start(&config)?;
    let readiness = Readiness::default();
    let server = match build(&config, &pipeline, &readiness) {
        Ok(server) => server,
        Err(error) => {
            pipeline.drain(Duration::ZERO);
            return Err(error);
        }
    };
    let stop = Arc::new(Notify::new());
    watch_signals(signals, pipeline.monitor(), Arc::clone(&stop))?;
    let addresses = config.listeners.iter().map(|listener| listener.address).chain([config.admin.address]);
    let never_opened = Arc::new(AtomicBool::new(false));
    let shutdown_signal = Box::new(Stop {
        wanted: stop,
        readiness,
        monitor: pipeline.monitor(),
        addresses: addresses.collect(),
        never_opened: Arc::clone(&never_opened),
    });
    server.run(RunArgs { shutdown_signal });

    let failed = pipeline.monitor().has_failed();
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
        bail!("a thread has failed; start again, and nothing is lost; please report this defect");
    }
    Ok(())
}

fn build(config: &Config, pipeline: &Pipeline, readiness: &Readiness) -> anyhow::Result<Server> {
    let mut server = Server::new_with_opt_and_conf(None, server_conf(config));
    server.bootstrap();

    let proxy = EdgeProxy { redirector: pipeline.redirector(), upstream: config.upstream.clone() };
    let mut clicks = http_proxy_service_with_name(&server.configuration, proxy, "clicks");
    listener::add(&mut clicks, &config.listeners)?;
    server.add_service(clicks);

    let mut admin = Service::new("admin".into(), Admin::new(pipeline.monitor(), readiness.clone()));
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

/// The proxy around the redirect stage: what is not for a branded domain goes to the upstream.
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

    /// Errors name the method only: path and query are the visitor's.
    fn request_summary(&self, session: &Session, (): &()) -> String {
        session.req_header().method.to_string()
    }
}

/// Tells Pingora when to stop; and operators, when clicks are answered and when no more are wanted.
struct Stop {
    wanted: Arc<Notify>,
    readiness: Readiness,
    monitor: Monitor,
    addresses: Vec<SocketAddr>,
    never_opened: Arc<AtomicBool>,
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        tokio::select! {
            opened = self.opened() => {
                if !opened {
                    tracing::error!("the listeners do not open; stopping");
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
                    () = self.failed() => tracing::error!("a thread has failed; stopping, so that another process takes over"),
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
    /// Ends when a thread of the pipeline has failed.
    async fn failed(&self) {
        while !self.monitor.has_failed() {
            tokio::time::sleep(HEALTH).await;
        }
    }

    /// Whether every address takes connections, as soon as it does.
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

/// Reloads run one after the other on a thread of their own, so that a stop never waits for one.
fn watch_signals(mut signals: Signals, monitor: Monitor, stop: Arc<Notify>) -> anyhow::Result<()> {
    let (reload, reloads) = bounded(1);
    thread::Builder::new().name("reload".into()).spawn(move || run_reloads(&reloads, &monitor))?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // Full means that one is about to begin: it will read what is there now.
                let _ = reload.try_send(());
            } else {
                stop.notify_one();
            }
        }
    })?;
    Ok(())
}

fn run_reloads(reloads: &Receiver<()>, monitor: &Monitor) {
    for () in reloads {
        systemd::reloading();
        monitor.reload();
        systemd::ready();
    }
}
