//! The process: Pingora's server around the pipeline, its start and its stop. `signals` lists what each signal does,
//! [`shutdown`] how the process ends, [`handover`] how another one takes over, `control` what an operator can ask for.

mod admin_listener;
mod admin_socket;
pub mod control;
pub mod handover;
mod live;
pub mod open_files;
pub mod otlp;
mod proxy;
pub mod shutdown;
mod signals;

use std::{
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use pingora::server::{RunArgs, Server, configuration::ServerConf};
use pingora_proxy::http_proxy;
use rustix::process::DumpableBehavior;

use admin_listener::AdminListener;
use handover::{predecessor, successor::Predecessor};
use proxy::EdgeProxy;
use shutdown::{OPENING, Shutdown, Stop, StopRequest};
use signals::Reloads;

use crate::{
    admin::{Admin, Readiness},
    capture::Capture,
    catalog::CatalogStore,
    config::{self, Config},
    listener::front::{self, Connections, Inherited, Listeners},
    pipeline::{Account, Intake, OperatorFiles, Pipeline, Reloader, preflight},
    redirect::Redirector,
    runtime::clock,
    telemetry::{logs, metrics::Registry},
    tls::{self, Acme, CertificateStore, Tickets},
};

/// Answers clicks until a signal or an operator asks for a stop, or another process has taken over.
///
/// # Errors
/// When the configuration is rejected, an address is not available, or a stage does not start.
pub fn serve(file: &Path) -> anyhow::Result<()> {
    // Client addresses are in this process's memory: no core dump, and no other process may read it. Not in the
    // library, because an embedding proxy decides on its own memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot keep memory private")?;
    let predecessor = Predecessor::connect().context("cannot reach the predecessor")?;
    let served = start(file, predecessor.as_ref());
    if let (Some(predecessor), Err(error)) = (&predecessor, &served) {
        predecessor.failed(error);
    }
    served?.run(predecessor)
}

/// What is running, as far as a stop or a hand-over needs it.
pub struct Running {
    /// The binary of this process, for its successor.
    program: PathBuf,
    /// The folders of the rings and of the spool.
    folders: (PathBuf, PathBuf),
    catalog: Arc<CatalogStore>,
    /// The process that this one has succeeded.
    predecessor: Mutex<Option<Predecessor>>,
    listeners: Arc<Listeners>,
    admin: AdminListener,
    capture: Capture,
    /// `None` before it is started, and once it is handed over.
    pipeline: Mutex<Option<Pipeline>>,
    readiness: Readiness,
    stop: StopRequest,
    /// No process has the spool any more.
    failed: AtomicBool,
}

impl Running {
    /// All listening sockets.
    fn sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let mut sockets = self.listeners.sockets()?;
        sockets.push(self.admin.duplicate()?);
        Ok(sockets)
    }

    /// Leaves connections to a successor.
    fn pause(&self) {
        self.listeners.pause().wait_blocking();
    }

    /// Accepts again, and reads what a successor has captured that has failed.
    fn resume(&self) {
        self.listeners.resume();
        if self.is_complete()
            && let Err(error) = self.capture.take_back()
        {
            tracing::error!(%error, "clicks of the new process wait in its rings for the next start");
        }
    }

    /// Ends this process with an error: its spool is handed over, and no process has taken it.
    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.request(Stop::Now);
    }

    /// Ends this process, once it has answered what it has accepted. Its descriptors of the sockets are closed: what
    /// connects is the successor's alone.
    fn hand_over(&self) {
        self.admin.close();
        self.listeners.close().wait_blocking();
        self.admin.wait();
        self.request(Stop::HandedOver);
    }

    fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Ends the process that this one has succeeded, if it still answers, so that its last clicks are read.
    fn finish_predecessor(&self) {
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(predecessor) = predecessor {
            predecessor.finish();
        }
    }

    /// Asks for a stop; the first request counts, but the wait after a hand-over can be ended.
    fn request(&self, stop: Stop) {
        self.stop.send_if_modified(|requested| {
            let is_new = requested.is_none() || (*requested == Some(Stop::HandedOver) && stop == Stop::Now);
            if is_new {
                *requested = Some(stop);
            }
            is_new
        });
    }

    /// Whether the whole pipeline runs.
    fn is_complete(&self) -> bool {
        self.pipeline().is_some()
    }

    /// Takes up another configuration; `None` while the pipeline does not run.
    fn reloader(&self) -> Option<Reloader> {
        self.pipeline().as_ref().map(Pipeline::reloader)
    }

    fn take_pipeline(&self) -> Option<Pipeline> {
        self.pipeline().take()
    }

    fn pipeline(&self) -> std::sync::MutexGuard<'_, Option<Pipeline>> {
        self.pipeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that is set up, and accepts no connection yet.
