//! The control socket: what an operator on this machine can ask of the running process, `clickedge reload`, `upgrade`
//! and `drain`.
//!
//! It is `control` in the folder of the rings, which only this user may enter, and answers this user and root. Each
//! request and each line of its answer is a JSON text; the last one says how it ended.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::net::sockopt::socket_peercred;
use serde::{Deserialize, Serialize};

use super::{
    Running,
    handover::predecessor::{Plan, TakenOver, UpgradeError, upgrade},
    shutdown::Stop,
};
use crate::runtime::{Class, Classified};

/// The name of the socket.
const NAME: &str = "control";

/// How long the other side may take for its request.
const REQUEST: Duration = Duration::from_secs(5);

/// What an operator asks for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum Request {
    /// Start another process, and hand over to it.
    Upgrade {
        /// The binary; the installed one if absent.
        program: Option<PathBuf>,
        /// Until it is ready.
        timeout_secs: u64,
    },
    /// Take up the configuration and all files that it names.
    Reload {
        /// A catalog of any size and generation.
        #[serde(default)]
        accept: bool,
    },
    /// Deliver what waits, and stop.
    Drain,
}

/// A line of the answer.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Reply {
    Progress {
        message: String,
    },
    Done {
        /// The process that answers clicks now, or that stops.
        pid: Option<u32>,
    },
    Failed {
        error: String,
        /// Exit code of its class; absent from an older release.
        #[serde(default)]
        code: Option<u8>,
    },
}

/// Why the running process has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "no process answers at {socket}: {source}; start the service, or run this as its user or as root; a running \
         service is asked in the `capture.dir` that it was started with"
    )]
    Unreachable {
        socket: String,
        #[source]
        source: io::Error,
    },
    #[error("the running process ended before it answered; see its log")]
    Ended,
    /// What it says, and of which class that is.
    #[error("{0}")]
    Failed(String, Class),
}

impl Classified for ControlError {
    fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::Ended => Class::Unavailable,
            Self::Failed(_, class) => *class,
        }
    }
}

impl Reply {
    fn failed(error: &impl ToString, class: Class) -> Self {
        Self::Failed { error: error.to_string(), code: Some(class.exit_code()) }
    }
}

/// Asks the process whose rings are in this folder. `report` gets what it says meanwhile. Returns the process that
/// answers clicks then.
///
/// # Errors
/// See [`ControlError`].
pub fn ask(rings: &Path, request: &Request, mut report: impl FnMut(&str)) -> Result<Option<u32>, ControlError> {
    let socket = rings.join(NAME);
    let unreachable = |source| ControlError::Unreachable { socket: socket.display().to_string(), source };
    let mut stream = UnixStream::connect(&socket).map_err(unreachable)?;
    write_line(&mut stream, request).map_err(unreachable)?;
    for line in BufReader::new(stream).lines() {
        let Some(reply) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
        match reply {
            Reply::Progress { message } => report(&message),
            Reply::Done { pid } => return Ok(pid),
            Reply::Failed { error, code } => {
                let class = Class::ALL.into_iter().find(|class| Some(class.exit_code()) == code);
                return Err(ControlError::Failed(error, class.unwrap_or(Class::Unavailable)));
            }
        }
    }
    Err(ControlError::Ended)
}

/// Whether this user may not see if a process runs whose rings are in this folder.
pub fn is_hidden(rings: &Path) -> bool {
    let connected = UnixStream::connect(rings.join(NAME));
    connected.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The process whose rings are in this folder, if one runs and this user may ask.
pub fn process(rings: &Path) -> Option<u32> {
    let stream = UnixStream::connect(rings.join(NAME)).ok()?;
    // The process that has called `listen`.
    u32::try_from(socket_peercred(&stream).ok()?.pid.as_raw_nonzero().get()).ok()
}

/// Answers operators, on a thread of its own.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(rings: &Path, running: Arc<Running>) -> io::Result<()> {
    // Under another name first: that of a predecessor stays until this one can be reached.
    let new = rings.join(format!(".c{}", std::process::id()));
    _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    fs::rename(&new, rings.join(NAME))?;
    thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming() {
            // One at a time: there is one process to hand over to.
            if let Err(error) = stream.and_then(|stream| answer(&stream, &running)) {
                tracing::warn!(%error, "request at the control socket failed");
            }
        }
    })?;
    Ok(())
}

/// Removes the socket of this process, which no process has succeeded.
pub fn close(rings: &Path) {
    _ = fs::remove_file(rings.join(NAME));
}

fn answer(stream: &UnixStream, running: &Running) -> io::Result<()> {
    let user = socket_peercred(stream)?.uid;
    if !user.is_root() && user != rustix::process::geteuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user has asked"));
    }
    stream.set_read_timeout(Some(REQUEST))?;
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line)? == 0 {
        // Only asked who listens.
        return Ok(());
    }
    let mut reply = stream;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let error = format!("this release does not know the request: {error}");
            return write_line(&mut reply, &Reply::failed(&error, Class::Unavailable));
        }
    };
    match request {
        Request::Reload { accept } => {
            let Some(reloader) = running.reloader() else {
                return write_line(&mut reply, &Reply::failed(&"this process stops", Class::Unavailable));
            };
            let mut progress = |message: String| write_line(&mut reply, &Reply::Progress { message });
            let last = match reloader.reload_and(accept) {
                Ok(reloaded) => {
                    reloaded.lines().into_iter().try_for_each(&mut progress)?;
                    Reply::Done { pid: None }
                }
                Err(error) => Reply::failed(&error, error.class()),
            };
            write_line(&mut reply, &last)
        }
        Request::Drain if running.reloader().is_none() || running.is_stopping() => {
            write_line(&mut reply, &Reply::failed(&UpgradeError::Busy, Class::Unavailable))
        }
        Request::Drain => {
            tracing::info!("an operator asks for the last stop");
            write_line(&mut reply, &Reply::Done { pid: Some(std::process::id()) })?;
            running.request(Stop::Drain);
            Ok(())
        }
        Request::Upgrade { program, timeout_secs } => {
            tracing::info!("an operator asks for an upgrade");
            let plan = Plan { program, timeout: Duration::from_secs(timeout_secs) };
            let mut progress = |message: &str| {
                tracing::info!("{message}");
                // The client may be gone; the upgrade goes on.
                _ = write_line(&mut &*stream, &Reply::Progress { message: message.into() });
            };
            let upgraded = upgrade(running, &plan, &mut progress);
            let last = match &upgraded {
                Ok(TakenOver { pid, failed: None, .. }) => Reply::Done { pid: Some(*pid) },
                Ok(TakenOver { failed: Some(error), .. }) | Err(error) => {
                    tracing::error!(%error, "upgrade failed");
                    Reply::failed(error, Class::Unavailable)
                }
            };
            let written = write_line(&mut reply, &last);
            if let Ok(taken_over) = upgraded {
                taken_over.hand_over(running);
            }
            written
        }
    }
}

fn write_line(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)
}
