//! The test harness: the real binary on free ports, in a folder of its own. The folder of a test that fails is kept,
//! and its path printed.
//!
//! ```ignore
//! let edge = Edge::builder().feed("all", &["*"]).start();
//! let answer = edge.get("go.brand.com", "/spring");
//! assert_eq!(answer.status, 302);
//! let events = edge.stop().events("all");
//! ```

pub mod browser;
mod builder;
pub mod cli;
pub mod clicks;
pub mod clock;
pub mod contract;
pub mod damage;
pub mod disk;
pub mod feed;
pub mod http;
pub mod judge;
pub mod load;
pub mod nats;
pub mod pebble;
mod process;
pub mod s3;
pub mod tls;
pub mod webhook;

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub use builder::Builder;
use builder::Folders;
pub use http::{Answer, connect, exchange};
use process::{Process, has_ended};

/// The limit for what should take a moment.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The seed of hostile requests, a new one for each run; `HOSTILE_SEED` repeats a run. A test that fails shows it.
pub fn hostile_seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        std::env::var("HOSTILE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap())
    });
    println!("HOSTILE_SEED={}", *SEED);
    *SEED
}

/// Whether edges answer plain requests by the fast lane; `FAST_LANE=false` runs the same tests without it.
pub fn fast_lane() -> bool {
    std::env::var("FAST_LANE").map_or(true, |value| value.parse().expect("FAST_LANE is true or false"))
}

/// A link of the test catalog, with everything that an event shows of it.
pub fn link(domain: &str, slashtag: &str, destination: &str) -> Value {
    json!({
        "id": format!("id-{slashtag}"),
        "slashtag": slashtag,
        "destination": destination,
        "createdAt": "2026-03-01T09:30:00.000Z",
        "domain": {"id": "d-1", "fullName": domain},
        "creator": {"id": "u-1", "fullName": "Ana Lima"},
        "workspace": {"id": "w-1", "name": "Marketing"},
        "tags": [{"id": "t-1", "name": "Print"}],
        "scripts": [{"id": "s-1", "name": "Pixel"}],
        "forwardParameters": true,
    })
}

/// A running edge. Killed when dropped.
pub struct Edge {
    process: Process,
    /// Its predecessors, which may still run.
    former: Vec<Process>,
    folders: Folders,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

/// An edge that has stopped: what it left behind.
pub struct Stopped {
    folders: Folders,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub status: ExitStatus,
}

impl Edge {
    /// An edge that knows `go.brand.com/spring` and nothing else.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Returns the folders when another process took a port in the meantime.
    fn start(
        folders: Folders,
        address: SocketAddr,
        admin: SocketAddr,
        env: &[(&str, &str)],
    ) -> Result<Self, Folders> {
        let mut edge = Self::spawn(folders, address, admin, env);
        if edge.is_ready() {
            return Ok(edge);
        }
        let log = edge.log();
        let stopped = edge.wait();
        assert_eq!(stopped.status.code(), Some(69), "the edge did not start\n{log}");
        Err(stopped.folders)
    }

    fn spawn(folders: Folders, address: SocketAddr, admin: SocketAddr, env: &[(&str, &str)]) -> Self {
        let dir = folders.work.path();
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
        let binary = env!("CARGO_BIN_EXE_clickedge");
        let (stdin, stdout, through) = match &folders.sockets {
            // LISTEN_PID is that of the process, so it sets it itself.
            Some([first, second]) => {
                let passes = "exec 3<&0 4>&1 0</dev/null 1>&2; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";
                let socket = |socket: &TcpListener| Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
                (socket(first), socket(second), vec!["sh", "-c", passes, "sh"])
            }
            None => (Stdio::null(), Stdio::from(log.try_clone().unwrap()), Vec::new()),
        };
        let mut words = through.into_iter().chain(folders.through.iter().map(String::as_str)).chain([binary]);
        let process = Command::new(words.next().unwrap())
            .args(words)
            .args(["serve", "--config"])
            .arg(dir.join("clickedge.toml"))
            .env("RUST_BACKTRACE", "1")
            .envs(env.iter().copied())
            .stderr(log)
            .stdout(stdout)
            .stdin(stdin)
            .spawn()
            .unwrap();
        Self { process: Process::Child(process), former: Vec::new(), folders, address, admin }
    }

