//! What the process hands to the kernel, by `strace`: the bytes of every write, the names of files, and what is mapped.
//!
//! It sees what no folder shows afterwards: a file that was deleted again, a message to another program. Two ways
//! around it are closed, as they must not be used at all: calls that move bytes which the trace does not show
//! ([`BLIND`]), and shared memory outside the folder of the rings. The rings are exempt: they are memory, and wiped.
//!
//! Needs `strace` and a system that lets a parent trace its child; without, [`Tracer::new`] says why.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::search::Evidence;
use crate::common::TIMEOUT;

/// Calls that hand bytes to the kernel.
const WRITES: [&str; 8] = ["write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg"];

/// Calls with names of files, threads and programs.
const NAMES: [&str; 17] = [
    "open",
    "openat",
    "openat2",
    "creat",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "prctl",
    "execve",
];

/// Calls that move bytes unseen.
const BLIND: [&str; 10] = [
    "sendfile",
    "splice",
    "vmsplice",
    "tee",
    "copy_file_range",
    "io_uring_setup",
    "io_submit",
    "process_vm_writev",
    "memfd_create",
    "setxattr",
];

/// More than is ever written at once.
const LONGEST: usize = 16 << 20;

/// Starts processes under `strace`.
pub struct Tracer(TempDir);

impl Tracer {
    /// # Errors
    /// Why nothing can be traced here.
    pub fn new() -> Result<Self, String> {
        let tried = Command::new("strace").args(["-D", "-f", "-e", "trace=none", "true"]).output();
        match tried {
            Ok(output) if output.status.success() => Ok(Self(TempDir::new().unwrap())),
            Ok(output) => Err(format!("strace: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("strace: {error} (apt-get install strace)")),
        }
    }

    /// What a command must be preceded by. The traced process keeps the place of the one that was started.
    pub fn command(&self) -> Vec<String> {
        let calls: Vec<_> = WRITES.iter().chain(&NAMES).chain(&BLIND).chain(&["mmap"]).collect();
        // A question mark: some machines have no such call.
        let calls = calls.iter().map(|call| format!("?{call}")).collect::<Vec<_>>().join(",");
        let longest = LONGEST.to_string();
        let file = self.file().display().to_string();
        let words = ["strace", "-D", "-f", "-A", "--seccomp-bpf", "-yy", "-xx", "-s", &longest, "-o", &file, "-e"];
        words.map(String::from).into_iter().chain([format!("trace={calls}")]).collect()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("trace")
    }

    /// What was traced of the processes with these ids, after their end.
    pub fn read(&self, processes: &[u32]) -> Trace {
        let until = Instant::now() + TIMEOUT;
        loop {
            let text = fs::read_to_string(self.file()).unwrap_or_default();
            let ended = |process: &u32| text.lines().any(|line| is_end(line, *process));
            if processes.iter().all(ended) {
                return Trace::parse(&text);
            }
            assert!(Instant::now() < until, "the trace of {processes:?} does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// `4711 +++ exited with 0 +++`
fn is_end(line: &str, process: u32) -> bool {
    line.split_once(' ').is_some_and(|(id, rest)| id.parse() == Ok(process) && rest.trim_start().starts_with("+++ "))
}

/// What processes handed to the kernel.
#[derive(Default)]
pub struct Trace {
    /// Bytes written, one call behind the other, by what they were written to.
    written: BTreeMap<String, Vec<u8>>,
    /// Names and other texts.
    named: Vec<u8>,
    /// Files that are mapped shared and writable.
    mapped: BTreeSet<String>,
    /// Calls that move bytes unseen.
    blind: BTreeSet<String>,
    calls: usize,
}

impl Trace {
    fn parse(text: &str) -> Self {
        let mut trace = Self::default();
        for line in text.lines() {
            let line = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
            // The rest of an interrupted call says nothing new.
            let Some((call, arguments)) = line.split_once('(').filter(|_| !line.starts_with(['<', '+', '-'])) else {
                continue;
            };
            trace.calls += 1;
            let file = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(file, _)| file);
            let file = || String::from_utf8_lossy(&decode(file.unwrap_or("?"))).into_owned();
            if WRITES.contains(&call) {
                assert!(!arguments.contains("\"..."), "a write is longer than the trace shows: {line:.200}");
                let written = trace.written.entry(file()).or_default();
                texts(arguments).for_each(|text| written.extend(text));
            } else if NAMES.contains(&call) {
                for text in texts(arguments) {
                    trace.named.extend(text);
                    trace.named.push(b'\n');
                }
            } else if BLIND.contains(&call) {
                trace.blind.insert(call.into());
            } else if arguments.contains("PROT_WRITE") && arguments.contains("MAP_SHARED") {
                trace.mapped.insert(file());
            }
        }
        trace
    }

    /// Adds everything that was written. Sockets to one of `noisy` carry compressed or encrypted bytes; requests
    /// for the host `upstream` name the client in the headers for that.
    pub fn add_to(self, evidence: &mut Evidence, noisy: &[SocketAddr], upstream: &str) {
        let upstream = format!("\r\nHost: {upstream}\r\n").into_bytes();
        evidence.add("names in system calls", self.named);
        for (file, bytes) in self.written {
            if noisy.iter().any(|address| file.contains(&address.to_string())) {
                evidence.add_noise(format!("writes to {file}"), bytes);
            } else if memchr::memmem::find(&bytes, &upstream).is_some() {
                evidence.add(format!("writes to {file}"), without_naming(&bytes).0);
            } else {
                evidence.add(format!("writes to {file}"), bytes);
            }
        }
    }

    /// Nothing is written outside the searched folders: files are below `dirs`, shared memory below `rings`.
    pub fn assert_all_is_seen(&self, dirs: &[&Path], rings: &Path) {
        assert!(self.calls > 1_000, "a trace of {} calls", self.calls);
        assert!(self.blind.is_empty(), "bytes may be moved unseen by {:?}", self.blind);
        let below = |file: &str, dirs: &[&Path]| dirs.iter().any(|dir| Path::new(file).starts_with(dir));
        for file in self.written.keys().filter(|file| file.starts_with('/')) {
            assert!(below(file, dirs) || below(file, &[rings]), "a write to {file}");
        }
        for file in &self.mapped {
            // The store of counts keeps numbers of pages in there, and nothing of what is on them. After a kill it is
            // searched with the spool.
            let index = file.ends_with("/stats.sqlite-shm") && below(file, dirs);
            assert!(index || below(file, &[rings]), "{file} is mapped, and written without a call");
        }
        assert!(!self.mapped.is_empty(), "the rings are mapped");
    }
}

/// The texts in a line of the trace: all in hex, so that none holds a quotation mark.
fn texts(arguments: &str) -> impl Iterator<Item = Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(decode)
}

/// `\x41\x42`; other text as it is.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.strip_prefix("\\x").map(|hex| hex.split("\\x").map(|byte| u8::from_str_radix(byte, 16)));
    let bytes = bytes.map(Iterator::collect::<Result<Vec<u8>, _>>);
    bytes.and_then(Result::ok).unwrap_or_else(|| text.as_bytes().to_vec())
}

/// What an upstream heard, without the lines that name the client, and how many those are.
pub fn without_naming(heard: &[u8]) -> (Vec<u8>, usize) {
    let is_naming = |line: &&[u8]| line.starts_with(b"X-Forwarded-For: ") || line.starts_with(b"Forwarded: ");
    let (naming, rest): (Vec<_>, Vec<_>) = heard.split(|&byte| byte == b'\n').partition(is_naming);
    (rest.join(&b'\n'), naming.len())
}
