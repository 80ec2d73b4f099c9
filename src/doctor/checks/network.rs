//! Queues of connections and packets.

use super::{Case, sysctl};
use crate::{
    doctor::{Finding, words},
    listener::front::BACKLOG,
};

pub(super) fn listen_queue(case: &Case) -> Option<Finding> {
    const CHECK: &str = "listen-queue";
    let (limit, wanted) = (case.facts.network.somaxconn?, u64::from(BACKLOG.unsigned_abs()));
    Some(if limit >= wanted {
        Finding::ok(CHECK, format!("{wanted} connections can wait for each listener"))
    } else {
        let millis = limit * 1_000 / case.plan.clicks_per_second.max(1);
        Finding::warning(
            CHECK,
            format!(
                "{limit} connections can wait for a listener, which asks for {wanted}: during an upgrade or a pause of \
                 {millis} ms at {} clicks a second, more are lost",
                case.plan.clicks_per_second
            ),
            sysctl("net.core.somaxconn", wanted),
        )
    })
}

pub(super) fn syn_queue(case: &Case) -> Option<Finding> {
    const CHECK: &str = "syn-queue";
    let network = &case.facts.network;
    Some(match (network.syn_cookies?, network.syn_backlog?) {
        (1.., _) => Finding::ok(CHECK, "SYN cookies are on: half-open connections keep no visitor out"),
        (_, backlog) => Finding::warning(
            CHECK,
            format!("SYN cookies are off: {backlog} half-open connections of one attacker keep visitors out"),
            sysctl("net.ipv4.tcp_syncookies", 1),
        ),
    })
}

pub(super) fn overflow(case: &Case) -> Option<Finding> {
    (case.facts.network.abort_on_overflow? != 0).then(|| {
        Finding::warning(
            "listen-overflow",
            "connections are reset while the queue of a listener is full; otherwise their clients try again",
            sysctl("net.ipv4.tcp_abort_on_overflow", 0),
        )
    })
}

pub(super) fn connection_tracking(case: &Case) -> Option<Finding> {
    const CHECK: &str = "connection-tracking";
    let Some(most) = case.facts.network.conntrack_max else {
        return Some(Finding::ok(CHECK, "off"));
    };
    let keepalive = case.config.redirect.keepalive_secs;
    let wanted = case.plan.tracked(keepalive);
    Some(if most >= wanted {
        Finding::ok(CHECK, format!("room for {most} connections, {wanted} are planned"))
    } else {
        let port = case.config.listeners.first().map_or(443, |listener| listener.address.port());
        Finding::warning(
            CHECK,
            format!(
                "the kernel tracks {most} connections at most and drops packets beyond; {} clicks a second need \
                 {wanted}, as connections stay open for {} and tracked for two minutes more",
                case.plan.clicks_per_second,
                words::secs(keepalive)
            ),
            format!(
                "{}; or do not track them, such as with `nft add rule inet raw prerouting tcp dport {} notrack`",
                sysctl("net.netfilter.nf_conntrack_max", wanted.next_power_of_two()),
                port
            ),
        )
    })
}

pub(super) fn interface_queues(case: &Case) -> Option<Finding> {
    const CHECK: &str = "interface-queues";
    let processors = case.facts.machine.processors;
    let narrow = case.facts.interfaces.iter().find(|interface| {
        // One processor of few is no bottleneck: it answers clicks as well.
        processors > 2 && interface.queues < processors.min(4) && !interface.steers
    });
    if case.facts.interfaces.is_empty() {
        return None;
    }
    Some(match narrow {
        None => Finding::ok(CHECK, "packets are spread over the processors"),
        Some(interface) => {
            let (name, queues) = (&interface.name, interface.queues);
            // As the kernel writes masks: words of 32 bits, the highest first.
            let full = vec!["ffffffff"; processors / 32];
            let rest = (!processors.is_multiple_of(32)).then(|| format!("{:x}", (1_u64 << (processors % 32)) - 1));
            let mask = rest.iter().map(String::as_str).chain(full).collect::<Vec<_>>().join(",");
            Finding::warning(
                CHECK,
                format!("{name} has {queues} of {processors} receive queues: as many processors take all packets"),
                format!(
                    "run `ethtool -L {name} combined {processors}`, or, if the device has no more queues, `for queue \
                     in /sys/class/net/{name}/queues/rx-*; do echo {mask} > $queue/rps_cpus; done`"
                ),
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{each_is, finding};
    use crate::doctor::{
        Level::{Ok, Warning},
        facts::Interface,
    };

    #[test]
    fn queues_that_are_too_short_are_found() {
        each_is(&[
            ("listen-queue", Ok, "4096", |_| ()),
            ("listen-queue", Warning, "net.core.somaxconn=4096", |case| case.facts.network.somaxconn = Some(128)),
            ("syn-queue", Ok, "on", |_| ()),
            ("syn-queue", Warning, "tcp_syncookies=1", |case| case.facts.network.syn_cookies = Some(0)),
            ("listen-overflow", Warning, "tcp_abort_on_overflow=0", |case| {
                case.facts.network.abort_on_overflow = Some(1);
            }),
            ("connection-tracking", Ok, "off", |_| ()),
            ("connection-tracking", Ok, "180000 are planned", |case| {
                case.facts.network.conntrack_max = Some(180_000);
            }),
            ("connection-tracking", Warning, "nf_conntrack_max=262144", |case| {
                case.facts.network.conntrack_max = Some(179_999);
            }),
        ]);
    }

    #[test]
    fn one_queue_for_many_processors_is_found() {
        let one = Interface { name: "eth0".into(), queues: 1, steers: false };
        let with = |interface: Interface, processors| {
            finding("interface-queues", |case| {
                case.facts.interfaces = vec![interface.clone()];
                case.facts.machine.processors = processors;
            })
        };
        assert_eq!(with(one.clone(), 2).level, Ok);
        assert_eq!(with(Interface { steers: true, ..one.clone() }, 8).level, Ok);
        assert_eq!(with(Interface { queues: 4, ..one.clone() }, 64).level, Ok);
        for (processors, mask) in [(8, "echo ff >"), (32, "echo ffffffff >"), (40, "echo ff,ffffffff >")] {
            let found = with(one.clone(), processors);
            assert!(found.level == Warning && found.remedy.as_ref().unwrap().contains(mask), "{found:?}");
        }
    }
}