    /// Waits until it is ready, or has ended before.
    pub fn is_ready(&mut self) -> bool {
        let until = Instant::now() + TIMEOUT;
        while self.try_admin("/readyz").is_none_or(|answer| answer.status != 200) {
            if self.has_ended() {
                return false;
            }
            assert!(Instant::now() < until, "the edge is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Whether the process has ended, for whatever reason.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// `GET` with a browser's headers.
    pub fn get(&self, host: &str, target: &str) -> Answer {
        self.request("GET", host, target, &[])
    }

    /// A request with a browser's headers and these.
    pub fn request(&self, method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.request_from(None, method, host, target, headers)
    }

    /// A request from a given source address (any 127.x.y.z).
    pub fn request_from(
        &self,
        source: Option<IpAddr>,
        method: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        let browser = [("User-Agent", CHROME), ("Accept-Language", "en-GB,en;q=0.9"), ("Accept", "text/html")];
        let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        for (name, value) in browser.iter().filter(|(name, _)| !given(name)).chain(headers) {
            text += &format!("{name}: {value}\r\n");
        }
        self.raw_from(source, format!("{text}\r\n").as_bytes()).expect("an answer")
    }

    /// Sends bytes as they are and reads until the connection closes. `None` when nothing came back.
    pub fn raw(&self, bytes: &[u8]) -> Option<Answer> {
        self.raw_from(None, bytes)
    }

    pub fn raw_from(&self, source: Option<IpAddr>, bytes: &[u8]) -> Option<Answer> {
        exchange(connect(source, self.address).ok()?, bytes)
    }

    /// `GET` on the admin listener, through its Unix socket, which needs no token, once that is there.
    pub fn admin(&self, path: &str) -> Answer {
        self.try_admin(path).expect("an answer from the admin listener")
    }

    fn try_admin(&self, path: &str) -> Option<Answer> {
        if let Some(answer) = self.try_local("GET", path) {
            return Some(answer);
        }
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        exchange(connect(None, self.admin).ok()?, request.as_bytes())
    }

    /// A request without a body through the Unix socket of the admin listener, which needs no token.
    pub fn local(&self, method: &str, path: &str) -> Answer {
        self.try_local(method, path).expect("an answer from the admin socket")
    }

    fn try_local(&self, method: &str, path: &str) -> Option<Answer> {
        let socket = UnixStream::connect(self.rings().join("admin.sock")).ok()?;
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        exchange(socket, request.as_bytes())
    }

    /// The value of a counter or gauge, by its full name with labels; 0 when it is not there.
    pub fn metric(&self, name: &str) -> i64 {
        let text = self.admin("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// The sum of a counter over all its labels.
    pub fn sum(&self, name: &str) -> i64 {
        let text = self.admin("/metrics").body;
        let of = |line: &str| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?.1.parse::<i64>().ok();
        text.lines().filter_map(of).sum()
    }

    /// Waits until `condition` holds.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = Instant::now() + TIMEOUT;
        while !condition(self) {
            assert!(Instant::now() < until, "still not: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn dir(&self) -> &Path {
        self.folders.work.path()
    }

    /// The folder of its rings.
    pub fn rings(&self) -> &Path {
        self.folders.rings.path()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Writes a line of the test into its log.
    pub fn note(&self, line: &str) {
        let mut log = fs::OpenOptions::new().append(true).open(self.dir().join("log")).unwrap();
        writeln!(log, "--- {line}").unwrap();
    }

    /// Replaces the catalog.
    pub fn write_links(&self, links: &[Value]) {
        let text: String = links.iter().map(|link| format!("{link}\n")).collect();
        fs::write(self.dir().join("links.ndjson"), text).unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([format!("-{signal}"), self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Stops it for good, with SIGQUIT, and waits: everything is delivered, if its sink accepts it in time.
    pub fn stop(self) -> Stopped {
        self.signal("QUIT");
        self.wait()
    }

    /// Stops it for the next start, with SIGTERM, and waits.
    pub fn terminate(self) -> Stopped {
        self.signal("TERM");
        self.wait()
    }

    /// Runs `clickedge upgrade` with these arguments. When it succeeds, the successor is this edge from now on, and its
    /// predecessor may still answer what it has accepted.
    pub fn upgrade(&mut self, arguments: &[&str]) -> Output {
        let config = self.dir().join("clickedge.toml");
        let output = Command::new(env!("CARGO_BIN_EXE_clickedge"))
            .args(["upgrade", "--config"])
            .arg(config)
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            let pid =
                text.lines().find_map(|line| line.strip_prefix("ok: process ")?.split(' ').next()?.parse().ok());
            self.former.push(std::mem::replace(&mut self.process, Process::Successor(pid.expect("its process id"))));
        }
        output
    }

    /// The process that answers now is this edge from now on, although the upgrade was reported as failed: it is the
    /// only one that has not ended and is no predecessor.
    pub fn adopt(&mut self) {
        let config = self.dir().join("clickedge.toml").display().to_string();
        let found = Command::new("pgrep").args(["-f", &format!("serve --config {config}")]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        let mut pids = found.lines().filter_map(|pid| pid.parse().ok());
        let new = pids.rfind(|pid| *pid != self.pid() && !has_ended(*pid)).expect("a successor");
        self.former.push(std::mem::replace(&mut self.process, Process::Successor(new)));
    }

    /// Waits until all predecessors have ended.
    pub fn await_predecessors(&mut self) {
        let until = Instant::now() + TIMEOUT;
        while let Some(process) = self.former.last_mut() {
            match process.ended() {
                Some(status) => {
                    assert!(status.success(), "a predecessor ended with {status}\n{}", self.log());
                    self.former.pop();
                }
                None => assert!(Instant::now() < until, "a predecessor does not end\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it with SIGKILL and waits.
    pub fn kill(self) -> Stopped {
        self.signal("KILL");
        self.wait()
    }

    /// Waits until it has ended, for whatever reason.
    pub fn wait(mut self) -> Stopped {
        let until = Instant::now() + TIMEOUT;
        let status = loop {
            if let Some(status) = self.process.ended() {
                break status;
            }
            assert!(Instant::now() < until, "the edge does not stop\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        Stopped { folders: self.folders, address: self.address, admin: self.admin, status }
    }
}

impl Stopped {
    pub fn dir(&self) -> &Path {
        self.folders.work.path()
    }

    /// The folder of its rings.
    pub fn rings(&self) -> &Path {
        self.folders.rings.path()
    }

    /// Starts it again, in the same folders.
    pub fn restart(self) -> Edge {
        self.restart_with(&[])
    }

    /// Starts it again, in the same folders, with these variables in its environment.
    pub fn restart_with(self, env: &[(&str, &str)]) -> Edge {
        let started = Edge::start(self.folders, self.address, self.admin, env);
        started.unwrap_or_else(|folders| {
            let log = fs::read_to_string(folders.work.path().join("log")).unwrap_or_default();
            panic!("its ports, or its folders, are in use\n{log}")
        })
    }

    /// Starts it again and does not wait: it may die before it is ready.
    pub fn spawn(self, env: &[(&str, &str)]) -> Edge {
        Edge::spawn(self.folders, self.address, self.admin, env)
    }

    /// Changes the configuration for the next start.
    pub fn reconfigure(&self, change: impl FnOnce(&str) -> String) {
        let path = self.dir().join("clickedge.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(path, change(&config)).unwrap();
    }

    /// The events in a local feed's folder, in the order of their objects.
    pub fn events(&self, feed: &str) -> Vec<Value> {
        events_below(&self.dir().join("bucket").join(feed))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }
}

/// A current browser's agent string.
pub const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

/// An address on this machine without a listener. Its port is outside the range of outgoing connections, so that an
/// edge can bind it again at its restart.
pub fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(10_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Every event in the gzipped objects below a folder, in the order of the objects' names.
pub fn events_below(dir: &Path) -> Vec<Value> {
    let mut objects = objects_below(dir);
    objects.sort();
    objects.iter().flat_map(|path| events_of(&fs::read(path).unwrap())).collect()
}

/// The gzipped objects below a folder.
pub fn objects_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                objects_below(&path)
            } else if path.extension().is_some_and(|extension| extension == "gz") {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}

/// The events of one object.
pub fn events_of(object: &[u8]) -> Vec<Value> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(object).read_to_string(&mut text).expect("whole gzip");
    assert!(text.ends_with('\n'), "an object ends with a whole line");
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON event a line")).collect()
}