struct Started {
    server: Server,
    running: Arc<Running>,
    connections: Arc<dyn Connections>,
    config: Config,
    stages: Stages,
    acme: Arc<Acme>,
    reloads: Reloads,
    /// Whether the sockets are systemd's.
    sockets_stay: bool,
}

/// How much of the pipeline runs at first.
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
enum Stages {
    All(Pipeline),
    /// The predecessor has the spool.
    Intake(Intake),
}

impl Stages {
    fn redirector(&self) -> Redirector {
        match self {
            Self::All(pipeline) => pipeline.redirector(),
            Self::Intake(intake) => intake.redirector(),
        }
    }

    fn registry(&self) -> Registry {
        match self {
            Self::All(pipeline) => pipeline.registry(),
            Self::Intake(intake) => intake.registry(),
        }
    }

    fn reloader(&self) -> Reloader {
        match self {
            Self::All(pipeline) => pipeline.reloader(),
            Self::Intake(intake) => intake.reloader(),
        }
    }

    fn capture(&self) -> Capture {
        match self {
            Self::All(pipeline) => pipeline.capture(),
            Self::Intake(intake) => intake.capture(),
        }
    }

    fn end(self) {
        match self {
            Self::All(pipeline) => _ = pipeline.drain(Duration::ZERO),
            Self::Intake(intake) => intake.capture().close(),
        }
    }
}

fn start(file: &Path, predecessor: Option<&Predecessor>) -> anyhow::Result<Started> {
    let (config, _) = config::diagnostics::inspect(file)?;
    logs::init(&config.telemetry);
    for problem in config.problems() {
        tracing::warn!(key = problem.key, remedy = problem.remedy, "{}", problem.message);
    }
    if let Some(predecessor) = predecessor {
        predecessor.check(&config)?;
    }
    open_files::raise();
    let stop = StopRequest::default();
    // Before anything that takes time: an early SIGHUP would end the process.
    let mut signals = signals::register().context("cannot handle signals")?;
    let mut early = signals::Early::default();

    let mut inherited = Inherited::default();
    let sockets_stay = match predecessor {
        Some(predecessor) => {
            for (_, socket) in predecessor.sockets().context("cannot take over the listening sockets")? {
                inherited.add(socket).context("cannot take over a listening socket")?;
            }
            false
        }
        None => inherit_from_systemd(&mut inherited).context("cannot use the sockets of systemd")?,
    };
    let mut files = OperatorFiles::new(&config)?;
    files.watch_config(file, &config);
    for warning in preflight::examine_file(&config, &files, file)? {
        tracing::warn!(config_line = warning.line, remedy = warning.remedy, "{}", warning.message);
    }
    if let Some(predecessor) = predecessor {
        predecessor.check_catalog(&config, files.catalog().load().base_len())?;
    }
    let (certificates, tickets) = (files.certificates().to_vec(), Arc::clone(files.tickets()));
    let catalog = Arc::clone(files.catalog());
    let stages = match predecessor {
        Some(_) => Stages::Intake(Intake::open(&config, files)?),
        None => Stages::All(Pipeline::start_with(&config, files)?),
    };
    let acme = Arc::new(Acme::new(&stages.registry(), Arc::clone(&catalog).new_hosts()));
    let readiness = Readiness::new(&stages.registry());
    let mut has_socket = false;
    let admin = AdminListener::bind(config.admin.address, &mut inherited).map_err(anyhow::Error::from);
    let admin = admin.and_then(|admin| {
        if let Stages::All(pipeline) = &stages {
            // First: an edge that waits for a catalog says so.
            has_socket = serve_admin(&admin, pipeline, &readiness, &config, false)?;
            pipeline.await_catalog(|| early.stops(&mut signals, &stop));
        }
        Ok(admin)
    });
    let built = admin.and_then(|admin| {
        let built = build(&config, &stages, &certificates, &tickets, &acme, &mut inherited)?;
        Ok((admin, built))
    });
    let built = built.and_then(|built| {
        // Its sockets are bound: what a certificate authority asks from now on waits for an answer.
        acme.apply(&config, &certificates)?;
        Ok(built)
    });
    let (admin, Built { server, listeners, connections }) = match built {
        Ok(built) => built,
        Err(error) => {
            if has_socket && let Some(socket) = config.admin.socket(&config.capture.dir) {
                admin_socket::close(&socket);
            }
            stages.end();
            return Err(error);
        }
    };
    if predecessor.is_some() {
        // Until the predecessor leaves them to this process.
        _ = listeners.pause();
    }
    let running = Arc::new(Running {
        program: predecessor::program().context("cannot find this program")?,
        folders: (config.capture.dir.clone(), config.spool.dir.clone()),
        catalog: Arc::clone(&catalog),
        predecessor: Mutex::default(),
        listeners,
        admin,
        capture: stages.capture(),
        pipeline: Mutex::default(),
        readiness,
        stop,
        failed: AtomicBool::new(false),
    });
    let reloads = signals::watch(signals, &early, Arc::clone(&running))?;
    Ok(Started { server, running, connections, config, stages, acme, reloads, sockets_stay })
}

