//! What an edge of a test is started with.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Edge, fast_lane, free_address, link};

/// The folders of an edge, through all its restarts.
pub(super) struct Folders {
    pub work: TempDir,
    /// The rings: in memory, if this machine has a tmpfs at the usual place.
    pub rings: TempDir,
    /// A program through which the binary is started, with its arguments; empty for none.
    pub through: Vec<String>,
    /// Two listening sockets that it gets as systemd passes them.
    pub sockets: Option<[TcpListener; 2]>,
}

impl Folders {
    fn new() -> Self {
        let work = TempDir::new().unwrap();
        let mut name = tempfile::Builder::new();
        // Rings hold client addresses: a folder that others may enter is rejected.
        name.prefix("clickedge-").permissions(fs::Permissions::from_mode(0o700));
        let rings = name.tempdir_in("/dev/shm").or_else(|_| name.tempdir()).unwrap();
        Self { work, rings, through: Vec::new(), sockets: None }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.work.disable_cleanup(true);
            self.rings.disable_cleanup(true);
            eprintln!("kept: {} and {}", self.work.path().display(), self.rings.path().display());
        }
    }
}

/// What an edge is started with.
pub struct Builder {
    folders: Folders,
    fast_lane: bool,
    links: Vec<Value>,
    feeds: String,
    catalog: String,
    admin: String,
    capture: String,
    spool: String,
    sections: String,
    env: Vec<(String, String)>,
}

impl Builder {
    /// An edge that knows `go.brand.com/spring` and nothing else.
    pub(super) fn new() -> Self {
        let builder = Self {
            folders: Folders::new(),
            fast_lane: fast_lane(),
            links: Vec::new(),
            feeds: String::new(),
            catalog: String::new(),
            admin: String::new(),
            capture: "ring_bytes = 16777216".into(),
            spool: String::new(),
            sections: String::new(),
            env: Vec::new(),
        };
        builder.link(link("go.brand.com", "spring", "https://www.example.com/spring?utm_source=go"))
    }

    /// Sets whether plain requests are answered by the fast lane; [`fast_lane`] if never called.
    pub fn fast_lane(mut self, fast_lane: bool) -> Self {
        self.fast_lane = fast_lane;
        self
    }

    /// Adds a link.
    pub fn link(mut self, link: Value) -> Self {
        self.links.push(link);
        self
    }

    /// Adds a feed into a local folder, `bucket/{name}`, with objects of at most a second.
    pub fn feed(self, name: &str, workspaces: &[&str]) -> Self {
        let path = self.bucket(name);
        self.feed_into(name, workspaces, &format!("sink.dir.path = '{}'", path.display()))
    }

    /// Adds a feed with a sink as it stands in the configuration.
    pub fn feed_into(mut self, name: &str, workspaces: &[&str], sink: &str) -> Self {
        self.feeds += &format!(
            "[[feeds]]\nname = {name:?}\nworkspaces = {workspaces:?}\nmax_age_secs = 1\nhold_back_secs = 0\n{sink}\n"
        );
        self
    }

    /// Sets the lines of the section `[capture]` that follow its folder; `ring_bytes = 16777216` if never called.
    pub fn capture(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.capture);
        self
    }

    /// Adds lines to the section `[catalog]`.
    pub fn catalog(mut self, lines: &str) -> Self {
        self.catalog += &format!("{lines}\n");
        self
    }

    /// Adds lines to the section `[admin]`.
    pub fn admin(mut self, lines: &str) -> Self {
        self.admin += &format!("{lines}\n");
        self
    }

    /// Sets a variable in the environment of the first start.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Starts the binary, each time, through another program that executes its last arguments.
    pub fn through(mut self, words: &[String]) -> Self {
        self.folders.through = words.to_vec();
        self
    }

    /// Passes it two listening sockets, as systemd does: that of its first listener, and another one.
    pub fn sockets(mut self, sockets: [TcpListener; 2]) -> Self {
        self.folders.sockets = Some(sockets);
        self
    }

    /// Adds lines to the section `[spool]`; delivered objects are not kept unless one says so.
    pub fn spool(mut self, lines: &str) -> Self {
        self.spool += lines;
        self
    }

    /// Adds a part of the configuration: whole sections.
    pub fn section(mut self, toml: &str) -> Self {
        self.sections += toml;
        self.sections.push('\n');
        self
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        self.folders.work.path()
    }

    /// The folder of its rings.
    pub fn rings(&self) -> &Path {
        self.folders.rings.path()
    }

    pub fn bucket(&self, feed: &str) -> PathBuf {
        self.dir().join("bucket").join(feed)
    }

    /// Starts the edge and waits until it is ready.
    pub fn start(self) -> Edge {
        let Self { mut folders, fast_lane, links, feeds, catalog, capture, spool, admin: more, sections, env } = self;
        let links: String = links.iter().map(|link| format!("{link}\n")).collect();
        fs::write(folders.work.path().join("links.ndjson"), links).unwrap();
        let retain = if spool.contains("retain_secs") { "" } else { "retain_secs = 0\n" };
        let env: Vec<_> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        for _ in 0..5 {
            let socket = folders.sockets.as_ref().map(|[first, _]| first.local_addr().unwrap());
            let (address, admin) = (socket.unwrap_or_else(free_address), free_address());
            let rings = folders.rings.path().display();
            let config = format!(
                "[edge]\npop = \"test\"\nthreads = 2\nfast_lane = {fast_lane}\n\
                 [[listeners]]\naddress = \"{address}\"\n\
                 [catalog]\nfile = \"links.ndjson\"\n{catalog}[capture]\ndir = \"{rings}\"\n{capture}\n\
                 [spool]\ndir = \"spool\"\n{retain}{spool}\n\
                 [admin]\naddress = \"{admin}\"\n{more}[telemetry]\nlog_level = \"trace\"\n{sections}\n{feeds}"
            );
            fs::write(folders.work.path().join("clickedge.toml"), config).unwrap();
            match Edge::start(folders, address, admin, &env) {
                Ok(edge) => return edge,
                Err(taken) => folders = taken,
            }
        }
        panic!("every free port is taken by another process");
    }
}
