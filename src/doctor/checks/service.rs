//! The unit, its limits, and the threads of the service.

use super::{Case, drop_in};
use crate::{
    doctor::{
        Finding,
        facts::{Limit, Subject, Unit},
        words,
    },
    server::open_files::{MOST, Shares},
};

/// Fewer open files than this leave hardly any connections.
const LEAST_FILES: u64 = 1_024;

/// Without the running edge, limits are those of its unit or of this shell.
pub(super) fn edge(case: &Case) -> Option<Finding> {
    let dir = case.config.capture.dir.display();
    let message = format!("this user may not see in {dir} whether an edge runs: its limits are unknown");
    case.facts.is_edge_hidden.then(|| Finding::warning("edge", message, "run this as root"))
}

/// What the unit that comes with clickedge says, and why it matters.
pub(super) fn unit(case: &Case) -> Option<Finding> {
    const CHECK: &str = "unit";
    let Some(unit) = &case.facts.unit else {
        return Some(Finding::ok(CHECK, "no systemd unit clickedge.service on this machine"));
    };
    let file = unit.file.display();
    if loses_rings(unit) && case.config.capture.dir.starts_with("/run") {
        return Some(Finding::problem(
            CHECK,
            format!("{file} removes its runtime directory when it stops, and with it clicks that wait in the rings"),
            drop_in("RuntimeDirectoryPreserve=yes"),
        ));
    }
    if !matches!(unit.value("Type"), Some("notify" | "notify-reload")) {
        return Some(Finding::warning(
            CHECK,
            format!("{file} does not wait until the edge is ready, and does not follow it through an upgrade"),
            drop_in("Type=notify"),
        ));
    }
    let shutdown = &case.config.shutdown;
    let needed = shutdown.lame_duck_secs + shutdown.grace_secs;
    let stop = unit.value("TimeoutStopSec").and_then(seconds);
    if let Some(stop) = stop.filter(|stop| *stop <= needed) {
        return Some(Finding::warning(
            CHECK,
            format!("{file} kills the edge {stop} s after a stop, and `shutdown` may take {needed} s"),
            drop_in(&format!("TimeoutStopSec={}", needed + 10)),
        ));
    }
    Some(Finding::ok(CHECK, file.to_string()))
}

fn loses_rings(unit: &Unit) -> bool {
    unit.value("RuntimeDirectory").is_some() && !unit.is_on("RuntimeDirectoryPreserve")
}

/// A time span of systemd in whole seconds, if it is a plain number or one with `s`.
fn seconds(value: &str) -> Option<u64> {
    value.strip_suffix("s").unwrap_or(value).trim().parse().ok()
}

pub(super) fn open_files(case: &Case) -> Option<Finding> {
    const CHECK: &str = "open-files";
    let files = match case.facts.limits.open_files {
        Limit::Unknown => return None,
        Limit::Unlimited => MOST,
        Limit::At(files) => files.min(MOST),
    };
    let whose = whose(&case.facts.limits.subject);
    let requests = case.config.upstream.as_ref().map_or(0, |upstream| upstream.requests);
    let have = Shares::of(files as usize, case.config.limits.connections, requests).connections as u64;
    let keepalive = case.config.redirect.keepalive_secs;
    let wanted = case.plan.connections(keepalive);
    let message = format!(
        "{files} open files {whose} leave {have} connections; {} clicks a second, each on a connection of its own that \
         stays open for {}, are {wanted}",
        case.plan.clicks_per_second,
        words::secs(keepalive)
    );
    Some(if files < LEAST_FILES {
        Finding::problem(CHECK, message, drop_in(&format!("LimitNOFILE={MOST}")))
    } else if have >= wanted {
        Finding::ok(CHECK, message)
    } else if Shares::of(MOST as usize, case.config.limits.connections, requests).connections as u64 > have {
        Finding::warning(CHECK, message, drop_in(&format!("LimitNOFILE={MOST}")))
    } else if case.config.limits.connections > 0 {
        Finding::warning(CHECK, message, format!("set `limits.connections` to 0, or to {wanted} or more"))
    } else {
        let secs = have / case.plan.clicks_per_second.max(1);
        Finding::warning(CHECK, message, format!("set `redirect.keepalive_secs` to {secs} or less"))
    })
}

/// Whose limits they are.
pub(super) fn whose(subject: &Subject) -> String {
    match subject {
        Subject::Edge(pid) => format!("of the running edge (process {pid})"),
        Subject::Unit => "of the unit".to_owned(),
        Subject::Shell => "of this shell".to_owned(),
    }
}

