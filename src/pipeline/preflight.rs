//! Preflight: what `serve` and `clickedge check` look at before a start, in the same order and with the same result.
//!
//! After the configuration itself come the operator files ([`super::files`]), then the machine (folders, file systems)
//! and what only shows when the files are read (a feed of a workspace that no link has).

use std::path::Path;

use super::files::{Loaded, OperatorFiles};
use crate::{
    capture::{self, CaptureError},
    config::{
        Config, Diagnostic, Features, Problem, Severity, Sink,
        acme::is_certifiable,
        admin::{MAX_SOCKET, fits},
        diagnostics::locate,
    },
    runtime::{Class, Classified, filesystem},
};

/// What a preflight found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Errors and warnings, each with the key of the configuration that it belongs to.
    pub problems: Vec<Problem>,
    /// The class of the first error.
    pub class: Option<Class>,
}

/// Why an edge does not start: what the preflight found, all of it.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct PreflightError {
    class: Class,
    /// Errors, and warnings between them.
    pub problems: Vec<Problem>,
}

impl Classified for PreflightError {
    fn class(&self) -> Class {
        self.class
    }
}

/// A [`PreflightError`] with the places in the configuration file. Its `Display` is for people and has several lines.
#[derive(Debug, thiserror::Error)]
#[error("{}", blocks(diagnostics))]
pub struct Rejection {
    class: Class,
    diagnostics: Vec<Diagnostic>,
}

impl Classified for Rejection {
    fn class(&self) -> Class {
        self.class
    }
}

impl Rejection {
    /// What is wrong, in the form of `clickedge check`.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    pub(super) fn new(class: Class, diagnostics: Vec<Diagnostic>) -> Self {
        Self { class, diagnostics }
    }
}

/// [`examine`] for a configuration that was read from `file`. Returns the warnings.
///
/// # Errors
/// When there is an error; with it come the warnings.
pub fn examine_file(config: &Config, files: &OperatorFiles, file: &Path) -> Result<Vec<Diagnostic>, Rejection> {
    match examine(config, files).into_result() {
        Ok(warnings) => Ok(locate(warnings, file)),
        Err(PreflightError { class, problems }) => Err(Rejection { class, diagnostics: locate(problems, file) }),
    }
}

/// Reads all operator files into their stores, and looks at the machine.
pub fn examine(config: &Config, files: &OperatorFiles) -> Findings {
    let mut findings = inspect(config, files.load());
    if findings.class.is_none() {
        findings.problems.extend(of_catalog(config, files));
    }
    // Errors first; each kind keeps its order.
    findings.problems.sort_by_key(|problem| problem.severity != Severity::Error);
    findings
}

/// What there is to report about files that were read, and about the machine.
pub(super) fn inspect(config: &Config, loaded: Loaded) -> Findings {
    let mut findings = of_files(loaded);
    features(config, &mut findings);
    rings(config, &mut findings);
    spool(config, &mut findings);
    sinks(config, &mut findings);
    admin_socket(config, &mut findings);
    acme(config, &mut findings);
    findings
}

/// What there is to report about files that were read.
pub(super) fn of_files(loaded: Loaded) -> Findings {
    let mut findings = Findings::default();
    for error in loaded.errors {
        findings.error(error.class(), &error.key, format!("is rejected: {error}"), error.remedy());
    }
    for warning in loaded.warnings {
        let message = format!("names {}: {}", warning.file, warning.warning);
        findings.warning(&warning.key, message, "correct the file, unless this is intended");
    }
    findings
}

/// What this build lacks. A configuration that was read from a file has none of it by now.
fn features(config: &Config, findings: &mut Findings) {
    for Problem { key, message, remedy, .. } in Features::of_this_build().problems(config) {
        findings.error(Class::Config, &key, message, &remedy);
    }
}

/// The path with the folder of the configuration before it, which decides.
fn admin_socket(config: &Config, findings: &mut Findings) {
    let Some(socket) = config.admin.socket.as_deref().filter(|socket| !fits(socket)) else { return };
    let (path, length) = (socket.display(), socket.as_os_str().len());
    findings.error(
        Class::Config,
        "admin.socket",
        format!("is {path} with {length} bytes, and the path of a Unix socket has at most {MAX_SOCKET}"),
        "name a shorter path, such as `/run/clickedge/admin.sock`",
    );
}

fn rings(config: &Config, findings: &mut Findings) {
    let dir = config.capture.dir.as_path();
    if let Err(error) = capture::folder::inspect(dir) {
        // `check` by root on a machine whose service runs as another user. `serve` by root is rejected all the same.
        if matches!(error, CaptureError::Owner { .. }) && rustix::process::geteuid().is_root() {
            let message = format!("cannot be checked by root: {error}");
            return findings.warning("capture.dir", message, "run the check as the user of the service");
        }
        findings.error(
            error.class(),
            "capture.dir",
            format!("is rejected: {error}"),
            "name a private folder on a tmpfs, such as one below /run or /dev/shm",
        );
        return;
    }
    let exists = filesystem::existing_ancestor(dir);
    match filesystem::capacity_bytes(exists) {
        Ok(capacity) if capacity > 0 && config.capture.ring_bytes > capacity => findings.error(
            Class::Config,
            "capture.ring_bytes",
            format!(
                "is {}, more than the file system of {} has ({capacity})",
                config.capture.ring_bytes,
                dir.display()
            ),
            "lower it, or give the tmpfs a larger size",
        ),
        _ => {}
    }
}

