//! Metrics of the process as a whole, under the names that every program has, and what it was built from.
//!
//! Read from `/proc/self` when the metrics are read. What cannot be read keeps its last value.

use std::fs;

use nix::time::{ClockId, clock_gettime};
use prometheus::{Counter, Gauge, IntGauge};
use rustix::process::{Resource, getrlimit};

use super::metrics::Registry;
use crate::runtime::clock;

/// Ticks of `/proc/self/stat` in a second: what Linux shows to programs, whatever the kernel counts in.
const TICKS_A_SECOND: u64 = 100;

/// Metrics of the process.
pub struct ProcessMetrics {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    threads: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    time: Gauge,
}

impl ProcessMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Self {
        let info = registry.gauges_of(
            "build_info",
            "1, with the version and the processor architecture that this binary was built for.",
            &["version", "arch"],
        );
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), std::env::consts::ARCH]).set(1);
        let started = registry.standard_gauge(
            "process_start_time_seconds",
            "When the process was started, in seconds since the Unix epoch.",
        );
        started.set(started_at_secs().unwrap_or_else(clock::unix_secs) as i64);
        let metrics = Self {
            cpu: registry.standard_counter("process_cpu_seconds_total", "CPU time of all threads, in seconds."),
            resident: registry.standard_gauge("process_resident_memory_bytes", "Memory in RAM, rings included."),
            virtual_memory: registry.standard_gauge("process_virtual_memory_bytes", "Address space in use."),
            threads: registry.standard_gauge("process_threads", "Threads."),
            open_files: registry.standard_gauge("process_open_fds", "Open files, of which most are connections."),
            max_files: registry.standard_gauge("process_max_fds", "Most files that may be open."),
            time: registry.fractional_gauge(
                "time_seconds",
                "The clock of this edge when its metrics were read, in seconds since the Unix epoch.",
            ),
        };
        metrics.update();
        metrics
    }

    /// Sets the metrics.
    pub fn update(&self) {
        self.time.set(clock::unix_micros() as f64 / 1e6);
        if let Ok(cpu) = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID) {
            let seconds = cpu.tv_sec() as f64 + cpu.tv_nsec() as f64 / 1e9;
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            for (gauge, name, unit) in [
                (&self.resident, "VmRSS:", 1024),
                (&self.virtual_memory, "VmSize:", 1024),
                (&self.threads, "Threads:", 1),
            ] {
                if let Some(value) = value(&status, name) {
                    gauge.set(value * unit);
                }
            }
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // Without the one that reads the folder.
            self.open_files.set((files.count() as i64 - 1).max(0));
        }
        // Without a limit the gauge is 0, and a percentage of it is no number.
        self.max_files.set(getrlimit(Resource::Nofile).current.unwrap_or_default() as i64);
    }
}

/// The number behind a name in `/proc/self/status`.
fn value(status: &str, name: &str) -> Option<i64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// When the process was started, in seconds since the Unix epoch.
fn started_at_secs() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let after_boot = started_ticks(&stat)? / TICKS_A_SECOND;
    Some(clock::unix_secs().saturating_sub((clock::up_micros() / 1_000_000).saturating_sub(after_boot)))
}

/// The field `starttime` of `/proc/self/stat`, the 22nd. The name of the program, which is the second, may hold spaces
/// and parentheses.
fn started_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        let registry = Registry::new();
        let metrics = ProcessMetrics::new(&registry);
        let cpu = metrics.cpu.get();
        let until = clock::monotonic() + std::time::Duration::from_secs(5);
        while metrics.cpu.get() <= cpu {
            assert!(clock::monotonic() < until, "the CPU time does not grow");
            metrics.update();
        }
        let text = registry.text();
        let of = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        assert!(of("process_resident_memory_bytes") > 1e6 && of("process_virtual_memory_bytes") > 1e6);
        assert!(of("process_threads") >= 1.0 && of("process_open_fds") >= 3.0);
        assert!(of("process_max_fds") >= of("process_open_fds"));
        let age = clock::unix_secs() as f64 - of("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!((of("clickedge_time_seconds") - clock::unix_secs() as f64).abs() < 10.0);
        let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
        assert!(
            text.lines().any(|line| line.starts_with("clickedge_build_info{") && line.contains(version)),
            "{text}"
        );
    }

    #[test]
    fn the_name_of_a_program_does_not_move_the_fields() {
        let fields: Vec<_> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(started_ticks(&format!("1 (a) b) c) {}", fields.join(" "))), Some(22));
        assert_eq!(started_ticks("1 (short) S"), None);
    }
}