pub(super) fn threads(case: &Case) -> Option<Finding> {
    const CHECK: &str = "threads";
    let processors = case.facts.machine.processors as u64;
    let (threads, workers) = (case.config.listener_threads() as u64, case.config.workers() as u64);
    let (need_threads, need_workers) = (case.plan.threads(), case.plan.workers());
    let rate = case.plan.clicks_per_second;
    Some(if threads > processors {
        Finding::warning(
            CHECK,
            format!("{threads} threads answer clicks on {processors} processors: they only wait for each other"),
            "set `edge.threads` to 0, which is one for each processor",
        )
    } else if case.plan.processors() > processors {
        let need = case.plan.processors();
        Finding::warning(
            CHECK,
            format!(
                "{rate} cold HTTPS clicks a second keep {need} processors half busy, this machine has {processors}"
            ),
            "spread the clicks over more edges, or take a larger machine",
        )
    } else if threads < need_threads {
        Finding::warning(
            CHECK,
            format!("{threads} threads answer clicks; {rate} a second keep {need_threads} half busy"),
            format!("set `edge.threads` to {need_threads}, or to 0, which is one for each processor"),
        )
    } else if workers < need_workers {
        Finding::warning(
            CHECK,
            format!("{workers} workers make events; {rate} clicks a second keep {need_workers} half busy"),
            format!("set `enrich.workers` to {need_workers}"),
        )
    } else {
        Finding::ok(
            CHECK,
            format!(
                "{threads} that answer and {workers} that make events; {need_threads} and {need_workers} suffice"
            ),
        )
    })
}

pub(super) fn processor_quota(case: &Case) -> Option<Finding> {
    let (quota, threads) = (case.facts.machine.quota?, case.config.listener_threads() + case.config.workers());
    (quota < threads as f64).then(|| {
        Finding::warning(
            "processor-quota",
            format!(
                "the control group has the time of {quota:.1} processors for {threads} busy threads: when it is used \
                 up, all of them pause for tens of milliseconds"
            ),
            "remove the quota (`CPUQuota=`, in Kubernetes the CPU limit), or set `edge.threads` and `enrich.workers`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{each_is, finding};
    use crate::{
        doctor::{
            Level::{Ok, Problem, Warning},
            facts::Limit,
        },
        runtime::Class,
    };

    #[test]
    fn a_unit_that_loses_clicks_is_a_problem() {
        let problem = finding("unit", |case| {
            case.facts.unit.as_mut().unwrap().service.remove("RuntimeDirectoryPreserve");
        });
        assert_eq!((problem.level, problem.class), (Problem, Class::Config));
        assert!(problem.remedy.unwrap().contains("RuntimeDirectoryPreserve=yes"));
    }

    #[test]
    fn units_are_checked() {
        each_is(&[
            ("unit", Ok, "clickedge.service", |_| ()),
            ("unit", Ok, "no systemd unit", |case| case.facts.unit = None),
            ("unit", Warning, "Type=notify", |case| {
                case.facts.unit.as_mut().unwrap().service.remove("Type");
            }),
            ("unit", Warning, "TimeoutStopSec=41", |case| {
                case.config.shutdown.lame_duck_secs = 30;
            }),
        ]);
    }

    #[test]
    fn open_files_are_compared_with_the_plan() {
        each_is(&[
            ("open-files", Ok, "leave 1048320 connections", |_| ()),
            ("open-files", Warning, "LimitNOFILE=1048576", |case| case.facts.limits.open_files = Limit::At(20_000)),
            ("open-files", Problem, "LimitNOFILE=1048576", |case| case.facts.limits.open_files = Limit::At(256)),
            ("open-files", Warning, "`redirect.keepalive_secs` to 52", |case| case.plan.clicks_per_second = 20_000),
            ("open-files", Warning, "`limits.connections`", |case| case.config.limits.connections = 100),
        ]);
    }

    #[test]
    fn threads_are_compared_with_processors_and_plan() {
        each_is(&[
            ("threads", Ok, "8 that answer and 4 that make events", |_| ()),
            ("threads", Warning, "on 2 processors", |case| case.facts.machine.processors = 2),
            ("threads", Warning, "more edges", |case| case.plan.clicks_per_second = 100_000),
            ("threads", Warning, "`edge.threads` to 3", |case| {
                case.plan.clicks_per_second = 10_000;
                case.config.edge.threads = 2;
            }),
            ("threads", Warning, "`enrich.workers` to 2", |case| {
                case.facts.machine.processors = 100;
                case.plan.clicks_per_second = 300_000;
                case.config.edge.threads = 100;
                case.config.enrich.workers = 1;
            }),
            ("processor-quota", Warning, "1.5 processors", |case| case.facts.machine.quota = Some(1.5)),
        ]);
    }
}
