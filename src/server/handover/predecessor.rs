//! The predecessor: starts a successor, and stays active unless that one has taken over.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Channel, Inheritance, Message, PROTOCOL, VARIABLE};
use crate::{
    runtime::systemd,
    server::{Running, shutdown::Stop},
};

/// How long a successor may take to accept connections once it may.
const ACCEPTING: Duration = Duration::from_secs(10);

/// How long a successor is watched before spool and rings are released. A program that dies of its first requests does
/// so by then.
const PROBATION: Duration = Duration::from_secs(1);

/// How long a process may take to end that has closed its end of the pair.
const ENDING: Duration = Duration::from_millis(500);

/// This process's own program, also when the file was replaced or removed since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Why this process is still the active one.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("cannot start {program}: {source}; install the new binary there")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("the new process rejected its start: {0}")]
    Rejected(String),
    #[error("the new process ended before it was {stage} ({status}); see its log")]
    Ended { stage: &'static str, status: String },
    #[error("the new process was not {stage} within {secs} s, and was ended; see its log, or raise --timeout")]
    Late { stage: &'static str, secs: u64 },
    #[error("the new process of another release is not understood: {0}")]
    Protocol(io::Error),
    #[error("this process stops, or is handed over already; ask the one that answers now")]
    Busy,
    #[error(
        "the running process is the first one of its container, which would end with it; start it by an init, such as \
         tini, or replace the container"
    )]
    FirstProcess,
    #[error(
        "the new process failed after it had taken over, and so did one of the former release: {0}; the service ends, \
         so that it is restarted; no click is lost"
    )]
    Lost(Box<Self>),
}

/// What to start, and how long it may take.
pub struct Plan {
    /// The binary; that of this process, as it is on the disk now, if `None`.
    pub program: Option<PathBuf>,
    /// Until it is ready.
    pub timeout: Duration,
}

/// A process that was started to succeed this one. Killed when dropped before it has taken over.
struct Successor {
    child: Child,
    channel: Channel,
    is_kept: bool,
}

/// A process that has taken over.
pub struct TakenOver {
    pub pid: u32,
    /// Why it is one of this release, and not the one that was asked for.
    pub failed: Option<UpgradeError>,
    channel: Channel,
}

/// Starts a successor, and hands the spool over to it. When this returns a process that has taken over, report it, and
/// call its [`hand_over`](TakenOver::hand_over): this process has nothing left but the connections that it has
/// accepted.
///
/// # Errors
/// When the successor failed. This process is active as before.
pub fn upgrade(running: &Running, plan: &Plan, report: &mut dyn FnMut(&str)) -> Result<TakenOver, UpgradeError> {
    let Some(reloader) = running.reloader().filter(|_| !running.is_stopping()) else {
        return Err(UpgradeError::Busy);
    };
    if std::process::id() == 1 {
        return Err(UpgradeError::FirstProcess);
    }
    // What a reload changed from here on would be lost with this process.
    reloader.hold();
    let program = plan.program.as_deref().unwrap_or(&running.program);
    let successor = Successor::start(program, running)
        .and_then(|successor| {
            report(&format!("started process {}", successor.child.id()));
            prepare(successor, running, plan)
        })
        // Wherever it has failed, it has left rings.
        .inspect_err(|_| {
            reloader.release();
            running.resume();
        })?;
    report("the new process accepts connections");
    // From here on the spool is the successor's.
    let Some(pipeline) = running.take_pipeline() else { return Err(UpgradeError::Busy) };
    let account = pipeline.hand_over();
    tracing::info!(
        answered = account.answered,
        pending = account.pending,
        "rings and spool released for the successor"
    );
    match complete(successor, plan) {
        Ok((pid, channel)) => Ok(TakenOver { pid, failed: None, channel }),
        Err(error) => {
            tracing::error!(%error, "the successor failed after it had taken over; starting this release again");
            running.resume();
            let again = Successor::start(Path::new(OWN_PROGRAM), running)
                .and_then(|successor| prepare(successor, running, plan))
                .and_then(|successor| complete(successor, plan));
            match again {
                Ok((pid, channel)) => Ok(TakenOver { pid, failed: Some(error), channel }),
                Err(again) => {
                    running.fail();
                    Err(UpgradeError::Lost(Box::new(again)))
                }
            }
        }
    }
}

