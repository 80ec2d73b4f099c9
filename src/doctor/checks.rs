//! The checks. Each is a function of the facts that returns what it has found, or nothing if it does not apply.
#![allow(clippy::unnecessary_wraps, reason = "all checks have one type; some always find something")]

mod disk;
mod memory;
mod network;
mod service;
mod time;

#[cfg(test)]
mod fixture;

use super::{Finding, facts::Facts, sizing::Plan};
use crate::config::Config;

/// What a check is made from.
struct Case<'a> {
    facts: &'a Facts,
    config: &'a Config,
    plan: &'a Plan,
}

type Check = fn(&Case) -> Option<Finding>;

const CHECKS: &[Check] = &[
    service::edge,
    service::unit,
    service::open_files,
    service::threads,
    service::processor_quota,
    network::listen_queue,
    network::syn_queue,
    network::overflow,
    network::connection_tracking,
    network::interface_queues,
    memory::rings,
    memory::ring_size,
    memory::swap,
    memory::locked_memory,
    memory::core_dumps,
    memory::crash_kernel,
    memory::total,
    memory::huge_pages,
    disk::file_system,
    disk::space,
    disk::outage,
    disk::journal,
    disk::syncs,
    time::clock,
    time::databases,
];

pub(super) fn all(facts: &Facts, config: &Config, plan: &Plan) -> Vec<Finding> {
    let case = Case { facts, config, plan };
    CHECKS.iter().filter_map(|check| check(&case)).collect()
}

/// How to set a parameter of the kernel now and for the next boot.
fn sysctl(name: &str, value: u64) -> String {
    format!("run `sysctl -w {name}={value}`, and write `{name} = {value}` into /etc/sysctl.d/60-clickedge.conf")
}

/// How to set a key of the unit.
fn drop_in(line: &str) -> String {
    format!("run `systemctl edit clickedge`, add `{line}` below `[Service]`, and restart")
}
