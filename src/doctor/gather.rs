//! Reads the machine: `/proc`, `/sys`, the unit, the folders of the configuration, a few syncs. What cannot be read is
//! unknown.

mod clock;
pub(super) mod parse;
mod syncs;

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::facts::{Facts, Folder, Interface, Limit, Limits, Machine, Network, Subject, Unit};
use crate::{
    catalog::snapshot::file::is_snapshot,
    config::Config,
    runtime::{clock as wall, filesystem::existing_ancestor},
    server::control,
    spool::disk::{Disk, RealDisk},
};

/// Name of the unit.
const UNIT: &str = "clickedge.service";

/// Folders of units, the first one that has it wins.
const UNITS: [&str; 4] = ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// Limits of a unit that says nothing, as systemd-system.conf(5) has them.
const DEFAULT_FILES: u64 = 524_288;
const DEFAULT_LOCKED: u64 = 8 << 20;

/// Reads this machine. The folder of the spool gets a small file for a moment, without a name.
pub fn gather(config: &Config) -> Facts {
    let machine = Root(PathBuf::from("/"));
    let edge = control::process(&config.capture.dir);
    let mounts = machine.text("proc/self/mountinfo").unwrap_or_default();
    let unit = machine.unit();
    let databases = [("enrich.geoip_file", &config.enrich.geoip_file), ("enrich.asn_file", &config.enrich.asn_file)];
    Facts {
        network: machine.network(),
        interfaces: machine.interfaces(),
        machine: machine.machine(edge, unit.as_ref()),
        is_edge_hidden: control::is_hidden(&config.capture.dir),
        limits: machine.limits(edge, unit.as_ref()),
        unit,
        rings: folder(&config.capture.dir, &mounts),
        spool: folder(&config.spool.dir, &mounts),
        syncs: Some(syncs::measure(existing_ancestor(&config.spool.dir))),
        clock: clock::state(),
        databases: databases.into_iter().filter_map(|(key, file)| Some((key, age(file.as_deref()?)?))).collect(),
        catalog: catalog(&config.catalog.file),
    }
}

/// The files of a machine, below a folder that a test can make.
struct Root(PathBuf);

impl Root {
    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok()
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    /// Names in a folder, sorted.
    fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn network(&self) -> Network {
        Network {
            somaxconn: self.number("proc/sys/net/core/somaxconn"),
            syn_backlog: self.number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
            syn_cookies: self.number("proc/sys/net/ipv4/tcp_syncookies"),
            abort_on_overflow: self.number("proc/sys/net/ipv4/tcp_abort_on_overflow"),
            conntrack_max: self.number("proc/sys/net/netfilter/nf_conntrack_max"),
        }
    }

    fn interfaces(&self) -> Vec<Interface> {
        const FOLDER: &str = "sys/class/net";
        let is_hardware = |name: &String| self.0.join(FOLDER).join(name).join("device").exists();
        let interface = |name: String| {
            let queues: Vec<_> = self.names(format!("{FOLDER}/{name}/queues"));
            let receive: Vec<_> = queues.iter().filter(|queue| queue.starts_with("rx-")).collect();
            let masks =
                receive.iter().filter_map(|queue| self.text(format!("{FOLDER}/{name}/queues/{queue}/rps_cpus")));
            let steers = masks.into_iter().any(|mask| mask.chars().any(|c| c.is_ascii_hexdigit() && c != '0'));
            Interface { queues: receive.len().max(1), steers, name }
        };
        self.names(FOLDER).into_iter().filter(is_hardware).map(interface).collect()
    }

