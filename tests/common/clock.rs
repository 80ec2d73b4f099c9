//! A clock that a test sets: the time of day of its edges is off by what a file says. Only the time of day jumps: no
//! system lets the monotonic clock do so.
//!
//! `libfaketime` (Debian's package `faketime`) does it.

use std::{cell::RefCell, fs, path::Path};

use super::{Builder, Edge, Stopped};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

pub struct Clock {
    library: &'static str,
    file: String,
    /// The processes that have used it.
    pids: RefCell<Vec<u32>>,
}

impl Clock {
    /// A clock that is right, in a file in `dir`; `None`, and a line that says so, where the library is missing.
    pub fn new(dir: &Path) -> Option<Self> {
        let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
            eprintln!("skipped: libfaketime is not installed (apt-get install faketime)");
            return None;
        };
        let file = dir.join("clock").to_str().unwrap().to_owned();
        let clock = Self { library, file, pids: RefCell::default() };
        clock.set(0);
        Some(clock)
    }

    /// Sets it off by these seconds. A running edge notices within a second.
    pub fn set(&self, seconds: i64) {
        fs::write(&self.file, format!("{seconds:+}")).unwrap();
    }

    /// Sets it, and waits until the edge has noticed.
    pub fn set_under(&self, edge: &Edge, seconds: i64) {
        self.set(seconds);
        edge.wait_until("its clock is set", |edge| {
            let date =
                edge.get("nowhere.example", "/").header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
            let off = date.map(|date| date.timestamp().as_second() - jiff::Timestamp::now().as_second());
            off.is_some_and(|off| (off - seconds).abs() < 60)
        });
    }

    /// Starts an edge that has this clock.
    pub fn start(&self, builder: Builder) -> Edge {
        self.noted(self.env().iter().fold(builder, |builder, (key, value)| builder.env(key, value)).start())
    }

    /// Starts an edge again, with this clock.
    pub fn restart(&self, stopped: Stopped) -> Edge {
        self.noted(stopped.restart_with(&self.env()))
    }

    fn noted(&self, edge: Edge) -> Edge {
        self.pids.borrow_mut().push(edge.pid());
        edge
    }

    fn env(&self) -> [(&'static str, &str); 5] {
        [
            ("LD_PRELOAD", self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

impl Drop for Clock {
    /// What the library shares between processes outlives one that is killed.
    fn drop(&mut self) {
        for pid in self.pids.take() {
            for name in ["faketime_shm_", "sem.faketime_sem_"] {
                let _ = fs::remove_file(format!("/dev/shm/{name}{pid}"));
            }
        }
    }
}