impl TakenOver {
    /// Leaves everything to the successor. Returns once this process ends, or when the successor wants it to.
    pub fn hand_over(self, running: &Running) {
        systemd::succeeded_by(self.pid);
        running.hand_over();
        // A successor that has ended leaves this process its time.
        if let Ok(Some(Message::Finish)) = self.channel.receive(None) {
            running.request(Stop::Now);
        }
    }
}

/// Waits until the successor is ready, and lets it accept.
fn prepare(mut successor: Successor, running: &Running, plan: &Plan) -> Result<Successor, UpgradeError> {
    successor.await_message("ready", plan.timeout, |message| matches!(message, Message::Ready { .. }))?;
    running.pause();
    successor.say(&Message::Accept)?;
    successor.await_message("accepting", ACCEPTING, |message| *message == Message::Accepting)?;
    successor.watch()?;
    Ok(successor)
}

/// Releases the spool, and waits until the successor has it.
fn complete(mut successor: Successor, plan: &Plan) -> Result<(u32, Channel), UpgradeError> {
    successor.say(&Message::Released)?;
    successor.await_message("serving", plan.timeout, |message| *message == Message::Serving)?;
    let channel = successor.channel.duplicate().map_err(UpgradeError::Protocol)?;
    successor.is_kept = true;
    Ok((successor.child.id(), channel))
}

impl Successor {
    fn start(program: &Path, running: &Running) -> Result<Self, UpgradeError> {
        let failed = |source| UpgradeError::Start { program: program.display().to_string(), source };
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let mut command = Command::new(program);
        let (rings, spool) = running.folders.clone();
        let links = running.catalog.load().base_len();
        let inheritance = serde_json::to_string(&Inheritance { protocol: PROTOCOL, rings, spool, links });
        let inheritance = inheritance.map_err(|error| failed(error.into()))?;
        command.args(arguments()).env(VARIABLE, inheritance).stdin(Stdio::from(theirs));
        for inherited in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            command.env_remove(inherited);
        }
        let child = command.spawn().map_err(failed)?;
        // Its end of the pair is in the command: an end that only the successor has is closed when it ends.
        drop(command);
        let mut successor = Self { child, channel, is_kept: false };
        let sockets = running.sockets().map_err(failed)?;
        match successor.channel.send_sockets(&sockets) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(successor.ended("ready")),
            sent => sent.map(|()| successor).map_err(UpgradeError::Protocol),
        }
    }

    fn say(&self, message: &Message) -> Result<(), UpgradeError> {
        // One that has ended is noticed when its answer is awaited.
        match self.channel.send(message) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done.map_err(UpgradeError::Protocol),
        }
    }

    fn await_message(
        &mut self,
        stage: &'static str,
        timeout: Duration,
        expected: impl Fn(&Message) -> bool,
    ) -> Result<(), UpgradeError> {
        match self.channel.receive(Some(timeout)) {
            Ok(Some(message)) if expected(&message) => Ok(()),
            Ok(Some(Message::Failed { error })) => Err(UpgradeError::Rejected(error)),
            Ok(Some(message)) => Err(UpgradeError::Protocol(super::unexpected(&message))),
            Ok(None) => Err(self.ended(stage)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(UpgradeError::Late { stage, secs: timeout.as_secs() })
            }
            Err(error) => Err(UpgradeError::Protocol(error)),
        }
    }

    /// Watches it while it accepts and this process could still take over again.
    fn watch(&mut self) -> Result<(), UpgradeError> {
        match self.channel.receive(Some(PROBATION)) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            Err(error) => Err(UpgradeError::Protocol(error)),
            Ok(Some(message)) => Err(UpgradeError::Protocol(super::unexpected(&message))),
            Ok(None) => Err(self.ended("trusted with the spool")),
        }
    }

    /// It has closed its end: it has ended, or must.
    fn ended(&mut self, stage: &'static str) -> UpgradeError {
        let until = Instant::now() + ENDING;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(ENDING / 20);
        }
        _ = self.child.kill();
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        UpgradeError::Ended { stage, status }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.is_kept {
            // It has ended already, or must: two processes with the same rings are one too many.
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}

/// The arguments of this process.
fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// The program of this process, as a successor is started: with the suffix that the kernel appends once the file was
/// replaced, it would not be found.
pub fn program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let name = program.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(" (deleted)"));
    Ok(name.map_or_else(|| program.clone(), |name| program.with_file_name(name)))
}