fn spool(config: &Config, findings: &mut Findings) {
    let dir = config.spool.dir.as_path();
    if dir.exists() && !dir.is_dir() {
        findings.not_a_folder("spool.dir", dir);
        return;
    }
    let exists = filesystem::existing_ancestor(dir);
    if filesystem::is_in_memory(exists).unwrap_or(false) {
        findings.warning(
            "spool.dir",
            format!("names {}, which is in memory: events are lost when the machine restarts", dir.display()),
            "name a folder on a disk",
        );
    } else if let Ok(capacity) = filesystem::capacity_bytes(exists)
        && config.spool.max_bytes > capacity
    {
        findings.warning(
            "spool.max_bytes",
            format!("is {}, more than the disk of {} has ({capacity})", config.spool.max_bytes, dir.display()),
            "lower it, so that the quota is reached before the disk is full",
        );
    }
    for (i, feed) in config.feeds.iter().enumerate() {
        if let Sink::Dir(sink) = &feed.sink
            && dir.starts_with(&sink.path)
        {
            findings.warning(
                "spool.dir",
                format!("is inside of the folder of feed {:?} (`feeds[{i}].sink.dir.path`)", feed.name),
                "give each a folder of its own",
            );
        }
    }
}

fn sinks(config: &Config, findings: &mut Findings) {
    for (i, feed) in config.feeds.iter().enumerate() {
        if let Sink::Dir(sink) = &feed.sink
            && sink.path.exists()
            && !sink.path.is_dir()
        {
            findings.not_a_folder(&format!("feeds[{i}].sink.dir.path"), &sink.path);
        }
    }
}

/// Certificates that the edge obtains by itself: the folder, and what the CA is verified by.
#[cfg(feature = "acme")]
fn acme(config: &Config, findings: &mut Findings) {
    if let Some(acme) = &config.acme
        && let Err((key, error)) = crate::tls::acme::examine(acme)
    {
        findings.error(error.class(), key, format!("is rejected: {error}"), "correct the path");
    }
}

#[cfg(not(feature = "acme"))]
fn acme(_: &Config, _: &mut Findings) {}

/// What does not fit to the catalog. Call it when the catalog of this configuration is the current one.
pub(super) fn of_catalog(config: &Config, files: &OperatorFiles) -> Vec<Problem> {
    let mut findings = Findings::default();
    workspaces(config, files, &mut findings);
    names_of_acme(config, files, &mut findings);
    findings.problems
}

/// Names that get no certificate.
fn names_of_acme(config: &Config, files: &OperatorFiles, findings: &mut Findings) {
    let Some(acme) = config.acme.as_ref().filter(|acme| acme.catalog) else { return };
    let catalog = files.catalog().load();
    let (mut fit, mut unfit) = (0, Vec::new());
    for host in catalog.hosts().filter(|host| !acme.excludes(host)) {
        if is_certifiable(host) { fit += 1 } else { unfit.push(host) }
    }
    if let Some(first) = unfit.first() {
        findings.warning(
            "acme.catalog",
            format!("gives no certificate to {} domains of the catalog, such as {first:?}", unfit.len()),
            "add them to `acme.exclude`: no certificate authority accepts such names",
        );
    } else if fit == 0 && catalog.domains() > 0 && acme.domains.is_empty() {
        findings.warning(
            "acme.exclude",
            "excludes all domains of the catalog, so that no certificate is obtained".into(),
            "correct it, or name other domains in `acme.domains`",
        );
    }
}

/// Feeds of workspaces that no link has: they would stay empty.
fn workspaces(config: &Config, files: &OperatorFiles, findings: &mut Findings) {
    let catalog = files.catalog().load();
    if catalog.links() == 0 {
        return;
    }
    for (i, feed) in config.feeds.iter().enumerate() {
        for (j, workspace) in feed.workspaces.iter().enumerate() {
            if workspace != "*" && !catalog.has_workspace(workspace) {
                findings.warning(
                    &format!("feeds[{i}].workspaces[{j}]"),
                    format!("names workspace {workspace:?}, which has no links in the catalog"),
                    "correct the id, or check the export of the catalog",
                );
            }
        }
    }
}

fn blocks(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

fn lines(problems: &[Problem]) -> String {
    let line = |problem: &Problem| format!("`{}` {}; {}", problem.key, problem.message, problem.remedy);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Findings {
    /// The warnings, or all problems as an error if there is one.
    ///
    /// # Errors
    /// When one of the problems is an error.
    pub fn into_result(self) -> Result<Vec<Problem>, PreflightError> {
        match self.class {
            Some(class) => Err(PreflightError { class, problems: self.problems }),
            None => Ok(self.problems),
        }
    }

    pub(super) fn error(&mut self, class: Class, key: &str, message: String, remedy: &str) {
        self.class.get_or_insert(class);
        self.push(Severity::Error, key, message, remedy);
    }

    fn warning(&mut self, key: &str, message: String, remedy: &str) {
        self.push(Severity::Warning, key, message, remedy);
    }

    fn not_a_folder(&mut self, key: &str, path: &Path) {
        self.error(Class::Config, key, format!("names {}, which is not a folder", path.display()), "name a folder");
    }

    fn push(&mut self, severity: Severity, key: &str, message: String, remedy: &str) {
        self.problems.push(Problem { severity, key: key.into(), message, remedy: remedy.into() });
    }
}