/// Takes the sockets that systemd passes (`LISTEN_FDS`). Whether there are any.
fn inherit_from_systemd(inherited: &mut Inherited) -> io::Result<bool> {
    let mut passed = listenfd::ListenFd::from_env();
    for number in 0..passed.len() {
        if let Some(listener) = passed.take_tcp_listener(number)? {
            inherited.add(listener)?;
        }
    }
    Ok(passed.len() > 0)
}

impl Started {
    fn run(self, predecessor: Option<Predecessor>) -> anyhow::Result<()> {
        let Self { server, running, connections, config, stages, acme, reloads, sockets_stay } = self;
        let panics = match &stages {
            Stages::All(pipeline) => pipeline.panics(),
            Stages::Intake(intake) => intake.panics(),
        };
        let addresses = config.listeners.iter().map(|listener| listener.address).chain([config.admin.address]);
        let never_opened = Arc::new(AtomicBool::new(false));
        let shutdown_signal = Box::new(Shutdown {
            running: Arc::clone(&running),
            connections,
            config: config.shutdown.clone(),
            readiness: running.readiness.clone(),
            panics: panics.clone(),
            addresses: if predecessor.is_some() { Vec::new() } else { addresses.collect() },
            sockets_stay,
            never_opened: Arc::clone(&never_opened),
        });
        let complete = Complete { running: Arc::clone(&running), config: config.clone(), reloads };
        let taking_over = match stages {
            Stages::All(pipeline) => {
                complete.with(pipeline, false)?;
                None
            }
            Stages::Intake(intake) => {
                let guard = panics.guard();
                let take_over = move || {
                    let _guard = guard;
                    take_over(predecessor, intake, complete)
                };
                Some(thread::Builder::new().name("take-over".into()).spawn(take_over)?)
            }
        };
        server.run(RunArgs { shutdown_signal });
        acme.stop();

        let failed = panics.has_panicked();
        let stop = *running.stop.borrow();
        if stop == Some(Stop::Drain) {
            running.finish_predecessor();
        }
        let timeout = if stop == Some(Stop::Drain) { config.shutdown.drain_secs } else { 0 };
        if let Some(pipeline) = running.take_pipeline() {
            report(pipeline.drain(Duration::from_secs(timeout)));
            control::close(&config.capture.dir);
            if let Some(socket) = config.admin.socket(&config.capture.dir) {
                admin_socket::close(&socket);
            }
        }
        if never_opened.load(Ordering::Acquire) {
            bail!("the listeners did not open within {} s", OPENING.as_secs());
        }
        if failed {
            bail!(
                "internal error: a thread has failed; nothing is lost, restart the process; please report this bug"
            );
        }
        if running.failed.load(Ordering::Acquire) {
            bail!(
                "no new process has taken over; clicks that were answered wait in the rings: start the service again"
            );
        }
        match taking_over.filter(thread::JoinHandle::is_finished).map(thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Ok(()),
        }
    }
}

fn report(account: Account) {
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
}

/// What follows once the whole pipeline runs.
struct Complete {
    running: Arc<Running>,
    config: Config,
    reloads: Reloads,
}

impl Complete {
    fn with(self, pipeline: Pipeline, succeeds: bool) -> anyhow::Result<()> {
        let Self { running, config, reloads } = self;
        reloads.serve(pipeline.reloader())?;
        if succeeds {
            serve_admin(&running.admin, &pipeline, &running.readiness, &config, succeeds)?;
        }
        otlp::start(&config, &pipeline, running.stop.subscribe())?;
        *running.pipeline() = Some(pipeline);
        if let Err(error) = control::listen(&config.capture.dir, running) {
            let dir = config.capture.dir.display();
            tracing::warn!(%error, %dir, "no control socket: `clickedge upgrade` and `clickedge drain` cannot be used");
        }
        Ok(())
    }
}