    fn machine(&self, edge: Option<u32>, unit: Option<&Unit>) -> Machine {
        let process = edge.map_or("self".to_owned(), |pid| pid.to_string());
        let groups = self.text(format!("proc/{process}/cgroup")).unwrap_or_default();
        let of_unit = unit.filter(|_| edge.is_none()).and_then(|unit| parse::size(unit.value("MemoryMax")?));
        let status = self.text("proc/self/status").unwrap_or_default();
        let processors = parse::field(&status, "Cpus_allowed_list:").map_or(0, parse::count_of_ranges);
        Machine {
            processors: if processors > 0 {
                processors
            } else {
                std::thread::available_parallelism().map_or(1, usize::from)
            },
            quota: self.quota(&groups),
            memory: self.text("proc/meminfo").and_then(|text| parse::kib(parse::field(&text, "MemTotal:")?)),
            memory_limit: self.memory_limit(&groups).into_iter().chain(of_unit).min(),
            swap: self.text("proc/swaps").map(|text| parse::swap(&text)),
            huge_pages: self.text("sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| parse::chosen(&text)),
            crash_kernel: self.number("sys/kernel/kexec_crash_loaded") == Some(1),
        }
    }

    /// The least processor time of a control group and those above it, in processors.
    fn quota(&self, groups: &str) -> Option<f64> {
        let second = self.ancestors(groups, "", "cpu.max").filter_map(|text| parse::quota(&text));
        let first = self.ancestors(groups, "cpu", "cpu.cfs_quota_us");
        let periods = self.ancestors(groups, "cpu", "cpu.cfs_period_us");
        let first = first.zip(periods).filter_map(|(quota, period)| parse::quota(&format!("{quota} {period}")));
        second.chain(first).min_by(f64::total_cmp)
    }

    fn memory_limit(&self, groups: &str) -> Option<u64> {
        // The first version writes a huge number for no limit.
        const NO_LIMIT: u64 = 1 << 60;
        let second = self.ancestors(groups, "", "memory.max");
        let first = self.ancestors(groups, "memory", "memory.limit_in_bytes");
        second.chain(first).filter_map(|text| text.trim().parse().ok()).filter(|limit| *limit < NO_LIMIT).min()
    }

    /// A file of a control group and of those above it, as far as they exist. An empty controller is the second
    /// version.
    fn ancestors<'a>(
        &'a self,
        groups: &str,
        controller: &'a str,
        file: &'a str,
    ) -> impl Iterator<Item = String> + 'a {
        let group = parse::control_group(groups, controller).unwrap_or_default();
        let above: Vec<PathBuf> = Path::new(&group).ancestors().map(Path::to_owned).collect();
        above.into_iter().filter_map(move |group| {
            self.text(
                Path::new("sys/fs/cgroup")
                    .join(controller)
                    .join(group.strip_prefix("/").unwrap_or(&group))
                    .join(file),
            )
        })
    }

    fn limits(&self, edge: Option<u32>, unit: Option<&Unit>) -> Limits {
        if let (None, Some(unit)) = (edge, unit) {
            let limit = |key, default| unit.value(key).map_or(default, parse::limit_of_unit);
            return Limits {
                subject: Subject::Unit,
                open_files: limit("LimitNOFILE", Limit::At(DEFAULT_FILES)),
                locked_memory: limit("LimitMEMLOCK", Limit::At(DEFAULT_LOCKED)),
                core: limit("LimitCORE", Limit::Unknown),
            };
        }
        let process = edge.map_or("self".to_owned(), |pid| pid.to_string());
        let limits = self.text(format!("proc/{process}/limits")).unwrap_or_default();
        let status = self.text(format!("proc/{process}/status")).unwrap_or_default();
        let locks_all = parse::field(&status, "CapEff:").is_some_and(parse::may_lock_memory);
        let [core, _] = parse::limits(&limits, "Max core file size");
        let [_, open_files] = parse::limits(&limits, "Max open files");
        let [locked, _] = parse::limits(&limits, "Max locked memory");
        Limits {
            subject: edge.map_or(Subject::Shell, Subject::Edge),
            open_files,
            locked_memory: if locks_all { Limit::Unlimited } else { locked },
            core,
        }
    }

    /// The unit with its drop-ins, in the order of their names.
    fn unit(&self) -> Option<Unit> {
        let (file, text) = UNITS.iter().find_map(|folder| {
            let file = Path::new(folder).join(UNIT);
            Some((Path::new("/").join(&file), self.text(&file)?))
        })?;
        let mut drop_ins: Vec<(String, String)> = Vec::new();
        // What stands first overrides a drop-in of the same name.
        for folder in UNITS {
            let folder = format!("{folder}/{UNIT}.d");
            for name in self
                .names(&folder)
                .into_iter()
                .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "conf"))
            {
                if drop_ins.iter().all(|(known, _)| *known != name) {
                    drop_ins.extend(self.text(format!("{folder}/{name}")).map(|text| (name, text)));
                }
            }
        }
        drop_ins.sort();
        let texts: Vec<&str> =
            std::iter::once(&text).chain(drop_ins.iter().map(|(_, text)| text)).map(String::as_str).collect();
        Some(Unit { file, service: parse::service(&texts) })
    }
}

fn folder(dir: &Path, mounts: &str) -> Option<Folder> {
    let path = fs::canonicalize(existing_ancestor(dir)).ok()?;
    let stat = rustix::fs::statvfs(&path).ok()?;
    let (kind, options) = parse::mount(mounts, &path)?;
    // Root may use all that is free, and the service is not root.
    let (size, free) = (stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize));
    let files = RealDisk::new(dir).and_then(|disk| disk.files_below(dir)).unwrap_or_default();
    let used = files.iter().map(|file| file.bytes).sum();
    Some(Folder { path, kind, options, size, free, used })
}

/// The age of a database, in days. A damaged one is a matter of `clickedge check`.
fn age(file: &Path) -> Option<u64> {
    let built = maxminddb::Reader::open_readfile(file).ok()?.metadata().build_epoch;
    Some(wall::unix_secs().saturating_sub(built) / 86_400)
}

fn catalog(file: &Path) -> Option<(u64, bool)> {
    let mut file = fs::File::open(file).ok()?;
    Some((file.metadata().ok()?.len(), is_snapshot(&mut file).unwrap_or(false)))
}

#[cfg(test)]
mod tests;
