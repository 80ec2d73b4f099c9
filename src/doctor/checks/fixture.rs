//! A machine that suits its configuration, for tests that change one thing about it.

use super::all;
use crate::{
    config::Config,
    doctor::{
        Finding, Level,
        facts::{Clock, Facts, Folder, Interface, Limit, Limits, Machine as Hardware, Network, Subject, Syncs, Unit},
        sizing::Plan,
    },
};

pub struct Machine {
    pub facts: Facts,
    pub config: Config,
    pub plan: Plan,
}

impl Machine {
    fn healthy() -> Self {
        let folder = |path: &str, kind: &str, size| Folder {
            path: path.into(),
            kind: kind.into(),
            options: vec!["rw".into(), "relatime".into()],
            size,
            free: size,
            used: 0,
        };
        let service = include_str!("../../../systemd/clickedge.service");
        let facts = Facts {
            is_edge_hidden: false,
            network: Network {
                somaxconn: Some(4_096),
                syn_backlog: Some(1_024),
                syn_cookies: Some(1),
                abort_on_overflow: Some(0),
                conntrack_max: None,
            },
            interfaces: vec![Interface { name: "eth0".into(), queues: 8, steers: false }],
            machine: Hardware {
                processors: 8,
                quota: None,
                memory: Some(32 << 30),
                memory_limit: None,
                swap: Some(0),
                huge_pages: Some("madvise".into()),
                crash_kernel: false,
            },
            limits: Limits {
                subject: Subject::Unit,
                open_files: Limit::At(1 << 20),
                locked_memory: Limit::Unlimited,
                core: Limit::At(0),
            },
            unit: Some(Unit {
                file: "/etc/systemd/system/clickedge.service".into(),
                service: crate::doctor::gather::parse::service(&[service]),
            }),
            rings: Some(folder("/run/clickedge", "tmpfs", 6 << 30)),
            spool: Some(folder("/var/lib/clickedge/spool", "ext4", 100 << 30)),
            syncs: Some(Ok(Syncs { count: 20, median: 900, longest: 4_000 })),
            clock: Clock::Synchronised("chrony"),
            databases: vec![("enrich.geoip_file", 10)],
            catalog: Some((1 << 20, false)),
        };
        let mut config: Config = toml::from_str(SOUND).unwrap();
        (config.edge.threads, config.enrich.workers) = (8, 4);
        Self { facts, config, plan: Plan { clicks_per_second: 1_000, outage_hours: 24 } }
    }
}

const SOUND: &str = r#"
[[listeners]]
address = "0.0.0.0:443"
[[feeds]]
name = "all"
workspaces = ["*"]
[feeds.sink.s3]
bucket = "brand-clicks"
region = "eu-west-1"
"#;

/// What a check finds on a machine that suits, after a change.
#[track_caller]
pub fn finding(check: &str, change: impl FnOnce(&mut Machine)) -> Finding {
    let mut machine = Machine::healthy();
    change(&mut machine);
    let Machine { facts, config, plan } = machine;
    let found = all(&facts, &config, &plan);
    found.into_iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check} has found nothing"))
}

/// A check, what it finds, a part of message or remedy, and the change before.
pub type Expected = (&'static str, Level, &'static str, fn(&mut Machine));

#[track_caller]
pub fn each_is(expected: &[Expected]) {
    for (check, level, part, change) in expected {
        let found = finding(check, change);
        let text = format!("{}; {}", found.message, found.remedy.as_deref().unwrap_or_default());
        assert!(found.level == *level && text.contains(part), "{level:?} with {part:?}: {found:?}");
        assert_eq!(found.remedy.is_some(), found.level > Level::Ok, "{found:?}");
    }
}

#[test]
fn a_machine_that_suits_has_nothing_to_change() {
    let Machine { facts, config, plan } = Machine::healthy();
    let found = all(&facts, &config, &plan);
    assert!(found.iter().all(|finding| finding.level == Level::Ok), "{found:#?}");
    assert!(crate::doctor::class(&found).is_none());
}

#[test]
fn an_unknown_machine_has_no_problem_and_names_differ() {
    let Machine { config, plan, .. } = Machine::healthy();
    let found = all(&Facts::default(), &config, &plan);
    assert!(found.iter().all(|finding| finding.level < Level::Problem), "{found:#?}");
    let names: std::collections::BTreeSet<_> = found.iter().map(|finding| finding.check).collect();
    assert_eq!(names.len(), found.len());
}
