//! What is known of a machine, and of the service on it. Plain data: the checks are tested with made-up machines.

use std::path::PathBuf;

/// What is known of a machine. What is `None` is unknown, unless its field says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Kernel settings of the network.
    pub network: Network,
    /// Network interfaces of hardware, by name.
    pub interfaces: Vec<Interface>,
    /// Processors and memory.
    pub machine: Machine,
    /// Whether this user may not see if an edge runs.
    pub is_edge_hidden: bool,
    /// Limits of the service.
    pub limits: Limits,
    /// The systemd unit of the service, if there is one.
    pub unit: Option<Unit>,
    /// Where the rings are, or would be.
    pub rings: Option<Folder>,
    /// Where the spool is, or would be.
    pub spool: Option<Folder>,
    /// Duration of syncs in the folder of the spool, or why none was made.
    pub syncs: Option<Result<Syncs, String>>,
    /// Whether the clock is synchronised.
    pub clock: Clock,
    /// Databases of the configuration: key and age in days.
    pub databases: Vec<(&'static str, u64)>,
    /// Bytes of the catalog's file, and whether it is a snapshot.
    pub catalog: Option<(u64, bool)>,
}

/// Kernel settings of the network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub syn_backlog: Option<u64>,
    /// `net.ipv4.tcp_syncookies`.
    pub syn_cookies: Option<u64>,
    /// `net.ipv4.tcp_abort_on_overflow`.
    pub abort_on_overflow: Option<u64>,
    /// `net.netfilter.nf_conntrack_max`; `None` without connection tracking.
    pub conntrack_max: Option<u64>,
}

/// A network interface of hardware.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    /// Receive queues.
    pub queues: usize,
    /// Whether packets of any queue are steered to other processors (RPS).
    pub steers: bool,
}

/// Processors and memory.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Processors that this process may use.
    pub processors: usize,
    /// The processor time of the control group, in processors. `None` without a limit.
    pub quota: Option<f64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes that the control group of the service may use. `None` without a limit.
    pub memory_limit: Option<u64>,
    /// Bytes of swap on disks. Compressed swap in memory (zram) does not count.
    pub swap: Option<u64>,
    /// Current value of `transparent_hugepage/enabled`: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// Whether the kernel writes all memory to a disk when it crashes (kdump).
    pub crash_kernel: bool,
}

/// Whose limits are known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Subject {
    /// The edge that runs now.
    Edge(u32),
    /// An edge that systemd starts.
    Unit,
    /// An edge that is started from this shell.
    #[default]
    Shell,
}

/// A limit of a resource.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Limit {
    #[default]
    Unknown,
    Unlimited,
    At(u64),
}

impl Limit {
    /// Whether it is known to be less than `wanted`.
    pub fn is_below(self, wanted: u64) -> bool {
        matches!(self, Self::At(limit) if limit < wanted)
    }
}

/// Limits of the service.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub subject: Subject,
    /// The hard limit of open files: the edge raises the soft one.
    pub open_files: Limit,
    /// Bytes of memory that may be locked. Unlimited with the capability `CAP_IPC_LOCK`.
    pub locked_memory: Limit,
    /// Bytes of a core dump, the soft limit.
    pub core: Limit,
}

/// A systemd unit, with its drop-ins.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    pub file: PathBuf,
    /// Keys and values of `[Service]`, the last value of each.
    pub service: std::collections::BTreeMap<String, String>,
}

impl Unit {
    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.service.get(key).map(String::as_str)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        matches!(self.value(key), Some("yes" | "true" | "on" | "1"))
    }
}

/// A folder, or the closest one above it that exists, and its file system.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    pub path: PathBuf,
    /// Type of the file system, such as `ext4`.
    pub kind: String,
    /// Mount options, those of the file system included.
    pub options: Vec<String>,
    /// Bytes of the file system.
    pub size: u64,
    /// Bytes that this user may still use.
    pub free: u64,
    /// Bytes that the folder's files use already.
    pub used: u64,
}

impl Folder {
    /// Whether it is mounted with an option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }

    /// Whether it is in memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }
}

/// Duration of syncs, in microseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Syncs {
    pub count: usize,
    pub median: u64,
    pub longest: u64,
}

/// Whether the clock is synchronised.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Clock {
    #[default]
    Unknown,
    /// According to this program.
    Synchronised(&'static str),
    /// According to this program.
    Drifting(&'static str),
}