/// Answers operators from now on. Returns whether at the Unix socket, too.
fn serve_admin(
    listener: &AdminListener,
    pipeline: &Pipeline,
    readiness: &Readiness,
    config: &Config,
    succeeds: bool,
) -> anyhow::Result<bool> {
    let admin = Admin::new(pipeline, readiness.clone(), &config.admin);
    let (tls, socket) = (admin_tls(config, pipeline)?, admin_socket(config, succeeds));
    let has_socket = socket.is_some();
    listener.serve(admin, tls, socket)?;
    Ok(has_socket)
}

/// The settings of TLS on the admin listener, if it has any.
fn admin_tls(config: &Config, pipeline: &Pipeline) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    if config.admin.tls.is_none() {
        return Ok(None);
    }
    let settings = tls::admin_config(&pipeline.admin_certificate(), &config.tls.key_exchange);
    Ok(Some(Arc::new(settings.context("cannot set up TLS on `admin.address`")?)))
}

/// The Unix socket of the admin listener. The edge works without it.
fn admin_socket(config: &Config, succeeds: bool) -> Option<UnixListener> {
    let path = config.admin.socket(&config.capture.dir)?;
    let failed = |error: &io::Error| {
        let remedy = "name another path in `admin.socket`, of this edge alone, whose folder exists";
        let socket = path.display();
        tracing::warn!(%error, %socket, remedy, "no admin socket: commands need `--admin` and a token");
    };
    admin_socket::listen(&path, succeeds).inspect_err(failed).ok()
}

/// Takes over from a predecessor: its connections, then its spool and its rings. An error ends this process, and the
/// predecessor then stays active.
fn take_over(predecessor: Option<Predecessor>, intake: Intake, complete: Complete) -> anyhow::Result<()> {
    let running = Arc::clone(&complete.running);
    let taken = predecessor.context("no predecessor").and_then(|predecessor| {
        predecessor.ready()?;
        running.listeners.resume();
        predecessor.accepting();
        let pipeline = intake.start().inspect_err(|error| tracing::error!(%error, "cannot take over"))?;
        running.readiness.set_ready();
        complete.with(pipeline, true)?;
        crate::runtime::systemd::ready();
        predecessor.serving();
        *running.predecessor.lock().unwrap_or_else(PoisonError::into_inner) = Some(predecessor);
        tracing::info!("took over from the predecessor");
        Ok(())
    });
    if taken.is_err() {
        running.request(Stop::Now);
    }
    taken
}

/// What is ready to accept.
struct Built {
    server: Server,
    listeners: Arc<Listeners>,
    connections: Arc<dyn Connections>,
}

fn build(
    config: &Config,
    stages: &Stages,
    certificates: &[Arc<CertificateStore>],
    tickets: &Arc<Tickets>,
    acme: &Arc<Acme>,
    inherited: &mut Inherited,
) -> anyhow::Result<Built> {
    let shares = open_files::share(config);
    let mut server = Server::new_with_opt_and_conf(None, server_conf(config, shares.requests));
    server.bootstrap();

    let admission =
        Arc::new(front::Admission::new(front::quota(&config.limits, shares.connections), clock::monotonic()));
    let metrics = front::metrics::FrontMetrics::new(&stages.registry());
    metrics.set_limit(shares.connections);
    let redirector = stages.redirector();
    let proxy =
        EdgeProxy::new(redirector.clone(), config, shares.requests, Arc::clone(&admission), Arc::clone(&metrics));
    let proxy_settings = proxy.settings();
    let mut proxy = http_proxy(&server.configuration, proxy);
    proxy.server_options = Some(proxy::server_options());
    if config.tls.ticket_secret_file.is_none() && config.listeners.iter().any(config::Listener::has_tls) {
        tickets.use_secret_of_this_machine(&config.capture.dir)?;
    }
    let listeners = front::bind(config, certificates, tickets, inherited)?;
    let challenges = Arc::clone(acme.challenges());
    let front_metrics = Arc::clone(&metrics);
    let front = front::LiveFront::new(config, redirector.clone(), proxy, Arc::clone(&admission), challenges, metrics);
    let front = Arc::new(front);
    stages.reloader().add(live::LiveServer {
        listeners: Arc::clone(&listeners),
        front: Arc::clone(&front),
        proxy: proxy_settings,
        admission,
        metrics: front_metrics,
        redirector,
        tickets: Arc::clone(tickets),
        acme: Arc::clone(acme),
        rings: config.capture.dir.clone(),
    });
    for thread in front::FrontThread::all(&listeners, &front) {
        server.add_service(thread);
    }
    Ok(Built { server, listeners, connections: front })
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
        // Connections have been answered by then: see `shutdown`.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}
